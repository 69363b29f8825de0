//! When the queue is read, and from where. An idle sender asks seldom and holds no connection; a wake-up makes it ask at
//! once. Reads go on from where the last one ended, so that what is done with is not looked at again; now and then one
//! begins at the front, for what was scheduled, or committed late.
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Pace;
use crate::domain::MessageId;

/// A message is committed within so long after its id was made, or is found by a read from the front.
const LATE: u64 = 10_000;
/// Between reads from the front while there is work.
const FRONT: Duration = Duration::from_secs(5);

/// When and from where to read.
#[derive(Debug)]
pub(super) struct Reader {
    /// There may be more to read.
    hungry: bool,
    pub(super) busy: bool,
    /// Flights of older epochs were taken over.
    pub(super) adopted: bool,
    last: MessageId,
    front_at: Option<Instant>,
    poll_at: Option<Instant>,
    poll: (Duration, Duration),
}

impl Reader {
    pub(super) fn new(pace: &Pace) -> Self {
        let last = MessageId(Uuid::nil());
        Self { hungry: true, busy: false, adopted: false, last, front_at: None, poll_at: None, poll: pace.poll }
    }

    /// Something was queued, or may be allowed now.
    pub(super) fn wake(&mut self) {
        self.hungry = true;
    }

    /// Whether to read now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.busy && (self.hungry || self.poll_at.is_none_or(|poll| now >= poll))
    }

    /// When to read although nobody asks.
    pub(super) fn next_read(&self, now: Instant) -> Instant {
        self.poll_at.filter(|poll| *poll > now).unwrap_or(now + self.poll.1)
    }

    /// Begins a read: after which message, and whether that is the front.
    pub(super) fn begin(&mut self, now: Instant) -> (MessageId, bool) {
        let polled = self.poll_at.is_none_or(|poll| now >= poll);
        let front = polled || self.front_at.is_none_or(|front| now >= front + FRONT);
        self.busy = true;
        self.hungry = false;
        if front { (MessageId(Uuid::nil()), true) } else { (earlier(self.last), false) }
    }

    /// A read gave its messages up to `last`; `more`: it was cut short. `due`: when the next scheduled one is.
    pub(super) fn end(
        &mut self,
        last: Option<MessageId>,
        front: bool,
        more: bool,
        due: Option<Duration>,
        now: Instant,
    ) {
        self.busy = false;
        if let Some(last) = last {
            self.last = if front { last } else { self.last.max(last) };
        }
        self.hungry |= more;
        if front {
            self.front_at = Some(now);
            let (least, most) = self.poll;
            let wait = rand::random_range(least..=most);
            self.poll_at = Some(now + due.map_or(wait, |due| due.min(wait)));
        }
    }

    /// What was read is forgotten: the next read begins at the front.
    pub(super) fn rewind(&mut self) {
        self.front_at = None;
    }

    /// A read failed: again, as soon as the database may be asked.
    pub(super) fn failed(&mut self) {
        self.busy = false;
        self.hungry = true;
    }
}

/// The smallest id made [`LATE`] before this one.
fn earlier(id: MessageId) -> MessageId {
    let millis = u64::try_from(id.0.as_u128() >> 80).unwrap_or(0);
    MessageId(Uuid::from_u128(u128::from(millis.saturating_sub(LATE)) << 80))
}
