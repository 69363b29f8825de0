//! Words that are put where a search must find them, each in a form of its own: only of a search that finds these is it
//! believed that nothing else is there.
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::Canaries;
use crate::support::manifests::NAMESPACE;
use crate::support::wait::{eventually, holds};
use crate::support::world::{SOON, World};

const EVENT: &str = "planted in an Event";
const TENANT: &str = "planted in a Tenant";
const SECRET: &str = "planted in a Secret";
const MAP: &str = "planted in a ConfigMap";
const LOG: &str = "planted in a log";

/// Where something is to be found, and what.
pub(crate) type Finds = BTreeSet<(String, &'static str)>;

/// Plants one of each, beside and on a Tenant of the scenario.
pub(crate) async fn plant(world: &World, tenant: &str, canaries: &mut Canaries) -> Finds {
    let name = world.named("planted");
    let metadata = json!({"name": name});
    let message = format!("00{} was called", canaries.number(EVENT));
    world
        .make(json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": metadata,
            "involvedObject": {
                "apiVersion": "budstikke.dev/v1alpha1", "kind": "Tenant", "name": tenant, "namespace": NAMESPACE,
            },
            "type": "Normal",
            "reason": "Planted",
            "message": message,
        }))
        .await;
    let hex: String = canaries.word(TENANT).bytes().map(|octet| format!("{octet:02X}")).collect();
    let annotation = json!({"metadata": {"annotations": {"planted": hex}}});
    world.edit("budstikke.dev/v1alpha1", "Tenant", tenant, annotation).await;
    let wide: Vec<u8> = canaries.word(SECRET).encode_utf16().flat_map(u16::to_be_bytes).collect();
    let data = json!({"planted": BASE64_STANDARD.encode(wide)});
    world.make(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})).await;
    let data = json!({"planted": BASE64_STANDARD.encode(format!("+{}", canaries.number(MAP)))});
    world.make(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})).await;
    say(world, &name, &canaries.word(LOG)).await;

    let places = [
        ("api/v1/events", EVENT),
        ("apis/events.k8s.io/v1/events", EVENT),
        ("files of etcd", EVENT),
        ("apis/budstikke.dev/v1alpha1/tenants", TENANT),
        ("files of etcd", TENANT),
        ("api/v1/secrets", SECRET),
        ("data of Secrets", SECRET),
        ("files of etcd", SECRET),
        ("api/v1/configmaps", MAP),
        ("files of etcd", MAP),
    ];
    let log = (format!("log of {name}/says"), LOG);
    places.into_iter().map(|(source, word)| (source.to_owned(), word)).chain([log]).collect()
}

/// Has a pod say it once. Its halves are apart everywhere else.
async fn say(world: &World, name: &str, word: &str) {
    let (one, other) = word.split_at(word.len() / 2);
    world
        .make(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [{
                    "name": "says",
                    "image": "budstikke.dev/postgres:15",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/bin/bash", "-c", "echo \"{$1$2}\"", "says", one, other],
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }],
            },
        }))
        .await;
    eventually("it is said", SOON, async || {
        let pod = world.api::<Pod>().get(name).await.map_err(|error| error.to_string())?;
        let phase = pod.status.and_then(|status| status.phase);
        holds(phase.as_deref() == Some("Succeeded"), phase)
    })
    .await;
}
