//! What the message centre has seen: every submit, whose it was, and whether it was taken.
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use budstikke::simulator::{Smsc, Submit};
use tokio::time::sleep;

/// The recipient of call 0; each call has one of its own.
pub(crate) const FIRST_NUMBER: u64 = 4_520_100_000;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// The bit of esm_class that says that the text begins with a header.
const HAS_HEADER: u8 = 0x40;

/// A submit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) at_ms: i64,
    /// Of the call; none where the recipient is nobody's.
    pub(crate) number: Option<u32>,
    pub(crate) part: u8,
    /// It went to the recipient.
    pub(crate) taken: bool,
}

impl Seen {
    fn of(submit: &Submit) -> Self {
        let number = submit.destination.parse::<u64>().ok().and_then(|number| number.checked_sub(FIRST_NUMBER));
        // 05 00 03 reference parts part
        let octet = |at: usize| u8::from_str_radix(submit.short_message.get(2 * at..2 * at + 2)?, 16).ok();
        let part = if submit.esm_class & HAS_HEADER == 0 { Some(1) } else { octet(5) };
        Self {
            at_ms: submit.at_ms,
            number: number.and_then(|number| u32::try_from(number).ok()),
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

    /// When the first message of call `number` or a later one came, Unix milliseconds.
    pub(crate) fn first_from(&self, number: u32, place: &mut usize) -> Option<i64> {
        let all = self.all();
        let new = all.get(*place..).unwrap_or_default();
        *place = all.len();
        new.iter().find(|seen| seen.number.is_some_and(|seen| seen >= number)).map(|seen| seen.at_ms)
    }
}
