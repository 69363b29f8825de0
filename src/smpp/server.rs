//! The side that is bound to: listen, authenticate, serve.
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rusmpp::pdus::{BindReceiverResp, BindTransceiverResp, BindTransmitterResp};
use rusmpp::types::COctetString;
use rusmpp::values::InterfaceVersion;
use rusmpp::{CommandStatus, Pdu};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::frame;
use super::handshake::next_frame;
pub use super::handshake::{Credentials, HandshakeError};
use super::session::{BindKind, Incoming, Opening, Options, Role, Session};

#[cfg(test)]
mod tests;

/// A bind that waits to be judged.
#[derive(Debug)]
pub struct BindRequest {
    /// What it wants to do.
    pub kind: BindKind,
    /// Who it says it is.
    pub credentials: Credentials,
}

/// Who is at the other end of the connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// From where.
    pub address: SocketAddr,
    /// Its certificate, verified against the CA of [`Service::tls`]; `None` without mutual TLS.
    pub certificate: Option<CertificateDer<'static>>,
}

/// What a server does with its binds.
pub trait Service: Send + Sync + 'static {
    /// What authentication finds out and serving needs.
    type Identity: Send;

    /// The TLS configuration for the next connection; `None` for plain TCP. Asked each time, so that certificates
    /// can change live.
    fn tls(&self) -> Option<Arc<rustls::ServerConfig>>;

    /// Judges a bind. The status of a refusal is sent.
    fn authenticate(
        &self,
        bind: &BindRequest,
        peer: &Peer,
    ) -> impl Future<Output = Result<Self::Identity, CommandStatus>> + Send;

    /// Serves a bound session. When this ends, so does the session.
    fn serve(&self, identity: Self::Identity, session: Session, incoming: Incoming) -> impl Future<Output = ()> + Send;
}

/// What a server allows.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; more are closed at once.
    pub connections: usize,
    /// How long TLS handshake, bind and authentication may take together.
    pub bind_timeout: Duration,
    /// What the server calls itself in its bind answers; at most 15 ASCII characters.
    pub system_id: String,
    /// The sessions' behaviour.
    pub session: Options,
}

/// Accepts connections until `stop`, then waits until every [`Service::serve`] has ended.
pub async fn serve<V: Service>(listener: TcpListener, limits: Limits, service: Arc<V>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    let limits = Arc::new(limits);
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (stream, address) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                // Out of descriptors, most likely: the ones in use will come back.
                tracing::warn!(%error, "accepting a connection failed");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%address, "connection closed: too many");
            continue;
        };
        let (service, limits) = (Arc::clone(&service), Arc::clone(&limits));
        tasks.spawn(async move {
            match connection(stream, address, &limits, &*service).await {
                Ok(()) => {}
                // A probe that only wanted to know whether somebody listens.
                Err(HandshakeError::PeerClosed) => tracing::debug!(%address, "a connection that said nothing"),
                Err(error) => tracing::info!(%address, %error, "a connection did not come to a bind"),
            }
            drop(place);
        });
    }
    tasks.close();
    tasks.wait().await;
}

async fn connection<V: Service>(
    stream: TcpStream,
    address: SocketAddr,
    limits: &Limits,
    service: &V,
) -> Result<(), HandshakeError> {
    stream.set_nodelay(true).map_err(HandshakeError::Exchange)?;
    let binding = async {
        let Some(tls) = service.tls() else {
            let peer = Peer { address, certificate: None };
            return accept(stream, limits, async |bind| service.authenticate(bind, &peer).await).await;
        };
        let stream = TlsAcceptor::from(tls).accept(stream).await.map_err(HandshakeError::Exchange)?;
        let chain = stream.get_ref().1.peer_certificates();
        let certificate = chain.and_then(|chain| chain.first()).map(|leaf| leaf.clone().into_owned());
        let peer = Peer { address, certificate };
        accept(stream, limits, async |bind| service.authenticate(bind, &peer).await).await
    };
    let bound = timeout(limits.bind_timeout, binding).await.unwrap_or(Err(HandshakeError::TimedOut))?;
    if let Some((identity, session, incoming)) = bound {
        service.serve(identity, session, incoming).await;
    }
    Ok(())
}

/// Takes one bind on a fresh stream; `None` when it was refused.
///
/// # Errors
/// When it does not come to a bind.
pub async fn accept<S, T>(
    mut stream: S,
    limits: &Limits,
    authenticate: impl AsyncFnOnce(&BindRequest) -> Result<T, CommandStatus>,
) -> Result<Option<(T, Session, Incoming)>, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut read = BytesMut::new();
    let frame = next_frame(&mut stream, &mut read).await?;
    let (id, sequence) = (frame.id, frame.sequence);
    let judged = match BindKind::of(id) {
        None => Err((CommandStatus::EsmeRinvbndsts, HandshakeError::NoBind(id))),
        Some(kind) => match Credentials::read(frame.into_body()) {
            Err(error) => Err((CommandStatus::EsmeRbindfail, error)),
            Ok(credentials) => {
                let bind = BindRequest { kind, credentials };
                Ok(authenticate(&bind).await.map(|identity| (identity, kind)))
            }
        },
    };
    let (status, pdu) = match &judged {
        Ok(Ok((_, kind))) => (CommandStatus::EsmeRok, Some(accepted(*kind, &limits.system_id))),
        Ok(Err(status)) => (*status, None),
        Err((status, _)) => (*status, None),
    };
    let mut out = BytesMut::new();
    frame::encode(&mut out, frame::response_to(id), status, sequence, pdu.as_ref());
    stream.write_all(&out).await.map_err(HandshakeError::Exchange)?;
    stream.flush().await.map_err(HandshakeError::Exchange)?;
    match judged {
        Ok(Ok((identity, kind))) => {
            let opening = Opening { read, sequence: 1 };
            let (session, incoming) = Session::start(stream, opening, Role::Server, kind, limits.session);
            Ok(Some((identity, session, incoming)))
        }
        Ok(Err(_)) => {
            // In good order, so that the refusal is read and not lost to a reset.
            let _ = stream.shutdown().await;
            Ok(None)
        }
        Err((_, error)) => {
            let _ = stream.shutdown().await;
            Err(error)
        }
    }
}

fn accepted(kind: BindKind, system_id: &str) -> Pdu {
    let system_id = COctetString::from_str(system_id).unwrap_or_default();
    let version = Some(InterfaceVersion::Smpp3_4);
    match kind {
        BindKind::Transmitter => BindTransmitterResp::new(system_id, version).into(),
        BindKind::Receiver => BindReceiverResp::new(system_id, version).into(),
        BindKind::Transceiver => BindTransceiverResp::new(system_id, version).into(),
    }
}
