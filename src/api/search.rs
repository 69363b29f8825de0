//! `POST /v1/messages/search` and `POST /v1/inbound/search`: everything about one phone number, as when its holder asks (D7).
//!
//! The number comes in the body and never in the address: proxies, load balancers and browsers log addresses (D10).
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::{Timestamp, ToSpan as _};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::auth::Caller;
use super::extract::JsonBody;
use super::inbound::{InboundMessage, InboundPage};
use super::messages::{MessagePage, page_size};
use super::problem::{Problem, ReadProblems};
use super::view::Message;
use super::{Shared, cursor, seal};
use crate::domain::{MessageId, Msisdn, Personal, Scope, TenantId, copenhagen_day};
use crate::keyring::Keyring;
use crate::store::history;

/// Received messages that one call opens at most.
const OPENED: i64 = 1000;

/// Which number.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// The number, written as for sending: international with + or 00, or national to the account's country.
    #[schema(value_type = String, examples("+45 20 12 34 56"))]
    number: Personal<String>,
    /// Messages on a page, 50 without it.
    #[schema(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl SearchRequest {
    fn number(&self, caller: &Caller) -> Result<Msisdn, Problem> {
        let region = caller.account()?.region;
        let region =
            region.ok_or_else(|| Problem::internal("the account's default region is no country that is known"))?;
        Msisdn::parse(self.number.reveal(), region).map_err(|refusal| Problem::Invalid {
            path: "number",
            code: refusal.code(),
            detail: refusal.to_string(),
        })
    }

    fn below(&self) -> Result<Option<Uuid>, Problem> {
        self.cursor.as_deref().map(cursor::read).transpose()
    }
}

/// Find the messages to one number, newest first
///
/// Over all days that are kept, and what waits to be sent. The number is in the body, so that no proxy logs it.
#[utoipa::path(
    post,
    path = "/v1/messages/search",
    operation_id = "searchMessages",
    tag = "messages",
    request_body = SearchRequest,
    responses(
        (status = 200, description = "A page.", body = MessagePage),
        ReadProblems,
    ),
    security(("apiKey" = ["messages:read"])),
)]
pub async fn messages(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    request: JsonBody<SearchRequest>,
) -> Result<Json<MessagePage>, Problem> {
    caller.may(Scope::MessagesRead)?;
    let request = request.content;
    let (number, limit, below) = (request.number(&caller)?, page_size(request.limit)?, request.below()?);
    if !caller.has_history() {
        return Ok(Json(MessagePage { messages: Vec::new(), next: None }));
    }
    let search =
        Search { pool: &shared.pool, keyring: &shared.keyring, tenant: caller.tenant(), now: shared.clock.now() };
    search.page(&number, below, limit).await.map(Json)
}

/// Where a tenant's messages are looked for, and when.
#[derive(Debug)]
pub struct Search<'a> {
    /// The data instance.
    pub pool: &'a sqlx::PgPool,
    /// The keys of the log.
    pub keyring: &'a Keyring,
    /// Whose messages.
    pub tenant: TenantId,
    /// The present.
    pub now: Timestamp,
}

impl Search<'_> {
    /// At most `limit` messages to a number, newest first, below an id: the whole of a call but HTTP.
    ///
    /// # Errors
    /// When an instance does not answer.
    pub async fn page(&self, number: &Msisdn, below: Option<Uuid>, limit: u16) -> Result<MessagePage, Problem> {
        let tomorrow = copenhagen_day(self.now).saturating_add(1.day());
        let keys = self.keyring.log_keys(self.tenant, tomorrow).await.map_err(seal::away)?;
        let hashes: Vec<_> = keys.iter().map(|(day, key)| (*day, key.number_hash(number))).collect();
        let below = MessageId(below.unwrap_or(Uuid::max()));
        // One more than asked for tells whether there is a next page.
        let found = history::search(self.pool, self.tenant, &hashes, below, i64::from(limit) + 1).await;
        let mut records = found.map_err(Problem::database)?;
        let more = records.len() > usize::from(limit);
        records.truncate(usize::from(limit));
        let next = records.last().filter(|_| more).map(|last| cursor::write(last.id.0));
        let mut messages = Vec::with_capacity(records.len());
        for record in &records {
            // A hash of 128 bits does not meet another's by chance; what the entry says is what counts all the same.
            let entry = seal::open_entry(self.keyring, self.tenant, record).await?;
            if let Some(entry) = entry.filter(|entry| entry.to == *number) {
                messages.push(Message::new(record, entry));
            }
        }
        Ok(MessagePage { messages, next })
    }
}

/// Find the received messages from one number, newest first
///
/// What was received is sealed whole, so it is opened message by message: a page may hold fewer than asked for, or none, and still
/// have a `next`. Go on until there is none.
#[utoipa::path(
    post,
    path = "/v1/inbound/search",
    operation_id = "searchInbound",
    tag = "inbound",
    request_body = SearchRequest,
    responses(
        (status = 200, description = "A page; the last one has no `next`.", body = InboundPage),
        ReadProblems,
    ),
    security(("apiKey" = ["inbound:read"])),
)]
pub async fn inbound(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    request: JsonBody<SearchRequest>,
) -> Result<Json<InboundPage>, Problem> {
    caller.may(Scope::InboundRead)?;
    let request = request.content;
    let (number, limit, below) = (request.number(&caller)?, page_size(request.limit)?, request.below()?);
    let found = history::inbound(&shared.pool, caller.tenant(), shared.clock.now(), below, OPENED).await;
    let records = found.map_err(Problem::database)?;
    let (mut messages, mut last, mut all) = (Vec::new(), None, true);
    for record in &records {
        if messages.len() == usize::from(limit) {
            all = false;
            break;
        }
        last = Some(record.id);
        let received = seal::open_inbound(&shared.keyring, caller.tenant(), record).await?;
        if let Some(received) = received.filter(|received| is_from(received.from.reveal(), &number)) {
            messages.push(InboundMessage::new(record, received));
        }
    }
    let more = !all || i64::try_from(records.len()).is_ok_and(|read| read == OPENED);
    Ok(Json(InboundPage { messages, next: last.filter(|_| more).map(cursor::write) }))
}

/// Upstreams write senders with and without a plus or zeros before the country code.
fn is_from(written: &str, number: &Msisdn) -> bool {
    written.trim().trim_start_matches('+').trim_start_matches('0') == number.digits().reveal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_known_however_the_network_writes_it() {
        let number = Msisdn::from_digits("4520123456").expect("a number");
        for written in ["4520123456", "+4520123456", "004520123456"] {
            assert!(is_from(written, &number), "{written}");
        }
        for other in ["20123456", "45201234567", "Budstikke", ""] {
            assert!(!is_from(other, &number), "{other}");
        }
    }
}
