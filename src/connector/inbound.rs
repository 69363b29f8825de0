//! Stores SMS from handsets for the tenants whose numbers they were written to, sealed so that only the keyring can open
//! them again. One that asks to be written to no more is stored with that request, in the same transaction: whoever has the
//! tenant's keys enters it in the list, and nothing is acknowledged before it is safe.
//!
//! Parts of a longer text are sealed as they come, since nobody here can open those that came before. Beside them stand two checks
//! ([`TagKey::thread`], [`TagKey::digest`]), by which the database knows which belong together, which came twice, and when all are
//! there. That survives whatever restarts, and knows no bind and no pod.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rusmpp::CommandStatus;
use rusmpp::tlvs::{Tlv, TlvValue};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::delivery::Delivery;
use super::tag::TagKey;
use crate::domain::inbound::{Content, Header, Inbound, Segment, split_header};
use crate::domain::opt_out::{Wish, Words};
use crate::domain::{MessageId, Personal, TenantId, content, copenhagen_day};
use crate::keyring::seal::{Field, PublicKey, Refused};
use crate::store::inbound::{self as store, Asks, Part, SealedInbound};
use crate::store::shares::{InboundNumber, OptOutRule};

/// How long a part that names no keyword waits here for the first one, which may have come by another bind; then at the upstream.
const FIRST_PART: Duration = Duration::from_secs(2);

/// Why an SMS was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Nobody has the number, or none of its keywords was written. Refused for good, so that the upstream keeps or reports
    /// it; to take it would lose it without a word.
    #[error("the number or keyword belongs to nobody")]
    Unowned,
    /// The part that names the keyword has not come yet.
    #[error("the first part has not come yet")]
    PartMissing,
    /// The key of the day is not made yet.
    #[error("the tenant has no key for today's inbound yet")]
    KeyMissing,
    /// The database.
    #[error(transparent)]
    Store(store::Error),
    /// The content.
    #[error("write the content: {0}")]
    Write(#[source] content::UnknownForm),
    /// The key.
    #[error("seal the content: {0}")]
    Seal(#[source] Refused),
}

impl Error {
    /// What the upstream is told.
    pub(super) fn status(&self) -> CommandStatus {
        match self {
            Self::Unowned => CommandStatus::EsmeRxPAppn,
            _ => CommandStatus::EsmeRxTAppn,
        }
    }

    /// The word in the metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Unowned => "unowned",
            Self::PartMissing => "part_missing",
            Self::KeyMissing => "key_missing",
            Self::Store(_) => "store",
            Self::Write(_) => "write",
            Self::Seal(_) => "seal",
        }
    }
}

/// The words to which a tenant listens, and what a request is sealed to.
#[derive(Debug)]
struct Rule {
    words: Words,
    key: PublicKey,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Inbox {
    pool: PgPool,
    numbers: ArcSwap<Vec<InboundNumber>>,
    rules: ArcSwap<HashMap<TenantId, Rule>>,
    stored: Notify,
}

/// Whose an SMS is, as far as it says that itself.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    /// This tenant's.
    Is(TenantId),
    /// That of the text's first part, which names the keyword.
    OfFirstPart,
}

impl Inbox {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool, numbers: ArcSwap::default(), rules: ArcSwap::default(), stored: Notify::default() }
    }

    /// Takes in whose numbers are whose now.
    pub(super) fn set_numbers(&self, numbers: Vec<InboundNumber>) {
        self.numbers.store(numbers.into());
    }

    /// Takes in by which words whose messages are stopped now.
    pub(super) fn set_rules(&self, rules: Vec<OptOutRule>) {
        let rule = |rule: OptOutRule| {
            let key = PublicKey::new(rule.tenant, &rule.key_name, &rule.key).ok()?;
            Some((rule.tenant, Rule { words: Words::new(&rule.stop_words, &rule.start_words), key }))
        };
        self.rules.store(Arc::new(rules.into_iter().filter_map(rule).collect()));
    }

    /// Stores one SMS, received at `now`. When this returns without an error it is safe. The same id again, received at
    /// the same time, changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) async fn take(
        &self,
        delivery: &Delivery<'_>,
        key: &TagKey,
        id: MessageId,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (Header { segment, languages }, octets) = header_of(delivery);
        let read = Content::read(octets, delivery.coding, languages);
        let part = segment.map(|Segment { reference, number, count }| Part {
            thread: key.thread(delivery.from, delivery.to, reference, count),
            number,
            count,
            digest: key.digest(delivery.from, delivery.to, number, octets),
        });
        let tenant = match (self.owner(delivery.to, &read, segment)?, &part) {
            (Owner::Is(tenant), _) => tenant,
            (Owner::OfFirstPart, Some(part)) => self.owner_of_first(part).await?,
            (Owner::OfFirstPart, None) => return Err(Error::PartMissing),
        };
        let public = store::key(&self.pool, tenant).await.map_err(Error::Store)?.ok_or(Error::KeyMissing)?;
        let public = PublicKey::new(tenant, &public.name, &public.key).map_err(Error::Seal)?;
        let MessageId(id) = id;
        let asks = self.asks(tenant, delivery, segment.is_none().then(|| read.text()).flatten(), id)?;
        let inbound = Inbound {
            from: Personal::new(delivery.from.to_owned()),
            to: Personal::new(delivery.to.to_owned()),
            content: match segment {
                None => read,
                Some(_) => Content::Octets(Personal::new(octets.to_vec())),
            },
            segment,
            coding: segment.map(|_| delivery.coding),
            languages: segment.map(|_| languages).unwrap_or_default(),
        };
        let bytes = content::to_bytes(&inbound).map_err(Error::Write)?;
        let sealed = public.seal(id, Field::Inbound, bytes.reveal()).map_err(Error::Seal)?;
        let (day, key_name) = (copenhagen_day(now), public.name().to_owned());
        let row = SealedInbound { tenant, id, day, received_at: now, key_name, sealed, asks };
        match part {
            None => store::store(&self.pool, &row).await.map_err(Error::Store),
            Some(part) => {
                store::store_part(&self.pool, &row, &part).await.map_err(Error::Store)?;
                self.stored.notify_waiters();
                Ok(())
            }
        }
    }

    /// What a text asks for, and who asks it, sealed.
    fn asks(
        &self,
        tenant: TenantId,
        delivery: &Delivery<'_>,
        text: Option<&str>,
        id: Uuid,
    ) -> Result<Option<Asks>, Error> {
        let (rules, numbers) = (self.rules.load(), self.numbers.load());
        let Some((rule, text)) = rules.get(&tenant).zip(text) else { return Ok(None) };
        let own = |entry: &&InboundNumber| entry.tenant == tenant && same_number(&entry.number, delivery.to);
        let is_keyword =
            |word: &str| numbers.iter().filter(own).any(|entry| entry.keyword.to_lowercase() == word.to_lowercase());
        let Some(wish) = rule.words.wish(text, is_keyword) else { return Ok(None) };
        let sealed = rule.key.seal(id, Field::OptOutRequest, delivery.from.as_bytes()).map_err(Error::Seal)?;
        Ok(Some(Asks { stops: wish == Wish::Stop, sealed }))
    }

    /// By number, then by the first word. A later part has no first word of its own: where it matters, it goes where the first
    /// went.
    fn owner(&self, to: &str, content: &Content, segment: Option<Segment>) -> Result<Owner, Error> {
        let numbers = self.numbers.load();
        let here: Vec<_> = numbers.iter().filter(|entry| same_number(&entry.number, to)).collect();
        let first = here.first().ok_or(Error::Unowned)?;
        let by = |keyword: &str| here.iter().find(|entry| entry.keyword.to_lowercase() == keyword);
        // Whatever the first word is.
        if by("").is_some() && here.iter().all(|entry| entry.tenant == first.tenant) {
            return Ok(Owner::Is(first.tenant));
        }
        if segment.is_some_and(|segment| segment.number > 1) {
            return Ok(Owner::OfFirstPart);
        }
        let word = content.text().and_then(|text| text.split_whitespace().next()).unwrap_or_default().to_lowercase();
        by(&word).or_else(|| by("")).map(|entry| Owner::Is(entry.tenant)).ok_or(Error::Unowned)
    }

    /// Whose the first part of this part's text is, once it is stored. Nobody can keep the later one until then: there is no key to
    /// seal it to. So the upstream does.
    async fn owner_of_first(&self, part: &Part) -> Result<TenantId, Error> {
        let deadline = Instant::now() + FIRST_PART;
        loop {
            let stored = self.stored.notified();
            tokio::pin!(stored);
            stored.as_mut().enable();
            if let Some(tenant) = store::part_owner(&self.pool, part).await.map_err(Error::Store)? {
                return Ok(tenant);
            }
            timeout_at(deadline, stored).await.map_err(|_| Error::PartMissing)?;
        }
    }
}

/// The same number, with or without `+` or a leading `00`.
fn same_number(one: &str, other: &str) -> bool {
    let plain = |number: &str| {
        let digits: String = number.chars().filter(char::is_ascii_alphanumeric).collect();
        digits.trim_start_matches('0').to_ascii_lowercase()
    };
    plain(one) == plain(other)
}

/// What its header, or its parameters, tell of it, and what was written in it.
pub(super) fn header_of<'a>(delivery: &Delivery<'a>) -> (Header, &'a [u8]) {
    let (header, octets) =
        if delivery.has_header { split_header(delivery.content) } else { (Header::default(), delivery.content) };
    (Header { segment: header.segment.or_else(|| sar(delivery.tlvs)), ..header }, octets)
}

/// Concatenation by parameters.
fn sar(tlvs: &[Tlv]) -> Option<Segment> {
    let (mut reference, mut number, mut count) = (None, None, None);
    for value in tlvs.iter().filter_map(Tlv::value) {
        match value {
            TlvValue::SarMsgRefNum(value) => reference = Some(*value),
            TlvValue::SarSegmentSeqnum(value) => number = Some(*value),
            TlvValue::SarTotalSegments(value) => count = Some(*value),
            _ => {}
        }
    }
    Segment::checked(reference?, number?, count?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox(entries: &[(&str, &str, i64)]) -> Inbox {
        // Finding the owner asks nothing of the database.
        let inbox = Inbox::new(PgPool::connect_lazy("postgres://nobody@localhost/none").expect("an address"));
        let entry = |(number, keyword, tenant): &(&str, &str, i64)| InboundNumber {
            number: (*number).to_owned(),
            keyword: (*keyword).to_owned(),
            tenant: TenantId(*tenant),
        };
        inbox.set_numbers(entries.iter().map(entry).collect());
        inbox
    }

    fn owner(inbox: &Inbox, to: &str, text: &str, number: Option<u8>) -> Result<i64, &'static str> {
        let content = Content::Text(Personal::new(text.to_owned()));
        let segment = number.and_then(|number| Segment::checked(7, number, 2));
        match inbox.owner(to, &content, segment) {
            Ok(Owner::Is(tenant)) => Ok(tenant.0),
            Ok(Owner::OfFirstPart) => Err("of the first part"),
            Err(error) => Err(error.word()),
        }
    }

    #[tokio::test]
    async fn the_number_decides_and_then_the_first_word() {
        let inbox = inbox(&[("+4512345678", "", 1), ("1204", "Stem", 2), ("1204", "", 3), ("1919", "VIND", 4)]);
        assert_eq!(owner(&inbox, "4512345678", "hej", None), Ok(1));
        assert_eq!(owner(&inbox, "1204", "STEM a", None), Ok(2));
        assert_eq!(owner(&inbox, "1204", "  stem\nb", None), Ok(2));
        assert_eq!(owner(&inbox, "1204", "stemme", None), Ok(3));
        assert_eq!(owner(&inbox, "1204", "", None), Ok(3));
        assert_eq!(owner(&inbox, "1919", "vind", None), Ok(4));
        assert_eq!(owner(&inbox, "1919", "hej", None), Err("unowned"));
        assert_eq!(owner(&inbox, "4599999999", "hej", None), Err("unowned"));
    }

    #[tokio::test]
    async fn of_a_longer_text_the_first_part_decides() {
        let inbox = inbox(&[
            ("1204", "stem", 2),
            ("1204", "", 3),
            ("4512345678", "", 1),
            ("4512345678", "info", 1),
            ("1919", "vind", 4),
        ]);
        assert_eq!(owner(&inbox, "1204", "stem på", Some(1)), Ok(2));
        assert_eq!(owner(&inbox, "1204", "vind på", Some(1)), Ok(3));
        assert_eq!(owner(&inbox, "1204", "stem", Some(2)), Err("of the first part"), "a word in the midst of the text");
        assert_eq!(owner(&inbox, "1919", "vind", Some(2)), Err("of the first part"), "another first word is nobody's");
        assert_eq!(owner(&inbox, "4512345678", "resten", Some(2)), Ok(1), "whatever the first word is");
        assert_eq!(owner(&inbox, "4599999999", "resten", Some(2)), Err("unowned"));
    }
}
