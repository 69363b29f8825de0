//! Callers that never give up on a message: each call has a key of its own and is made again until it is answered.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::now_ms;
use super::seen::FIRST_NUMBER;
use crate::support::api::Api;

const CALLERS: u32 = 8;
/// How long a call waits for its answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(100);
/// A message that is not accepted by then counts as lost: no fault is that long.
const GIVE_UP: Duration = Duration::from_secs(60);
const SHORT: &str = "Hej! Din tid hos Værkstedet er i morgen kl. 9.30.";
const LONG: &str = "Hej! Din tid hos Værkstedet er i morgen kl. 9.30. Ring på 70 12 34 56 for at flytte den. Husk at tage \
    servicebogen med, og at bilen skal kunne startes. Du kan parkere i gården bag bygningen, hvor du også finder nøgleboksen, \
    hvis du kommer før vi åbner. Venlig hilsen alle os på Værkstedet i Søgade.";

/// A message that was accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted {
    pub(crate) number: u32,
    pub(crate) id: Uuid,
    pub(crate) parts: u8,
    /// When it was answered, Unix milliseconds.
    pub(crate) at_ms: i64,
}

/// What the callers have seen.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    next: AtomicU32,
    stop: AtomicBool,
    seen: Mutex<Log>,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) accepted: Vec<Accepted>,
    /// Answers and failures that made a caller try again, by what they were.
    pub(crate) again: BTreeMap<String, u64>,
    /// What no caller should meet, with the call's number.
    pub(crate) wrong: Vec<String>,
}

impl Calls {
    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.seen.lock().expect("not poisoned")
    }

    /// The number of the next call: it and all later ones are made from now on.
    pub(crate) fn next(&self) -> u32 {
        self.next.load(Ordering::SeqCst)
    }
}

/// The callers at work.
pub(crate) struct Load {
    pub(crate) calls: Arc<Calls>,
    callers: JoinSet<()>,
}

impl Load {
    /// So many messages a second.
    pub(crate) fn start(api: &Api, per_second: u32) -> Self {
        let calls = Arc::new(Calls::default());
        let every = Duration::from_secs(1) * CALLERS / per_second;
        let callers = (0..CALLERS).map(|caller| {
            let (calls, api) = (Arc::clone(&calls), api.clone());
            let first = Instant::now() + every * caller / CALLERS;
            async move {
                let mut due = first;
                while !calls.stop.load(Ordering::SeqCst) {
                    sleep_until(due).await;
                    // What was missed while nobody answered is not made up for: the queue would hide the recovery.
                    due = (due + every).max(Instant::now());
                    call(&api, &calls).await;
                }
            }
        });
        Self { calls: Arc::clone(&calls), callers: callers.collect() }
    }

    /// Makes no new calls, and waits until those that were begun are answered.
    pub(crate) async fn stop(self) -> Arc<Calls> {
        self.calls.stop.store(true, Ordering::SeqCst);
        self.callers.join_all().await;
        self.calls
    }
}

async fn call(api: &Api, calls: &Calls) {
    let number = calls.next.fetch_add(1, Ordering::SeqCst);
    let text = if number % 8 == 7 { LONG } else { SHORT };
    let body = json!({"to": format!("+{}", FIRST_NUMBER + u64::from(number)), "text": text});
    let once = format!("call {number}");
    let since = Instant::now();
    while since.elapsed() < GIVE_UP {
        match api.post("", &body, Some(&once.replace(' ', "-")), PATIENCE).await {
            Ok((202, answer)) => {
                match accepted(number, &answer) {
                    Some(accepted) => calls.log().accepted.push(accepted),
                    None => calls.log().wrong.push(format!("{once}: an acceptance without its message")),
                }
                return;
            }
            Ok((status @ (429 | 500..), answer)) => {
                let kind = answer["type"].as_str().unwrap_or_default().to_owned();
                *calls.log().again.entry(format!("{status} {kind}")).or_default() += 1;
            }
            Ok((status, answer)) => return calls.log().wrong.push(format!("{once}: {status} {answer}")),
            Err(error) => {
                let kind = match () {
                    () if error.is_timeout() => "no answer in time",
                    () if error.is_connect() => "no connection",
                    () => "the connection broke",
                };
                *calls.log().again.entry(kind.to_owned()).or_default() += 1;
            }
        }
        sleep(AGAIN).await;
    }
    calls.log().wrong.push(format!("{once}: not accepted within {GIVE_UP:?}"));
}

fn accepted(number: u32, answer: &Value) -> Option<Accepted> {
    let message = answer["messages"].as_array().filter(|messages| messages.len() == 1)?.first()?;
    Some(Accepted {
        number,
        id: message["id"].as_str()?.parse().ok()?,
        parts: message["parts"].as_u64()?.try_into().ok()?,
        at_ms: now_ms(),
    })
}
