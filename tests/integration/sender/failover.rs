//! A sender with two routes whose connectors and upstreams are real ones: when the first takes nothing its messages go by the second,
//! and when it takes them again they come back, with nobody doing anything.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use budstikke::config::connector::{Addressing, Bind, ConnectorConfig, IdFormat, Settings};
use budstikke::connector::{Connector, Running};
use budstikke::domain::{Clock as _, MessageState, RouteId, Secret, SystemClock};
use budstikke::pki::{Identity, Leaf};
use budstikke::simulator::{Change, Options, Smsc};
use budstikke::store;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::world::{HOST, World};

/// A route whose connector is real, up to its upstream.
struct Route {
    smsc: Smsc,
    running: Running,
    _config: watch::Sender<Arc<ConnectorConfig>>,
}

impl Route {
    async fn start(world: &World, route: RouteId) -> (Self, SocketAddr) {
        let smsc = Smsc::start(Options::default()).await.expect("an SMSC");
        let issued =
            world.authority.issue(&Leaf::Server(vec![HOST.to_owned()]), SystemClock.now(), 1).expect("a certificate");
        let config = ConnectorConfig {
            settings: settings(route, smsc.address().port()),
            database_url: Secret::new("unused"),
            database_ca: "unused".into(),
            tag_key: Secret::new("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
            system_id: Secret::new("budstikke"),
            password: Secret::new("secret"),
            callback_secret: None,
            upstream_ca: None,
            identity: Identity {
                certificate: issued.certificate,
                key: issued.key,
                authority: world.authority.certificate().to_owned(),
            },
        };
        let (_config, changes) = watch::channel(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let connector = Connector {
            config: changes,
            pool: store::connect(&world.databases.connector_login(route).await, 5, "test"),
            clock: Arc::new(SystemClock),
            listener,
            callbacks: None,
            drain: Duration::from_secs(5),
        };
        let running = connector.start(&mut Registry::default()).expect("a connector");
        (Self { smsc, running, _config }, address)
    }

    fn accepted(&self) -> u64 {
        self.smsc.stats().accepted
    }
}

fn settings(route_id: RouteId, port: u16) -> Settings {
    Settings {
        route_id,
        name: format!("route-{route_id}"),
        host: "127.0.0.1".to_owned(),
        port,
        tls_name: None,
        system_type: String::new(),
        address_range: String::new(),
        addressing: Addressing::default(),
        bind: Bind::Transceiver,
        binds: 1,
        rate_millis: 200_000,
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

/// Both routes at work, and a message that went by the first.
async fn scene() -> (World, Vec<Route>) {
    let world = World::new(2, 1).await;
    let mut routes = Vec::new();
    for (index, id) in world.routes.clone().into_iter().enumerate() {
        let (route, address) = Route::start(&world, id).await;
        world.configure(|config| config.settings.routes[index].address = address.to_string());
        routes.push(route);
    }
    (world, routes)
}

/// Queues so many more, waits until all there are were delivered, and says how many went by each route since.
async fn sent(world: &World, routes: &[Route], count: usize) -> [u64; 2] {
    let before = [0, 1].map(|route: usize| routes[route].accepted());
    let there = world.states().await.len();
    world.queue(count, "Hej").await;
    world.all(MessageState::Delivered, there + count).await;
    [0, 1].map(|route: usize| routes[route].accepted() - before[route])
}

/// Sends one after another until one goes by the first route again.
async fn comes_back(world: &World, routes: &[Route]) {
    world.until("the first route", async || (sent(world, routes, 1).await == [1, 0]).then_some(())).await;
    assert_eq!(sent(world, routes, 50).await, [50, 0], "all come back");
}

async fn fails_over_and_comes_back(trouble: Change, end: Change) {
    let (world, mut routes) = scene().await;
    let sender = world.start();
    // Until both sessions stand, the second may serve.
    comes_back(&world, &routes).await;
    routes[0].smsc.behave(&trouble);
    assert_eq!(sent(&world, &routes, 50).await, [0, 50], "{trouble:?}");
    routes[0].smsc.behave(&end);
    comes_back(&world, &routes).await;
    assert_eq!(
        world.number("select count(*) from usage where tenant_id = $1").await,
        i64::try_from(world.states().await.len()).expect("few")
    );
    sender.stop().await;
    for route in routes.drain(..) {
        route.running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_binds_are_lost() {
    let trouble = Change { latch: Some(true), drop_connections: true, ..Change::default() };
    fails_over_and_comes_back(trouble, Change { latch: Some(false), ..Change::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_upstream_throttles_without_end() {
    let trouble = Change { throttle_percent: Some(100), ..Change::default() };
    fails_over_and_comes_back(trouble, Change { throttle_percent: Some(0), ..Change::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_upstream_answers_with_faults_of_its_own() {
    for status in [0x08, 0x0D] {
        let trouble = Change { error_percent: Some(100), error_status: Some(status), ..Change::default() };
        fails_over_and_comes_back(trouble, Change { error_percent: Some(0), ..Change::default() }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_the_messages_own_is_final_on_the_first_route() {
    let (world, routes) = scene().await;
    let sender = world.start();
    comes_back(&world, &routes).await;
    // ESME_RINVSRCADR.
    routes[0].smsc.behave(&Change { error_percent: Some(100), error_status: Some(0x0A), ..Change::default() });
    let by_second = routes[1].accepted();
    world.queue(20, "Hej").await;
    let rejected = async || (world.tally().await.get(&MessageState::Rejected) == Some(&20)).then_some(());
    world.until("20 rejected", rejected).await;
    assert_eq!(routes[1].accepted(), by_second, "no other route was tried");
    sender.stop().await;
}
