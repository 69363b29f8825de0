//! One try: where an endpoint is on the network, whether that may be gone to, and what it answers.
//!
//! The name is resolved here and once: the connection goes to an address that was looked at, not to whatever the name leads to by then.
//! Redirections are not followed, since they would lead anywhere.
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use axum::http::{HeaderValue, Request};
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use super::schedule;
use crate::domain::webhook::{WebhookUrl, is_public};
use crate::pki;
use crate::store::webhooks::claims::Failure;

/// Of one try, from the name to the status of the answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Of what comes after the status.
const REST: Duration = Duration::from_secs(2);
/// Of one connection: a name may have several addresses.
const CONNECT: Duration = Duration::from_secs(5);
/// Addresses of a name that are tried.
const ADDRESSES: usize = 4;
/// Of the headers of an answer, bytes.
const HEADERS: usize = 16 * 1024;
/// Of its body, bytes: read so that the endpoint has it off its hands, and kept nowhere.
const BODY: usize = 64 * 1024;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("Budstikke-Webhooks/", env!("CARGO_PKG_VERSION")));

/// What is told, and the headers by which the endpoint knows it.
pub(super) struct Letter {
    pub(super) id: HeaderValue,
    pub(super) timestamp: HeaderValue,
    pub(super) signature: HeaderValue,
    pub(super) body: Bytes,
}

/// What an endpoint answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// How long it asks to be left alone.
    pub(super) asked: Option<Duration>,
}

/// An answer whose body is still to come.
struct Told {
    answer: Answer,
    body: Body,
    /// The connection; ends with this value.
    _driving: JoinSet<Result<(), hyper::Error>>,
}

/// Goes to endpoints.
pub(super) struct Poster {
    tls: TlsConnector,
    ports: Vec<u16>,
    allow_private: bool,
}

impl std::fmt::Debug for Poster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poster")
            .field("ports", &self.ports)
            .field("allow_private", &self.allow_private)
            .finish_non_exhaustive()
    }
}

impl Poster {
    pub(super) fn new(authority: Option<&str>, ports: Vec<u16>, allow_private: bool) -> Result<Self, pki::Error> {
        let mut tls = rustls::ClientConfig::clone(&*pki::upstream_config(authority)?);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: Arc::new(tls).into(), ports, allow_private })
    }

    /// Tells an endpoint, in a bounded time.
    pub(super) async fn post(&self, url: &WebhookUrl, letter: Letter, now: Timestamp) -> Result<Answer, Failure> {
        let told = tokio::time::timeout(TIMEOUT, async {
            let stream = self.connect(url).await?;
            exchange(stream, url, letter, now).await
        });
        let Told { answer, body, _driving } = told.await.unwrap_or(Err(Failure::Timeout))?;
        // What it says beyond its status changes nothing, however long it takes.
        let _ = tokio::time::timeout(REST, axum::body::to_bytes(body, BODY)).await;
        Ok(answer)
    }

    async fn connect(&self, url: &WebhookUrl) -> Result<TlsStream<TcpStream>, Failure> {
        let name = match (url.host(), url.literal()) {
            (Host::Domain(name), _) => ServerName::try_from(name.clone()).map_err(|_| Failure::Address)?,
            (_, Some(address)) => ServerName::IpAddress(address.into()),
            (_, None) => return Err(Failure::Address),
        };
        for address in self.addresses(url).await? {
            if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
                let _ = stream.set_nodelay(true);
                return self.tls.connect(name, stream).await.map_err(|_| Failure::Tls);
            }
        }
        Err(Failure::Connect)
    }

    /// Where it is, as far as one may go there.
    async fn addresses(&self, url: &WebhookUrl) -> Result<Vec<SocketAddr>, Failure> {
        if !self.ports.is_empty() && !self.ports.contains(&url.port()) {
            return Err(Failure::Address);
        }
        let found: Vec<SocketAddr> = match (url.host(), url.literal()) {
            (Host::Domain(name), _) => {
                let found = tokio::net::lookup_host((name.as_str(), url.port())).await;
                found.map_err(|_| Failure::Address)?.collect()
            }
            (_, literal) => literal.map(|address| SocketAddr::new(address, url.port())).into_iter().collect(),
        };
        let may = |address: IpAddr| self.allow_private || is_public(address);
        let allowed: Vec<_> = found.into_iter().filter(|address| may(address.ip())).take(ADDRESSES).collect();
        if allowed.is_empty() { Err(Failure::Address) } else { Ok(allowed) }
    }
}

async fn exchange(
    stream: TlsStream<TcpStream>,
    url: &WebhookUrl,
    letter: Letter,
    now: Timestamp,
) -> Result<Told, Failure> {
    let mut client = hyper::client::conn::http1::Builder::new();
    let (mut sender, connection) =
        client.max_buf_size(HEADERS).handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Answer)?;
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let Letter { id, timestamp, signature, body } = letter;
    let request = Request::post(url.target().reveal().as_str())
        .header(HOST, url.authority())
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signature)
        .body(Body::from(body))
        .map_err(|_| Failure::Address)?;
    let response = sender.send_request(request).await.map_err(|_| Failure::Answer)?;
    let status = response.status().as_u16();
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| schedule::asked(value.to_str().ok()?, now));
    Ok(Told { answer: Answer { status, asked }, body: Body::new(response.into_body()), _driving: driving })
}
