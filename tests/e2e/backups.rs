//! An installation of its own whose volumes are lost: the keyring comes back from its backups, the data goes on with its standby.
use std::sync::Arc;

use budstikke::crd::{RetentionPolicy, Tenant};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, LogParams};
use serde_json::json;

use crate::support::caller::numbers;
use crate::support::crash::{RECOVERY, is_ready};
use crate::support::helm::{RELEASE, helm_in, install_in};
use crate::support::manifests::{self, STANDARD};
use crate::support::shell::exec;
use crate::support::stage;
use crate::support::traffic::Traffic;
use crate::support::wait::{eventually, holds};
use crate::support::world::{SOON, World};

const KEYRING: &str = "budstikke-keyring-0";
const PRIMARY: &str = "budstikke-postgres-0";
const STANDBY: &str = "budstikke-postgres-standby-0";
const RESTORED: &str = "keyring.embedded.restore.id=lost-1";

/// The chart in a cluster that has the kinds: one pod of each role, and a standby of the data instance.
const SETTINGS: [&str; 2] = [
    "--set",
    "crds.enabled=false,operator.replicas=1,api.replicas=1,backups.tickSeconds=5,postgres.embedded.standby.enabled=true",
];

/// What the owner runs, in the operator's pod.
async fn restored(namespace: &str, words: &[&str]) -> Result<String, String> {
    let words = [&["/budstikke", "restored"], words].concat();
    exec(namespace, "deploy/budstikke-operator", "operator", &words).await
}

/// What a server says that does not start.
async fn until_refused(there: &World, pod: &str, why: &str) {
    eventually(&format!("{pod} refuses to start"), SOON, async || {
        let of_server = LogParams { container: Some("postgres".to_owned()), ..LogParams::default() };
        let said = there.api::<Pod>().logs(pod, &of_server).await.map_err(|error| error.to_string())?;
        holds(said.contains(why), said)
    })
    .await;
}

/// Loses what an instance has on its volume, under the running server, which dies without a word.
async fn lose_the_volume(there: &World, namespace: &str, pod: &str) {
    let server = there.api::<Pod>().get(pod).await.expect("its pod");
    exec(namespace, pod, "postgres", &["rm", "-rf", "/var/lib/postgresql/data/pgdata"]).await.expect("lose it");
    there.crash(&server).await;
}

/// As docs/backups.md has it where a volume is lost: the claim and the pod are deleted, and new ones made.
async fn begin_with_an_empty_volume(there: &World, pod: &str) {
    let claim = format!("data-{pod}");
    let claims = there.api::<PersistentVolumeClaim>();
    let before = claims.get(&claim).await.expect("its claim").metadata.uid;
    claims.delete(&claim, &DeleteParams::background()).await.expect("delete it");
    there.api::<Pod>().delete(pod, &DeleteParams::default().grace_period(1)).await.expect("delete the pod");
    eventually(&format!("{pod} has a new volume"), SOON, async || {
        let claim = claims.get(&claim).await.map_err(|error| error.to_string())?;
        let bound = claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"));
        holds(claim.metadata.uid != before && bound, &claim.status)
    })
    .await;
}

async fn until_ready(there: &World, pod: &str) {
    eventually(&format!("{pod} is ready"), SOON, async || {
        let pod = there.api::<Pod>().get(pod).await.map_err(|error| error.to_string())?;
        holds(is_ready(&pod), &pod.status)
    })
    .await;
}

#[tokio::test]
async fn an_installation_survives_the_loss_of_its_volumes() {
    stage::beside_others("backups", async |world| {
        let smsc = world.smsc(&[]).await;
        let namespace = world.namespace("backups").await;
        let there = world.elsewhere(&namespace);
        install_in(&namespace, &SETTINGS).await;
        for mut object in manifests::plan_and_policy() {
            if object["kind"] == "RetentionPolicy" {
                let declared = ["encryptedVolumes", "encryptedStandby", "encryptedExternalBackups"];
                object["spec"]["hosting"]["declared"] = json!(declared);
            }
            there.apply(&object).await;
        }
        there.prepare_to_crash().await;
        let (_, tenant, caller) = there.simple(&smsc).await;
        let caller = Arc::new(caller);
        let traffic = Traffic::start(&caller, 0);
        // Both are backed up, and the standby replays, or it would say so.
        there.condition::<RetentionPolicy>(STANDARD, "Compliant", "True").await;
        let report = ["psql", "-h", "/run/budstikke/sockets", "-U", "postgres", "-d", "budstikke", "-Atc"];
        let asked = "select newest is not null and failure = '' from keyring.backup_report";
        let words = [&report[..], &[asked]].concat();
        eventually("its backups are reported", SOON, async || {
            let said = exec(&namespace, KEYRING, "backup", &words).await?;
            holds(said == "t\n", said)
        })
        .await;
        traffic.settle(Vec::new(), SOON).await.assert_all("delivered");

        lose_the_volume(&there, &namespace, KEYRING).await;
        begin_with_an_empty_volume(&there, KEYRING).await;
        until_refused(&there, KEYRING, "the volume is empty, but the repository has").await;
        let restoring = [&SETTINGS[..], &["--set", RESTORED]].concat();
        install_in(&namespace, &restoring).await;
        // For as long as its keys cannot be looked up another reason may stand there.
        eventually("it waits for its owner's word", SOON, async || {
            let conditions = there.look::<Tenant>(&tenant).await?["status"]["conditions"].clone();
            let active = conditions.as_array().into_iter().flatten().find(|one| one["type"] == "Active");
            holds(
                active.is_some_and(|active| active["status"] == "False" && active["reason"] == "Restored"),
                &conditions,
            )
        })
        .await;

        let before = smsc.stats().await.expect("its counters").submitted;
        let accepted = caller.send(&numbers(500_000, 20)).await;
        eventually("it tells what happened", SOON, async || {
            let told = restored(&namespace, &[]).await?;
            holds(told.starts_with("sending is closed since ") && told.contains("the keyring was restored"), told)
        })
        .await;
        let batch = caller.batch(accepted.batch).await;
        assert_eq!(batch["states"], json!({"queued": 20}), "they wait: {batch}");
        assert_eq!(smsc.stats().await.expect("its counters").submitted, before, "nothing goes");
        eventually("it is released", SOON, async || {
            let said = restored(&namespace, &["release", "--queued", "send"]).await?;
            holds(said.starts_with("sending is open (epoch "), said)
        })
        .await;
        eventually("they are sent", SOON, async || {
            let batch = caller.batch(accepted.batch).await;
            holds(batch["states"] == json!({"delivered": 20}), batch)
        })
        .await;
        there.condition::<Tenant>(&tenant, "Active", "True").await;

        until_ready(&there, STANDBY).await;
        let traffic = Traffic::start(&caller, 600_000);
        let some = smsc.stats().await.expect("its counters").submitted + 50;
        eventually("traffic flows", SOON, async || {
            let stats = smsc.stats().await?;
            holds(stats.submitted > some, stats)
        })
        .await;
        lose_the_volume(&there, &namespace, PRIMARY).await;
        let promoted = [&restoring[..], &["--set", "postgres.embedded.standby.promoted=true"]].concat();
        install_in(&namespace, &promoted).await;
        let later = caller.send(&numbers(900_000, 20)).await;
        // Nothing was lost, so nothing waits for a word of the owner.
        traffic.settle(vec![later], RECOVERY).await.assert_all("delivered");
        let told = restored(&namespace, &[]).await.expect("it tells");
        assert!(told.starts_with("sending is open (epoch "), "{told}");
        helm_in(&namespace, &["uninstall", RELEASE, "--wait", "--timeout", "5m"]).await;
    })
    .await;
}
