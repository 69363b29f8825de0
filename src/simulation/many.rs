//! Too long for every day: `make simulation` runs many seeds, `make simulate SEED=…` one with all that happened in it.
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Runs of `make simulation`, where nothing else is asked for.
const RUNS: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

#[test]
fn many_seeds_hold() {
    let first = number("BUDSTIKKE_FIRST_SEED").unwrap_or(0);
    let seeds: Range<u64> = first..first + number("BUDSTIKKE_SEEDS").unwrap_or(RUNS);
    let (next, failed) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    let figures = Mutex::new((account::Figures::default(), 0));
    let threads = number("BUDSTIKKE_THREADS").and_then(|threads| usize::try_from(threads).ok());
    let threads = threads.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let outcome = run(seed, false);
                    if !outcome.violations.is_empty() {
                        eprintln!("{}", replay(seed, &outcome));
                        failed.lock().expect("not poisoned").push(seed);
                    }
                    let mut all = figures.lock().expect("not poisoned");
                    all.0.accepted += outcome.figures.accepted;
                    all.0.held += outcome.figures.held;
                    all.0.rejected += outcome.figures.rejected;
                    all.0.taken += outcome.figures.taken;
                    all.0.doubled += outcome.figures.doubled;
                    all.0.resumed = all.0.resumed.max(outcome.figures.resumed);
                    all.1 += outcome.trace.events();
                }
            });
        }
    });
    let (figures, events) = *figures.lock().expect("not poisoned");
    eprintln!("{} runs in {:?}: {events} PDUs and events, {figures:?}", seeds.end - seeds.start, began.elapsed());
    let failed = failed.into_inner().expect("not poisoned");
    assert!(failed.is_empty(), "{} seeds fail: {failed:?}", failed.len());
}

#[test]
fn one_seed_in_words() {
    let seed = number("BUDSTIKKE_SEED").unwrap_or(0);
    let outcome = run(seed, true);
    for line in outcome.trace.words() {
        eprintln!("{line}");
    }
    eprintln!("seed {seed}: trace {:#018x}, {:?}", outcome.trace.hash(), outcome.figures);
    assert!(outcome.violations.is_empty(), "{}", replay(seed, &outcome));
}
