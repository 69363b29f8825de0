//! What opens the circuit, and what closes it.
use super::*;

const THROTTLED: Met = Met::Fault(Fault::Throttled, None);

fn message(number: u128) -> Option<Uuid> {
    Some(Uuid::from_u128(number))
}

fn lasting(number: u128) -> Met {
    Met::Fault(Fault::Lasting, message(number))
}

/// Opens it.
fn open(breaker: &mut Breaker, now: Instant) {
    breaker.met(lasting(1), now);
    assert_eq!(breaker.met(lasting(2), now), Circuit::Open);
}

fn passing(number: u128) -> Met {
    Met::Fault(Fault::Passing, message(number))
}

/// A breaker, and seconds from its beginning.
fn breaker() -> (Breaker, impl Fn(u64) -> Instant) {
    let begin = Instant::now();
    (Breaker::new(begin), move |seconds| begin + Duration::from_secs(seconds))
}

#[test]
fn without_a_bind_it_is_open_and_with_the_first_one_closed() {
    let (mut breaker, at) = breaker();
    assert_eq!(breaker.look(true, at(0)), Circuit::Closed);
    assert_eq!(breaker.look(false, at(1)), Circuit::Open);
    assert_eq!(breaker.look(false, at(500)), Circuit::Open, "no time closes it");
    assert_eq!(breaker.met(Met::Taken, at(500)), Circuit::Open, "nor what was under way");
    assert!(breaker.is_unbound());
    assert_eq!(breaker.look(true, at(501)), Circuit::Closed);
}

#[test]
fn throttling_opens_it_when_nothing_is_taken_for_long() {
    let (mut breaker, at) = breaker();
    for second in 0..ENDLESS.as_secs() {
        assert_eq!(breaker.met(THROTTLED, at(second)), Circuit::Closed);
    }
    assert_eq!(breaker.met(Met::Taken, at(4)), Circuit::Closed);
    for second in 5..5 + ENDLESS.as_secs() {
        assert_eq!(breaker.met(THROTTLED, at(second)), Circuit::Closed, "it counts anew");
    }
    assert_eq!(breaker.met(THROTTLED, at(10)), Circuit::Open);
}

#[test]
fn faults_one_after_another_open_it_and_lasting_ones_do_sooner() {
    let (mut breaker, at) = breaker();
    for number in 1..u128::from(FAULTS) {
        assert_eq!(breaker.met(passing(number), at(0)), Circuit::Closed);
    }
    assert_eq!(breaker.met(Met::Taken, at(0)), Circuit::Closed);
    for _ in 0..20 {
        assert_eq!(breaker.met(passing(7), at(0)), Circuit::Closed, "one message alone opens nothing");
    }
    for number in 1..u128::from(FAULTS) {
        assert_eq!(breaker.met(Met::Silence(message(number)), at(0)) == Circuit::Open, number + 1 >= FAULTS.into());
    }
    let (mut breaker, at) = self::breaker();
    assert_eq!(breaker.met(lasting(1), at(0)), Circuit::Closed);
    assert_eq!(breaker.met(lasting(1), at(0)), Circuit::Closed, "one message may be what is unwelcome");
    assert_eq!(breaker.met(lasting(2), at(0)), Circuit::Open);
}

#[test]
fn it_is_tried_again_and_closes_when_a_message_is_taken() {
    let (mut breaker, at) = breaker();
    open(&mut breaker, at(0));
    assert_eq!(breaker.look(true, at(1)), Circuit::Open);
    assert_eq!(breaker.look(true, at(5)), Circuit::HalfOpen);
    assert_eq!(breaker.met(THROTTLED, at(5)), Circuit::Open, "one throttling answer is enough now");
    assert_eq!(breaker.look(true, at(8)), Circuit::Open, "it cools longer");
    assert_eq!(breaker.look(true, at(14)), Circuit::HalfOpen);
    assert_eq!(breaker.met(Met::Taken, at(14)), Circuit::Closed);
    assert_eq!(breaker.met(THROTTLED, at(15)), Circuit::Closed, "and counts anew");
}

#[test]
fn it_cools_ever_longer_until_it_has_held_for_a_while() {
    let (mut breaker, at) = breaker();
    let mut now = 0;
    for _ in 0..8 {
        open(&mut breaker, at(now));
        while breaker.look(true, at(now)) == Circuit::Open {
            now += 1;
        }
        breaker.met(Met::Taken, at(now));
    }
    open(&mut breaker, at(now));
    assert_eq!(breaker.look(true, at(now + 20)), Circuit::Open);
    assert_eq!(breaker.look(true, at(now + 61)), Circuit::HalfOpen, "a minute at most");
    breaker.met(Met::Taken, at(now + 61));
    open(&mut breaker, at(now + 200));
    assert_eq!(breaker.look(true, at(now + 205)), Circuit::HalfOpen);
}
