//! What the operator does for keys: it waits until they are safe, and exchanges those that wrap them.
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use budstikke::crd::Tenant;
use budstikke::domain::{Clock as _, SystemClock, TenantId, copenhagen_day};
use budstikke::keyring::seal::Field;
use budstikke::keyring::{self, Error, Kek, Keyring};
use sqlx::PgPool;
use uuid::Uuid;

use super::scene::{Scene, kek, tenant};
use crate::support::postgres::Databases;

const ROW: Uuid = Uuid::from_u128(1);

/// The keyring as a process that has just started sees it.
fn fresh(scene: &Scene, octet: u8) -> Keyring {
    let pool = keyring::connect(&scene.databases.keyring.dsn("budstikke_api"), 1, "test");
    Keyring::open(pool, Kek::parse(&kek(octet)).expect("a key"))
}

async fn account(scene: &Scene, name: &str) -> TenantId {
    let found = scene.until(name, || async { scene.find::<Tenant>(name).await?.status?.account_id });
    TenantId(found.await)
}

/// A wrapping key as it is stored.
async fn wrapping(keys: &PgPool, tenant: TenantId) -> Option<Vec<u8>> {
    let stored = sqlx::query_scalar("select wrapped from keyring.wrapping_key where tenant_id = $1");
    stored.bind(tenant.0).fetch_optional(keys).await.expect("asked")
}

/// A door that opens for the archive.
struct Door(std::path::PathBuf);

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_waits_until_its_keys_are_safe() {
    let door = Door(std::env::temp_dir().join(format!("budstikke-door-{}", Uuid::now_v7())));
    let command = format!("archive_command=test -e {}", door.0.display());
    let databases = Databases::bare_with(&["fsync=off", "archive_mode=on", &command]).await;
    databases.migrate().await.expect("migrated");
    let scene = Scene::on(databases).await;
    scene.furnish().await;
    scene.create::<Tenant>(tenant("acme")).await;
    let _operator = scene.operator("one");
    scene.pods_come("connector-main").await;
    let told = scene.tenant_says("acme", "Active", "False", "KeysNotSafe").await;
    assert!(told.contains("until the archive has them"), "{told}");
    scene.pods_come("sender-acme").await;
    assert_eq!(scene.tenant_says("acme", "Ready", "False", "KeysNotSafe").await, told);
    let (acme, today) = (account(&scene, "acme").await, copenhagen_day(SystemClock.now()));
    let refused = fresh(&scene, 7).queue_key(acme, today).await;
    assert!(matches!(refused, Err(Error::NotSafe { .. })), "nothing is accepted: {refused:?}");
    let published = "select count(*) from public_key";
    let public = async || -> i64 { sqlx::query_scalar(published).fetch_one(&scene.pool()).await.expect("counted") };
    assert_eq!(public().await, 0, "and nothing sealed to them");

    std::fs::write(&door.0, "").expect("opened");
    // An archive that was away is tried again once a minute, or when there is more for it.
    let root = scene.databases.keyring.pool("postgres");
    let more = async {
        loop {
            sqlx::query("select pg_logical_emit_message(true, 'test', '')").execute(&root).await.expect("written");
            sqlx::query("select pg_switch_wal()").execute(&root).await.expect("switched");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let ready = async {
        scene.tenant_says("acme", "Active", "True", "Sending").await;
        scene.tenant_says("acme", "Ready", "True", "Succeeded").await
    };
    tokio::select! { _ = more => {}, _ = ready => {} }
    fresh(&scene, 7).queue_key(acme, today).await.expect("safe");
    scene.until("public keys", || async { (public().await > 0).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapping_key_is_exchanged_by_its_age_and_no_younger_one() {
    let scene = Scene::set().await;
    scene.furnish().await;
    let operator = scene.operator("one");
    for name in ["old", "young"] {
        scene.create::<Tenant>(tenant(name)).await;
        scene.tenant_says(name, "CredentialsReady", "True", "Succeeded").await;
    }
    let (old, young) = (account(&scene, "old").await, account(&scene, "young").await);
    operator.stop().await;
    let keys = scene.databases.keyring.pool("budstikke_owner");
    let before = (wrapping(&keys, old).await.expect("made"), wrapping(&keys, young).await.expect("made"));
    let today = copenhagen_day(SystemClock.now());
    let key = fresh(&scene, 7).queue_key(old, today).await.expect("a key");
    let sealed = key.seal(ROW, Field::Body, b"en besked").expect("sealed");

    let age = async |tenant: TenantId, days: i32| {
        sqlx::query(
            "update keyring.wrapping_key set created_at = now() - make_interval(days => $2) where tenant_id = $1",
        )
        .bind(tenant.0)
        .bind(days)
        .execute(&keys)
        .await
        .expect("aged");
    };
    age(old, 366).await;
    age(young, 364).await;
    let _operator = scene.operator("two");
    let exchanged = scene
        .until("another wrapping key", || async { wrapping(&keys, old).await.filter(|wrapped| *wrapped != before.0) });
    exchanged.await;
    let same = fresh(&scene, 7).queue_key_named(old, key.name()).await.expect("by the new one");
    assert_eq!(same.open(ROW, Field::Body, &sealed).expect("opened").as_slice(), b"en besked");
    assert_eq!(fresh(&scene, 7).aged(365, SystemClock.now(), 9).await.expect("asked"), [], "it is young again");
    assert_eq!(wrapping(&keys, young).await, Some(before.1));
}

/// An address that was free a moment ago; nobody else on the machine asks for it by number.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// The figure of a metric of an operator.
async fn metric(address: SocketAddr, name: &str) -> Option<i64> {
    // Two providers in the graph: the process says which.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let text = reqwest::get(format!("http://{address}/metrics")).await.ok()?.text().await.ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_moved_under_the_current_one_are_told_until_they_are() {
    let scene = Scene::set().await;
    scene.furnish().await;
    let operator = scene.operator("one");
    scene.create::<Tenant>(tenant("acme")).await;
    scene.tenant_says("acme", "CredentialsReady", "True", "Succeeded").await;
    operator.stop().await;
    let file = |name: &str, text: &str| std::fs::write(scene.files().join("kek").join(name), text).expect("written");

    // The first one was taken out too early.
    file("kek", &kek(8));
    let behind = async |address| metric(address, "budstikke_operator_kek_behind").await;
    let address = free();
    let operator = scene.operator_at("two", address);
    scene.until("rows behind", || async { behind(address).await.filter(|rows| *rows > 0) }).await;
    operator.stop().await;

    file("kek", &kek(7));
    file("kek.2", &kek(8));
    file("kek.2.since", "2026-01-01T00:00:00Z");
    let address = free();
    let _operator = scene.operator_at("three", address);
    let (acme, today) = (account(&scene, "acme").await, copenhagen_day(SystemClock.now()));
    scene
        .until("all rows are moved", || async {
            // By the new one alone.
            fresh(&scene, 8).queue_key(acme, today).await.ok()?;
            (behind(address).await == Some(0)).then_some(())
        })
        .await;
}
