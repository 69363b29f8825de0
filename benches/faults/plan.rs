//! What goes wrong, when, and for how long: decided by a seed before anything runs.
use std::fmt;
use std::time::Duration;

use super::chance::Chance;
use super::support::installation::Link;

/// Who can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Victim {
    Api,
    /// Of the tenant with this number.
    Sender(usize),
    Connector,
    Worker,
    Data,
    Keyring,
}

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL; it is started again in the end.
    Kill(Victim),
    /// All connections of a link break at once.
    Cut(Link),
    /// What goes over a link takes longer, each way.
    Delay(Link, Duration),
    /// Nothing goes over a link.
    Freeze(Link),
    /// The connections of a link die, and nobody is told.
    Lose(Link),
    /// The message centre throttles so many of a hundred.
    Throttle(u8),
    /// It takes submits and answers when that ends.
    Stall,
    /// It answers when nobody waits any more.
    Late,
    /// It says what nobody can read, at so many submits of a hundred.
    Garbage(u8),
    /// It closes all binds.
    Drop,
    /// It closes all binds and takes none.
    Latch,
    /// A tenant's endpoint refuses to be told once.
    Refuse,
    /// Nothing here ran for a while, ourselves included: never planned, but seen.
    Pause,
}

/// A fault with its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    /// From the beginning of the run.
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
    /// Until it ends; zero where it has no duration.
    pub(crate) lasts: Duration,
}

const LINKS: &[Link] = &[
    Link::ApiToData,
    Link::ApiToKeyring,
    Link::SenderToData,
    Link::ConnectorToData,
    Link::SenderToConnector,
    Link::ConnectorToUpstream,
    Link::WorkerToData,
    Link::WorkerToKeyring,
    Link::WorkerToEndpoint,
];
/// What an upstream or a connector does not say for too long, enquire_link finds out.
const TO_DATABASES: &[Link] = &[
    Link::ApiToData,
    Link::ApiToKeyring,
    Link::SenderToData,
    Link::ConnectorToData,
    Link::WorkerToData,
    Link::WorkerToKeyring,
];

/// So many faults, one every `every` on the average, where so many tenants send; several may hold at once.
pub(crate) fn plan(seed: u64, faults: usize, every: Duration, tenants: usize) -> Vec<Planned> {
    let mut chance = Chance::new(seed);
    let every = u64::try_from(every.as_millis()).expect("short");
    let mut at = Duration::ZERO;
    (0..faults)
        .map(|_| {
            at += Duration::from_millis(chance.between(every / 4, every * 7 / 4));
            let (fault, lasts) = fault(&mut chance, tenants);
            Planned { at, fault, lasts: Duration::from_millis(lasts) }
        })
        .collect()
}

fn victim(chance: &mut Chance, tenants: usize) -> Victim {
    let number = chance.between(0, u64::try_from(tenants).expect("few") - 1);
    let sender = Victim::Sender(usize::try_from(number).expect("few"));
    chance.one_of(&[Victim::Api, sender, Victim::Connector, Victim::Worker, Victim::Data, Victim::Keyring])
}

fn fault(chance: &mut Chance, tenants: usize) -> (Fault, u64) {
    match chance.between(0, 99) {
        0..36 => (Fault::Kill(victim(chance, tenants)), chance.between(0, 1500)),
        36..47 => (Fault::Cut(chance.one_of(LINKS)), 0),
        47..50 => (Fault::Lose(chance.one_of(TO_DATABASES)), 0),
        50..60 => {
            let delay = Duration::from_millis(chance.between(20, 300));
            (Fault::Delay(chance.one_of(LINKS), delay), chance.between(1000, 4000))
        }
        60..68 => (Fault::Freeze(chance.one_of(LINKS)), chance.between(500, 4000)),
        68..74 => (Fault::Throttle(chance.one_of(&[20, 50, 100])), chance.between(1000, 4000)),
        74..80 => (Fault::Stall, chance.between(500, 5000)),
        80..85 => (Fault::Late, chance.between(1000, 4000)),
        85..92 => (Fault::Garbage(chance.one_of(&[5, 20, 50])), chance.between(500, 3000)),
        92..95 => (Fault::Drop, 0),
        95..97 => (Fault::Refuse, 0),
        _ => (Fault::Latch, chance.between(500, 3000)),
    }
}

impl Fault {
    /// What it is about: two of the same do not hold at once.
    pub(crate) fn subject(self) -> String {
        match self {
            Self::Kill(victim) => format!("{victim:?}"),
            Self::Cut(link) | Self::Delay(link, _) | Self::Freeze(link) | Self::Lose(link) => format!("{link:?}"),
            _ => self.to_string(),
        }
    }

    /// Whether it can leave submits of a tenant whose fate its sender does not know. Nothing else explains a duplicate.
    pub(crate) fn leaves_doubt(self, tenant: usize) -> bool {
        match self {
            Self::Kill(Victim::Sender(number)) => number == tenant,
            Self::Kill(victim) => victim == Victim::Connector,
            Self::Cut(link) => matches!(link, Link::SenderToConnector | Link::ConnectorToUpstream),
            // A sender waits for its connector for longer than any of these lasts.
            Self::Delay(link, _) | Self::Freeze(link) | Self::Lose(link) => link == Link::ConnectorToUpstream,
            Self::Stall | Self::Late | Self::Garbage(_) | Self::Drop | Self::Latch | Self::Pause => true,
            Self::Throttle(_) | Self::Refuse => false,
        }
    }

    /// Whether a worker may not have heard that it was heard, or not have noted it.
    pub(crate) fn may_tell_again(self) -> bool {
        match self {
            Self::Kill(victim) => matches!(victim, Victim::Worker | Victim::Data),
            Self::Cut(link) | Self::Delay(link, _) | Self::Freeze(link) | Self::Lose(link) => {
                matches!(link, Link::WorkerToData | Link::WorkerToEndpoint)
            }
            _ => self == Self::Pause,
        }
    }
}

/// Without its figures, so that those of a kind can be counted.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(victim) => write!(f, "kill -9 {victim}"),
            Self::Cut(link) => write!(f, "cut {}", name(*link)),
            Self::Delay(link, _) => write!(f, "delay {}", name(*link)),
            Self::Freeze(link) => write!(f, "freeze {}", name(*link)),
            Self::Lose(link) => write!(f, "lose {}", name(*link)),
            Self::Throttle(_) => f.write_str("SMSC throttles"),
            Self::Stall => f.write_str("SMSC stalls"),
            Self::Late => f.write_str("SMSC answers too late"),
            Self::Garbage(_) => f.write_str("SMSC says garbage"),
            Self::Drop => f.write_str("SMSC drops its binds"),
            Self::Latch => f.write_str("SMSC refuses binds"),
            Self::Refuse => f.write_str("endpoint refuses"),
            Self::Pause => f.write_str("(the machine stood still)"),
        }
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "API",
            Self::Sender(_) => "sender",
            Self::Connector => "connector",
            Self::Worker => "worker",
            Self::Data => "PostgreSQL (data)",
            Self::Keyring => "PostgreSQL (keyring)",
        })
    }
}

fn name(link: Link) -> &'static str {
    match link {
        Link::ApiToData => "API – data",
        Link::ApiToKeyring => "API – keyring",
        Link::SenderToData => "sender – data",
        Link::ConnectorToData => "connector – data",
        Link::SenderToConnector => "sender – connector",
        Link::ConnectorToUpstream => "connector – SMSC",
        Link::WorkerToData => "worker – data",
        Link::WorkerToKeyring => "worker – keyring",
        Link::WorkerToEndpoint => "worker – endpoint",
    }
}
