//! What an upstream is like in traffic: time-outs, receipts, text, what it carries, sharing, maintenance, pods (M1, K3).
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{
    schema::{also, keyed, set},
    values::{Country, Day, Hours, HttpsUrl, Prefix, Resources, UnitPrice},
};

/// Who the upstream is, for the list of processors on the privacy page (D6, D9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Processor {
    /// The company's name.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// The country where it handles the messages, ISO 3166-1 (D6, D8).
    pub country: Country,
    /// The day of the data processing agreement with it (D6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement_on: Option<Day>,
    /// Its own page on data protection (D9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<HttpsUrl>,
}

/// Time-outs towards the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = also(
    "(has(self.reconnectMinMilliseconds) ? self.reconnectMinMilliseconds : 1000) <= 1000 * (has(self.reconnectMaxSeconds) ? self.reconnectMaxSeconds : 60)",
    "write a `reconnectMinMilliseconds` of at most `reconnectMaxSeconds`"
))]
pub struct Timeouts {
    /// For a TCP connection and its TLS handshake, seconds, 1 to 120. Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 120))]
    pub connect_seconds: Option<u32>,
    /// For the answer to a bind, seconds, 1 to 120. Default 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 120))]
    pub bind_seconds: Option<u32>,
    /// For the answer to a submit, counted from its bytes going out, seconds, 1 to 600. Default 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 600))]
    pub submit_seconds: Option<u32>,
    /// Between two enquire_links on a quiet bind, seconds, 5 to 600. Default 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 5, max = 600))]
    pub enquire_link_seconds: Option<u32>,
    /// The first pause before a bind is made anew, milliseconds, 100 to 60000; it doubles, with jitter. Default 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 60_000))]
    pub reconnect_min_milliseconds: Option<u32>,
    /// The longest such pause, seconds, 1 to 900. Default 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 900))]
    pub reconnect_max_seconds: Option<u32>,
}

impl Timeouts {
    /// For a TCP connection and its TLS handshake, seconds.
    pub fn connect_seconds(&self) -> u32 {
        self.connect_seconds.unwrap_or(10)
    }

    /// For the answer to a bind, seconds.
    pub fn bind_seconds(&self) -> u32 {
        self.bind_seconds.unwrap_or(30)
    }

    /// For the answer to a submit, seconds.
    pub fn submit_seconds(&self) -> u32 {
        self.submit_seconds.unwrap_or(30)
    }

    /// Between two enquire_links on a quiet bind, seconds.
    pub fn enquire_link_seconds(&self) -> u32 {
        self.enquire_link_seconds.unwrap_or(30)
    }

    /// The first pause before a bind is made anew, milliseconds.
    pub fn reconnect_min_milliseconds(&self) -> u32 {
        self.reconnect_min_milliseconds.unwrap_or(1000)
    }

    /// The longest such pause, seconds.
    pub fn reconnect_max_seconds(&self) -> u32 {
        self.reconnect_max_seconds.unwrap_or(60)
    }
}

/// Delivery receipts of the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Receipts {
    /// How a receipt's id relates to the submit answer's. Default `asIs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_format: Option<ReceiptIdFormat>,
    /// Which receipts are asked for. Default `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<ReceiptRequest>,
    /// A message without a receipt is final as `unknown` after this many hours, 1 to 168. Default 72.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 168))]
    pub give_up_hours: Option<u16>,
}

/// How a receipt's id relates to the submit answer's. Leading zeros and case never count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReceiptIdFormat {
    /// The same text.
    #[default]
    AsIs,
    /// Both are decimal numbers.
    Decimal,
    /// Both are hexadecimal numbers.
    Hex,
    /// The submit answer is hexadecimal, the receipt decimal.
    HexToDecimal,
    /// The submit answer is decimal, the receipt hexadecimal.
    DecimalToHex,
}

/// Which receipts are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReceiptRequest {
    /// For success and failure.
    #[default]
    All,
    /// For failure only.
    Failures,
    /// None: the upstream sends none, and messages are final when submitted.
    None,
}

/// How text is written and long text is split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Text {
    /// How parts of a long text are tied together. Default `udh8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concatenation: Option<Concatenation>,
    /// What the upstream reads as data coding 0. Default `gsm7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_alphabet: Option<AlphabetEncoding>,
}

/// How parts of a long text are tied together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Concatenation {
    /// User data header with an 8-bit reference.
    #[default]
    Udh8,
    /// User data header with a 16-bit reference.
    Udh16,
    /// SAR parameters beside the text.
    Sar,
    /// One PDU with the whole text in `message_payload`; the upstream splits it.
    Payload,
}

/// An alphabet that an upstream reads as data coding 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AlphabetEncoding {
    /// GSM 03.38, one septet an octet.
    #[default]
    Gsm7,
    /// GSM 03.38, packed.
    Gsm7Packed,
    /// ISO 8859-1.
    Latin1,
}

/// What the route carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Carries {
    /// Numbers that begin with one of these. Default: every number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 300), transform = set)]
    pub prefixes: Vec<Prefix>,
    /// Premium-rated SMS: only such a route carries what is sent from a number of a Tenant's `premium` (M5). Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub premium: Option<bool>,
    /// What the upstream takes for a part, in the plans' currency, by the longest prefix that fits. Tenants with `routeOrder: cost`
    /// send by the cheapest first. Default: not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 300), transform = keyed(&["prefix"]))]
    pub costs: Vec<Cost>,
    /// Senders of letters. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alphanumeric_senders: Option<bool>,
    /// Inbound SMS (M3). Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<bool>,
}

/// What an upstream takes for one part to numbers with one prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// First digits, country code first: `45`.
    pub prefix: Prefix,
    /// Cost of one part without VAT: `"0.145"`.
    pub cost: UnitPrice,
}

/// How the tenants on a route share its rate: by weight among those that have something to send (K3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sharing {
    /// The weight of a tenant that names none, 1 to 1000. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub default_weight: Option<u32>,
    /// The most that one tenant gets of the rate, percent, 1 to 100, also when it is alone. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_share_percent: Option<u8>,
}

/// Closing a route, and when its pods may be replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Maintenance {
    /// True closes the route: binds go, tenants fail over to their next route or wait. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<bool>,
    /// Why, for the route's status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 300))]
    pub message: Option<String>,
    /// When pods that work may be replaced for a new version of Budstikke; until then the old one goes on, and RolloutPending says until
    /// when. Nothing else waits for it: settings and credentials reach running pods, and closing the route and another number of pods
    /// are the owner's own word. Default: at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout_window: Option<Hours>,
}

/// The connector's pods (K3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connector {
    /// Pods, 1 to 32; binds and rate are divided among them, so `binds` is a multiple of it. Another number replaces all
    /// pods, so that the upstream never sees more binds than agreed. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub replicas: Option<u16>,
    /// What one pod asks for and may use. Default: the installation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}
