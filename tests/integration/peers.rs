//! SMPP against those who read the standard without us: our client against two SMSCs, our server against Kannel.
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use budstikke::domain::Secret;
use budstikke::simulator::{Change, Inbound, Options as SmscOptions, Smsc};
use budstikke::smpp::client::{self, BindError, Credentials, Target, Tls};
use budstikke::smpp::session::{BindKind, CloseReason, Event, Incoming, Options, Outcome, Session};
use budstikke::smpp::{CommandStatus, Pdu};
use rusmpp::pdus::{DeliverSm, SubmitSm};
use rusmpp::types::{COctetString, OctetString};
use rusmpp::values::{EsmClass, Npi, RegisteredDelivery, Ton};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

/// Longer than anything here takes, also on a machine that is busy.
const LONG: Duration = Duration::from_secs(60);

/// A process that ends with its test.
struct Peer {
    child: Child,
    port: u16,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory that goes with its test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("budstikke-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn peers(which: &str) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/budstikke/peers");
    let directory = std::env::var_os("BUDSTIKKE_PEERS").map_or_else(home, PathBuf::from).join(which);
    assert!(
        directory.is_dir(),
        "{} is not there: run `make test`, or `tests/peers/setup`, and set BUDSTIKKE_PEERS if it is elsewhere",
        directory.display()
    );
    directory
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn listens(port: u16) {
    let begun = Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(begun.elapsed() < LONG, "nobody listens on {port}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The npm package `smpp`.
fn node(environment: &[(&str, &Path)]) -> Peer {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/node/smsc.js");
    let mut child = Command::new("node")
        .arg(script)
        .env("NODE_PATH", peers("node").join("node_modules"))
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node is installed by tests/peers/setup");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim().parse().unwrap_or_else(|_| panic!("no port: {line:?}"));
    Peer { child, port }
}

/// jSMPP's `SMPPServerSimulator`.
fn jsmpp() -> Peer {
    let port = free_port();
    let mut child = Command::new("java")
        .args([
            &format!("-Djsmpp.simulator.port={port}"),
            "-Djsmpp.simulator.ssl=false",
            "-Djsmpp.client.systemId=budstikke",
            "-Djsmpp.client.password=secret",
            "-Xmx64m",
            "-cp",
            &format!("{}/*", peers("jsmpp").display()),
            "org.jsmpp.examples.SMPPServerSimulator",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("java is installed by tests/peers/setup");
    // Not by connecting: it waits half a minute for the bind of everybody who connects before it takes the next.
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("Listening on port")), "the simulator ended");
    std::thread::spawn(move || said.count());
    Peer { child, port }
}

async fn bind(port: u16, tls: Option<Tls>, password: &str) -> Result<(Session, Incoming), BindError> {
    let target = Target { host: "127.0.0.1".to_owned(), port, tls, timeout: LONG };
    let stream = client::connect(&target).await.unwrap();
    let credentials = Credentials {
        system_id: "budstikke".to_owned(),
        password: Secret::new(password),
        system_type: String::new(),
        address_range: String::new(),
    };
    client::bind(stream, BindKind::Transceiver, &credentials, LONG, Options::default()).await
}

fn submit(text: &str) -> SubmitSm {
    SubmitSm::builder()
        .source_addr_ton(Ton::Alphanumeric)
        .source_addr(COctetString::from_str("Budstikke").unwrap())
        .dest_addr_ton(Ton::International)
        .dest_addr_npi(Npi::Isdn)
        .destination_addr(COctetString::from_str("4520123456").unwrap())
        .esm_class(EsmClass::from(0))
        .registered_delivery(RegisteredDelivery::from(1))
        .short_message(OctetString::from_slice(text.as_bytes()).unwrap())
        .build()
}

async fn send(session: &Session, text: &str) -> String {
    match session.request(submit(text)).await {
        Outcome::Answered(answer) if answer.is_ok() => answer.message_id().unwrap().to_owned(),
        other => panic!("{other:?}"),
    }
}

async fn delivered(incoming: &mut Incoming) -> DeliverSm {
    match timeout(LONG, incoming.next()).await.expect("silence") {
        Some(Event::Request(request)) => match request.pdu {
            Pdu::DeliverSm(deliver) => {
                request.responder.accept("");
                deliver
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn text(deliver: &DeliverSm) -> String {
    String::from_utf8_lossy(deliver.short_message().as_ref()).into_owned()
}

fn is_receipt(deliver: &DeliverSm) -> bool {
    u8::from(deliver.esm_class) & 0b11_1100 == 0b100
}

/// The number that a receipt's text calls its id.
fn receipt_id(receipt: &DeliverSm) -> String {
    text(receipt).split_once("id:").unwrap().1.split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn an_smsc_in_javascript_takes_submits_and_sends_receipts_and_inbound() {
    let peer = node(&[]);
    let refused = bind(peer.port, None, "wrong").await;
    assert!(matches!(refused, Err(BindError::Refused(CommandStatus::EsmeRbindfail))), "{refused:?}");
    let (session, mut incoming) = bind(peer.port, None, "secret").await.unwrap();
    for number in 0..20 {
        let id = send(&session, &format!("hej {number}")).await;
        let receipt = delivered(&mut incoming).await;
        assert!(is_receipt(&receipt));
        assert!(text(&receipt).ends_with(&format!("text:hej {number}")), "{}", text(&receipt));
        assert_eq!(receipt_id(&receipt).parse::<u64>().ok(), u64::from_str_radix(&id, 16).ok());
        assert_eq!(receipt.tlvs().len(), 2);
        let inbound = delivered(&mut incoming).await;
        assert!(!is_receipt(&inbound));
        assert_eq!(text(&inbound), "receipt answered with 0");
    }
    session.unbind(LONG).await;
    assert_eq!(session.closed().await, CloseReason::Unbound);
}

#[tokio::test]
async fn an_smsc_in_javascript_speaks_tls_with_us() {
    let directory = Directory::new("tls");
    let (key, certificate) = (directory.0.join("key.pem"), directory.0.join("cert.pem"));
    let made = rcgen::generate_simple_self_signed(vec!["smsc.test".to_owned()]).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    let peer = node(&[("KEY", &key), ("CERT", &certificate)]);

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = Tls { config: Arc::new(config), server_name: ServerName::try_from("smsc.test").unwrap() };
    let (session, mut incoming) = bind(peer.port, Some(tls), "secret").await.unwrap();
    send(&session, "hej").await;
    assert!(is_receipt(&delivered(&mut incoming).await));
    session.unbind(LONG).await;
}

#[tokio::test]
async fn an_smsc_in_java_takes_submits_and_sends_receipts() {
    let peer = jsmpp();
    let refused = bind(peer.port, None, "wrong").await;
    assert!(matches!(refused, Err(BindError::Refused(_))), "{refused:?}");
    let (session, mut incoming) = bind(peer.port, None, "secret").await.unwrap();
    let mut ids = Vec::new();
    for number in 0..5 {
        let id = send(&session, &format!("hej {number}")).await;
        ids.push(u64::from_str_radix(&id, 16).unwrap());
    }
    // It also sends one message of its own, to every client.
    let mut inbound = Vec::new();
    while !ids.is_empty() || inbound.is_empty() {
        let deliver = delivered(&mut incoming).await;
        if is_receipt(&deliver) {
            let id = receipt_id(&deliver).trim_start_matches('0').parse::<u64>().unwrap();
            let at = ids.iter().position(|known| *known == id);
            ids.remove(at.unwrap_or_else(|| panic!("{id} is not among {ids:?}")));
        } else {
            inbound.push(text(&deliver));
        }
    }
    assert_eq!(inbound, ["Hello World"]);
    session.unbind(LONG).await;
    assert_eq!(session.closed().await, CloseReason::Unbound);
}

#[tokio::test]
async fn an_smsc_that_dies_is_noticed_at_once() {
    let mut peer = node(&[]);
    let (session, _incoming) = bind(peer.port, None, "secret").await.unwrap();
    peer.child.kill().unwrap();
    let reason = timeout(LONG, session.closed()).await.expect("noticed");
    assert!(matches!(reason, CloseReason::PeerClosed | CloseReason::Broken(_)), "{reason:?}");
    assert!(matches!(session.request(submit("hej")).await, Outcome::NotWritten(_)));
}

/// Kannel, whose bearerbox binds to our server and whose smsbox speaks HTTP with the test.
struct Kannel {
    _bearerbox: Peer,
    _smsbox: Peer,
    send: u16,
    // Last, so that it goes when nobody writes there any more.
    _directory: Directory,
}

/// `visits` is where Kannel's smsbox shall deliver inbound messages, on this machine.
async fn kannel(smsc: u16, visits: u16) -> Kannel {
    let directory = Directory::new("kannel");
    let (admin, smsbox, send) = (free_port(), free_port(), free_port());
    let store = directory.0.join("store");
    std::fs::create_dir_all(&store).unwrap();
    let configuration = format!(
        "group = core\nadmin-port = {admin}\nadmin-interface = 127.0.0.1\nadmin-password = x\n\
         smsbox-port = {smsbox}\nsmsbox-interface = 127.0.0.1\nbox-allow-ip = 127.0.0.1\n\
         store-type = spool\nstore-location = {store}\n\n\
         group = smsc\nsmsc = smpp\nsmsc-id = us\nhost = 127.0.0.1\nport = {smsc}\ntransceiver-mode = true\n\
         smsc-username = kannel\nsmsc-password = secret\nsystem-type = \"\"\nmsg-id-type = 0x00\n\
         enquire-link-interval = 1\n\n\
         group = smsbox\nbearerbox-host = 127.0.0.1\nsendsms-port = {send}\nsendsms-interface = 127.0.0.1\n\n\
         group = sendsms-user\nusername = u\npassword = p\n\n\
         group = sms-service\nkeyword = default\ncatch-all = true\nomit-empty = true\n\
         get-url = \"http://127.0.0.1:{visits}/inbound?from=%p&text=%a\"\n",
        store = store.display(),
    );
    let file = directory.0.join("kannel.conf");
    std::fs::write(&file, configuration).unwrap();
    let start = |program: &str, port| {
        let child = Command::new(format!("/usr/sbin/{program}"))
            .args(["-v", "4"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("kannel is installed by tests/peers/setup");
        Peer { child, port }
    };
    let bearerbox = start("bearerbox", admin);
    listens(smsbox).await;
    let smsbox = start("smsbox", send);
    listens(send).await;
    Kannel { _bearerbox: bearerbox, _smsbox: smsbox, send, _directory: directory }
}

/// Takes one HTTP request and gives its first line.
async fn visit(listener: &tokio::net::TcpListener) -> String {
    let (mut stream, _) = timeout(LONG, listener.accept()).await.expect("nobody came").unwrap();
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the visitor left");
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await.unwrap();
    String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LONG, "{what}: not within {LONG:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn kannel_binds_to_our_server_and_submits_and_takes_receipts_and_inbound() {
    let options = SmscOptions {
        system_id: Some("kannel".to_owned()),
        password: Some("secret".to_owned()),
        ..SmscOptions::default()
    };
    let smsc = Smsc::start(options).await.unwrap();
    let visitors = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let visits = visitors.local_addr().unwrap().port();
    let kannel = kannel(smsc.address().port(), visits).await;
    until("Kannel binds", || smsc.stats().binds == 1).await;

    let url = format!(
        "http://127.0.0.1:{}/cgi-bin/sendsms?username=u&password=p&from=Budstikke&to=4520123456&text=hej\
         &dlr-mask=3&dlr-url=http%3A%2F%2F127.0.0.1%3A{visits}%2Freceipt%3Fstate%3D%25d",
        kannel.send
    );
    // smsbox answers before it has found its bearerbox; then it says so.
    let begun = Instant::now();
    while !reqwest::get(&url).await.unwrap().status().is_success() {
        assert!(begun.elapsed() < LONG, "Kannel does not take the message");
        sleep(Duration::from_millis(100)).await;
    }
    until("the submit arrives", || !smsc.submits(0).is_empty()).await;
    let submit = smsc.submits(0).remove(0);
    assert_eq!((submit.source.as_str(), submit.destination.as_str()), ("Budstikke", "4520123456"));
    assert_eq!(submit.short_message, "68656a");
    assert!(visit(&visitors).await.contains("/receipt?state=1 "), "delivered");
    until("the receipt is acknowledged", || smsc.stats().receipts_sent == 1).await;

    let message = Inbound { from: "4520123456".into(), to: "1204".into(), text: "hej selv".into(), reversed: false };
    assert_eq!(smsc.inbound(&message), 1);
    let line = visit(&visitors).await;
    assert!(line.contains("/inbound?from=4520123456&text=hej+selv "), "{line}");

    // Dropped, it comes back by itself; our server takes it again.
    smsc.behave(&Change { drop_connections: true, ..Change::default() });
    until("Kannel binds again", || smsc.stats().bound == 2).await;
}
