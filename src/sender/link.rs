//! The session with one route's connector: connects, binds, binds again when it breaks, and tells the engine what the
//! connector says.
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::receipt::{self, Read};
use crate::config::sender::{Leg, SenderConfig};
use crate::domain::{Circuit, Clock, Secret};
use crate::pki;
use crate::smpp::CommandStatus;
use crate::smpp::backoff::Backoff;
use crate::smpp::client::{self, Credentials, Dial, Target, Tls};
use crate::smpp::session::{BindKind, Event, Options, Responder, Session};
use crate::smpp::vendor::Flow;
use crate::store::receipts::Receipt;

/// Between two tries, at first and at most: a connector that starts anew is found soon, however long it was away.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// How long connecting and binding may take, each.
const PATIENCE: Duration = Duration::from_secs(10);
/// The connector answers every submit, at the latest when its upstream's time-out strikes; longer than any of those.
const ANSWER: Duration = Duration::from_secs(120);
/// Submits without an answer, at most; credits are the bound that matters.
const WINDOW: usize = 2_000;
/// Receipts not stored, at most; then the connector waits.
const RECEIPTS: usize = 400;

/// What a session tells the engine.
#[derive(Debug)]
pub(super) enum Signal {
    /// The session stands.
    Up(usize, Session),
    /// The session is over.
    Down(usize),
    /// The connector refused the bind: a newer sender may run.
    Refused,
    /// Something was queued.
    Wake,
    /// So many submits more are welcome.
    Credit(usize, u32),
    /// Whether the route takes messages.
    Circuit(usize, Circuit),
    /// A receipt, to be answered once it is stored.
    Receipt(Receipt, Responder),
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The address of the connector.
    #[error("read the connector's address: want host:port")]
    Address,
    /// The name of the connector.
    #[error("read the connector's name: {0}")]
    Name(#[source] rustls_pki_types::InvalidDnsNameError),
    /// The certificates.
    #[error("prepare TLS: {0}")]
    Tls(#[source] pki::Error),
    /// The connection.
    #[error(transparent)]
    Connect(client::ConnectError),
    /// The bind.
    #[error(transparent)]
    Bind(client::BindError),
}

/// One route's session, for as long as the sender runs.
#[derive(Debug)]
pub(super) struct Link<D> {
    pub(super) index: usize,
    pub(super) leg: Leg,
    pub(super) epoch: i64,
    /// Certificates change while the sender runs: each connection takes the newest.
    pub(super) config: watch::Receiver<Arc<SenderConfig>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) signals: mpsc::Sender<Signal>,
    /// How the connector is reached.
    pub(super) dial: D,
    pub(super) stop: CancellationToken,
}

impl<D: Dial> Link<D> {
    /// Keeps the session until stopped.
    pub(super) async fn run(self) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(self.keep()).await;
    }

    async fn keep(mut self) {
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        loop {
            match self.bind().await {
                Ok((session, incoming)) => {
                    backoff.reset();
                    tracing::info!(route = %self.leg.name, "bound to the connector");
                    if self.signals.send(Signal::Up(self.index, session.clone())).await.is_err() {
                        return;
                    }
                    self.listen(incoming).await;
                    let reason = session.closed().await;
                    tracing::info!(route = %self.leg.name, %reason, "the session with the connector is over");
                    if self.signals.send(Signal::Down(self.index)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(route = %self.leg.name, %error, "no session with the connector");
                    if matches!(&error, Error::Bind(client::BindError::Refused(CommandStatus::EsmeRbindfail)))
                        && self.signals.send(Signal::Refused).await.is_err()
                    {
                        return;
                    }
                }
            }
            sleep(backoff.delay()).await;
        }
    }

    async fn bind(&mut self) -> Result<(Session, crate::smpp::session::Incoming), Error> {
        let config = Arc::clone(&self.config.borrow_and_update());
        let (host, port) = self.leg.address.rsplit_once(':').ok_or(Error::Address)?;
        let target = Target {
            host: host.to_owned(),
            port: port.parse().map_err(|_| Error::Address)?,
            tls: Some(Tls {
                config: pki::client_config(&config.identity).map_err(Error::Tls)?,
                server_name: ServerName::try_from(self.leg.server_name.clone()).map_err(Error::Name)?,
            }),
            timeout: PATIENCE,
        };
        let connection = self.dial.dial(&target).await.map_err(Error::Connect)?;
        let credentials = Credentials {
            system_id: format!("t{}", config.settings.tenant_id),
            password: Secret::new(""),
            system_type: self.epoch.to_string(),
            address_range: String::new(),
        };
        let options = Options { window: WINDOW, request_timeout: ANSWER, unanswered: RECEIPTS, ..Options::default() };
        client::bind(connection, BindKind::Transceiver, &credentials, PATIENCE, options).await.map_err(Error::Bind)
    }

    async fn listen(&self, mut incoming: crate::smpp::session::Incoming) {
        while let Some(event) = incoming.next().await {
            let signal = match event {
                Event::Notice(pdu) => match Flow::read(&pdu) {
                    Some(Flow::Wake) => Signal::Wake,
                    Some(Flow::Credit(count)) => Signal::Credit(self.index, count),
                    Some(Flow::Circuit(circuit)) => Signal::Circuit(self.index, circuit),
                    Some(Flow::Demand(_)) | None => continue,
                },
                Event::Request(request) => match receipt::read(self.leg.route_id, &request.pdu, self.clock.now()) {
                    Read::Final(receipt) => Signal::Receipt(receipt, request.responder),
                    Read::Underway => {
                        request.responder.accept("");
                        continue;
                    }
                    Read::Other => {
                        // It will not become readable by being sent again.
                        request.responder.refuse(CommandStatus::EsmeRxRAppn);
                        continue;
                    }
                },
            };
            if self.signals.send(signal).await.is_err() {
                return;
            }
        }
    }
}
