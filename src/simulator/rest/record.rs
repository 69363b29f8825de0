//! What the REST API remembers: all of it bounded.
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::callback::CallbackStats;

/// A batch as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// `mt_text` or `mt_binary`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The sender.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
    /// Text, or base64 of octets.
    pub body: String,
    /// A header, in hexadecimal.
    #[serde(default)]
    pub udh: Option<String>,
    /// Which reports are wanted.
    pub delivery_report: String,
    /// When it is too late.
    #[serde(default)]
    pub expire_at: Option<String>,
    /// What stands for `${key}` in the body, by recipient or `default`.
    #[serde(default)]
    pub parameters: BTreeMap<String, BTreeMap<String, String>>,
}

impl Batch {
    /// The text as a recipient has it; `None` where a parameter has no value for it.
    #[must_use]
    pub fn text(&self, to: &str) -> Option<String> {
        let (mut text, mut rest) = (String::new(), self.body.as_str());
        while let Some((before, after)) = rest.split_once("${") {
            let (key, after) = after.split_once('}')?;
            let values = self.parameters.get(key)?;
            text.extend([before, values.get(to).or_else(|| values.get("default"))?.as_str()]);
            rest = after;
        }
        text.push_str(rest);
        Some(text)
    }
}

/// One call for a batch, as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// Counted from 0.
    pub number: u64,
    /// When, in Unix milliseconds.
    pub at_ms: i64,
    /// What was asked.
    pub batch: Batch,
    /// The status of the answer; `None` when there was none.
    pub status: Option<u16>,
    /// The id of the answer.
    pub id: Option<String>,
}

/// The counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RestStats {
    /// Calls for a batch.
    pub calls: u64,
    /// Calls at work now.
    pub at_once: usize,
    /// The most that were at work at once.
    pub most_at_once: usize,
    /// Calls without the plan's token.
    pub unauthorized: u64,
    /// Questions whether it is there.
    pub probes: u64,
    /// Messages that were accepted: one a recipient.
    pub accepted: u64,
    /// Calls that were throttled.
    pub throttled: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Calls that were not answered.
    pub stalled: u64,
    /// What became of callbacks.
    pub callbacks: CallbackStats,
}

/// The memory itself.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) stats: RestStats,
    calls: VecDeque<Call>,
    most: usize,
    /// When the messages of the last second came.
    second: VecDeque<Instant>,
}

impl Record {
    pub(super) fn new(most: usize) -> Self {
        Self { stats: RestStats::default(), calls: VecDeque::new(), most, second: VecDeque::new() }
    }

    /// Counts so many messages; gives how many the last second holds, these included.
    pub(super) fn came(&mut self, messages: usize) -> usize {
        let now = Instant::now();
        while self.second.front().is_some_and(|then| now.duration_since(*then) >= Duration::from_secs(1)) {
            self.second.pop_front();
        }
        self.second.extend(std::iter::repeat_n(now, messages));
        self.second.len()
    }

    pub(super) fn keep(&mut self, call: Call) {
        if self.most == 0 {
            return;
        }
        if self.calls.len() >= self.most {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }

    pub(super) fn since(&self, number: u64) -> Vec<Call> {
        let first = self.calls.partition_point(|call| call.number < number);
        self.calls.range(first..).take(10_000).cloned().collect()
    }
}
