//! The server side: tenants' senders bind here, over mutual TLS. Who they are stands in their certificates and nowhere
//! else; of two senders of one tenant the one with the newer epoch stays. Any SMPP client that has the certificate may bind
//! as well: see `reply`, and `credit` for how it shares the route.
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rusmpp::{CommandStatus, Pdu};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::exchange::{Exchange, Unwelcome};
use super::metrics::Metrics;
use super::tag::TagKey;
use crate::domain::TenantId;
use crate::pki;
use crate::smpp::server::{BindRequest, Peer, Service};
use crate::smpp::session::{BindKind, Event, Incoming, Request, Session};
use crate::smpp::vendor::{Flow, MessagePart};

/// How long a session that ends waits for what is still due in it.
const FAREWELL: Duration = Duration::from_secs(2);

/// A sender that may bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sender {
    tenant: TenantId,
    epoch: i64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Senders {
    pub(super) exchange: Arc<Exchange>,
    pub(super) tls: Arc<ArcSwap<rustls::ServerConfig>>,
    pub(super) key: Arc<TagKey>,
    /// Told when a tenant asks that no share is known of: it may be new.
    pub(super) unknown: Arc<Notify>,
    /// No more sessions.
    pub(super) stop: CancellationToken,
    pub(super) metrics: Metrics,
}

impl Service for Senders {
    type Identity = Sender;

    fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        Some(self.tls.load_full())
    }

    async fn authenticate(&self, bind: &BindRequest, peer: &Peer) -> Result<Sender, CommandStatus> {
        let judged = identify(bind, peer).and_then(|sender| {
            self.exchange.welcome(sender.tenant, sender.epoch).map(|()| sender).map_err(|unwelcome| match unwelcome {
                Unwelcome::Stale => CommandStatus::EsmeRbindfail,
                Unwelcome::NoShare => {
                    self.unknown.notify_one();
                    CommandStatus::EsmeRsyserr
                }
            })
        });
        if let Err(status) = judged {
            tracing::info!(address = %peer.address, ?status, "a sender's bind is refused");
            self.metrics.sender_refused();
        }
        judged
    }

    async fn serve(&self, sender: Sender, session: Session, mut incoming: Incoming) {
        let Ok(mut seat) = self.exchange.sit(sender.tenant, sender.epoch, session.clone()) else {
            // A newer one came between its bind and now.
            return session.unbind(FAREWELL).await;
        };
        tracing::info!(tenant = %sender.tenant, epoch = sender.epoch, "a sender is bound");
        loop {
            tokio::select! {
                biased;
                () = seat.lost.cancelled() => break,
                () = self.stop.cancelled() => break,
                event = incoming.next() => match event {
                    Some(Event::Request(Request { pdu: Pdu::SubmitSm(submit), responder })) => {
                        let part = MessagePart::find(submit.tlvs());
                        let tag = self.key.tag(submit.destination_addr.as_str());
                        self.exchange.submit(&seat, submit, part, tag, responder);
                    }
                    Some(Event::Request(request)) => request.responder.refuse(CommandStatus::EsmeRinvcmdid),
                    Some(Event::Notice(pdu)) => if let Some(Flow::Demand(demand)) = Flow::read(&pdu) {
                        self.exchange.demand(&mut seat, demand);
                    },
                    None => break,
                },
            }
        }
        self.exchange.leave(seat.id);
        session.unbind(FAREWELL).await;
        tracing::info!(tenant = %sender.tenant, epoch = sender.epoch, "a sender is gone");
    }
}

/// Who binds, by its certificate; what the bind says must not contradict it.
fn identify(bind: &BindRequest, peer: &Peer) -> Result<Sender, CommandStatus> {
    let tenant = peer.certificate.as_ref().and_then(pki::sender_of).ok_or(CommandStatus::EsmeRinvsysid)?;
    if bind.credentials.system_id != format!("t{tenant}") || bind.kind != BindKind::Transceiver {
        return Err(CommandStatus::EsmeRinvsysid);
    }
    let epoch = bind.credentials.system_type.parse().map_err(|_| CommandStatus::EsmeRinvsystyp)?;
    Ok(Sender { tenant, epoch })
}
