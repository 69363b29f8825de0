//! Chance, where it keeps those who wait for the same thing from coming in the same moment. Every draw that decides when
//! something happens is made here, so that a simulation can draw the same again.
use std::time::Duration;

/// A time from `least` to `most`, both included; `least` where that is not below `most`.
#[must_use]
pub fn between(least: Duration, most: Duration) -> Duration {
    if least >= most {
        return least;
    }
    #[cfg(test)]
    if let Some(drawn) = seeded::between(least, most) {
        return drawn;
    }
    rand::random_range(least..=most)
}

/// What a simulation draws from: a generator of its thread, with a seed of its own.
#[cfg(test)]
pub(crate) mod seeded {
    use std::cell::RefCell;

    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::Duration;

    thread_local! {
        static SOURCE: RefCell<Option<StdRng>> = const { RefCell::new(None) };
    }

    /// From now on this thread draws by `seed`; by real chance again with `None`.
    pub(crate) fn seed(seed: Option<u64>) {
        SOURCE.with_borrow_mut(|source| *source = seed.map(StdRng::seed_from_u64));
    }

    pub(super) fn between(least: Duration, most: Duration) -> Option<Duration> {
        SOURCE.with_borrow_mut(|source| source.as_mut().map(|source| source.random_range(least..=most)))
    }
}
