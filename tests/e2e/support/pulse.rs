//! A steady pulse of single messages, each to a number of its own, by callers that try again: who called when, and when it
//! was accepted. Times are milliseconds of the clock that all pods of the machine see.
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::caller::{Caller, numbers};
use super::smsc::Submit;

/// Who calls, one message after the other each.
const CALLERS: u32 = 4;
/// Between two calls of one of them.
const PACE: Duration = Duration::from_millis(100);
/// The numbers of one caller.
const NUMBERS: u32 = 100_000;

/// One message.
#[derive(Debug, Clone)]
pub(crate) struct Beat {
    number: String,
    called: i64,
    /// `None`: not yet.
    accepted: Option<i64>,
}

/// See the module.
pub(crate) struct Pulse {
    beats: Arc<Mutex<Vec<Beat>>>,
    stop: CancellationToken,
    callers: JoinSet<()>,
}

impl Pulse {
    pub(crate) fn start(caller: &Arc<Caller>) -> Self {
        let (beats, stop) = (Arc::<Mutex<Vec<Beat>>>::default(), CancellationToken::new());
        let mut callers = JoinSet::new();
        for one in 0..CALLERS {
            callers.spawn(call(Arc::clone(caller), one * NUMBERS, Arc::clone(&beats), stop.clone()));
        }
        Self { beats, stop, callers }
    }

    /// Everything that was called for until now.
    fn beats(&self) -> Vec<Beat> {
        self.beats.lock().expect("no caller panicked").clone()
    }

    /// The first accept, at or after a moment.
    pub(crate) fn accepted_since(&self, since: i64) -> Option<i64> {
        self.beats().iter().filter_map(|beat| beat.accepted).filter(|at| *at >= since).min()
    }

    /// The first submit, among these, of what was called for at or after a moment.
    pub(crate) fn submitted_since(&self, since: i64, submits: &[Submit]) -> Option<i64> {
        let beats = self.beats();
        let called: HashSet<&str> =
            beats.iter().filter(|beat| beat.called >= since).map(|beat| digits(&beat.number)).collect();
        submits.iter().find(|submit| called.contains(digits(&submit.destination))).map(|submit| submit.at_ms)
    }

    /// Ends it, once every call was accepted; the numbers, as upstreams see them.
    pub(crate) async fn stop(mut self) -> HashSet<String> {
        self.stop.cancel();
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("a caller");
        }
        let beats = self.beats();
        assert!(beats.iter().all(|beat| beat.accepted.is_some()), "every call was accepted");
        beats.iter().map(|beat| digits(&beat.number).to_owned()).collect()
    }
}

/// A number without its sign.
pub(crate) fn digits(number: &str) -> &str {
    number.trim_start_matches('+')
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

async fn call(caller: Arc<Caller>, first: u32, beats: Arc<Mutex<Vec<Beat>>>, stop: CancellationToken) {
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in (first..first + NUMBERS).map_while(|number| numbers(number, 1).pop()) {
        pace.tick().await;
        if stop.is_cancelled() {
            return;
        }
        let place = {
            let mut beats = beats.lock().expect("no caller panicked");
            beats.push(Beat { number: number.clone(), called: now(), accepted: None });
            beats.len() - 1
        };
        caller.send(&[number]).await;
        beats.lock().expect("no caller panicked")[place].accepted = Some(now());
    }
}
