//! Moments in which nothing here ran: a machine that is shared may stop all of it. Time-outs go on meanwhile, so what is of
//! unknown fate then is nobody's fault; it is counted apart.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::now_ms;

/// Between two signs of life.
const SIGN: Duration = Duration::from_millis(50);
/// Of no sign of life: less is but a busy machine.
const LONG: Duration = Duration::from_secs(1);

/// Looks for as long as this value lives.
pub(crate) struct Pauses {
    /// From when until when, Unix milliseconds.
    found: Arc<Mutex<Vec<(i64, i64)>>>,
    stop: Arc<AtomicBool>,
}

impl Pauses {
    pub(crate) fn watch() -> Self {
        let pauses = Self { found: Arc::default(), stop: Arc::default() };
        let (found, stop) = (Arc::clone(&pauses.found), Arc::clone(&pauses.stop));
        // A thread of its own: it waits for no task.
        thread::spawn(move || {
            let mut last = (Instant::now(), now_ms());
            while !stop.load(Ordering::SeqCst) {
                thread::sleep(SIGN);
                let now = (Instant::now(), now_ms());
                if now.0.duration_since(last.0) > LONG {
                    found.lock().expect("not poisoned").push((last.1, now.1));
                }
                last = now;
            }
        });
        pauses
    }

    /// Those until now.
    pub(crate) fn found(&self) -> Vec<(i64, i64)> {
        self.found.lock().expect("not poisoned").clone()
    }
}

impl Drop for Pauses {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
