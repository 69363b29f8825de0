//! From what the derives make to what is shipped: one place that bounds, simplifies and orders the definitions.
//! Kept deliberately: no defaults but `status: {observedGeneration: -1}`, because GitOps tools take a default for drift.
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use super::{BillingPlan, RetentionPolicy, SmsRoute, Tenant, schema::rule};

/// The four definitions as JSON, in the order of their names.
pub(super) fn all() -> Result<Vec<Value>, serde_json::Error> {
    [BillingPlan::crd(), RetentionPolicy::crd(), SmsRoute::crd(), Tenant::crd()].into_iter().map(shipped).collect()
}

fn shipped(definition: CustomResourceDefinition) -> Result<Value, serde_json::Error> {
    let mut definition = serde_json::to_value(definition)?;
    let pointer = "/spec/versions/0/schema/openAPIV3Schema";
    if let Some(schema) = definition.pointer_mut(pointer) {
        simplify(schema);
        if let Some(root) = schema.as_object_mut() {
            root.remove("title");
        }
        // Names become parts of Deployments, Services and labels: dots and long ones would fail there, late.
        schema["x-kubernetes-validations"] = json!([rule(
            "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')",
            "write a name of at most 40 lower-case letters, digits and dashes that begins with a letter",
        )]);
        // Without any status kstatus reads an object as done; a default on the inner field alone yields no status.
        schema["properties"]["status"]["default"] = json!({ "observedGeneration": -1 });
    }
    Ok(definition)
}

/// Makes one schema, and those below it, fit the server: unions become a rule that says what to write, optional fields
/// are left out rather than null, and formats that the server does not know go.
fn simplify(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("nullable");
    if object.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        object.remove("format");
    }
    union_to_rule(object);
    for key in ["properties", "items"] {
        match object.get_mut(key) {
            Some(Value::Object(below)) if key == "properties" => below.values_mut().for_each(simplify),
            Some(below) => simplify(below),
            None => {}
        }
    }
}

/// `oneOf` over single required fields answers "found none valid"; a rule says which fields there are.
fn union_to_rule(object: &mut Map<String, Value>) {
    let Some(variants) = object.remove("oneOf") else { return };
    let names: Vec<&str> =
        variants.as_array().into_iter().flatten().filter_map(|variant| variant["required"][0].as_str()).collect();
    let count: Vec<String> = names.iter().map(|name| format!("(has(self.{name}) ? 1 : 0)")).collect();
    let union =
        rule(&format!("{} == 1", count.join(" + ")), &format!("write exactly one of `{}`", names.join("` and `")));
    match object.get_mut("x-kubernetes-validations").and_then(Value::as_array_mut) {
        Some(rules) => rules.insert(0, union),
        None => {
            object.insert("x-kubernetes-validations".into(), json!([union]));
        }
    }
}
