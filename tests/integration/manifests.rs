//! Manifests that are accepted and refused: offline (schema with formats, list keys, CEL) and again by a real API server,
//! with equal verdicts and the same words. The tables are YAML, one a kind; the examples must be accepted as they are.
mod offline;
mod server;
mod shown;

use budstikke::crd::{BillingPlan, RetentionPolicy, SmsRoute, Tenant};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::support::apiserver::ApiServer;

/// The cases of one kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    kind: String,
    /// A spec that is accepted.
    base: Value,
    cases: Vec<Case>,
}

/// One manifest and what becomes of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    it: String,
    name: Option<String>,
    /// For an update: the spec before it, as a merge patch on the base.
    was: Option<Value>,
    /// The spec, as a merge patch on the base: null removes.
    #[serde(default = "nothing")]
    change: Value,
    /// Top-level fields of the spec, written as they are: null stays null.
    #[serde(default = "nothing")]
    write: Value,
    /// Words of the refusal. Absent: it is accepted.
    refused: Option<String>,
}

/// A manifest to judge.
struct Manifest {
    what: String,
    old: Option<Value>,
    new: Value,
    refused: Option<String>,
}

impl Table {
    fn manifests(&self) -> impl Iterator<Item = Manifest> {
        let base =
            Manifest { what: "its base".into(), old: None, new: self.object("base", self.base.clone()), refused: None };
        std::iter::once(base).chain(self.cases.iter().enumerate().map(|(number, case)| {
            let name = case.name.clone().unwrap_or_else(|| format!("case-{number}"));
            let mut spec = merged(&self.base, &case.change);
            for (field, value) in case.write.as_object().unwrap() {
                spec[field] = value.clone();
            }
            let old = case.was.as_ref().map(|was| self.object(&name, merged(&self.base, was)));
            Manifest { what: case.it.clone(), old, new: self.object(&name, spec), refused: case.refused.clone() }
        }))
    }

    fn object(&self, name: &str, spec: Value) -> Value {
        json!({ "apiVersion": "budstikke.dev/v1alpha1", "kind": self.kind, "metadata": { "name": name }, "spec": spec })
    }
}

impl Manifest {
    fn has_null(&self) -> bool {
        self.new["spec"].as_object().unwrap().values().any(Value::is_null)
    }

    /// What is wrong with this verdict, if anything.
    fn complaint(&self, verdict: &Result<(), String>) -> Option<String> {
        let Self { what, new, .. } = self;
        let kind = &new["kind"];
        match (verdict, &self.refused) {
            (Ok(()), None) => None,
            (Err(message), Some(words)) if message.contains(words.as_str()) => None,
            (Ok(()), Some(words)) => Some(format!("{kind} {what}: was accepted; expected: {words}")),
            (Err(message), None) => Some(format!("{kind} {what}: was refused: {message}")),
            (Err(message), Some(words)) => {
                Some(format!("{kind} {what}: expected: {words}\n    but was told: {message}"))
            }
        }
    }
}

fn nothing() -> Value {
    json!({})
}

fn merged(base: &Value, change: &Value) -> Value {
    let (Value::Object(base), Value::Object(change)) = (base, change) else { return change.clone() };
    let mut result = base.clone();
    for (key, value) in change {
        match value {
            Value::Null => drop(result.remove(key)),
            value => drop(result.insert(key.clone(), merged(base.get(key).unwrap_or(&json!({})), value))),
        }
    }
    Value::Object(result)
}

fn manifests() -> Vec<Manifest> {
    let tables = [
        include_str!("manifests/billingplan.yaml"),
        include_str!("manifests/retentionpolicy.yaml"),
        include_str!("manifests/smsroute.yaml"),
        include_str!("manifests/tenant.yaml"),
    ];
    let tables = tables.map(|text| serde_yaml_ng::from_str::<Table>(text).unwrap());
    let mut manifests: Vec<_> = tables.iter().flat_map(Table::manifests).collect();
    assert!(manifests.len() >= 160, "a table that shrank: {}", manifests.len());
    manifests.extend(examples());
    manifests
}

/// Every document of `examples/` of a kind of ours.
fn examples() -> Vec<Manifest> {
    let mut examples = Vec::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let path = entry.unwrap().path();
        for document in serde_yaml_ng::Deserializer::from_str(&std::fs::read_to_string(&path).unwrap()) {
            let new = Value::deserialize(document).unwrap();
            if new["apiVersion"] == "budstikke.dev/v1alpha1" {
                let what = format!("{} of {}", new["metadata"]["name"], path.display());
                examples.push(Manifest { what, old: None, new, refused: None });
            }
        }
    }
    assert!(examples.len() >= 7, "a plan, a policy, two routes, three tenants");
    examples
}

#[test]
fn offline_verdicts() {
    let judge = offline::Judge::new();
    let manifests = manifests();
    let complaints: Vec<_> =
        manifests.iter().filter_map(|manifest| manifest.complaint(&judge.verdict(manifest))).collect();
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), manifests.len(), complaints.join("\n"));
}

#[test]
fn what_is_accepted_survives_the_types() {
    fn through<T: DeserializeOwned + Serialize>(object: &Value) -> Value {
        serde_json::to_value(serde_json::from_value::<T>(object.clone()).unwrap()).unwrap()
    }
    for manifest in manifests().iter().filter(|manifest| manifest.refused.is_none() && !manifest.has_null()) {
        let object = &manifest.new;
        let read = match object["kind"].as_str().unwrap() {
            "BillingPlan" => through::<BillingPlan>(object),
            "RetentionPolicy" => through::<RetentionPolicy>(object),
            "SmsRoute" => through::<SmsRoute>(object),
            _ => through::<Tenant>(object),
        };
        assert_eq!(&read, object, "{}", manifest.what);
    }
}

#[tokio::test]
async fn a_real_server_has_equal_verdicts() {
    let (client, namespace) = ApiServer::shared().namespace().await;
    let mut complaints = Vec::new();
    for manifest in manifests() {
        complaints.extend(manifest.complaint(&server::verdict(&client, &namespace, &manifest).await));
    }
    assert!(complaints.is_empty(), "{}:\n{}", complaints.len(), complaints.join("\n"));
}
