//! What the SMSC remembers, so that tests can count duplicates and measure rates: all of it bounded.
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::domain::{Clock as _, SystemClock};

/// Systems told apart in the statistics; more are counted together as `other`.
const SYSTEMS: usize = 1_000;
/// Seconds of the recent series.
const SECONDS: usize = 120;

/// One submit as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Submit {
    /// Counted from 0.
    pub number: u64,
    /// When, in Unix milliseconds.
    pub at_ms: i64,
    /// By whom.
    pub system_id: String,
    /// source_addr.
    pub source: String,
    /// destination_addr.
    pub destination: String,
    /// esm_class.
    pub esm_class: u8,
    /// data_coding.
    pub data_coding: u8,
    /// registered_delivery.
    pub registered_delivery: u8,
    /// short_message, or message_payload without one, in hexadecimal.
    pub short_message: String,
    /// Tags of its TLVs.
    pub tlvs: Vec<u16>,
    /// It is on its way to the recipient, whether that was answered or not.
    pub taken: bool,
    /// The status of the answer; `None` when there was none.
    pub status: Option<u32>,
    /// The message id of the answer.
    pub message_id: Option<String>,
}

/// The SMSC's counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Binds now.
    pub binds: usize,
    /// Binds ever taken.
    pub bound: u64,
    /// Binds ever refused.
    pub binds_refused: u64,
    /// Submits that came.
    pub submitted: u64,
    /// Submits that were accepted.
    pub accepted: u64,
    /// Submits that were throttled.
    pub throttled: u64,
    /// Submits that were refused.
    pub refused: u64,
    /// Submits that met garbage.
    pub garbled: u64,
    /// Submits that were not answered.
    pub stalled: u64,
    /// Submits that wait for their answers now, on all binds.
    pub unanswered: usize,
    /// The most submits that any second held for certain, wherever it began. What came while nothing was read, since this
    /// machine was busy elsewhere, may have come at any moment of that time: see `Record::awake`.
    pub busiest_second: usize,
    /// Submits in each of the last 120 seconds, the present one last.
    pub submitted_per_second: Vec<u64>,
    /// Receipts and inbound messages that were taken by a receiver.
    pub delivered: u64,
    /// Of these, receipts.
    pub receipts_sent: u64,
    /// Receipts and inbound messages that wait.
    pub waiting: usize,
    /// Receipts and inbound messages given up: too many waited, or nobody took them.
    pub lost: u64,
    /// By system id.
    pub per_system: BTreeMap<String, System>,
}

/// The counters of one system id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct System {
    /// Binds now.
    pub binds: usize,
    /// Submits that came.
    pub submitted: u64,
    /// Submits that were accepted.
    pub accepted: u64,
}

/// The memory itself.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) stats: Stats,
    submits: VecDeque<Submit>,
    most: usize,
    begun: Instant,
    /// When it was last certain that nothing waits to be read.
    awake: Instant,
    /// When the submits of the last second came at the earliest.
    second: VecDeque<Instant>,
    /// Submits by second since the beginning, the last ones.
    series: VecDeque<(u64, u64)>,
}

impl Record {
    pub(super) fn new(most: usize) -> Self {
        Self {
            stats: Stats::default(),
            submits: VecDeque::new(),
            most,
            begun: Instant::now(),
            awake: Instant::now(),
            second: VecDeque::new(),
            series: VecDeque::new(),
        }
    }

    /// Notes that what had come by `looked` has been counted. To be called every few milliseconds: a stall then shows as
    /// the time since.
    pub(super) fn awake(&mut self, looked: Instant) {
        self.awake = looked;
    }

    /// Counts one that has come; gives how many the second now ending holds for certain, this one included.
    pub(super) fn came(&mut self, system_id: &str) -> usize {
        self.came_at(system_id, Instant::now())
    }

    /// See [`Record::came`].
    pub(super) fn came_at(&mut self, system_id: &str, now: Instant) -> usize {
        while self.second.front().is_some_and(|then| now.duration_since(*then) >= Duration::from_secs(1)) {
            self.second.pop_front();
        }
        self.second.push_back(self.awake.min(now));
        let busy = self.second.len();
        self.stats.busiest_second = self.stats.busiest_second.max(busy);
        let second = self.begun.elapsed().as_secs();
        match self.series.back_mut() {
            Some((latest, count)) if *latest == second => *count += 1,
            _ => self.series.push_back((second, 1)),
        }
        while self.series.len() > SECONDS {
            self.series.pop_front();
        }
        self.stats.submitted += 1;
        self.system(system_id).submitted += 1;
        busy
    }

    pub(super) fn system(&mut self, system_id: &str) -> &mut System {
        let systems = &mut self.stats.per_system;
        let known = systems.contains_key(system_id) || systems.len() < SYSTEMS;
        systems.entry(if known { system_id } else { "other" }.to_owned()).or_default()
    }

    pub(super) fn keep(&mut self, submit: Submit) {
        if self.most == 0 {
            return;
        }
        if self.submits.len() >= self.most {
            self.submits.pop_front();
        }
        self.submits.push_back(submit);
    }

    /// The submits from `number` on that are still remembered, at most `most`.
    pub(super) fn since(&self, number: u64, most: usize) -> Vec<Submit> {
        let first = self.submits.partition_point(|submit| submit.number < number);
        self.submits.range(first..).take(most).cloned().collect()
    }

    pub(super) fn stats(&self) -> Stats {
        let present = self.begun.elapsed().as_secs();
        let first = present.saturating_sub(SECONDS as u64 - 1);
        let count = |second| self.series.iter().find(|(then, _)| *then == second).map_or(0, |(_, count)| *count);
        Stats { submitted_per_second: (first..=present).map(count).collect(), ..self.stats.clone() }
    }
}

/// The present in Unix milliseconds.
pub(super) fn now_ms() -> i64 {
    SystemClock.now().as_millisecond()
}
