//! What was measured: tables for people, and a summary for programs.
use serde_json::{Map, Value, json};

use super::cpu::Spent;
use super::load::Accepted;
use crate::summary;

/// What one gateway did with so many messages.
pub(crate) struct Run {
    /// The calls, where it was calls that were measured.
    pub(crate) accepted: Option<Accepted>,
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

    /// Accepted messages a second.
    fn accepted(&self) -> Option<f64> {
        self.accepted.as_ref().map(|accepted| self.messages as f64 / accepted.seconds())
    }

    /// How long calls took, milliseconds: half of them, 99 % and 99.9 % no longer.
    fn answers(&self) -> Option<[f64; 3]> {
        self.accepted.as_ref().map(|accepted| [500, 990, 999].map(|of| rounded(accepted.at(of))))
    }

    fn row(&self, name: &str) -> String {
        let memory: Vec<String> = self.memory.iter().map(|(role, mib)| format!("{role} {mib:.0}")).collect();
        let accepted = self.accepted().map_or(String::new(), |rate| format!("{rate:.0}"));
        let answers = self.answers().map_or(String::new(), |of| of.map(|took| format!("{took:.1}")).join(" / "));
        format!(
            "| {name}, {} messages | {accepted} | {answers} | {:.0} | {:.2} | {} |",
            self.messages,
            self.rate(),
            self.spent.machine.seconds() / self.messages as f64 * 1000.0,
            memory.join(", ")
        )
    }
}

/// Grows with every part; what there is is in the summary at once, so that no failure of a later part loses it.
pub(crate) struct Report {
    pub(crate) values: Map<String, Value>,
    runs: Vec<String>,
    /// It goes into the summary.
    written: bool,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(written: bool) -> Self {
        Self { values: Map::new(), runs: Vec::new(), written }
    }

    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.values.insert(key.to_owned(), value.into());
        if self.written {
            summary::merge(&self.values);
        }
    }

    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        self.values.get(key).and_then(Value::as_f64)
    }

    /// Enters a run: its rate under `key`, its CPU beside it.
    pub(crate) fn run(&mut self, name: &str, key: &str, cpu: &str, run: &Run) {
        self.runs.push(run.row(name));
        println!("{}\n", run.spent.table(name, run.messages));
        self.set(key, run.rate().round());
        self.set(cpu, run.spent.json(run.messages));
        let name = key.trim_end_matches("_per_s");
        self.set(&format!("{name}_messages"), run.messages);
        if let (Some(rate), Some([p50, p99, p99_9])) = (run.accepted(), run.answers()) {
            self.set(&format!("{name}_accepted_per_s"), rate.round());
            self.set(&format!("{name}_answer_ms"), json!({"p50": p50, "p99": p99, "p99_9": p99_9}));
        }
    }

    /// One figure divided by the largest of others, where all were measured now.
    pub(crate) fn ratio(&mut self, key: &str, of: &str, by: &[&str]) {
        let largest = by.iter().map(|by| self.number(by)).collect::<Option<Vec<_>>>();
        let largest = largest.and_then(|by| by.into_iter().reduce(f64::max));
        if let (Some(of), Some(by)) = (self.number(of), largest) {
            self.set(key, rounded(of / by));
        }
    }

    /// A row a run, if there were any, and an empty line.
    pub(crate) fn table(&self) -> String {
        if self.runs.is_empty() {
            return String::new();
        }
        let head = "| gateway | accepted/s | p50 / p99 / p99.9, ms | done/s | CPU s per 1,000 | peak memory, MiB |";
        [&[head.to_owned(), "|---|---|---|---|---|---|".to_owned()][..], &self.runs, &["\n".to_owned()]]
            .concat()
            .join("\n")
    }
}

pub(crate) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
