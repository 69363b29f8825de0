//! From the Secret to the engine, from one version of its key to the next, and back, while keys are read.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use budstikke::domain::{RouteId, TenantId};
use budstikke::keyring::seal::Field;
use budstikke::keyring::{Keyring, TransitArgs, TransitError};
use reqwest::Method;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{FROM, ROW, Secret, TENANT, keks, keyring, said};
use crate::support::postgres::Databases;
use crate::support::vault::Vault;

/// Moves all, in small steps.
async fn move_all(operator: &Keyring) -> u64 {
    let mut moved = 0;
    loop {
        let done = operator.rewrap(5).await.expect("a step");
        moved += done.moved;
        if done.behind == 0 {
            return moved;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_readable_all_the_way_to_the_engine_and_back() {
    let (databases, vault, secret) =
        (Arc::new(Databases::start().await), Vault::start().await, Arc::new(Secret::mounted()));
    let wraps = vault.args().await;
    // What stands on the way there and back, in every process, before anything moves.
    let knows = TransitArgs { wraps: false, ..wraps.clone() };
    let operator = |transit: &TransitArgs| keyring(&databases, "budstikke_operator", &secret, transit);
    let first = operator(&TransitArgs::default());
    for tenant in 1..=12 {
        first.provide(TenantId(tenant), FROM, FROM, 90).await.expect("provided");
    }
    let tag = first.route_key(RouteId(3)).await.expect("a route's key");
    let log = first.log_key(TENANT, FROM).await.expect("a key");
    let sealed = log.seal(ROW, Field::Entry, b"en besked").expect("sealed");
    let under_secret = keks(&databases.keyring).await;
    assert_eq!(move_all(&operator(&knows)).await, 0, "one that only knows the engine moves nothing to it");

    let (stop, read) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
    let reading = tokio::spawn({
        let (stop, read, knows) = (stop.clone(), Arc::clone(&read), knows.clone());
        let (databases, secret) = (Arc::clone(&databases), Arc::clone(&secret));
        async move {
            let stays = keyring(&databases, "budstikke_api", &secret, &knows);
            while !stop.is_cancelled() {
                let fresh = keyring(&databases, "budstikke_api", &secret, &knows);
                for tenant in 1..=12 {
                    fresh.queue_key(TenantId(tenant), FROM).await.expect("no failure at any time");
                    stays.log_key(TenantId(tenant), FROM).await.expect("no failure at any time");
                    read.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    let some_are_read = async || {
        let before = read.load(Ordering::Relaxed);
        while read.load(Ordering::Relaxed) < before + 24 && !reading.is_finished() {
            tokio::task::yield_now().await;
        }
    };

    let there = operator(&wraps);
    assert_eq!(move_all(&there).await, 13);
    assert_eq!(keks(&databases.keyring).await, ["transit/budstikke:v1"]);
    some_are_read().await;

    vault.call(Method::POST, "transit/keys/budstikke/rotate", json!({})).await;
    assert_eq!(move_all(&there).await, 13);
    assert_eq!(keks(&databases.keyring).await, ["transit/budstikke:v2"]);
    some_are_read().await;

    assert_eq!(move_all(&operator(&knows)).await, 13);
    assert_eq!(keks(&databases.keyring).await, under_secret);
    some_are_read().await;
    stop.cancel();
    reading.await.expect("no failure");

    let alone = operator(&TransitArgs::default());
    let same = alone.log_key(TENANT, FROM).await.expect("by the Secret alone");
    assert_eq!(same.open(ROW, Field::Entry, &sealed).expect("opened").as_slice(), b"en besked");
    assert_eq!(alone.route_key(RouteId(3)).await.expect("by the Secret alone"), tag);
}

#[tokio::test]
async fn an_old_version_of_the_key_can_be_closed_once_all_is_moved() {
    let (databases, vault, secret) = (Databases::start().await, Vault::start().await, Secret::mounted());
    let transit = vault.args().await;
    let operator = keyring(&databases, "budstikke_operator", &secret, &transit);
    operator.provide(TENANT, FROM, FROM, 90).await.expect("provided");
    let owner = databases.keyring.pool("budstikke_owner");
    sqlx::query("create table keyring.backup as select * from keyring.wrapping_key")
        .execute(&owner)
        .await
        .expect("copied");

    vault.call(Method::POST, "transit/keys/budstikke/rotate", json!({})).await;
    let moved = operator.rewrap(100).await.expect("moved");
    assert_eq!((moved.current.as_str(), moved.moved, moved.behind), ("transit/budstikke:v2", 1, 0));
    vault.call(Method::POST, "transit/keys/budstikke/config", json!({"min_decryption_version": 2})).await;
    keyring(&databases, "budstikke_api", &secret, &transit).log_key(TENANT, FROM).await.expect("by the new one");

    let restore = "update keyring.wrapping_key k set wrapped = b.wrapped, kek = b.kek from keyring.backup b where b.tenant_id = k.tenant_id";
    sqlx::query(restore).execute(&owner).await.expect("restored");
    let error = said(keyring(&databases, "budstikke_api", &secret, &transit).log_key(TENANT, FROM).await);
    assert!(matches!(error, TransitError::TooOld), "{error}");

    let deletable = json!({"min_decryption_version": 1, "deletion_allowed": true});
    vault.call(Method::POST, "transit/keys/budstikke/config", deletable).await;
    keyring(&databases, "budstikke_api", &secret, &transit).log_key(TENANT, FROM).await.expect("open again");
    vault.call(Method::DELETE, "transit/keys/budstikke", json!({})).await;
    let error = said(keyring(&databases, "budstikke_api", &secret, &transit).log_key(TENANT, FROM).await);
    assert!(matches!(error, TransitError::Missing { .. }), "{error}");
}
