//! The account at the end, tenant by tenant: what was accepted, what became of it, and what the message centre saw.
use std::collections::{HashMap, HashSet};
use std::iter::Sum;
use std::ops::Add;

use uuid::Uuid;

use super::books::Books;
use super::doubles::{Doubles, silent};
use super::inject::Event;
use super::load::Accepted;
use super::seen::{Number, Seen};
use super::settle::Decided;

/// Message states, as the database has them.
const DELIVERED: i16 = 3;
const UNKNOWN: i16 = 8;

/// Something that must hold.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) what: &'static str,
    pub(crate) holds: bool,
    pub(crate) figures: String,
}

impl Check {
    pub(crate) fn new(what: &'static str, holds: bool, figures: impl Into<String>) -> Self {
        Self { what, holds, figures: figures.into() }
    }
}

/// Of one tenant, or the sum of several.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Account {
    pub(crate) accepted: usize,
    /// Of these, with an id that no other call has.
    distinct: usize,
    pub(crate) logged: usize,
    lost: usize,
    /// In the tenant's log, usage or lists, and of none of its calls.
    strangers: usize,
    queued: usize,
    pub(crate) delivered: usize,
    /// By the tenant, of what was held.
    pub(crate) given_up: usize,
    /// Of these, those whose state says so.
    unknown: usize,
    pub(crate) released: usize,
    hidden: usize,
    /// Parts of what was delivered, and those that were billed; of what was given up, those that were billed, and those at most.
    pub(crate) parts: i64,
    billed: i64,
    billed_unknown: i64,
    parts_unknown: i64,
    unsent: usize,
    pub(crate) submits: usize,
    /// Of nothing accepted, or from another tenant's sender id.
    alien: usize,
    listed: usize,
    open_doors: usize,
    pub(crate) doubles: u64,
    unexplained: usize,
    /// As many duplicates as the faults allow.
    pub(crate) bound: u64,
}

impl Account {
    pub(crate) fn of(
        accepted: &[Accepted],
        decided: &Decided,
        books: &Books,
        seen: &[&Seen],
        doubles: &Doubles,
        journal: &[Event],
    ) -> Self {
        let ids: HashSet<Uuid> = accepted.iter().map(|message| message.id).collect();
        let parts: HashMap<Number, u8> = accepted.iter().map(|message| (message.number, message.parts)).collect();
        let taken: HashSet<_> =
            seen.iter().filter(|submit| submit.taken).map(|submit| (submit.number, submit.part)).collect();
        // What was given up may never have been sent.
        let (given_up, kept): (Vec<&Accepted>, Vec<&Accepted>) =
            accepted.iter().partition(|message| decided.given_up.contains(&message.id));
        let unsent = kept
            .iter()
            .flat_map(|message| (1..=message.parts).map(|part| (Some(message.number), part)))
            .filter(|part| !taken.contains(part));
        let alien = seen.iter().filter(|submit| {
            let parts = submit.number.and_then(|number| parts.get(&number));
            !submit.own || parts.is_none_or(|parts| !(1..=*parts).contains(&submit.part))
        });
        let in_state = |messages: &[&Accepted], state| {
            messages.iter().filter(|one| books.log.get(&one.id) == Some(&state)).count()
        };
        let all_parts = |messages: &[&Accepted]| messages.iter().map(|one| i64::from(one.parts)).sum();
        let billed = |messages: &[&Accepted]| messages.iter().filter_map(|one| books.usage.get(&one.id)).sum();
        let shown = books.log.keys().chain(books.usage.keys()).chain(&books.listed);
        Self {
            accepted: accepted.len(),
            distinct: ids.len(),
            logged: books.log.len(),
            lost: ids.iter().filter(|id| !books.log.contains_key(id)).count(),
            strangers: shown.filter(|id| !ids.contains(id)).count(),
            queued: usize::try_from(books.queued).unwrap_or(usize::MAX),
            delivered: in_state(&kept, DELIVERED),
            given_up: given_up.len(),
            unknown: in_state(&given_up, UNKNOWN),
            released: decided.released.len(),
            hidden: decided.hidden,
            parts: all_parts(&kept),
            billed: billed(&kept),
            billed_unknown: billed(&given_up),
            parts_unknown: all_parts(&given_up),
            unsent: unsent.count(),
            submits: seen.len(),
            alien: alien.count(),
            listed: books.listed.intersection(&ids).count(),
            open_doors: books.open_doors,
            doubles: doubles.found,
            unexplained: doubles.unexplained.len(),
            bound: doubles.own_bound + silent(journal),
        }
    }
}

impl Add for Account {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            distinct: self.distinct + other.distinct,
            logged: self.logged + other.logged,
            lost: self.lost + other.lost,
            strangers: self.strangers + other.strangers,
            queued: self.queued + other.queued,
            delivered: self.delivered + other.delivered,
            given_up: self.given_up + other.given_up,
            unknown: self.unknown + other.unknown,
            released: self.released + other.released,
            hidden: self.hidden + other.hidden,
            parts: self.parts + other.parts,
            billed: self.billed + other.billed,
            billed_unknown: self.billed_unknown + other.billed_unknown,
            parts_unknown: self.parts_unknown + other.parts_unknown,
            unsent: self.unsent + other.unsent,
            submits: self.submits + other.submits,
            alien: self.alien + other.alien,
            listed: self.listed + other.listed,
            open_doors: self.open_doors + other.open_doors,
            doubles: self.doubles + other.doubles,
            unexplained: self.unexplained + other.unexplained,
            bound: self.bound + other.bound,
        }
    }
}

impl Sum for Account {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// Something that must hold of each tenant, and what to say of it.
type Rule = (&'static str, fn(&Account) -> bool, fn(&Account) -> String);

const RULES: [Rule; 9] = [
    (
        "every call has a message of its own",
        |of| of.distinct == of.accepted && of.accepted > 0,
        |of| format!("{} accepted", of.distinct),
    ),
    (
        "accepted = final states",
        |of| of.lost == 0 && of.queued == 0 && of.logged == of.accepted,
        |of| format!("{} in the log, {} lost, {} queued", of.logged, of.lost, of.queued),
    ),
    (
        "all are delivered, but for those given up",
        |of| of.delivered + of.unknown == of.accepted && of.unknown == of.given_up,
        |of| format!("{} delivered, {} of {} given up are unknown", of.delivered, of.unknown, of.given_up),
    ),
    (
        "what is held is listed",
        |of| of.hidden == 0,
        |of| format!("{} released, {} given up, {} not listed", of.released, of.given_up, of.hidden),
    ),
    (
        "each part is billed once",
        |of| of.billed == of.parts && of.billed_unknown <= of.parts_unknown,
        |of| {
            let (billed, parts) = (of.billed_unknown, of.parts_unknown);
            format!("{} billed of {}; of what was given up {billed} of {parts}", of.billed, of.parts)
        },
    ),
    ("each part was sent", |of| of.unsent == 0, |of| format!("{} never reached the SMSC", of.unsent)),
    (
        "nothing else was sent",
        |of| of.alien == 0,
        |of| format!("{} submits of nothing accepted, or from another's sender id", of.alien),
    ),
    (
        "nothing of another tenant's shows",
        |of| of.strangers == 0 && of.listed == of.accepted && of.open_doors == 0,
        |of| {
            let (strangers, doors) = (of.strangers, of.open_doors);
            format!(
                "{} listed by the API, {strangers} others' in log, usage or list, {doors} others' opened",
                of.listed
            )
        },
    ),
    (
        "duplicates come from faults or releases alone",
        |of| of.unexplained == 0 && of.doubles <= of.bound,
        |of| format!("{} found, {} unexplained", of.doubles, of.unexplained),
    ),
];

/// Goes through all of them: each rule must hold for each tenant.
pub(crate) fn checks(accounts: &[Account]) -> Vec<Check> {
    let all: Account = accounts.iter().copied().sum();
    RULES
        .into_iter()
        .map(|(what, holds, figures)| {
            let mut text = figures(&all);
            for (tenant, account) in accounts.iter().enumerate().filter(|(_, account)| !holds(account)) {
                text += &format!("; **tenant {tenant}**: {}", figures(account));
            }
            Check::new(what, accounts.iter().all(holds), text)
        })
        .collect()
}
