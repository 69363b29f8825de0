//! Steady traffic of a tenant, and the proof that nothing of it was lost.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::caller::{Accepted, Caller, numbers};
use super::wait::{eventually, holds};

/// Recipients of one call.
const RECIPIENTS: u32 = 5;
/// Between two calls.
const PACE: Duration = Duration::from_millis(100);

/// Calls without end, each to new numbers.
pub(crate) struct Traffic {
    caller: Arc<Caller>,
    stop: CancellationToken,
    calls: JoinHandle<Vec<Accepted>>,
}

impl Traffic {
    pub(crate) fn start(caller: &Arc<Caller>, first: u32) -> Self {
        let (stop, calling) = (CancellationToken::new(), Arc::clone(caller));
        let stopped = stop.clone();
        let calls = tokio::spawn(async move {
            let (mut accepted, mut next) = (Vec::new(), first);
            let mut pace = tokio::time::interval(PACE);
            pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while !stopped.is_cancelled() {
                pace.tick().await;
                accepted.push(calling.send(&numbers(next, RECIPIENTS)).await);
                next += RECIPIENTS;
            }
            accepted
        });
        Self { caller: Arc::clone(caller), stop, calls }
    }

    /// Ends it and waits until every accepted message is final, those of `others` too.
    pub(crate) async fn settle(self, others: Vec<Accepted>, within: Duration) -> Settled {
        self.stop.cancel();
        let mut accepted = self.calls.await.expect("the calls");
        accepted.extend(others);
        let batches: Vec<_> = accepted.iter().map(|call| call.batch).collect();
        Settled {
            accepted: accepted.iter().map(|call| call.messages.len()).sum(),
            states: all_final(&self.caller, &batches, within).await,
        }
    }
}

/// What became of all that was accepted.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) accepted: usize,
    states: BTreeMap<String, i64>,
}

impl Settled {
    /// Every single one is in this final state.
    pub(crate) fn assert_all(&self, state: &str) {
        let all = i64::try_from(self.accepted).expect("a count");
        assert!(all > 0, "something was accepted");
        assert_eq!(self.states, BTreeMap::from([(state.to_owned(), all)]), "all {all} are {state}");
    }
}

/// Waits until every message of these calls is final; gives how many are in which state.
pub(crate) async fn all_final(caller: &Caller, batches: &[Uuid], within: Duration) -> BTreeMap<String, i64> {
    let (mut open, mut states) = (batches.to_vec(), BTreeMap::new());
    eventually("every accepted message is final", within, async || {
        let mut left = Vec::new();
        let mut seen = Vec::new();
        for batch in &open {
            let answer = caller.batch(*batch).await;
            if answer["final"] == true {
                for (state, count) in answer["states"].as_object().into_iter().flatten() {
                    *states.entry(state.clone()).or_default() += count.as_i64().unwrap_or_default();
                }
            } else {
                left.push(*batch);
                seen.push(answer.to_string());
            }
        }
        open = left;
        holds(open.is_empty(), (seen.len(), seen.first()))
    })
    .await;
    states
}
