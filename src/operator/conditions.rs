//! Conditions: one verdict per promise, and the three that summarise them after kstatus.
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::labels::PAUSED;
use crate::crd::conditions::{reasons, types};

/// What holds about one promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The condition's type.
    pub(super) about: &'static str,
    /// Whether it holds.
    pub(super) holds: bool,
    /// Why, in one word.
    pub(super) reason: &'static str,
    /// Why, for people.
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn yes(about: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { about, holds: true, reason, message: message.into() }
    }

    pub(super) fn no(about: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { about, holds: false, reason, message: message.into() }
    }
}

/// How an object stands as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Everything the spec asks of the operator is done.
    Ready,
    /// Something is missing or not there yet; it heals by itself once it is there.
    Reconciling(&'static str, String),
    /// Somebody must change the object first.
    Stalled(&'static str, String),
    /// Its owner wants it left alone: nothing is asked of the operator.
    Paused,
}

impl Standing {
    /// Ready when every verdict holds; else the first that does not says why.
    pub(super) fn of<'a>(needed: impl IntoIterator<Item = &'a Verdict>) -> Self {
        match needed.into_iter().find(|verdict| !verdict.holds) {
            None => Self::Ready,
            Some(verdict) if verdict.reason == reasons::INVALID => {
                Self::Stalled(verdict.reason, verdict.message.clone())
            }
            Some(verdict) => Self::Reconciling(verdict.reason, verdict.message.clone()),
        }
    }

    fn verdicts(&self, done: &str) -> Vec<Verdict> {
        match self {
            Self::Ready => vec![Verdict::yes(types::READY, reasons::SUCCEEDED, done)],
            Self::Reconciling(reason, message) => vec![
                Verdict::no(types::READY, reason, message.as_str()),
                Verdict::yes(types::RECONCILING, reason, message.as_str()),
            ],
            Self::Stalled(reason, message) => vec![
                Verdict::no(types::READY, reason, message.as_str()),
                Verdict::yes(types::STALLED, reason, message.as_str()),
            ],
            Self::Paused => vec![Verdict::yes(
                types::READY,
                reasons::PAUSED,
                format!("left alone as it is: the annotation {PAUSED} asks for it"),
            )],
        }
    }
}

/// All conditions of an object; `done` is the message of Ready=True. The time of a transition is kept where nothing
/// changed, so that an unchanged status is an equal one.
pub(super) fn conditions(
    before: &[Condition],
    standing: &Standing,
    done: &str,
    verdicts: &[Verdict],
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let all = standing.verdicts(done);
    all.iter().chain(verdicts).map(|verdict| condition(before, verdict, generation, now)).collect()
}

/// What is told of one verdict; the time of an unchanged one stays.
pub(super) fn condition(before: &[Condition], verdict: &Verdict, generation: i64, now: Timestamp) -> Condition {
    let status = if verdict.holds { "True" } else { "False" };
    let same = before.iter().find(|old| old.type_ == verdict.about && old.status == status);
    Condition {
        type_: verdict.about.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.to_owned(),
        message: clipped(&verdict.message),
        observed_generation: Some(generation),
        last_transition_time: same.map_or_else(|| Time(whole_second(now)), |old| old.last_transition_time.clone()),
    }
}

/// The API stores whole seconds: a finer time would differ from what comes back.
fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Conditions hold 32 KiB; ours stay readable in a terminal.
fn clipped(message: &str) -> String {
    const LONGEST: usize = 500;
    match message.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &message[..at]),
        None => message.to_owned(),
    }
}

/// Whether a condition of this type is True.
pub(super) fn holds(conditions: &[Condition], about: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == about && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    #[test]
    fn an_unchanged_verdict_keeps_its_time_and_a_changed_one_does_not() {
        let routes =
            |holds| Verdict { about: types::ROUTES_READY, holds, reason: reasons::NONE, message: String::new() };
        let first = conditions(&[], &Standing::Ready, "", &[routes(true)], 1, at("2026-01-01T00:00:00.5Z"));
        let again = conditions(&first, &Standing::Ready, "", &[routes(true)], 1, at("2026-01-02T00:00:00Z"));
        assert_eq!(first, again);
        let turned = conditions(&first, &Standing::Ready, "", &[routes(false)], 1, at("2026-01-02T00:00:00Z"));
        assert_eq!(turned[0].last_transition_time, first[0].last_transition_time);
        assert_ne!(turned[1].last_transition_time, first[1].last_transition_time);
    }

    #[test]
    fn the_first_verdict_that_fails_says_why() {
        let verdicts = [
            Verdict::yes(types::PLAN_READY, reasons::SUCCEEDED, ""),
            Verdict::no(types::ROUTES_READY, reasons::NOT_FOUND, "SmsRoute fast does not exist"),
            Verdict::no(types::SENDER_READY, reasons::PODS_NOT_READY, "0 of 1"),
        ];
        let standing = Standing::of(&verdicts);
        assert_eq!(standing, Standing::Reconciling(reasons::NOT_FOUND, "SmsRoute fast does not exist".to_owned()));
        let all = conditions(&[], &standing, "", &verdicts, 1, at("2026-01-01T00:00:00Z"));
        assert!(holds(&all, types::RECONCILING) && !holds(&all, types::READY) && !holds(&all, types::STALLED));
    }

    #[test]
    fn what_only_its_writer_can_mend_is_stalled() {
        let verdict = Verdict::no(types::ROUTES_READY, reasons::INVALID, "write something else");
        assert!(matches!(Standing::of([&verdict]), Standing::Stalled(reasons::INVALID, _)));
    }
}
