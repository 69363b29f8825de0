//! Which tenants have something to send: whose senders go to zero after their idle time, and who is woken (M1, K3).
//!
//! What is known is how long nothing was seen, by an operator that has looked: while the database does not answer, nobody falls
//! asleep. A new leader leaves asleep whom it finds so, and wakes who has work.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::world::{Target, World};
use crate::domain::TenantId;
use crate::store::claim;
use crate::store::shares::{self, Listener, Notice};

/// Between two looks at the queue: a message that is scheduled, released or was not heard of is found by them.
const EVERY: Duration = Duration::from_secs(20);
/// Between two looks at the least, whatever is heard.
const SELDOM: Duration = Duration::from_secs(1);
/// After the database did not answer.
const AGAIN: Duration = Duration::from_secs(5);
/// A sender is there so long before a scheduled message is due.
const AHEAD: SignedDuration = SignedDuration::from_secs(30);

/// Why nothing could be looked at.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Listen(shares::Error),
    #[error(transparent)]
    Look(claim::Error),
}

/// Whether a tenant's pods are wanted, as far as there is anything to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// They are; to be asked again after this time.
    Awake(Duration),
    /// They are not, until there is something to send.
    Asleep,
}

/// A Tenant, by namespace and name.
type Place = (String, String);

/// When each tenant was last seen to have something to send.
#[derive(Debug, Default)]
pub(super) struct Work(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    looked_at: Option<Instant>,
    tenants: HashMap<TenantId, Seen>,
}

#[derive(Debug)]
struct Seen {
    /// `None`: never, and it was asleep when this operator came.
    at: Option<Instant>,
    /// Who is to be told when there is something.
    asleep: Option<Place>,
}

impl Work {
    /// Whether a tenant rests at `now`, who sleeps after `idle`; `None`: never. `sleeps`: it has no pods wanted at present.
    pub(super) fn rest(
        &self,
        tenant: TenantId,
        place: (&str, &str),
        idle: Option<Duration>,
        sleeps: bool,
        now: Instant,
    ) -> Rest {
        let mut inner = self.inner();
        let looked_at = inner.looked_at;
        let seen = inner.tenants.entry(tenant).or_insert(Seen { at: (!sleeps).then_some(now), asleep: None });
        let left = idle.map(|idle| match (seen.at, looked_at) {
            (None, _) => Duration::ZERO,
            (Some(_), None) => idle,
            (Some(at), Some(looked)) => idle.saturating_sub(looked.saturating_duration_since(at)),
        });
        match left {
            Some(Duration::ZERO) => {
                seen.asleep = Some((place.0.to_owned(), place.1.to_owned()));
                Rest::Asleep
            }
            left => {
                seen.asleep = None;
                // The look that decides comes after it.
                Rest::Awake(left.map_or(Duration::MAX, |left| left + EVERY))
            }
        }
    }

    /// These have something to send at `now`; those who are to be woken.
    fn has(&self, tenants: &[TenantId], now: Instant) -> Vec<Place> {
        let mut inner = self.inner();
        let seen = tenants.iter().filter_map(|tenant| {
            let seen = inner.tenants.get_mut(tenant)?;
            seen.at = Some(now);
            seen.asleep.take()
        });
        seen.collect()
    }

    /// Everybody was looked at, as things were at `now`.
    fn looked(&self, now: Instant) {
        self.inner().looked_at = Some(now);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks and listens until `stop`.
pub(super) async fn run(context: Arc<Context>, worlds: Vec<Arc<World>>, stop: CancellationToken) {
    let following = async {
        loop {
            if let Err(error) = follow(&context, &worlds).await {
                tracing::warn!(%error, "nobody falls asleep, and who sleeps is not woken, until the database answers");
            }
            sleep(AGAIN).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = following => {}
    }
}

async fn follow(context: &Context, worlds: &[Arc<World>]) -> Result<(), Error> {
    let mut listener = Listener::open(&context.pool).await.map_err(Error::Listen)?;
    loop {
        look(context, worlds).await.map_err(Error::Look)?;
        let (soonest, next) = (Instant::now() + SELDOM, Instant::now() + EVERY);
        loop {
            tokio::select! {
                notice = listener.next() => match notice.map_err(Error::Listen)? {
                    Notice::Wake(tenants) => wake(worlds, context.work.has(&tenants, Instant::now())).await,
                    // Whoever is let in again may have messages that waited; nobody tells of them.
                    Notice::Change | Notice::Gap => break,
                },
                () = sleep_until(next) => {
                    listener.check().await.map_err(Error::Listen)?;
                    break;
                }
            }
        }
        sleep_until(soonest).await;
    }
}

async fn look(context: &Context, worlds: &[Arc<World>]) -> Result<(), claim::Error> {
    let (began, now) = (Instant::now(), context.clock.now());
    let working = claim::with_work(&context.pool, now.saturating_add(AHEAD).unwrap_or(now)).await?;
    wake(worlds, context.work.has(&working, began)).await;
    context.work.looked(began);
    Ok(())
}

async fn wake(worlds: &[Arc<World>], places: Vec<Place>) {
    for (namespace, name) in places {
        if let Some(world) = worlds.iter().find(|world| world.namespace == namespace) {
            world.queues.push(&namespace, Target::Tenant(name)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId(7);
    const IDLE: Duration = Duration::from_secs(60);

    fn place() -> Vec<Place> {
        vec![("sms".to_owned(), "nordlys".to_owned())]
    }

    fn rest(work: &Work, idle: Option<Duration>, sleeps: bool, now: Instant) -> Rest {
        work.rest(TENANT, ("sms", "nordlys"), idle, sleeps, now)
    }

    #[test]
    fn who_has_nothing_to_send_for_its_idle_time_sleeps_until_there_is_something() {
        let (work, start) = (Work::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(rest(&work, Some(IDLE), false, start), Rest::Awake(IDLE + EVERY));
        work.looked(after(59));
        assert_eq!(rest(&work, Some(IDLE), false, after(59)), Rest::Awake(Duration::from_secs(1) + EVERY));
        assert!(work.has(&[TENANT, TenantId(8)], after(60)).is_empty(), "it is awake");
        work.looked(after(119));
        assert_ne!(rest(&work, Some(IDLE), false, after(119)), Rest::Asleep, "it had something a minute ago");
        work.looked(after(120));
        assert_eq!(rest(&work, None, false, after(120)), Rest::Awake(Duration::MAX), "its owner does not want it to");
        assert_eq!(rest(&work, Some(IDLE), false, after(120)), Rest::Asleep);
        assert_eq!(work.has(&[TENANT], after(130)), place());
        assert!(work.has(&[TENANT], after(130)).is_empty(), "once is enough");
        assert_ne!(rest(&work, Some(IDLE), true, after(131)), Rest::Asleep);
    }

    #[test]
    fn nobody_falls_asleep_while_nobody_looks() {
        let (work, start) = (Work::default(), Instant::now());
        let late = start + IDLE * 10;
        assert_ne!(rest(&work, Some(IDLE), false, start), Rest::Asleep);
        assert_ne!(rest(&work, Some(IDLE), false, late), Rest::Asleep, "not looked at yet");
        work.looked(start + IDLE / 2);
        assert_ne!(rest(&work, Some(IDLE), false, late), Rest::Asleep, "the database was away since");
        work.looked(late);
        assert_eq!(rest(&work, Some(IDLE), false, late), Rest::Asleep);
    }

    #[test]
    fn a_new_leader_lets_sleepers_sleep_and_wakes_who_has_work() {
        let (work, start) = (Work::default(), Instant::now());
        assert_eq!(rest(&work, Some(IDLE), true, start), Rest::Asleep);
        assert_eq!(work.has(&[TENANT], start), place());
        assert_ne!(rest(&work, Some(IDLE), true, start), Rest::Asleep);
        let suspended = Work::default();
        assert_eq!(rest(&suspended, None, true, start), Rest::Awake(Duration::MAX), "it never sleeps");
    }
}
