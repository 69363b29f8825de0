//! The seeds of every `make test`; and that a seed is all that a run depends on.
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;

#[test]
fn a_hundred_seeds_hold() {
    let mut figures = account::Figures::default();
    for seed in 0..100 {
        let outcome = run(seed, false);
        assert!(outcome.violations.is_empty(), "{}", replay(seed, &outcome));
        figures.accepted += outcome.figures.accepted;
        figures.taken += outcome.figures.taken;
        figures.doubled += outcome.figures.doubled;
        figures.held += outcome.figures.held;
    }
    // Else nothing much was tried.
    assert!(figures.accepted > 1_000 && figures.taken > 1_000, "{figures:?}");
    assert!(figures.doubled > 0 && figures.held > 0, "{figures:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..25 {
        let (one, other) = (run(seed, true), run(seed, true));
        let apart = one.trace.words().iter().zip(other.trace.words()).find(|(one, other)| one != other);
        assert_eq!(apart, None, "seed {seed}");
        assert_eq!(one.trace.hash(), other.trace.hash(), "seed {seed}");
        assert_eq!(one.figures, other.figures, "seed {seed}");
    }
    assert_ne!(run(0, false).trace.hash(), run(1, false).trace.hash());
}

#[test]
fn without_a_fault_everything_is_sent_once() {
    for seed in 0..25 {
        let outcome = run_plan(Plan { faults: Vec::new(), ..Plan::of(seed) }, seed, false);
        assert!(outcome.violations.is_empty(), "{}", replay(seed, &outcome));
        let account::Figures { held, rejected, doubled, .. } = outcome.figures;
        assert_eq!((held, rejected, doubled), (0, 0, 0), "seed {seed}");
    }
}

#[test]
fn work_goes_on_soon_after_an_outage_however_long() {
    let mut longest = Duration::ZERO;
    for seed in 0..100 {
        let plan = Plan::of(seed).with_outage(&mut StdRng::seed_from_u64(seed));
        let outcome = run_plan(plan, seed, false);
        assert!(outcome.violations.is_empty(), "seed {seed} with an outage: {}", outcome.violations.join("; "));
        longest = longest.max(outcome.figures.resumed);
    }
    // Else it was never away.
    assert!(longest > Duration::from_millis(500), "{longest:?}");
}
