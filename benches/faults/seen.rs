//! What the message centre has seen: every submit, whose it was, and whether it was taken.
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use budstikke::simulator::{Smsc, Submit};
use tokio::time::sleep;

use super::support::accounts::sender_id;

/// The recipient of the first tenant's call 0; each call has one of its own.
pub(crate) const FIRST_NUMBER: u64 = 4_520_100_000;
/// Numbers of one tenant's calls.
const MANY: u32 = 1_000_000;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// The bit of esm_class that says that the text begins with a header.
const HAS_HEADER: u8 = 0x40;

/// A call: which tenant's, and which of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Number {
    pub(crate) tenant: usize,
    pub(crate) call: u32,
}

impl Number {
    /// Whom it is to, without a plus.
    pub(crate) fn recipient(self) -> u64 {
        FIRST_NUMBER + u64::from(MANY) * u64::try_from(self.tenant).expect("few") + u64::from(self.call)
    }

    /// Of the call with this recipient; none where it is nobody's.
    pub(crate) fn of(recipient: &str) -> Option<Self> {
        let number: u32 = recipient.parse::<u64>().ok()?.checked_sub(FIRST_NUMBER)?.try_into().ok()?;
        Some(Self { tenant: usize::try_from(number / MANY).ok()?, call: number % MANY })
    }
}

/// A submit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) at_ms: i64,
    /// Of the call; none where the recipient is nobody's.
    pub(crate) number: Option<Number>,
    /// It came from the sender id of that call's tenant.
    pub(crate) own: bool,
    pub(crate) part: u8,
    /// It went to the recipient.
    pub(crate) taken: bool,
}

impl Seen {
    fn of(submit: &Submit) -> Self {
        let number = Number::of(&submit.destination);
        // 05 00 03 reference parts part
        let octet = |at: usize| u8::from_str_radix(submit.short_message.get(2 * at..2 * at + 2)?, 16).ok();
        let part = if submit.esm_class & HAS_HEADER == 0 { Some(1) } else { octet(5) };
        Self {
            at_ms: submit.at_ms,
            number,
            own: number.is_some_and(|number| sender_id(number.tenant) == submit.source),
            part: part.unwrap_or(0),
            taken: submit.taken,
        }
    }
}

/// All that was seen so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Submits(Arc<Mutex<Vec<Seen>>>);

impl Submits {
    /// Looks for as long as this process runs.
    pub(crate) fn follow(smsc: Arc<Smsc>) -> Self {
        let submits = Self::default();
        let (seen, mut next) = (submits.clone(), 0);
        tokio::spawn(async move {
            loop {
                let new = smsc.submits(next);
                next = new.last().map_or(next, |last| last.number + 1);
                seen.all().extend(new.iter().map(Seen::of));
                sleep(LOOK).await;
            }
        });
        submits
    }

    pub(crate) fn all(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.0.lock().expect("not poisoned")
    }

    /// When the first message of a tenant's call `next` or a later one came, Unix milliseconds.
    pub(crate) fn first_from(&self, tenant: usize, next: u32, place: &mut usize) -> Option<i64> {
        let all = self.all();
        let new = all.get(*place..).unwrap_or_default();
        *place = all.len();
        let after = |number: Number| number.tenant == tenant && number.call >= next;
        new.iter().find(|seen| seen.number.is_some_and(after)).map(|seen| seen.at_ms)
    }
}
