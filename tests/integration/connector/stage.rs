//! What the connector's tests stand on: a route with a connector at work, the simulator as its upstream, and senders that
//! are as simple as can be.
use std::collections::VecDeque;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use budstikke::config::connector::{Addressing, Bind, ConnectorConfig, IdFormat, Settings};
use budstikke::connector::{Connector, Running};
use budstikke::domain::{Circuit, RouteId, Secret, SystemClock, TenantId};
use budstikke::pki::{self, Authority, Identity, Leaf};
use budstikke::smpp::client::{self, BindError, Credentials, Target, Tls};
use budstikke::smpp::session::{BindKind, CloseReason, Event, Options, Outcome, Session};
use budstikke::smpp::vendor::{DestinationTag, Flow, MessagePart};
use budstikke::smpp::{CommandStatus, Pdu};
use budstikke::store;
use prometheus_client::registry::Registry;
use rusmpp::pdus::SubmitSm;
use rusmpp::tlvs::TlvValue;
use rusmpp::types::{COctetString, OctetString};
use rusmpp::values::{MessageState, RegisteredDelivery};
use rustls::pki_types::ServerName;
use tokio::net::TcpListener;
use tokio::sync::watch;
use uuid::Uuid;

use crate::support::postgres::Databases;

/// The route's key.
const TAG_KEY: [u8; 32] = [0; 32];

/// Long enough for a slow machine; nothing waits for it to pass.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until something holds.
pub(super) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A connector at work.
pub(super) struct Stage {
    pub(super) databases: Databases,
    pub(super) route: RouteId,
    pub(super) config: watch::Sender<Arc<ConnectorConfig>>,
    pub(super) running: Running,
    pub(super) metrics: Registry,
    pub(super) port: u16,
    /// Where callbacks are heard; 0 where the upstream makes none.
    pub(super) callbacks: u16,
    authority: Authority,
}

/// A route of 50/s over one bind with a window of ten, to a plain upstream at `port`.
pub(super) fn settings(port: u16) -> Settings {
    Settings {
        route_id: RouteId(0),
        name: "test".to_owned(),
        host: "127.0.0.1".to_owned(),
        port,
        tls_name: None,
        system_type: String::new(),
        address_range: String::new(),
        addressing: Addressing::default(),
        bind: Bind::Transceiver,
        binds: 1,
        rate_millis: 50_000,
        tenant_rate_millis: None,
        window: 10,
        connect_millis: 2_000,
        bind_millis: 2_000,
        response_millis: 5_000,
        enquire_millis: 5_000,
        reconnect_min_millis: 50,
        reconnect_max_millis: 200,
        id_format: IdFormat::Same,
        https: None,
    }
}

/// An authority of one test alone.
pub(super) fn authority() -> Authority {
    let made = Authority::generate(jiff::Timestamp::now()).expect("an authority");
    Authority::load(&made.certificate, &made.key).expect("the authority")
}

impl Stage {
    /// Starts a connector for a route that these tenants share by weight.
    pub(super) async fn start(databases: Databases, shares: &[(TenantId, i32)], settings: Settings) -> Self {
        Self::start_with(databases, shares, settings, authority(), |_| {}).await
    }

    /// Starts one whose certificates are of this authority, and that is told more than settings.
    pub(super) async fn start_with(
        databases: Databases,
        shares: &[(TenantId, i32)],
        settings: Settings,
        authority: Authority,
        more: impl FnOnce(&mut ConnectorConfig),
    ) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let route = databases.route("test", shares).await;
        let https = settings.https.is_some();
        let mut config = ConnectorConfig {
            settings: Settings { route_id: route, ..settings },
            database_url: Secret::new("unused"),
            database_ca: "unused".into(),
            tag_key: Secret::new(BASE64_STANDARD.encode(TAG_KEY)),
            system_id: Secret::new("budstikke"),
            password: Secret::new("secret"),
            callback_secret: None,
            upstream_ca: None,
            identity: identity(&authority, &Leaf::Server(vec!["connector".to_owned(), "localhost".to_owned()])),
        };
        more(&mut config);
        let (config, changes) = watch::channel(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let pool = store::connect(&databases.connector_login(route).await, 5, "test");
        let (mut heard_at, mut callbacks) = (0, None);
        if https {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            heard_at = listener.local_addr().expect("an address").port();
            callbacks = Some(listener);
        }
        let (clock, drain) = (Arc::new(SystemClock), Duration::from_secs(5));
        let connector = Connector { config: changes, pool, clock, listener, callbacks, drain };
        let mut metrics = Registry::default();
        let running = connector.start(&mut metrics).expect("a connector");
        Self { databases, route, config, running, metrics, port, callbacks: heard_at, authority }
    }

    /// Stops the connector, and starts another that knows nothing of what the first did.
    pub(super) async fn restart(self) -> Self {
        let Self { databases, route, config, running, authority, .. } = self;
        running.stop().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let pool = store::connect(&databases.connector_login(route).await, 5, "test");
        let (clock, drain) = (Arc::new(SystemClock), Duration::from_secs(5));
        let connector = Connector { config: config.subscribe(), pool, clock, listener, callbacks: None, drain };
        let mut metrics = Registry::default();
        let running = connector.start(&mut metrics).expect("a connector");
        Self { databases, route, config, running, metrics, port, callbacks: 0, authority }
    }

    /// Changes the configuration, as the operator does by rewriting the Secret.
    pub(super) fn configure(&self, change: impl FnOnce(&mut ConnectorConfig)) {
        self.config.send_modify(|config| change(Arc::make_mut(config)));
    }

    /// Binds a tenant's sender.
    pub(super) async fn bind(&self, tenant: TenantId, epoch: i64) -> Result<Sender, BindError> {
        self.bind_as(tenant, &format!("t{tenant}"), epoch).await
    }

    /// What a tenant's sender shows, and whom it trusts.
    pub(super) fn client(&self, tenant: TenantId) -> Identity {
        identity(&self.authority, &Leaf::Client(format!("sender-{tenant}")))
    }

    /// Binds with a tenant's certificate, saying something else.
    pub(super) async fn bind_as(&self, tenant: TenantId, system_id: &str, epoch: i64) -> Result<Sender, BindError> {
        let identity = self.client(tenant);
        let target = Target {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            tls: Some(Tls {
                config: pki::client_config(&identity).expect("TLS"),
                server_name: ServerName::try_from("connector").expect("a name"),
            }),
            timeout: PATIENCE,
        };
        let credentials = Credentials {
            system_id: system_id.to_owned(),
            password: Secret::new(""),
            system_type: epoch.to_string(),
            address_range: String::new(),
        };
        let options = Options { window: 5_000, request_timeout: PATIENCE, unanswered: 1_000, ..Options::default() };
        let stream = client::connect(&target).await.expect("a connection");
        let (session, mut incoming) =
            client::bind(stream, BindKind::Transceiver, &credentials, PATIENCE, options).await?;
        // A sender, and no plain client. Fails when the session is over, which is for the test to see.
        let _ = session.notify(Flow::Demand(0));
        let state = Arc::new(State::default());
        let (handle, shared) = (session.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            while let Some(event) = incoming.next().await {
                shared.heard(&handle, event);
            }
        });
        Ok(Sender { tenant, session, state })
    }

    /// Binds a tenant's sender as soon as the connector knows the tenant.
    pub(super) async fn sender(&self, tenant: TenantId) -> Sender {
        until("a bind", async || self.bind(tenant, 1).await.ok()).await
    }

    /// One number from the connector's metrics, as text begins it; 0 where it is not there.
    pub(super) fn metric(&self, begins: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).expect("metrics");
        // Every one has the route's name.
        let text = text.replace("{route=\"test\"}", "").replace("route=\"test\",", "");
        let line = text.lines().find_map(|line| line.strip_prefix(begins)?.strip_prefix(' ')).unwrap_or("0");
        line.parse().expect("a number")
    }

    /// Waits until so many binds take submits.
    pub(super) async fn bound(&self, binds: u16) {
        let wanted = f64::from(binds);
        until("binds to the upstream", async || (self.metric("budstikke_connector_binds") == wanted).then_some(()))
            .await;
    }

    /// Runs a statement as the owner of the schema.
    pub(super) async fn run(&self, statement: &'static str, tenant: TenantId) {
        let owner = self.databases.data.pool("budstikke_owner");
        sqlx::query(statement).bind(tenant.0).execute(&owner).await.expect(statement);
        owner.close().await;
    }
}

fn identity(authority: &Authority, leaf: &Leaf) -> Identity {
    let issued = authority.issue(leaf, jiff::Timestamp::now(), pki::POD_DAYS).expect("a certificate");
    Identity { certificate: issued.certificate, key: issued.key, authority: authority.certificate().to_owned() }
}

/// A sender with nothing behind it: submits what it is given as credit comes, and keeps what it hears.
pub(super) struct Sender {
    pub(super) tenant: TenantId,
    pub(super) session: Session,
    pub(super) state: Arc<State>,
}

#[derive(Default)]
pub(super) struct State {
    backlog: Mutex<VecDeque<SubmitSm>>,
    credit: AtomicUsize,
    pub(super) wakes: AtomicUsize,
    circuits: Mutex<Vec<Circuit>>,
    pub(super) outcomes: Mutex<Vec<Outcome>>,
    pub(super) receipts: Mutex<Vec<Receipt>>,
    /// Refuse receipts with a temporary error.
    pub(super) refuses: std::sync::atomic::AtomicBool,
}

/// A receipt as it reaches a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) id: String,
    pub(super) tag: u32,
    pub(super) state: MessageState,
}

impl State {
    fn heard(self: &Arc<Self>, session: &Session, event: Event) {
        match event {
            Event::Notice(pdu) => match Flow::read(&pdu) {
                Some(Flow::Credit(credit)) => {
                    self.credit.fetch_add(credit as usize, Ordering::Relaxed);
                    self.submit(session);
                }
                Some(Flow::Wake) => {
                    self.wakes.fetch_add(1, Ordering::Relaxed);
                }
                Some(Flow::Circuit(circuit)) => {
                    if circuit == Circuit::Open {
                        self.credit.store(0, Ordering::Relaxed);
                    }
                    self.circuits.lock().expect("a lock").push(circuit);
                }
                other => panic!("{other:?} is no notice for a sender"),
            },
            Event::Request(request) => {
                let Pdu::DeliverSm(pdu) = &request.pdu else { panic!("not a receipt") };
                let mut receipt = Receipt { id: String::new(), tag: 0, state: MessageState::Scheduled };
                for value in pdu.tlvs().iter().filter_map(|tlv| tlv.value()) {
                    match value {
                        TlvValue::ReceiptedMessageId(id) => receipt.id = id.to_string(),
                        TlvValue::MessageState(state) => receipt.state = *state,
                        _ => {}
                    }
                }
                receipt.tag = DestinationTag::find(pdu.tlvs()).expect("a tag").0;
                if self.refuses.load(Ordering::Relaxed) {
                    return request.responder.refuse(CommandStatus::EsmeRxTAppn);
                }
                self.receipts.lock().expect("a lock").push(receipt);
                request.responder.accept("");
            }
        }
    }

    /// Submits what there is credit for.
    fn submit(self: &Arc<Self>, session: &Session) {
        let mut backlog = self.backlog.lock().expect("a lock");
        while self.credit.load(Ordering::Relaxed) > 0 {
            let Some(submit) = backlog.pop_front() else { break };
            self.credit.fetch_sub(1, Ordering::Relaxed);
            let pending = session.try_reserve().expect("a window as wide as the tests").send(submit);
            let state = Arc::clone(self);
            tokio::spawn(async move {
                let outcome = pending.await;
                state.outcomes.lock().expect("a lock").push(outcome);
            });
        }
    }
}

impl Sender {
    /// Has these sent as credit allows.
    pub(super) fn send(&self, submits: impl IntoIterator<Item = SubmitSm>) {
        self.state.backlog.lock().expect("a lock").extend(submits);
        self.state.submit(&self.session);
        self.ask();
    }

    /// Says how much waits.
    pub(super) fn ask(&self) {
        let demand = u32::try_from(self.waiting()).expect("a demand");
        // Fails when the session is over, which is for the test to see.
        let _ = self.session.notify(Flow::Demand(demand));
    }

    /// Sends so many plain messages.
    pub(super) fn send_plain(&self, count: usize) {
        self.send((0..count).map(|number| message(self.tenant, number)));
    }

    /// What waits for credit.
    pub(super) fn waiting(&self) -> usize {
        self.state.backlog.lock().expect("a lock").len()
    }

    /// What was settled so far.
    pub(super) fn outcomes(&self) -> Vec<Outcome> {
        self.state.outcomes.lock().expect("a lock").clone()
    }

    /// Waits until so many are settled.
    pub(super) async fn settled(&self, count: usize) -> Vec<Outcome> {
        let what = format!("{count} answers");
        until(&what, async || Some(self.outcomes()).filter(|outcomes| outcomes.len() >= count)).await
    }

    pub(super) fn receipts(&self) -> Vec<Receipt> {
        self.state.receipts.lock().expect("a lock").clone()
    }

    /// What it heard of the route's circuit, in order.
    pub(super) fn circuits(&self) -> Vec<Circuit> {
        self.state.circuits.lock().expect("a lock").clone()
    }

    pub(super) fn wakes(&self) -> usize {
        self.state.wakes.load(Ordering::Relaxed)
    }

    pub(super) async fn closed(&self) -> CloseReason {
        tokio::time::timeout(PATIENCE, self.session.closed()).await.expect("the session ends")
    }
}

/// The status of an answer; `None` where there was none.
pub(super) fn status(outcome: &Outcome) -> Option<CommandStatus> {
    match outcome {
        Outcome::Answered(answer) => Some(answer.status),
        Outcome::NotWritten(_) | Outcome::WrittenUnanswered(_) => None,
    }
}

/// What senders and the database know an upstream's id by: it stays with the connector.
pub(super) fn known_by(id: &str) -> String {
    let hash = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &TAG_KEY), format!("\0id\0{id}").as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(&hash.as_ref()[..12])
}

/// What the upstream's id is known by, and the tag, in an answer.
pub(super) fn id_and_tag(outcome: &Outcome) -> (String, u32) {
    let Outcome::Answered(answer) = outcome else { panic!("no answer: {outcome:?}") };
    assert!(answer.is_ok(), "{:?}", answer.status);
    let Some(Pdu::SubmitSmResp(response)) = &answer.pdu else { panic!("an answer without a body") };
    (response.message_id().to_string(), DestinationTag::find(response.tlvs()).expect("a tag").0)
}

/// A message of a tenant; the destination begins with the tenant's id and ends with the number.
pub(super) fn message(tenant: TenantId, number: usize) -> SubmitSm {
    part(tenant, number, Uuid::now_v7(), 1, 1)
}

/// One part of a message.
pub(super) fn part(tenant: TenantId, number: usize, message: Uuid, part: u8, parts: u8) -> SubmitSm {
    let destination = format!("45{:06}{number:06}", tenant.0);
    let mut submit = SubmitSm::builder()
        .source_addr(COctetString::from_str("Budstikke").expect("an address"))
        .destination_addr(COctetString::from_str(&destination).expect("an address"))
        .esm_class(0.into())
        .registered_delivery(RegisteredDelivery::request_all())
        .short_message(OctetString::from_slice(&[part]).expect("a text"))
        .build();
    submit.push_tlv(MessagePart { message, part, parts });
    submit
}

/// Whose a submit is, by its destination.
pub(super) fn tenant_of(submit: &budstikke::simulator::Submit) -> TenantId {
    TenantId(submit.destination[2..8].parse().expect("a tenant"))
}
