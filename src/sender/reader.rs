//! When the queue is read, and from where. An idle sender asks seldom and holds no connection; a wake-up makes it ask at
//! once. Reads go on from where the last one ended, so that what is done with is not looked at again; now and then one
//! begins at the front, for what was scheduled, or committed late. So does the last one before a sender is idle.
//!
//! Urgent messages are read first. While a backlog that was read already waits to be sent, they alone are looked for, by an
//! index that holds nothing else.
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Pace;
use crate::domain::MessageId;
use crate::smpp::chance;

/// A message is committed within so long after its id was made, or is found by a read from the front.
const LATE: u64 = 10_000;
/// Between reads from the front while there is work.
const FRONT: Duration = Duration::from_secs(5);
/// Between looks for urgent messages, at least.
const URGENT: Duration = Duration::from_millis(200);

/// Where a read begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begin {
    /// After which message.
    pub(super) after: MessageId,
    /// The same of urgent ones.
    pub(super) urgent_after: MessageId,
    /// At the front, both.
    pub(super) front: bool,
}

/// The last messages that a read gave.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Last {
    /// Of those that are not urgent.
    pub(super) plain: Option<MessageId>,
    /// Of the urgent ones.
    pub(super) urgent: Option<MessageId>,
}

/// When and from where to read.
#[derive(Debug)]
pub(super) struct Reader {
    /// There may be more to read.
    hungry: bool,
    /// There may be urgent messages to read.
    urgent: bool,
    /// When those were looked for last.
    urgent_at: Option<Instant>,
    last_urgent: MessageId,
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
        Self {
            hungry: true,
            urgent: true,
            urgent_at: None,
            last_urgent: last,
            busy: false,
            adopted: false,
            last,
            front_at: None,
            poll_at: None,
            poll: pace.poll,
        }
    }

    /// Something was queued, or may be allowed now.
    pub(super) fn wake(&mut self) {
        self.hungry = true;
        self.urgent = true;
    }

    /// Whether to read now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.busy && (self.hungry || self.poll_at.is_none_or(|poll| now >= poll))
    }

    /// Whether to look for urgent messages now, where nothing else is wanted.
    pub(super) fn is_urgent(&self, now: Instant) -> bool {
        let since = |wait| self.urgent_at.is_none_or(|at| now >= at + wait);
        !self.busy && self.adopted && (since(FRONT) || (self.urgent && since(URGENT)))
    }

    /// When to read although nobody asks.
    pub(super) fn next_read(&self, now: Instant) -> Instant {
        let urgent = self.urgent_at.filter(|_| self.urgent).map(|at| at + URGENT);
        let next = self.poll_at.into_iter().chain(urgent).filter(|next| *next > now);
        next.fold(now + self.poll.1, Instant::min)
    }

    /// Begins a look for urgent messages alone.
    pub(super) fn begin_urgent(&mut self, now: Instant) -> Begin {
        self.busy = true;
        self.looked(now);
        let urgent_after = earlier(self.last_urgent);
        Begin { after: urgent_after, urgent_after, front: false }
    }

    /// It gave messages up to `last`; `more`: it was cut short.
    pub(super) fn end_urgent(&mut self, last: Last, more: bool) {
        self.busy = false;
        self.urgent |= more;
        self.last_urgent = last.urgent.map_or(self.last_urgent, |last| last.max(self.last_urgent));
    }

    fn looked(&mut self, now: Instant) {
        self.urgent = false;
        self.urgent_at = Some(now);
    }

    /// Begins a read of everything.
    pub(super) fn begin(&mut self, now: Instant) -> Begin {
        let polled = self.poll_at.is_none_or(|poll| now >= poll);
        let front = polled || self.front_at.is_none_or(|front| now >= front + FRONT);
        self.busy = true;
        self.hungry = false;
        self.looked(now);
        let from = |last| if front { MessageId(Uuid::nil()) } else { earlier(last) };
        Begin { after: from(self.last), urgent_after: from(self.last_urgent), front }
    }

    /// A read gave its messages up to `last`; `more`: it was cut short. `due`: when the next scheduled one is.
    pub(super) fn end(&mut self, last: Last, front: bool, more: bool, due: Option<Duration>, now: Instant) {
        self.busy = false;
        let newest = |now: Option<MessageId>, before: MessageId| match now {
            Some(last) if front => last,
            Some(last) => last.max(before),
            None => before,
        };
        self.last = newest(last.plain, self.last);
        self.last_urgent = newest(last.urgent, self.last_urgent);
        self.hungry |= more;
        if front {
            self.front_at = Some(now);
            let (least, most) = self.poll;
            let wait = chance::between(least, most);
            self.poll_at = Some(now + due.map_or(wait, |due| due.min(wait)));
        } else {
            // What was committed late may be all that there is, and nobody wakes us for it again.
            let soon = self.front_at.map_or(now, |front| front + FRONT);
            self.poll_at = self.poll_at.map(|poll| poll.min(soon));
        }
    }

    /// What was read is forgotten: the next read begins at the front.
    pub(super) fn rewind(&mut self) {
        self.front_at = None;
    }

    /// A read failed: again, as soon as the database may be asked.
    pub(super) fn failed(&mut self) {
        self.busy = false;
        self.wake();
    }
}

/// The smallest id made [`LATE`] before this one.
fn earlier(id: MessageId) -> MessageId {
    let millis = u64::try_from(id.0.as_u128() >> 80).unwrap_or(0);
    MessageId(Uuid::from_u128(u128::from(millis.saturating_sub(LATE)) << 80))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_read_from_further_on_one_from_the_front_comes_soon() {
        let began = Instant::now();
        let seconds = |seconds| began + Duration::from_secs(seconds);
        let mut reader = Reader::new(&Pace::default());
        let read = |reader: &mut Reader, now| {
            assert!(reader.is_due(now));
            let begin = reader.begin(now);
            reader.end(Last::default(), begin.front, false, None, now);
            begin.front
        };
        assert!(read(&mut reader, seconds(0)), "the first read begins at the front");
        let idle = reader.next_read(seconds(0));
        assert!(idle > seconds(0) + FRONT, "then nothing is read for long");

        reader.wake();
        assert!(!read(&mut reader, seconds(1)), "woken soon after it, one goes on from there");
        // A message whose commit took long is before that, and nobody wakes us for it again.
        assert_eq!(reader.next_read(seconds(1)), seconds(0) + FRONT);
        assert!(read(&mut reader, seconds(0) + FRONT), "and is found by one from the front");
        assert!(reader.next_read(seconds(5)) > seconds(5) + FRONT, "which is the last one for long");
    }
}
