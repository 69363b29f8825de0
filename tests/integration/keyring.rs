//! The keyring on a real instance: made once, looked up by everyone, gone when destroyed.
use budstikke::domain::{Msisdn, TenantId};
use budstikke::keyring::seal::Field;
use budstikke::keyring::{self, Error, Kek, Keyring};
use jiff::civil::{Date, date};
use uuid::Uuid;

use crate::support::postgres::Databases;

const FROM: Date = date(2026, 3, 1);
const TO: Date = date(2026, 3, 8);
const TENANT: TenantId = TenantId(7);
const KEK: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const ROW: Uuid = Uuid::from_u128(1);

/// As one process with this login sees it: nothing cached yet.
fn keyring(databases: &Databases, login: &str) -> Keyring {
    let pool = keyring::connect(&databases.keyring.dsn(login), 2, "test");
    Keyring::open(pool, Kek::parse(KEK).expect("a key"))
}

async fn keys(databases: &Databases) -> i64 {
    let count = sqlx::query_scalar("select count(*) from keyring.key");
    count.fetch_one(&databases.keyring.pool("budstikke_owner")).await.expect("count keys")
}

#[tokio::test]
async fn creators_at_once_make_one_key_each() {
    let databases = Databases::start().await;
    let creators =
        (0..6).map(|_| async { keyring(&databases, "budstikke_operator").provide(TENANT, FROM, TO, 90).await });
    let made = futures::future::try_join_all(creators).await.expect("all provide");
    assert!(made.iter().all(|days| days == &made[0]), "all see the same public keys");
    assert_eq!(made[0].len(), 8);
    assert_eq!(keys(&databases).await, 1 + 8 + 8);

    let again =
        keyring(&databases, "budstikke_operator").provide(TENANT, FROM, TO.tomorrow().expect("a day"), 90).await;
    assert_eq!(again.expect("one day more")[..8], made[0][..]);
    assert_eq!(keys(&databases).await, 1 + 9 + 9);
}

#[tokio::test]
async fn later_days_follow_what_is_promised_now() {
    let databases = Databases::start().await;
    let names = |class: &'static str| {
        let pool = databases.keyring.pool("budstikke_owner");
        async move {
            let names =
                sqlx::query_scalar("select name from keyring.key where class = $1 order by usable_from").bind(class);
            names.fetch_all(&pool).await.expect("names") as Vec<String>
        }
    };
    let provide = async |days| {
        keyring(&databases, "budstikke_operator").provide(TENANT, FROM, date(2026, 3, 2), days).await.expect("provided")
    };
    let public = provide(0).await;
    assert!(names("log").await.is_empty(), "nothing is logged");
    assert_eq!(names("inbound").await, ["inbound/2026-03-02/2026-03-01", "inbound/2026-03-03/2026-03-02"]);

    let longer = provide(90).await;
    assert_eq!(names("log").await, ["log/2026-05-30/2026-03-01", "log/2026-05-31/2026-03-02"]);
    assert_eq!(longer[0], public[0], "today's may be in use");
    assert_eq!(longer[1].name, "inbound/2026-05-31/2026-03-02");
    assert_ne!(longer[1].key, public[1].key);

    provide(30).await;
    assert_eq!(names("log").await, ["log/2026-05-30/2026-03-01", "log/2026-04-01/2026-03-02"]);
    let before = keys(&databases).await;
    provide(0).await;
    assert_eq!(keys(&databases).await, before);
}

#[tokio::test]
async fn what_one_process_seals_another_opens() {
    let databases = Databases::start().await;
    let operator = keyring(&databases, "budstikke_operator");
    let public = operator.provide(TENANT, FROM, TO, 90).await.expect("provided");
    let (one, other) = (keyring(&databases, "budstikke_api"), keyring(&databases, "budstikke_api"));

    let queue = one.queue_key(TENANT).await.expect("a queue key");
    let body = queue.seal(ROW, Field::Body, b"en besked").expect("sealed");
    let same = other.queue_key_named(TENANT, queue.name()).await.expect("by its name");
    assert_eq!(same.open(ROW, Field::Body, &body).expect("opened").as_slice(), b"en besked");

    let log = one.log_key(TENANT, FROM).await.expect("a log key");
    assert_eq!(log.name(), "log/2026-05-30/2026-03-01", "the date on which it must be gone leads");
    let entry = log.seal(ROW, Field::Entry, b"en besked").expect("sealed");
    let same = other.log_key_named(TENANT, log.name()).await.expect("by its name");
    assert_eq!(same.open(ROW, Field::Entry, &entry).expect("opened").as_slice(), b"en besked");
    let number = Msisdn::from_digits("4520123456").expect("a number");
    assert_eq!(log.number_hash(&number), same.number_hash(&number));
    let next_day = one.log_key(TENANT, TO).await.expect("another day's");
    assert_ne!(log.number_hash(&number), next_day.number_hash(&number), "days cannot be joined by number");

    let seals = keyring::seal::PublicKey::new(TENANT, &public[0].name, &public[0].key).expect("a public key");
    let sealed = seals.seal(ROW, Field::Inbound, b"et svar").expect("sealed");
    let private = other.inbound_private(TENANT, &public[0].name).await.expect("its private half");
    assert_eq!(private.open(ROW, Field::Inbound, &sealed).expect("opened").as_slice(), b"et svar");
}

#[tokio::test]
async fn a_key_that_was_not_made_or_is_destroyed_is_missing() {
    let databases = Databases::start().await;
    let api = keyring(&databases, "budstikke_api");
    assert!(matches!(api.queue_key(TENANT).await, Err(Error::KeyMissing { .. })), "not made yet");
    keyring(&databases, "budstikke_operator").provide(TENANT, FROM, TO, 90).await.expect("provided");
    let name = api.log_key(TENANT, FROM).await.expect("made since").name().to_owned();
    assert!(matches!(api.log_key(TENANT, date(2026, 4, 1)).await, Err(Error::KeyMissing { .. })), "beyond the horizon");
    assert!(matches!(api.queue_key_named(TENANT, &name).await, Err(Error::KeyMissing { .. })), "of another class");

    sqlx::query("delete from keyring.key where name = $1")
        .bind(&name)
        .execute(&databases.keyring.pool("budstikke_operator"))
        .await
        .expect("destroy it");
    let fresh = keyring(&databases, "budstikke_api");
    assert!(matches!(fresh.log_key_named(TENANT, &name).await, Err(Error::KeyMissing { .. })));
}

#[tokio::test]
async fn a_stored_key_opens_only_in_its_own_row_and_with_its_own_kek() {
    let databases = Databases::start().await;
    let operator = keyring(&databases, "budstikke_operator");
    operator.provide(TENANT, FROM, TO, 90).await.expect("provided");
    operator.provide(TenantId(8), FROM, TO, 90).await.expect("provided");

    let pool = keyring::connect(&databases.keyring.dsn("budstikke_api"), 2, "test");
    let other_kek = Kek::parse("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a key");
    assert!(matches!(Keyring::open(pool, other_kek).queue_key(TENANT).await, Err(Error::Unwrap { .. })));

    let owner = databases.keyring.pool("budstikke_owner");
    sqlx::query(
        "update keyring.key k set wrapped = other.wrapped from keyring.key other
         where k.tenant_id = $1 and other.tenant_id = 8 and k.class = other.class and k.usable_from = other.usable_from",
    )
    .bind(TENANT.0)
    .execute(&owner)
    .await
    .expect("swap keys between tenants");
    let api = keyring(&databases, "budstikke_api");
    assert!(matches!(api.queue_key(TENANT).await, Err(Error::Unwrap { .. })));
    assert!(matches!(api.log_key(TENANT, FROM).await, Err(Error::Unwrap { .. })));
}

#[tokio::test]
async fn the_api_reads_keys_and_changes_none() {
    let databases = Databases::start().await;
    keyring(&databases, "budstikke_operator").provide(TENANT, FROM, TO, 90).await.expect("provided");
    let api = databases.keyring.pool("budstikke_api");
    for statement in [
        "delete from keyring.key",
        "update keyring.key set gone_on = null",
        "insert into keyring.wrapping_key (tenant_id, wrapped) values (99, '')",
    ] {
        let error = sqlx::query(statement).execute(&api).await.expect_err(statement);
        assert_eq!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("42501"), "{statement}");
    }
    assert_eq!(keys(&databases).await, 17);
}
