//! Whether a route takes messages, and the last error of its upstream: words, statuses and times, never what an upstream wrote (D10).
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The route's circuit breaker. Where the connector's pods differ, the worst is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitStatus {
    /// Whether the route takes messages.
    pub state: CircuitState,
    /// Since when that is so.
    #[schemars(length(max = 40), extend("format" = "date-time"))]
    pub since: String,
    /// The upstream's last error; it stays here when all is well again. Absent while there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<RouteError>,
}

/// Whether a route takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CircuitState {
    /// It does.
    Closed,
    /// It is tried again, with a message now and then.
    HalfOpen,
    /// It does not: tenants send by their next route, or wait.
    Open,
}

/// An error of an upstream's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteError {
    /// What kind of error.
    pub class: ErrorClass,
    /// The status it came with: `0x00000058` of SMPP, `HTTP 401` of an upstream over HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub code: Option<String>,
    /// When.
    #[schemars(length(max = 40), extend("format" = "date-time"))]
    pub at: String,
}

/// What kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ErrorClass {
    /// There was no connection.
    Connect,
    /// There was no agreement on TLS.
    Tls,
    /// A bind was refused.
    BindRefused,
    /// A connection ended.
    Lost,
    /// A message was throttled.
    Throttled,
    /// A message met a fault of the upstream's own.
    Fault,
    /// A message was not answered in time.
    Unanswered,
}
