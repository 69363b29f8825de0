//! Follows what connectors tell of their upstreams, so that the routes' statuses follow too: no watch shows it.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use tokio_util::sync::CancellationToken;

use super::super::context::Context;
use super::super::status;
use super::super::world::{Target, World};
use super::upstream::{circuit, verdict};
use crate::crd::SmsRoute;
use crate::crd::conditions::types;
use crate::crd::smsroute::CircuitStatus;
use crate::store::upstream_reports::{self, Report};

/// How often the reports are looked at.
const LOOK: Duration = Duration::from_secs(3);
/// How often figures in a status change at most, unless the condition turns.
const CALM: Duration = Duration::from_secs(60);

/// What of it a status shows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    summary: String,
    circuit: Option<CircuitStatus>,
    status: String,
    reason: String,
    message: String,
}

impl Shown {
    /// In the status that stands; `None` before the first.
    fn before(route: &SmsRoute) -> Option<Self> {
        let told = status::current(route).iter().find(|condition| condition.type_ == types::UPSTREAM_READY)?;
        let said = route.status.as_ref()?;
        Some(Self {
            summary: said.connector.as_ref()?.summary.clone(),
            circuit: said.circuit.clone(),
            status: told.status.clone(),
            reason: told.reason.clone(),
            message: told.message.clone(),
        })
    }

    fn now(route: &SmsRoute, reports: &[Report]) -> Self {
        let (summary, verdict) = verdict(&route.spec, reports);
        let status = if verdict.holds { "True" } else { "False" }.to_owned();
        let circuit = circuit(&route.spec, reports);
        Self { summary, circuit, status, reason: verdict.reason.to_owned(), message: verdict.message }
    }

    fn is_turn_from(&self, before: &Self) -> bool {
        let of =
            |shown: &Self| (shown.status.clone(), shown.reason.clone(), shown.circuit.as_ref().map(|told| told.state));
        of(self) != of(before)
    }
}

/// A route by namespace and name.
type Key = (String, String);

/// Routes that were to be reconciled within the last minute, and for what.
#[derive(Default)]
struct Recent(HashMap<Key, (Shown, Instant)>);

impl Recent {
    /// Whether the status is to follow now: at once where the condition turns, else a minute after the last time.
    fn is_due(&mut self, key: Key, before: &Shown, now: Shown, at: Instant) -> bool {
        self.0.retain(|_, (_, since)| at.duration_since(*since) < CALM);
        let due = now != *before
            && self.0.get(&key).is_none_or(|(last, _)| now.is_turn_from(before) && now.is_turn_from(last));
        if due {
            self.0.insert(key, (now, at));
        }
        due
    }
}

/// Has routes reconciled whose upstream stands differently than their status says, until `stop`.
pub(in super::super) async fn follow(context: Arc<Context>, worlds: Vec<Arc<World>>, stop: CancellationToken) {
    let mut recent = Recent::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let mut reports: HashMap<Key, Vec<Report>> = HashMap::new();
        match upstream_reports::of_all(&context.pool).await {
            Ok(all) => {
                for (namespace, name, report) in all {
                    reports.entry((namespace, name)).or_default().push(report);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "will try again");
                continue;
            }
        }
        for world in &worlds {
            for route in world.routes.state() {
                // Without a status it is about to be reconciled anyway.
                let Some(before) = Shown::before(&route) else { continue };
                let key = (world.namespace.clone(), route.name_any());
                let now = Shown::now(&route, reports.get(&key).map_or(&[], Vec::as_slice));
                if recent.is_due(key, &before, now, Instant::now()) {
                    world.queues.push(&world.namespace, Target::Route(route.name_any())).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::SmsRouteSpec;
    use crate::domain::Circuit;

    fn spec() -> SmsRouteSpec {
        let spec = json!({
            "upstream": {"smpp": {"host": "smpp.example.com", "port": 3601, "credentialsRef": {"name": "sinch"}}},
            "processor": {"name": "Sinch", "country": "SE"}, "ratePerSecond": 20, "binds": 3,
        });
        serde_json::from_value(spec).expect("a spec")
    }

    #[test]
    fn figures_wait_for_their_minute_and_a_turn_does_not() {
        let shown = |stand: u16| {
            let route = SmsRoute::new("fast", spec());
            let since = jiff::Timestamp::UNIX_EPOCH;
            let (circuit, last_error) = (Circuit::Closed, None);
            Shown::now(&route, &[Report { binds: stand, failure: None, id_format: None, circuit, since, last_error }])
        };
        let key = || ("sms".to_owned(), "fast".to_owned());
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut recent = Recent::default();
        assert!(!recent.is_due(key(), &shown(3), shown(3), begin), "nothing changed");
        assert!(recent.is_due(key(), &shown(3), shown(2), after(1)), "some are missing");
        assert!(!recent.is_due(key(), &shown(3), shown(2), after(2)), "it is under way");
        assert!(!recent.is_due(key(), &shown(2), shown(1), after(11)), "another figure");
        assert!(recent.is_due(key(), &shown(2), shown(0), after(21)), "none is left");
        assert!(recent.is_due(key(), &shown(0), shown(3), after(31)), "all are back");
        assert!(recent.is_due(key(), &shown(3), shown(2), after(41)));
        assert!(!recent.is_due(key(), &shown(2), shown(1), after(51)));
        assert!(recent.is_due(key(), &shown(2), shown(1), after(101)), "a minute later");
    }
}
