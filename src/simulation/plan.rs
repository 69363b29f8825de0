//! What a seed stands for: the size of everything, what is sent when, and what goes wrong when.
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::tap::Agreed;
use super::upstream::Mood;

/// After so long nothing goes wrong any more.
pub(crate) const TROUBLE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) agreed: Agreed,
    pub(crate) latency: Duration,
    /// In order of time.
    pub(crate) messages: Vec<(Duration, Message)>,
    /// In order of time.
    pub(crate) faults: Vec<(Duration, Fault)>,
}

/// One tenant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tenant {
    pub(crate) hold: bool,
    pub(crate) weight: u32,
}

/// One message: whose, the number that it goes to (no two go to the same), in how many parts, and whether it goes first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    pub(crate) tenant: usize,
    pub(crate) to: u64,
    pub(crate) parts: u8,
    pub(crate) urgent: bool,
}

/// Something that goes wrong, for so long where it passes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    CutSender(usize),
    CutUpstream,
    StallSender(usize, Duration),
    StallUpstream(Duration),
    MuteSender(usize),
    MuteUpstream,
    /// Nobody can connect to the upstream, or to the connector.
    ShutUpstream(Duration),
    DarkUpstream(Duration),
    ShutConnector(Duration),
    Latency(Duration),
    Database(Duration),
    /// The database is away. Never drawn beside others.
    Outage(Duration),
    Upstream(Mood, Duration),
    CrashSender(usize, Duration),
    CrashConnector(Duration),
    /// A successor begins beside the sender that runs.
    ReplaceSender(usize),
    /// It is told to stop, and another begins when it has.
    RollSender(usize),
}

/// Whose a message to this number is.
pub(crate) fn tenant_of(to: u64) -> usize {
    usize::try_from(to / 1_000_000 % 100).unwrap_or_default()
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let tenants: Vec<_> = (0..chance.random_range(1..=3))
            .map(|_| Tenant { hold: chance.random_ratio(1, 3), weight: chance.random_range(1..=3) })
            .collect();
        let agreed = Agreed {
            window: chance.random_range(1..=10),
            binds: chance.random_range(1..=3),
            rate: [5, 10, 20, 50, 200][chance.random_range(0..5)],
            percent: None,
            response_timeout: Duration::from_millis([1_000, 3_000, 10_000][chance.random_range(0..3)]),
        };
        let mut messages = Vec::new();
        for tenant in 0..tenants.len() {
            for burst in 0..chance.random_range(1..=3) {
                let at = Duration::from_millis(chance.random_range(0..40_000));
                for nth in 0..chance.random_range(1..=15) {
                    let to = 4_500_000_000 + tenant as u64 * 1_000_000 + burst * 1_000 + nth;
                    let parts = [1, 1, 1, 2, 3][chance.random_range(0..5)];
                    let urgent = chance.random_ratio(1, 6);
                    messages.push((at, Message { tenant, to, parts, urgent }));
                }
            }
        }
        messages.sort_by_key(|(at, message)| (*at, message.to));
        let mut faults: Vec<_> = (0..chance.random_range(0..=8))
            .map(|_| {
                let at = Duration::from_millis(chance.random_range(0..45_000));
                (at, Fault::draw(&mut chance, tenants.len()))
            })
            .collect();
        faults.sort_by_key(|(at, _)| *at);
        let latency = Duration::from_millis([1, 5, 40][chance.random_range(0..3)]);
        // Last, so that the rest of a seed stays what it was.
        let agreed = Agreed { percent: [None, None, Some(50), Some(75)][chance.random_range(0..4)], ..agreed };
        let plan = Self { tenants, agreed, latency, messages, faults };
        if chance.random_ratio(1, 10) { plan.with_outage(&mut chance) } else { plan }
    }
}

impl Fault {
    fn draw(chance: &mut StdRng, tenants: usize) -> Self {
        let sender = chance.random_range(0..tenants);
        let time = Duration::from_millis(chance.random_range(50..15_000));
        let moods = [Mood::Throttling, Mood::Late, Mood::Silent, Mood::Faulty, Mood::Hanging];
        match chance.random_range(0..16) {
            0 => Self::CutSender(sender),
            1 => Self::CutUpstream,
            2 => Self::StallSender(sender, time),
            3 => Self::StallUpstream(time),
            4 => Self::MuteSender(sender),
            5 => Self::MuteUpstream,
            6 => Self::ShutUpstream(time),
            7 => Self::DarkUpstream(time),
            8 => Self::ShutConnector(time),
            9 => Self::Latency(Duration::from_millis(chance.random_range(50..800))),
            10 => Self::Database(time),
            11 => Self::CrashSender(sender, time / 4),
            12 => Self::CrashConnector(time / 4),
            13 => Self::ReplaceSender(sender),
            14 => Self::RollSender(sender),
            _ => Self::Upstream(moods[chance.random_range(0..moods.len())], time),
        }
    }
}
