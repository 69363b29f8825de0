//! What a stolen database login is worth (design, "Isolation"): a sender's and a connector's login, tried on every table,
//! partition and function that the catalogue lists. No row of another tenant is read or changed, and of its own a login
//! does only what the design grants.
use std::collections::BTreeSet;

use budstikke::domain::{RouteId, TenantId};
use budstikke::store::{self, Dsn};
use sqlx::{AssertSqlSafe, Column as _, PgPool, Row as _};

use crate::support::postgres::Databases;

/// What a sender may do with tables, and columns where the right ends there.
const SENDER: &[(&str, &[&str])] = &[("enforcement", &["SELECT"]), ("queue", &["SELECT"]), ("flight", &["SELECT"])];
const SENDER_FUNCTIONS: &[&str] = &[
    "current_tenant",
    "sender_adopt",
    "sender_alive",
    "sender_begin",
    "sender_gate",
    "sender_launch",
    "sender_receipts",
    "sender_settle",
    "schema_version",
];
const CONNECTOR_FUNCTIONS: &[&str] = &[
    "connector_shares",
    "connector_numbers",
    "connector_opt_outs",
    "receipt_owners",
    "receipts_apply",
    "receipts_park",
    "receipts_retry",
    "inbound_key",
    "inbound_store",
    "inbound_store_part",
    "inbound_part_owner",
    "upstream_tell",
    "upstream_withdraw",
    "schema_version",
];

const DENIED: &str = "42501";

/// Two tenants, each with a route of its own and a row in every table.
struct Scene {
    databases: Databases,
    owner: PgPool,
    ours: TenantId,
    theirs: TenantId,
    our_route: RouteId,
    their_route: RouteId,
}

impl Scene {
    async fn set() -> Self {
        let databases = Databases::start().await;
        let (ours, theirs) = (databases.tenant("ours").await, databases.tenant("theirs").await);
        let our_route = databases.route("our-route", &[(ours, 1)]).await;
        let their_route = databases.route("their-route", &[(theirs, 1)]).await;
        databases.sender_login(theirs).await;
        let owner = databases.data.pool("budstikke_owner");
        let scene = Self { databases, owner, ours, theirs, our_route, their_route };
        // Logins first: they come with rows of their own.
        scene.sender().await;
        let hours = "select ensure_mail_partitions(now(), now() + interval '1 hour')";
        sqlx::query(hours).execute(&scene.owner).await.expect("room for copies of mail");
        for table in scene.tables("relkind in ('r', 'p') and not relispartition").await {
            for (tenant, route) in [(ours, our_route), (theirs, their_route)] {
                scene.fill(&table, tenant, route).await;
            }
        }
        scene
    }

    async fn sender(&self) -> (Dsn, PgPool) {
        let dsn = self.databases.sender_login(self.ours).await;
        let pool = store::connect(&dsn, 1, "stolen");
        (dsn, pool)
    }

    async fn connector(&self) -> (Dsn, PgPool) {
        let dsn = self.databases.connector_login(self.our_route).await;
        let pool = store::connect(&dsn, 1, "stolen");
        (dsn, pool)
    }

    /// Relations of our schema that have a tenant, by a condition on `pg_class`.
    async fn tables(&self, condition: &str) -> Vec<String> {
        let query = format!(
            "select relname::text from pg_class where relnamespace = 'budstikke'::regnamespace and {condition} \
             and exists (select from pg_attribute where attrelid = pg_class.oid and attname = 'tenant_id' and not attisdropped) \
             order by 1"
        );
        sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&self.owner).await.expect("list tables")
    }

    /// Every relation of our schema that holds rows, and whether it is a partition.
    async fn relations(&self) -> Vec<(String, bool)> {
        let query = "select relname::text, relispartition from pg_class \
                     where relnamespace = 'budstikke'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f') order by 1";
        sqlx::query_as(query).fetch_all(&self.owner).await.expect("list relations")
    }

    /// Name, type, and the first word that a check allows.
    async fn columns(&self, table: &str) -> Vec<(String, String, Option<String>)> {
        sqlx::query_as(
            "select attname::text, format_type(atttypid, null), \
                (select substring(pg_get_constraintdef(oid) from '''([^'']+)''') from pg_constraint \
                 where conrelid = attrelid and contype = 'c' and conkey = array[attnum] limit 1) \
             from pg_attribute where attrelid = to_regclass($1) and attnum > 0 and not attisdropped order by attnum",
        )
        .bind(format!("budstikke.{table}"))
        .fetch_all(&self.owner)
        .await
        .expect("list columns")
    }

    /// A row for the tenant, of whatever the columns take. The same upstream id and tag on both sides: the hard case.
    async fn row(&self, table: &str, tenant: TenantId, route: RouteId) -> String {
        let values = self.columns(table).await.into_iter().map(|(name, kind, word)| match (&*name, &*kind) {
            ("tenant_id", _) => tenant.to_string(),
            ("route_id", _) => route.to_string(),
            ("state", _) => if table == "queue" { "0" } else { "2" }.to_owned(),
            ("day", _) => "(now() at time zone 'Europe/Copenhagen')::date".to_owned(),
            ("month", _) => "date_trunc('month', now())::date".to_owned(),
            ("prefix" | "number", _) => format!("'number of {tenant}'"),
            (_, "bigint" | "integer" | "smallint") => "1".to_owned(),
            (_, "uuid") => "gen_random_uuid()".to_owned(),
            (_, "uuid[]") => "array[gen_random_uuid()]".to_owned(),
            (_, "text[]") => "'{x}'".to_owned(),
            (_, "smallint[]") => "'{1}'".to_owned(),
            (_, "bytea") => format!("'\\x{:016}'::bytea", tenant.0),
            (_, "jsonb") => "'{}'".to_owned(),
            (_, "boolean") => "true".to_owned(),
            (_, "date") => "current_date".to_owned(),
            (_, "timestamp with time zone") => "now()".to_owned(),
            _ => format!("'{}'", word.as_deref().unwrap_or("x")),
        });
        values.collect::<Vec<_>>().join(", ")
    }

    async fn fill(&self, table: &str, tenant: TenantId, route: RouteId) {
        let there = format!("select count(*) from {table} where tenant_id = {tenant}");
        let there: i64 = sqlx::query_scalar(AssertSqlSafe(there)).fetch_one(&self.owner).await.expect("count");
        if there == 0 {
            let insert = format!("insert into {table} values ({})", self.row(table, tenant, route).await);
            sqlx::query(AssertSqlSafe(insert))
                .execute(&self.owner)
                .await
                .unwrap_or_else(|error| panic!("{table}: {error}"));
        }
    }

    /// All that is stored of the other tenant, and of its login.
    async fn theirs(&self) -> String {
        let mut all = String::new();
        for table in self.tables("relkind in ('r', 'p') and not relispartition").await {
            let rows = format!(
                "select coalesce(string_agg(t::text, ' ' order by t::text), '') from {table} t where tenant_id = {}",
                self.theirs
            );
            let rows: String = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_one(&self.owner).await.expect("read");
            assert!(!rows.is_empty(), "{table} holds a row of the other tenant");
            all.push_str(&format!("{table}: {rows}\n"));
        }
        all
    }
}

/// The statement's SQLSTATE where it fails.
async fn refusal(pool: &PgPool, statement: &str) -> Option<String> {
    let error = sqlx::query(AssertSqlSafe(statement.to_owned())).fetch_all(pool).await.err()?;
    Some(
        error
            .as_database_error()
            .and_then(|error| error.code())
            .unwrap_or_else(|| panic!("{statement}: {error}"))
            .into_owned(),
    )
}

/// Tries everything that could read or change rows of `table`, and returns the statements that were not refused.
async fn attack(scene: &Scene, pool: &PgPool, table: &str, partition: bool) -> Vec<String> {
    let (theirs, columns) = (scene.theirs, scene.columns(table).await);
    let has_tenant = columns.iter().any(|(name, ..)| name == "tenant_id");
    let mut statements = vec![
        format!("select * from {table}"),
        format!("select * from {table} for update"),
        format!("delete from {table}"),
        format!("truncate {table}"),
        format!("alter table {table} disable row level security"),
        format!("create policy mine on {table} using (true)"),
        format!("drop table {table} cascade"),
        // In a block, since a lock outlives no statement by itself.
        format!("do $$ begin lock table {table} in access exclusive mode; end $$"),
        format!("do $$ begin lock table {table} in row exclusive mode; end $$"),
        format!(
            "insert into {table} overriding system value values ({})",
            scene.row(table, theirs, scene.their_route).await
        ),
    ];
    // Of a partition one column stands for all: nobody has a right on any.
    for (column, ..) in columns.iter().take(if partition { 1 } else { columns.len() }) {
        statements.push(format!("update {table} set {column} = {column}"));
        statements.push(format!("update {table} set {column} = default"));
    }
    if has_tenant {
        statements.push(format!("select * from {table} where tenant_id = {theirs}"));
        statements.push(format!("delete from {table} where tenant_id = {theirs}"));
        statements.push(format!("update {table} set tenant_id = {theirs}"));
    }
    let mut done = Vec::new();
    for statement in statements {
        match refusal(pool, &statement).await.as_deref() {
            None => done.push(statement),
            // Denied; or a column that takes no value, whoever asks; or no default, in one that may be changed.
            Some(DENIED | "428C9") => {}
            Some("23502") if statement.ends_with("= default") => {}
            Some(code) => panic!("{statement}: {code}"),
        }
    }
    done
}

#[tokio::test]
async fn a_senders_login_sees_and_changes_its_own_tenants_rows_only() {
    let scene = Scene::set().await;
    let (_, pool) = scene.sender().await;

    for (table, _) in SENDER.iter().filter(|(_, rights)| rights.contains(&"SELECT")) {
        let rows = sqlx::query(AssertSqlSafe(format!("select * from {table}"))).fetch_all(&pool).await.expect(table);
        assert!(!rows.is_empty(), "it reads its own {table}");
        for row in rows {
            assert!(row.columns().iter().any(|column| column.name() == "tenant_id"));
            assert_eq!(row.get::<i64, _>("tenant_id"), scene.ours.0, "{table}");
        }
    }

    let before = scene.theirs().await;
    for (table, partition) in scene.relations().await {
        let allowed = SENDER.iter().find(|(name, _)| *name == table).map_or(&[][..], |(_, rights)| rights);
        for statement in attack(&scene, &pool, &table, partition).await {
            let verb = statement.split(' ').next().expect("a verb").to_uppercase();
            assert!(allowed.iter().any(|right| right.starts_with(&verb)), "was not refused: {statement}");
        }
    }
    assert_eq!(scene.theirs().await, before, "nothing of the other tenant has changed");
}

#[tokio::test]
async fn a_connectors_login_reads_and_changes_no_table_at_all() {
    let scene = Scene::set().await;
    let (_, pool) = scene.connector().await;
    let shares: Vec<i64> =
        sqlx::query_scalar("select tenant_id from connector_shares()").fetch_all(&pool).await.expect("its own shares");
    assert_eq!(shares, [scene.ours.0]);

    let before = scene.theirs().await;
    for (table, partition) in scene.relations().await {
        assert_eq!(attack(&scene, &pool, &table, partition).await, Vec::<String>::new());
    }
    assert_eq!(scene.theirs().await, before, "nothing of the other tenant has changed");
}

#[tokio::test]
async fn logins_hold_exactly_the_rights_that_the_design_grants() {
    let scene = Scene::set().await;
    let (sender, _) = scene.sender().await;
    let (connector, _) = scene.connector().await;
    for (login, tables, functions) in [(sender, SENDER, SENDER_FUNCTIONS), (connector, &[][..], CONNECTOR_FUNCTIONS)] {
        let held: Vec<String> = sqlx::query_scalar(
            "select relname || ' ' || verb from pg_class, unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', \
                'REFERENCES', 'TRIGGER']) as verb \
             where relnamespace = 'budstikke'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f') \
               and has_table_privilege($1, pg_class.oid, verb) \
             union all \
             select relname || ' ' || verb || '(' || attname || ')' from pg_class join pg_attribute on attrelid = pg_class.oid, \
                unnest(array['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) as verb \
             where relnamespace = 'budstikke'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f') and attnum > 0 \
               and not attisdropped and has_column_privilege($1, attrelid, attnum, verb) \
               and not has_table_privilege($1, attrelid, verb) \
             union all \
             select relname || ' sequence' from pg_class where relnamespace = 'budstikke'::regnamespace \
               and case when relkind = 'S' then has_sequence_privilege($1, pg_class.oid, 'USAGE, SELECT, UPDATE') end",
        )
        .bind(login.login())
        .fetch_all(&scene.owner)
        .await
        .expect("list rights");
        let granted =
            tables.iter().flat_map(|(table, rights)| rights.iter().map(move |right| format!("{table} {right}")));
        assert_eq!(held.into_iter().collect::<BTreeSet<_>>(), granted.collect());

        let held: Vec<String> = sqlx::query_scalar(
            "select proname::text from pg_proc where pronamespace = 'budstikke'::regnamespace \
             and has_function_privilege($1, oid, 'EXECUTE')",
        )
        .bind(login.login())
        .fetch_all(&scene.owner)
        .await
        .expect("list functions");
        let granted = functions.iter().map(|name| (*name).to_owned());
        assert_eq!(held.into_iter().collect::<BTreeSet<_>>(), granted.collect());
    }
}

#[tokio::test]
async fn every_function_that_is_not_granted_is_refused() {
    let scene = Scene::set().await;
    let (_, sender) = scene.sender().await;
    let (_, connector) = scene.connector().await;
    let functions: Vec<(String, String)> = sqlx::query_as(
        "select proname::text, format('select %s(%s)', proname, \
            (select string_agg('null::' || format_type(kind, null), ', ') from unnest(proargtypes) as kind)) \
         from pg_proc where pronamespace = 'budstikke'::regnamespace",
    )
    .fetch_all(&scene.owner)
    .await
    .expect("list functions");
    for (pool, granted) in [(&sender, SENDER_FUNCTIONS), (&connector, CONNECTOR_FUNCTIONS)] {
        for (_, call) in functions.iter().filter(|(name, _)| !granted.contains(&name.as_str())) {
            assert_eq!(refusal(pool, call).await.as_deref(), Some(DENIED), "{call}");
        }
    }
}

#[tokio::test]
async fn granted_functions_do_not_reach_the_other_tenant() {
    let scene = Scene::set().await;
    let (_, sender) = scene.sender().await;
    let (_, connector) = scene.connector().await;
    sqlx::query("update inbound set open_until = now() + interval '1 hour'")
        .execute(&scene.owner)
        .await
        .expect("awaited");
    let before = scene.theirs().await;
    let (theirs, their_route) = (scene.theirs, scene.their_route);

    // A receipt for a message of theirs: the ids are known, as they would be to one who shares their upstream.
    let receipt = "array['x'], array[1], array[3::smallint], array[null::integer], array[now()]";
    let outcome = format!("select sender_receipts(array[{their_route}::bigint], {receipt})");
    let outcome: Vec<i16> = sqlx::query_scalar(AssertSqlSafe(outcome)).fetch_one(&sender).await.expect("called");
    assert_eq!(outcome, [0], "unknown to us");
    let owners: Vec<Option<i64>> =
        sqlx::query_scalar("select receipt_owners(array['x'], array[1])").fetch_one(&connector).await.expect("called");
    assert_eq!(owners, [Some(scene.ours.0)], "the same id and tag on their route is not ours");
    let outcome = format!("select receipts_apply({receipt})");
    let outcome: Vec<i16> = sqlx::query_scalar(AssertSqlSafe(outcome)).fetch_one(&connector).await.expect("called");
    assert_eq!(outcome, [1], "applied to the message on our own route");

    // By its own functions it neither sends by their route, nor writes or takes up anything of theirs.
    let queued: String = sqlx::query_scalar("select message_id::text from queue where tenant_id = $1")
        .bind(theirs.0)
        .fetch_one(&scene.owner)
        .await
        .expect("a message of theirs");
    let launch = |route: RouteId| {
        format!(
            "select coalesce(cardinality(flown), 0) from sender_launch(0, gen_random_uuid(), {route}, array['{queued}'::uuid])"
        )
    };
    for route in [their_route, scene.our_route] {
        let flown: i32 = sqlx::query_scalar(AssertSqlSafe(launch(route))).fetch_one(&sender).await.expect("called");
        assert_eq!(flown, 0);
    }
    let settle = |route: RouteId| {
        format!(
            "select sender_settle(array['{queued}'::uuid], array[2::smallint], array[null::integer], array[{route}::bigint], \
                array['x'], array[1], array[now()], array[null::timestamptz], '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}')"
        )
    };
    assert_eq!(refusal(&sender, &settle(their_route)).await.as_deref(), Some(DENIED), "a route that is not ours");
    assert_eq!(refusal(&sender, &settle(scene.our_route)).await, None, "no message of ours: nothing happens");
    sqlx::query("select * from sender_adopt(1000, false, 5::smallint)").execute(&sender).await.expect("called");
    sqlx::query("select sender_alive(1, 60)").execute(&sender).await.expect("called");

    let epoch: Option<i64> = sqlx::query_scalar("select sender_begin(false, gen_random_uuid(), false)")
        .fetch_one(&sender)
        .await
        .expect("called");
    assert_eq!(epoch, Some(1), "our own next one");
    let numbers: Vec<i64> =
        sqlx::query_scalar("select tenant_id from connector_numbers()").fetch_all(&connector).await.expect("called");
    assert_eq!(numbers, [scene.ours.0]);
    let retried: i64 = sqlx::query_scalar("select applied + kept + dropped from receipts_retry(100)")
        .fetch_one(&connector)
        .await
        .expect("called");
    assert_eq!(retried, 0, "what is parked on their route is not ours to retry");

    let key = format!("select key_name from inbound_key({theirs})");
    assert!(sqlx::query(AssertSqlSafe(key)).fetch_all(&connector).await.expect("called").is_empty());
    let own = format!("select key_name from inbound_key({})", scene.ours);
    assert_eq!(sqlx::query(AssertSqlSafe(own)).fetch_all(&connector).await.expect("called").len(), 1);
    let rules: Vec<i64> =
        sqlx::query_scalar("select tenant_id from connector_opt_outs()").fetch_all(&connector).await.expect("called");
    assert_eq!(rules, [scene.ours.0], "what opt-outs of others are sealed to is not ours to know");
    let asks = format!("select inbound_store({theirs}, gen_random_uuid(), current_date, now(), 'x', '', true, '')");
    assert_eq!(refusal(&connector, &asks).await.as_deref(), Some(DENIED), "nor to ask for");
    let store = format!("select inbound_store({theirs}, gen_random_uuid(), current_date, now(), 'x', '')");
    assert_eq!(refusal(&connector, &store).await.as_deref(), Some(DENIED));
    let store = format!(
        "select inbound_store_part({theirs}, gen_random_uuid(), current_date, now(), 'x', '', 1, 1::smallint, 2::smallint, 1)"
    );
    assert_eq!(refusal(&connector, &store).await.as_deref(), Some(DENIED));
    // A part with the same checks came by either route: on theirs it is not ours to know.
    let owners: Option<i64> =
        sqlx::query_scalar("select inbound_part_owner(1, 1::smallint, 1)").fetch_one(&connector).await.expect("called");
    assert_eq!(owners, Some(scene.ours.0));

    // What they told of their upstream is not ours to take back.
    sqlx::query("insert into upstream_report (route_id, pod, binds, circuit, circuit_since) values ($1, $2, 1, 'closed', now())")
        .bind(their_route.0)
        .bind(uuid::Uuid::nil())
        .execute(&scene.owner)
        .await
        .expect("a report of theirs");
    for call in [
        "select upstream_withdraw($1)",
        "select upstream_tell($1, 0, null, null, null, 'open', now(), null, null, null)",
    ] {
        sqlx::query(call).bind(uuid::Uuid::nil()).execute(&connector).await.expect("called");
    }
    let told: Vec<(i64, i32)> = sqlx::query_as("select route_id, binds from upstream_report order by route_id")
        .fetch_all(&scene.owner)
        .await
        .expect("read");
    assert_eq!(told, [(scene.our_route.0, 0), (their_route.0, 1)]);

    // Each other's functions, too.
    assert_eq!(refusal(&sender, "select * from connector_shares()").await.as_deref(), Some(DENIED));
    assert_eq!(
        refusal(&connector, "select sender_begin(true, gen_random_uuid(), true)").await.as_deref(),
        Some(DENIED)
    );
    assert_eq!(scene.theirs().await, before, "nothing of the other tenant has changed");
}

#[tokio::test]
async fn of_its_own_a_sender_can_neither_unbill_nor_lift_a_suspension() {
    let scene = Scene::set().await;
    let (_, pool) = scene.sender().await;
    for statement in [
        "delete from usage",
        "insert into usage select tenant_id, message_id, 9, current_date, now(), -1 from queue",
        "update usage set amount = 0",
        "select * from usage",
        "update enforcement set may_send = true",
        "insert into enforcement select * from enforcement",
        "delete from enforcement",
        "update queue set amount = 0",
        "update queue set body = ''",
        "insert into queue select * from queue",
        "delete from message_log",
        "update message_log set entry = ''",
        "update sender_epoch set epoch = 0",
        "select * from login",
    ] {
        assert_eq!(refusal(&pool, statement).await.as_deref(), Some(DENIED), "{statement}");
    }
}

#[tokio::test]
async fn a_login_cannot_become_another_or_leave_things_behind() {
    let scene = Scene::set().await;
    for (dsn, pool) in [scene.sender().await, scene.connector().await] {
        for role in
            ["postgres", "budstikke_owner", "budstikke_operator", "budstikke_api", &format!("bst_{}", scene.theirs)]
        {
            assert_eq!(refusal(&pool, &format!("set role {role}")).await.as_deref(), Some(DENIED), "{role}");
            let session = refusal(&pool, &format!("set session authorization {role}")).await;
            assert_eq!(session.as_deref(), Some(DENIED), "{role}");
            assert_eq!(
                refusal(&pool, &format!("alter role {role} password 'x'")).await.as_deref(),
                Some(DENIED),
                "{role}"
            );
        }
        for statement in [
            "create table mine (x int)",
            "create temporary table mine (x int)",
            "create schema mine",
            "create function mine() returns int language sql as 'select 1'",
            "create role mine",
            "copy (select 1) to program 'id'",
            "select pg_read_file('postgresql.conf')",
            "select pg_terminate_backend(pid) from pg_stat_activity where usename <> current_user and pid <> pg_backend_pid()",
        ] {
            assert_eq!(refusal(&pool, statement).await.as_deref(), Some(DENIED), "{statement}");
        }
        // Reading what others ask, or what the planner knows of their rows.
        let seen: i64 = sqlx::query_scalar(
            "select (select count(*) from pg_stat_activity where usename <> current_user and query not like '<insufficient%' \
                and query <> '') + (select count(*) from pg_stats where schemaname = 'budstikke')",
        )
        .fetch_one(&pool)
        .await
        .expect("read statistics");
        assert_eq!(seen, 0, "{dsn:?}");
    }
}

#[tokio::test]
async fn senders_and_connectors_do_not_exist_on_the_keyring_instance() {
    let scene = Scene::set().await;
    for (dsn, _) in [scene.sender().await, scene.connector().await] {
        let there = scene.databases.keyring.dsn(dsn.login());
        let error = store::connect(&there, 1, "stolen").acquire().await.expect_err("no login");
        assert_eq!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("28P01"));
    }
    let superuser = scene.databases.keyring.pool("postgres");
    let roles: Vec<String> =
        sqlx::query_scalar("select rolname::text from pg_roles where rolname like 'b%' order by 1")
            .fetch_all(&superuser)
            .await
            .expect("list roles");
    assert_eq!(roles, ["budstikke_api", "budstikke_operator", "budstikke_owner", "budstikke_worker"]);
}

#[tokio::test]
async fn row_level_security_is_forced_on_every_table_with_a_tenant_and_partitions_are_closed() {
    let scene = Scene::set().await;
    let open = scene
        .tables("relkind in ('r', 'p') and not relispartition and not (relrowsecurity and relforcerowsecurity)")
        .await;
    assert_eq!(open, Vec::<String>::new(), "call isolate() in the migration that makes it");
    let open = scene
        .tables("relkind = 'r' and relispartition and (not relrowsecurity or coalesce(cardinality(relacl), 0) > 1)")
        .await;
    assert_eq!(open, Vec::<String>::new());
}
