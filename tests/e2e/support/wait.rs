//! Waiting for what is not there yet: by asking again until a deadline, never by sleeping for a while and hoping.
use std::time::{Duration, Instant};

/// Between two questions.
pub(super) const AGAIN: Duration = Duration::from_millis(150);

/// Asks until there is an answer.
///
/// # Panics
/// With what was seen last, when there is none in time.
pub(crate) async fn eventually<T>(what: &str, within: Duration, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        let seen = match ask().await {
            Ok(answer) => return answer,
            Err(seen) => seen,
        };
        assert!(Instant::now() < deadline, "{what}: not within {within:?}; last seen: {seen}");
        tokio::time::sleep(AGAIN).await;
    }
}

/// An answer when it holds, otherwise what was seen.
pub(crate) fn holds(holds: bool, seen: impl std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{seen:?}")) }
}
