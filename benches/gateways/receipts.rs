//! Where Kannel keeps receipts that it waits for, if not in memory.
use sqlx::{AssertSqlSafe, PgPool};

use crate::postgres::{Databases, PASSWORD};

/// The table of receipts, as Kannel's guide has it, with an index and the `oid` that it finds rows by and PostgreSQL has not made by itself
/// since version 12; and the groups of the configuration that name it.
pub(crate) async fn table(databases: &Databases) -> String {
    let pool: PgPool = databases.data.pool("postgres");
    for statement in [
        "create schema if not exists public",
        "create table public.dlr (smsc varchar(40), ts varchar(40), destination varchar(40), source varchar(40),
                           service varchar(40), url varchar(255), mask integer, status integer, boxc varchar(40),
                           oid bigserial primary key)",
        "create index dlr_ts on public.dlr (smsc, ts)",
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.expect("the table");
    }
    pool.close().await;
    let url = databases.data.url("postgres");
    let host = url.split_once("host=").expect("a socket").1;
    let name = url.split_once("localhost/").expect("a name").1.split_once('?').expect("options").0;
    format!(
        "group = pgsql-connection\nid = receipts\nhost = {host}\nusername = postgres\npassword = {PASSWORD}\n\
         database = {name}\nmax-connections = 8\n\n\
         group = dlr-db\nid = receipts\ntable = dlr\nfield-smsc = smsc\nfield-timestamp = ts\nfield-destination = destination\n\
         field-source = source\nfield-service = service\nfield-url = url\nfield-mask = mask\nfield-status = status\n\
         field-boxc-id = boxc\n\n"
    )
}
