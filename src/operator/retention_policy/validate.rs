//! What a policy must be beyond its schema, and how it reads for enforcement.
use crate::crd::RetentionPolicySpec;
use crate::crd::retentionpolicy::{Keep, Safeguard};
use crate::domain::period;
use crate::keyring::WalWindow;

/// What must be written instead, where a policy cannot be kept.
pub(in crate::operator) fn validate(spec: &RetentionPolicySpec) -> Result<(), String> {
    if spec.log.keep != Keep::Days(0) && log_days(spec) == 0 {
        return Err(
            "keys of the log would be gone before their first use: write a `backups.keyringKeepHours` under 24 times \
                    the days of `log.keep`"
                .to_owned(),
        );
    }
    Ok(())
}

/// Days from accept to the destruction of the log's key: so much before the promise ends as the keyring's own backups
/// are kept (D2). A calendar month counts as its shortest form.
pub(in crate::operator) fn log_days(spec: &RetentionPolicySpec) -> i32 {
    let promised = match spec.log.keep {
        Keep::Months(1) => 28,
        Keep::Months(2) => 59,
        Keep::Months(_) => 89,
        Keep::Days(days) => i32::from(days),
    };
    let backups = i32::from(spec.backups.keyring_keep_hours.div_ceil(24));
    (promised - backups).max(0)
}

/// For how many hours the key of an hour's copies of mail lives; 0: none is kept (D3).
pub(in crate::operator) fn mail_hours(spec: &RetentionPolicySpec, wal: &WalWindow) -> u32 {
    match wal {
        WalWindow::Bounded(seconds) => {
            let seconds = u32::try_from(*seconds).unwrap_or(u32::MAX);
            period::mail_hours(spec.mail.keep_days.into(), spec.backups.keyring_keep_hours.into(), seconds)
        }
        // A key that is destroyed would stay in the log: `Compliant` says which setting is to blame.
        WalWindow::Unbounded(_) => 0,
    }
}

/// For how many hours copies of mail that are there already are kept: none where nothing is logged for anybody (D3, D4).
pub(in crate::operator) fn kept_mail_hours(spec: &RetentionPolicySpec, wal: &WalWindow) -> u32 {
    let nothing_is_logged = spec.opt_out.as_ref().and_then(|opt| opt.always) == Some(true);
    if nothing_is_logged { 0 } else { mail_hours(spec, wal) }
}

/// Which part of D8 the policy itself says is not kept.
pub(super) fn not_kept(spec: &RetentionPolicySpec) -> Option<String> {
    let hosting = &spec.hosting;
    let mut missing = Vec::new();
    if hosting.country.0 != "DK" {
        missing.push(format!("data is hosted in {}, not in Denmark", hosting.country));
    }
    for (safeguard, text) in [
        (Safeguard::EncryptedVolumes, "volumes are not declared to be encrypted"),
        (Safeguard::EncryptedStandby, "no encrypted hot standby is declared"),
        (Safeguard::EncryptedExternalBackups, "no encrypted external backups are declared"),
    ] {
        if !hosting.declared.contains(&safeguard) {
            missing.push(text.to_owned());
        }
    }
    (!missing.is_empty()).then(|| format!("D8 is not kept: {}", missing.join("; ")))
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use jiff::civil::date;
    use serde_json::json;

    use super::*;
    use crate::domain::copenhagen_midnight;

    fn policy(keep: &serde_json::Value, keyring_hours: u16) -> RetentionPolicySpec {
        serde_json::from_value(json!({
            "log": {"keep": keep, "textCharacters": 160}, "mail": {"keepDays": 3}, "accounts": {"deleteAfterMonths": 3},
            "invoices": {"keepYears": 5}, "backups": {"keyringKeepHours": keyring_hours, "dataKeepDays": 30},
            "hosting": {"country": "DK", "location": "Aarhus", "provider": "Vert", "declared": ["encryptedVolumes"]},
        }))
        .expect("a policy")
    }

    #[test]
    fn keys_go_so_early_that_their_backups_go_in_time() {
        assert_eq!(log_days(&policy(&json!({"months": 3}), 0)), 89);
        assert_eq!(log_days(&policy(&json!({"months": 1}), 25)), 26);
        assert_eq!(log_days(&policy(&json!({"days": 10}), 71)), 7);
        assert_eq!(log_days(&policy(&json!({"days": 0}), 71)), 0);
    }

    #[test]
    fn a_log_is_gone_from_everywhere_by_the_end_of_its_last_day_whatever_the_calendar() {
        let hours = |count: i64| jiff::SignedDuration::from_hours(count);
        // The longest log that counts as kept, and a run that comes as late as is still shown as kept.
        let after =
            jiff::SignedDuration::from_secs(super::super::proof::WAL_SECONDS).checked_add(hours(1)).expect("short");
        let days = date(2025, 1, 1).series(1.day()).take_while(|day| *day < date(2029, 1, 1));
        for day in days {
            for keyring_hours in [0, 1, 23, 24, 25, 47, 48, 49, 71] {
                for keep in [json!({"months": 1}), json!({"months": 2}), json!({"months": 3}), json!({"days": 10})] {
                    let policy = policy(&keep, keyring_hours);
                    let promised = match policy.log.keep {
                        Keep::Months(months) => day.saturating_add(i32::from(months).months()),
                        Keep::Days(days) => day.saturating_add(i32::from(days).days()),
                    };
                    let end = copenhagen_midnight(promised.saturating_add(1.day()));
                    let destroyed = copenhagen_midnight(period::gone_on(day, log_days(&policy).unsigned_abs()));
                    let gone = destroyed + after + hours(keyring_hours.into());
                    assert!(gone <= end, "{day}, {keep}, {keyring_hours} h: {gone} and not {end}");
                }
            }
        }
    }

    #[test]
    fn no_copy_of_mail_is_kept_where_the_log_keeps_its_key() {
        let policy = policy(&json!({"months": 3}), 24);
        assert_eq!(mail_hours(&policy, &WalWindow::Bounded(4_200)), 46);
        assert_eq!(mail_hours(&policy, &WalWindow::Unbounded("archive_timeout".to_owned())), 0);
    }

    #[test]
    fn a_policy_that_could_not_be_kept_is_refused() {
        assert!(validate(&policy(&json!({"days": 4}), 71)).is_ok());
        assert!(validate(&policy(&json!({"days": 3}), 71)).is_err());
        assert!(validate(&policy(&json!({"days": 0}), 71)).is_ok(), "nothing is logged, so nothing is left");
    }

    #[test]
    fn what_is_not_declared_is_named() {
        let message = not_kept(&policy(&json!({"days": 4}), 0)).expect("two are missing");
        assert_eq!(
            message,
            "D8 is not kept: no encrypted hot standby is declared; no encrypted external backups are declared"
        );
    }
}
