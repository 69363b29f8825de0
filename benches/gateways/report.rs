//! What was measured: tables for people, and a summary for programs. How fast a machine is changes by itself, so what is to be compared
//! is measured in rounds, each of which has all of it once: a figure is the median of its rounds, a share the median of the rounds' shares.
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

/// The runs of one thing, a round each.
struct Rounds {
    name: String,
    key: String,
    runs: Vec<Run>,
}

impl Rounds {
    fn rates(&self) -> Vec<f64> {
        self.runs.iter().map(Run::rate).collect()
    }

    /// The run whose rate is the median, the lower one of two.
    fn middle(&self) -> &Run {
        let mut sorted: Vec<&Run> = self.runs.iter().collect();
        sorted.sort_by(|one, other| one.rate().total_cmp(&other.rate()));
        sorted[(sorted.len() - 1) / 2]
    }
}

/// Grows with every part; what there is is in the summary at once, so that no failure of a later part loses it.
pub(crate) struct Report {
    pub(crate) values: Map<String, Value>,
    rounds: Vec<Rounds>,
    /// It goes into the summary.
    written: bool,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(written: bool) -> Self {
        Self { values: Map::new(), rounds: Vec::new(), written }
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

    /// Enters a run: the rate of its kind under `key`, its CPU beside it.
    pub(crate) fn run(&mut self, name: &str, key: &str, cpu: &str, run: Run) {
        println!("{}\n\n{}\n", run.row(name), run.spent.table(name, run.messages));
        let at = self.rounds.iter().position(|rounds| rounds.key == key).unwrap_or_else(|| {
            self.rounds.push(Rounds { name: name.to_owned(), key: key.to_owned(), runs: Vec::new() });
            self.rounds.len() - 1
        });
        let rounds = &mut self.rounds[at];
        rounds.runs.push(run);
        let name = key.trim_end_matches("_per_s");
        let middle = rounds.middle();
        let mut values = vec![
            (key.to_owned(), middle.rate().round().into()),
            (cpu.to_owned(), middle.spent.json(middle.messages)),
            (format!("{name}_messages"), middle.messages.into()),
            (format!("{name}_rounds"), rounds.rates().into_iter().map(f64::round).collect()),
        ];
        if let (Some(rate), Some([p50, p99, p99_9])) = (middle.accepted(), middle.answers()) {
            values.push((format!("{name}_accepted_per_s"), rate.round().into()));
            values.push((format!("{name}_answer_ms"), json!({"p50": p50, "p99": p99, "p99_9": p99_9})));
        }
        values.into_iter().for_each(|(key, value)| self.set(&key, value));
    }

    /// One rate divided by another, round by round, where both were measured.
    pub(crate) fn ratio(&mut self, key: &str, of: &str, by: &str) {
        let rates = |key| Some(self.rounds.iter().find(|rounds| rounds.key == key)?.rates());
        let (Some(of), Some(by)) = (rates(of), rates(by)) else { return };
        let mut ratios: Vec<f64> = of.iter().zip(&by).map(|(of, by)| of / by).collect();
        ratios.sort_by(f64::total_cmp);
        self.set(key, rounded(ratios[(ratios.len() - 1) / 2]));
        self.set(&format!("{key}_rounds"), of.iter().zip(&by).map(|(of, by)| rounded(of / by)).collect::<Vec<_>>());
    }

    /// A row for each kind of run, if there were any, and an empty line.
    pub(crate) fn table(&self) -> String {
        if self.rounds.is_empty() {
            return String::new();
        }
        let head = "| gateway | accepted/s | p50 / p99 / p99.9, ms | done/s | CPU s per 1,000 | peak memory, MiB |";
        let rows = self.rounds.iter().map(|rounds| rounds.middle().row(&rounds.name));
        [head.to_owned(), "|---|---|---|---|---|---|".to_owned()]
            .into_iter()
            .chain(rows)
            .chain(["\n".to_owned()])
            .collect::<Vec<_>>()
            .join("\n")
    }
}

pub(crate) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
