//! Names and labels of everything the operator makes.
use std::collections::BTreeMap;

use aws_lc_rs::digest;

/// Selects what the operator made.
pub(super) const MANAGED: &str = "app.kubernetes.io/managed-by=budstikke-operator";
/// Selects everything else.
pub(super) const NOT_MANAGED: &str = "app.kubernetes.io/managed-by!=budstikke-operator";
/// Which Tenant something is for.
pub(super) const TENANT: &str = "budstikke.dev/tenant";
/// Which SmsRoute something is for.
pub(super) const ROUTE: &str = "budstikke.dev/route";
/// True on an object that is to be left alone.
pub(super) const PAUSED: &str = "budstikke.dev/paused";

/// The longest name that a Service, and the longest text that a label, may have.
const LONGEST: usize = 63;

/// What selects the pods of one Tenant or SmsRoute; never changes.
pub(super) fn selector(component: &str, (label, name): (&str, &str)) -> BTreeMap<String, String> {
    [("app.kubernetes.io/name", "budstikke"), ("app.kubernetes.io/component", component), (label, &short(name))]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// All labels of what is made for one Tenant or SmsRoute.
pub(super) fn all(component: &str, owner: (&str, &str)) -> BTreeMap<String, String> {
    let mut labels = selector(component, owner);
    labels.insert("app.kubernetes.io/managed-by".to_owned(), "budstikke-operator".to_owned());
    labels
}

/// The name of a child: `<prefix>-<name>`, or a shortened one that no other object shares.
pub(super) fn child(prefix: &str, name: &str) -> String {
    short(&format!("{prefix}-{name}"))
}

/// Names of objects may hold dots and 253 characters; Services and labels take fewer.
pub(super) fn short(name: &str) -> String {
    if name.len() <= LONGEST && !name.contains('.') {
        return name.to_owned();
    }
    let hash = digest::digest(&digest::SHA256, name.as_bytes());
    let hash: String = hash.as_ref().iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    let kept: String = name.chars().take(LONGEST - 11).map(|c| if c == '.' { '-' } else { c }).collect();
    format!("{}-{hash}", kept.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_kept_and_others_stay_apart() {
        assert_eq!(child("sender", "acme"), "sender-acme");
        let long = "a".repeat(80);
        let (one, two) = (child("sender", &long), child("sender", &format!("{long}b")));
        assert!(one.len() <= LONGEST && two.len() <= LONGEST);
        assert_ne!(one, two);
        assert_ne!(child("sender", "a.b"), child("sender", "a-b"));
        assert!(!child("sender", "a.b").contains('.'));
    }
}
