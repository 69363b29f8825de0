//! SmsRoute: one upstream, what it carries, and how its tenants share it (M1, K3).
mod status;
mod traffic;
mod upstream;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use status::{CircuitState, CircuitStatus, ErrorClass, RouteError};
pub use traffic::{
    AlphabetEncoding, Carries, Concatenation, Connector, Cost, Maintenance, Processor, ReceiptIdFormat, ReceiptRequest,
    Receipts, Sharing, Text, Timeouts,
};
pub use upstream::{Addressing, BindMode, HttpsUpstream, Npi, SmppUpstream, SmppVersion, Tls, TlsMode, Ton, Upstream};

use super::schema::also;

/// What the owner decides about an upstream.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "budstikke.dev",
    version = "v1alpha1",
    kind = "SmsRoute",
    namespaced,
    status = "SmsRouteStatus",
    derive = "PartialEq",
    shortname = "smsr",
    category = "budstikke",
    doc = "An upstream that carries SMS: how to reach it, what it allows and carries, and how its tenants share it.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(
        name = "Upstream",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"UpstreamReady\")].status"
    ),
    printcolumn(name = "Binds", type_ = "string", json_path = ".status.connector.summary"),
    printcolumn(name = "Circuit", type_ = "string", json_path = ".status.circuit.state"),
    printcolumn(name = "Rate", type_ = "integer", json_path = ".spec.ratePerSecond"),
    printcolumn(name = "Tenants", type_ = "integer", json_path = ".status.tenants"),
    printcolumn(
        name = "Compliant",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Compliant\")].status"
    ),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.upstream", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message")
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = also(
        "!has(self.connector) || !has(self.connector.replicas) || self.connector.replicas < 1 || (has(self.binds) ? self.binds : 1) % self.connector.replicas == 0",
        "each connector pod holds as many binds as the others: write `binds` as a multiple of `connector.replicas`"
    ),
    transform = also(
        "self.ratePerSecond >= (has(self.binds) ? self.binds : 1)",
        "each bind needs at least one message a second: write `binds` of at most `ratePerSecond`"
    ))]
pub struct SmsRouteSpec {
    /// How to reach the upstream: exactly one of `smpp` and `https`. The kind cannot change; its settings can (M1).
    #[schemars(transform = also(
        "has(self.smpp) == has(oldSelf.smpp)",
        "an upstream keeps its kind: make another SmsRoute for it and name that in the Tenants' `routes`"
    ))]
    pub upstream: Upstream,
    /// Who the upstream is, for the list of processors on the privacy page (D6, D9).
    pub processor: Processor,
    /// Binds that the upstream allows, 1 to 32. An HTTPS upstream has as many concurrent connections. Default 1 (K3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub binds: Option<u16>,
    /// Parts a second over all binds, 1 to 10000: the route never submits more (K3).
    #[schemars(range(min = 1, max = 10_000))]
    pub rate_per_second: u32,
    /// Submits without an answer on one bind, 1 to 1000. Over HTTPS as many messages share one call at most. Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub window_per_bind: Option<u16>,
    /// Time-outs towards the upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// Delivery receipts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipts: Option<Receipts>,
    /// How text is written and long text is split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
    /// What the route carries. Default: every number, no premium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carries: Option<Carries>,
    /// How the tenants on the route share its rate (K3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharing: Option<Sharing>,
    /// Closing the route, and when its pods may be replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// The connector's pods (K3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<Connector>,
}

impl SmsRouteSpec {
    /// Binds that the upstream allows.
    pub fn binds(&self) -> u16 {
        self.binds.unwrap_or(1)
    }

    /// Submits without an answer on one bind.
    pub fn window_per_bind(&self) -> u16 {
        self.window_per_bind.unwrap_or(10)
    }

    /// Hours after its submit at which a message without a receipt is given up.
    pub fn give_up_hours(&self) -> u16 {
        self.receipts.as_ref().and_then(|receipts| receipts.give_up_hours).unwrap_or(72)
    }

    /// Connector pods, never more than binds.
    pub fn replicas(&self) -> u16 {
        self.connector.as_ref().and_then(|connector| connector.replicas).unwrap_or(1).min(self.binds())
    }

    /// The weight of a tenant that names none.
    pub fn default_weight(&self) -> u32 {
        self.sharing.as_ref().and_then(|sharing| sharing.default_weight).unwrap_or(1)
    }
}

/// What holds for a route now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SmsRouteStatus {
    /// The generation of the spec that this status speaks of; -1 before the first.
    pub observed_generation: i64,
    /// Ready, Reconciling, Stalled, CredentialsReady, ConnectorReady; beside Ready: UpstreamReady, Compliant (D8), and RolloutPending
    /// where there is a `maintenance.rolloutWindow`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::crd::schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Tenants that name this route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<i32>,
    /// Where the upstream is, in one word: `smpp.example.com:3601`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 600))]
    pub upstream: Option<String>,
    /// The connector's pods and binds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<ConnectorStatus>,
    /// The `receipts.idFormat` with which receipts would find their messages, where they do not as it is set: for the owner to decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed_id_format: Option<ReceiptIdFormat>,
    /// Whether the route takes messages, as its connector tells it. Absent while no pod has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit: Option<CircuitStatus>,
}

/// The connector's pods and binds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorStatus {
    /// Pods that are ready.
    pub ready: i32,
    /// Pods that are wanted.
    pub desired: i32,
    /// Binds that stand, of those agreed with the upstream, as the printer column shows them: `1/2`.
    #[schemars(length(max = 20))]
    pub summary: String,
}
