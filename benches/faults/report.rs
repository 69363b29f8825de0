//! What came of a run: JSON under the target directory, and tables for `docs/reliability.md`.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::account::{Check, Doubles};
use super::inject::Event;
use super::recovery::Recovery;

pub(crate) struct Report<'a> {
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    pub(crate) accepted: usize,
    pub(crate) submits: usize,
    pub(crate) released: usize,
    pub(crate) again: &'a BTreeMap<String, u64>,
    pub(crate) journal: &'a [Event],
    pub(crate) doubles: &'a Doubles,
    pub(crate) recoveries: &'a [Recovery],
    pub(crate) checks: &'a [Check],
}

impl Report<'_> {
    fn faults(&self) -> BTreeMap<String, (u64, u64)> {
        let mut faults = BTreeMap::<String, (u64, u64)>::new();
        for event in self.journal {
            faults.entry(event.fault.to_string()).or_default().0 += 1;
        }
        for (fault, doubles) in &self.doubles.by_fault {
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
        json!({
            "seed": self.seed, "seconds": self.seconds.round(), "faults": self.journal.len(),
            "accepted": self.accepted, "submits": self.submits, "released": self.released, "again": self.again,
            "by_fault": self.faults().into_iter().map(|(fault, (count, doubles))| (fault, json!({"count": count, "duplicates": doubles})))
                .collect::<BTreeMap<_, _>>(),
            "duplicates": self.doubles.found, "duplicates_at_most": self.doubles.bound,
            "unexplained": self.doubles.unexplained,
            "recovery": recoveries.collect::<BTreeMap<_, _>>(),
            "checks": checks.collect::<Vec<_>>(),
            "holds": self.checks.iter().all(|check| check.holds),
        })
    }

    /// In Markdown.
    pub(crate) fn tables(&self) -> String {
        let mut lines = vec!["| what must hold | holds | figures |".to_owned(), "|---|---|---|".to_owned()];
        let mark = |holds| if holds { "yes" } else { "**no**" };
        lines.extend(
            self.checks.iter().map(|check| format!("| {} | {} | {} |", check.what, mark(check.holds), check.figures)),
        );
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

    pub(crate) fn write(&self) {
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        let directory = std::path::Path::new(&target).join("bench");
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join("faults.json"), format!("{:#}\n", self.json())).expect("the result");
    }
}
