//! The binds that take submits now, and places in their windows.
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::line::{Line, Place};

/// How long a part waits for the bind that took the part before it, while others have room.
const LOYALTY: Duration = Duration::from_secs(1);

/// Which of the route's binds.
pub(super) type BindNumber = u16;

/// Without a bind for so long, what waits goes back to its senders. Shorter absences (a bind made anew, a connection
/// that broke) cost a moment and nothing else.
const ABSENCE: Duration = Duration::from_secs(2);

/// Lines that take submits.
#[derive(Debug, Default)]
pub(super) struct Binds {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<(BindNumber, Line)>,
    /// Since when there has been none; `None` while there is one, and before the first.
    none_since: Option<Instant>,
}

impl Binds {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A bind takes submits from now on.
    pub(super) fn add(&self, number: BindNumber, line: Line) {
        let mut state = self.state();
        state.lines.push((number, line));
        state.none_since = None;
        drop(state);
        self.changed.notify_waiters();
    }

    /// A bind takes no more submits.
    pub(super) fn remove(&self, number: BindNumber) {
        let mut state = self.state();
        state.lines.retain(|(bind, _)| *bind != number);
        if state.lines.is_empty() {
            state.none_since.get_or_insert_with(Instant::now);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// How many take submits.
    pub(super) fn count(&self) -> usize {
        self.state().lines.len()
    }

    /// Whether there is a bind, or was one a moment ago.
    pub(super) fn any_soon(&self) -> bool {
        self.absent_until().is_none_or(|until| Instant::now() < until)
    }

    /// `None`: there is a bind. Else when to give up waiting for one.
    fn absent_until(&self) -> Option<Instant> {
        let state = self.state();
        state.lines.is_empty().then(|| state.none_since.map_or_else(Instant::now, |since| since + ABSENCE))
    }

    /// Waits for a place: on `preferred` if that bind stands and soon has one, else where most are free. `None` when
    /// there has been no bind for [`ABSENCE`].
    pub(super) async fn place(&self, preferred: Option<BindNumber>) -> Option<(BindNumber, Place)> {
        let loyal = preferred.and_then(|number| self.state().lines.iter().find(|(bind, _)| *bind == number).cloned());
        if let Some((number, line)) = loyal
            && let Ok(Some(place)) = timeout(LOYALTY, line.reserve()).await
        {
            return Some((number, place));
        }
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let mut lines = self.state().lines.clone();
            if let Some(until) = self.absent_until() {
                timeout_at(until, changed).await.ok()?;
                continue;
            }
            lines.sort_by_key(|(_, line)| std::cmp::Reverse(line.free()));
            if let Some(found) = lines.iter().find_map(|(number, line)| Some((*number, line.try_reserve()?))) {
                return Some(found);
            }
            let mut waiting: FuturesUnordered<_> =
                lines.iter().map(async |(number, line)| line.reserve().await.map(|place| (*number, place))).collect();
            tokio::select! {
                biased;
                () = changed => {}
                Some(Some(found)) = waiting.next() => return Some(found),
            }
        }
    }
}
