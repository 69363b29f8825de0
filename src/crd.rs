//! The four kinds: `budstikke.dev/v1alpha1`, one file a kind. Everything an owner decides is in a spec, everything that
//! holds is in a status (K1). No tokio, no client: the operator, the services and the tests share these types.
//!
//! Optional fields have their defaults in code, next to the field; the schema has none, so GitOps tools see no drift.
#![allow(clippy::duplicated_attributes, reason = "two printer columns may well have the same type")]

pub mod billingplan;
pub mod conditions;
mod definition;
pub mod retentionpolicy;
mod schema;
pub mod smsroute;
pub mod tenant;
pub mod values;

#[cfg(test)]
mod tests;

pub use billingplan::{BillingPlan, BillingPlanSpec, BillingPlanStatus};
pub use retentionpolicy::{RetentionPolicy, RetentionPolicySpec, RetentionPolicyStatus};
pub use smsroute::{SmsRoute, SmsRouteSpec, SmsRouteStatus};
pub use tenant::{Tenant, TenantSpec, TenantStatus};

/// A definition could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A definition could not be turned into JSON.
    #[error("cannot write a definition as JSON")]
    Json(#[source] serde_json::Error),
    /// A definition could not be turned into YAML.
    #[error("cannot write a definition as YAML")]
    Yaml(#[source] serde_yaml_ng::Error),
}

/// All definitions as one YAML stream, the same text every time: what `budstikke crd` prints.
pub fn yaml() -> Result<String, Error> {
    let mut text = String::new();
    for definition in definition::all().map_err(Error::Json)? {
        text.push_str("---\n");
        text.push_str(&serde_yaml_ng::to_string(&definition).map_err(Error::Yaml)?);
    }
    Ok(text)
}
