//! The hardest end of a process: SIGKILL, without the word that Kubernetes would give first. Images from scratch have no
//! shell, so a privileged pod that sees all processes of the node does it.
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::json;

use super::wait::{eventually, holds};
use super::world::{SOON, World};

/// Kills what runs in a pod; its container is started anew in place.
const KILL: &str = r#"
found=
for process in /proc/[0-9]*; do
  if grep -qE "pod(${UID_DASHES}|${UID_LINES})" "$process/cgroup" 2>/dev/null && [ "$(cat "$process/comm")" != pause ]; then
    kill -9 "${process#/proc/}" && found=yes
  fi
done
[ "$found" = yes ]
"#;

impl World {
    /// Kills the processes of a pod and waits until it has noticed.
    pub(crate) async fn crash(&self, pod: &Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let name = format!("kill-{:08x}", rand::random::<u32>());
        let killer = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "restartPolicy": "Never",
                "hostPID": true,
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": "kill",
                    "image": "budstikke.dev/postgres:15",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/bin/bash", "-c", KILL],
                    "env": [{"name": "UID_DASHES", "value": uid}, {"name": "UID_LINES", "value": uid.replace('-', "_")}],
                    "securityContext": {"privileged": true, "runAsUser": 0},
                }],
            },
        });
        self.make(killer).await;
        eventually("the killer is done", SOON, async || {
            let phase =
                self.api::<Pod>().get(&name).await.map_err(|error| error.to_string())?.status.and_then(|s| s.phase);
            assert_ne!(phase.as_deref(), Some("Failed"), "no process of pod {} was found", pod.name_any());
            holds(phase.as_deref() == Some("Succeeded"), &phase)
        })
        .await;
        let _ = self.api::<Pod>().delete(&name, &DeleteParams::default().grace_period(0)).await;
    }

    /// Crashes a pod's processes, and removes the pod as a lost node would: another takes its place.
    pub(crate) async fn crash_and_replace(&self, pod: &Pod) {
        self.crash(pod).await;
        let _ = self.api::<Pod>().delete(&pod.name_any(), &DeleteParams::default().grace_period(1)).await;
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

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|container| container.restart_count).sum()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Within which a crashed part is back and has caught up.
pub(crate) const RECOVERY: Duration = Duration::from_secs(60);
