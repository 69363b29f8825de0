//! Numbers and texts are nowhere in either database, nor in the servers' logs (D8, D10).
use reqwest::StatusCode;
use serde_json::json;

use super::service::Service;
use crate::support::postgres::Databases;

const NUMBER: &str = "4551525354";
const TEXT: &str = "Rødgrød med fløde koster 47,11";

#[tokio::test]
async fn no_number_and_no_text_is_readable_in_any_table() {
    let service = Service::on(Databases::alone().await).await;
    let body = json!({"to": format!("+{NUMBER}"), "text": TEXT});
    let first = service.api.post_once(&service.key, "with a key", &body).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    let id = first.body["messages"][0]["id"].as_str().expect("an id");
    service.settle(id, 3, None).await;
    service.api.post(&service.key, &body).await;
    service.api.post(&service.key, &json!({"to": [NUMBER, "51525354"], "text": ""})).await;
    assert_eq!(
        (service.count("queue").await, service.count("message_log").await),
        (1, 1),
        "there is something to read"
    );

    let list = service.api.request(&service.key, reqwest::Method::POST, "/v1/opt-outs");
    let listed = service.api.call(list.json(&json!({"numbers": [NUMBER[2..]]}))).await;
    assert_eq!((listed.status, &listed.body["ended"]), (StatusCode::OK, &json!(1)), "{listed:?}");

    let rows = everything(&service.databases).await;
    assert!(rows.iter().any(|row| row.contains(id)), "the look takes in the rows");
    for needle in [NUMBER, &NUMBER[2..], TEXT, "fløde"] {
        // Bytes are shown in hexadecimal.
        let hex: String = needle.bytes().map(|byte| format!("{byte:02x}")).collect();
        let found = rows.iter().find(|row| row.contains(needle) || row.contains(&hex));
        assert!(found.is_none(), "{needle} is readable in {found:?}");
    }
    for log in [service.databases.data.log(), service.databases.keyring.log()] {
        assert!(!log.contains(&NUMBER[2..]) && !log.contains("fløde"), "{log}");
    }
}

/// Every row of every table of both databases, as text.
async fn everything(databases: &Databases) -> Vec<String> {
    let mut rows = Vec::new();
    for database in [&databases.data, &databases.keyring] {
        let superuser = database.pool("postgres");
        let tables: Vec<String> = sqlx::query_scalar(
            "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = relnamespace
             where relkind in ('r', 'm') and nspname in ('budstikke', 'keyring', 'public')",
        )
        .fetch_all(&superuser)
        .await
        .expect("list the tables");
        assert!(!tables.is_empty());
        for table in tables {
            let statement = format!("select t::text from {table} as t");
            let found: Vec<String> =
                sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_all(&superuser).await.expect("read a table");
            rows.extend(found);
        }
        superuser.close().await;
    }
    rows
}
