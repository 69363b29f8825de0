//! What is asked for on the command line.
use std::process::exit;

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// From the first call until the last receipt is stored.
    Ours,
    /// The same with many tenants.
    Tenants,
    /// The same with one tenant that is busy and a thousand that are not, accepting alone included.
    Idle,
    /// The same with a log that is long.
    Log,
    /// Accepting alone.
    Accept,
    KannelAccept,
    /// Accepting calls of many recipients, alone.
    Batch,
    /// What a sender takes.
    Sender,
    /// A route's rate, and who has what share of it.
    Pacing,
    KannelMem,
    KannelPg,
}

const PARTS: &[(&str, Part)] = &[
    ("ours", Part::Ours),
    ("tenants", Part::Tenants),
    ("idle", Part::Idle),
    ("log", Part::Log),
    ("accept", Part::Accept),
    ("kannel-accept", Part::KannelAccept),
    ("batch", Part::Batch),
    ("sender", Part::Sender),
    ("pacing", Part::Pacing),
    ("kannel-mem", Part::KannelMem),
    ("kannel-pg", Part::KannelPg),
];

#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) parts: Vec<Part>,
    pub(crate) messages: usize,
    /// Of `ours`.
    pub(crate) tenants: usize,
    /// Also of `ours`: whether PostgreSQL's statements are looked at.
    pub(crate) statements: bool,
    /// Also of `ours`: settings of PostgreSQL.
    pub(crate) settings: Vec<String>,
    /// Messages in the log, of `log`.
    pub(crate) rows: u64,
    /// Of `pacing`: submits a second, and for how many seconds.
    pub(crate) rate: usize,
    pub(crate) seconds: u64,
    /// How often what is compared is measured.
    pub(crate) rounds: usize,
}

impl Part {
    /// Whether it is measured to be compared with another part.
    fn is_compared(self) -> bool {
        !matches!(self, Self::Tenants | Self::Batch | Self::Sender | Self::Pacing)
    }
}

impl Wanted {
    /// The parts, in the order in which they are measured: round by round, and last what is compared with nothing.
    pub(crate) fn turns(&self) -> impl Iterator<Item = Part> {
        let (compared, alone): (Vec<Part>, Vec<Part>) = self.parts.iter().copied().partition(|part| part.is_compared());
        let rounds = compared.len() * self.rounds;
        compared.into_iter().cycle().take(rounds).chain(alone)
    }

    /// Whether it is the product that is measured, as it is, and nothing looked at.
    pub(crate) fn is_plain(&self) -> bool {
        !self.statements && self.settings.is_empty()
    }

    /// Reads the command line; ends the process where it makes no sense.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Self {
        let mut wanted = Self {
            parts: Vec::new(),
            messages: 40_000,
            tenants: 1,
            statements: false,
            settings: Vec::new(),
            rows: 1_000_000,
            rate: 200,
            seconds: 60,
            rounds: 3,
        };
        // What cargo adds begins with a hyphen.
        for argument in arguments.filter(|argument| !argument.starts_with('-')) {
            if let Some(setting) = argument.strip_prefix("postgres.") {
                wanted.settings.push(setting.to_owned());
                continue;
            }
            let (name, number) = argument.split_once('=').unwrap_or(("messages", &argument));
            match (PARTS.iter().find(|(part, _)| *part == argument), name, number.parse()) {
                (Some((_, part)), _, _) => wanted.parts.push(*part),
                _ if argument == "statements" => wanted.statements = true,
                (_, "messages", Ok(messages)) => wanted.messages = messages,
                (_, "tenants", Ok(tenants)) => wanted.tenants = tenants,
                (_, "rows", Ok(_)) => wanted.rows = number.parse().expect("a number"),
                (_, "rate", Ok(rate)) => wanted.rate = rate,
                (_, "seconds", Ok(_)) => wanted.seconds = number.parse().expect("a number"),
                (_, "rounds", Ok(rounds)) => wanted.rounds = rounds,
                _ => {
                    let parts: Vec<_> = PARTS.iter().map(|(part, _)| *part).collect();
                    println!(
                        "{argument}? It is [MESSAGES] [tenants=N] [statements] [postgres.SETTING=VALUE] [rows=N] [rate=N] [seconds=N] [rounds=N] and any of {}",
                        parts.join(" ")
                    );
                    exit(2);
                }
            }
        }
        if wanted.parts.is_empty() {
            wanted.parts = PARTS.iter().map(|(_, part)| *part).collect();
        }
        wanted
    }
}
