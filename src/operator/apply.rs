//! Writes children by server-side apply, and only where something differs: in the steady state nothing is written.
//!
//! What is wanted must be contained in what is there, and beside metadata nothing may be there that is not wanted, but for
//! what the API fills in. A fingerprint in an annotation tells what was wanted last, so that a field which is no longer
//! wanted is noticed too. Server-side apply leaves alone what others added: that is taken away by a merge patch.
use std::fmt::Debug;

use aws_lc_rs::digest;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// The annotation that holds the fingerprint of what was wanted last.
const FINGERPRINT: &str = "budstikke.dev/applied";

/// Why a child is not as wanted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It cannot be written as JSON.
    #[error("write {what} as JSON: {source}")]
    Serialize {
        /// Kind and name.
        what: String,
        /// What went wrong.
        source: serde_json::Error,
    },
    /// The API refused to apply it.
    #[error("apply {what}: {source}")]
    Apply {
        /// Kind and name.
        what: String,
        /// What the API said.
        source: kube::Error,
    },
    /// The API refused to delete it.
    #[error("delete {what}: {source}")]
    Delete {
        /// Kind and name.
        what: String,
        /// What the API said.
        source: kube::Error,
    },
}

impl Error {
    /// The namespace is going away: nothing can be made in it any more, and nothing needs to be.
    pub(super) fn is_terminating(&self) -> bool {
        let Self::Apply { source: kube::Error::Api(status), .. } = self else { return false };
        let cause = status.details.iter().flat_map(|details| &details.causes);
        status.code == 403 && cause.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
    }
}

/// Applies children of one namespace under one field manager.
pub(super) struct Applier<'a> {
    pub(super) client: &'a Client,
    pub(super) namespace: &'a str,
    pub(super) manager: &'static str,
}

impl Applier<'_> {
    /// Makes `live` as `wanted`; whether anything had to be written.
    pub(super) async fn apply<K>(&self, live: Option<&K>, wanted: &K) -> Result<bool, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let what = format!("{} {}", K::kind(&()), wanted.name_any());
        let json = |source| Error::Serialize { what: what.clone(), source };
        let wanted_json = with_fingerprint(serde_json::to_value(wanted).map_err(json)?);
        if let Some(live) = live
            && is_as(&serde_json::to_value(live).map_err(json)?, &wanted_json)
        {
            return Ok(false);
        }
        let failed = |source| Error::Apply { what: what.clone(), source };
        let api = Api::<K>::namespaced(self.client.clone(), self.namespace);
        let (name, as_us) = (wanted.name_any(), PatchParams::apply(self.manager).force());
        let now = api.patch(&name, &as_us, &Patch::Apply(&wanted_json)).await.map_err(failed)?;
        let now = serde_json::to_value(now).map_err(json)?;
        if !is_as(&now, &wanted_json) {
            let as_us = PatchParams { field_manager: Some(self.manager.to_owned()), ..PatchParams::default() };
            let change = Patch::Merge(taking_away(&now, &wanted_json));
            api.patch(&name, &as_us, &change).await.map_err(failed)?;
        }
        tracing::info!(namespace = self.namespace, what, "applied");
        Ok(true)
    }

    /// Removes a child that is no longer wanted.
    pub(super) async fn delete<K>(&self, live: Option<&K>) -> Result<bool, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let Some(live) = live else { return Ok(false) };
        let what = format!("{} {}", K::kind(&()), live.name_any());
        let api = Api::<K>::namespaced(self.client.clone(), self.namespace);
        match api.delete(&live.name_any(), &DeleteParams::background()).await {
            Ok(_) => tracing::info!(namespace = self.namespace, what, "deleted"),
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(source) => return Err(Error::Delete { what, source }),
        }
        Ok(true)
    }
}

/// `live` is as `wanted`, and what it has beside that is nobody's addition.
fn is_as(live: &Value, wanted: &Value) -> bool {
    let content = |object: &Value| object.as_object().cloned().map(without_metadata).map(Value::Object);
    covers(live, wanted)
        && content(live).zip(content(wanted)).is_some_and(|(live, wanted)| adds_nothing(&live, &wanted))
}

/// Labels and annotations of the object itself are other controllers' too; those of its pods are in `spec`.
fn without_metadata(mut object: Map<String, Value>) -> Map<String, Value> {
    object.retain(|key, _| key != "metadata" && key != "status");
    object
}

/// The merge patch that takes away what `live` has beside `wanted`; void where `live` is another one by then.
fn taking_away(live: &Value, wanted: &Value) -> Value {
    let mut change = Map::new();
    if let (Some(live), Some(wanted)) = (live.as_object(), wanted.as_object()) {
        change = less(&without_metadata(live.clone()), &without_metadata(wanted.clone()));
    }
    let version = live.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
    change.insert("metadata".to_owned(), json!({"resourceVersion": version}));
    Value::Object(change)
}

/// A merge patch replaces lists as a whole, and takes away what it says `null` of.
fn less(live: &Map<String, Value>, wanted: &Map<String, Value>) -> Map<String, Value> {
    let added = |key: &str, live: &Value| !live.is_null() && !is_default(key, live);
    live.iter()
        .filter_map(|(key, live)| match (live, wanted.get(key)) {
            (live, None) => added(key, live).then_some((key, Value::Null)),
            (live, Some(wanted)) if adds_nothing(live, wanted) && covers(live, wanted) => None,
            (Value::Object(live), Some(Value::Object(wanted))) => Some((key, Value::Object(less(live, wanted)))),
            (_, Some(wanted)) => Some((key, wanted.clone())),
        })
        .map(|(key, change)| (key.clone(), change))
        .collect()
}

/// `live` has nothing beside `wanted` but what the API fills in. Lists were compared in length already.
fn adds_nothing(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => live.iter().all(|(key, live)| match wanted.get(key) {
            Some(wanted) => adds_nothing(live, wanted),
            None => live.is_null() || is_default(key, live),
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.iter().zip(wanted).all(|(live, wanted)| adds_nothing(live, wanted))
        }
        _ => true,
    }
}

/// What the API fills in where nothing is written: of Deployments, Services, Secrets, policies and budgets.
fn is_default(key: &str, value: &Value) -> bool {
    match key {
        "clusterIP" | "clusterIPs" | "ipFamilies" | "ipFamilyPolicy" => true,
        "type" => value == "ClusterIP" || value == "Opaque",
        "sessionAffinity" => value == "None",
        "internalTrafficPolicy" => value == "Cluster",
        "protocol" => value == "TCP",
        "scheme" => value == "HTTP",
        "restartPolicy" => value == "Always",
        "dnsPolicy" => value == "ClusterFirst",
        "schedulerName" => value == "default-scheduler",
        "terminationMessagePath" => value == "/dev/termination-log",
        "terminationMessagePolicy" => value == "File",
        "progressDeadlineSeconds" => value == 600,
        "defaultMode" => value == 0o644,
        "timeoutSeconds" | "successThreshold" => value == 1,
        _ => false,
    }
}

/// Everything in `wanted` is in `live` too.
fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| match live.get(key) {
            Some(live) => covers(live, wanted),
            None => is_empty(wanted),
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| covers(live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Secrets' values stay out of the fingerprint: they are compared themselves, and a hash could be tried out.
fn with_fingerprint(mut wanted: Value) -> Value {
    let mut hashed = wanted.clone();
    if let Some(data) = hashed.get_mut("data").and_then(Value::as_object_mut) {
        data.values_mut().for_each(|value| *value = Value::Null);
    }
    let hash = digest::digest(&digest::SHA256, hashed.to_string().as_bytes());
    let text: String = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    if let Some(metadata) = wanted.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(FINGERPRINT.to_owned(), Value::String(text));
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the API does it.
    fn merge(into: &mut Value, change: &Value) {
        let (Value::Object(into), Value::Object(change)) = (into, change) else { return };
        for (key, value) in change {
            match value {
                Value::Null => drop(into.remove(key)),
                Value::Object(_) if into.get(key).is_some_and(Value::is_object) => merge(&mut into[key], value),
                _ => drop(into.insert(key.clone(), value.clone())),
            }
        }
    }

    #[test]
    fn what_others_add_counts_and_is_taken_away() {
        let wanted = json!({
            "metadata": {"name": "a", "labels": {"a": "b"}},
            "spec": {"replicas": 1, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}}},
        });
        let container =
            json!({"name": "c", "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"});
        let live = json!({
            "metadata": {"name": "a", "resourceVersion": "7", "labels": {"a": "b", "theirs": "c"}, "annotations": {"revision": "1"}},
            "spec": {"replicas": 1, "progressDeadlineSeconds": 600, "template": {
                "metadata": {"labels": {"a": "b"}, "creationTimestamp": null},
                "spec": {"containers": [container], "restartPolicy": "Always", "dnsPolicy": "ClusterFirst"}}},
            "status": {"replicas": 1},
        });
        assert!(is_as(&live, &wanted), "the API fills that in");
        for (at, added) in [
            ("/spec/paused", json!(true)),
            ("/spec/progressDeadlineSeconds", json!(1)),
            ("/spec/template/metadata/labels/theirs", json!("c")),
            ("/spec/template/metadata/annotations", json!({"theirs": "c"})),
            ("/spec/template/spec/hostNetwork", json!(true)),
            ("/spec/template/spec/nodeSelector", json!({"zone": "a"})),
            ("/spec/template/spec/containers/0/command", json!(["sh"])),
            ("/spec/template/spec/containers/1", json!({"name": "theirs"})),
            ("/immutable", json!(true)),
        ] {
            let (parent, key) = at.rsplit_once('/').expect("a pointer");
            let mut edited = live.clone();
            match edited.pointer_mut(parent).expect("a parent") {
                Value::Array(items) => items.push(added),
                parent => drop(parent.as_object_mut().expect("fields").insert(key.to_owned(), added)),
            }
            assert!(!is_as(&edited, &wanted), "{at}");
            let change = taking_away(&edited, &wanted);
            assert_eq!(change["metadata"], json!({"resourceVersion": "7"}), "other controllers' labels stay");
            merge(&mut edited, &change);
            assert!(is_as(&edited, &wanted), "{at}");
        }
    }

    #[test]
    fn an_empty_selector_opens_doors_and_counts() {
        let peer = json!([{"podSelector": {"matchLabels": {"a": "b"}}}]);
        let wanted = json!({"metadata": {"name": "a"}, "spec": {"from": peer}});
        let mut live = wanted.clone();
        live["spec"]["from"][0]["namespaceSelector"] = json!({});
        assert!(!is_as(&live, &wanted));
    }

    #[test]
    fn what_the_api_adds_does_not_count() {
        let wanted = json!({"spec": {"ports": [{"port": 2775}], "selector": {"a": "b"}, "egress": []}});
        let live = json!({"spec": {"ports": [{"port": 2775, "protocol": "TCP"}], "selector": {"a": "b"}, "type": "ClusterIP"},
                          "status": {}});
        assert!(covers(&live, &wanted));
    }

    #[test]
    fn what_was_edited_counts() {
        let wanted = json!({"spec": {"replicas": 1, "ports": [{"port": 1}]}});
        for live in [
            json!({"spec": {"replicas": 2, "ports": [{"port": 1}]}}),
            json!({"spec": {"replicas": 1, "ports": [{"port": 1}, {"port": 2}]}}),
            json!({"spec": {"ports": [{"port": 1}]}}),
        ] {
            assert!(!covers(&live, &wanted), "{live}");
        }
    }

    #[test]
    fn a_field_that_is_no_longer_wanted_is_noticed() {
        let before = with_fingerprint(json!({"metadata": {"name": "a"}, "spec": {"replicas": 1, "paused": true}}));
        let now = with_fingerprint(json!({"metadata": {"name": "a"}, "spec": {"replicas": 1}}));
        assert!(covers(&before, &before));
        assert!(!covers(&before, &now));
    }

    #[test]
    fn secrets_do_not_reach_the_fingerprint() {
        let print = |secret: &str| {
            let wanted = json!({"metadata": {}, "data": {"password": secret}});
            with_fingerprint(wanted)["metadata"]["annotations"][FINGERPRINT].clone()
        };
        assert_eq!(print("YQ=="), print("Yg=="));
    }
}
