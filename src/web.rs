//! HTTPS for whoever serves it: TLS, HTTP/1.1 and HTTP/2, as many connections as fit, none for ever.
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

/// Connections at once.
const CONNECTIONS: usize = 2048;
/// For a handshake, and for a request's headers.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Calls at once on one connection.
const STREAMS: u32 = 128;
/// How long calls may go on after the server is told to stop.
const DRAIN: Duration = Duration::from_secs(20);

/// The connection that a call came in on, for whoever has to end it. Who stopped reading cannot be told anything.
#[derive(Debug, Clone, Default)]
pub struct Line(CancellationToken);

impl Line {
    /// Ends the connection at once, with all that goes on on it.
    pub fn cut(&self) {
        self.0.cancel();
    }
}

impl<S: Sync> FromRequestParts<S> for Line {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// Serves until `stop`, then lets the calls at work finish.
pub async fn serve(
    listener: TcpListener,
    settings: watch::Receiver<Arc<ServerConfig>>,
    router: Router,
    stop: CancellationToken,
) {
    let (graceful, places) = (GracefulShutdown::new(), Arc::new(Semaphore::new(CONNECTIONS)));
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, or the peer gone again: neither is helped by asking at once.
                    tracing::warn!(%error, "accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (acceptor, router, watcher) =
            (TlsAcceptor::from(settings.borrow().clone()), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            connection(stream, acceptor, router, watcher).await;
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("calls were still at work when the server stopped");
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let _ = stream.set_nodelay(true);
    // Scanners and health checks of load balancers end here; they are nobody's fault.
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE).max_headers(64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(16 * 1024)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    let line = Line::default();
    let service = TowerToHyperService::new(Extension(line.clone()).layer(router));
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    tokio::select! {
        served = watcher.watch(connection) => if let Err(error) = served {
            tracing::debug!(error, "a connection ended");
        },
        () = line.0.cancelled() => tracing::debug!("a connection was cut off: nothing was read of a copy"),
    }
}
