//! How far a Deployment is, and when it may get a new version.
use std::sync::Arc;

use jiff::{Timestamp, Zoned};
use k8s_openapi::api::apps::v1::Deployment;

use super::window;
use crate::crd::values::Hours;

/// Senders whose pods are replaced at once, about: a new version must not reach all of them in one stroke.
const AT_ONCE: usize = 10;

/// Pods that are ready and of the newest form; none while the cluster has not looked at the newest form yet.
pub(super) fn ready_pods(deployment: &Deployment) -> i32 {
    let Some(status) = &deployment.status else { return 0 };
    if status.observed_generation < deployment.metadata.generation {
        return 0;
    }
    status.ready_replicas.unwrap_or(0).min(status.updated_replicas.unwrap_or(0))
}

/// The image to stay on for now, because enough others are being replaced.
pub(super) fn hold_back(live: Option<&Deployment>, wanted: &str, all: &[Arc<Deployment>]) -> Option<String> {
    let image = image(live?).filter(|image| *image != wanted)?;
    // One that is not ready for another reason holds up no version.
    let replacing = all.iter().filter(|other| self::image(other) == Some(wanted) && is_replacing(other)).count();
    (replacing >= AT_ONCE).then(|| image.to_owned())
}

/// When pods are replaced that work, where nothing but a new version asks for it and the hours for that have not come. Neither waits
/// for them: another number of pods, which replaces all and may be none; nor pods of which none is ready.
pub(super) fn waits_until(
    live: Option<&Deployment>,
    wanted: &Deployment,
    hours: Option<&Hours>,
    now: Timestamp,
) -> Option<Zoned> {
    let (live, hours) = (live?, hours?);
    let replicas = |deployment: &Deployment| deployment.spec.as_ref().and_then(|spec| spec.replicas);
    let by_version = image(live) != image(wanted) && replicas(live) == replicas(wanted);
    if by_version && ready_pods(live) > 0 { window::opens_at(hours, now) } else { None }
}

fn image(deployment: &Deployment) -> Option<&str> {
    deployment.spec.as_ref()?.template.spec.as_ref()?.containers.first()?.image.as_deref()
}

fn is_replacing(deployment: &Deployment) -> bool {
    ready_pods(deployment) < deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(image: &str, ready: i32) -> Deployment {
        let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "sender", "image": image}]}});
        let spec = json!({"replicas": 1, "selector": {}, "template": pod});
        let status = json!({"observedGeneration": 1, "readyReplicas": ready, "updatedReplicas": ready});
        serde_json::from_value(json!({"metadata": {"generation": 1}, "spec": spec, "status": status}))
            .expect("a Deployment")
    }

    #[test]
    fn a_new_version_waits_while_enough_others_are_replaced() {
        let live = deployment("old", 1);
        let replacing = |count| (0..count).map(|_| Arc::new(deployment("new", 0))).collect::<Vec<_>>();
        assert_eq!(hold_back(Some(&live), "new", &replacing(AT_ONCE)).as_deref(), Some("old"));
        assert_eq!(hold_back(Some(&live), "new", &replacing(AT_ONCE - 1)), None);
        let ill: Vec<_> = (0..AT_ONCE).map(|_| Arc::new(deployment("old", 0))).collect();
        assert_eq!(
            hold_back(Some(&live), "new", &ill),
            None,
            "those that are not ready on the old version do not count"
        );
        assert_eq!(hold_back(Some(&live), "old", &replacing(AT_ONCE)), None, "other changes do not wait");
        assert_eq!(hold_back(None, "new", &replacing(AT_ONCE)), None, "nor do new senders");
    }

    #[test]
    fn working_pods_wait_for_their_hours_with_a_new_version_and_with_nothing_else() {
        let hours: Hours = serde_json::from_value(json!({"from": "02:00", "until": "05:00"})).expect("hours");
        let at = |live: &Deployment, wanted: &Deployment, hours: Option<&Hours>, now: &str| {
            let until = waits_until(Some(live), wanted, hours, now.parse().expect("an instant"));
            until.map(|until| until.timestamp().to_string())
        };
        let (noon, night) = ("2026-01-14T11:00:00Z", "2026-01-14T02:00:00Z");
        let (old, new) = (deployment("old", 1), deployment("new", 0));
        assert_eq!(at(&old, &new, Some(&hours), noon).as_deref(), Some("2026-01-15T01:00:00Z"));
        assert_eq!(at(&old, &new, Some(&hours), night), None);
        assert_eq!(at(&old, &new, None, noon), None, "nobody has set hours");
        assert_eq!(at(&old, &deployment("old", 0), Some(&hours), noon), None, "the same version");
        assert_eq!(at(&deployment("old", 0), &new, Some(&hours), noon), None, "none is ready");
        let mut closed = new.clone();
        closed.spec.as_mut().expect("a spec").replicas = Some(0);
        assert_eq!(at(&old, &closed, Some(&hours), noon), None, "another number");
        let now = noon.parse().expect("an instant");
        assert_eq!(waits_until(None, &new, Some(&hours), now), None, "there is none yet");
    }

    #[test]
    fn pods_of_an_older_form_do_not_count() {
        let pods = |status: serde_json::Value| {
            let deployment = json!({"metadata": {"generation": 2}, "status": status});
            ready_pods(&serde_json::from_value(deployment).expect("a Deployment"))
        };
        assert_eq!(pods(json!({"observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 2})), 2);
        assert_eq!(pods(json!({"observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 1})), 1);
        assert_eq!(pods(json!({"observedGeneration": 1, "readyReplicas": 2, "updatedReplicas": 2})), 0);
        assert_eq!(pods(json!({})), 0);
    }
}
