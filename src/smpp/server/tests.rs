//! Client and server against each other over real TCP and TLS.
use std::sync::Mutex;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rusmpp::pdus::SubmitSm;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use tokio::io::AsyncReadExt;

use super::*;
use crate::domain::Secret;
use crate::smpp::client::{self, BindError, ConnectError, Target, Tls};
use crate::smpp::session::{CloseReason, Event, Outcome};

/// Takes submits of whoever has the right password; notes who came.
#[derive(Default)]
struct Taker {
    tls: Option<Arc<rustls::ServerConfig>>,
    certificates: Mutex<Vec<Option<CertificateDer<'static>>>>,
}

impl Service for Taker {
    type Identity = String;

    fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.tls.clone()
    }

    async fn authenticate(&self, bind: &BindRequest, peer: &Peer) -> Result<String, CommandStatus> {
        self.certificates.lock().expect("no panic").push(peer.certificate.clone());
        match bind.credentials.password.expose() {
            "a password of more than eight" => Ok(bind.credentials.system_id.clone()),
            _ => Err(CommandStatus::EsmeRinvpaswd),
        }
    }

    async fn serve(&self, identity: String, _session: Session, mut incoming: Incoming) {
        while let Some(event) = incoming.next().await {
            if let Event::Request(request) = event {
                request.responder.accept(&identity);
            }
        }
    }
}

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    taker: Arc<Taker>,
    task: tokio::task::JoinHandle<()>,
}

async fn server(taker: Taker, connections: usize) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let limits = Limits {
        connections,
        bind_timeout: Duration::from_millis(500),
        system_id: "taker".to_owned(),
        session: Options::default(),
    };
    let (stop, taker) = (CancellationToken::new(), Arc::new(taker));
    let task = tokio::spawn(serve(listener, limits, Arc::clone(&taker), stop.clone()));
    Server { address, stop, taker, task }
}

fn target(server: &Server, tls: Option<Tls>) -> Target {
    Target { host: server.address.ip().to_string(), port: server.address.port(), tls, timeout: Duration::from_secs(10) }
}

fn credentials(password: &str) -> Credentials {
    Credentials {
        system_id: "t0123456789-a-long-one".to_owned(),
        password: Secret::new(password),
        system_type: "7".to_owned(),
        address_range: "^45".to_owned(),
    }
}

async fn bind(target: &Target, password: &str) -> Result<(Session, Incoming), BindError> {
    let stream = client::connect(target).await.expect("a connection");
    let patience = Duration::from_secs(10);
    client::bind(stream, BindKind::Transceiver, &credentials(password), patience, Options::default()).await
}

struct Pki {
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { ca: CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA") }
    }

    fn issue(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.ca).expect("a certificate");
        (vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }

    fn roots(&self) -> Arc<rustls::RootCertStore> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.der().clone()).expect("a CA");
        Arc::new(roots)
    }

    fn server(&self) -> Arc<rustls::ServerConfig> {
        let (chain, key) = self.issue("connector.test");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), Arc::clone(&provider));
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(chain, key);
        Arc::new(config.expect("a certificate and its key"))
    }

    fn client(&self, by: &Self) -> (Tls, CertificateDer<'static>) {
        let (chain, key) = by.issue("sender.test");
        let leaf = chain[0].clone();
        let config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(self.roots())
                .with_client_auth_cert(chain, key)
                .expect("a certificate and its key");
        let server_name = ServerName::try_from("connector.test").expect("a name");
        (Tls { config: Arc::new(config), server_name }, leaf)
    }
}

#[tokio::test]
async fn a_bind_with_the_right_password_submits_and_one_with_a_wrong_one_is_refused() {
    let server = server(Taker::default(), 10).await;
    let target = target(&server, None);
    let (session, _incoming) = bind(&target, "a password of more than eight").await.expect("a session");
    match session.request(SubmitSm::default()).await {
        Outcome::Answered(answer) => assert_eq!(answer.message_id(), Some("t0123456789-a-long-one")),
        other => panic!("{other:?}"),
    }
    let refused = bind(&target, "wrong").await;
    assert!(matches!(refused, Err(BindError::Refused(CommandStatus::EsmeRinvpaswd))), "{refused:?}");
    session.unbind(Duration::from_secs(10)).await;
    assert_eq!(session.closed().await, CloseReason::Unbound);
    server.stop.cancel();
    server.task.await.expect("no panic");
}

#[tokio::test]
async fn the_clients_certificate_is_shown_to_authentication_and_a_strangers_is_refused() {
    let pki = Pki::new();
    let server = server(Taker { tls: Some(pki.server()), ..Taker::default() }, 10).await;
    let (tls, leaf) = pki.client(&pki);
    let (session, _incoming) =
        bind(&target(&server, Some(tls)), "a password of more than eight").await.expect("a session");
    assert!(matches!(session.request(SubmitSm::default()).await, Outcome::Answered(_)));
    assert_eq!(*server.taker.certificates.lock().expect("no panic"), [Some(leaf)]);

    let (stranger, _) = pki.client(&Pki::new());
    let target = target(&server, Some(stranger));
    // With TLS 1.3 the client learns of the refusal only as it reads.
    match client::connect(&target).await {
        Err(ConnectError::Tls(_)) => {}
        Err(error) => panic!("{error}"),
        Ok(stream) => {
            let patience = Duration::from_secs(10);
            let bound = client::bind(stream, BindKind::Receiver, &credentials(""), patience, Options::default()).await;
            assert!(matches!(bound, Err(BindError::Handshake(_))), "{bound:?}");
        }
    }
    assert_eq!(server.taker.certificates.lock().expect("no panic").len(), 1);
}

#[tokio::test]
async fn connections_that_do_not_bind_are_closed_and_too_many_are_not_taken() {
    let server = server(Taker::default(), 1).await;
    let mut idle = TcpStream::connect(server.address).await.expect("a connection");
    let mut surplus = TcpStream::connect(server.address).await.expect("a connection");
    let mut octets = Vec::new();
    // Closed at once, while the first still has its place.
    surplus.read_to_end(&mut octets).await.expect("an end");
    // Closed for its silence.
    idle.read_to_end(&mut octets).await.expect("an end");
    assert!(octets.is_empty());
    bind(&target(&server, None), "a password of more than eight").await.expect("the place is free again");
}

#[tokio::test]
async fn a_bind_that_trickles_in_is_given_up() {
    let server = server(Taker::default(), 1).await;
    let (mut reading, mut writing) = TcpStream::connect(server.address).await.expect("a connection").into_split();
    let trickle = tokio::spawn(async move {
        // A bind of a hundred octets, one by one for a minute.
        let header = [0, 0, 0, 100, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1];
        for octet in header.into_iter().chain(std::iter::repeat_n(b'x', 584)) {
            if writing.write_all(&[octet]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it was listened to for a minute");
    });
    let mut octets = Vec::new();
    // Closed with octets unread, so it may end in a reset.
    let _ = reading.read_to_end(&mut octets).await;
    assert!(octets.is_empty());
    trickle.await.expect("it was closed");
    bind(&target(&server, None), "a password of more than eight").await.expect("the place is free again");
}

#[tokio::test]
async fn what_is_no_bind_is_refused() {
    let server = server(Taker::default(), 10).await;
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    let mut out = BytesMut::new();
    frame::encode(&mut out, rusmpp::CommandId::EnquireLink, CommandStatus::EsmeRok, 4, None);
    stream.write_all(&out).await.expect("an open stream");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an end");
    assert_eq!(&answer[4..], [0x80, 0, 0, 0x15, 0, 0, 0, 4, 0, 0, 0, 4]);
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_the_bind_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let stream = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
    let patience = Duration::from_millis(50);
    let bound = client::bind(stream, BindKind::Receiver, &credentials(""), patience, Options::default()).await;
    assert!(matches!(bound, Err(BindError::Handshake(HandshakeError::TimedOut))), "{bound:?}");
}

#[tokio::test]
async fn an_address_that_leads_nowhere_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let target = Target { host: "127.0.0.1".to_owned(), port, tls: None, timeout: Duration::from_secs(10) };
    assert!(matches!(client::connect(&target).await, Err(ConnectError::Connect(_))));
}
