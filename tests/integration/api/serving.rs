//! The server itself: TLS, protocols, renewal, stopping, its document and its metrics.
use std::sync::Arc;
use std::time::Duration;

use budstikke::domain::{Clock as _, SystemClock};
use budstikke::pki::Authority;
use reqwest::StatusCode;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::service::{Api, Service, certificate};

#[tokio::test]
async fn the_document_is_served_as_the_repository_holds_it() {
    let service = Service::start().await;
    let served = service.api.call(service.api.client.get(service.api.url("/openapi.json"))).await;
    assert_eq!(served.status, StatusCode::OK);
    let stored: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).expect("JSON");
    assert_eq!(served.body, stored);
}

#[tokio::test]
async fn both_versions_of_http_are_offered_and_only_over_tls() {
    let service = Service::start().await;
    for (offered, expected) in [(vec!["h2", "http/1.1"], "h2"), (vec!["http/1.1"], "http/1.1")] {
        let mut config = trusting(&service.api);
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(service.api.address).await.expect("connect");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(expected.as_bytes()));
    }
    let mut plain = TcpStream::connect(service.api.address).await.expect("connect");
    plain.write_all(b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("write");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_the_next_connection() {
    let service = Service::start().await;
    let root = Authority::generate(SystemClock.now()).expect("an authority");
    let renewed = Authority::load(&root.certificate, &root.key).expect("an authority");
    service.api.settings.send(certificate(&renewed)).expect("shown");
    let trusted = reqwest::Certificate::from_pem(root.certificate.as_bytes()).expect("a certificate");
    let client = reqwest::Client::builder().tls_certs_only([trusted]).build().expect("a client");
    let answer = client.get(service.api.url("/openapi.json")).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn calls_at_work_are_finished_before_the_server_stops() {
    let service = Service::start().await;
    // The call cannot commit while this lock is held, so it is at work when the server is told to stop.
    let mut lock = service.owner().begin().await.expect("begin");
    sqlx::query("lock table queue in exclusive mode").execute(&mut *lock).await.expect("lock");
    let body = json!({"to": "20123456", "text": "Hej"});
    let call = service.api.post(&service.key, &body);
    let stopping = async {
        let waiting = "select count(*) from pg_locks where not granted and relation = 'queue'::regclass";
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&service.owner()).await.expect("look") == 0 {
            assert!(tokio::time::Instant::now() < deadline, "the call never came to the lock");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        service.api.stop.cancel();
        lock.commit().await.expect("let go");
    };
    let (answer, ()) = tokio::join!(call, stopping);
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(service.api.address).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "the server still takes connections");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn metrics_count_by_pattern_and_name_nobody() {
    let service = Service::start().await;
    let id = service.sent("20123456", "Hej").await;
    service.get(&format!("/v1/messages/{id}")).await;
    service.get("/v1/made-up/path").await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &service.api.registry).expect("metrics");
    for line in [
        r#"budstikke_api_calls_total{method="POST",route="/v1/messages",status="202"} 1"#,
        r#"budstikke_api_calls_total{method="GET",route="/v1/messages/{id}",status="200"} 1"#,
        r#"budstikke_api_calls_total{method="GET",route="none",status="404"} 1"#,
        "budstikke_api_accepted_messages_total 1",
        "budstikke_api_accept_seconds_count 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    for personal in ["20123456", &id, "tenant", "made-up"] {
        assert!(!text.contains(personal), "{personal} is in\n{text}");
    }
}

fn trusting(api: &Api) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(api.authority.as_bytes()).expect("a certificate");
    roots.add(root).expect("a root");
    rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}
