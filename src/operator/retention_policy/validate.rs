//! What a policy must be beyond its schema, and how it reads for enforcement.
use crate::crd::RetentionPolicySpec;
use crate::crd::retentionpolicy::{Keep, Safeguard};

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
    use serde_json::json;

    use super::*;

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
