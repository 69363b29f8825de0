//! What processes have used of the CPU, from `/proc`: user and system apart.
use std::collections::BTreeMap;
use std::ops::{Add, AddAssign, Sub};

/// Of `/proc`, a second.
pub(crate) const TICKS: f64 = 100.0;

/// CPU, in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    pub(crate) user: i64,
    pub(crate) system: i64,
}

impl Cpu {
    pub(crate) fn seconds(self) -> f64 {
        (self.user + self.system) as f64 / TICKS
    }
}

impl Add for Cpu {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { user: self.user + other.user, system: self.system + other.system }
    }
}

impl AddAssign for Cpu {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Cpu {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { user: self.user - other.user, system: self.system - other.system }
    }
}

/// One process.
#[derive(PartialEq, Eq)]
pub(crate) struct Stat {
    parent: u32,
    pub(crate) own: Cpu,
    /// Of its children that have ended.
    ended: Cpu,
}

pub(crate) fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<i64> =
        text.rsplit_once(')')?.1.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let cpu = |at: usize| Some(Cpu { user: *fields.get(at)?, system: *fields.get(at + 1)? });
    Some(Stat { parent: u32::try_from(*fields.first()?).ok()?, own: cpu(10)?, ended: cpu(12)? })
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").expect("of Linux").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// What a process of PostgreSQL says it does: its login, or its name.
fn title(pid: u32) -> String {
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.trim_start_matches("postgres: ").trim_end_matches('\0');
    let first = words.split([' ', '\0']).next().unwrap_or_default();
    let role = match first.split_once('_') {
        Some(("bst", _)) => "sender",
        Some(("bsr", _)) => "connector",
        Some(("budstikke", login)) => login,
        _ => first,
    };
    role.to_owned()
}

/// A server's processes, each with what it has used, and what those used that have ended.
#[derive(Default)]
pub(crate) struct Server {
    first: Cpu,
    living: BTreeMap<u32, (String, Cpu)>,
    ended: Cpu,
}

impl Server {
    /// Looks until none has ended meanwhile: it would be counted twice or not at all.
    pub(crate) fn look(pid: u32) -> Self {
        loop {
            let before = stat(pid).expect("it runs");
            let mut living = BTreeMap::new();
            for child in pids() {
                if let Some(stat) = stat(child).filter(|stat| stat.parent == pid) {
                    living.insert(child, (title(child), stat.own + stat.ended));
                }
            }
            let after = stat(pid).expect("it runs");
            let all_there = living.keys().all(|child| stat(*child).is_some_and(|stat| stat.parent == pid));
            if before.ended == after.ended && all_there {
                return Self { first: after.own, living, ended: after.ended };
            }
        }
    }

    pub(crate) fn all(&self) -> Cpu {
        self.living.values().fold(self.first + self.ended, |sum, (_, cpu)| sum + *cpu)
    }

    /// Since an earlier look, by what the processes do.
    pub(crate) fn since(&self, earlier: &Self) -> BTreeMap<String, Cpu> {
        let mut by: BTreeMap<String, Cpu> = BTreeMap::new();
        for (pid, (title, cpu)) in &self.living {
            let before = earlier.living.get(pid).map(|(_, cpu)| *cpu).unwrap_or_default();
            *by.entry(title.clone()).or_default() += *cpu - before;
        }
        *by.entry("postmaster".to_owned()).or_default() += self.first - earlier.first;
        // What they had used before is among what the ended ones have used in all.
        let gone = earlier.living.iter().filter(|(pid, _)| !self.living.contains_key(pid));
        let ended = gone.fold(self.ended - earlier.ended, |sum, (_, (_, cpu))| sum - *cpu);
        *by.entry("ended".to_owned()).or_default() += ended;
        by.retain(|_, cpu| *cpu != Cpu::default());
        by
    }
}

/// The whole machine so far.
pub(crate) fn machine() -> Cpu {
    let stat = std::fs::read_to_string("/proc/stat").expect("of Linux");
    let ticks: Vec<i64> =
        stat.lines().next().expect("a line").split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq
    Cpu { user: ticks[0] + ticks[1], system: ticks[2] + ticks[5] + ticks[6] }
}
