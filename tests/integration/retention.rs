//! The end of what is kept, on real instances, while days pass by the clock.
use std::sync::Arc;

use budstikke::domain::{BatchId, Clock, MessageId, TenantId};
use budstikke::keyring::{self, Class, Error as KeyError, Kek, Keyring};
use budstikke::retention::shortened::{self, Step, Wanted};
use budstikke::retention::{Error, Expiry, Run};
use budstikke::store::partitions;
use budstikke::store::retention::journal::{self, Checked};
use budstikke::store::retention::{self as store, Kept};
use jiff::civil::{Date, date};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use jiff_sqlx::{Date as SqlDate, ToSqlx as _};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::postgres::Databases;

mod clocks;
mod mail;
mod waiting;

const KEK: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// A clock that stands where a test put it.
#[derive(Debug)]
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }
}

struct World {
    databases: Databases,
    pool: PgPool,
    owner: PgPool,
    keyring: Arc<Keyring>,
    tenant: TenantId,
}

impl World {
    async fn new() -> Self {
        let databases = Databases::start().await;
        let keys = keyring::connect(&databases.keyring.dsn("budstikke_operator"), 2, "test");
        Self {
            pool: databases.data.pool("budstikke_operator"),
            owner: databases.data.pool("budstikke_owner"),
            keyring: Arc::new(Keyring::open(keys, Kek::parse(KEK).expect("a key"))),
            tenant: databases.tenant("tenant").await,
            databases,
        }
    }

    /// Makes keys and partitions of a day, and logs a message on it in a state.
    async fn log(&self, tenant: TenantId, day: Date, log_days: u32, state: i16) -> Uuid {
        partitions::ensure(&self.owner, day).await.expect("partitions");
        self.keyring.provide(tenant, day, day, log_days).await.expect("keys");
        let key = self.keyring.log_key(tenant, day).await.expect("a key").name().to_owned();
        let id = MessageId::new(noon(day)).0;
        sqlx::query(
            "insert into message_log (tenant_id, message_id, day, batch_id, state, parts, amount, log_key, entry, number_hash)
             values ($1, $2, $3, $4, $5, 1, 0, $6, '\\x00', '\\x00')",
        )
        .bind(tenant.0)
        .bind(id)
        .bind(day.to_sqlx() as SqlDate)
        .bind(BatchId::new(noon(day)).0)
        .bind(state)
        .bind(key)
        .execute(&self.owner)
        .await
        .expect("logged");
        store::keep(&self.pool, tenant, Kept { days: i32::try_from(log_days).expect("few"), shortened_at: None })
            .await
            .expect("kept");
        id
    }

    /// The operator as it starts on this day at noon, beside servers whose clocks were left behind.
    async fn run(&self, day: Date) -> Result<Run, Error> {
        self.run_at(noon(day)).await
    }

    /// The same at a moment.
    async fn run_at(&self, now: Timestamp) -> Result<Run, Error> {
        let servers = store::clock(&self.pool).await.expect("a time");
        Expiry::new(self.pool.clone(), Arc::clone(&self.keyring), Arc::new(At(now)))
            .ahead(now.duration_since(servers))
            .run()
            .await
    }

    fn pool_of_api(&self) -> PgPool {
        self.databases.data.pool("budstikke_api")
    }

    /// The keyring as a process that has just started sees it.
    fn fresh_keyring(&self) -> Keyring {
        let pool = keyring::connect(&self.databases.keyring.dsn("budstikke_api"), 1, "test");
        Keyring::open(pool, Kek::parse(KEK).expect("a key"))
    }

    async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.owner).await.expect("a count")
    }

    async fn logged(&self) -> i64 {
        self.count("select count(*) from message_log").await
    }

    async fn log_partitions(&self) -> i64 {
        self.count("select count(*) from pg_class where relname like 'message\\_log\\_2%' and relkind = 'r'").await
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

fn noon(day: Date) -> Timestamp {
    day.at(12, 0, 0, 0).in_tz("Europe/Copenhagen").expect("noon").timestamp()
}

const DAY: Date = date(2027, 1, 10);

#[tokio::test]
async fn a_days_keys_partition_and_rows_go_on_their_day_and_not_before() {
    let world = World::new().await;
    world.log(world.tenant, DAY, 28, 3).await;

    let last = DAY.saturating_add(27.days());
    let run = world.run(last).await.expect("nothing is due but what is older");
    assert_eq!((run.entries, world.logged().await), (0, 1), "it is kept to the end");
    world.keyring.log_key(world.tenant, DAY).await.expect("and can be read");
    let before = world.log_partitions().await;

    let run = world.run(last.saturating_add(1.day())).await.expect("due");
    // Log and inbound; the queue's key is kept as long as the log's here.
    assert_eq!(run.keys, 3);
    assert!(run.partitions >= 3, "{run:?}");
    assert_eq!(world.logged().await, 0);
    assert!(world.log_partitions().await < before);
    let fresh = keyring::connect(&world.databases.keyring.dsn("budstikke_api"), 1, "test");
    let fresh = Keyring::open(fresh, Kek::parse(KEK).expect("a key"));
    assert!(matches!(fresh.log_key(world.tenant, DAY).await, Err(KeyError::KeyMissing { .. })));

    let again = world.run(last.saturating_add(2.days())).await.expect("again");
    assert_eq!((again.keys, again.entries, again.messages), (0, 0, 0));
}

#[tokio::test]
async fn a_shorter_log_is_erased_on_a_day_that_is_shared() {
    let world = World::new().await;
    let long = world.databases.tenant("long").await;
    world.log(world.tenant, DAY, 12, 3).await;
    let unfinished = world.log(world.tenant, DAY, 12, 2).await;
    let kept = world.log(long, DAY, 89, 4).await;

    // Four days were missed.
    let run = world.run(DAY.saturating_add(16.days())).await.expect("due");
    assert_eq!(run.entries, 2, "nothing is heard of the other one any more after ten days");
    let left: Vec<Uuid> =
        sqlx::query_scalar("select message_id from message_log").fetch_all(&world.owner).await.expect("ids");
    assert_eq!(left, [kept]);
    assert_ne!(unfinished, kept);
    world.keyring.log_key(long, DAY).await.expect("can be read");
}

#[tokio::test]
async fn what_is_under_way_keeps_its_stub_until_it_is_final() {
    let world = World::new().await;
    // Opted out after it was sent: its key is gone, and its receipt is awaited.
    let id = world.log(world.tenant, DAY, 28, 2).await;
    let out = Wanted { days: 0, opted_out: true, confirmed_before: None };
    let step =
        shortened::follow(&world.pool, &world.keyring, world.tenant, out, noon(DAY), DAY).await.expect("followed");
    assert!(matches!(step, Step::Erase(..)), "{step:?}");
    world.run(DAY).await.expect("run");
    assert_eq!(world.logged().await, 1, "the receipt has somewhere to go");

    sqlx::query("update message_log set state = 3 where message_id = $1")
        .bind(id)
        .execute(&world.owner)
        .await
        .expect("final");
    assert_eq!(world.run(DAY).await.expect("run").entries, 1);
    assert_eq!(world.logged().await, 0);
}

/// Of a message that waited: when it was submitted.
async fn submitted(world: &World, id: Uuid, at: Timestamp) {
    sqlx::query("update message_log set submitted_at = $2 where message_id = $1")
        .bind(id)
        .bind(at.to_sqlx() as jiff_sqlx::Timestamp)
        .execute(&world.owner)
        .await
        .expect("submitted");
}

#[tokio::test]
async fn the_stub_of_a_scheduled_message_waits_for_its_receipt_from_its_submit_on() {
    let world = World::new().await;
    let id = world.log(world.tenant, DAY, 28, 2).await;
    let sent = DAY.saturating_add(30.days());
    submitted(&world, id, noon(sent)).await;
    let out = Wanted { days: 0, opted_out: true, confirmed_before: None };
    shortened::follow(&world.pool, &world.keyring, world.tenant, out, noon(DAY), DAY).await.expect("followed");
    for days in [0, 1, 10] {
        world.run(sent.saturating_add(days.days())).await.expect("run");
        assert_eq!(world.logged().await, 1, "{days} days after its submit its receipt has somewhere to go");
    }
    world.run(sent.saturating_add(11.days())).await.expect("run");
    assert_eq!(world.logged().await, 0);
    let day = "select count(*) from pg_class where relname = 'message_log_20270110'";
    assert_eq!(world.count(day).await, 0, "its day has gone with it");
}

#[tokio::test]
async fn what_a_shorter_log_keeps_no_longer_loses_its_keys_that_were_made_for_a_longer_one() {
    let world = World::new().await;
    let long = world.databases.tenant("long").await;
    let later = DAY.saturating_add(15.days());
    for day in [DAY, later] {
        world.log(world.tenant, day, 89, 3).await;
        world.log(long, day, 89, 3).await;
    }
    let shorter = Wanted { days: 10, opted_out: false, confirmed_before: Some(later.saturating_add(9.days())) };
    shortened::follow(&world.pool, &world.keyring, world.tenant, shorter, noon(later), later).await.expect("followed");
    let keys = async |tenant: TenantId, day: Date| -> Vec<String> {
        sqlx::query_scalar("select class from keyring.key where tenant_id = $1 and usable_from = $2 order by class")
            .bind(tenant.0)
            .bind(day.to_sqlx() as SqlDate)
            .fetch_all(&world.databases.keyring.pool("budstikke_owner"))
            .await
            .expect("classes")
    };
    world.run(later.saturating_add(9.days())).await.expect("run");
    assert_eq!(keys(world.tenant, DAY).await, [""; 0], "those of before went with the log, and nothing waits");
    assert_eq!(keys(world.tenant, later).await, ["inbound", "log", "queue"], "its tenth day");
    world.keyring.log_key(world.tenant, later).await.expect("can be read");

    let last = later.saturating_add(10.days());
    let run = world.run(last).await.expect("run");
    assert_eq!((run.keys, run.entries), (3, 1), "the keys go with the rows, and not 79 days later: {run:?}");
    assert_eq!(keys(world.tenant, later).await, [""; 0]);
    let fresh = world.fresh_keyring();
    assert!(matches!(fresh.log_key(world.tenant, later).await, Err(KeyError::KeyMissing { .. })));
    for day in [DAY, later] {
        fresh.log_key(long, day).await.expect("who keeps it longer reads it");
    }
    let noted =
        "select coalesce(sum(items), 0)::bigint from erasure_journal where what = 'keys' and due = '2027-02-04'";
    assert_eq!(world.count(noted).await, 3, "by the day on which they were due");
    assert_eq!(world.run(last).await.expect("again").keys, 0);
}

#[tokio::test]
async fn a_day_that_somebody_holds_keeps_no_other_from_going() {
    let world = World::new().await;
    for days in 0..3 {
        world.log(world.tenant, DAY.saturating_add(days.days()), 28, 3).await;
    }
    let mut held = world.owner.begin().await.expect("begun");
    sqlx::query("lock table message_log_20270110 in access share mode").execute(&mut *held).await.expect("held");
    let due = DAY.saturating_add(30.days());
    let error = world.run(due).await.expect_err("one day is left");
    assert!(matches!(error, Error::Store(store::Error::Drop(_))), "{error}");
    let left = "select count(*) from pg_class where relname in ('message_log_20270110', 'message_log_20270111', 'message_log_20270112')";
    assert_eq!(world.count(left).await, 1, "the others went");
    held.rollback().await.expect("let go");
    world.run(due).await.expect("run");
    assert_eq!(world.count(left).await, 0);
}

#[tokio::test]
async fn what_others_keep_is_not_read_to_erase_a_shorter_log() {
    let world = World::new().await;
    let long = world.databases.tenant("long").await;
    for days in [0, 20] {
        let day = DAY.saturating_add(days.days());
        world.log(world.tenant, day, 12, 3).await;
        for _ in 0..40 {
            world.log(long, day, 89, 3).await;
        }
    }
    let mut session = world.owner.acquire().await.expect("a session");
    let gone: i64 = sqlx::query_scalar("select removed from purge_kept($1, 100)")
        .bind(DAY.saturating_add(20.days()).to_sqlx() as SqlDate)
        .fetch_one(&mut *session)
        .await
        .expect("erased");
    assert_eq!(gone, 1);
    sqlx::query("select pg_stat_force_next_flush()").execute(&mut *session).await.expect("told");
    sqlx::query("select pg_stat_clear_snapshot()").execute(&mut *session).await.expect("asked anew");
    let read = "select coalesce(sum(seq_tup_read), 0)::bigint from pg_stat_user_tables where relname ~ '^(message_log|message_part|inbound)'";
    assert_eq!(world.count(read).await, 0, "by the index alone");
}

#[tokio::test]
async fn a_shortened_policy_waits_a_day_or_for_the_owners_word() {
    let world = World::new().await;
    world.log(world.tenant, DAY, 89, 3).await;
    let today = DAY.saturating_add(40.days());
    let follow = async |wanted, now| {
        shortened::follow(&world.pool, &world.keyring, world.tenant, wanted, now, today).await.expect("followed")
    };
    let shorter = Wanted { days: 28, opted_out: false, confirmed_before: None };
    assert!(matches!(follow(shorter, noon(today)).await, Step::Wait(_)));
    let pending = store::pending(&world.pool, &[world.tenant], 28, today).await.expect("asked").expect("it waits");
    assert_eq!((pending.tenants, pending.entries, pending.since), (1, 1, noon(today)));
    world.run(today).await.expect("run");
    assert_eq!(world.logged().await, 1, "nothing is erased while it is shown");
    world.keyring.log_key(world.tenant, DAY).await.expect("and it can be read");

    let later = noon(today).saturating_add(SignedDuration::from_hours(24)).expect("near");
    assert!(matches!(follow(shorter, later).await, Step::Erase(..)));
    assert_eq!(store::pending(&world.pool, &[world.tenant], 28, today).await.expect("asked"), None);
    let fresh = keyring::connect(&world.databases.keyring.dsn("budstikke_api"), 1, "test");
    let fresh = Keyring::open(fresh, Kek::parse(KEK).expect("a key"));
    assert!(matches!(fresh.log_key(world.tenant, DAY).await, Err(KeyError::KeyMissing { .. })));
    world.run(today).await.expect("run");
    assert_eq!(world.logged().await, 0);
    assert!(matches!(follow(shorter, later).await, Step::Keep(_)), "it is done");
}

#[tokio::test]
async fn an_account_that_has_ended_is_erased_on_its_day_and_what_was_billed_stays() {
    let world = World::new().await;
    let other = world.databases.tenant("other").await;
    let (day, last) = (DAY, DAY.saturating_add(20.days()));
    for tenant in [world.tenant, other] {
        world.log(tenant, day, 89, 3).await;
        let owner = &world.owner;
        sqlx::query("insert into usage (tenant_id, message_id, part, month, at, amount) values ($1, gen_random_uuid(), 1, $2, now(), 25)")
            .bind(tenant.0)
            .bind(date(2027, 1, 1).to_sqlx() as SqlDate)
            .execute(owner)
            .await
            .expect("billed");
    }
    let mine = mail::copy(&world, world.tenant, noon(day), 71, b"mail").await;
    mail::copy(&world, other, noon(last), 71, b"mail").await;
    assert_eq!(mail::read(&world, world.tenant, mine).await.as_deref(), Some(b"mail".as_slice()));
    world.databases.sender_login(world.tenant).await;
    store::erase_on(&world.pool, world.tenant, Some(last)).await.expect("it has ended");
    assert_eq!(world.run(last.saturating_sub(1.day())).await.expect("run").accounts, 0);
    assert_eq!(world.run(last).await.expect("run").accounts, 1);

    let tables: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class join pg_attribute on attrelid = pg_class.oid and attname = 'tenant_id'
         where relnamespace = 'budstikke'::regnamespace and relkind in ('r', 'p') and not relispartition order by 1",
    )
    .fetch_all(&world.owner)
    .await
    .expect("the tables");
    let mut left = Vec::new();
    for table in tables {
        let query = format!("select count(*) from {table} where tenant_id = $1");
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .bind(world.tenant.0)
            .fetch_one(&world.owner)
            .await
            .expect("rows");
        if rows > 0 {
            left.push(table);
        }
    }
    assert_eq!(left, ["erasure", "tenant", "usage"]);
    let role = format!("bst_{}", world.tenant);
    let roles: i64 = sqlx::query_scalar("select count(*) from pg_roles where rolname = $1")
        .bind(role)
        .fetch_one(&world.owner)
        .await
        .expect("roles");
    assert_eq!(roles, 0, "nobody can log in for it");
    for table in ["key", "hour_key", "lasting_key", "wrapping_key"] {
        let query = format!("select array_agg(distinct tenant_id) from keyring.{table}");
        let tenants: Vec<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .fetch_one(&world.databases.keyring.pool("budstikke_owner"))
            .await
            .expect("tenants");
        assert_eq!(tenants, [other.0], "{table}");
    }
    world.keyring.log_key(other, day).await.expect("another's can be read");
    assert_eq!(budstikke::store::mail::list(&world.pool_of_api(), other, None, 9).await.expect("listed").len(), 1);
    assert_eq!(world.run(last).await.expect("again").accounts, 0);
}

#[tokio::test]
async fn nothing_goes_while_a_clock_cannot_be_trusted() {
    let world = World::new().await;
    world.log(world.tenant, DAY, 28, 3).await;
    let due = noon(DAY.saturating_add(30.days()));
    let expiry = |now| Expiry::new(world.pool.clone(), Arc::clone(&world.keyring), Arc::new(At(now)));

    let error = expiry(due).run().await.expect_err("the servers say another year");
    assert!(matches!(error, Error::Disagree { server: "data instance", .. }), "{error}");
    assert_eq!(world.logged().await, 1);

    world.run(DAY).await.expect("a run");
    let later = noon(DAY).saturating_add(SignedDuration::from_hours(1)).expect("near");
    world.run_at(later).await.expect("a run");
    assert!(matches!(world.run(DAY).await, Err(Error::Back)), "the last run was later than now");
    world.run_at(later).await.expect("a run");

    // A clock that is set while the operator runs.
    let clock = Arc::new(std::sync::Mutex::new(noon(DAY)));
    struct Set(Arc<std::sync::Mutex<Timestamp>>);
    impl std::fmt::Debug for Set {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Set")
        }
    }
    impl Clock for Set {
        fn now(&self) -> Timestamp {
            *self.0.lock().expect("the time")
        }
    }
    let servers = store::clock(&world.pool).await.expect("a time");
    let ahead = noon(DAY).duration_since(servers);
    sqlx::query("delete from retention_run").execute(&world.owner).await.expect("forgotten");
    let mut expiry =
        Expiry::new(world.pool.clone(), Arc::clone(&world.keyring), Arc::new(Set(Arc::clone(&clock)))).ahead(ahead);
    expiry.run().await.expect("a run");
    *clock.lock().expect("the time") = due;
    assert!(matches!(expiry.run().await, Err(Error::Jumped { .. })));
    *clock.lock().expect("the time") = noon(DAY);
    assert!(matches!(expiry.run().await, Err(Error::Jumped { .. })), "until somebody has looked");
    assert_eq!(world.logged().await, 1);
}

#[tokio::test]
async fn the_journal_tells_what_went_and_shows_every_change() {
    let world = World::new().await;
    assert_eq!(
        journal::check(&world.pool).await.expect("checked"),
        Checked::Whole { entries: 0, newest: String::new() }
    );
    world.log(world.tenant, DAY, 28, 3).await;
    world.run(DAY.saturating_add(28.days())).await.expect("due");
    let Checked::Whole { entries, newest } = journal::check(&world.pool).await.expect("checked") else {
        panic!("a whole journal")
    };
    assert!(entries >= 6 && newest.len() == 64, "{entries} {newest}");
    let keys =
        "select sum(items)::bigint from erasure_journal where what = 'keys' and class = 'log' and due = '2027-02-07'";
    assert_eq!(world.count(keys).await, 1);

    for statement in ["update erasure_journal set items = 0", "delete from erasure_journal", "truncate erasure_journal"]
    {
        let error = sqlx::query(statement).execute(&world.pool).await.expect_err(statement);
        assert_eq!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("42501"), "{statement}");
    }
    // Only the owner of the schema can, and is seen.
    for (change, back) in [
        (
            "update erasure_journal set items = items + 1 where entry = 2",
            "update erasure_journal set items = items - 1 where entry = 2",
        ),
        (
            "update erasure_journal set entry = 1000 where entry = 3",
            "update erasure_journal set entry = 3 where entry = 1000",
        ),
    ] {
        sqlx::query(change).execute(&world.owner).await.expect("changed");
        assert!(matches!(journal::check(&world.pool).await.expect("checked"), Checked::Broken { .. }), "{change}");
        sqlx::query(back).execute(&world.owner).await.expect("put back");
    }
    assert_eq!(journal::check(&world.pool).await.expect("checked"), Checked::Whole { entries, newest });
    assert_eq!(Class::Log.as_str(), "log");
}
