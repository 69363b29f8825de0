//! Callers: each sends a call, waits for its answer, and sends the next.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Callers at once.
pub(crate) const CLIENTS: usize = 32;

/// How long calls took.
pub(crate) struct Accepted {
    sorted: Vec<Duration>,
    wall: Duration,
}

impl Accepted {
    /// From the first call to the last answer, seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.wall.as_secs_f64()
    }

    /// Of a thousand calls, so many took no longer, milliseconds.
    pub(crate) fn at(&self, of_thousand: usize) -> f64 {
        self.sorted[(self.sorted.len() * of_thousand).div_ceil(1000) - 1].as_secs_f64() * 1000.0
    }
}

/// Has these clients make so many calls; each call is told its number.
pub(crate) async fn run<C>(clients: &mut [C], calls: usize, call: impl AsyncFn(&mut C, usize)) -> Accepted {
    let (next, began) = (AtomicUsize::new(0), Instant::now());
    let clients = clients.iter_mut().map(async |client| {
        let mut took = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= calls {
                return took;
            }
            let since = Instant::now();
            call(client, number).await;
            took.push(since.elapsed());
        }
    });
    let mut sorted: Vec<Duration> = futures::future::join_all(clients).await.into_iter().flatten().collect();
    let wall = began.elapsed();
    sorted.sort_unstable();
    Accepted { sorted, wall }
}

/// A recipient in Denmark; there are 900,000.
pub(crate) fn recipient(number: usize) -> String {
    format!("4520{}", 100_000 + number % 900_000)
}

/// Which of the recipients it is.
pub(crate) fn number(recipient: &str) -> Option<usize> {
    recipient.strip_prefix("4520")?.parse::<usize>().ok()?.checked_sub(100_000)
}
