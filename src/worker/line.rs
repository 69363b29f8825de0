//! One endpoint, from the head of its line on: each job until it is delivered; after one that is not, the endpoint is given back.
use std::time::Instant;

use axum::http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::post::{Answer, Letter};
use super::{CLAIM, Shared, payload, schedule};
use crate::domain::copenhagen_day;
use crate::domain::webhook::{Disabled, NotASecret, NotAnAddress, WebhookEvent, WebhookSecret, WebhookUrl};
use crate::keyring;
use crate::store::webhooks::claims::{self, Attempt, Claimed, Failure, Job, Outcome};
use crate::store::webhooks::{self, sealed};

/// Jobs of one endpoint in one turn: then others come first.
const TURN: usize = 50;
/// How long an endpoint waits for what of ours is away.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);
/// "Gone": the endpoint wants nothing more.
const GONE: u16 = 410;

/// Something of ours is away, or broken.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(webhooks::Error),
    #[error(transparent)]
    Key(keyring::Error),
    #[error(transparent)]
    Sealed(sealed::Error),
    #[error(transparent)]
    Payload(payload::Error),
    #[error("a webhook's address: {0}")]
    Address(#[source] NotAnAddress),
    #[error("sign what a webhook is told: {0}")]
    Sign(#[source] NotASecret),
    #[error("a webhook's job is of a later version")]
    LaterVersion,
}

/// Where an endpoint is, and what signs what it is told.
struct Endpoint {
    url: WebhookUrl,
    secrets: Vec<WebhookSecret>,
}

/// Tells an endpoint what waits for it, as far as it takes it: how many tries that took.
pub(super) async fn deliver(shared: &Shared, to: &Claimed, stop: &CancellationToken) -> u64 {
    let mut tries = 0;
    let next = match turn(shared, to, stop, &mut tries).await {
        Ok(()) => None,
        Err(error) => {
            tracing::warn!(tenant = %to.tenant, webhook = %to.id, %error, "a webhook waits");
            shared.clock.now().saturating_add(PATIENCE).ok()
        }
    };
    if let Err(error) = claims::release(&shared.pool, to, next).await {
        tracing::warn!(tenant = %to.tenant, webhook = %to.id, %error, "a webhook is taken up again in a minute");
    }
    tries
}

async fn turn(shared: &Shared, to: &Claimed, stop: &CancellationToken, tries: &mut u64) -> Result<(), Error> {
    let endpoint = endpoint(shared, to).await?;
    for _ in 0..TURN {
        if stop.is_cancelled() {
            break;
        }
        let today = copenhagen_day(shared.clock.now());
        let Some(job) = claims::head(&shared.pool, to, today).await.map_err(Error::Store)? else { break };
        let event = job.event.ok_or(Error::LaterVersion)?;
        if !job.may_be_told && matches!(event, WebhookEvent::MessageSent | WebhookEvent::MessageFinal) {
            claims::cancel(&shared.pool, to, job.id, shared.clock.now()).await.map_err(Error::Store)?;
            continue;
        }
        *tries += 1;
        let attempt = attempt(shared, to, &endpoint, &job, event).await?;
        let now = shared.clock.now();
        let until = now.saturating_add(CLAIM).unwrap_or(now);
        let ours = claims::note(&shared.pool, to, job.id, &attempt, (now, until)).await.map_err(Error::Store)?;
        if let (true, Outcome::GivenUp(why)) = (ours, attempt.outcome) {
            shared.metrics.disabled(why);
            tracing::info!(tenant = %to.tenant, webhook = %to.id, why = why.as_str(), "a webhook is switched off");
        }
        if !ours || attempt.outcome != Outcome::Delivered {
            break;
        }
    }
    Ok(())
}

async fn endpoint(shared: &Shared, to: &Claimed) -> Result<Endpoint, Error> {
    let key = shared.keyring.account_key(to.tenant).await.map_err(Error::Key)?;
    let target = sealed::open_target(&key, to.id, &to.sealed).map_err(Error::Sealed)?;
    let url = WebhookUrl::parse(target.url.reveal()).map_err(Error::Address)?;
    let open = |secret: &Vec<u8>| sealed::open_secret(&key, to.id, secret).map_err(Error::Sealed);
    let secrets = std::iter::once(&to.secret).chain(&to.old_secret).map(open).collect::<Result<_, _>>()?;
    Ok(Endpoint { url, secrets })
}

async fn attempt(
    shared: &Shared,
    to: &Claimed,
    endpoint: &Endpoint,
    job: &Job,
    event: WebhookEvent,
) -> Result<Attempt, Error> {
    let body = payload::of(shared, to, job, event).await.map_err(Error::Payload)?;
    let now = shared.clock.now();
    let letter = sign(&endpoint.secrets, job.id, now, body).map_err(Error::Sign)?;
    let began = Instant::now();
    let answered = shared.poster.post(&endpoint.url, letter, now).await;
    let attempt = judge(job.attempts, answered, shared.clock.now());
    let word = attempt.failure.map_or("delivered", Failure::as_str);
    shared.metrics.tried(if attempt.status == Some(GONE) { "gone" } else { word }, began.elapsed());
    Ok(attempt)
}

/// The letter, signed with each secret: of two the endpoint knows one.
fn sign(secrets: &[WebhookSecret], id: Uuid, at: Timestamp, body: bytes::Bytes) -> Result<Letter, NotASecret> {
    let (id, seconds) = (id.to_string(), at.as_second());
    let signatures: Vec<String> =
        secrets.iter().map(|secret| secret.sign(&id, seconds, &body)).collect::<Result<_, _>>()?;
    Ok(Letter {
        id: HeaderValue::from_str(&id).map_err(|_| NotASecret)?,
        timestamp: HeaderValue::from(seconds),
        signature: HeaderValue::from_str(&signatures.join(" ")).map_err(|_| NotASecret)?,
        body,
    })
}

/// What follows from what was answered to the `tried`-th try, counted from 0.
fn judge(tried: i16, answered: Result<Answer, Failure>, now: Timestamp) -> Attempt {
    let (status, failure, asked) = match answered {
        Ok(Answer { status: status @ 200..=299, .. }) => {
            return Attempt { outcome: Outcome::Delivered, status: Some(status), failure: None };
        }
        Ok(Answer { status, asked }) => (Some(status), Failure::Status, asked),
        Err(failure) => (None, failure, None),
    };
    let outcome = match schedule::next(now, tried, asked) {
        _ if status == Some(GONE) => Outcome::GivenUp(Disabled::Gone),
        Some(then) => Outcome::Again(then),
        None => Outcome::GivenUp(Disabled::Failing),
    };
    Attempt { outcome, status, failure: Some(failure) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_an_answer() {
        let now: Timestamp = "2026-11-27T12:00:00Z".parse().expect("a timestamp");
        let answer = |status| Ok(Answer { status, asked: None });
        for status in [200, 204, 299] {
            let delivered = Attempt { outcome: Outcome::Delivered, status: Some(status), failure: None };
            assert_eq!(judge(3, answer(status), now), delivered);
        }
        // A redirection is none that is followed.
        for status in [199, 301, 302, 308, 400, 404, 429, 500, 503] {
            let again = judge(0, answer(status), now);
            assert!(matches!(again.outcome, Outcome::Again(_)), "{status}");
            assert_eq!((again.status, again.failure), (Some(status), Some(Failure::Status)));
        }
        assert_eq!(judge(0, answer(410), now).outcome, Outcome::GivenUp(Disabled::Gone));
        assert_eq!(judge(9, answer(500), now).outcome, Outcome::GivenUp(Disabled::Failing));
        assert_eq!(judge(9, answer(410), now).outcome, Outcome::GivenUp(Disabled::Gone));
        let failed = judge(0, Err(Failure::Tls), now);
        assert_eq!((failed.status, failed.failure), (None, Some(Failure::Tls)));
    }
}
