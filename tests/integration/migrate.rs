//! `budstikke migrate`: once, twice, by two at once, and against instances that are not there yet.
use budstikke::store;
use budstikke::store::partitions::DAYS_AHEAD;

use crate::support::postgres::{Databases, PASSWORD};

#[tokio::test]
async fn two_at_once_and_again_leave_one_schema() {
    let databases = Databases::bare().await;
    let (one, other) = tokio::join!(databases.migrate(), databases.migrate());
    one.expect("the one migrates");
    other.expect("the other finds it done");
    databases.migrate().await.expect("once more");

    let api = databases.data.pool("budstikke_api");
    assert!(store::schema_is_recent(&api).await.expect("the API logs in with the password that migrate set"));
    let partitions: i64 =
        sqlx::query_scalar("select count(*) from pg_class where relname like 'message_log\\_2%' and relkind = 'r'")
            .fetch_one(&api)
            .await
            .expect("count partitions");
    assert_eq!(partitions, 2 + DAYS_AHEAD, "yesterday, today and the days ahead");
}

#[tokio::test]
async fn a_role_is_not_ready_on_an_older_schema_and_is_on_a_newer_one() {
    let databases = Databases::start().await;
    let owner = databases.data.pool("budstikke_owner");
    let api = databases.data.pool("budstikke_api");
    assert!(store::schema_is_recent(&api).await.expect("asked"));

    sqlx::query("insert into _sqlx_migrations values (9999, 'of a later version', now(), true, '', 0)")
        .execute(&owner)
        .await
        .expect("play a later version");
    assert!(store::schema_is_recent(&api).await.expect("asked"));

    sqlx::query("delete from _sqlx_migrations where version > 1").execute(&owner).await.expect("play an earlier one");
    assert!(!store::schema_is_recent(&api).await.expect("asked"));
}

#[tokio::test]
async fn no_password_reaches_the_server() {
    let databases = Databases::bare().await;
    let superuser = databases.data.pool("postgres");
    sqlx::query("alter database budstikke set log_statement = 'all'")
        .execute(&superuser)
        .await
        .expect("log statements");
    databases.migrate().await.expect("migrate");
    let log = databases.data.log();
    assert!(
        log.contains("set_verifier") && log.contains("SCRAM-SHA-256$4096"),
        "the log shows statements and parameters"
    );
    assert!(!log.contains(PASSWORD));
}
