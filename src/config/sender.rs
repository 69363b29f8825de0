//! What the operator tells a sender (Secret `sender-<tenant>`).
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Error, Load, NamedKey, files, names};
use crate::domain::{MilliOre, RouteId, Secret, TenantId};
use crate::pki::Identity;

/// Everything in a sender's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderConfig {
    /// Settings without secrets.
    pub settings: Settings,
    /// URL of the data instance with the tenant's own login.
    pub database_url: Secret,
    /// File with the authority of the data instance's certificate.
    pub database_ca: PathBuf,
    /// The tenant's queue keys, the newest first.
    pub queue_keys: Vec<NamedKey>,
    /// The certificate shown to connectors (`sender-<tenant id>`).
    pub identity: Identity,
}

/// `config.json` of a sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Whose messages it sends.
    pub tenant_id: TenantId,
    /// The routes, first choice first.
    pub routes: Vec<Leg>,
    /// What becomes of messages whose fate a crash left unknown.
    pub crash_policy: CrashPolicy,
    /// Several pods run: one sends, the others stand by.
    #[serde(default)]
    pub stands_by: bool,
}

/// One route that a sender may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leg {
    /// The route.
    pub route_id: RouteId,
    /// Its name, for logs and metrics.
    pub name: String,
    /// `host:port` of its connector.
    pub address: String,
    /// The DNS name that the connector's certificate must carry.
    pub server_name: String,
    /// It carries numbers that begin with one of these digits; empty: all.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// It carries senders of letters.
    #[serde(default = "yes")]
    pub alphanumeric_senders: bool,
    /// Sender ids that it does not carry: the tenant's premium numbers, where the route is not for premium SMS (M5).
    #[serde(default)]
    pub without_senders: Vec<String>,
    /// What the upstream takes for a part, by prefix; empty: the route's place in the list alone counts.
    #[serde(default)]
    pub costs: Vec<Cost>,
    /// Which receipts are asked for.
    #[serde(default)]
    pub receipts: Receipts,
    /// What the upstream reads as data coding 0.
    #[serde(default)]
    pub alphabet: Alphabet,
    /// How parts of a long text are tied together.
    #[serde(default)]
    pub concatenation: Concatenation,
}

/// What an upstream takes for a part to numbers with one prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// First digits.
    pub prefix: String,
    /// For one part.
    pub cost: MilliOre,
}

fn yes() -> bool {
    true
}

/// Which receipts are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Receipts {
    /// For success and failure.
    #[default]
    All,
    /// For failure only.
    Failures,
    /// None: messages are final when submitted.
    None,
}

/// An alphabet that an upstream reads as data coding 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Alphabet {
    /// GSM 03.38, one septet an octet.
    #[default]
    Gsm7,
    /// GSM 03.38, packed.
    Gsm7Packed,
    /// ISO 8859-1.
    Latin1,
}

/// How parts of a long text are tied together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Concatenation {
    /// User data header with an 8-bit reference.
    #[default]
    Udh8,
    /// User data header with a 16-bit reference.
    Udh16,
    /// SAR parameters beside the text.
    Sar,
    /// One PDU with the whole text in `message_payload`.
    Payload,
}

/// What becomes of messages whose fate a crash left unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CrashPolicy {
    /// They are sent again: a recipient may get one twice.
    Resend,
    /// They are held for a decision: a recipient may get one late.
    Hold,
}

impl CrashPolicy {
    /// The word that the database holds.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resend => "resend",
            Self::Hold => "hold",
        }
    }
}

impl Load for SenderConfig {
    fn load(dir: &Path) -> Result<Self, Error> {
        Ok(Self {
            settings: files::json(dir, names::CONFIG)?,
            database_url: files::secret(dir, names::DATABASE_URL)?,
            database_ca: dir.join(names::DATABASE_CA),
            queue_keys: files::json(dir, names::QUEUE_KEYS)?,
            identity: files::identity(dir)?,
        })
    }
}
