//! What comes from the upstream: receipts, SMS from handsets, and what is neither. Each is answered when it is safe, and
//! not before; what could not be stored is refused for the moment, so that the upstream tries again.
use std::sync::Arc;

use jiff::Timestamp;
use rusmpp::CommandStatus;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::delivery::{Delivery, Kind};
use super::inbound::{self, Inbox};
use super::metrics::{Metrics, ReceiptPath};
use super::receipt;
use super::receipts::Receipts;
use super::tag::TagKey;
use crate::config::connector::ConnectorConfig;
use crate::domain::{Clock, MessageId};
use crate::smpp::session::{Event, Incoming, Request};

/// See the module.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) receipts: Receipts,
    pub(super) inbox: Inbox,
    pub(super) key: Arc<TagKey>,
    pub(super) config: watch::Receiver<Arc<ConnectorConfig>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
}

impl Intake {
    /// Takes what one bind brings, until it is over and everything is answered.
    pub(super) async fn run(self: Arc<Self>, mut incoming: Incoming) {
        // As many as the session lets be unanswered, each waiting for its own commit.
        let tasks = TaskTracker::new();
        while let Some(event) = incoming.next().await {
            if let Event::Request(request) = event {
                tasks.spawn(Arc::clone(&self).take(request));
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    async fn take(self: Arc<Self>, request: Request) {
        let Request { pdu, responder } = request;
        let Some(delivery) = Delivery::read(&pdu) else { return responder.refuse(CommandStatus::EsmeRinvcmdid) };
        let refusal = match delivery.kind {
            Kind::Receipt => self.receipt(&delivery).await,
            Kind::Message => self.message(&delivery).await,
            Kind::Acknowledgement => None,
        };
        match refusal {
            None => responder.accept(""),
            Some(status) => responder.refuse(status),
        }
    }

    async fn receipt(&self, delivery: &Delivery<'_>) -> Option<CommandStatus> {
        let format = self.config.borrow().settings.id_format;
        match receipt::read(delivery, format, &self.key, self.clock.now()) {
            Ok(receipt) => self.receipts.bring(receipt).await.err().map(|_| CommandStatus::EsmeRxTAppn),
            Err(error) => {
                tracing::warn!(%error, "a receipt is of no use");
                self.metrics.receipt(ReceiptPath::Incomplete);
                // Refused for good: it will not become complete by being sent again.
                Some(CommandStatus::EsmeRxRAppn)
            }
        }
    }

    async fn message(&self, delivery: &Delivery<'_>) -> Option<CommandStatus> {
        let now = self.clock.now();
        self.take_message(delivery, MessageId::new(now), now).await.err().map(|error| error.status())
    }

    /// Stores an SMS from a handset under this id. When this returns without an error it is safe.
    ///
    /// # Errors
    /// When it was not stored.
    pub(super) async fn take_message(
        &self,
        delivery: &Delivery<'_>,
        id: MessageId,
        received_at: Timestamp,
    ) -> Result<(), inbound::Error> {
        let taken = self.inbox.take(delivery, &self.key, id, received_at).await;
        match &taken {
            Ok(()) => self.metrics.inbound("stored"),
            Err(error) => {
                tracing::warn!(%error, "an inbound SMS was not taken");
                self.metrics.inbound(error.word());
            }
        }
        taken
    }
}
