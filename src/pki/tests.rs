//! Real handshakes in memory between the leaves of one or two authorities.
use std::sync::Arc;

use jiff::Timestamp;
use rustls::{ClientConnection, ServerConnection};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};

use super::*;
use crate::domain::TenantId;

const SERVER: &str = "connector-fast.sms.svc";

fn now() -> Timestamp {
    Timestamp::now()
}

fn authority() -> Authority {
    let issued = Authority::generate(now()).expect("an authority");
    Authority::load(&issued.certificate, &issued.key).expect("what was generated loads")
}

fn identity(authority: &Authority, leaf: Leaf) -> Identity {
    let issued = authority.issue(&leaf, now(), POD_DAYS).expect("a leaf");
    Identity { certificate: issued.certificate, key: issued.key, authority: authority.certificate().to_owned() }
}

fn server(authority: &Authority) -> Identity {
    identity(authority, Leaf::Server(vec![SERVER.to_owned()]))
}

fn client(authority: &Authority) -> Identity {
    identity(authority, Leaf::Client("sender-42".to_owned()))
}

/// The tenant that the server sees, after a whole handshake.
fn handshake(client: &Identity, server: &Identity, name: &'static str) -> Result<Option<TenantId>, rustls::Error> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let name = ServerName::try_from(name).expect("a name");
    let mut client = ClientConnection::new(client_config(client).expect("client"), name)?;
    let mut server = ServerConnection::new(mutual_server_config(server).expect("server"))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("memory");
        server.read_tls(&mut wire.as_slice()).expect("memory");
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).expect("memory");
        client.read_tls(&mut wire.as_slice()).expect("memory");
        client.process_new_packets()?;
    }
    Ok(server.peer_certificates().and_then(|chain| chain.first()).and_then(sender_of))
}

#[test]
fn a_sender_and_its_connector_trust_each_other_and_the_connector_learns_the_tenant() {
    let authority = authority();
    assert_eq!(handshake(&client(&authority), &server(&authority), SERVER).expect("trust"), Some(TenantId(42)));
}

#[test]
fn strangers_are_refused() {
    let (ours, theirs) = (authority(), authority());
    let trusting = Identity { authority: ours.certificate().to_owned(), ..client(&theirs) };
    assert!(handshake(&trusting, &server(&ours), SERVER).is_err(), "a client of another authority");
    assert!(handshake(&client(&ours), &server(&theirs), SERVER).is_err(), "a server of another authority");
    assert!(handshake(&client(&ours), &server(&ours), "connector-other.sms.svc").is_err(), "another server");
    assert!(handshake(&server(&ours), &server(&ours), SERVER).is_err(), "a server's certificate shown by a client");
}

#[test]
fn only_a_senders_name_names_a_tenant() {
    let authority = authority();
    let seen = |leaf| {
        let pem = authority.issue(&leaf, now(), POD_DAYS).expect("a leaf").certificate;
        sender_of(&CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate"))
    };
    assert_eq!(seen(Leaf::Client("sender-7".to_owned())), Some(TenantId(7)));
    for other in ["sender-", "sender-07", "sender-+7", "sender--7", "sender-0", "connector-7", "7"] {
        assert_eq!(seen(Leaf::Client(other.to_owned())), None, "{other}");
    }
}

#[test]
fn a_leaf_ends_in_a_year() {
    let issued = authority().issue(&Leaf::Client("sender-1".to_owned()), now(), POD_DAYS).expect("a leaf");
    let days = expires(issued.certificate.as_bytes()).expect("an end").duration_since(now()).as_hours() / 24;
    assert!((364..=366).contains(&days), "{days}");
}

#[test]
fn keys_are_not_printed() {
    let identity = client(&authority());
    assert!(!format!("{identity:?}").contains("PRIVATE KEY"));
    assert!(Arc::strong_count(&client_config(&identity).expect("client")) >= 1);
}
