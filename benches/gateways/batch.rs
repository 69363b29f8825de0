//! Calls with as many recipients as the API takes.
use std::sync::Mutex;
use std::time::Instant;

use budstikke::domain::{Clock as _, MessageId, SystemClock};
use budstikke::store::claim;
use serde_json::{Value, json};
use uuid::Uuid;

use super::load::recipient;
use super::ours::{ROUTE, Stage, TEXT};
use super::report::Run;
use super::{centre, load};
use crate::support::api::Api;
use crate::support::installation::Crew;

/// Recipients of a call.
pub(crate) const RECIPIENTS: usize = 10_000;
const CLIENTS: usize = 4;
/// Messages that are read back.
const SAMPLE: usize = 200;

/// A call with these recipients.
fn body(numbers: std::ops::Range<usize>) -> Value {
    let to: Vec<_> = numbers.map(|number| format!("+{}", recipient(number))).collect();
    json!({"to": to, "text": TEXT})
}

/// Has a tenant's messages to these recipients accepted, in as few calls as it takes.
pub(crate) async fn fill(stage: &Stage, api: &Api, numbers: std::ops::Range<usize>) {
    for first in numbers.clone().step_by(RECIPIENTS) {
        let said = stage.post(api, &body(first..numbers.end.min(first + RECIPIENTS))).await;
        assert_eq!(said["refused"], json!([]), "all are accepted");
    }
}

/// So many recipients, rounded up to whole calls, while nobody sends. Every one of them counts: it is in the queue, its sender can
/// read it, and the API knows those that it is asked for.
pub(crate) async fn accept(recipients: usize) -> Run {
    let crew = Crew { sends: false, ..Crew::one() };
    let stage = Stage::set(&ROUTE, &crew, centre::start()).await;
    let api = &stage.installation.api;
    fill(&stage, api, 0..CLIENTS).await;
    let bodies: Vec<_> = (0..recipients.div_ceil(RECIPIENTS).max(CLIENTS))
        .map(|call| body(call * RECIPIENTS..(call + 1) * RECIPIENTS))
        .collect();

    let answers = Mutex::new(Vec::new());
    let (began, watch) = (Instant::now(), stage.watch());
    let accepted = load::run(&mut [(); CLIENTS], bodies.len(), async |(), call| {
        let said = stage.post(api, &bodies[call]).await;
        answers.lock().expect("nobody panics").push(said);
    })
    .await;
    let (seconds, spent) = (began.elapsed().as_secs_f64(), watch.stop());

    let answers = answers.into_inner().expect("nobody panics");
    let messages: Vec<&Value> =
        answers.iter().flat_map(|answer| answer["messages"].as_array().expect("messages")).collect();
    assert_eq!(messages.len(), bodies.len() * RECIPIENTS, "all are accepted");
    let all = messages.len() + CLIENTS;
    assert_eq!(stage.count("select count(*) from queue where state = 0").await, all, "all are queued");
    assert_eq!(claimable(&stage).await, all, "a sender can read all");
    for _ in 0..SAMPLE {
        let message = messages[rand::random_range(0..messages.len())];
        let id = message["id"].as_str().expect("an id");
        let (status, said) = api.get(&format!("/{id}")).await.expect("an answer");
        assert_eq!((status, &said["to"], &said["text"]), (200, &message["to"], &json!(TEXT)), "{said}");
    }
    Run { accepted: Some(accepted), messages: messages.len(), seconds, spent, memory: stage.memory() }
}

/// How many messages the tenant's sender would find, asked as it asks.
async fn claimable(stage: &Stage) -> usize {
    let tenant = stage.installation.tenants[0];
    let pool = stage.databases.data.pool(&format!("bst_{tenant}"));
    let (mut after, mut found) = (MessageId(Uuid::nil()), 0);
    loop {
        let read = claim::read(&pool, tenant, after, &[], SystemClock.now(), 1000).await.expect("read");
        let Some(last) = read.last() else { return found };
        (after, found) = (last.id, found + read.len());
    }
}
