//! Parts die without a word, under load, and nothing that was accepted is lost (B10, K3).
use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::json;

use crate::support::caller::{Accepted, Caller, numbers};
use crate::support::crash::RECOVERY;
use crate::support::smsc::{Smsc, repeated};
use crate::support::stage;
use crate::support::traffic::Traffic;
use crate::support::wait::{eventually, holds};
use crate::support::world::World;

/// Submits of the route without an answer: two binds with ten each.
const WINDOW: usize = 20;
/// Recipients of one call.
const CALL: u32 = 1_000;
/// Calls that are queued before something dies, so that the windows are full for many seconds.
const CALLS: u32 = 2;

/// Has `CALLS` times `CALL` messages accepted, to numbers from `first` on.
async fn backlog(caller: &Caller, first: u32) -> Vec<Accepted> {
    let mut accepted = Vec::new();
    for call in 0..CALLS {
        accepted.push(caller.send(&numbers(first + call * CALL, CALL)).await);
    }
    accepted
}

/// A tenant under steady traffic, and what there is to kill.
struct Stage<'w> {
    world: &'w World,
    smsc: Smsc,
    route: String,
    tenant: String,
    caller: Arc<Caller>,
    /// Numbers called so far; each is called once.
    called: u32,
    before: usize,
}

impl<'w> Stage<'w> {
    async fn set(world: &'w World) -> Self {
        // An upstream that takes its time: it is the windows that bound what goes, at 133 a second, and not the rate.
        let smsc = world.smsc(&["--latency-ms", "150", "--record", "100000"]).await;
        let route = world.route("main", &smsc, |spec| spec["ratePerSecond"] = 400.into()).await;
        let tenant = world.tenant("tenant", &[&route], |_| {}).await;
        world.route_ready(&route).await;
        world.tenant_ready(&tenant).await;
        world.prepare_to_crash().await;
        let caller = Arc::new(world.caller(&tenant).await);
        Self { world, smsc, route, tenant, caller, called: 0, before: 0 }
    }

    /// Under load, `kill` happens; in the end every accepted message is delivered, and at most so many went twice.
    async fn survives(&mut self, what: &str, most: usize, kill: impl AsyncFnOnce(&Self)) {
        let first = self.called;
        self.called += 100_000;
        let traffic = Traffic::start(&self.caller, first);
        let mut accepted = backlog(&self.caller, first + 50_000).await;
        eventually("the windows are full", RECOVERY, async || {
            let stats = self.smsc.stats().await?;
            holds(stats.unanswered == WINDOW, stats)
        })
        .await;
        kill(self).await;
        // Whatever was away is at work again.
        accepted.push(self.caller.send(&numbers(first + 90_000, 1)).await);
        let settled = traffic.settle(accepted, RECOVERY).await;
        settled.assert_all("delivered");
        let twice = repeated(&self.smsc.submits().await.expect("the SMSC's record"));
        println!("{what}: {} accepted, all delivered, {} of them twice", settled.accepted, twice - self.before);
        assert!(twice - self.before <= most, "{what}: {} went twice", twice - self.before);
        self.before = twice;
    }

    async fn pods(&self, selector: &str) -> Vec<Pod> {
        let pods = self.world.pods(selector).await;
        assert!(!pods.is_empty(), "there is a pod of {selector}");
        pods
    }

    /// Crashes the processes of pods; their containers start anew in place.
    async fn crash(&self, selector: &str) {
        for pod in self.pods(selector).await {
            self.world.crash(&pod).await;
            self.world.restarted(&pod).await;
        }
    }

    /// The same at the worst moment: the upstream has a full window in hand and has answered none of it. Its fate alone is
    /// unknown then, so that the bound on what goes twice is exact.
    async fn crash_with_a_window_unanswered(&self, selector: &str) {
        self.smsc.fall_silent(WINDOW).await;
        let pods = self.pods(selector).await;
        for pod in &pods {
            self.world.crash(pod).await;
        }
        self.smsc.behave(&json!({"stall": false})).await;
        for pod in &pods {
            self.world.restarted(pod).await;
        }
    }

    /// Has pods end in good order; others take their places.
    async fn evict(&self, selector: &str) {
        let pods = self.pods(selector).await;
        for pod in &pods {
            self.world.evict(pod).await;
        }
        self.world.replaced(selector, &pods).await;
    }
}

#[tokio::test]
async fn nothing_is_lost_when_sender_connector_api_postgres_or_keyring_dies() {
    stage::alone("die", async |world| {
        let mut stage = Stage::set(world).await;
        let sender = format!("budstikke.dev/tenant={}", stage.tenant);
        let connector = format!("budstikke.dev/route={}", stage.route);
        let part = |name| format!("app.kubernetes.io/component={name}");
        stage.survives("sender", WINDOW, async |stage| stage.crash_with_a_window_unanswered(&sender).await).await;
        stage.survives("connector", WINDOW, async |stage| stage.crash_with_a_window_unanswered(&connector).await).await;
        stage.survives("api", WINDOW, async |stage| stage.crash(&part("api")).await).await;
        stage.survives("postgres", WINDOW, async |stage| stage.crash(&part("postgres")).await).await;
        // Without it calls may be answered 503, and are repeated.
        stage.survives("keyring", WINDOW, async |stage| stage.crash(&part("keyring")).await).await;
        // Who is told to stop waits for what is under way.
        stage.survives("sender, told to stop", 0, async |stage| stage.evict(&sender).await).await;
        stage.survives("connector, told to stop", 0, async |stage| stage.evict(&connector).await).await;
        stage.survives("api, told to stop", 0, async |stage| stage.evict(&part("api")).await).await;
    })
    .await;
}

#[tokio::test]
async fn a_dead_smsc_is_bound_to_again_and_nothing_is_lost() {
    stage::beside_others("smsc", async |world| {
        // Receipts that the SMSC owes die with it, so none are asked for: messages are final when it has taken them.
        let first = world.smsc(&["--latency-ms", "50"]).await;
        let route = world.route("main", &first, |spec| spec["receipts"] = json!({"request": "none"})).await;
        let tenant = world.tenant("tenant", &[&route], |_| {}).await;
        world.route_ready(&route).await;
        world.tenant_ready(&tenant).await;
        let caller = Arc::new(world.caller(&tenant).await);

        let traffic = Traffic::start(&caller, 0);
        let accepted = backlog(&caller, 50_000).await;
        let flows = async |smsc: &Smsc| {
            eventually("messages flow", RECOVERY, async || {
                let stats = smsc.stats().await?;
                holds(stats.submitted >= 50 && stats.binds == 2, stats)
            })
            .await;
        };
        flows(&first).await;
        // Its record dies with it. With the windows full and nothing answered, nothing can be added to what is read here.
        first.fall_silent(WINDOW).await;
        let before = first.submits().await.expect("the SMSC's record");
        let selector = format!("app.kubernetes.io/name={}", first.name());
        let pods = world.pods(&selector).await;
        for pod in &pods {
            world.api::<Pod>().delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await.expect("delete");
        }
        world.replaced(&selector, &pods).await;
        let second = first.successor();
        flows(&second).await;
        let settled = traffic.settle(accepted, RECOVERY).await;
        settled.assert_all("sent");

        // Twice, over both lives, went nothing but what the first had not answered.
        let after = second.submits().await.expect("the SMSC's record");
        assert_eq!((repeated(&before), repeated(&after)), (0, 0), "nothing goes twice within one life");
        let numbers = |answered: bool| -> HashSet<&str> {
            let of_first = before.iter().filter(|submit| submit.status.is_some() == answered);
            of_first.map(|submit| &*submit.destination).collect()
        };
        let (answered, unanswered) = (numbers(true), numbers(false));
        assert_eq!(unanswered.len(), WINDOW);
        let came: HashSet<&str> = after.iter().map(|submit| &*submit.destination).collect();
        assert_eq!(answered.intersection(&came).count(), 0, "what was answered does not go again");
        // By the policy of the tenant, what was not answered does.
        assert_eq!(unanswered.difference(&came).count(), 0, "what was not answered goes again");
        assert_eq!(answered.len() + came.len(), settled.accepted, "everything went");
        println!("SMSC: {} accepted, all sent, {} of them twice", settled.accepted, unanswered.len());
    })
    .await;
}
