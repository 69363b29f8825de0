//! Whether the copies of the embedded instances keep what the policy promises: nothing in the keyring's repository may be older than
//! it says, and what is destroyed must be gone on the standby too (D2, D8). Of existing instances nothing is reported, and what is
//! declared counts.
use jiff::{SignedDuration, Timestamp};

use super::super::context::Embedded;
use super::proof::shown;
use crate::crd::RetentionPolicySpec;
use crate::crd::conditions::reasons;
use crate::store::backups::{Copies, Report, Standby};

/// How old a report may be: a base backup of a large instance takes a while, and nothing is reported meanwhile.
const UNHEARD: SignedDuration = SignedDuration::from_hours(6);
/// How much longer than due a base backup may take to come.
const LATE: SignedDuration = SignedDuration::from_hours(1);
/// For how long backups may fail, round for round, before what is not in one counts as exposed.
const FAILING: SignedDuration = SignedDuration::from_mins(15);

/// The copies of both instances.
#[derive(Debug, Clone, Default)]
pub(super) struct Both {
    pub(super) keyring: Copies,
    pub(super) data: Copies,
}

impl Both {
    /// What counts of it. Existing instances have no loop that reports, and their standbys have names of their own: nothing is
    /// known of these but what is declared, and nothing that was reported before the move counts.
    pub(super) fn seen(self, embedded: Embedded) -> Self {
        let of = |is: bool, copies| if is { copies } else { Copies::default() };
        Self { keyring: of(embedded.keyring, self.keyring), data: of(embedded.data, self.data) }
    }
}

/// An instance, and what the chart and the policy call its numbers.
struct Instance<'a> {
    name: &'static str,
    copies: &'a Copies,
    embedded: bool,
    /// The chart's value that says how long backups are kept, and its unit in seconds.
    chart: (&'static str, i64),
    /// The policy's, its figure and its unit in seconds.
    policy: (&'static str, i64, i64),
    standby: &'static str,
}

fn instances<'a>(spec: &RetentionPolicySpec, both: &'a Both, embedded: Embedded) -> [Instance<'a>; 2] {
    let hours = i64::from(spec.backups.keyring_keep_hours);
    let days = i64::from(spec.backups.data_keep_days);
    [
        Instance {
            name: "keyring",
            copies: &both.keyring,
            embedded: embedded.keyring,
            chart: ("backups.keyring.keepHours", 3_600),
            policy: ("backups.keyringKeepHours", hours, 3_600),
            standby: "keyring.embedded.standby.enabled",
        },
        Instance {
            name: "data instance",
            copies: &both.data,
            embedded: embedded.data,
            chart: ("backups.postgres.keepDays", 86_400),
            policy: ("backups.dataKeepDays", days, 86_400),
            standby: "postgres.embedded.standby.enabled",
        },
    ]
}

/// What is not kept, and which number to change.
pub(super) fn wrong(
    spec: &RetentionPolicySpec,
    both: &Both,
    embedded: Embedded,
    now: Timestamp,
) -> Option<(&'static str, String)> {
    instances(spec, both, embedded).iter().find_map(|instance| instance.wrong(embedded.backups, now))
}

/// What is lost with a volume, where nothing else has it (D8).
pub(super) fn exposed(both: &Both, embedded: Embedded) -> Option<String> {
    let without = |copies: &Copies, embedded| embedded && copies.standby == Standby::None;
    without(&both.data, embedded.data).then(|| {
        "the data instance has no standby: what was accepted since its log was archived last is lost with its volume \
         (postgres.embedded.standby.enabled)"
            .to_owned()
    })
}

impl Instance<'_> {
    fn wrong(&self, backups: bool, now: Timestamp) -> Option<(&'static str, String)> {
        self.kept(now).or_else(|| self.taken(backups, now)).or_else(|| self.stands_by())
    }

    /// Nothing is kept for longer than promised.
    fn kept(&self, now: Timestamp) -> Option<(&'static str, String)> {
        let Self { name, chart: (chart, chart_unit), policy: (policy, figure, unit), .. } = self;
        let report = self.copies.report.as_ref()?;
        if report.keep_seconds > figure * unit {
            let (set, allowed) = (report.keep_seconds.div_euclid(*chart_unit), figure * unit / chart_unit);
            return Some((
                reasons::INVALID,
                format!(
                    "backups of the {name} are kept too long: lower `{chart}` of the chart from {set} to {allowed}, or raise \
                     `{policy}` of the policy from {figure} to {set}"
                ),
            ));
        }
        let oldest = report.oldest.filter(|oldest| now.duration_since(*oldest).as_secs() > figure * unit)?;
        Some((
            reasons::OVERDUE,
            format!(
                "the {name}'s repository holds something of {}, which is older than `{policy}` ({figure}) of the policy allows: \
                 the log of its container `backup` says why it did not go",
                shown(oldest)
            ),
        ))
    }

    /// Backups are there, and of late (D8).
    fn taken(&self, backups: bool, now: Timestamp) -> Option<(&'static str, String)> {
        let name = self.name;
        if !self.embedded {
            return None;
        }
        let lost = |since: &str| format!("what was accepted {since} is lost with its volume");
        let message = match &self.copies.report {
            _ if !backups => {
                format!("D8 is not kept: no backups are taken (`backups.enabled` of the chart): {}", lost("ever"))
            }
            None => format!("D8 is not kept: no backup of the {name} is known yet: {}", lost("so far")),
            Some(report) if now.duration_since(report.at) > UNHEARD => {
                format!(
                    "nothing was heard of the {name}'s backups since {}: look at its container `backup`",
                    shown(report.at)
                )
            }
            Some(Report { newest: None, failure, .. }) => {
                format!("D8 is not kept: there is no backup of the {name} ({failure}): {}", lost("so far"))
            }
            Some(Report { newest: Some(newest), every_seconds, failure, .. })
                if now.duration_since(*newest) > SignedDuration::from_secs(*every_seconds) + LATE =>
            {
                let since = format!("since the last backup at {}", shown(*newest));
                format!("D8 is not kept: the next backup of the {name} is late ({failure}): {}", lost(&since))
            }
            Some(Report { failing_since: Some(since), failure, .. }) if now.duration_since(*since) > FAILING => {
                format!(
                    "backups of the {name} fail since {} ({failure}): look at its container `backup`",
                    shown(*since)
                )
            }
            Some(_) => return None,
        };
        Some((reasons::OVERDUE, message))
    }

    /// A standby that is configured is there, and shows that what was destroyed is gone on it.
    fn stands_by(&self) -> Option<(&'static str, String)> {
        let Self { name, standby, .. } = self;
        let what = match self.copies.standby {
            Standby::None | Standby::Replayed => return None,
            Standby::Away => "does not stream, and commits wait for it",
            Standby::Behind => "has not replayed the last run",
        };
        let message = format!(
            "the {name}'s standby {what}: it is not shown that what was destroyed is gone on it (look at its pod, or set \
             `{standby}` to false and delete its volume)"
        );
        Some((reasons::OVERDUE, message))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ALL: Embedded = Embedded { data: true, keyring: true, backups: true };

    fn spec(keyring_hours: u16) -> RetentionPolicySpec {
        serde_json::from_value(json!({
            "log": {"keep": {"months": 3}, "textCharacters": 160}, "mail": {"keepDays": 3}, "accounts": {"deleteAfterMonths": 3},
            "invoices": {"keepYears": 5}, "backups": {"keyringKeepHours": keyring_hours, "dataKeepDays": 30},
            "hosting": {"country": "DK", "location": "Aarhus", "provider": "Vert", "declared": []},
        }))
        .expect("a policy")
    }

    fn now() -> Timestamp {
        "2026-03-30T10:00:00Z".parse().expect("a timestamp")
    }

    fn ago(hours: i64) -> Timestamp {
        now().saturating_sub(SignedDuration::from_hours(hours)).expect("near")
    }

    fn copies(oldest: i64, newest: i64) -> Copies {
        let report = Report {
            at: ago(0),
            oldest: Some(ago(oldest)),
            newest: Some(ago(newest)),
            keep_seconds: 24 * 3_600,
            every_seconds: 6 * 3_600,
            failure: String::new(),
            failing_since: None,
        };
        Copies { report: Some(report), standby: Standby::None }
    }

    fn both(keyring: Copies, data: Copies) -> Both {
        Both { keyring, data }
    }

    #[test]
    fn backups_that_are_kept_too_long_are_named_with_the_numbers_to_change() {
        let message =
            |hours, keyring| wrong(&spec(hours), &both(keyring, copies(1, 1)), ALL, now()).map(|(_, message)| message);
        assert_eq!(message(24, copies(23, 5)), None);
        let set = message(12, copies(1, 1)).expect("the chart keeps 24 hours");
        assert!(set.contains("lower `backups.keyring.keepHours` of the chart from 24 to 12"), "{set}");
        assert!(set.contains("raise `backups.keyringKeepHours` of the policy from 12 to 24"), "{set}");
        let held = message(24, copies(25, 5)).expect("it is too old");
        assert!(held.contains("holds something of 2026-03-29T09:00:00Z"), "{held}");
    }

    #[test]
    fn backups_that_are_not_taken_leave_something_exposed() {
        let said = |keyring, data, embedded| {
            wrong(&spec(24), &both(keyring, data), embedded, now()).map(|(_, message)| message).unwrap_or_default()
        };
        let none = Embedded { backups: false, ..ALL };
        assert!(said(Copies::default(), Copies::default(), none).contains("no backups are taken"));
        assert!(said(copies(1, 1), Copies::default(), ALL).contains("no backup of the data instance is known yet"));
        let late = said(copies(1, 1), copies(20, 8), ALL);
        assert!(late.contains("accepted since the last backup at 2026-03-30T02:00:00Z is lost"), "{late}");
        assert_eq!(said(Copies::default(), Copies::default(), Embedded::default()), "", "existing instances");
        assert!(exposed(&both(copies(1, 1), copies(1, 1)), ALL).is_some());
        assert!(exposed(&both(copies(1, 1), copies(1, 1)), Embedded::default()).is_none());
    }

    #[test]
    fn backups_that_go_on_failing_are_told_with_what_fails() {
        let failing = |minutes: i64| {
            let mut data = copies(20, 1);
            let report = data.report.as_mut().expect("a report");
            report.failure = "its log is not archived since then".to_owned();
            report.failing_since = now().checked_sub(SignedDuration::from_mins(minutes)).ok();
            wrong(&spec(24), &both(copies(1, 1), data), ALL, now()).map(|(_, message)| message)
        };
        assert_eq!(failing(15), None, "the next try may do it");
        let told = failing(16).expect("it fails");
        assert!(told.contains("fail since 2026-03-30T09:44:00Z (its log is not archived since then)"), "{told}");
    }

    #[test]
    fn nothing_is_demanded_of_existing_instances_but_what_is_declared() {
        let of_others = || Copies { standby: Standby::Away, ..copies(100, 100) };
        let said = |embedded| wrong(&spec(24), &both(of_others(), of_others()).seen(embedded), embedded, now());
        assert!(said(ALL).is_some());
        assert_eq!(said(Embedded { backups: true, ..Embedded::default() }), None);
        let data = said(Embedded { keyring: false, ..ALL }).expect("the data instance is embedded");
        assert!(data.1.contains("data instance"), "{}", data.1);
    }

    #[test]
    fn a_standby_that_is_away_shows_nothing() {
        for (standby, part) in [(Standby::Away, "does not stream"), (Standby::Behind, "has not replayed")] {
            let keyring = Copies { standby, ..copies(1, 1) };
            let (_, message) = wrong(&spec(24), &both(keyring, copies(1, 1)), ALL, now()).expect("not shown");
            assert!(message.contains(part), "{message}");
        }
        let keyring = Copies { standby: Standby::Replayed, ..copies(1, 1) };
        assert_eq!(wrong(&spec(24), &both(keyring, copies(1, 1)), ALL, now()), None);
    }
}
