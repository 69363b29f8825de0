//! Senders, a connector and an upstream over a faulty network, with time compressed: all of it decided by a seed, so that what
//! goes wrong once goes wrong again when it is looked at.
//!
//! What runs is ours: [`crate::sender`]'s engine, book and link, [`crate::connector`]'s exchange, dispatch, receipts and how it follows the
//! database, and the sessions of [`crate::smpp`] between them. Around it, in memory: `network`, `database`, and `upstream`, which speaks SMPP
//! by itself. `plan` is what a seed stands for, `outage` one kind of plan, `world` has it happen, `tap` listens to the octets and `account`
//! closes the books; `trace` tells two runs apart.
//!
//! Time is tokio's, paused: it jumps to the next thing that waits. Its tasks run one at a time in the order in which they are woken,
//! and whatever is drawn is drawn by the seed ([`crate::smpp::chance`]), so a run is a function of its seed.
mod account;
pub(crate) mod database;
mod many;
mod network;
mod outage;
mod plan;
mod tap;
mod tests;
mod trace;
mod upstream;
mod world;

use std::cell::Cell;
use std::sync::Once;

use crate::smpp::chance::seeded;
use plan::Plan;
use world::Outcome;

thread_local! {
    /// Panics of tasks on this thread: nobody else would hear of them.
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Runs what `seed` stands for; with `in_words` the trace can be read.
fn run(seed: u64, in_words: bool) -> Outcome {
    run_plan(Plan::of(seed), seed, in_words)
}

fn run_plan(plan: Plan, seed: u64, in_words: bool) -> Outcome {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            before(panic);
        }));
    });
    PANICS.set(0);
    seeded::seed(Some(seed));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let mut outcome = runtime.expect("a runtime").block_on(world::run(plan, seed, in_words));
    seeded::seed(None);
    if PANICS.get() > 0 {
        outcome.violations.push(format!("{} panics", PANICS.get()));
    }
    outcome
}

/// What to say of a seed that failed.
fn replay(seed: u64, outcome: &Outcome) -> String {
    format!("seed {seed}: {}\n  replay it: make simulate SEED={seed}", outcome.violations.join("; "))
}
