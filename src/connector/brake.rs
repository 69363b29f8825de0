//! What a throttling answer does: nothing is sent for a moment, a longer one each time it comes again. The pacing holds
//! the agreed rate, but the upstream may be short of capacity, or count other clients of ours.
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

const FIRST: Duration = Duration::from_millis(250);
const MOST: Duration = Duration::from_secs(4);

/// See the module. Shared by who sends and who reads the answers.
#[derive(Debug, Default)]
pub(super) struct Brake(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    until: Option<Instant>,
    /// How often in a row it was pulled.
    pulls: u32,
}

impl State {
    /// Pulls that come together count once.
    fn pull(&mut self, now: Instant) {
        if self.until.is_none_or(|until| now >= until) {
            self.until = Some(now + FIRST.saturating_mul(1 << self.pulls.min(8)).min(MOST));
            self.pulls += 1;
        }
    }

    fn ease(&mut self, now: Instant) {
        if self.until.is_none_or(|until| now >= until) {
            self.pulls = 0;
        }
    }
}

impl Brake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The upstream throttled.
    pub(super) fn pull(&self) {
        self.state().pull(Instant::now());
    }

    /// The upstream throttled, and named the time that nothing is to come for: at least so long.
    pub(super) fn hold(&self, least: Duration) {
        let (mut state, now) = (self.state(), Instant::now());
        state.pull(now);
        state.until = state.until.max(Some(now + least));
    }

    /// The upstream took a submit.
    pub(super) fn ease(&self) {
        self.state().ease(Instant::now());
    }

    /// Waits until sending may go on.
    pub(super) async fn released(&self) {
        loop {
            let until = self.state().until.filter(|until| *until > Instant::now());
            let Some(until) = until else { return };
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_upstream_names_is_waited_for() {
        let brake = Brake::default();
        let begin = Instant::now();
        brake.hold(Duration::from_millis(400));
        brake.pull();
        brake.hold(Duration::from_millis(100));
        brake.released().await;
        assert!(begin.elapsed() >= Duration::from_millis(400), "{:?}", begin.elapsed());
    }

    #[test]
    fn each_pull_holds_longer_and_a_success_shortens() {
        let (mut state, mut now) = (State::default(), Instant::now());
        let mut hold = |ease: bool| {
            if ease {
                state.ease(now);
            }
            let begin = now;
            state.pull(begin);
            state.pull(begin + Duration::from_millis(100));
            now = state.until.expect("a time");
            (now - begin).as_millis()
        };
        assert_eq!([hold(false), hold(false), hold(false), hold(true)], [250, 500, 1000, 250]);
        assert!((0..20).map(|_| hold(false)).all(|millis| millis <= 4000));
    }
}
