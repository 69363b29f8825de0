//! Kannel as a client of the connector: its bearerbox binds by mutual TLS, as a tenant's sender would, and speaks plain
//! SMPP; its smsbox speaks HTTP with the test.
use std::process::Command;

use budstikke::config::connector::Settings;
use budstikke::domain::TenantId;
use budstikke::pki::Identity;
use budstikke::simulator::{Behaviour, Change, Options, Smsc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::stage::{PATIENCE, Stage, settings, until};
use super::{Directory, Peer, free_port};
use crate::support::postgres::Databases;

/// States in Kannel's words.
const DELIVERED: &str = "state=1 ";
const REFUSED: &str = "state=16 ";

struct Kannel {
    bearerbox: Peer,
    _smsbox: Peer,
    send: u16,
    /// Where it tells what became of messages.
    visitors: TcpListener,
    // Last, so that it goes when nobody writes there any more.
    _directory: Directory,
}

async fn listens(port: u16) {
    until("a listener", async || TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
}

impl Kannel {
    async fn start(stage: &Stage, tenant: TenantId) -> Self {
        let directory = Directory::new("kannel");
        let path = |name: &str| directory.0.join(name);
        let Identity { certificate, key, authority } = stage.client(tenant);
        std::fs::write(path("client.pem"), format!("{certificate}{}", key.expose())).unwrap();
        std::fs::write(path("authority.pem"), authority).unwrap();
        std::fs::create_dir_all(path("store")).unwrap();
        let (admin, smsbox, send) = (free_port(), free_port(), free_port());
        // What was refused for the moment is tried again each second, not each minute.
        let configuration = format!(
            "group = core\nadmin-port = {admin}\nadmin-interface = 127.0.0.1\nadmin-password = x\n\
             smsbox-port = {smsbox}\nsmsbox-interface = 127.0.0.1\nbox-allow-ip = 127.0.0.1\n\
             store-type = spool\nstore-location = {store}\nsms-resend-freq = 1\n\
             ssl-client-certkey-file = {client}\nssl-trusted-ca-file = {authority}\n\n\
             group = smsc\nsmsc = smpp\nsmsc-id = us\nhost = 127.0.0.1\nport = {port}\nuse-ssl = true\n\
             transceiver-mode = true\nsmsc-username = t{tenant}\nsmsc-password = \"\"\nsystem-type = 1\n\
             enquire-link-interval = 1\nreconnect-delay = 1\n\n\
             group = smsbox\nbearerbox-host = 127.0.0.1\nsendsms-port = {send}\nsendsms-interface = 127.0.0.1\n\n\
             group = sendsms-user\nusername = u\npassword = p\nmax-messages = 3\nconcatenation = true\n",
            store = path("store").display(),
            client = path("client.pem").display(),
            authority = path("authority.pem").display(),
            port = stage.port,
        );
        let file = path("kannel.conf");
        std::fs::write(&file, configuration).unwrap();
        let start =
            |program: &str| Peer::start(Command::new(format!("/usr/sbin/{program}")).args(["-v", "0"]).arg(&file));
        let bearerbox = start("bearerbox");
        listens(smsbox).await;
        let _smsbox = start("smsbox");
        listens(send).await;
        let visitors = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { bearerbox, _smsbox, send, visitors, _directory: directory }
    }

    /// Has it send a text and tell of its delivery.
    async fn send(&self, text: &str) {
        let visits = self.visitors.local_addr().unwrap().port();
        let url = format!(
            "http://127.0.0.1:{}/cgi-bin/sendsms?username=u&password=p&from=Budstikke&to=4520123456&text={text}\
             &dlr-mask=19&dlr-url=http%3A%2F%2F127.0.0.1%3A{visits}%2Freceipt%3Fstate%3D%25d",
            self.send
        );
        // smsbox answers before it has found its bearerbox; then it says so.
        until("Kannel takes the message", async || {
            reqwest::get(&url).await.unwrap().status().is_success().then_some(())
        })
        .await;
    }

    /// Takes one HTTP request of Kannel's: what became of a message.
    async fn tells(&self, state: &str) {
        let accepted = tokio::time::timeout(PATIENCE, self.visitors.accept()).await;
        let (mut stream, _) = accepted.expect("nobody came").unwrap();
        let mut request = Vec::new();
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the visitor left");
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await.unwrap();
        let request = String::from_utf8_lossy(&request);
        assert!(request.contains(state), "{request}");
    }
}

async fn stage(behaviour: Behaviour, response_millis: u64) -> (Smsc, Stage, TenantId) {
    let databases = Databases::start().await;
    let tenant = databases.tenant("one").await;
    let smsc = Smsc::start(Options { behaviour, ..Options::default() }).await.expect("an SMSC");
    let settings = Settings { response_millis, ..settings(smsc.address().port()) };
    let stage = Stage::start(databases, &[(tenant, 1)], settings).await;
    (smsc, stage, tenant)
}

#[tokio::test]
async fn kannel_binds_to_a_connector_and_submits_and_takes_receipts() {
    let (smsc, stage, tenant) = stage(Behaviour::default(), 10_000).await;
    stage.bound(1).await;
    let kannel = Kannel::start(&stage, tenant).await;
    kannel.send("hej").await;
    let submits = until("the submit", async || Some(smsc.submits(0)).filter(|all| !all.is_empty())).await;
    assert_eq!((submits[0].source.as_str(), submits[0].destination.as_str()), ("Budstikke", "4520123456"));
    assert_eq!(submits[0].short_message, "68656a");
    kannel.tells(DELIVERED).await;
    until("an acknowledged receipt", async || (smsc.stats().receipts_sent == 1).then_some(())).await;
    assert_eq!(stage.metric(r#"budstikke_connector_receipts_total{result="sender"}"#), 1.0, "Kannel took it");

    kannel.send(&"a".repeat(400)).await;
    let submits = until("the parts", async || Some(smsc.submits(0)).filter(|all| all.len() >= 4)).await;
    for (of, part) in (1..).zip(&submits[1..]) {
        assert_eq!((&part.short_message[..6], &part.short_message[8..12]), ("050003", format!("030{of}").as_str()));
    }
    kannel.tells(DELIVERED).await;

    // A wake-up is for senders of ours; Kannel would complain.
    stage.run("select pg_notify('budstikke_wake', $1::text)", tenant).await;
    kannel.send("hej").await;
    kannel.tells(DELIVERED).await;
    for complaint in ["Unknown SMPP_PDU", "unpacking failed", "Unknown TLV", "returned error code"] {
        assert_eq!(kannel.bearerbox.said(complaint), Vec::<String>::new());
    }
    stage.running.stop().await;
}

#[tokio::test]
async fn kannel_keeps_what_cannot_go_now_and_sends_it_once_later() {
    let (smsc, stage, tenant) = stage(Behaviour { latch: true, ..Behaviour::default() }, 10_000).await;
    let kannel = Kannel::start(&stage, tenant).await;
    kannel.send("hej").await;
    // ESME_RMSGQFUL once the route is known to take nothing.
    kannel.bearerbox.says("returned error code 0x00000014").await;
    smsc.behave(&Change { latch: Some(false), ..Change::default() });
    kannel.tells(DELIVERED).await;
    assert_eq!(smsc.stats().submitted, 1);
    stage.running.stop().await;
}

#[tokio::test]
async fn kannel_does_not_send_again_what_may_have_been_sent() {
    let (smsc, stage, tenant) = stage(Behaviour { stall: true, ..Behaviour::default() }, 300).await;
    stage.bound(1).await;
    let kannel = Kannel::start(&stage, tenant).await;
    kannel.send("hej").await;
    kannel.tells(REFUSED).await;
    assert_eq!(smsc.stats().submitted, 1);
    stage.running.stop().await;
}
