//! What holds for a tenant now, as the operator last saw it.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{schema::keyed, values::Day};

/// What holds for a tenant now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantStatus {
    /// The generation of the spec that this status speaks of; -1 before the first.
    pub observed_generation: i64,
    /// One condition per promise: Ready, Active, Verified, TermsAccepted, RoutesReady, SenderReady, Suspended, Compliant and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::crd::schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The immutable account id: what invoices and the database know the tenant by (A6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<i64>,
    /// The Secret that holds the first API key (M4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub api_key_secret: Option<String>,
    /// The sender's pods (K3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<SenderStatus>,
    /// The routes in use, in the order of fail-over; at most 20 are told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), transform = keyed(&["name"]))]
    pub routes: Vec<RouteStatus>,
    /// The day on which the account is erased for good, once it has ended: `2026-05-01` (A6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased_on: Option<Day>,
}

/// The sender's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SenderStatus {
    /// Pods that are ready.
    pub ready: i32,
    /// Pods that are wanted now: 0 while idle or suspended.
    pub desired: i32,
    /// Both as the printer column shows them: `1/1`.
    #[schemars(length(max = 20))]
    pub summary: String,
}

/// One route as the tenant has it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// The SmsRoute.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Whether its connector is ready.
    pub ready: bool,
    /// The weight in force, after defaults.
    pub weight: u32,
}
