//! The key-encryption key in the transit engine of a real Vault.
mod exchange;
mod login;

use std::path::PathBuf;

use budstikke::domain::TenantId;
use budstikke::keyring::seal::Field;
use budstikke::keyring::{self, Error, Kek, KekArgs, Keyring, TransitArgs, TransitError, WrapError};
use jiff::civil::{Date, date};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::support::postgres::{Database, Databases};
use crate::support::vault::Vault;

const FROM: Date = date(2026, 3, 1);
const TENANT: TenantId = TenantId(7);
const OTHER: TenantId = TenantId(8);
const ROW: Uuid = Uuid::from_u128(1);

/// A key-encryption Secret, mounted.
struct Secret(PathBuf);

impl Secret {
    fn mounted() -> Self {
        let path = std::env::temp_dir().join(format!("budstikke-transit-{}", Uuid::now_v7()));
        std::fs::create_dir(&path).expect("a folder");
        std::fs::write(path.join("kek"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("written");
        Self(path)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// As one process sees it that has just started: with the Secret, and with an engine if one is given.
fn keyring(databases: &Databases, login: &str, secret: &Secret, transit: &TransitArgs) -> Keyring {
    let pool = keyring::connect(&databases.keyring.dsn(login), 2, "test");
    let args = KekArgs { dirs: vec![secret.0.clone()], transit: transit.clone() };
    Keyring::open(pool, Kek::read(&args).expect("keys"))
}

/// What an engine's failure says.
fn said<T>(answer: Result<T, Error>) -> TransitError {
    match answer {
        Err(Error::Kek(WrapError::Transit(error))) => error,
        Err(other) => panic!("another failure: {other}"),
        Ok(_) => panic!("no failure"),
    }
}

async fn keks(keyring: &Database) -> Vec<String> {
    let keks = sqlx::query_scalar("select distinct kek from keyring.wrapping_key order by kek");
    keks.fetch_all(&keyring.pool("budstikke_owner")).await.expect("read")
}

#[tokio::test]
async fn without_the_engine_nothing_opens_and_with_it_each_key_for_its_owner_alone() {
    let (databases, vault, secret) = (Databases::start().await, Vault::start().await, Secret::mounted());
    let transit = vault.args().await;
    let operator = keyring(&databases, "budstikke_operator", &secret, &transit);
    for tenant in [TENANT, OTHER] {
        operator.provide(tenant, FROM, FROM, 90).await.expect("provided");
    }
    assert_eq!(keks(&databases.keyring).await, ["transit/budstikke:v1"]);
    let key = operator.log_key(TENANT, FROM).await.expect("a key");
    let sealed = key.seal(ROW, Field::Entry, b"en besked").expect("sealed");
    let api = keyring(&databases, "budstikke_api", &secret, &transit);
    let same = api.log_key(TENANT, FROM).await.expect("in another process");
    assert_eq!(same.open(ROW, Field::Entry, &sealed).expect("opened").as_slice(), b"en besked");

    // Who has the whole keyring and the Secret.
    let thief = keyring(&databases, "budstikke_operator", &secret, &TransitArgs::default());
    let error = thief.log_key(TENANT, FROM).await.expect_err("no engine");
    assert!(matches!(error, Error::Kek(WrapError::Unknown(_))), "{error}");
    let owner = databases.keyring.pool("budstikke_owner");
    sqlx::query("update keyring.wrapping_key set kek = ''").execute(&owner).await.expect("forged");
    let error = thief.log_key(TENANT, FROM).await.expect_err("of no key");
    assert!(matches!(error, Error::Kek(WrapError::Refused(_))), "{error}");

    // Who may write to the keyring gives one tenant's keys to another.
    let swap = "update keyring.wrapping_key k set kek = 'transit/budstikke:v1', wrapped = other.wrapped
                from keyring.wrapping_key other where k.tenant_id = 7 and other.tenant_id = 8";
    sqlx::query(swap).execute(&owner).await.expect("swapped");
    let api = keyring(&databases, "budstikke_api", &secret, &transit);
    assert!(matches!(said(api.log_key(TENANT, FROM).await), TransitError::NotIts));
}

#[tokio::test]
async fn a_derived_key_serves_too() {
    let (databases, vault, secret) = (Databases::start().await, Vault::start().await, Secret::mounted());
    let policy = r#"path "transit/+/derived" { capabilities = ["update"] }"#;
    vault.call(Method::POST, "transit/keys/derived", json!({"derived": true})).await;
    vault.call(Method::PUT, "sys/policies/acl/derived", json!({"policy": policy})).await;
    let token_file = Some(vault.token("derived").await);
    let transit = TransitArgs { key: Some("derived".to_owned()), token_file, ..vault.args().await };
    let operator = keyring(&databases, "budstikke_operator", &secret, &transit);
    operator.provide(TENANT, FROM, FROM, 90).await.expect("provided");
    assert_eq!(operator.rewrap(100).await.expect("looked").behind, 0);
    keyring(&databases, "budstikke_api", &secret, &transit).log_key(TENANT, FROM).await.expect("read");
}

#[tokio::test]
async fn while_the_server_is_away_keys_in_memory_serve_and_others_say_why_not() {
    let (databases, mut vault, secret) = (Databases::start().await, Vault::start().await, Secret::mounted());
    let transit = vault.args().await;
    let operator = keyring(&databases, "budstikke_operator", &secret, &transit);
    for tenant in [TENANT, OTHER] {
        operator.provide(tenant, FROM, FROM, 90).await.expect("provided");
    }
    let api = keyring(&databases, "budstikke_api", &secret, &transit);
    api.log_key(TENANT, FROM).await.expect("unwraps the tenant's wrapping key");

    vault.stop();
    api.queue_key(TENANT, FROM).await.expect("another key under it");
    let away = said(api.queue_key(OTHER, FROM).await);
    assert!(matches!(away, TransitError::Away { .. }), "{away}");
    assert!(away.to_string().contains("refused"), "says why: {away}");
    // Those that come right behind are told the same, and the server is not asked for each.
    assert_eq!(said(api.queue_key(OTHER, FROM).await).to_string(), away.to_string());
    let error = said(operator.provide(TenantId(9), FROM, FROM, 90).await.map(drop));
    assert!(matches!(error, TransitError::Away { .. }), "{error}");

    vault.resume();
    vault.seal().await;
    let fresh = || keyring(&databases, "budstikke_api", &secret, &transit);
    let sealed = said(fresh().queue_key(OTHER, FROM).await);
    assert!(matches!(sealed, TransitError::Sealed { .. }), "{sealed}");
    vault.unseal().await;
    fresh().queue_key(OTHER, FROM).await.expect("without a restart of the server");
    let back = async {
        while api.queue_key(OTHER, FROM).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), back).await.expect("without a restart of the API");
}
