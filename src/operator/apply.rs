//! Writes children by server-side apply, and only where something differs: in the steady state nothing is written.
//!
//! What is wanted must be contained in what is there; a fingerprint in an annotation tells what was wanted last, so that
//! a field which is no longer wanted is noticed too. A child edited by hand no longer contains what is wanted, and is
//! put right.
use std::fmt::Debug;

use aws_lc_rs::digest;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

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
            && covers(&serde_json::to_value(live).map_err(json)?, &wanted_json)
        {
            return Ok(false);
        }
        Api::<K>::namespaced(self.client.clone(), self.namespace)
            .patch(&wanted.name_any(), &PatchParams::apply(self.manager).force(), &Patch::Apply(wanted_json))
            .await
            .map_err(|source| Error::Apply { what: what.clone(), source })?;
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

/// Everything in `wanted` is in `live` too; what the API adds by itself does not count.
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
    use serde_json::json;

    use super::*;

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
