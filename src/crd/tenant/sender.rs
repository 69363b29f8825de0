//! The tenant's own sender pods and its API key (M1, M4, K3).
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::values::{Reference, Resources};

/// The tenant's own sender pods (M1, K3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sender {
    /// Pods while there is something to send, 1 to 5; one submits, the others stand by. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5))]
    pub replicas: Option<u16>,
    /// What one pod asks for and may use. Default: the installation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Scale to zero after this long with nothing to send, seconds, 60 to 604800; 0 never does. Default 900.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 604_800), transform = crate::crd::schema::also(
        "self == 0 || self >= 60", "write 0 for never, or at least 60 seconds"
    ))]
    pub idle_seconds: Option<u32>,
    /// What becomes of the few messages whose fate a crash left unknown. Default `resend` (B10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash_policy: Option<CrashPolicy>,
}

impl Sender {
    /// Pods while there is something to send.
    pub fn replicas(&self) -> u16 {
        self.replicas.unwrap_or(1)
    }

    /// Seconds without work before the pods go; `None`: they stay.
    pub fn idle_seconds(&self) -> Option<u32> {
        Some(self.idle_seconds.unwrap_or(900)).filter(|seconds| *seconds > 0)
    }
}

/// What becomes of messages whose fate a crash left unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CrashPolicy {
    /// They are sent again: a recipient may get one twice.
    #[default]
    Resend,
    /// They are held for the tenant's decision: a recipient may get one late.
    Hold,
}

/// Access to the REST API (M4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Api {
    /// A Secret whose `apiKey` is the first key. Absent: the operator makes the Secret `<tenant>-api-key` (M4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret_ref: Option<Reference>,
}
