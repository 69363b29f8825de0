//! One run: everybody at work, what is planned happening to them, and then time to come to rest.
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::{Instant, sleep, sleep_until};

use super::account;
use super::database::{Database, QUEUE_KEY, Row};
use super::network::{Arrival, Dialer, Door, Host, Network};
use super::outage::{SOON, Waiting};
use super::plan::{Fault, Message, Plan, TROUBLE};
use super::tap::{Checks, Link, Tap};
use super::trace::Trace;
use super::upstream::{Mood, Upstream};
use crate::config::NamedKey;
use crate::config::connector::{Addressing, Bind, ConnectorConfig, IdFormat, Settings as RouteSettings};
use crate::config::sender::{CrashPolicy, Leg, SenderConfig, Settings};
use crate::connector::simulation::{self as connector, known_by};
use crate::domain::{Body, Clock, Encoding, MessageId, Msisdn, Personal, RouteId, Secret, SenderId, TenantId, content};
use crate::keyring::seal::{Field, QueueKey};
use crate::pki::{self, Authority, Identity};
use crate::sender::simulation as sender;

/// Within so long after the last trouble everything must have come to rest.
const REST: Duration = Duration::from_secs(45 * 60);
/// More tenants than any plan has.
const TENANTS: usize = 4;

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) trace: Trace,
    pub(crate) figures: account::Figures,
}

/// Time that the simulation makes.
#[derive(Debug)]
struct SimulatedClock {
    began: Instant,
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.began.elapsed()).unwrap_or_default();
        Timestamp::from_second(1_780_000_000).unwrap_or_default() + passed
    }
}

/// Certificates, made once: what is in them decides nothing but who is who.
struct Certificates {
    senders: Vec<(Identity, CertificateDer<'static>)>,
    connector: Identity,
    tls: Arc<rustls::ServerConfig>,
}

fn certificates() -> &'static Certificates {
    static MADE: OnceLock<Certificates> = OnceLock::new();
    MADE.get_or_init(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let now = Timestamp::now();
        let made = Authority::generate(now).expect("an authority");
        let authority = Authority::load(&made.certificate, &made.key).expect("the authority");
        let identity = |leaf: pki::Leaf| {
            let issued = authority.issue(&leaf, now, pki::POD_DAYS).expect("a certificate");
            Identity { certificate: issued.certificate, key: issued.key, authority: authority.certificate().to_owned() }
        };
        let sender = |index: usize| {
            let identity = identity(pki::Leaf::Client(format!("sender-{}", tenant_id(index))));
            let der = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("a certificate");
            (identity, der)
        };
        let connector = identity(pki::Leaf::Server(vec!["connector".to_owned()]));
        let tls = pki::mutual_server_config(&connector).expect("TLS");
        Certificates { senders: (0..TENANTS).map(sender).collect(), connector, tls }
    })
}

/// The account of the tenant with this index.
pub(crate) fn tenant_id(index: usize) -> TenantId {
    TenantId(i64::try_from(index).unwrap_or_default() + 1)
}

fn queue_key() -> Secret {
    Secret::new("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) database: Database,
    pub(super) upstream: Upstream,
    pub(super) checks: Checks,
    /// What was accepted, with its id.
    pub(super) accepted: Vec<(MessageId, Message)>,
    /// What waited when the database came back.
    pub(super) waiting: Vec<Waiting>,
    /// The longest time until something of a tenant went then.
    pub(super) resumed: Duration,
    clock: Arc<SimulatedClock>,
    network: Network,
    connector: Option<Arc<connector::Simulated>>,
    senders: Vec<Vec<sender::Simulated>>,
}

/// Something that comes to pass at a time.
enum Event {
    Accept(Message),
    Fault(Fault),
    /// What went wrong is over.
    Over(Fault),
    /// By now work must go on.
    Judge,
}

/// Runs what a seed stands for.
pub(super) async fn run(plan: Plan, seed: u64, in_words: bool) -> Outcome {
    let mut world = World::new(plan, seed, in_words);
    world.checks.note(|| format!("{:?}", world.plan.agreed));
    world.start_connector();
    for index in 0..world.plan.tenants.len() {
        world.start_sender(index);
    }
    world.live().await;
    world.calm();
    let deadline = Instant::now() + REST;
    while !account::is_at_rest(&world) {
        if Instant::now() >= deadline {
            world.checks.violated(format!("no rest {REST:?} after the last trouble: {}", account::unrest(&world)));
            break;
        }
        sleep(Duration::from_secs(1)).await;
        world.revive();
    }
    // A receipt that is handed on once too often would be so now.
    sleep(Duration::from_secs(30)).await;
    let figures = account::check(&world);
    Outcome { violations: world.checks.violations(), trace: world.checks.trace(), figures }
}

impl World {
    fn new(plan: Plan, seed: u64, in_words: bool) -> Self {
        let checks = Checks::new(plan.agreed, Trace::new(in_words));
        let network = Network::new(seed ^ 1);
        network.set_latency(plan.latency);
        let database = Database::new(seed ^ 2);
        for (index, tenant) in plan.tenants.iter().enumerate() {
            database.tenant(tenant_id(index), |facts| (facts.hold, facts.weight) = (tenant.hold, tenant.weight));
        }
        let upstream = Upstream::start(seed ^ 3, &network, &checks, known_by, plan.agreed.response_timeout);
        let senders = plan.tenants.iter().map(|_| Vec::new()).collect();
        let clock = Arc::new(SimulatedClock { began: Instant::now() });
        Self {
            plan,
            database,
            upstream,
            checks,
            accepted: Vec::new(),
            waiting: Vec::new(),
            resumed: Duration::ZERO,
            clock,
            network,
            connector: None,
            senders,
        }
    }

    fn start_connector(&mut self) {
        if self.connector.is_some() {
            return;
        }
        self.checks.connector_began();
        let agreed = self.plan.agreed;
        let dial = Dialer {
            network: self.network.clone(),
            from: Host::Connector,
            to: Host::Upstream,
            tap: Some(Tap::new(Link::Upstream, &self.checks, known_by)),
            answering: None,
        };
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let config = ConnectorConfig {
            settings: RouteSettings {
                route_id: RouteId(1),
                name: "route".to_owned(),
                host: "upstream".to_owned(),
                port: 2775,
                tls_name: None,
                system_type: String::new(),
                address_range: String::new(),
                addressing: Addressing::default(),
                bind: Bind::Transceiver,
                binds: u16::try_from(agreed.binds).unwrap_or(1),
                rate_millis: agreed.rate as u64 * 1_000,
                tenant_rate_millis: agreed.percent.map(|percent| (agreed.rate * percent) as u64 * 10),
                window: u16::try_from(agreed.window).unwrap_or(1),
                connect_millis: 5_000,
                bind_millis: 5_000,
                response_millis: millis(agreed.response_timeout),
                enquire_millis: 10_000,
                reconnect_min_millis: 200,
                reconnect_max_millis: 5_000,
                id_format: IdFormat::Same,
                https: None,
            },
            database_url: Secret::new(""),
            database_ca: "/nowhere".into(),
            tag_key: connector::tag_key(),
            system_id: Secret::new("budstikke"),
            password: Secret::new("secret"),
            callback_secret: None,
            upstream_ca: None,
            identity: certificates().connector.clone(),
        };
        let (tls, clock) = (Arc::clone(&certificates().tls), Arc::clone(&self.clock) as Arc<dyn Clock>);
        let started = Arc::new(connector::Simulated::start(config, tls, &self.database, dial, clock));
        let mut arriving = self.network.listen(Host::Connector);
        let serving = Arc::downgrade(&started);
        tokio::spawn(async move {
            while let Some(Arrival { from, stream }) = arriving.recv().await {
                if let (Host::Sender(index), Some(connector)) = (from, serving.upgrade()) {
                    connector.accept(stream, certificates().senders[index].1.clone());
                }
            }
        });
        self.connector = Some(started);
        self.network.set_door(Host::Connector, Door::Open);
    }

    fn start_sender(&mut self, index: usize) {
        let tenant = self.plan.tenants[index];
        let leg = Leg {
            route_id: RouteId(1),
            name: "route".to_owned(),
            address: "connector:2775".to_owned(),
            server_name: "connector".to_owned(),
            prefixes: Vec::new(),
            alphanumeric_senders: true,
            without_senders: Vec::new(),
            costs: Vec::new(),
            receipts: Default::default(),
            alphabet: Default::default(),
            concatenation: Default::default(),
        };
        let crash_policy = if tenant.hold { CrashPolicy::Hold } else { CrashPolicy::Resend };
        let config = SenderConfig {
            settings: Settings { tenant_id: tenant_id(index), routes: vec![leg], crash_policy, stands_by: false },
            database_url: Secret::new(""),
            database_ca: "/nowhere".into(),
            queue_keys: vec![NamedKey { name: QUEUE_KEY.to_owned(), key: queue_key() }],
            identity: certificates().senders[index].0.clone(),
        };
        let dial = Dialer {
            network: self.network.clone(),
            from: Host::Sender(index),
            to: Host::Connector,
            tap: None,
            answering: Some(Tap::new(Link::Sender(index), &self.checks, known_by)),
        };
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        self.senders[index].push(sender::Simulated::start(config, &self.database, dial, clock));
    }

    /// What is planned, until the time of trouble is over.
    async fn live(&mut self) {
        let mut events: Vec<_> =
            self.plan.messages.iter().map(|(at, message)| (*at, Event::Accept(*message))).collect();
        for (at, fault) in &self.plan.faults {
            events.push((*at, Event::Fault(*fault)));
            events.extend(fault.lasts().map(|time| (*at + time, Event::Over(*fault))));
            if let Fault::Outage(time) = fault {
                events.push((*at + *time + SOON, Event::Judge));
            }
        }
        events.sort_by_key(|(at, _)| *at);
        let began = self.clock.began;
        for (at, event) in events {
            sleep_until(began + at).await;
            match event {
                Event::Accept(message) => self.accept(message),
                Event::Fault(fault) => {
                    self.checks.note(|| format!("FAULT {fault:?}"));
                    self.befall(fault);
                }
                Event::Over(fault) => {
                    self.checks.note(|| format!("over {fault:?}"));
                    self.pass(fault);
                }
                Event::Judge => self.judge(),
            }
        }
        sleep_until(began + TROUBLE).await;
    }

    pub(super) fn accept(&mut self, message: Message) {
        let Message { tenant, to, parts, urgent } = message;
        let nth = u32::try_from(self.accepted.len()).unwrap_or_default();
        let mut name = [0; 10];
        name[..4].copy_from_slice(&nth.to_be_bytes());
        name[8..].copy_from_slice(&nth.to_be_bytes()[2..]);
        let now = self.clock.now();
        let id = MessageId::named(now, name);
        let text = "a".repeat([10, 200, 400][usize::from(parts) - 1]);
        let body = Body {
            to: Msisdn::from_digits(&to.to_string()).expect("digits"),
            from: SenderId::parse("Budstikke").expect("a name"),
            encoding: Encoding::of(&text),
            text: Personal::new(text),
            flash: false,
        };
        let key = QueueKey::import(tenant_id(tenant), QUEUE_KEY, &queue_key()).expect("a key");
        let plain = content::to_bytes(&body).expect("bytes");
        let body = key.seal(id.0, Field::Body, plain.reveal()).expect("sealed");
        let expires_at = now + SignedDuration::from_hours(24);
        self.database.tenant(tenant_id(tenant), |facts| {
            facts.queue.insert(id, Row { parts, expires_at, body, held: false, urgent });
        });
        self.accepted.push((id, message));
        self.database.wake(tenant_id(tenant));
    }

    fn befall(&mut self, fault: Fault) {
        use Host::{Connector, Sender};
        let network = self.network.clone();
        match fault {
            Fault::CutSender(index) => network.cut(Sender(index), Connector),
            Fault::CutUpstream => network.cut(Connector, Host::Upstream),
            Fault::StallSender(index, time) => network.stall(Sender(index), Connector, time),
            Fault::StallUpstream(time) => network.stall(Connector, Host::Upstream, time),
            Fault::MuteSender(index) => network.mute(Sender(index), Connector),
            Fault::MuteUpstream => network.mute(Connector, Host::Upstream),
            Fault::ShutUpstream(_) => network.set_door(Host::Upstream, Door::Shut),
            Fault::DarkUpstream(_) => network.set_door(Host::Upstream, Door::Dark),
            Fault::ShutConnector(_) => network.set_door(Connector, Door::Shut),
            Fault::Latency(latency) => network.set_latency(latency),
            Fault::Database(time) => self.database.fall_ill(time),
            Fault::Outage(time) => self.database.go_away(time),
            Fault::Upstream(mood, _) => self.upstream.set_mood(mood),
            Fault::CrashSender(index, _) => {
                network.cut_off(Sender(index));
                self.senders[index].clear();
            }
            Fault::CrashConnector(_) => {
                network.set_door(Connector, Door::Shut);
                network.cut_off(Connector);
                self.connector = None;
            }
            Fault::ReplaceSender(index) => self.start_sender(index),
            Fault::RollSender(index) => self.senders[index].iter().for_each(sender::Simulated::tell_to_stop),
        }
    }

    fn pass(&mut self, fault: Fault) {
        match fault {
            Fault::ShutUpstream(_) | Fault::DarkUpstream(_) => self.network.set_door(Host::Upstream, Door::Open),
            Fault::ShutConnector(_) if self.connector.is_some() => self.network.set_door(Host::Connector, Door::Open),
            Fault::Upstream(..) => self.upstream.set_mood(Mood::Well),
            Fault::CrashSender(..) | Fault::RollSender(_) => self.revive(),
            Fault::CrashConnector(_) => self.start_connector(),
            Fault::Outage(_) => self.back(),
            _ => {}
        }
    }

    /// Starts a sender where none is, as the operator does.
    fn revive(&mut self) {
        for index in 0..self.senders.len() {
            self.senders[index].retain(|sender| !sender.is_over());
            if self.senders[index].is_empty() {
                self.start_sender(index);
            }
        }
    }

    /// Nothing goes wrong any more.
    fn calm(&mut self) {
        self.checks.note(|| "CALM".to_owned());
        self.network.set_door(Host::Upstream, Door::Open);
        self.network.set_latency(self.plan.latency);
        self.upstream.set_mood(Mood::Well);
        self.start_connector();
        self.network.set_door(Host::Connector, Door::Open);
        self.revive();
    }
}

impl Fault {
    /// How long it lasts, where it passes.
    fn lasts(self) -> Option<Duration> {
        match self {
            Self::ShutUpstream(time)
            | Self::DarkUpstream(time)
            | Self::ShutConnector(time)
            | Self::Upstream(_, time)
            | Self::CrashSender(_, time)
            | Self::CrashConnector(time)
            | Self::Outage(time) => Some(time),
            Self::RollSender(_) => Some(Duration::from_secs(5)),
            _ => None,
        }
    }
}
