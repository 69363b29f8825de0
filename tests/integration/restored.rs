//! What becomes of an installation that was restored, with real servers that are copied, put back and promoted.
use std::sync::Arc;

use budstikke::domain::{Clock as _, MessageId, RouteId, SystemClock, TenantId, copenhagen_day};
use budstikke::keyring::{self, Class, Error as KeyError, Kek, Keyring};
use budstikke::retention::release;
use budstikke::retention::restored::{look, mark};
use budstikke::retention::shortened::{self, Wanted};
use budstikke::retention::{Expiry, Run};
use budstikke::store::claim::{self, Launched};
use budstikke::store::installation::{self, Installation, Queued};
use budstikke::store::retention::journal::{self, Checked, Restores};
use budstikke::store::retention::{self as store, Kept};
use budstikke::store::{connect, shares};
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, ToSqlx as _};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::postgres::Databases;

const KEK: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

struct World {
    databases: Databases,
    tenant: TenantId,
    route: RouteId,
    today: Date,
    pool: PgPool,
    owner: PgPool,
    api: PgPool,
    sender: PgPool,
    connector: PgPool,
    keys: PgPool,
    keyring: Arc<Keyring>,
}

impl World {
    /// A tenant with keys, a route, and the first mark.
    async fn new() -> Self {
        let databases = Databases::alone().await;
        let tenant = databases.tenant("tenant").await;
        let route = databases.route("main", &[(tenant, 1)]).await;
        let sender = connect(&databases.sender_login(tenant).await, 2, "test");
        let connector = connect(&databases.connector_login(route).await, 2, "test");
        let world = Self::on(databases, tenant, route, sender, connector);
        world.provide(tenant).await.expect("keys");
        world.mark().await;
        world
    }

    fn on(databases: Databases, tenant: TenantId, route: RouteId, sender: PgPool, connector: PgPool) -> Self {
        let keys = keyring::connect(&databases.keyring.dsn("budstikke_operator"), 2, "test");
        Self {
            pool: databases.data.pool("budstikke_operator"),
            owner: databases.data.pool("budstikke_owner"),
            api: databases.data.pool("budstikke_api"),
            keyring: Arc::new(Keyring::open(keys.clone(), Kek::parse(KEK).expect("a key"))),
            today: copenhagen_day(SystemClock.now()),
            keys,
            databases,
            tenant,
            route,
            sender,
            connector,
        }
    }

    async fn provide(&self, tenant: TenantId) -> Result<(), KeyError> {
        self.keyring.provide(tenant, self.today, self.today.saturating_add(2.days()), 89).await.map(|_| ())
    }

    /// One that remembers no key.
    fn fresh_keyring(&self) -> Keyring {
        Keyring::open(self.keys.clone(), Kek::parse(KEK).expect("a key"))
    }

    async fn mark(&self) {
        // The counter of what was accepted is told by a session that ends.
        mark(&self.pool, &self.keyring).await.expect("marked");
    }

    async fn look(&self) -> Installation {
        look(&self.pool, &self.keyring).await.expect("looked")
    }

    async fn retention(&self) -> Run {
        let clock = Arc::new(SystemClock);
        Expiry::new(self.pool.clone(), Arc::clone(&self.keyring), clock).run().await.expect("a run")
    }

    /// Accepts a message, with the API's own login.
    async fn accept(&self) -> Uuid {
        let key = self.fresh_keyring().queue_key(self.tenant, self.today).await.expect("a key").name().to_owned();
        let id = MessageId::new(SystemClock.now()).0;
        let mut session = self.api.acquire().await.expect("a session").detach();
        sqlx::query(
            "insert into queue (tenant_id, message_id, batch_id, day, expires_at, parts, amount, queue_key, body)
             values ($1, $2, $2, $3, now() + interval '1 hour', 1, 0, $4, '\\x00')",
        )
        .bind(self.tenant.0)
        .bind(id)
        .bind(self.today.to_sqlx() as SqlDate)
        .bind(key)
        .execute(&mut session)
        .await
        .expect("accepted");
        sqlx::query("select pg_stat_force_next_flush()").execute(&mut session).await.expect("counted");
        sqlx::Connection::close(session).await.expect("closed");
        id
    }

    /// Another tenant with an entry in today's log.
    async fn logged(&self, name: &str) -> TenantId {
        let tenant = self.databases.tenant(name).await;
        self.provide(tenant).await.expect("keys");
        store::keep(&self.pool, tenant, Kept { days: 89, shortened_at: None }).await.expect("kept");
        sqlx::query(
            "insert into message_log (tenant_id, message_id, day, batch_id, state, parts, amount, entry)
             values ($1, $2, $3, $2, 3, 1, 0, '\\x00')",
        )
        .bind(tenant.0)
        .bind(MessageId::new(SystemClock.now()).0)
        .bind(self.today.to_sqlx() as SqlDate)
        .execute(&self.owner)
        .await
        .expect("logged");
        tenant
    }

    async fn opt_out(&self, tenant: TenantId) {
        let out = Wanted { days: 0, opted_out: true, confirmed_before: None };
        shortened::follow(&self.pool, &self.keyring, tenant, out, SystemClock.now(), self.today).await.expect("erased");
    }

    async fn end_account(&self, tenant: TenantId) {
        store::erase_on(&self.pool, tenant, Some(self.today)).await.expect("said");
        assert_eq!(self.retention().await.accounts, 1);
    }

    async fn rows_of(&self, tenant: TenantId) -> i64 {
        let count = sqlx::query_scalar("select count(*) from message_log where tenant_id = $1");
        count.bind(tenant.0).fetch_one(&self.owner).await.expect("a count")
    }

    async fn is_unreadable(&self, tenant: TenantId) {
        let key = self.fresh_keyring().log_key(tenant, self.today).await;
        assert!(matches!(key, Err(KeyError::KeyMissing { .. })), "{tenant} can be read: {key:?}");
    }

    async fn launch(&self, epoch: i64, ids: &[Uuid]) -> Launched {
        let flight = Uuid::from_u128(rand::random());
        claim::launch(&self.sender, epoch, flight, self.route, ids).await.expect("an answer")
    }

    /// What a connector is told: whether the tenant may send.
    async fn shared(&self) -> bool {
        shares::read(&self.connector).await.expect("shares").first().is_some_and(|share| share.may_send)
    }

    /// Where a message stands, and its error.
    async fn stands(&self, id: Uuid) -> (i16, Option<i32>) {
        sqlx::query_as(
            "select state, null::integer from queue where message_id = $1
             union all select state, error from message_log where message_id = $1",
        )
        .bind(id)
        .fetch_one(&self.owner)
        .await
        .expect("it stands somewhere")
    }

    async fn release(&self, queued: Queued) -> Result<String, release::Error> {
        release::release(&self.pool, &self.keys, queued).await
    }
}

#[tokio::test]
async fn a_restored_data_instance_sends_nothing_until_it_is_released() {
    let mut world = World::new().await;
    let (kept, ended) = (world.logged("opted-out").await, world.logged("ended").await);
    let old = world.accept().await;
    let begun = claim::begin(&world.sender, claim::Beginner::ALONE).await.expect("begun").expect("an epoch");
    world.mark().await;
    let backup = world.databases.data.snapshot().await;

    let later = claim::begin(&world.sender, claim::Beginner::ALONE).await.expect("begun").expect("an epoch");
    world.opt_out(kept).await;
    world.end_account(ended).await;
    let lost = [world.accept().await, world.accept().await];
    world.mark().await;
    let newest = world.databases.tenant("lost").await;
    world.provide(newest).await.expect("keys");
    world.databases.data.restore(&backup, true).await;

    // By itself: no operator has looked.
    assert!(!world.shared().await);
    assert!(!claim::gate(&world.sender, begun).await.expect("an answer").may_send);
    assert!(world.launch(begun, &[old]).await.ids.is_empty());
    let since = world.accept().await;
    assert!(release::tell(&world.pool, &world.keys).await.expect("told").contains("within seconds"));
    assert!(matches!(world.release(Queued::Send).await, Err(release::Error::NotYet)));

    let stands = world.look().await;
    assert_eq!(stands.epoch, 2);
    assert!(stands.closed_since.is_some());
    assert_eq!(world.look().await.epoch, 2, "it is found once");
    assert!(matches!(world.release(Queued::Send).await, Err(release::Error::NotYet)), "nothing is erased again yet");
    let found = installation::unreleased(&world.pool).await.expect("restores").remove(0);
    assert_eq!((&*found.what, found.messages), ("data", 2), "{found:?}");
    assert!(found.entries >= 3 && found.lost_until > found.known_at, "{found:?}");
    for epoch in [begun, later] {
        assert!(!claim::gate(&world.sender, epoch).await.expect("an answer").newest, "a sender from before goes on");
    }
    let again = world.databases.tenant("again").await;
    assert!(again > newest, "an account id is given twice");

    assert_eq!((world.rows_of(kept).await, world.rows_of(ended).await), (1, 1), "they were restored");
    world.retention().await;
    assert_eq!((world.rows_of(kept).await, world.rows_of(ended).await), (0, 0));
    let living: i64 = sqlx::query_scalar("select count(*) from tenant where tenant_id = $1 and erased_at is null")
        .bind(ended.0)
        .fetch_one(&world.owner)
        .await
        .expect("a count");
    assert_eq!(living, 0, "the account lives again");
    assert!(matches!(journal::check(&world.pool).await.expect("read"), Checked::Whole { .. }));
    let told = journal::restores(&world.pool).await.expect("read");
    assert_eq!(told, Restores { times: 1, entries: found.entries });

    let epoch = claim::begin(&world.sender, claim::Beginner::ALONE).await.expect("begun").expect("an epoch");
    assert!(epoch > later + 1000);
    assert!(world.launch(epoch, &[old, since]).await.ids.is_empty(), "it is still closed");
    assert!(claim::adopt(&world.sender, epoch, false, 5).await.is_err());
    let told = release::tell(&world.pool, &world.keys).await.expect("told");
    for part in ["closed since", "at least 2 messages accepted", "1 messages wait", "and 1 accepted since", "--queued"]
    {
        assert!(told.contains(part), "no {part} in {told}");
    }

    world.release(Queued::Send).await.expect("released");
    assert!(world.release(Queued::Fail).await.expect("again").contains("open already"));
    assert!(world.shared().await);
    assert_eq!(world.launch(epoch, &[old, since, lost[0]]).await.ids, [MessageId(old), MessageId(since)]);
    world.mark().await;
    assert_eq!(world.look().await.epoch, 2);

    // And once more: the backup has a message in a flight, and what was restored is not sent.
    let queued = world.accept().await;
    let backup = world.databases.data.snapshot().await;
    world.databases.data.restore(&backup, true).await;
    let later = world.accept().await;
    assert_eq!(world.look().await.epoch, 3);
    world.retention().await;
    let told = release::tell(&world.pool, &world.keys).await.expect("told");
    assert!(told.contains("begun to submit 2,"), "{told}");
    assert!(world.release(Queued::Fail).await.expect("released").contains("3 messages were ended"));
    for id in [old, since, queued] {
        assert_eq!(world.stands(id).await, (8, Some(-4)));
    }
    assert_eq!(world.stands(later).await, (0, None));
    let epoch = claim::begin(&world.sender, claim::Beginner::ALONE).await.expect("begun").expect("an epoch");
    assert_eq!(claim::adopt(&world.sender, epoch, false, 5).await.expect("adopted").0.len(), 0, "no flight is left");
    assert_eq!(world.launch(epoch, &[later]).await.ids, [MessageId(later)]);
}

#[tokio::test]
async fn a_restored_keyring_brings_no_key_back_and_gives_no_name_twice() {
    let mut world = World::new().await;
    let (kept, ended) = (world.logged("opted-out").await, world.logged("ended").await);
    let past = world.today.saturating_sub(10.days());
    world.keyring.provide(world.tenant, past, past, 3).await.expect("keys of days gone by");
    let readable = world.accept().await;
    world.keyring.erase(world.tenant, Class::Queue, world.today).await.expect("none of today's");
    let backup = world.databases.keyring.snapshot().await;

    world.opt_out(kept).await;
    world.end_account(ended).await;
    for _ in 0..2 {
        world.mark().await;
    }
    // A tenant whose keys are made after the backup.
    let late = world.databases.tenant("late").await;
    world.provide(late).await.expect("keys");
    let name = world.keyring.queue_key(late, world.today).await.expect("a key").name().to_owned();
    let unreadable = world.accept().await;
    sqlx::query("update queue set tenant_id = $1, queue_key = $2 where message_id = $3")
        .bind(late.0)
        .bind(&name)
        .bind(unreadable)
        .execute(&world.owner)
        .await
        .expect("it is the late tenant's");
    world.databases.keyring.restore(&backup, true).await;

    assert!(world.provide(late).await.is_err(), "a name would be given twice");
    world.fresh_keyring().log_key(kept, world.today).await.expect("the backup has it");
    let run = world.retention().await;
    assert!(run.keys >= 2, "keys of days gone by are destroyed again: {run:?}");
    world.is_unreadable(kept).await;
    world.is_unreadable(ended).await;
    let old = world.fresh_keyring().log_key(world.tenant, past).await;
    assert!(matches!(old, Err(KeyError::KeyMissing { .. })));

    let found = installation::unreleased(&world.pool).await.expect("restores").remove(0);
    assert_eq!((&*found.what, found.messages, found.entries), ("keyring", 0, 0));
    world.provide(late).await.expect("keys");
    let anew = world.fresh_keyring().queue_key(late, world.today).await.expect("a key").name().to_owned();
    assert_eq!(anew, format!("{name}/1"));
    let told = release::tell(&world.pool, &world.keys).await.expect("told");
    for part in ["2 messages wait in the queue, which was not restored", "and 1 cannot be read any more"] {
        assert!(told.contains(part), "no {part} in {told}");
    }
    // None was restored with the queue, so none may have been sent unseen: what can be read is sent, whatever is asked for.
    assert!(world.release(Queued::Fail).await.expect("released").contains("1 messages were ended"));
    assert_eq!(world.stands(unreadable).await, (4, Some(-5)));
    assert_eq!(world.stands(readable).await, (0, None), "it was not restored");
}

#[tokio::test]
async fn a_volume_that_is_put_back_is_known_by_its_mark_and_both_instances_together_by_their_timelines() {
    let mut world = World::new().await;
    let backup = world.databases.data.snapshot().await;
    world.mark().await;
    assert!(world.look().await.closed_since.is_none(), "a restart is no restore");
    world.databases.data.restore(&backup, false).await;
    assert!(world.look().await.closed_since.is_some(), "the timeline is the same, the mark is older");
    world.retention().await;
    world.release(Queued::Send).await.expect("released");

    let kept = world.logged("opted-out").await;
    world.opt_out(kept).await;
    world.mark().await;
    let backups = (world.databases.data.snapshot().await, world.databases.keyring.snapshot().await);
    world.mark().await;
    world.databases.data.restore(&backups.0, true).await;
    world.databases.keyring.restore(&backups.1, true).await;
    assert_eq!(world.look().await.epoch, 3);
    let found = installation::unreleased(&world.pool).await.expect("restores").remove(0);
    assert_eq!(found.what, "both");
    world.retention().await;
    world.is_unreadable(kept).await;
    world.release(Queued::Fail).await.expect("released");
    assert!(world.shared().await);
}

#[tokio::test]
async fn a_synchronous_standby_takes_over_without_a_word() {
    let mut world = World::new().await;
    let (data, keyring) = (world.databases.data.standby().await, world.databases.keyring.standby().await);
    let queued = world.accept().await;
    world.mark().await;
    world.databases.data.fail_over(data);
    world.databases.keyring.fail_over(keyring);
    let login = world.databases.data.dsn(&format!("bst_{}", world.tenant.0));
    let connector = world.databases.data.dsn(&format!("bsr_{}", world.route.0));
    let World { databases, tenant, route, .. } = world;
    let world = World::on(databases, tenant, route, connect(&login, 2, "test"), connect(&connector, 2, "test"));

    assert!(!world.shared().await, "nobody has looked yet");
    let stands = world.look().await;
    assert_eq!((stands.epoch, stands.closed_since), (1, None));
    assert!(world.shared().await);
    let epoch = claim::begin(&world.sender, claim::Beginner::ALONE).await.expect("begun").expect("an epoch");
    assert_eq!(world.launch(epoch, &[queued]).await.ids, [MessageId(queued)]);
    world.provide(world.tenant).await.expect("keys are made");
}
