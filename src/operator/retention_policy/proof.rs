//! What shows that a policy is kept, or is not, and why: read from the keyring and the data, not from what was intended.
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::super::conditions::Verdict;
use super::super::context::Embedded;
use super::super::controller::Scope;
use super::super::expiry::Last;
use super::super::failure::Failure;
use super::copies::{self, Both};
use super::validate::{kept_mail_hours, log_days, mail_hours, not_kept};
use crate::crd::conditions::{reasons, types};
use crate::crd::retentionpolicy::{ClassStatus, ErasedStatus};
use crate::crd::values::Day;
use crate::crd::{RetentionPolicySpec, RetentionPolicyStatus};
use crate::domain::period::queue_days;
use crate::domain::{Hour, TenantId, copenhagen_day};
use crate::keyring::{Class, WalWindow};
use crate::retention::shortened::mail::first_kept;
use crate::store::backups;
use crate::store::retention::mail::{self, Pending as PendingMail};
use crate::store::retention::{self as store, CaughtUp, Pending, journal};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// How long the keyring's write-ahead log may go back: what is destroyed in the first hour of a day is out of it by the end of that
/// day, which may have 23 hours only, or whose backups may span one that has.
pub(super) const WAL_SECONDS: i64 = 21 * 3600;
/// For how long it is told that days were missed.
const TOLD: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What was found.
#[derive(Debug, Clone, Default)]
pub(super) struct Proof {
    pub(super) last: Last,
    pub(super) erased: Option<ErasedStatus>,
    oldest: Vec<(Class, Date)>,
    oldest_hour: Option<Hour>,
    overdue: i64,
    pending: Option<Pending>,
    pending_mail: Option<PendingMail>,
    caught_up: Option<CaughtUp>,
    embedded: Embedded,
    copies: Both,
}

impl Proof {
    /// Looks at what is stored of these accounts.
    pub(super) async fn of(scope: &Scope, spec: &RetentionPolicySpec, accounts: &[TenantId]) -> Result<Self, Failure> {
        let context = &scope.context;
        let now = context.clock.now();
        let today = copenhagen_day(now);
        let (oldest, days) = context.keyring.oldest(accounts, today).await.map_err(Failure::Keyring)?;
        let (oldest_hour, hours) = context.keyring.oldest_hour(accounts, now).await.map_err(Failure::Keyring)?;
        let of_store = |error| Failure::Retention(crate::retention::Error::Store(error));
        let totals = journal::totals(&context.pool).await.map_err(of_store)?;
        let pending = store::pending(&context.pool, accounts, log_days(spec), today).await.map_err(of_store)?;
        let wal = context.keyring.wal_window().await.map_err(Failure::Keyring)?;
        let before = first_kept(now, kept_mail_hours(spec, &wal));
        let pending_mail = mail::pending(&context.pool, accounts, before, now).await.map_err(of_store)?;
        let caught_up = store::caught_up(&context.pool).await.map_err(of_store)?;
        let keyring = context.keyring.copies().await.map_err(Failure::Keyring)?;
        let data = backups::copies(&context.pool).await.map_err(|error| of_store(store::Error::Copies(error)))?;
        let embedded = context.embedded;
        let copies = Both { keyring, data }.seen(embedded);
        context.metrics.copies("keyring", &copies.keyring);
        context.metrics.copies("data", &copies.data);
        let last = context.retention.borrow().clone();
        let overdue = days + hours;
        let erased = Some(erased(&totals));
        Ok(Self { last, erased, oldest, oldest_hour, overdue, pending, pending_mail, caught_up, embedded, copies })
    }

    /// Whether what the policy promises is kept; `None` before that is known.
    pub(super) fn compliant(&self, spec: &RetentionPolicySpec, now: Timestamp) -> Option<Verdict> {
        let no = |reason, message| Some(Verdict::no(types::COMPLIANT, reason, message));
        // What the policy itself says cannot be kept is known from the spec alone.
        if let Some(message) = not_kept(spec) {
            return no(reasons::INVALID, message);
        }
        if let Some(error) = &self.last.failed {
            return no(reasons::OVERDUE, format!("not all that must be gone is gone: {error}"));
        }
        let run = self.last.run.as_ref()?;
        if now.duration_since(run.at) > HOUR {
            return no(reasons::OVERDUE, format!("nothing was looked at since {}", shown(run.at)));
        }
        if self.overdue > 0 {
            return no(reasons::OVERDUE, format!("{} keys that must be gone are not", self.overdue));
        }
        if let Some((reason, message)) = copies::wrong(spec, &self.copies, self.embedded, now) {
            return no(reason, message);
        }
        match &run.wal {
            WalWindow::Unbounded(setting) => no(
                reasons::INVALID,
                format!(
                    "the keyring's write-ahead log keeps destroyed keys{}: change {setting} of its server (archive_timeout = 1min, wal_recycle = off, wal_keep_size = 0, an archive_command that ends and succeeds, no replication slot)",
                    if spec.mail.keep_days > 0 { ", so that no copies of mail are kept" } else { "" }
                ),
            ),
            WalWindow::Bounded(seconds) if *seconds > WAL_SECONDS => no(
                reasons::INVALID,
                format!(
                    "the keyring's write-ahead log goes back {seconds} s: lower archive_timeout and checkpoint_timeout of its server to a sum under {WAL_SECONDS} s"
                ),
            ),
            WalWindow::Bounded(seconds) => match nothing_of_mail(spec, *seconds) {
                Some(message) => no(reasons::INVALID, message),
                None => {
                    let mut message = self.gone(now);
                    if let Some(exposed) = copies::exposed(&self.copies, self.embedded) {
                        message = format!("{message}; {exposed}");
                    }
                    Some(Verdict::yes(types::COMPLIANT, reasons::SUCCEEDED, message))
                }
            },
        }
    }

    /// That all is gone, and what was late.
    fn gone(&self, now: Timestamp) -> String {
        let late = self.caught_up.filter(|late| now.duration_since(late.at) < TOLD);
        let late = late.map(|late| format!("; days that were missed until {}: {}", shown(late.at), late.days));
        let (late, waiting) = (late.unwrap_or_default(), self.waiting().unwrap_or_default());
        format!("what must be gone is gone{late}{waiting}")
    }

    /// What keeps keys that would be gone otherwise.
    fn waiting(&self) -> Option<String> {
        let run = self.last.run.as_ref()?;
        let waiting = run.waiting + run.waiting_kept;
        (waiting > 0).then(|| {
            format!(
                "; {waiting} messages wait (scheduled, held or in a flight) under keys that would be gone otherwise: each ends before the \
                 date of its key"
            )
        })
    }

    /// When all that had to be gone was gone last. Told anew once an hour, or when something went: a status that changes with
    /// every run would wake whoever watches it.
    pub(super) fn last_run(&self, before: Option<&RetentionPolicyStatus>) -> Option<String> {
        let run = self.last.run.as_ref();
        let told = before.and_then(|status| Some((status.last_run.clone()?, status.erased == self.erased)));
        let recent = |told: &str| {
            let told = told.parse::<Timestamp>().ok();
            told.zip(run).is_none_or(|(told, run)| run.at.duration_since(told) < HOUR)
        };
        match told {
            Some((told, true)) if recent(&told) => Some(told),
            _ => run.map(|run| shown(run.at)),
        }
    }

    /// What waits to be erased since the policy was shortened.
    pub(super) fn pending(&self) -> Option<Verdict> {
        let waits = |count: i64, what: &str, tenants: i64, since: Timestamp, setting: &str| {
            let at = since.saturating_add(SignedDuration::from_hours(24)).unwrap_or(since);
            format!(
                "{count} {what} of {tenants} tenants are older than the policy now keeps them: they are erased at {} (write \
                 `eraseConfirmedBefore` to have them erased now, or `{setting}` as it was to keep them)",
                shown(at)
            )
        };
        let log = self.pending.as_ref();
        let log = log.map(|log| waits(log.entries, "log entries", log.tenants, log.since, "log.keep"));
        let mail = self.pending_mail.as_ref();
        let mail = mail.map(|mail| waits(mail.copies, "copies of mail", mail.tenants, mail.since, "mail.keepDays"));
        let all: Vec<String> = log.into_iter().chain(mail).collect();
        let verdict = || Verdict::yes(types::ERASURE_PENDING, reasons::PROGRESSING, all.join("; "));
        (!all.is_empty()).then(verdict)
    }

    /// What is kept, and until when.
    pub(super) fn classes(&self, spec: &RetentionPolicySpec) -> Vec<ClassStatus> {
        let log = log_days(spec);
        let queue = i32::try_from(queue_days(log.unsigned_abs())).unwrap_or(i32::MAX);
        let kept = [(Class::Inbound, log.max(1)), (Class::Log, log), (Class::Queue, queue)];
        let oldest = |class| self.oldest.iter().find(|(one, _)| *one == class).map(|(_, day)| Day(*day));
        let status = |(class, days): (Class, i32)| ClassStatus {
            class: class.as_str().to_owned(),
            oldest: oldest(class),
            days,
            hours: None,
        };
        kept.into_iter().map(status).chain(self.mail(spec)).collect()
    }

    /// Copies of mail, once it is known how long the keyring's write-ahead log goes back.
    fn mail(&self, spec: &RetentionPolicySpec) -> Option<ClassStatus> {
        let lives = i32::try_from(mail_hours(spec, &self.last.run.as_ref()?.wal)).ok()?;
        Some(ClassStatus {
            class: Class::Mail.as_str().to_owned(),
            oldest: self.oldest_hour.map(|hour| Day(copenhagen_day(hour.begins()))),
            days: lives / 24,
            hours: Some(lives % 24),
        })
    }
}

/// Which numbers leave nothing of the time that copies of mail are promised to be kept at most, so that none is (D3).
fn nothing_of_mail(spec: &RetentionPolicySpec, wal_seconds: i64) -> Option<String> {
    let (promise, backups) = (24 * u32::from(spec.mail.keep_days), spec.backups.keyring_keep_hours);
    let nothing = promise > 0 && mail_hours(spec, &WalWindow::Bounded(wal_seconds)) == 0;
    nothing.then(|| {
        format!(
            "no copies of mail are kept: of the {promise} hours of `mail.keepDays` the {backups} hours of `backups.keyringKeepHours` \
             and the {wal_seconds} s that the keyring's write-ahead log goes back leave nothing: lower `backups.keyringKeepHours`, \
             or write `mail.keepDays: 0`"
        )
    })
}

/// When something falls due next: the beginning of the next day.
pub(super) fn next_midnight(now: Timestamp) -> Timestamp {
    let tomorrow = copenhagen_day(now).saturating_add(1.day());
    tomorrow.in_tz("Europe/Copenhagen").map_or(now, |midnight| midnight.timestamp())
}

/// A time as status shows it: whole seconds.
pub(super) fn shown(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn erased(totals: &[(String, i64)]) -> ErasedStatus {
    let of = |what: journal::What| totals.iter().find(|(one, _)| one == what.as_str()).map_or(0, |(_, items)| *items);
    ErasedStatus {
        keys: of(journal::What::Keys),
        partitions: of(journal::What::Partition),
        entries: of(journal::What::Entries),
        messages: of(journal::What::Messages),
        accounts: of(journal::What::Account),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::retention::Run;

    fn spec() -> RetentionPolicySpec {
        serde_json::from_value(json!({
            "log": {"keep": {"months": 3}, "textCharacters": 160}, "mail": {"keepDays": 3}, "accounts": {"deleteAfterMonths": 3},
            "invoices": {"keepYears": 5}, "backups": {"keyringKeepHours": 24, "dataKeepDays": 30},
            "hosting": {"country": "DK", "location": "Aarhus", "provider": "Vert",
                        "declared": ["encryptedVolumes", "encryptedStandby", "encryptedExternalBackups"]},
        }))
        .expect("a policy")
    }

    fn now() -> Timestamp {
        "2026-03-30T10:00:00Z".parse().expect("a timestamp")
    }

    fn ran(minutes_ago: i64, wal: WalWindow) -> Proof {
        let at = now().saturating_sub(SignedDuration::from_mins(minutes_ago)).expect("near");
        let run = Run {
            at,
            keys: 0,
            partitions: 0,
            entries: 0,
            messages: 0,
            accounts: 0,
            waiting: 0,
            waiting_kept: 0,
            caught_up: 0,
            wal,
        };
        Proof { last: Last { run: Some(run), failed: None }, ..Proof::default() }
    }

    fn verdict(proof: &Proof) -> (bool, String) {
        let verdict = proof.compliant(&spec(), now()).expect("known");
        (verdict.holds, verdict.message)
    }

    #[test]
    fn a_policy_is_kept_when_all_of_it_is_shown() {
        let good = ran(5, WalWindow::Bounded(4_200));
        assert_eq!(verdict(&good), (true, "what must be gone is gone".to_owned()));
        assert!(Proof::default().compliant(&spec(), now()).is_none(), "not known yet");

        let cases = [
            (ran(61, WalWindow::Bounded(4_200)), "nothing was looked at since 2026-03-30T08:59:00Z"),
            (Proof { overdue: 2, ..good.clone() }, "2 keys that must be gone are not"),
            (ran(5, WalWindow::Unbounded("archive_timeout".to_owned())), "change archive_timeout of its server"),
            (ran(5, WalWindow::Bounded(90_000)), "goes back 90000 s"),
            (
                Proof { last: Last { failed: Some("a clock".to_owned()), ..good.last.clone() }, ..good },
                "not all that must be gone is gone: a clock",
            ),
        ];
        for (proof, part) in cases {
            let (holds, message) = verdict(&proof);
            assert!(!holds && message.contains(part), "{message}");
        }
    }

    #[test]
    fn messages_that_keep_their_keys_are_counted() {
        let mut proof = ran(5, WalWindow::Bounded(4_200));
        if let Some(run) = &mut proof.last.run {
            (run.waiting, run.waiting_kept) = (1, 2);
        }
        let (holds, message) = verdict(&proof);
        assert!(holds && message.contains("; 3 messages wait (scheduled, held or in a flight)"), "{message}");
    }

    #[test]
    fn days_that_were_missed_are_told_for_a_month() {
        let proof = |days_ago: i64| {
            let at = now().saturating_sub(SignedDuration::from_hours(24 * days_ago)).expect("near");
            Proof { caught_up: Some(CaughtUp { days: 7, at }), ..ran(5, WalWindow::Bounded(4_200)) }
        };
        let (holds, message) = verdict(&proof(1));
        assert!(holds);
        assert_eq!(message, "what must be gone is gone; days that were missed until 2026-03-29T10:00:00Z: 7");
        assert_eq!(verdict(&proof(30)).1, "what must be gone is gone");
    }

    #[test]
    fn copies_of_mail_need_a_time_that_backups_and_log_leave_them() {
        let with = |keep_days: u8, keyring_hours: u16| {
            let mut spec = spec();
            (spec.mail.keep_days, spec.backups.keyring_keep_hours) = (keep_days, keyring_hours);
            spec
        };
        let proof = ran(5, WalWindow::Bounded(4_200));
        for (spec, left) in
            [(with(3, 24), (1, 22)), (with(3, 69), (0, 1)), (with(1, 21), (0, 1)), (with(0, 71), (0, 0))]
        {
            assert!(proof.compliant(&spec, now()).is_some_and(|verdict| verdict.holds));
            let mail = proof.classes(&spec).pop().expect("classes");
            assert_eq!((mail.class.as_str(), mail.days, mail.hours), ("mail", left.0, Some(left.1)));
        }
        for spec in [with(3, 70), with(1, 22)] {
            let verdict = proof.compliant(&spec, now()).expect("known");
            let numbers = format!("the {} hours of `backups.keyringKeepHours`", spec.backups.keyring_keep_hours);
            assert!(
                !verdict.holds && verdict.message.contains(&numbers) && verdict.message.contains("4200 s"),
                "{}",
                verdict.message
            );
        }
    }

    #[test]
    fn a_status_is_not_written_for_every_run() {
        let told = |proof: &Proof, last_run: &str, keys| {
            let erased = Some(ErasedStatus { keys, ..ErasedStatus::default() });
            let before = RetentionPolicyStatus { last_run: Some(last_run.to_owned()), erased, ..Default::default() };
            proof.last_run(Some(&before))
        };
        let proof = Proof { erased: Some(ErasedStatus::default()), ..ran(5, WalWindow::Bounded(4_200)) };
        let (present, old) = ("2026-03-30T09:55:00Z", "2026-03-30T08:55:00Z");
        assert_eq!(told(&proof, "2026-03-30T09:00:00Z", 0).as_deref(), Some("2026-03-30T09:00:00Z"));
        assert_eq!(told(&proof, old, 0).as_deref(), Some(present), "an hour ago");
        assert_eq!(told(&proof, "2026-03-30T09:00:00Z", 1).as_deref(), Some(present), "something went");
        assert_eq!(proof.last_run(None).as_deref(), Some(present));
    }

    #[test]
    fn things_fall_due_with_the_day_also_when_clocks_change() {
        for (now, midnight) in [
            ("2026-03-28T23:30:00Z", "2026-03-29T22:00:00Z"),
            ("2026-10-24T22:30:00Z", "2026-10-25T23:00:00Z"),
            ("2026-11-24T19:00:00Z", "2026-11-24T23:00:00Z"),
        ] {
            assert_eq!(shown(next_midnight(now.parse().expect("a timestamp"))), midnight);
        }
    }

    #[test]
    fn what_waits_to_be_erased_is_counted_and_dated() {
        let pending = Pending { tenants: 2, entries: 1_234, since: now() };
        let verdict = Proof { pending: Some(pending), ..Proof::default() }.pending().expect("it waits");
        assert!(verdict.holds && verdict.message.starts_with("1234 log entries of 2 tenants"), "{}", verdict.message);
        assert!(verdict.message.contains("at 2026-03-31T10:00:00Z"), "{}", verdict.message);
    }
}
