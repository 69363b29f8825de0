//! The side that binds: connect, with or without TLS, and bind.
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rusmpp::{CommandId, CommandStatus};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;

use super::frame;
pub use super::handshake::{Credentials, HandshakeError};
use super::handshake::{is_ok, next_frame};
use super::session::{BindKind, Incoming, Opening, Options, Role, Session};

/// Where to connect.
#[derive(Debug, Clone)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS, unless the upstream has none.
    pub tls: Option<Tls>,
    /// How long name resolution, connecting and the TLS handshake may take together.
    pub timeout: Duration,
}

/// How to speak TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Trust and, for mutual TLS, our certificate.
    pub config: Arc<rustls::ClientConfig>,
    /// The name that the server's certificate must have.
    pub server_name: ServerName<'static>,
}

/// A connection, plain or TLS.
pub type Connection = Either<TcpStream, Box<tokio_rustls::client::TlsStream<TcpStream>>>;

/// Opens streams to peers. The network does; a simulation has something else in its place.
pub trait Dial: std::fmt::Debug + Send + Sync + 'static {
    /// What is opened.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Opens one.
    ///
    /// # Errors
    /// See [`ConnectError`].
    fn dial(&self, target: &Target) -> impl Future<Output = Result<Self::Stream, ConnectError>> + Send;
}

/// The network: see [`connect`].
#[derive(Debug, Clone, Copy)]
pub struct Network;

impl Dial for Network {
    type Stream = Connection;

    async fn dial(&self, target: &Target) -> Result<Connection, ConnectError> {
        connect(target).await
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name or address leads nowhere.
    #[error("connecting: {0}")]
    Connect(#[source] std::io::Error),
    /// The TLS handshake failed.
    #[error("agreeing on TLS: {0}")]
    Tls(#[source] std::io::Error),
    /// It took too long.
    #[error("connecting took longer than {0:?}")]
    TimedOut(Duration),
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The upstream said no.
    #[error("the bind was refused with {0:?}")]
    Refused(CommandStatus),
    /// The exchange failed.
    #[error(transparent)]
    Handshake(HandshakeError),
}

/// Connects, with TCP_NODELAY set: PDUs are coalesced by the session, not by the kernel.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(target: &Target) -> Result<Connection, ConnectError> {
    let connecting = async {
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(ConnectError::Connect)?;
        stream.set_nodelay(true).map_err(ConnectError::Connect)?;
        let Some(tls) = &target.tls else { return Ok(Either::Left(stream)) };
        let connector = TlsConnector::from(Arc::clone(&tls.config));
        let stream = connector.connect(tls.server_name.clone(), stream).await.map_err(ConnectError::Tls)?;
        Ok(Either::Right(Box::new(stream)))
    };
    timeout(target.timeout, connecting).await.unwrap_or(Err(ConnectError::TimedOut(target.timeout)))
}

/// Binds on a fresh stream; the answer may take `patience`.
///
/// # Errors
/// See [`BindError`]; the stream is closed then.
pub async fn bind<S>(
    mut stream: S,
    kind: BindKind,
    credentials: &Credentials,
    patience: Duration,
    options: Options,
) -> Result<(Session, Incoming), BindError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let exchange = async {
        let mut out = BytesMut::new();
        let pdu = credentials.pdu(kind)?;
        frame::encode(&mut out, kind.command(), CommandStatus::EsmeRok, 1, Some(&pdu));
        stream.write_all(&out).await.map_err(HandshakeError::Exchange)?;
        stream.flush().await.map_err(HandshakeError::Exchange)?;
        let mut read = BytesMut::new();
        loop {
            let frame = next_frame(&mut stream, &mut read).await?;
            let answers = frame.id == frame::response_to(kind.command()) || frame.id == CommandId::GenericNack;
            if answers && frame.sequence <= 1 {
                return Ok((frame.status, read));
            }
            // Anything else before the answer is out of turn and means nothing yet.
        }
    };
    let exchanged = timeout(patience, exchange).await.unwrap_or(Err(HandshakeError::TimedOut));
    let (status, read) = exchanged.map_err(BindError::Handshake)?;
    if !is_ok(status) {
        return Err(BindError::Refused(status));
    }
    Ok(Session::start(stream, Opening { read, sequence: 2 }, Role::Client, kind, options))
}
