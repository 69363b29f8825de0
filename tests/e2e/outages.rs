//! Parts die without a word, under load, and nothing that was accepted is lost (B10, K3).
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::DeleteParams;

use crate::support::caller::Caller;
use crate::support::crash::RECOVERY;
use crate::support::smsc::Smsc;
use crate::support::stage;
use crate::support::traffic::{Traffic, duplicates};
use crate::support::wait::{eventually, holds};
use crate::support::world::World;

/// Submits of the route without an answer: two binds with ten each.
const WINDOW: usize = 20;

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
        // An upstream that takes its time, so that there is always something on its way.
        let smsc = world.smsc(&["--latency-ms", "50"]).await;
        let (route, tenant, caller) = world.simple(&smsc).await;
        Self { world, smsc, route, tenant, caller: Arc::new(caller), called: 0, before: 0 }
    }

    /// Under load, `kill` happens; in the end every accepted message is final, and few went twice.
    async fn survives(&mut self, what: &str, kill: impl AsyncFnOnce(&Self)) {
        let traffic = Traffic::start(&self.caller, self.called);
        self.called += 100_000;
        self.flowing().await;
        kill(self).await;
        self.flowing().await;
        let count = traffic.settle(RECOVERY).await;
        let twice = duplicates(&self.smsc).await;
        println!("{what}: {count} accepted, all final, {} of them twice", twice - self.before);
        assert!(twice - self.before <= WINDOW, "{what}: {} went twice", twice - self.before);
        self.before = twice;
    }

    /// Waits until fifty more have come.
    async fn flowing(&self) {
        let submitted = async || self.smsc.stats().await.map(|stats| stats.submitted);
        let from = eventually("the SMSC's counters", RECOVERY, submitted).await;
        eventually("messages flow", RECOVERY, async || {
            let now = submitted().await?;
            holds(now >= from + 50, (from, now))
        })
        .await;
    }

    async fn pods(&self, selector: &str) -> Vec<Pod> {
        let pods = self.world.pods(selector).await;
        assert!(!pods.is_empty(), "there is a pod of {selector}");
        pods
    }

    /// Crashes the processes of pods and removes the pods; others take their places.
    async fn lose(&self, selector: &str) {
        let pods = self.pods(selector).await;
        for pod in &pods {
            self.world.crash_and_replace(pod).await;
        }
        self.world.replaced(selector, &pods).await;
    }
}

#[tokio::test]
async fn nothing_is_lost_when_sender_connector_api_or_postgres_dies() {
    stage::alone("die", async |world| {
        let mut stage = Stage::set(world).await;
        stage
            .survives("sender", async |stage| stage.lose(&format!("budstikke.dev/tenant={}", stage.tenant)).await)
            .await;
        stage
            .survives("connector", async |stage| stage.lose(&format!("budstikke.dev/route={}", stage.route)).await)
            .await;
        stage.survives("api", async |stage| stage.lose("app.kubernetes.io/component=api").await).await;
        stage
            .survives("postgres", async |stage| {
                for pod in stage.pods("app.kubernetes.io/component=postgres").await {
                    world.crash(&pod).await;
                    world.restarted(&pod).await;
                }
            })
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_dead_smsc_is_bound_to_again_and_nothing_is_lost() {
    stage::beside_others("smsc", async |world| {
        // Receipts that the SMSC owes die with it, so none are asked for: messages are final when it has taken them.
        let smsc = world.smsc(&["--latency-ms", "50"]).await;
        let route = world.route("main", &smsc, |spec| spec["receipts"] = serde_json::json!({"request": "none"})).await;
        let tenant = world.tenant("tenant", &[&route], |_| {}).await;
        world.route_ready(&route).await;
        world.tenant_ready(&tenant).await;
        let caller = Arc::new(world.caller(&tenant).await);

        let traffic = Traffic::start(&caller, 0);
        let flows = async |least: u64| {
            eventually("messages flow", RECOVERY, async || {
                let stats = smsc.stats().await?;
                holds(stats.submitted >= least && stats.binds == 2, stats)
            })
            .await;
        };
        flows(50).await;
        let selector = format!("app.kubernetes.io/name={}", smsc.name());
        let pods = world.pods(&selector).await;
        for pod in &pods {
            world.api::<Pod>().delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await.expect("delete");
        }
        world.replaced(&selector, &pods).await;
        flows(50).await;
        assert!(traffic.settle(RECOVERY).await >= 100);
    })
    .await;
}
