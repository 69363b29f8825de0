//! Exact pacing. An upstream's rate is a contract: one more in a second is refused or fined, one less is money lost.
//!
//! Two rules together: no second (or, for rates that are no whole number, no stretch that is one) ever holds more
//! than its number, whatever was late; and sends are spread evenly, with just so much catching up that timer
//! granularity costs nothing. What counts is when a request was handed to the transport: a process may be kept from running
//! between the leave to send and the write.
use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::session::{Watched, WrittenAt};

/// When to look again for a write that is not done although a whole stretch has passed.
const RECHECK: Duration = Duration::from_millis(5);
/// How far a late sender may catch up by sending closer together.
const CATCH_UP: Duration = Duration::from_millis(50);

/// So many in each stretch of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    count: usize,
    stretch: Duration,
}

impl Rate {
    /// The slowest rate: one in a hundred seconds.
    pub const LEAST: f64 = 0.01;
    /// The fastest rate.
    pub const MOST: f64 = 100_000.0;

    /// So many a second; a rate outside [`Rate::LEAST`]..=[`Rate::MOST`] is brought inside.
    #[must_use]
    pub fn per_second(rate: f64) -> Self {
        let rate = if rate.is_nan() { Self::LEAST } else { rate.clamp(Self::LEAST, Self::MOST) };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
        let count = rate.ceil() as usize;
        #[expect(clippy::cast_precision_loss, reason = "at most 100,000")]
        let stretch = Duration::from_secs_f64(count as f64 / rate);
        Self { count, stretch }
    }

    /// So many in a thousand seconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "rates are far below 2^52")]
    pub fn per_thousand_seconds(millis: u64) -> Self {
        Self::per_second(millis as f64 / 1000.0)
    }

    fn interval(self) -> Duration {
        self.stretch.div_f64(self.count.max(1) as f64)
    }
}

/// One that went.
#[derive(Debug)]
struct Sent {
    taken: Instant,
    written: Option<Watched>,
}

impl Sent {
    /// When it went; `None` while it is not written, though it will be.
    fn at(&self) -> Option<Instant> {
        match &self.written {
            None => Some(self.taken),
            Some(written) => written.get().or_else(|| written.is_lost().then_some(self.taken)),
        }
    }
}

/// Says when the next one may go.
#[derive(Debug)]
pub struct Pacer {
    rate: Rate,
    /// When the last ones went, at most `rate.count` of them.
    sent: VecDeque<Sent>,
    /// When the next one is due by even spacing.
    due: Option<Instant>,
}

impl Pacer {
    /// A pacer that has sent nothing yet.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate, sent: VecDeque::new(), due: None }
    }

    /// Changes the rate from now on; what went before still counts.
    pub fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
        let surplus = self.sent.len().saturating_sub(rate.count);
        self.sent.drain(..surplus);
    }

    /// The one that the next must keep its distance from.
    fn bound(&self) -> Option<&Sent> {
        self.sent.front().filter(|_| self.sent.len() >= self.rate.count)
    }

    fn waits_for_a_write(&self) -> bool {
        self.bound().is_some_and(|oldest| oldest.at().is_none())
    }

    /// When the next one may go; never later than needed, possibly in the past. While a write is awaited: when to look again.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let free = |oldest: &Sent| oldest.at().map_or_else(|| Instant::now() + RECHECK, |at| at + self.rate.stretch);
        let room = self.bound().map(free);
        room.max(self.due)
    }

    /// Takes the permission to send one `now`, if there is one.
    pub fn try_take(&mut self, now: Instant) -> bool {
        if self.waits_for_a_write() || self.next().is_some_and(|next| next > now) {
            return false;
        }
        while self.sent.len() >= self.rate.count {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent { taken: now, written: None });
        // Late by up to CATCH_UP is made good; idle time is not saved up.
        let due = self.due.unwrap_or(now).max(now.checked_sub(CATCH_UP).unwrap_or(now));
        self.due = Some(due + self.rate.interval());
        true
    }

    /// Counts `count` more as sent with the one that was taken last: what goes as one cannot be spread. The next ones wait for all.
    pub fn owe(&mut self, count: usize) {
        let (Some(taken), Some(due)) = (self.sent.back().map(|last| last.taken), self.due) else { return };
        for _ in 0..count {
            while self.sent.len() >= self.rate.count {
                self.sent.pop_front();
            }
            self.sent.push_back(Sent { taken, written: None });
        }
        self.due = Some(due + self.rate.interval().mul_f64(count as f64));
    }

    /// The `count` that were taken last are being written, as one.
    pub fn writing(&mut self, written: &WrittenAt, count: usize) {
        for last in self.sent.iter_mut().rev().take(count) {
            last.written = Some(written.watch());
        }
    }

    /// Waits until one may go, and takes the permission. Dropping the future takes nothing.
    pub async fn take(&mut self) {
        while !self.try_take(Instant::now()) {
            match self.next() {
                Some(next) => sleep_until(next).await,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sends whenever it may for `seconds`, waking late by up to `late` as `lateness` says; gives the times.
    fn run(pacer: &mut Pacer, begin: Instant, seconds: f64, lateness: &[Duration]) -> Vec<Instant> {
        let (mut now, mut times) = (begin, Vec::new());
        let mut late = lateness.iter().cycle();
        while now < begin + Duration::from_secs_f64(seconds) {
            if pacer.try_take(now) {
                times.push(now);
            } else {
                let next = pacer.next().expect("something was sent");
                now = next.max(now) + late.next().copied().unwrap_or_default();
            }
        }
        times
    }

    /// The most that any stretch of a second holds.
    fn densest(times: &[Instant]) -> usize {
        let within =
            |at: usize| times[at..].iter().take_while(|time| **time - times[at] < Duration::from_secs(1)).count();
        (0..times.len()).map(within).max().unwrap_or(0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn no_second_holds_more_than_the_rate_and_nearly_all_of_it_is_used(
            rate in prop_oneof![Just(1.0), Just(10.0), Just(20.0), 0.5..30.0_f64, 30.0..2_000.0_f64],
            late in prop::collection::vec(0_u64..2_000, 1..50),
        ) {
            let late: Vec<_> = late.into_iter().map(Duration::from_micros).collect();
            let mut pacer = Pacer::new(Rate::per_second(rate));
            let seconds = if rate < 30.0 { 60.0 } else { 8.0 };
            let times = run(&mut pacer, Instant::now(), seconds, &late);
            prop_assert!(densest(&times) as f64 <= rate.ceil(), "{} at {rate}/s", densest(&times));
            // One more than whole intervals fit, and one less may be due just after the end.
            prop_assert!(times.len() as f64 + 1.0 >= 0.98 * rate * seconds, "{} of {}", times.len(), rate * seconds);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn a_write_that_is_late_counts_from_when_it_was_done(
            rate in prop_oneof![Just(1.0), Just(20.0), 5.0..200.0_f64],
            late in prop::collection::vec(0_u64..150, 1..50),
        ) {
            let (begin, mut writes) = (Instant::now(), Vec::new());
            let (mut now, mut pacer) = (begin, Pacer::new(Rate::per_second(rate)));
            let mut late = late.into_iter().map(Duration::from_millis).cycle();
            while now < begin + Duration::from_secs(20) {
                if pacer.try_take(now) {
                    let written = WrittenAt::default();
                    pacer.writing(&written, 1);
                    // Nothing else runs meanwhile: so the next leave comes after it.
                    now += late.next().unwrap_or_default();
                    written.set(now);
                    writes.push(now);
                } else {
                    now = pacer.next().expect("something was sent").max(now);
                }
            }
            prop_assert!(densest(&writes) as f64 <= rate.ceil(), "{} at {rate}/s", densest(&writes));
        }
    }

    #[test]
    fn what_is_not_written_holds_the_next_up_and_what_never_will_be_does_not() {
        let begin = Instant::now();
        let mut pacer = Pacer::new(Rate::per_second(1.0));
        assert!(pacer.try_take(begin));
        let written = WrittenAt::default();
        pacer.writing(&written, 1);
        let later = begin + Duration::from_secs(10);
        assert!(!pacer.try_take(later), "it is being written");
        drop(written);
        assert!(pacer.try_take(later), "the session is gone, and the request with it");
    }

    #[test]
    fn what_never_will_be_written_holds_up_none_of_those_that_wait_for_it() {
        let begin = Instant::now();
        let mut pacers = [Rate::per_second(2.0), Rate::per_second(1.0)].map(Pacer::new);
        let written = WrittenAt::default();
        for pacer in &mut pacers {
            assert!(pacer.try_take(begin));
            pacer.owe(1);
            pacer.writing(&written, 2);
        }
        let later = begin + Duration::from_secs(10);
        assert!(pacers.iter_mut().all(|pacer| !pacer.try_take(later)));
        drop(written);
        assert!(pacers.iter_mut().all(|pacer| pacer.try_take(later)));
    }

    #[test]
    fn what_is_written_as_one_counts_as_many_from_that_moment() {
        let begin = Instant::now();
        let mut pacer = Pacer::new(Rate::per_second(10.0));
        let mut now = begin;
        for _ in 0..10 {
            now = pacer.next().map_or(now, |next| next.max(now));
            assert!(pacer.try_take(now));
        }
        let written = WrittenAt::default();
        pacer.writing(&written, 10);
        let at = begin + Duration::from_secs(5);
        assert!(!pacer.try_take(at));
        written.set(at);
        assert!(!pacer.try_take(at + Duration::from_millis(999)), "all ten went at once");
        assert!(pacer.try_take(at + Duration::from_secs(1)));
    }

    #[test]
    fn sends_are_spread_not_bunched() {
        let mut pacer = Pacer::new(Rate::per_second(10.0));
        let times = run(&mut pacer, Instant::now(), 3.0, &[Duration::ZERO]);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(99)), "{times:?}");
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let mut pacer = Pacer::new(Rate::per_second(10.0));
        let begin = Instant::now();
        run(&mut pacer, begin, 1.0, &[Duration::ZERO]);
        let times = run(&mut pacer, begin + Duration::from_secs(60), 0.3, &[Duration::ZERO]);
        assert!(times.len() <= 4, "{times:?}");
    }

    #[test]
    fn a_new_rate_counts_what_went_before() {
        let begin = Instant::now();
        let mut pacer = Pacer::new(Rate::per_second(100.0));
        let mut times = run(&mut pacer, begin, 1.0, &[Duration::ZERO]);
        pacer.set_rate(Rate::per_second(5.0));
        times.extend(run(&mut pacer, begin + Duration::from_secs(1), 3.0, &[Duration::ZERO]));
        let after: Vec<_> = times.iter().copied().filter(|time| *time >= begin + Duration::from_secs(1)).collect();
        assert!(densest(&after) <= 5, "{}", densest(&after));
        assert!(densest(&times) <= 100, "{}", densest(&times));
        pacer.set_rate(Rate::per_second(50.0));
        let times = run(&mut pacer, begin + Duration::from_secs(10), 2.0, &[Duration::ZERO]);
        assert!(times.len() >= 98, "{}", times.len());
    }

    #[tokio::test]
    async fn taking_waits_its_turn() {
        let mut pacer = Pacer::new(Rate::per_second(50.0));
        let begun = Instant::now();
        for _ in 0..6 {
            pacer.take().await;
        }
        assert!(begun.elapsed() >= Duration::from_millis(99), "{:?}", begun.elapsed());
    }
}
