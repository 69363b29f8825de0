//! The hardest end of a process: SIGKILL, without the word that Kubernetes would give first. Images from scratch have no
//! shell, so a privileged pod that sees all processes of the node does it. It stands ready, so that a kill takes no longer
//! than a call, and in a namespace of its own choice, since the chart's may allow restricted pods only.
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::json;

use super::wait::{eventually, holds};
use super::world::{SOON, World};

/// Where that pod is.
pub(super) const NAMESPACE: &str = "default";

/// Does `each` to every process of the pod with this uid, written with dashes or underscores.
const PROCESSES: &str = r#"
for process in /proc/[0-9]*; do
  if grep -qE "pod($1|${1//-/_})" "$process/cgroup" 2>/dev/null && [ "$(cat "$process/comm")" != pause ]; then
    each
  fi
done
"#;

/// Kills; its container is started anew in place. Says when, in microseconds.
const KILL: &str = r#"
each() { kill -9 "${process#/proc/}" && at=$((at == 0 ? ${EPOCHREALTIME/[.,]/} : at)); }
"#;

/// Says when the oldest of them began, in microseconds; the kernel counts in hundredths of a second since it started.
const BEGAN: &str = r#"
each() {
  local stat=$(<"$process/stat") up
  read -r up _ </proc/uptime
  set -- ${stat##*) }
  set -- $((${EPOCHREALTIME/[.,]/} - (10#${up/./} - ${20}) * 10000))
  at=$((at == 0 || $1 < at ? $1 : at))
}
"#;

impl World {
    /// Kills the processes of a pod. Says when, milliseconds of the clock that all pods see.
    pub(crate) async fn crash(&self, pod: &Pod) -> i64 {
        self.each_process(pod, KILL).await.unwrap_or_else(|said| panic!("kill {}: {said}", pod.name_any()))
    }

    /// When a pod's present process began, in the same milliseconds; an error while there is none.
    pub(crate) async fn began(&self, pod: &Pod) -> Result<i64, String> {
        self.each_process(pod, BEGAN).await
    }

    /// What `each` made of the pod's processes: a moment, which there is not where there were none.
    async fn each_process(&self, pod: &Pod, each: &str) -> Result<i64, String> {
        let killer = self.killer.get_or_init(|| self.make_killer()).await.clone();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let script = format!("at=0\n{each}{PROCESSES}echo \"$at\"");
        let run = move || {
            let into = ["exec", "--namespace", NAMESPACE, &killer, "--", "/bin/bash", "-c", &script, "each", &uid];
            Command::new("kubectl").args(into).output()
        };
        let output = tokio::task::spawn_blocking(run).await.expect("kubectl's thread").expect("kubectl");
        let said: Result<i64, _> = String::from_utf8_lossy(&output.stdout).trim().parse();
        match said {
            Ok(micros) if micros > 0 => Ok(micros / 1_000),
            _ => Err(format!("{}{}", said.unwrap_or_default(), String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// Makes the pod that kills, ahead of the moment at which it is to do so.
    pub(crate) async fn prepare_to_crash(&self) {
        self.killer.get_or_init(|| self.make_killer()).await;
    }

    async fn make_killer(&self) -> String {
        let there = self.elsewhere(NAMESPACE);
        let name = there
            .make(json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": self.named("kill")},
                "spec": {
                    "restartPolicy": "Never",
                    "hostPID": true,
                    "terminationGracePeriodSeconds": 0,
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "name": "kill",
                        "image": "budstikke.dev/postgres:15",
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["/bin/sleep", "infinity"],
                        "securityContext": {"privileged": true, "runAsUser": 0},
                    }],
                },
            }))
            .await;
        eventually("the killer stands ready", SOON, async || {
            let pod = there.api::<Pod>().get(&name).await.map_err(|error| error.to_string())?;
            holds(is_ready(&pod), &pod.status)
        })
        .await;
        name
    }

    /// Crashes a pod's processes, and removes the pod as a lost node would: another takes its place. Its container may be
    /// started anew for the moment in between: that matters where such a one would send, and not where it stands by.
    pub(crate) async fn crash_and_replace(&self, pod: &Pod) {
        self.crash(pod).await;
        let _ = self.api::<Pod>().delete(&pod.name_any(), &DeleteParams::default().grace_period(1)).await;
    }

    /// Has a pod ended as an eviction or a new version would: it is told to stop, and given its time.
    pub(crate) async fn evict(&self, pod: &Pod) {
        self.api::<Pod>().delete(&pod.name_any(), &DeleteParams::default()).await.expect("delete the pod");
    }

    /// Waits until as many pods as wanted are ready, none of them one of `before`.
    pub(crate) async fn replaced(&self, selector: &str, before: &[Pod]) {
        let (wanted, old): (usize, Vec<_>) = (before.len(), before.iter().map(Pod::name_any).collect());
        eventually(&format!("new pods of {selector}"), SOON, async || {
            let pods = self.pods(selector).await;
            let ready = pods.iter().filter(|pod| is_ready(pod) && !old.contains(&pod.name_any())).count();
            holds(ready == wanted && pods.len() == wanted, pods.iter().map(Pod::name_any).collect::<Vec<_>>())
        })
        .await;
    }

    /// Waits until the container of a crashed pod runs again.
    pub(crate) async fn restarted(&self, pod: &Pod) {
        let before = restarts(pod);
        eventually(&format!("{} runs again", pod.name_any()), SOON, async || {
            let pod = self.api::<Pod>().get(&pod.name_any()).await.map_err(|error| error.to_string())?;
            holds(restarts(&pod) > before && is_ready(&pod), &pod.status)
        })
        .await;
    }
}

pub(crate) fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|container| container.restart_count).sum()
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Within which a crashed part is back and has caught up.
pub(crate) const RECOVERY: Duration = Duration::from_secs(180);
