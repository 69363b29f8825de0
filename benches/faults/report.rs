//! What came of a run: JSON under the target directory, and tables for `docs/reliability.md`.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use budstikke::config::sender::CrashPolicy;

use super::account::{Account, Check};
use super::doubles::{Doubles, RELEASE};
use super::inject::Event;
use super::recovery::Recovery;

pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    pub(crate) submits: usize,
    pub(crate) again: BTreeMap<String, u64>,
    /// By tenant, as accounts and duplicates are.
    pub(crate) policies: Vec<CrashPolicy>,
    pub(crate) journal: Vec<Event>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) doubles: Vec<Doubles>,
    pub(crate) recoveries: Vec<Recovery>,
    pub(crate) checks: Vec<Check>,
}

impl Report {
    /// Whether all holds.
    pub(crate) fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    /// How often each went wrong, and how many duplicates lie near.
    fn faults(&self) -> BTreeMap<String, (u64, u64)> {
        let mut faults = BTreeMap::<String, (u64, u64)>::new();
        for event in &self.journal {
            faults.entry(event.fault.to_string()).or_default().0 += 1;
        }
        let released = self.accounts.iter().map(|account| account.released).sum::<usize>();
        faults.insert(RELEASE.to_owned(), (u64::try_from(released).expect("few"), 0));
        for (fault, doubles) in self.doubles.iter().flat_map(|doubles| &doubles.by_fault) {
            faults.entry(fault.clone()).or_default().1 += doubles;
        }
        faults
    }

    pub(crate) fn json(&self) -> Value {
        let recoveries = self.recoveries.iter().map(|recovery| {
            (
                recovery.victim.to_string(),
                json!({"median_ms": recovery.median(), "max_ms": recovery.most(), "rounds": recovery.millis.len()}),
            )
        });
        let checks =
            self.checks.iter().map(|check| json!({"what": check.what, "holds": check.holds, "figures": check.figures}));
        let total: Account = self.accounts.iter().copied().sum();
        let tenants = self.accounts.iter().zip(&self.policies).map(|(account, policy)| {
            json!({
                "policy": policy.as_str(), "accepted": account.accepted, "delivered": account.delivered,
                "released": account.released, "given_up": account.given_up, "submits": account.submits,
                "duplicates": account.doubles, "duplicates_at_most": account.bound,
            })
        });
        let by_fault = self.faults().into_iter();
        let by_fault =
            by_fault.map(|(fault, (count, doubles))| (fault, json!({"count": count, "duplicates": doubles})));
        let unexplained: Vec<&String> = self.doubles.iter().flat_map(|doubles| &doubles.unexplained).collect();
        json!({
            "seed": self.seed, "seconds": self.seconds.round(), "faults": self.journal.len(),
            "accepted": total.accepted, "submits": self.submits, "released": total.released, "again": self.again,
            "tenants": tenants.collect::<Vec<_>>(), "by_fault": by_fault.collect::<BTreeMap<_, _>>(),
            "duplicates": total.doubles, "duplicates_at_most": Doubles::bound(&self.doubles, &self.journal),
            "unexplained": unexplained,
            "recovery": recoveries.collect::<BTreeMap<_, _>>(),
            "checks": checks.collect::<Vec<_>>(),
            "holds": self.holds(),
        })
    }

    /// In Markdown.
    pub(crate) fn tables(&self) -> String {
        let mut lines = vec!["| what must hold | holds | figures |".to_owned(), "|---|---|---|".to_owned()];
        let mark = |holds| if holds { "yes" } else { "**no**" };
        lines.extend(
            self.checks.iter().map(|check| format!("| {} | {} | {} |", check.what, mark(check.holds), check.figures)),
        );
        lines.extend(self.tenants());
        lines.extend(["".to_owned(), "| fault | times | duplicates after it |".to_owned(), "|---|---|---|".to_owned()]);
        lines
            .extend(self.faults().iter().map(|(fault, (count, doubles))| format!("| {fault} | {count} | {doubles} |")));
        lines.extend([
            "".to_owned(),
            "| kill -9 of | times | median | max |".to_owned(),
            "|---|---|---|---|".to_owned(),
        ]);
        lines.extend(self.recoveries.iter().map(|recovery| {
            format!(
                "| {} | {} | {} ms | {} ms |",
                recovery.victim,
                recovery.millis.len(),
                recovery.median(),
                recovery.most()
            )
        }));
        lines.join("\n")
    }

    fn tenants(&self) -> impl Iterator<Item = String> {
        let head = [
            "",
            "| tenant | crash policy | accepted | delivered | released | given up | submits | duplicates | at most |",
            "|---|---|---|---|---|---|---|---|---|",
        ];
        let rows = self.accounts.iter().zip(&self.policies).enumerate().map(|(tenant, (account, policy))| {
            let Account { accepted, delivered, released, given_up, submits, doubles, bound, .. } = account;
            format!(
                "| {tenant} | `{}` | {accepted} | {delivered} | {released} | {given_up} | {submits} | {doubles} | {bound} |",
                policy.as_str()
            )
        });
        head.into_iter().map(str::to_owned).chain(rows)
    }

    #[allow(dead_code, reason = "the short run is not reported")]
    pub(crate) fn write(&self) {
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        let directory = std::path::Path::new(&target).join("bench");
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join("faults.json"), format!("{:#}\n", self.json())).expect("the result");
    }
}
