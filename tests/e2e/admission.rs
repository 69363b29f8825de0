//! What the API's ServiceAccount may write of a Tenant: what sign-up, profile and termination own, and nothing else.
use budstikke::crd::Tenant;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::manifests::{self, NAMESPACE};
use crate::support::stage;
use crate::support::world::{World, client};

const API: &str = "system:serviceaccount:budstikke:budstikke-api";
/// How a refusal of the policy begins; the server's rights and the schema say something else.
const POLICY: &str = "ValidatingAdmissionPolicy 'budstikke-api.budstikke.budstikke.dev'";
const NOT_ITS_OWN: &str = "the API writes only Tenants that sign-up created";
const LABEL: &str = "budstikke.dev/sign-up";

/// A Tenant as sign-up writes it.
fn signed_up(name: &str) -> Value {
    let mut tenant = manifests::tenant(name, &["main"]);
    tenant["metadata"]["labels"] = json!({LABEL: "portal"});
    for field in ["senderIds", "limits", "verification", "acceptance", "sender"] {
        tenant["spec"].as_object_mut().expect("a spec").remove(field);
    }
    tenant
}

/// What the owner decides, each with a value that the schema takes.
fn decided_by_the_owner() -> Vec<(&'static str, Value)> {
    vec![
        ("suspension", json!({"reason": "spam"})),
        ("verification", json!({"organisationConfirmedOn": "2026-01-05"})),
        ("acceptance", json!({"termsVersion": "2026-01", "acceptedOn": "2026-01-06"})),
        ("limits", json!({"messagesPerDay": 1_000_000})),
        ("senderIds", json!([{"id": "Banken"}])),
        ("sender", json!({"replicas": 5})),
    ]
}

/// What decides who owns the object, what selects it and what holds it back.
fn metadata() -> [(&'static str, Value); 4] {
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "2f1c7a54-0000-4000-8000-000000000000"}]);
    [
        ("finalizers", json!(["budstikke.dev/hold"])),
        ("ownerReferences", owner),
        ("labels", json!({LABEL: "portal", "team": "sales"})),
        ("annotations", json!({"budstikke.dev/paused": "true"})),
    ]
}

/// The API, as the server sees it.
struct TheApi(Api<Tenant>);

impl TheApi {
    async fn create(&self, tenant: Value) -> kube::Result<Tenant> {
        let tenant = serde_json::from_value(tenant).expect("a Tenant");
        self.0.create(&PostParams::default(), &tenant).await
    }

    async fn patch(&self, name: &str, patch: Value) -> kube::Result<Tenant> {
        self.0.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }
}

fn refusal<T: std::fmt::Debug>(what: &str, outcome: kube::Result<T>) -> String {
    match outcome {
        Err(kube::Error::Api(refusal)) => refusal.message.clone(),
        other => panic!("{what} is refused: {other:?}"),
    }
}

/// Refused by the policy, for the reason that `says` is in.
fn refused<T: std::fmt::Debug>(what: &str, says: &str, outcome: kube::Result<T>) {
    let message = refusal(what, outcome);
    assert!(message.contains(POLICY) && message.contains(says), "{what}: {message}");
}

/// Refused already by the role, which gives no such right.
fn without_right<T: std::fmt::Debug>(what: &str, outcome: kube::Result<T>) {
    let message = refusal(what, outcome);
    assert!(message.contains("cannot") && message.contains(API), "{what}: {message}");
}

async fn the_api(world: &World) -> (TheApi, String) {
    (TheApi(Api::namespaced(client(Some(API)).await, NAMESPACE)), world.named("signup"))
}

#[tokio::test]
async fn the_api_writes_what_it_owns_of_a_tenant_and_nothing_else() {
    stage::beside_others("admit", async |world| {
        let (api, name) = the_api(world).await;
        for (field, value) in decided_by_the_owner() {
            let mut tenant = signed_up(&name);
            tenant["spec"][field] = value;
            refused(&format!("a sign-up with {field}"), &format!("it wrote {field}"), api.create(tenant).await);
        }
        api.create(signed_up(&name)).await.expect("a sign-up");

        let others = [
            ("planRef", json!({"name": "cheap"})),
            ("routes", json!([{"name": "premium"}])),
            ("retentionRef", json!({"name": "for-ever"})),
        ];
        for (field, value) in decided_by_the_owner().into_iter().chain(others) {
            refused(field, &format!("changed: {field}"), api.patch(&name, json!({"spec": {field: value}})).await);
        }
        let status = Patch::Merge(json!({"status": {"observedGeneration": 1}}));
        without_right("the status", api.0.patch_status(&name, &PatchParams::default(), &status).await);
        without_right("a deletion", api.0.delete(&name, &DeleteParams::default()).await);

        api.patch(&name, json!({"spec": {"contact": {"email": "ny@proeve.example"}}})).await.expect("another contact");
        let notice = json!({"by": "tenant", "noticeGivenOn": "2026-03-01", "reason": "notice"});
        api.patch(&name, json!({"spec": {"termination": notice}})).await.expect("a notice");

        world.api::<Tenant>().delete(&name, &DeleteParams::default()).await.expect("delete");
    })
    .await;
}

#[tokio::test]
async fn the_api_writes_no_metadata_of_a_tenant() {
    stage::beside_others("admit-meta", async |world| {
        let (api, name) = the_api(world).await;
        for (field, value) in metadata() {
            let mut tenant = signed_up(&name);
            tenant["metadata"][field] = value;
            let says = "sign-up may write no metadata but a name and the label";
            refused(&format!("a sign-up with {field}"), says, api.create(tenant).await);
        }
        api.create(signed_up(&name)).await.expect("a sign-up");
        for (field, value) in metadata() {
            let says = format!("changed: {field}");
            refused(field, &says, api.patch(&name, json!({"metadata": {field: value}})).await);
        }

        // What the owner has written stays as well.
        let owners = json!({"metadata": {"labels": {"team": "support"}, "annotations": {"note": "call first"}}});
        world.edit("budstikke.dev/v1alpha1", "Tenant", &name, owners).await;
        for field in ["labels", "annotations"] {
            let key = if field == "labels" { "team" } else { "note" };
            let outcome = api.patch(&name, json!({"metadata": {field: {key: null}}})).await;
            refused(&format!("removing the owner's {field}"), &format!("changed: {field}"), outcome);
        }
        api.patch(&name, json!({"spec": {"contact": {"email": "ny@proeve.example"}}})).await.expect("another contact");

        world.api::<Tenant>().delete(&name, &DeleteParams::default()).await.expect("delete");
    })
    .await;
}

#[tokio::test]
async fn the_api_writes_only_tenants_that_sign_up_created() {
    stage::beside_others("admit-own", async |world| {
        let (api, name) = the_api(world).await;
        let mut unmarked = signed_up(&name);
        unmarked["metadata"].as_object_mut().expect("metadata").remove("labels");
        refused("a Tenant that is no sign-up", NOT_ITS_OWN, api.create(unmarked).await);

        let owned = world.tenant("owned", &["main"], |_| {}).await;
        let contact = json!({"email": "ny@proeve.example"});
        let outcome = api.patch(&owned, json!({"spec": {"contact": contact}})).await;
        refused("a profile of the owner's Tenant", NOT_ITS_OWN, outcome);
        let claim = json!({"metadata": {"labels": {LABEL: "portal"}}});
        refused("claiming the owner's Tenant", NOT_ITS_OWN, api.patch(&owned, claim.clone()).await);
        let both = json!({"metadata": claim["metadata"], "spec": {"contact": contact}});
        refused("claiming and changing it", NOT_ITS_OWN, api.patch(&owned, both).await);

        api.create(signed_up(&name)).await.expect("a sign-up");
        let disown = json!({"metadata": {"labels": {LABEL: null}}});
        refused("taking the label away", NOT_ITS_OWN, api.patch(&name, disown).await);
        let other = json!({"metadata": {"labels": {LABEL: "elsewhere"}}});
        refused("another value of it", "changed: labels", api.patch(&name, other).await);

        world.api::<Tenant>().delete(&name, &DeleteParams::default()).await.expect("delete");
    })
    .await;
}
