//! One connection to the upstream, one call at a time, and whether a call was written: money and duplicates hang on it. A pooled client
//! does not tell, and opens as many connections as it likes; here there is one, and none is opened before the other is gone.
//!
//! A call was written when the transport has taken its last octet: then hyper flushes, after the body was taken from it. What
//! was not written whole cannot be acted on: its end lacks.
use std::convert::Infallible;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::to_bytes;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::connector::{ConnectorConfig, Https};
use crate::pki;
use crate::smpp::client::{self, ConnectError, Connection, Target, Tls};
use crate::smpp::session::WrittenAt;
use crate::store::upstream_reports::Failure;

/// A connection that rested for longer is not written to: servers close those that rest, some after five seconds, and of
/// what is written at that moment nobody knows whether it was read.
const RESTED: Duration = Duration::from_secs(4);
/// Of an answer, octets. It repeats up to a thousand numbers and the text.
const MOST: usize = 256 * 1024;

/// Why there is no connection on which the upstream answers well.
#[derive(Debug, thiserror::Error)]
pub(in crate::connector) enum Error {
    /// The name its certificate must carry.
    #[error("read the upstream's name: {0}")]
    Name(#[source] rustls_pki_types::InvalidDnsNameError),
    /// The authorities to trust.
    #[error("prepare TLS: {0}")]
    Tls(#[source] pki::Error),
    /// The token, or the service plan.
    #[error("write {0} into a call: want ASCII without blanks")]
    Write(&'static str),
    /// The connection.
    #[error(transparent)]
    Connect(ConnectError),
    /// It said no.
    #[error("the upstream answered {0}")]
    Refused(StatusCode),
    /// It said nothing.
    #[error("the upstream did not answer")]
    Silent,
}

impl Error {
    /// In a word, for the route's status.
    pub(in crate::connector) fn failure(&self) -> Failure {
        match self {
            Self::Name(_) | Self::Tls(_) | Self::Connect(ConnectError::Tls(_)) => Failure::Tls,
            Self::Connect(_) => Failure::Connect,
            Self::Write(_) => Failure::Refused(u32::from(StatusCode::UNAUTHORIZED.as_u16())),
            Self::Refused(status) => Failure::Refused(status.as_u16().into()),
            Self::Silent => Failure::Lost,
        }
    }
}

/// What became of a call.
pub(super) enum Called {
    /// It was answered; the body is empty where it broke off.
    Answered { status: StatusCode, headers: HeaderMap, body: Bytes },
    /// It was not written whole.
    NotWritten(Failure),
    /// It was written, and no answer came.
    Unanswered,
}

// No derived Debug: an answer repeats numbers and texts (D10).
impl std::fmt::Debug for Called {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answered { status, .. } => f.debug_tuple("Answered").field(status).finish(),
            Self::NotWritten(failure) => f.debug_tuple("NotWritten").field(failure).finish(),
            Self::Unanswered => f.write_str("Unanswered"),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Wire {
    target: Target,
    host: HeaderValue,
    token: HeaderValue,
    /// `/xms/v1/<plan>/batches`
    path: String,
    standing: Option<Standing>,
}

#[derive(Debug)]
struct Standing {
    calls: SendRequest<Sent>,
    /// Reads and writes.
    driver: JoinHandle<()>,
    mark: Current,
    rests_since: Instant,
}

impl Wire {
    /// Connects to nobody yet.
    pub(super) fn new(config: &ConnectorConfig, https: &Https) -> Result<Self, Error> {
        let settings = &config.settings;
        let name = settings.tls_name.clone().unwrap_or_else(|| settings.host.clone());
        let tls = Tls {
            config: pki::upstream_config(config.upstream_ca.as_deref()).map_err(Error::Tls)?,
            server_name: ServerName::try_from(name).map_err(Error::Name)?,
        };
        let plan = config.system_id.expose();
        if plan.is_empty() || !plan.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet)) {
            return Err(Error::Write("the service plan"));
        }
        let mut token = HeaderValue::try_from(format!("Bearer {}", config.password.expose()))
            .map_err(|_| Error::Write("the token"))?;
        token.set_sensitive(true);
        let host =
            if settings.port == 443 { settings.host.clone() } else { format!("{}:{}", settings.host, settings.port) };
        Ok(Self {
            target: Target {
                host: settings.host.clone(),
                port: settings.port,
                tls: Some(tls),
                timeout: settings.connect_timeout(),
            },
            host: HeaderValue::try_from(host).map_err(|_| Error::Write("the host"))?,
            token,
            path: format!("{}/{plan}/batches", https.path),
            standing: None,
        })
    }

    /// Asks for a page of a list that holds nothing, to see whether the upstream is there and knows us.
    pub(super) async fn probe(&mut self, patience: Duration) -> Result<(), Error> {
        let path = format!("{}?page=100000&page_size=1", self.path);
        let mark = Arc::new(Mark::default());
        let request = self.request(Method::GET, &path, Bytes::new(), &mark).ok_or(Error::Write("the path"))?;
        self.stand().await?;
        match self.ask(request, &mark, patience, &CancellationToken::new()).await {
            // It may be busy or not have such a page, and knows us.
            Some((status, ..)) if is_known(status) => Ok(()),
            Some((status, ..)) => Err(Error::Refused(status)),
            None => Err(Error::Silent),
        }
    }

    /// Sends a call. Each of `told` learns when it was written. An answer may take `patience` from then; `cut` ends it at once.
    pub(super) async fn call(
        &mut self,
        body: Bytes,
        told: Vec<WrittenAt>,
        patience: Duration,
        cut: &CancellationToken,
    ) -> Called {
        let mark = Arc::new(Mark { told, ..Mark::default() });
        let path = self.path.clone();
        let Some(request) = self.request(Method::POST, &path, body, &mark) else {
            return Called::NotWritten(Failure::Lost);
        };
        if let Err(error) = self.stand().await {
            tracing::warn!(%error, "no connection to the upstream");
            return Called::NotWritten(error.failure());
        }
        match self.ask(request, &mark, patience, cut).await {
            Some((status, headers, body)) => Called::Answered { status, headers, body },
            None if mark.written_at().is_some() => Called::Unanswered,
            None => Called::NotWritten(Failure::Lost),
        }
    }

    fn request(&self, method: Method, path: &str, body: Bytes, mark: &Arc<Mark>) -> Option<Request<Sent>> {
        let body = Sent { octets: Some(body).filter(|octets| !octets.is_empty()), mark: Arc::clone(mark) };
        Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.host)
            .header(AUTHORIZATION, &self.token)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .ok()
    }

    /// Sees to it that there is a connection to write to.
    async fn stand(&mut self) -> Result<(), Error> {
        if let Some(standing) = &mut self.standing
            && standing.rests_since.elapsed() < RESTED
            && timeout(self.target.timeout, standing.calls.ready()).await.is_ok_and(|ready| ready.is_ok())
        {
            return Ok(());
        }
        self.hang_up().await;
        let stream = client::connect(&self.target).await.map_err(Error::Connect)?;
        let mark = Current::default();
        let watched = Watched { stream, mark: mark.clone() };
        let (calls, connection) = http1::handshake(TokioIo::new(watched)).await.map_err(|_| Error::Silent)?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the upstream ended");
            }
        });
        self.standing = Some(Standing { calls, driver, mark, rests_since: Instant::now() });
        Ok(())
    }

    /// Closes the connection for certain.
    pub(super) async fn hang_up(&mut self) {
        if let Some(Standing { calls, driver, .. }) = self.standing.take() {
            drop(calls);
            driver.abort();
            let _ = driver.await;
        }
    }

    /// The answer; `None` where none came, and then the connection is gone too, so that nothing more is written.
    async fn ask(
        &mut self,
        request: Request<Sent>,
        mark: &Arc<Mark>,
        patience: Duration,
        cut: &CancellationToken,
    ) -> Option<(StatusCode, HeaderMap, Bytes)> {
        let standing = self.standing.as_mut()?;
        standing.mark.set(Some(Arc::clone(mark)));
        let mut head = None;
        let asking = async {
            let (parts, body) = standing.calls.send_request(request).await.ok()?.into_parts();
            head = Some((parts.status, parts.headers));
            to_bytes(axum::body::Body::new(body), MOST).await.ok()
        };
        let body = tokio::select! {
            body = asking => body,
            () = mark.expired(patience) => None,
            () = cut.cancelled() => None,
        };
        standing.mark.set(None);
        standing.rests_since = Instant::now();
        if body.is_none() {
            self.hang_up().await;
        }
        // Of an answer that broke off, what its first line says holds.
        head.map(|(status, headers)| (status, headers, body.unwrap_or_default()))
    }
}

/// Whether a status says that the address, the plan and the token are right, whatever it says of a call.
pub(super) fn is_known(status: StatusCode) -> bool {
    let ours = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
    ];
    status.is_success() || (status.is_client_error() && !ours.contains(&status))
}

/// One call's way onto the wire.
#[derive(Debug, Default)]
struct Mark {
    /// Its body was taken, to be written.
    taken: AtomicBool,
    written: WrittenAt,
    told: Vec<WrittenAt>,
}

impl Mark {
    fn flushed(&self) {
        if self.taken.load(Ordering::Acquire) && self.written.get().is_none() {
            let now = Instant::now();
            for written in self.told.iter().chain([&self.written]) {
                written.set(now);
            }
        }
    }

    fn written_at(&self) -> Option<Instant> {
        self.written.get()
    }

    /// Waits until `patience` has gone by since the call was written; for the writing itself there is as much.
    async fn expired(&self, patience: Duration) {
        let begun = Instant::now();
        loop {
            let due = self.written_at().unwrap_or(begun) + patience;
            if Instant::now() >= due {
                return;
            }
            sleep_until(due).await;
        }
    }
}

/// The call that a connection is busy with.
#[derive(Debug, Clone, Default)]
struct Current(Arc<Mutex<Option<Arc<Mark>>>>);

impl Current {
    fn set(&self, mark: Option<Arc<Mark>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = mark;
    }

    fn flushed(&self) {
        if let Some(mark) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            mark.flushed();
        }
    }
}

/// A body that tells when it is taken. It holds numbers and texts, and has no `Debug`.
struct Sent {
    octets: Option<Bytes>,
    mark: Arc<Mark>,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let octets = self.octets.take();
        self.mark.taken.store(true, Ordering::Release);
        Poll::Ready(octets.map(|octets| Ok(Frame::data(octets))))
    }

    fn is_end_stream(&self) -> bool {
        self.octets.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.octets.as_ref().map_or(0, |octets| octets.len() as u64))
    }
}

/// A connection that tells when everything given to it was taken by the transport.
#[derive(Debug)]
struct Watched {
    stream: Connection,
    mark: Current,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, octets)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.mark.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
