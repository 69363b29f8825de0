//! What was measured: tables for people, and a summary for programs.
use serde_json::{Map, Value, json};

use super::cpu::Spent;
use super::load::Accepted;
use crate::summary;

/// What one gateway did with so many messages.
pub(crate) struct Run {
    pub(crate) accepted: Accepted,
    pub(crate) messages: usize,
    /// From the first call until the last receipt was stored, or the last call was answered where nothing is sent.
    pub(crate) seconds: f64,
    pub(crate) spent: Spent,
    /// Most memory of each process, by role, MiB.
    pub(crate) memory: Vec<(&'static str, f64)>,
}

impl Run {
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    fn row(&self, name: &str) -> String {
        let memory: Vec<String> = self.memory.iter().map(|(role, mib)| format!("{role} {mib:.0}")).collect();
        let [p50, p99, p99_9] = [500, 990, 999].map(|of| self.accepted.at(of));
        format!(
            "| {name}, {} messages | {:.0} | {p50:.1} / {p99:.1} / {p99_9:.1} | {:.0} | {:.2} | {} |",
            self.messages,
            self.accepted.rate(),
            self.rate(),
            self.spent.machine.seconds() / self.messages as f64 * 1000.0,
            memory.join(", ")
        )
    }
}

/// Grows with every part; what there is is in the summary at once, so that no failure of a later part loses it.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) values: Map<String, Value>,
    runs: Vec<String>,
}

impl Report {
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.values.insert(key.to_owned(), value.into());
        summary::merge(&self.values);
    }

    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        self.values.get(key).and_then(Value::as_f64)
    }

    /// Enters a run: its rate under `key`, its CPU beside it.
    pub(crate) fn run(&mut self, name: &str, key: &str, cpu: &str, run: &Run) {
        self.runs.push(run.row(name));
        println!("{}\n", run.spent.table(name, run.messages));
        let [p50, p99, p99_9] = [500, 990, 999].map(|of| rounded(run.accepted.at(of)));
        self.set(key, run.rate().round());
        self.set(cpu, run.spent.json(run.messages));
        let name = key.trim_end_matches("_per_s");
        self.set(&format!("{name}_messages"), run.messages);
        self.set(&format!("{name}_accepted_per_s"), run.accepted.rate().round());
        self.set(&format!("{name}_answer_ms"), json!({"p50": p50, "p99": p99, "p99_9": p99_9}));
    }

    /// One figure divided by another, where both were measured now.
    pub(crate) fn ratio(&mut self, key: &str, of: &str, by: &str) {
        if let (Some(of), Some(by)) = (self.number(of), self.number(by)) {
            self.set(key, rounded(of / by));
        }
    }

    /// A row a run.
    pub(crate) fn table(&self) -> String {
        let head = "| gateway | accepted/s | p50 / p99 / p99.9, ms | done/s | CPU s per 1,000 | peak memory, MiB |";
        [&[head.to_owned(), "|---|---|---|---|---|---|".to_owned()][..], &self.runs].concat().join("\n")
    }
}

pub(crate) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
