//! `POST /v1/messages/search` and `POST /v1/inbound/search`: everything about one phone number, as when its holder asks (D7); and
//! what was sent under one of the tenant's own references.
//!
//! Both come in the body and never in the address: proxies, load balancers and browsers log addresses (D10).
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::{Timestamp, ToSpan as _};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::auth::Caller;
use super::cursor::{self, Place};
use super::extract::{self, JsonBody};
use super::inbound::{InboundMessage, InboundPage};
use super::messages::MessagePage;
use super::problem::{Problem, ReadProblems};
use super::send::reference;
use super::view::Message;
use super::{Shared, seal};
use crate::domain::{Entry, MessageId, Msisdn, Personal, Region, Scope, SenderId, TenantId, copenhagen_day};
use crate::keyring::Keyring;
use crate::keyring::seal::LogKey;
use crate::store::history::{self, By};
use crate::store::received::{self, Awaited};

/// Received messages that one call opens at most.
const OPENED: i64 = 1000;

/// Which number, or which reference.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageSearchRequest {
    /// The number, written as for sending: international with + or 00, or national to the account's country.
    #[schema(value_type = Option<String>, examples("+45 20 12 34 56"))]
    number: Option<Personal<String>>,
    /// What the messages were sent under, as it was written then.
    #[schema(value_type = Option<String>, examples("order 4711"))]
    reference: Option<Personal<String>>,
    /// Messages on a page, 50 without it.
    #[schema(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl MessageSearchRequest {
    fn sought(&self, region: Region) -> Result<Sought, Problem> {
        match (&self.number, &self.reference) {
            (Some(number), None) => number_of(number, region).map(Sought::Number),
            (None, Some(written)) => {
                reference::check("reference", written).map(|()| Sought::Reference(written.clone()))
            }
            _ => Err(Problem::Invalid {
                path: "number",
                code: "number_or_reference",
                detail: "write either `number` or `reference`".to_owned(),
            }),
        }
    }
}

/// Which sender.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// The number, written as for sending: international with + or 00, or national to the account's country. Of received messages
    /// also a sender that is none: a short number, or a name.
    #[schema(value_type = String, examples("+45 20 12 34 56"))]
    number: Personal<String>,
    /// Messages on a page, 50 without it.
    #[schema(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl SearchRequest {
    fn sender(&self, region: Region) -> Result<Sender, Problem> {
        extract::printable("number", self.number.reveal())?;
        match number_of(&self.number, region) {
            Ok(number) => Ok(Sender::Number(number, region)),
            Err(refusal) => match SenderId::parse(self.number.reveal()) {
                Ok(written) => Ok(Sender::Other(written)),
                Err(_) => Err(refusal),
            },
        }
    }

    fn place(&self) -> Result<Place, Problem> {
        cursor::place(self.limit, self.cursor.as_deref())
    }
}

fn number_of(written: &Personal<String>, region: Region) -> Result<Msisdn, Problem> {
    Msisdn::parse(written.reveal(), region).map_err(|refusal| Problem::Invalid {
        path: "number",
        code: refusal.code(),
        detail: refusal.to_string(),
    })
}

/// Find the messages to one number or under one reference, newest first
///
/// Over all days that are kept, and what waits to be sent. What is looked for is in the body, so that no proxy logs it.
#[utoipa::path(
    post,
    path = "/v1/messages/search",
    operation_id = "searchMessages",
    tag = "messages",
    request_body = MessageSearchRequest,
    responses(
        (status = 200, description = "A page.", body = MessagePage),
        ReadProblems,
    ),
    security(("apiKey" = ["messages:read"])),
)]
pub async fn messages(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    request: JsonBody<MessageSearchRequest>,
) -> Result<Json<MessagePage>, Problem> {
    caller.may(Scope::MessagesRead)?;
    let request = request.content;
    let sought = request.sought(caller.region()?)?;
    let place = cursor::place(request.limit, request.cursor.as_deref())?;
    if !caller.has_history() {
        return Ok(Json(MessagePage { messages: Vec::new(), next: None }));
    }
    let _large = shared.large.begin().await?;
    let search =
        Search { pool: &shared.pool, keyring: &shared.keyring, tenant: caller.tenant(), now: shared.clock.now() };
    search.page(&sought, place).await.map(Json)
}

/// What messages are looked for by.
#[derive(Debug)]
pub enum Sought {
    /// Their recipient's number.
    Number(Msisdn),
    /// The tenant's own reference.
    Reference(Personal<String>),
}

impl Sought {
    fn hash(&self, key: &LogKey) -> [u8; 16] {
        match self {
            Self::Number(number) => key.number_hash(number),
            Self::Reference(reference) => key.reference_hash(reference),
        }
    }

    fn by(&self) -> By {
        match self {
            Self::Number(_) => By::Number,
            Self::Reference(_) => By::Reference,
        }
    }

    fn is_of(&self, entry: &Entry) -> bool {
        match self {
            Self::Number(number) => entry.to == *number,
            Self::Reference(reference) => entry.reference.as_ref() == Some(reference),
        }
    }
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
    /// A page of the messages that are sought, newest first: the whole of a call but HTTP.
    ///
    /// # Errors
    /// When an instance does not answer.
    pub async fn page(&self, sought: &Sought, place: Place) -> Result<MessagePage, Problem> {
        let tomorrow = copenhagen_day(self.now).saturating_add(1.day());
        let keys = self.keyring.log_keys(self.tenant, tomorrow).await.map_err(seal::away)?;
        let hashes: Vec<_> = keys.iter().map(|(day, key)| (*day, sought.hash(key))).collect();
        let below = MessageId(place.below.unwrap_or(Uuid::max()));
        let found = history::search(self.pool, self.tenant, sought.by(), &hashes, below, place.rows()).await;
        let (records, next) = cursor::page(found.map_err(Problem::database)?, place, |record| record.id.0);
        let mut messages = Vec::with_capacity(records.len());
        for record in &records {
            // A hash of 128 bits does not meet another's by chance; what the entry says is what counts all the same.
            let entry = seal::open_entry(self.keyring, self.tenant, record).await?;
            if let Some(entry) = entry.filter(|entry| sought.is_of(entry)) {
                messages.push(Message::new(record, entry));
            }
        }
        Ok(MessagePage { messages, next })
    }
}

/// Find the received messages from one sender, newest first
///
/// A number is found in whichever form the network wrote it: international with or without a plus, or national to the account's country.
/// A sender that is no number is found as it is written, in capitals or not.
///
/// What was received is sealed whole, so it is opened message by message: a page may hold fewer than asked for, or none, and still
/// have a `next`. Go on until there is none. Messages whose parts are still awaited are among it, with what there is of them.
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
    let (sender, place) = (request.sender(caller.region()?)?, request.place()?);
    let _large = shared.large.begin().await?;
    let (pool, now) = (&shared.pool, shared.clock.now());
    let found = received::list(pool, caller.tenant(), now, place.below, OPENED, Awaited::Included).await;
    let sealed = found.map_err(Problem::database)?;
    let (mut messages, mut last, mut all) = (Vec::new(), None, true);
    for message in &sealed {
        if messages.len() == place.limit {
            all = false;
            break;
        }
        last = Some(message.id);
        let received = seal::open_received(&shared.keyring, caller.tenant(), message).await?;
        if let Some(received) = received.filter(|received| sender.wrote(received.from.reveal())) {
            messages.push(InboundMessage::new(message, received));
        }
    }
    let more = !all || i64::try_from(sealed.len()).is_ok_and(|read| read == OPENED);
    Ok(Json(InboundPage { messages, next: last.filter(|_| more).map(cursor::write) }))
}

/// Digits that two forms of a number have in common at their end, whatever stands before: a look before the number is read.
const SAME_END: usize = 4;

/// Who is looked for among those that wrote.
#[derive(Debug)]
enum Sender {
    /// Somebody with a number, and the country whose numbers may be written without its code.
    Number(Msisdn, Region),
    /// A short number or a name.
    Other(SenderId),
}

impl Sender {
    /// Upstreams write senders with and without a plus or zeros before the country code, and some without the code.
    fn wrote(&self, written: &str) -> bool {
        let written = written.trim();
        match self {
            Self::Number(number, region) => {
                let digits = number.digits().reveal().as_str();
                if written.trim_start_matches('+').trim_start_matches('0') == digits {
                    return true;
                }
                let end = digits.get(digits.len().saturating_sub(SAME_END)..).unwrap_or(digits);
                let bare: String = written.chars().filter(char::is_ascii_digit).collect();
                bare.ends_with(end) && Msisdn::parse(written, *region).is_ok_and(|read| read == *number)
            }
            Self::Other(id) => written.trim_start_matches('+').to_lowercase() == id.as_str().to_lowercase(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_known_however_the_network_writes_it() {
        let of = |code: &str| Region::from_code(code).expect("a country");
        let number =
            |digits: &str, code: &str| Sender::Number(Msisdn::from_digits(digits).expect("a number"), of(code));
        let danish = number("4520123456", "DK");
        for written in ["4520123456", "+4520123456", "004520123456", "20123456", "20 12 34 56"] {
            assert!(danish.wrote(written), "{written}");
        }
        for other in ["20123457", "45201234567", "Budstikke", "", "3456"] {
            assert!(!danish.wrote(other), "{other}");
        }
        assert!(number("4915112345678", "DE").wrote("015112345678"), "with the zero of its country");
        assert!(!number("4520123456", "SE").wrote("20123456"), "national to another country");
        let name = Sender::Other(SenderId::parse("Sølyst").expect("a name"));
        assert!(name.wrote("SØLYST ") && !name.wrote("Sølyst 2"));
        assert!(Sender::Other(SenderId::parse("1231").expect("short")).wrote("1231"));
    }
}
