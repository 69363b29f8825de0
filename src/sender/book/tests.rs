use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::answers::{FAULT_DELAY, FAULTS, UNANSWERED};
use super::*;
use crate::config::sender::{Cost, Receipts};
use crate::domain::{Body, Encoding, MilliOre, Msisdn, Personal, RouteId, SenderId};
use crate::sender::lane::Intake;
use crate::sender::ledger::{Batch, Met};
use crate::sender::verdict::Verdict;
use crate::store::receipts::Receipt;
use crate::store::results::Settled;

type TestBook = Book<&'static str>;

fn leg(route: i64, prefixes: &[&str]) -> Leg {
    Leg {
        route_id: RouteId(route),
        name: format!("route-{route}"),
        address: String::new(),
        server_name: String::new(),
        prefixes: prefixes.iter().map(ToString::to_string).collect(),
        alphanumeric_senders: true,
        without_senders: Vec::new(),
        costs: Vec::new(),
        receipts: Receipts::All,
        alphabet: Default::default(),
        concatenation: Default::default(),
    }
}

fn moment() -> Moment {
    Moment { at: "2026-02-03T12:00:00Z".parse().expect("a timestamp"), now: Instant::now() }
}

fn after(moment: Moment, wait: Duration) -> Moment {
    Moment { at: moment.at + jiff::SignedDuration::try_from(wait).expect("short"), now: moment.now + wait }
}

fn id(number: u128) -> MessageId {
    MessageId(Uuid::from_u128(number))
}

fn body(parts: usize) -> Body {
    let text = if parts == 1 { "kort".to_owned() } else { "x".repeat(153 * parts) };
    Body {
        to: Msisdn::from_digits("4520123456").expect("E.164"),
        from: SenderId::Name("Budstikke".into()),
        encoding: Encoding::of(&text),
        text: Personal::new(text),
        flash: false,
    }
}

fn expiry(moment: Moment) -> Timestamp {
    moment.at + jiff::SignedDuration::from_hours(1)
}

/// A message of so many parts that expires in an hour.
fn opened(parts: usize, moment: Moment) -> Opened {
    let accepted = u8::try_from(parts).expect("few");
    Opened { body: body(parts), parts: accepted, expires_at: expiry(moment), urgent: false }
}

/// A book with one message of so many parts, launched on its first route.
fn launched(legs: &[Leg], parts: usize, moment: Moment) -> TestBook {
    let mut book = TestBook::new(legs);
    for route in 0..legs.len() {
        book.set_intake(route, Intake::All, moment);
    }
    book.add(id(1), opened(parts, moment), None, moment);
    let picked = book.pick(0, 100, 100);
    assert_eq!(picked, [id(1)]);
    book.launched(0, Uuid::from_u128(7), &picked, &picked, moment);
    book
}

fn taken(upstream_id: &str) -> Verdict {
    Verdict::Taken { upstream_id: upstream_id.into(), tag: 5 }
}

fn receipt(upstream_id: &str, state: MessageState, at: Timestamp) -> Receipt {
    Receipt { route: RouteId(1), upstream_id: upstream_id.into(), tag: 5, state, error: None, at }
}

/// The only result there is.
fn result(book: &mut TestBook) -> (Settled, Batch<&'static str>) {
    let batch = book.ledger.batch(10);
    assert_eq!(batch.results.len(), 1, "{batch:?}");
    (batch.results[0].clone(), batch)
}

#[test]
fn a_message_is_sent_and_its_flight_cleared_with_it() {
    let now = moment();
    let mut book = launched(&[leg(1, &[])], 1, now);
    let next = book.next(0, now).expect("a part");
    assert_eq!((next.id, next.part), (id(1), 1));
    assert!(book.next(0, now).is_none());
    assert_eq!(book.answered(id(1), 1, taken("a"), false, now), Effect::Well);
    let (settled, batch) = result(&mut book);
    assert_eq!((settled.state, settled.route, settled.final_at), (MessageState::Sent, Some(RouteId(1)), None));
    assert_eq!(batch.flights, [Uuid::from_u128(7)]);
    book.ledger.stored(batch);
    assert!(book.ledger.is_empty() && book.is_idle());
}

#[test]
fn a_message_that_older_epochs_left_in_two_flights_is_taken_in_once() {
    let (now, flights) = (moment(), [Uuid::from_u128(7), Uuid::from_u128(8)]);
    let mut book = TestBook::new(&[leg(1, &[])]);
    for flight in flights {
        book.ledger.flight_begun(flight, 1);
        book.add(id(1), opened(2, now), Some(flight), now);
    }
    for part in 1..=2 {
        assert_eq!(book.next(0, now).map(|next| (next.id, next.part)), Some((id(1), part)));
        book.answered(id(1), part, taken(&part.to_string()), false, now);
    }
    assert!(book.next(0, now).is_none());
    let (_, batch) = result(&mut book);
    assert_eq!(batch.flights.iter().copied().collect::<HashSet<_>>(), HashSet::from(flights));
    book.ledger.stored(batch);
    assert!(book.ledger.is_empty() && book.is_idle());
}

#[test]
fn a_receipt_before_the_result_is_stored_goes_with_it() {
    let now = moment();
    let mut book = launched(&[leg(1, &[])], 2, now);
    while book.next(0, now).is_some() {}
    book.answered(id(1), 2, taken("b"), false, now);
    let early = receipt("b", MessageState::Delivered, now.at);
    assert_eq!(book.receive(early, "ack b"), Met::Merged);
    book.answered(id(1), 1, taken("a"), false, now);
    let done = now.at + jiff::SignedDuration::from_secs(3);
    assert_eq!(book.receive(receipt("a", MessageState::Failed, done), "ack a"), Met::Merged);
    let (settled, batch) = result(&mut book);
    assert_eq!((settled.state, settled.final_at), (MessageState::Failed, Some(done)));
    assert_eq!(settled.parts.iter().map(|part| &*part.upstream_id).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(book.ledger.stored(batch).0, ["ack b", "ack a"]);
}

#[test]
fn a_receipt_while_the_result_is_being_stored_waits_for_that() {
    let now = moment();
    let mut book = launched(&[leg(1, &[])], 1, now);
    book.next(0, now);
    book.answered(id(1), 1, taken("a"), false, now);
    let (settled, batch) = result(&mut book);
    assert_eq!(settled.state, MessageState::Sent);
    let late = receipt("a", MessageState::Delivered, now.at);
    assert_eq!(book.receive(late.clone(), "ack"), Met::Merged);
    let (acks, receipts) = book.ledger.stored(batch);
    assert!(acks.is_empty());
    assert_eq!(receipts, [(late.clone(), "ack")]);
    assert_eq!(book.receive(late.clone(), "ack"), Met::Elsewhere(late, "ack"), "it is the database's now");
}

#[test]
fn a_flight_is_cleared_after_every_batch_that_has_some_of_it() {
    let (now, flight) = (moment(), Uuid::from_u128(7));
    let mut book = TestBook::new(&[leg(1, &[])]);
    book.set_intake(0, Intake::All, now);
    for number in 1..=3 {
        book.add(id(number), opened(1, now), None, now);
    }
    let picked = book.pick(0, 100, 100);
    book.launched(0, flight, &picked, &picked, now);
    while let Some(next) = book.next(0, now) {
        book.answered(next.id, 1, taken(&next.id.0.to_string()), false, now);
    }
    let [first, last] = [book.ledger.batch(2), book.ledger.batch(2)];
    assert_eq!((first.results.len(), last.results.len()), (2, 1));
    assert!(first.flights.is_empty() && last.flights.is_empty(), "either may be lost");
    let late = receipt(&id(1).0.to_string(), MessageState::Delivered, now.at);
    assert_eq!(book.receive(late.clone(), "ack"), Met::Merged);
    assert!(book.ledger.stored(last).1.is_empty(), "its message is in the other one");
    assert!(!book.ledger.has_more(), "the other one may still be lost");
    assert_eq!(book.ledger.stored(first).1, [(late, "ack")]);
    let end = book.ledger.batch(2);
    assert_eq!((end.results.len(), &end.flights[..]), (0, &[flight][..]));
    book.ledger.stored(end);
    assert!(book.ledger.is_empty() && book.is_idle());
}

#[test]
fn a_receipt_of_another_destination_is_not_merged() {
    let now = moment();
    let mut book = launched(&[leg(1, &[])], 1, now);
    book.next(0, now);
    book.answered(id(1), 1, taken("a"), false, now);
    let other = Receipt { tag: 6, ..receipt("a", MessageState::Delivered, now.at) };
    assert_eq!(book.receive(other.clone(), "ack"), Met::Elsewhere(other, "ack"));
}

#[test]
fn what_was_not_written_goes_by_the_next_route() {
    let now = moment();
    let mut book = launched(&[leg(1, &[]), leg(2, &[])], 1, now);
    book.next(0, now);
    assert_eq!(book.answered(id(1), 1, Verdict::NotWritten, false, now), Effect::Trouble);
    book.set_intake(0, Intake::None, now);
    assert_eq!(book.pick(1, 10, 10), [id(1)]);
    assert_eq!(book.ledger.batch(10).flights, [Uuid::from_u128(7)], "its first flight is over");
}

#[test]
fn what_may_have_been_written_stays_on_its_route() {
    let now = moment();
    let mut book = launched(&[leg(1, &[]), leg(2, &[])], 1, now);
    book.next(0, now);
    book.answered(id(1), 1, Verdict::Unanswered, false, now);
    book.set_intake(0, Intake::None, now);
    assert!(book.pick(1, 10, 10).is_empty());
    assert_eq!(book.next(0, now).expect("the same again").part, 1);
}

#[test]
fn parts_stay_on_one_route_once_one_is_taken() {
    let now = moment();
    let mut book = launched(&[leg(1, &[]), leg(2, &[])], 2, now);
    while book.next(0, now).is_some() {}
    book.answered(id(1), 1, taken("a"), false, now);
    book.answered(id(1), 2, Verdict::NotWritten, false, now);
    book.set_intake(0, Intake::None, now);
    assert!(book.pick(1, 10, 10).is_empty());
    assert_eq!(book.lane(0).expect("a lane").ready_parts(), 1);
    assert_eq!(book.next(0, now).expect("the other part").part, 2);
}

#[test]
fn unanswered_is_held_where_that_is_the_policy_and_never_sent_for_ever() {
    let now = moment();
    let mut book = launched(&[leg(1, &[])], 1, now);
    book.next(0, now);
    book.answered(id(1), 1, Verdict::Unanswered, true, now);
    assert_eq!(result(&mut book).0.state, MessageState::Held);

    let mut book = launched(&[leg(1, &[])], 1, now);
    for _ in 0..UNANSWERED {
        book.next(0, now).expect("again");
        book.answered(id(1), 1, Verdict::Unanswered, false, now);
    }
    assert_eq!(result(&mut book).0.state, MessageState::Held);
}

#[test]
fn a_refusal_ends_a_message_and_keeps_what_was_taken() {
    let now = moment();
    let mut book = launched(&[leg(1, &[])], 3, now);
    book.next(0, now);
    book.next(0, now);
    book.answered(id(1), 1, taken("a"), false, now);
    book.answered(id(1), 2, Verdict::Refused(11), false, now);
    let (settled, _) = result(&mut book);
    assert_eq!((settled.state, settled.error, settled.parts.len()), (MessageState::Rejected, Some(11), 1));
    assert!(book.next(0, now).is_none(), "the third part is not sent");
    assert_eq!(book.lane(0).expect("a lane").demand(), 0);
}

#[test]
fn a_passing_fault_is_waited_for_and_a_lasting_one_is_a_refusal() {
    let mut now = moment();
    let mut book = launched(&[leg(1, &[])], 1, now);
    for _ in 1..FAULTS {
        book.next(0, now).expect("a part");
        book.answered(id(1), 1, Verdict::Faulty(8), false, now);
        assert_eq!(book.lane(0).expect("a lane").demand(), 0, "it is left alone for a while");
        now = after(now, Duration::from_secs(60));
        book.wind(now);
        let picked = book.pick(0, 1, 1);
        book.launched(0, Uuid::from_u128(8), &picked, &picked, now);
    }
    book.next(0, now).expect("a part");
    book.answered(id(1), 1, Verdict::Faulty(8), false, now);
    let (settled, _) = result(&mut book);
    assert_eq!((settled.state, settled.error), (MessageState::Rejected, Some(8)));
}

#[test]
fn a_fault_of_the_routes_sends_a_message_by_the_next_at_once_and_back_when_that_fails_too() {
    let now = moment();
    let mut book = launched(&[leg(1, &[]), leg(2, &[])], 2, now);
    while book.next(0, now).is_some() {}
    book.answered(id(1), 1, Verdict::Faulty(8), false, now);
    assert_eq!(book.lane(1).expect("a lane").demand(), 0, "the answer to its other part is awaited");
    book.answered(id(1), 2, Verdict::NotWritten, false, now);
    book.wind(after(now, FAULT_DELAY));
    let picked = book.pick(1, 10, 10);
    assert_eq!(picked, [id(1)]);
    book.launched(1, Uuid::from_u128(8), &picked, &picked, now);
    while book.next(1, now).is_some() {}
    book.answered(id(1), 1, Verdict::Throttled, false, now);
    book.answered(id(1), 2, Verdict::Faulty(8), false, now);
    assert!(book.pick(0, 10, 10).is_empty() && book.pick(1, 10, 10).is_empty(), "both failed: it waits");
    book.wind(after(now, FAULT_DELAY * 4));
    assert_eq!(book.pick(0, 10, 10), [id(1)], "and is tried again by the first");

    let mut book = launched(&[leg(1, &[]), leg(2, &[])], 1, now);
    book.next(0, now);
    book.answered(id(1), 1, Verdict::Faulty(13), false, now);
    assert_eq!(book.pick(1, 10, 10), [id(1)], "at once");
    let mut book = launched(&[leg(1, &[]), leg(2, &["46"])], 1, now);
    book.next(0, now);
    book.answered(id(1), 1, Verdict::Faulty(13), false, now);
    assert!(book.pick(1, 10, 10).is_empty(), "the other one does not carry it");
    let mut book = launched(&[leg(1, &[]), leg(2, &[])], 2, now);
    while book.next(0, now).is_some() {}
    book.answered(id(1), 1, taken("a"), false, now);
    book.answered(id(1), 2, Verdict::Faulty(8), false, now);
    book.wind(after(now, FAULT_DELAY));
    assert!(book.pick(1, 10, 10).is_empty(), "one part is with the first");
    assert_eq!(book.next(0, now).expect("the other part").part, 2);
}

#[test]
fn a_route_that_is_tried_again_takes_one_message_and_the_others_stay_where_they_go() {
    let now = moment();
    let mut book = TestBook::new(&[leg(1, &[]), leg(2, &[])]);
    book.set_intake(1, Intake::All, now);
    (1..=5).for_each(|number| book.add(id(number), opened(1, now), None, now));
    assert_eq!(book.lane(1).expect("a lane").waiting(), 5);
    book.set_intake(0, Intake::One, now);
    assert_eq!(book.pick(0, 10, 10), [id(1)], "the first in order");
    assert_eq!(book.lane(1).expect("a lane").waiting(), 4);
    book.set_intake(0, Intake::All, now);
    assert_eq!(book.pick(0, 10, 10), [2, 3, 4, 5].map(id), "all are back");
}

#[test]
fn the_cheapest_route_goes_first_where_costs_are_known() {
    let now = moment();
    let priced = |route, prefixes: &[&str], costs: &[(&str, i64)]| Leg {
        costs: costs.iter().map(|(prefix, cost)| Cost { prefix: (*prefix).into(), cost: MilliOre(*cost) }).collect(),
        ..leg(route, prefixes)
    };
    let legs = [leg(1, &[]), priced(2, &[], &[("45", 30), ("4520", 50)]), priced(3, &[], &[("45", 40)])];
    let chosen = |legs: &[Leg], away: &[usize]| {
        let mut book = TestBook::new(legs);
        (0..legs.len()).for_each(|route| book.set_intake(route, Intake::All, now));
        away.iter().for_each(|route| book.set_intake(*route, Intake::None, now));
        book.add(id(1), opened(1, now), None, now);
        (0..legs.len()).find(|route| book.lane(*route).expect("a lane").waiting() > 0)
    };
    assert_eq!(chosen(&legs, &[]), Some(2), "the longest prefix of each counts");
    assert_eq!(chosen(&legs, &[2]), Some(1));
    assert_eq!(chosen(&legs, &[1, 2]), Some(0), "of unknown cost, and last");
    assert_eq!(chosen(&[leg(1, &[]), leg(2, &[])], &[]), Some(0), "without costs the list's order stands");
}

#[test]
fn a_premium_number_goes_by_routes_for_it_alone() {
    let now = moment();
    let plain = Leg { without_senders: vec!["1231".into()], ..leg(1, &[]) };
    let mut book = TestBook::new(&[plain, leg(2, &[])]);
    (0..2).for_each(|route| book.set_intake(route, Intake::All, now));
    let mut premium = opened(1, now);
    premium.body.from = SenderId::parse("1231").expect("a number");
    book.add(id(1), premium, None, now);
    book.add(id(2), opened(1, now), None, now);
    assert_eq!((book.pick(0, 9, 9), book.pick(1, 9, 9)), (vec![id(2)], vec![id(1)]));
}

#[test]
fn urgent_messages_overtake_what_waits() {
    let now = moment();
    let mut book = TestBook::new(&[leg(1, &[])]);
    for number in 1..=6 {
        book.add(id(number), Opened { urgent: number % 3 == 0, ..opened(1, now) }, None, now);
    }
    assert_eq!(book.pick(0, 3, 9), [3, 6, 1].map(id));
    book.forget_waiting();
    assert_eq!(book.lane(0).expect("a lane").demand(), 0);
}

#[test]
fn it_is_too_late_in_flight_and_out_of_it() {
    let now = moment();
    let late = after(now, Duration::from_secs(3600));
    let mut book = launched(&[leg(1, &[])], 1, now);
    assert!(book.next(0, late).is_none());
    assert_eq!(result(&mut book).0.error, Some(LocalError::TooLate.code()));

    let mut book = TestBook::new(&[leg(1, &[])]);
    book.add(id(1), opened(1, now), None, now);
    book.wind(late);
    let (settled, _) = result(&mut book);
    assert_eq!((settled.state, settled.final_at, settled.route), (MessageState::Expired, Some(late.at), None));
}

#[test]
fn routes_carry_what_their_prefixes_say() {
    let now = moment();
    let mut book = TestBook::new(&[leg(1, &["46"]), leg(2, &["45", "47"])]);
    book.set_intake(0, Intake::All, now);
    book.add(id(1), opened(1, now), None, now);
    assert_eq!((book.pick(0, 9, 9), book.pick(1, 9, 9)), (vec![], vec![id(1)]));

    let mut book = TestBook::new(&[leg(1, &["46"])]);
    book.add(id(1), opened(1, now), None, now);
    assert_eq!(result(&mut book).0.error, Some(LocalError::NoRoute.code()));
}

#[test]
fn a_message_that_left_the_queue_is_forgotten() {
    let now = moment();
    let mut book = TestBook::new(&[leg(1, &[])]);
    for number in 1..=3 {
        book.add(id(number), opened(1, now), None, now);
    }
    let picked = book.pick(0, 10, 10);
    book.launched(0, Uuid::from_u128(7), &picked, &[id(1), id(3)], now);
    assert_eq!(book.next(0, now).map(|next| next.id), Some(id(1)));
    assert_eq!(book.next(0, now).map(|next| next.id), Some(id(3)));
    assert!(book.next(0, now).is_none());
}

/// What an upstream and a connector may do to a message.
fn verdict(choice: u8, number: usize) -> Verdict {
    match choice {
        0 => Verdict::Throttled,
        1 => Verdict::NotWritten,
        2 => Verdict::NoCredit,
        3 => Verdict::Faulty(8),
        4 => Verdict::Unanswered,
        5 => Verdict::Refused(11),
        _ => Verdict::Taken { upstream_id: format!("u{number}").into(), tag: 5 },
    }
}

#[test]
fn whatever_happens_every_message_ends_once_and_every_flight_is_cleared() {
    use proptest::prelude::*;
    proptest!(ProptestConfig::with_cases(64), |(
        sizes in prop::collection::vec(1usize..4, 1..30),
        script in prop::collection::vec((0u8..12, 0u8..8), 50..400),
        hold in any::<bool>(),
    )| {
        let mut now = moment();
        let mut book = TestBook::new(&[leg(1, &[]), leg(2, &[])]);
        for (number, parts) in sizes.iter().enumerate() {
            book.add(id(number as u128 + 1), opened(*parts, now), None, now);
        }
        let mut open: HashSet<Uuid> = HashSet::new();
        let mut ended: BTreeMap<MessageId, Settled> = BTreeMap::new();
        let mut flights = 0;
        let (mut flown, mut storing) = (HashMap::new(), Vec::<Batch<&'static str>>::new());
        let mut script = script.into_iter().chain(std::iter::repeat((11, 0)));
        for step in 0..20_000 {
            let (choice, route_choice) = script.next().expect("endless");
            let route = usize::from(route_choice & 1);
            book.set_intake(route, [Intake::All, Intake::One, Intake::None][usize::from(choice % 3)], now);
            if route_choice & 4 != 0 {
                book.unready(route, now);
            }
            for route in 0..2 {
                let picked = book.pick(route, 5, 4);
                if !picked.is_empty() {
                    flights += 1;
                    let flight = Uuid::from_u128(flights);
                    open.insert(flight);
                    if choice == 6 {
                        book.not_launched(flight, &picked, now);
                    } else {
                        flown.extend(picked.iter().map(|id| (*id, flight)));
                        book.launched(route, flight, &picked, &picked, now);
                    }
                }
                // A pause of the route's would end a round of the same answers.
                for _ in 0..10 {
                    let Some(next) = book.next(route, now) else { break };
                    book.answered(next.id, next.part, verdict(choice, step), hold, now);
                }
            }
            let batch = book.ledger.batch(3);
            for flight in &batch.flights {
                prop_assert!(open.remove(flight), "a flight was cleared twice");
                let mut unsure = storing.iter().flat_map(|batch| &batch.results);
                prop_assert!(unsure.all(|settled| flown.get(&settled.id) != Some(flight)), "a flight was cleared early");
            }
            for settled in &batch.results {
                prop_assert!(ended.insert(settled.id, settled.clone()).is_none(), "a message ended twice");
            }
            storing.push(batch);
            // The database takes them in any order, and some late.
            while storing.len() > 1 || (step % 3 == 0 && !storing.is_empty()) {
                book.ledger.stored(storing.swap_remove(usize::from(choice) % storing.len()));
            }
            now = after(now, Duration::from_millis(50));
            book.wind(now);
            if ended.len() == sizes.len() && book.ledger.is_empty() {
                break;
            }
        }
        prop_assert_eq!(ended.len(), sizes.len(), "all end");
        prop_assert!(open.is_empty(), "all flights are cleared");
        for route in 0..2 {
            prop_assert_eq!(book.lane(route).expect("a lane").demand(), 0);
        }
        for settled in ended.values().filter(|settled| settled.state == MessageState::Sent) {
            let routes: HashSet<_> = settled.route.into_iter().collect();
            prop_assert_eq!(routes.len(), 1);
            let parts: Vec<u8> = settled.parts.iter().map(|part| part.part).collect();
            prop_assert_eq!(parts.len(), sizes[settled.id.0.as_u128() as usize - 1]);
            prop_assert!(parts.windows(2).all(|pair| pair[0] < pair[1]), "each part once");
        }
    });
}
