//! Brings receipts to whom they belong: to the tenant's sender when it is bound here, else into the database, else
//! aside until their message is known. Only then is the upstream told that they were taken (no receipt is lost).
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rusmpp::pdus::DeliverSm;
use rusmpp::tlvs::MessageDeliveryRequestTlvValue as Tlv;
use rusmpp::types::COctetString;
use rusmpp::values::{ErrorCodeNetworkType, MessageState as SmppState, NetworkErrorCode};
use sqlx::PgPool;
use tokio::time::{sleep, timeout};

use super::batch::Batch;
use super::exchange::Exchange;
use super::metrics::{Metrics, ReceiptPath};
use super::owners::Memory;
use super::receipt::Receipt;
use super::spelling::Spelling;
use crate::domain::{MessageState, TenantId};
use crate::smpp::session::{Outcome, Session};
use crate::smpp::vendor::DoneAt;
use crate::store::receipts_upstream::{self as store, Applied, UpstreamReceipt};

/// How long a receipt waits for the submit's answer that it may have overtaken, before the database is asked whose it is.
const CLOSE: Duration = Duration::from_millis(20);
/// How long it waits after that, before it is parked.
const OVERTAKEN: Duration = Duration::from_millis(500);
/// How long a sender may take to store a receipt; then the database is told directly, which does no harm twice.
const SENDER: Duration = Duration::from_secs(10);
/// Between two looks at the parked receipts.
const RETRY: Duration = Duration::from_secs(5);
/// Parked receipts in one look.
const RETRIED: u16 = 500;

/// A receipt could not be stored: the upstream shall keep it and try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the receipt could not be stored")]
pub(super) struct NotStored;

/// See the module.
#[derive(Debug)]
pub(super) struct Receipts {
    exchange: Arc<Exchange>,
    memory: Arc<Memory>,
    spelling: Arc<Spelling>,
    books: Books,
    metrics: Metrics,
}

/// What the database knows of messages, as far as receipts go.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) owners: Batch<(String, u32), Option<TenantId>>,
    pub(super) apply: Batch<UpstreamReceipt, Applied>,
    pub(super) park: Batch<UpstreamReceipt, ()>,
}

impl Books {
    /// Those of PostgreSQL.
    pub(super) fn of(pool: &PgPool) -> Self {
        let (asked, applied, parked) = (pool.clone(), pool.clone(), pool.clone());
        Self {
            owners: Batch::start(move |keys| {
                let pool = asked.clone();
                async move { heard(store::owners(&pool, &keys).await) }
            }),
            apply: Batch::start(move |receipts| {
                let pool = applied.clone();
                async move { heard(store::apply(&pool, &receipts).await) }
            }),
            park: Batch::start(move |receipts| {
                let pool = parked.clone();
                async move { heard(store::park(&pool, &receipts).await).map(|()| vec![(); receipts.len()]) }
            }),
        }
    }
}

impl Receipts {
    pub(super) fn new(
        exchange: Arc<Exchange>,
        memory: Arc<Memory>,
        spelling: Arc<Spelling>,
        books: Books,
        metrics: Metrics,
    ) -> Self {
        Self { exchange, memory, spelling, books, metrics }
    }

    /// Brings one receipt to where it belongs. When this returns without an error the receipt is safe.
    pub(super) async fn bring(&self, receipt: Receipt) -> Result<(), NotStored> {
        let path = self.find_path(receipt).await;
        self.metrics.receipt(path.unwrap_or(ReceiptPath::Failed));
        path.map(|_| ()).ok_or(NotStored)
    }

    async fn find_path(&self, receipt: Receipt) -> Option<ReceiptPath> {
        if !receipt.state.is_final() {
            return Some(ReceiptPath::UnderWay);
        }
        let session = self.owner(&receipt).await?.and_then(|owner| self.exchange.session(owner));
        if let Some((session, plain)) = session
            && taken_by_sender(&session, deliver(&receipt, plain)).await
        {
            self.memory.remove(&receipt.key);
            self.spelling.familiar();
            return Some(ReceiptPath::Sender);
        }
        let Receipt { key, written, state, error, done_at } = receipt;
        let row = UpstreamReceipt { upstream_id: key.0.clone(), tag: key.1.0, state, error, done_at };
        let applied = self.books.apply.ask(row.clone()).await?;
        match &written {
            _ if applied != Applied::Unknown => self.spelling.familiar(),
            Some(written) => self.spelling.strange(written.reveal(), key.1),
            None => {}
        }
        Some(match applied {
            Applied::Now => ReceiptPath::Database,
            Applied::Before => ReceiptPath::Repeated,
            Applied::Unknown => {
                self.books.park.ask(row).await?;
                ReceiptPath::Parked
            }
        })
    }

    /// Whose it is. The outer `None`: the database did not answer.
    async fn owner(&self, receipt: &Receipt) -> Option<Option<TenantId>> {
        let key = &receipt.key;
        if let Some(owner) = self.memory.wait(key, CLOSE).await {
            return Some(Some(owner));
        }
        if let Some(owner) = self.books.owners.ask((key.0.clone(), key.1.0)).await? {
            return Some(Some(owner));
        }
        Some(self.memory.wait(key, OVERTAKEN).await)
    }

    /// Tries the parked receipts again and again, for as long as the connector runs.
    pub(super) async fn retry(pool: PgPool, metrics: Metrics) {
        loop {
            sleep(RETRY).await;
            loop {
                let Some(retried) = heard(store::retry(&pool, RETRIED).await) else { break };
                metrics.retried(retried);
                if retried.applied + retried.kept + retried.dropped < u64::from(RETRIED) {
                    break;
                }
            }
        }
    }
}

/// The answer; a failure is logged.
fn heard<T>(answer: Result<T, store::Error>) -> Option<T> {
    answer.inspect_err(|error| tracing::warn!(%error, "receipts wait")).ok()
}

async fn taken_by_sender(session: &Session, receipt: DeliverSm) -> bool {
    let outcome = timeout(SENDER, session.request(receipt)).await;
    matches!(outcome, Ok(Outcome::Answered(answer)) if answer.is_ok())
}

/// The receipt as senders read it: everything in parameters, nothing personal. A plain client has those of the standard.
fn deliver(receipt: &Receipt, plain: bool) -> DeliverSm {
    let mut pdu = DeliverSm::builder().esm_class(0x04.into()).build();
    pdu.push_tlv(Tlv::ReceiptedMessageId(COctetString::from_str(&receipt.key.0).unwrap_or_default()));
    pdu.push_tlv(Tlv::MessageState(match receipt.state {
        MessageState::Delivered => SmppState::Delivered,
        MessageState::Expired => SmppState::Expired,
        MessageState::Rejected => SmppState::Rejected,
        MessageState::Unknown => SmppState::Unknown,
        MessageState::Failed | MessageState::Cancelled => SmppState::Undeliverable,
        MessageState::Queued | MessageState::Held | MessageState::Sent => SmppState::Enroute,
    }));
    if let Some(error) = receipt.error {
        let code = u16::try_from(error).unwrap_or(u16::MAX);
        pdu.push_tlv(Tlv::NetworkErrorCode(NetworkErrorCode::new(ErrorCodeNetworkType::SmppError, code)));
    }
    if !plain {
        pdu.push_tlv(receipt.key.1);
        pdu.push_tlv(DoneAt(receipt.done_at.as_millisecond()));
    }
    pdu
}
