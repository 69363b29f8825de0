//! What is stored of an endpoint, and what the worker's logins may do.
use sqlx::{AssertSqlSafe, PgPool};

use super::scene::Scene;

const DENIED: &str = "42501";

async fn refusal(pool: &PgPool, statement: &str) -> Option<String> {
    let error = sqlx::query(AssertSqlSafe(statement.to_owned())).fetch_all(pool).await.err()?;
    error.as_database_error().and_then(|error| error.code()).map(std::borrow::Cow::into_owned)
}

#[tokio::test]
async fn nothing_of_an_endpoint_or_of_what_it_is_told_is_stored_plain() {
    let scene = Scene::set().await;
    let (_, secret) = scene.webhook(&["message.sent", "message.final", "message.received"]).await;
    let id = scene.service.sent("20123456", "hemmelig").await;
    scene.settle(&[&id], 2, true).await;
    scene.received("4520123459", "hemmelig").await;
    scene.receiver.answer(&[204, 500]);
    scene.deliver().await;
    let mut stored = String::new();
    for table in ["webhook", "webhook_job"] {
        let rows = format!("select coalesce(string_agg(t::text, ' '), '') from {table} t");
        let rows: String =
            sqlx::query_scalar(AssertSqlSafe(rows)).fetch_one(&scene.service.owner()).await.expect("rows");
        assert!(!rows.is_empty());
        stored.push_str(&rows);
    }
    let hexadecimal = |text: &str| text.bytes().map(|octet| format!("{octet:02x}")).collect::<String>();
    for word in ["localhost", "adgangskode", "20123456", "20123459", "hemmelig", &secret, &secret[6..], "1204\""] {
        assert!(!stored.contains(word) && !stored.contains(&hexadecimal(word)), "{word}");
    }
}

#[tokio::test]
async fn the_worker_reads_what_it_tells_and_changes_what_it_notes() {
    let scene = Scene::set().await;
    let worker = scene.service.databases.data.pool("budstikke_worker");
    for allowed in [
        "select webhook_id, sealed, secret, old_secret from webhook",
        "select tenant_id, message_id, day, batch_id, parts, submitted_at, log_key, entry from message_log",
        "select tenant_id, inbound_id, day, received_at, key_name, sealed from inbound",
        "select tenant_id, log_days from enforcement",
        "update webhook_job set attempts = attempts",
    ] {
        assert_eq!(refusal(&worker, allowed).await, None, "{allowed}");
    }
    for refused in [
        "select * from queue",
        "select * from flight",
        "select * from api_key",
        "select * from usage",
        "select * from message_log",
        "select number_hash from message_log",
        "select reason from enforcement",
        "update webhook set sealed = sealed",
        "update webhook set secret = secret",
        "update webhook_job set subject = subject",
        "insert into webhook_job (tenant_id, job_id, webhook_id, event, at) values (1, gen_random_uuid(), gen_random_uuid(), 'webhook.test', now())",
        "delete from webhook",
        "delete from webhook_job",
        "delete from message_log",
        "select * from message_log_20200101",
        "select webhook_tell('{}', '{}', '{}', '{}', '{}', '{}')",
        "select purge_jobs(now(), 1)",
        "select * from tenant",
    ] {
        let code = refusal(&worker, refused).await;
        // A partition that is not there cannot be read either.
        assert!(matches!(code.as_deref(), Some(DENIED | "42P01")), "{refused}: {code:?}");
    }
}

#[tokio::test]
async fn of_the_keys_the_worker_sees_no_more_than_it_opens() {
    let scene = Scene::set().await;
    let keys = scene.service.databases.keyring.pool("budstikke_worker");
    let classes: Vec<String> = sqlx::query_scalar("select distinct class from keyring.key order by 1")
        .fetch_all(&keys)
        .await
        .expect("classes");
    assert_eq!(classes, ["inbound", "log"], "what waits in a queue is not for it");
    let lasting: Vec<String> =
        sqlx::query_scalar("select distinct class from keyring.lasting_key").fetch_all(&keys).await.expect("classes");
    assert_eq!(lasting, ["account"]);
    for refused in [
        "select * from keyring.hour_key",
        "select * from keyring.route_key",
        "delete from keyring.key",
        "update keyring.lasting_key set wrapped = ''",
        "insert into keyring.lasting_key (tenant_id, class, name, wrapped) values (1, 'account', 'account', '')",
        "select keyring.destroy_keys(current_date)",
        "select * from keyring.lasting_key_0",
    ] {
        assert_eq!(refusal(&keys, refused).await.as_deref(), Some(DENIED), "{refused}");
    }
}

#[tokio::test]
async fn other_roles_do_not_reach_endpoints() {
    let scene = Scene::set().await;
    scene.webhook(&["message.final"]).await;
    let operator = scene.service.databases.data.pool("budstikke_operator");
    for pool in [&scene.sender, &scene.connector, &operator] {
        for table in ["webhook", "webhook_job"] {
            for statement in [format!("select * from {table}"), format!("delete from {table}")] {
                assert_eq!(refusal(pool, &statement).await.as_deref(), Some(DENIED), "{statement}");
            }
        }
    }
}

/// Who has no endpoint pays for none: not a row is written, and one index is looked at.
#[tokio::test]
async fn without_an_endpoint_nothing_is_noted() {
    let scene = Scene::set().await;
    let (_, _other) = scene.service.other_tenant("other").await;
    let id = scene.service.sent("20123456", "a").await;
    scene.settle(&[&id], 2, false).await;
    assert_eq!(scene.receipts(&[&id], 3, None).await, [1]);
    scene.received("4520123459", "b").await;
    assert_eq!(scene.count("select count(*) from webhook_job").await, 0);
    assert_eq!(scene.deliver().await, 0);
}
