//! Stores SMS from handsets for the tenants whose numbers they were written to, sealed so that only the keyring can open
//! them again.
use std::sync::{Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rusmpp::CommandStatus;
use rusmpp::tlvs::{Tlv, TlvValue};
use sqlx::PgPool;

use super::delivery::Delivery;
use super::owners::Owners;
use super::tag::TagKey;
use crate::domain::inbound::{Content, Inbound, Segment, split_header};
use crate::domain::{MessageId, Personal, TenantId, content, copenhagen_day};
use crate::keyring::seal::{Field, PublicKey, Refused};
use crate::smpp::vendor::DestinationTag;
use crate::store::inbound::{self as store, SealedInbound};
use crate::store::shares::InboundNumber;

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

/// The parts of one text: who wrote to whom, as keyed checks, and the reference.
type Thread = (DestinationTag, DestinationTag, u16);

/// See the module.
#[derive(Debug)]
pub(super) struct Inbox {
    pool: PgPool,
    numbers: ArcSwap<Vec<InboundNumber>>,
    threads: Mutex<Owners<Thread>>,
}

impl Inbox {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool, numbers: ArcSwap::default(), threads: Mutex::default() }
    }

    /// Takes in whose numbers are whose now.
    pub(super) fn set_numbers(&self, numbers: Vec<InboundNumber>) {
        self.numbers.store(numbers.into());
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
        let (segment, octets) =
            if delivery.has_header { split_header(delivery.content) } else { (None, delivery.content) };
        let segment = segment.or_else(|| sar(delivery.tlvs));
        let read = Content::read(octets, delivery.coding);
        let thread = segment.map(|segment| (key.tag(delivery.from), key.tag(delivery.to), segment.reference));
        let tenant = self.owner(delivery.to, &read, segment.zip(thread))?;
        let public = store::key(&self.pool, tenant).await.map_err(Error::Store)?.ok_or(Error::KeyMissing)?;
        let public = PublicKey::new(tenant, &public.name, &public.key).map_err(Error::Seal)?;
        let inbound = Inbound {
            from: Personal::new(delivery.from.to_owned()),
            to: Personal::new(delivery.to.to_owned()),
            content: read,
            segment,
        };
        let bytes = content::to_bytes(&inbound).map_err(Error::Write)?;
        let MessageId(id) = id;
        let sealed = public.seal(id, Field::Inbound, bytes.reveal()).map_err(Error::Seal)?;
        let (day, key_name) = (copenhagen_day(now), public.name().to_owned());
        let row = SealedInbound { tenant, id, day, received_at: now, key_name, sealed };
        store::store(&self.pool, &row).await.map_err(Error::Store)
    }

    /// By number, then by the first word. A later part has no first word of its own: it goes where the first went.
    fn owner(&self, to: &str, content: &Content, part: Option<(Segment, Thread)>) -> Result<TenantId, Error> {
        let numbers = self.numbers.load();
        let here: Vec<_> = numbers.iter().filter(|entry| same_number(&entry.number, to)).collect();
        let shared = here.iter().any(|entry| !entry.keyword.is_empty());
        let threads = || self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, thread)) = part.filter(|(segment, _)| shared && segment.number > 1) {
            return threads().get(&thread).ok_or(Error::PartMissing);
        }
        let word = content.text().and_then(|text| text.split_whitespace().next()).unwrap_or_default().to_lowercase();
        let by = |keyword: &str| here.iter().find(|entry| entry.keyword.to_lowercase() == keyword);
        let tenant = by(&word).or_else(|| by("")).map(|entry| entry.tenant).ok_or(Error::Unowned)?;
        if let Some((_, thread)) = part.filter(|_| shared) {
            threads().put(thread, tenant);
        }
        Ok(tenant)
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

    fn owner(inbox: &Inbox, to: &str, text: &str, part: Option<(u8, u32)>) -> Result<i64, &'static str> {
        let content = Content::Text(Personal::new(text.to_owned()));
        let part = part.map(|(number, from)| {
            let segment = Segment { reference: 7, number, count: 2 };
            (segment, (DestinationTag(from), DestinationTag(0), 7))
        });
        inbox.owner(to, &content, part).map(|tenant| tenant.0).map_err(|error| error.word())
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
    async fn a_later_part_goes_where_the_first_went() {
        let inbox = inbox(&[("1204", "stem", 2), ("1204", "", 3), ("4512345678", "", 1)]);
        assert_eq!(owner(&inbox, "1204", "resten", Some((2, 9))), Err("part_missing"));
        assert_eq!(owner(&inbox, "1204", "stem på", Some((1, 9))), Ok(2));
        assert_eq!(owner(&inbox, "1204", "resten", Some((2, 9))), Ok(2));
        assert_eq!(owner(&inbox, "1204", "resten", Some((2, 8))), Err("part_missing"), "somebody else's");
        assert_eq!(owner(&inbox, "4512345678", "resten", Some((2, 9))), Ok(1), "one owner needs no first word");
        assert_eq!(owner(&inbox, "4599999999", "resten", Some((2, 9))), Err("unowned"));
    }
}
