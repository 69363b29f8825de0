//! What the data instance's statements take, for whoever makes them faster. Looking costs something itself: nothing else that is measured
//! with it counts.
use std::time::Duration;

use sqlx::{AssertSqlSafe, PgPool, Row as _};
use tokio::task::JoinHandle;

use crate::postgres::Databases;

/// What the server must be started with.
pub(crate) const SETTINGS: &[&str] = &[
    "shared_preload_libraries=pg_stat_statements",
    "pg_stat_statements.track=all",
    "pg_stat_statements.track_planning=on",
    "pg_stat_statements.max=50000",
];
/// Rows that are told.
const MOST: i64 = 30;

/// Between two looks at what is waited for.
const LOOKS: Duration = Duration::from_millis(50);

/// Looks from when it is made.
pub(crate) struct Look {
    superuser: PgPool,
    waits: JoinHandle<()>,
}

impl Look {
    /// Forgets what was before.
    pub(crate) async fn begin(databases: &Databases) -> Self {
        let superuser = databases.data.pool("postgres");
        for statement in [
            "create schema if not exists looking",
            "create extension if not exists pg_stat_statements schema looking",
            "create unlogged table if not exists looking.seen (whose text, what text, wait text)",
            "select looking.pg_stat_statements_reset()",
        ] {
            sqlx::query(AssertSqlSafe(statement)).execute(&superuser).await.expect("look at statements");
        }
        Self { waits: tokio::spawn(watch(superuser.clone())), superuser }
    }

    /// What was seen.
    pub(crate) async fn end(self, messages: usize) -> String {
        self.waits.abort();
        let tables = format!("{}\n\n{}", statements(&self.superuser, messages).await, waits(&self.superuser).await);
        self.superuser.close().await;
        tables
    }
}

/// Whose a login is.
const WHOSE: &str = r"case when rolname like 'bst\_%' then 'sender' when rolname like 'bsr\_%' then 'connector'
                           else replace(rolname, 'budstikke_', '') end";

/// A row a statement, the most expensive first; those within functions too, whose time is in that of the function as well.
async fn statements(superuser: &PgPool, messages: usize) -> String {
    let rows = sqlx::query(AssertSqlSafe(format!(
        r"select {WHOSE} || case when toplevel then '' else ', within' end,
                 left(regexp_replace(query, '\s+', ' ', 'g'), 100),
                 sum(calls)::float8, sum(total_plan_time), sum(total_exec_time), sum(plans)::float8
          from looking.pg_stat_statements join pg_roles on oid = userid
          group by 1, 2 order by sum(total_plan_time + total_exec_time) desc limit {MOST}"
    )))
    .fetch_all(superuser)
    .await
    .expect("the statements");
    let mut lines = vec![
        "| for 1,000 messages: whose | statement | calls | plans | planning, ms | execution, ms |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for row in rows {
        let (whose, query): (String, String) = (row.get(0), row.get(1));
        let [calls, planning, execution, plans] =
            [2, 3, 4, 5].map(|at| row.get::<f64, _>(at) / messages as f64 * 1000.0);
        let query = query.replace('|', "\\|");
        lines.push(format!("| {whose} | {query} | {calls:.0} | {plans:.0} | {planning:.1} | {execution:.1} |"));
    }
    lines.join("\n")
}

/// Writes down what every connection that is at work waits for.
async fn watch(superuser: PgPool) {
    let look = format!(
        r"insert into looking.seen
          select {WHOSE}, left(regexp_replace(query, '\s+', ' ', 'g'), 60), coalesce(wait_event_type || ' ' || wait_event, 'runs')
          from pg_stat_activity join pg_roles on pg_roles.oid = usesysid
          where state = 'active' and rolname <> 'postgres'"
    );
    loop {
        sqlx::query(AssertSqlSafe(look.clone())).execute(&superuser).await.expect("looked");
        tokio::time::sleep(LOOKS).await;
    }
}

/// A row for what was waited for, the most frequent first.
async fn waits(superuser: &PgPool) -> String {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "select whose, what, wait, count(*) from looking.seen group by 1, 2, 3 order by 4 desc limit {MOST}"
    )))
    .fetch_all(superuser)
    .await
    .expect("what was seen");
    let mut lines = vec!["| whose | at work on | waits for | seen |".to_owned(), "|---|---|---|---|".to_owned()];
    for row in rows {
        let [whose, what, wait] = [0, 1, 2].map(|at| row.get::<String, _>(at).replace('|', "\\|"));
        lines.push(format!("| {whose} | {what} | {wait} | {} |", row.get::<i64, _>(3)));
    }
    lines.join("\n")
}
