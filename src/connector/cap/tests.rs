//! A route's queue at work for a minute, with its pace, as the dispatch runs it.
use std::time::Duration;

use proptest::prelude::*;

use super::super::queue::Queue;
use super::*;

const A: TenantId = TenantId(1);
const B: TenantId = TenantId(2);
const C: TenantId = TenantId(3);

/// A route and what went by it, each with its time and whose it is.
struct Route {
    queue: Queue<TenantId>,
    pacer: Pacer,
    now: Instant,
    sent: Vec<(Instant, TenantId)>,
}

impl Route {
    /// So many a second, of which one tenant gets a part, in percent; tenants by weight, none of whom runs dry.
    fn new(rate: u64, percent: u64, tenants: &[(TenantId, u32)]) -> Self {
        let mut queue = Queue::default();
        queue.set_cap(Some(Rate::per_thousand_seconds(rate * percent * 10)));
        for (tenant, weight) in tenants {
            queue.share(*tenant, *weight);
            refill(&mut queue, *tenant);
            refill(&mut queue, *tenant);
        }
        Self {
            queue,
            pacer: Pacer::new(Rate::per_thousand_seconds(rate * 1000)),
            now: Instant::now(),
            sent: Vec::new(),
        }
    }

    /// Sends for so many seconds, each one late by as long as `late` says.
    fn run(&mut self, seconds: u64, late: &[Duration]) {
        let (end, mut late) = (self.now + Duration::from_secs(seconds), late.iter().cycle());
        while self.now < end {
            let slot = self.pacer.next().map_or(self.now, |next| next.max(self.now));
            let Some(tenant) = self.queue.pop(slot) else {
                self.now = self.queue.rested_at().expect("somebody rests").max(self.now);
                continue;
            };
            self.now = slot + late.next().copied().unwrap_or_default();
            assert!(self.pacer.try_take(self.now), "the slot was foretold");
            let written = WrittenAt::default();
            written.set(self.now);
            self.pacer.writing(&written, 1);
            self.queue.writing(tenant, &written, 1);
            self.sent.push((self.now, tenant));
            refill(&mut self.queue, tenant);
        }
    }

    fn times(&self, tenant: TenantId) -> Vec<Instant> {
        self.sent.iter().filter(|(_, of)| *of == tenant).map(|(at, _)| *at).collect()
    }
}

fn refill(queue: &mut Queue<TenantId>, tenant: TenantId) {
    let turn = queue.turn();
    queue.put(tenant, turn, tenant);
}

/// The most that any second holds.
fn densest(times: &[Instant]) -> usize {
    let within = |at: usize| times[at..].iter().take_while(|time| **time - times[at] < Duration::from_secs(1)).count();
    (0..times.len()).map(within).max().unwrap_or(0)
}

#[test]
fn who_is_alone_gets_its_part_and_no_more() {
    let mut route = Route::new(20, 50, &[(A, 1)]);
    route.run(60, &[Duration::ZERO]);
    let times = route.times(A);
    assert_eq!(densest(&times), 10);
    assert!(times.len() >= 588, "{} of 600", times.len());
}

#[test]
fn what_one_may_not_have_the_others_get() {
    // By weight A would have nine tenths.
    let mut route = Route::new(50, 40, &[(A, 18), (B, 1), (C, 1)]);
    route.run(60, &[Duration::from_micros(300), Duration::ZERO, Duration::from_micros(900)]);
    let of = |tenant| route.times(tenant).len();
    assert_eq!(densest(&route.times(A)), 20);
    assert!(of(A) >= 1176, "{} of 1200", of(A));
    assert!(route.sent.len() >= 2940, "{} of 3000: the rest is lost", route.sent.len());
    assert!(of(B).abs_diff(of(C)) <= 1, "{} and {}", of(B), of(C));
}

#[test]
fn where_nobody_has_more_than_its_part_weights_hold() {
    let mut route = Route::new(20, 75, &[(A, 1), (B, 3), (C, 4)]);
    route.run(60, &[Duration::from_micros(500)]);
    let all = route.sent.len();
    assert!(all >= 1176, "{all} of 1200");
    for (tenant, weight) in [(A, 1), (B, 3), (C, 4)] {
        let of = route.times(tenant).len();
        assert!((of * 8).abs_diff(all * weight) <= 8 * 3, "{of} of {all} for {weight} of 8");
    }
}

#[test]
fn who_has_rested_and_who_leaves_is_no_longer_held_up() {
    let mut route = Route::new(20, 10, &[(A, 1)]);
    let begin = route.now;
    assert_eq!(route.queue.pop(begin), Some(A));
    assert_eq!(route.queue.pop(begin), None);
    let rested = route.queue.rested_at().expect("it rests");
    assert_eq!(rested, begin + Duration::from_millis(500));
    refill(&mut route.queue, A);
    assert_eq!(route.queue.pop(begin), None, "what comes meanwhile changes nothing");
    assert_eq!(route.queue.pop(rested), Some(A));
    assert_eq!(route.queue.pop(rested), None);
    route.queue.set_cap(None);
    assert_eq!(route.queue.pop(rested), Some(A), "the owner has lifted it");
    route.queue.set_cap(Some(Rate::per_thousand_seconds(1)));
    refill(&mut route.queue, A);
    refill(&mut route.queue, A);
    assert_eq!((route.queue.pop(rested), route.queue.pop(rested)), (Some(A), None));
    assert_eq!(route.queue.drain(A).count(), 1);
    route.queue.leave(A);
    assert_eq!(route.queue.rested_at(), None);
}

#[test]
fn what_goes_as_one_counts_for_all_its_parts() {
    let mut route = Route::new(20, 50, &[(A, 1)]);
    let begin = route.now;
    assert_eq!(route.queue.pop(begin), Some(A));
    let written = WrittenAt::default();
    written.set(begin);
    route.queue.writing(A, &written, 4);
    assert_eq!(route.queue.pop(begin + Duration::from_millis(399)), None);
    assert_eq!(route.queue.pop(begin + Duration::from_millis(400)), Some(A));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn no_second_holds_more_than_a_part_whatever_is_late(
        rate in 5_u64..200,
        percent in 1_u64..100,
        weight in 1_u32..20,
        late in prop::collection::vec(0_u64..2_000, 1..50),
    ) {
        let late: Vec<_> = late.into_iter().map(Duration::from_micros).collect();
        let mut route = Route::new(rate, percent, &[(A, weight), (B, 1)]);
        route.run(20, &late);
        for tenant in [A, B] {
            let (most, densest) = ((rate * percent).div_ceil(100), densest(&route.times(tenant)));
            prop_assert!(densest as u64 <= most, "{densest} where {most} may go");
        }
        // What both may have is had, but for the last of each that is due just after the end.
        let both = (rate * percent * 2).min(rate * 100) * 20 / 100;
        prop_assert!(route.sent.len() as u64 + 2 >= both * 97 / 100, "{} of {both}", route.sent.len());
    }
}
