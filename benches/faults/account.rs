//! The account at the end: what was accepted, what became of it, and what the message centre saw, message by message.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use budstikke::simulator::Stats;
use serde_json::json;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::inject::{Event, Injector};
use super::load::Accepted;
use super::seen::Seen;
use crate::support::api::Api;

/// Parked receipts are looked at again ever more rarely: what was parked early in an outage may wait for minutes.
const PATIENCE: Duration = Duration::from_secs(240);
const LOOK: Duration = Duration::from_millis(250);
/// A submit may be on its way for so long after what went wrong, milliseconds.
const SLACK: i64 = 3000;
/// Message states, as the database has them.
const DELIVERED: i16 = 3;

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

/// Waits until nothing is under way any more; releases what is held. Gives how many were released, and whether all came to an
/// end.
pub(crate) async fn settle(injector: &Injector, api: &Api) -> (usize, bool) {
    let (deadline, mut released) = (Instant::now() + PATIENCE, 0);
    let pool = injector.superuser();
    while Instant::now() < deadline {
        let open: Result<(i64, i64, i64, i64), _> = sqlx::query_as(
            "select (select count(*) from queue where state = 0), (select count(*) from queue where state = 1),
                    (select count(*) from flight), (select count(*) from message_log where state = 2)",
        )
        .fetch_one(pool)
        .await;
        match open {
            Ok((_, 1.., ..)) => released += release(pool, api).await,
            Ok((0, 0, 0, 0)) if injector.smsc().stats().waiting == 0 => return (released, true),
            Ok(_) | Err(_) => {}
        }
        sleep(LOOK).await;
    }
    (released, false)
}

async fn release(pool: &PgPool, api: &Api) -> usize {
    let held: Vec<Uuid> = sqlx::query_scalar("select message_id from queue where state = 1 limit 1000")
        .fetch_all(pool)
        .await
        .unwrap_or_default();
    let answer = api.post("/release", &json!({"messages": held}), None, Duration::from_secs(10)).await;
    answer.ok().and_then(|(_, answer)| answer["messages"].as_array().map(Vec::len)).unwrap_or(0)
}

/// What the database holds at the end.
pub(crate) struct Books {
    log: HashMap<Uuid, i16>,
    queued: i64,
    usage: i64,
    named: i64,
    parked: i64,
}

impl Books {
    pub(crate) async fn read(pool: &PgPool) -> Self {
        let count = async |statement| sqlx::query_scalar::<_, i64>(statement).fetch_one(pool).await.expect("a count");
        let log: Vec<(Uuid, i16)> =
            sqlx::query_as("select message_id, state from message_log").fetch_all(pool).await.expect("the log");
        let rows = log.len();
        let log: HashMap<_, _> = log.into_iter().collect();
        assert_eq!(rows, log.len(), "a message is in the log twice");
        Self {
            log,
            queued: count("select count(*) from queue").await,
            usage: count("select count(*) from usage").await,
            named: count(
                "select (select count(distinct upstream_id) from message_log where upstream_id is not null)
                      + (select count(distinct upstream_id) from message_part)",
            )
            .await,
            parked: count("select count(distinct upstream_id) from parked_receipt").await,
        }
    }

    pub(crate) fn states(&self) -> BTreeMap<i16, usize> {
        let mut states = BTreeMap::new();
        self.log.values().for_each(|state| *states.entry(*state).or_default() += 1);
        states
    }
}

/// What was sent more than once, and why.
#[derive(Debug, Default)]
pub(crate) struct Doubles {
    /// By what went wrong.
    pub(crate) by_fault: BTreeMap<String, u64>,
    pub(crate) found: u64,
    /// No fault is near.
    pub(crate) unexplained: Vec<String>,
    /// As many as the faults allow.
    pub(crate) bound: u64,
}

impl Doubles {
    /// Between the two submits of a part there must lie something after which its sender could not know.
    pub(crate) fn find(seen: &[Seen], journal: &[Event]) -> Self {
        let doubtful: Vec<&Event> = journal.iter().filter(|event| event.fault.leaves_doubt()).collect();
        let mut doubles = Self { bound: doubtful.iter().map(|event| event.doubles).sum(), ..Self::default() };
        let mut before = HashMap::new();
        for submit in seen.iter().filter(|submit| submit.taken) {
            let Some(first) = before.insert((submit.number, submit.part), submit.at_ms) else { continue };
            doubles.found += 1;
            let near = |event: &&&Event| event.from_ms <= submit.at_ms && event.to_ms + SLACK >= first;
            // Blamed is the one that was nearest when it was sent first.
            let distance = |event: &&&Event| (event.from_ms - first).max(0) + (first - event.to_ms).max(0);
            match doubtful.iter().filter(near).min_by_key(distance) {
                Some(event) => *doubles.by_fault.entry(event.fault.to_string()).or_default() += 1,
                None => doubles.unexplained.push(format!(
                    "call {:?} part {}: at {first} and {} ms later",
                    submit.number,
                    submit.part,
                    submit.at_ms - first
                )),
            }
        }
        doubles
    }
}

/// Goes through all of it.
pub(crate) fn checks(
    accepted: &[Accepted],
    seen: &[Seen],
    stats: &Stats,
    books: &Books,
    doubles: &Doubles,
) -> Vec<Check> {
    let parts: HashMap<u32, u8> = accepted.iter().map(|message| (message.number, message.parts)).collect();
    let ids: HashSet<Uuid> = accepted.iter().map(|message| message.id).collect();
    let lost = ids.iter().filter(|id| !books.log.contains_key(id)).count();
    let strangers = books.log.keys().filter(|id| !ids.contains(id)).count();
    let states = books.states();
    let delivered = states.get(&DELIVERED).copied().unwrap_or(0);
    let billed: i64 = accepted.iter().map(|message| i64::from(message.parts)).sum();
    let taken: HashSet<_> =
        seen.iter().filter(|submit| submit.taken).map(|submit| (submit.number, submit.part)).collect();
    let unsent = accepted
        .iter()
        .flat_map(|message| (1..=message.parts).map(|part| (Some(message.number), part)))
        .filter(|part| !taken.contains(part))
        .count();
    let alien = seen.iter().filter(|submit| {
        let parts = submit.number.and_then(|number| parts.get(&number));
        parts.is_none_or(|parts| !(1..=*parts).contains(&submit.part))
    });
    let alien = alien.count();
    let takes = i64::try_from(seen.iter().filter(|submit| submit.taken).count()).expect("few");
    let parked = takes - books.named;
    vec![
        Check::new(
            "every call has a message of its own",
            ids.len() == accepted.len(),
            format!("{} accepted", ids.len()),
        ),
        Check::new(
            "accepted = final states",
            lost == 0 && strangers == 0 && books.queued == 0,
            format!("{} in the log, {lost} lost, {strangers} unasked, {} queued", books.log.len(), books.queued),
        ),
        Check::new(
            "all are delivered",
            delivered == accepted.len() && books.log.len() == delivered,
            format!("{delivered} delivered; by state {states:?}"),
        ),
        Check::new("each part is billed once", books.usage == billed, format!("{} billed of {billed}", books.usage)),
        Check::new("each part was sent", unsent == 0, format!("{unsent} never reached the SMSC")),
        Check::new("nothing else was sent", alien == 0, format!("{alien} submits of nothing accepted")),
        Check::new(
            "duplicates come from faults alone",
            doubles.unexplained.is_empty() && doubles.found <= doubles.bound,
            format!(
                "{} found, {} unexplained, at most {} allowed",
                doubles.found,
                doubles.unexplained.len(),
                doubles.bound
            ),
        ),
        Check::new(
            "receipts are complete",
            stats.lost == 0 && stats.waiting == 0 && books.parked == parked,
            format!(
                "{} taken, {} given up by the SMSC, {} parked of {parked} submits whose answer nobody has",
                stats.receipts_sent, stats.lost, books.parked
            ),
        ),
    ]
}
