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
use super::seen::Number;
use super::support::api::Api;

/// Of each tenant.
const CALLERS: u32 = 3;
/// How long a call waits for its answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(100);
/// A message that is not accepted by then, after all faults, counts as lost.
const GIVE_UP: Duration = Duration::from_secs(120);
const SHORT: &str = "Hej! Din tid hos Værkstedet er i morgen kl. 9.30.";
const LONG: &str = "Hej! Din tid hos Værkstedet er i morgen kl. 9.30. Ring på 70 12 34 56 for at flytte den. Husk at tage \
    servicebogen med, og at bilen skal kunne startes. Du kan parkere i gården bag bygningen, hvor du også finder nøgleboksen, \
    hvis du kommer før vi åbner. Venlig hilsen alle os på Værkstedet i Søgade.";

/// A message that was accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted {
    pub(crate) number: Number,
    pub(crate) id: Uuid,
    pub(crate) parts: u8,
    /// When it was answered, Unix milliseconds.
    pub(crate) at_ms: i64,
}

/// What the callers of one tenant have seen.
#[derive(Debug)]
pub(crate) struct Calls {
    tenant: usize,
    next: AtomicU32,
    stop: AtomicBool,
    seen: Mutex<Log>,
}

#[derive(Debug, Default, Clone)]
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

/// The callers of all tenants at work.
pub(crate) struct Load {
    /// By tenant.
    pub(crate) calls: Vec<Arc<Calls>>,
    callers: JoinSet<()>,
}

impl Load {
    /// So many messages a second, all tenants together.
    pub(crate) fn start(apis: &[Api], per_second: u32) -> Self {
        let tenants = u32::try_from(apis.len()).expect("few");
        let every = Duration::from_secs(1) * CALLERS * tenants / per_second;
        let (mut calls, mut callers) = (Vec::new(), JoinSet::new());
        for (tenant, api) in apis.iter().enumerate() {
            let own = Calls { tenant, next: AtomicU32::new(0), stop: AtomicBool::new(false), seen: Mutex::default() };
            let own = Arc::new(own);
            for caller in 0..CALLERS {
                let first = Instant::now() + every * caller / CALLERS;
                callers.spawn(call_again(api.clone(), Arc::clone(&own), first, every));
            }
            calls.push(own);
        }
        Self { calls, callers }
    }

    /// Makes no new calls, and waits until those that were begun are answered: what each tenant's callers have seen.
    pub(crate) async fn stop(self) -> Vec<Log> {
        self.calls.iter().for_each(|calls| calls.stop.store(true, Ordering::SeqCst));
        self.callers.join_all().await;
        self.calls.iter().map(|calls| calls.log().clone()).collect()
    }
}

async fn call_again(api: Api, calls: Arc<Calls>, first: Instant, every: Duration) {
    let mut due = first;
    while !calls.stop.load(Ordering::SeqCst) {
        sleep_until(due).await;
        // What was missed while nobody answered is not made up for: the queue would hide the recovery.
        due = (due + every).max(Instant::now());
        call(&api, &calls).await;
    }
}

async fn call(api: &Api, calls: &Calls) {
    let number = Number { tenant: calls.tenant, call: calls.next.fetch_add(1, Ordering::SeqCst) };
    let text = if number.call % 8 == 7 { LONG } else { SHORT };
    let body = json!({"to": format!("+{}", number.recipient()), "text": text});
    // Tenants use the same keys: each has its own.
    let once = format!("call {}", number.call);
    let mut given_up = None;
    while given_up.is_none_or(|then| Instant::now() < then) {
        if given_up.is_none() && calls.stop.load(Ordering::SeqCst) {
            given_up = Some(Instant::now() + GIVE_UP);
        }
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
    calls.log().wrong.push(format!("{once}: not accepted within {GIVE_UP:?} after all faults"));
}

fn accepted(number: Number, answer: &Value) -> Option<Accepted> {
    let message = answer["messages"].as_array().filter(|messages| messages.len() == 1)?.first()?;
    Some(Accepted {
        number,
        id: message["id"].as_str()?.parse().ok()?,
        parts: message["parts"].as_u64()?.try_into().ok()?,
        at_ms: now_ms(),
    })
}
