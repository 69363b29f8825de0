//! How long it takes after a kill -9 until work goes on, with nothing else wrong.
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::inject::Injector;
use super::load::Calls;
use super::now_ms;
use super::plan::{Fault, Victim};
use super::seen::Submits;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// What takes longer is over.
const PATIENCE: Duration = Duration::from_secs(60);
/// The tenant whose messages are looked for.
const FIRST: usize = 0;
/// Quiet before each kill.
const QUIET: Duration = Duration::from_millis(1500);

/// How long it took each time, milliseconds; shortest first.
#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) victim: Victim,
    pub(crate) millis: Vec<i64>,
}

impl Recovery {
    pub(crate) fn median(&self) -> i64 {
        self.millis.get(self.millis.len() / 2).copied().unwrap_or(0)
    }

    pub(crate) fn most(&self) -> i64 {
        self.millis.last().copied().unwrap_or(0)
    }
}

/// Kills each so many times, and starts it again at once.
pub(crate) async fn measure(injector: &mut Injector, calls: &Calls, submits: &Submits, rounds: usize) -> Vec<Recovery> {
    let mut all = Vec::new();
    if rounds == 0 {
        return all;
    }
    for victim in [Victim::Sender(FIRST), Victim::Connector, Victim::Api, Victim::Data, Victim::Keyring] {
        let mut millis = Vec::new();
        for _ in 0..rounds {
            sleep(QUIET).await;
            millis.push(once(injector, calls, submits, victim).await);
        }
        millis.sort_unstable();
        println!("recovery of {victim}: {millis:?} ms");
        all.push(Recovery { victim, millis });
    }
    all
}

/// From the kill of a role to the next submit of a message that was called for after it; of a PostgreSQL, from its return to the
/// next accept.
async fn once(injector: &mut Injector, calls: &Calls, submits: &Submits, victim: Victim) -> i64 {
    let mut place = submits.all().len();
    let killed = now_ms();
    injector.begin(Fault::Kill(victim), Duration::ZERO).await;
    let next = calls.next();
    injector.end_all().await;
    let returned = now_ms();
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let done = match victim {
            Victim::Data | Victim::Keyring => calls
                .log()
                .accepted
                .iter()
                .rev()
                .take_while(|accepted| accepted.at_ms >= returned)
                .last()
                .map(|accepted| accepted.at_ms - returned),
            _ => submits.first_from(FIRST, next, &mut place).map(|at| at - killed),
        };
        if let Some(millis) = done {
            return millis;
        }
        sleep(LOOK).await;
    }
    i64::try_from(PATIENCE.as_millis()).unwrap_or(i64::MAX)
}
