//! A tenant with a queue, a route with a stand-in connector, and senders that start and die as a test wants.
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use budstikke::config::NamedKey;
use budstikke::config::sender::{CrashPolicy, Leg, SenderConfig, Settings};
use budstikke::domain::{
    Body, Clock as _, Encoding, MessageId, MessageState, Msisdn, Personal, RouteId, Secret, SenderId, SystemClock,
    TenantId, content, copenhagen_day, text,
};
use budstikke::keyring::seal::{Field, QueueKey};
use budstikke::pki::{Authority, Identity, Leaf};
use budstikke::sender::{End, Pace, Sender};
use budstikke::store;
use jiff_sqlx::ToSqlx as _;
use prometheus_client::registry::Registry;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::connector::Connector;
use crate::support::postgres::Databases;

/// Longer than anything here takes, also on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(180);
pub(crate) const HOST: &str = "connector.test";

pub(crate) struct World {
    pub(crate) databases: Databases,
    /// Whose certificates the sender trusts, and shows.
    pub(crate) authority: Authority,
    pub(crate) tenant: TenantId,
    pub(crate) routes: Vec<RouteId>,
    /// The stand-ins of the routes, in order.
    pub(crate) connectors: Vec<Connector>,
    pub(crate) owner: PgPool,
    dsn: store::Dsn,
    key: QueueKey,
    config: watch::Sender<Arc<SenderConfig>>,
    pub(crate) pace: Pace,
}

/// A sender under way.
pub(crate) struct Running {
    task: JoinHandle<End>,
    stop: CancellationToken,
}

impl Running {
    /// Ends it as a crash does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Ends it in good order.
    pub(crate) async fn stop(self) -> End {
        self.tell_to_stop();
        self.ended().await
    }

    /// Tells it to end in good order.
    pub(crate) fn tell_to_stop(&self) {
        self.stop.cancel();
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(self) -> End {
        tokio::time::timeout(LONG, self.task).await.expect("an end").expect("no panic")
    }
}

impl World {
    pub(crate) async fn new(routes: usize, window: u32) -> Self {
        Self::on(Databases::start().await, routes, window).await
    }

    pub(crate) async fn on(databases: Databases, routes: usize, window: u32) -> Self {
        let now = SystemClock.now();
        let issued = Authority::generate(now).expect("an authority");
        let authority = Authority::load(&issued.certificate, &issued.key).expect("an authority");
        let identity = |leaf: Leaf| {
            let issued = authority.issue(&leaf, now, 1).expect("a certificate");
            Identity { certificate: issued.certificate, key: issued.key, authority: authority.certificate().to_owned() }
        };
        let tenant = databases.tenant("sending").await;
        let server = identity(Leaf::Server(vec![HOST.to_owned()]));
        let (mut ids, mut connectors) = (Vec::new(), Vec::new());
        for number in 0..routes {
            ids.push(databases.route(&format!("route-{number}"), &[(tenant, 1)]).await);
            connectors.push(Connector::start(&server, window).await);
        }
        let legs = ids.iter().zip(&connectors).map(|(id, connector)| leg(*id, connector.address)).collect();
        let secret = Secret::new("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        let config = SenderConfig {
            settings: Settings { tenant_id: tenant, routes: legs, crash_policy: CrashPolicy::Resend, stands_by: false },
            database_url: Secret::new(""),
            database_ca: "/nowhere".into(),
            queue_keys: vec![NamedKey { name: "queue/1".to_owned(), key: secret.clone() }],
            identity: identity(Leaf::Client(format!("sender-{tenant}"))),
        };
        Self {
            dsn: databases.sender_login(tenant).await,
            owner: databases.data.pool("budstikke_owner"),
            databases,
            authority,
            tenant,
            routes: ids,
            connectors,
            key: QueueKey::import(tenant, "queue/1", &secret).expect("a key"),
            config: watch::Sender::new(Arc::new(config)),
            pace: Pace { poll: (Duration::from_millis(200), Duration::from_millis(400)), ..Pace::default() },
        }
    }

    /// Changes what the operator tells the sender; counts for senders that start after.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut SenderConfig)) {
        self.config.send_modify(|config| change(Arc::make_mut(config)));
    }

    /// Has senders that start from now on find the database through something between.
    pub(crate) fn go_through<T>(&mut self, between: impl FnOnce(&str) -> (T, String)) -> T {
        let (between, url) = between(&self.databases.data.url(self.dsn.login()));
        self.dsn = store::Dsn::parse(&url).expect("a URL");
        between
    }

    /// The database as a sender sees it.
    pub(crate) fn login(&self) -> PgPool {
        store::connect(&self.dsn, 1, "sender-test")
    }

    /// Starts a sender; all that are started so share a pod.
    pub(crate) fn start(&self) -> Running {
        self.start_in(Uuid::nil())
    }

    pub(crate) fn start_in(&self, pod: Uuid) -> Running {
        let sender = Sender {
            pod,
            config: self.config.subscribe(),
            pool: store::connect(&self.dsn, 3, "sender-test"),
            clock: Arc::new(SystemClock),
            pace: self.pace,
            ready: Default::default(),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let stop = stop.clone();
            async move { sender.run(&mut Registry::default(), stop).await.expect("a tenant's login") }
        });
        Running { task, stop }
    }

    /// Queues messages with this text; they expire in an hour.
    pub(crate) async fn queue(&self, count: usize, text: &str) -> Vec<MessageId> {
        let hour = jiff::SignedDuration::from_hours(1);
        self.queue_with(count, text, None, SystemClock.now() + hour).await
    }

    /// Makes them urgent.
    pub(crate) async fn hurry(&self, ids: &[MessageId]) {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let urgent = "update queue set urgent = true where message_id = any ($1)";
        sqlx::query(urgent).bind(ids).execute(&self.owner).await.expect("urgent");
    }

    pub(crate) async fn queue_with(
        &self,
        count: usize,
        text: &str,
        not_before: Option<jiff::Timestamp>,
        expires_at: jiff::Timestamp,
    ) -> Vec<MessageId> {
        let now = SystemClock.now();
        let mut ids: Vec<MessageId> = (0..count).map(|_| MessageId::new(now)).collect();
        ids.sort_unstable();
        let encoding = Encoding::of(text);
        let body = Body {
            to: Msisdn::from_digits("4520123456").expect("E.164"),
            from: SenderId::Name("Budstikke".to_owned()),
            text: Personal::new(text.to_owned()),
            encoding,
            flash: false,
        };
        let plain = content::to_bytes(&body).expect("a body");
        let seal = |id: &MessageId| self.key.seal(id.0, Field::Body, plain.reveal()).expect("sealed");
        let bodies: Vec<Vec<u8>> = ids.iter().map(seal).collect();
        let raw: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        sqlx::query(
            "insert into queue (tenant_id, message_id, batch_id, day, not_before, expires_at, parts, amount, queue_key,
                                log_key, body, entry, number_hash)
             select $1, id, $2, $3, $4, $5, $6, 35000, 'queue/1', 'log/1', body, '\\x01', '\\x02'
             from unnest($7::uuid[], $8::bytea[]) as m (id, body)",
        )
        .bind(self.tenant.0)
        .bind(Uuid::nil())
        .bind(copenhagen_day(now).to_sqlx())
        .bind(not_before.map(|at| at.to_sqlx()))
        .bind(expires_at.to_sqlx())
        .bind(i16::from(text::parts(text, encoding).expect("a text").get()))
        .bind(raw)
        .bind(bodies)
        .execute(&self.owner)
        .await
        .expect("queued");
        ids
    }

    /// Where every message stands: queued, held, or as the log has it.
    pub(crate) async fn states(&self) -> BTreeMap<MessageId, MessageState> {
        let rows: Vec<(Uuid, i16)> = sqlx::query_as(
            "select message_id, state from queue where tenant_id = $1
             union all select message_id, state from message_log where tenant_id = $1",
        )
        .bind(self.tenant.0)
        .fetch_all(&self.owner)
        .await
        .expect("states");
        let count = rows.len();
        let states: BTreeMap<_, _> = rows
            .into_iter()
            .map(|(id, state)| (MessageId(id), MessageState::from_code(state).expect("a state")))
            .collect();
        assert_eq!(states.len(), count, "a message is in the queue and in the log");
        states
    }

    /// How many messages stand where.
    pub(crate) async fn tally(&self) -> HashMap<MessageState, usize> {
        let mut tally = HashMap::new();
        for state in self.states().await.into_values() {
            *tally.entry(state).or_insert(0) += 1;
        }
        tally
    }

    /// Waits until so many messages stand there, and none elsewhere.
    pub(crate) async fn all(&self, state: MessageState, count: usize) {
        let wanted = HashMap::from([(state, count)]);
        self.until(&format!("{count} {state:?}"), async || (self.tally().await == wanted).then_some(())).await;
    }

    /// Waits for a condition.
    pub(crate) async fn until<T>(&self, what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + LONG;
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            if Instant::now() > deadline {
                panic!("waited for {what}; have {:?}", self.tally().await);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A number out of the database.
    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).bind(self.tenant.0).fetch_one(&self.owner).await.expect("a number")
    }

    /// Waits until no flight is left.
    pub(crate) async fn no_flights(&self) {
        let flights = "select count(*) from flight where tenant_id = $1";
        self.until("no flights", async || (self.number(flights).await == 0).then_some(())).await;
    }

    pub(crate) async fn enforce(&self, change: &'static str) {
        sqlx::query(change).bind(self.tenant.0).execute(&self.owner).await.expect("enforced");
    }
}

fn leg(route_id: RouteId, address: SocketAddr) -> Leg {
    serde_json::from_value(serde_json::json!({
        "routeId": route_id, "name": format!("route-{route_id}"), "address": address.to_string(), "serverName": HOST,
    }))
    .expect("a leg")
}
