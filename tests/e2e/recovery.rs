//! How long it takes after a kill -9 until work goes on (K3), beyond what Kubernetes takes to start the process anew: that is a
//! second where a container dies for the first time, and longer each time that it dies again (`CrashLoopBackOff`).
use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::LogParams;

use crate::support::caller::{Caller, numbers};
use crate::support::crash::RECOVERY;
use crate::support::pulse::{Pulse, digits};
use crate::support::smsc::Smsc;
use crate::support::stage;
use crate::support::wait::eventually;
use crate::support::world::World;

/// What is promised after a kill, milliseconds.
const BOUND: i64 = 5_000;
/// The same of a sender that sleeps, after an accept.
const AWAKE: i64 = 1_000;
/// That of nobody else.
const NUMBER_OF_THE_SLEEPER: u32 = 900_000;
/// What PostgreSQL says when it takes connections again.
const TAKES_CONNECTIONS: &str = "database system is ready to accept connections";

/// A tenant's messages on their way, and what there is to kill.
struct Scene<'w> {
    world: &'w World,
    smsc: Smsc,
    pulse: Pulse,
}

/// How long something took, milliseconds.
#[derive(Debug)]
struct Recovery {
    what: &'static str,
    /// Of that what Kubernetes, or PostgreSQL, took to begin anew; 0 where another pod was there all along.
    start: i64,
    whole: i64,
    /// The most that is promised beyond it.
    bound: i64,
}

impl Recovery {
    fn beyond(&self) -> i64 {
        self.whole - self.start
    }

    fn tell(&self) {
        let [what, whole, start, beyond] = [&self.what as &dyn Display, &self.whole, &self.start, &self.beyond()];
        println!("recovery, {what}: {whole} ms, of which {start} ms its own start: {beyond} ms beyond");
    }
}

impl Scene<'_> {
    async fn pods(&self, selector: &str) -> Vec<Pod> {
        let pods = self.world.pods(selector).await;
        assert!(!pods.is_empty(), "there is a pod of {selector}");
        pods
    }

    /// Kills the processes of some pods at once; when none was left.
    async fn kill(&self, pods: &[Pod]) -> i64 {
        let kills = futures::future::join_all(pods.iter().map(|pod| self.world.crash(pod))).await;
        kills.into_iter().max().expect("a kill")
    }

    /// When the first new process of some pods began after a kill. Asked when all is over, so that it disturbs nothing.
    async fn began(&self, pods: &[Pod], killed: i64) -> i64 {
        eventually("a new process", RECOVERY, async || {
            let began = futures::future::join_all(pods.iter().map(|pod| self.world.began(pod))).await;
            let first = began.iter().flatten().filter(|began| **began >= killed).min();
            first.copied().ok_or_else(|| format!("{began:?}"))
        })
        .await
    }

    /// When the next message was submitted that was called for after a moment.
    async fn next_submit(&self, since: i64) -> i64 {
        eventually("the next submit", RECOVERY, async || {
            let submits = self.smsc.submits().await?;
            self.pulse.submitted_since(since, &submits).ok_or_else(|| format!("{} submits", submits.len()))
        })
        .await
    }

    /// From a kill to the next message that was called for after it and submitted.
    async fn of_a_role(&self, what: &'static str, pods: &[Pod], beside_others: bool) -> Recovery {
        let killed = self.kill(pods).await;
        let submitted = self.next_submit(killed).await;
        let start = if beside_others { 0 } else { self.began(pods, killed).await - killed };
        self.settle(pods).await;
        Recovery { what, start, whole: submitted - killed, bound: BOUND }
    }

    /// From PostgreSQL's return to the next accepted call, and to the next message that was called for after it and submitted.
    async fn of_postgres(&self, pods: &[Pod]) -> [Recovery; 2] {
        let killed = self.kill(pods).await;
        let pod = pods[0].name_any();
        let returned = eventually("PostgreSQL takes connections", RECOVERY, async || {
            let container = Some("postgres".to_owned());
            let asked = LogParams { container, timestamps: true, tail_lines: Some(50), ..LogParams::default() };
            let log = self.world.api::<Pod>().logs(&pod, &asked).await.map_err(|error| error.to_string())?;
            let said = log.lines().filter(|line| line.contains(TAKES_CONNECTIONS));
            let said = said.filter_map(|line| line.split(' ').next()?.parse::<jiff::Timestamp>().ok());
            let said = said.map(jiff::Timestamp::as_millisecond).find(|at| *at >= killed);
            said.ok_or_else(|| format!("{pod} says it not since the kill"))
        })
        .await;
        let accepted = eventually("the next accept", RECOVERY, async || {
            self.pulse.accepted_since(returned).ok_or_else(|| "none".to_owned())
        })
        .await;
        let submitted = self.next_submit(returned).await;
        self.settle(pods).await;
        let start = returned - killed;
        [
            Recovery { what: "PostgreSQL, next accept", start, whole: accepted - killed, bound: BOUND },
            Recovery { what: "PostgreSQL, next submit", start, whole: submitted - killed, bound: BOUND },
        ]
    }

    /// From the accept of a message of a tenant that sleeps to its submit, but for what the pod takes to begin once it is wanted.
    async fn of_a_sleeper(&self, tenant: &str, caller: &Caller) -> Recovery {
        self.world.asleep(tenant).await;
        let wanted = self.world.when_wanted(tenant).await;
        let to = numbers(NUMBER_OF_THE_SLEEPER, 1);
        caller.send(&to).await;
        let accepted = jiff::Timestamp::now().as_millisecond();
        let submitted = eventually("its submit", RECOVERY, async || {
            let submits = self.smsc.submits().await?;
            let its = submits.iter().find(|submit| digits(&submit.destination) == digits(&to[0]));
            its.map(|submit| submit.at_ms).ok_or_else(|| format!("{} submits", submits.len()))
        })
        .await;
        let wanted = wanted.await.expect("a watch of its Deployment");
        let began = self.began(&self.pods(&format!("budstikke.dev/tenant={tenant}")).await, wanted).await;
        Recovery { what: "a sleeping sender", start: began - wanted, whole: submitted - accepted, bound: AWAKE }
    }

    /// Everything is as before the kill.
    async fn settle(&self, before: &[Pod]) {
        for pod in before {
            self.world.restarted(pod).await;
        }
        let now = jiff::Timestamp::now().as_millisecond();
        self.next_submit(now).await;
    }
}

#[tokio::test]
async fn work_goes_on_soon_after_a_kill() {
    stage::alone("recovery", async |world| {
        let smsc = world.smsc(&["--record", "100000"]).await;
        let (route, tenant, _) = world.simple(&smsc).await;
        // Falls asleep while the others die.
        let sleeper = world.tenant("sleeper", &[&route], |spec| spec["sender"]["idleSeconds"] = 60.into()).await;
        world.prepare_to_crash().await;
        let caller = Arc::new(world.caller(&tenant).await.directly(world).await);
        let scene = Scene { world, smsc, pulse: Pulse::start(&caller) };
        scene.next_submit(0).await;

        let part = |name| format!("app.kubernetes.io/component={name}");
        let sender = scene.pods(&format!("budstikke.dev/tenant={tenant}")).await;
        let connector = scene.pods(&format!("budstikke.dev/route={route}")).await;
        let api = scene.pods(&part("api")).await;
        let mut recoveries = vec![
            scene.of_a_role("sender", &sender, false).await,
            scene.of_a_role("connector", &connector, false).await,
            scene.of_a_role("API, one of two", &api[..1], true).await,
            scene.of_a_role("API, all", &scene.pods(&part("api")).await, false).await,
        ];
        recoveries.extend(scene.of_postgres(&scene.pods(&part("postgres")).await).await);

        recoveries.push(scene.of_a_sleeper(&sleeper, &world.caller(&sleeper).await.directly(world).await).await);
        recoveries.iter().for_each(Recovery::tell);
        let Scene { smsc, pulse, .. } = scene;
        let numbers = pulse.stop().await;
        eventually("every accepted message is submitted", RECOVERY, async || {
            let submits = smsc.submits().await?;
            let came: HashSet<_> = submits.iter().map(|submit| digits(&submit.destination)).collect();
            let missing = numbers.iter().filter(|number| !came.contains(number.as_str())).count();
            if missing == 0 { Ok(()) } else { Err(format!("{missing} of {} are missing", numbers.len())) }
        })
        .await;
        let late: Vec<_> = recoveries.iter().filter(|one| one.beyond() > one.bound).collect();
        assert!(late.is_empty(), "not as soon as promised: {late:?}");
    })
    .await;
}
