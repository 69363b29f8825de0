//! What the tenant sends and receives: routes, sender ids, inbound numbers, mail, premium, limits (M1 to M5).
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{
    schema::{also, set, text},
    values::{Amount, Country, Domain, Name, Number, Prefix},
};
pub use crate::domain::Service;

text! {
    /// What a recipient sees as the sender: at most 11 letters and digits, or a number of at most 15 digits.
    SenderId, 40,
    "self.matches('^[1-9][0-9]{2,14}$') || (self.size() <= 11 && self.matches('^[A-Za-z0-9 ._&-]*[A-Za-z][A-Za-z0-9 ._&-]*$'))"
        => "write a name of at most 11 letters and digits with a letter among them, or a number of 3 to 15 digits without +"
}

text! {
    /// The first word of an inbound SMS, in capitals.
    Keyword, 40,
    "self.matches('^[A-Z0-9ÆØÅ]{1,20}$')" => "write a keyword of 1 to 20 capital letters and digits, as in STEM"
}

/// One route a tenant sends by. The list's order is the order of fail-over (M1, K3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteUse {
    /// An SmsRoute in the same namespace.
    pub name: Name,
    /// The tenant's share of the route beside the other tenants', 1 to 1000. Default: the route's `sharing.defaultWeight` (K3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: Option<u32>,
}

/// Which of the routes that carry a message goes first; the others follow where it takes none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RouteOrder {
    /// The first in the list.
    #[default]
    Listed,
    /// The one that costs least to the number, by the routes' `carries.costs`; where that is equal or not known, the first.
    Cost,
}

/// One sender id and where it may be used. The first that fits the recipient's country is the default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SenderIdUse {
    /// The sender id: at most 11 letters and digits, or 3 to 15 digits.
    pub id: SenderId,
    /// The countries in which it may be used, because it is registered or lawful there. Default: every country.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 60), transform = set)]
    pub countries: Vec<Country>,
}

/// A number on which the tenant receives SMS (M3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InboundNumber {
    /// The number or short code, digits only.
    pub number: Number,
    /// The keywords of a shared number that are this tenant's. Default: the whole number is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), transform = set)]
    pub keywords: Vec<Keyword>,
    /// Where inbound SMS go besides the API. Addresses are the tenant's own and live in PostgreSQL. Default: nowhere else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), transform = set)]
    pub deliver: Vec<Delivery>,
}

/// By which words the recipients of a tenant stop what it sends them, on the numbers that it receives on. An SMS that is such a word and
/// nothing else puts its sender on the tenant's list, which the API shows; nothing more is sent to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OptOuts {
    /// Whether such words are listened to. Default true. Without it the tenant keeps its list by the API alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_keyword: Option<bool>,
    /// The words that stop. Default: STOP, STOPP, STOPALL, UNSUBSCRIBE, AFMELD, FRAMELD.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 30), transform = set)]
    pub stop_words: Vec<Keyword>,
    /// The words that take that back. Default: START, UNSTOP, TILMELD.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 30), transform = set)]
    pub start_words: Vec<Keyword>,
}

/// Where an inbound SMS goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Delivery {
    /// By mail (M3).
    Email,
    /// To the tenant's webhook (M4).
    Webhook,
}

/// Email→SMS: a mail to `NUMBER@domain` becomes an SMS (M2). Allow-listed addresses live in PostgreSQL (D10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mail {
    /// The domains whose mail is this tenant's.
    #[schemars(length(min = 1, max = 10), transform = set)]
    pub domains: Vec<Domain>,
    /// Whole domains whose authenticated mail is accepted. Default: only addresses on the tenant's own list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), transform = set)]
    pub allowed_sender_domains: Vec<Domain>,
    /// Which part of the mail becomes the text. Default `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<MailText>,
    /// The text ends at the first of these. Default: at a signature (`-- `).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(min = 1, max = 40)), transform = set)]
    pub end_marks: Vec<String>,
    /// Which delivery reports are mailed back. Default `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reports: Option<MailReports>,
    /// A list with more recipients than this waits until the sender of the mail confirms count and cost, 1 to 100000. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub confirm_above_recipients: Option<u32>,
}

/// Which part of a mail becomes the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MailText {
    /// The subject alone.
    Subject,
    /// The body alone.
    #[default]
    Body,
    /// The subject, a line break, the body.
    SubjectAndBody,
}

/// Which delivery reports are mailed back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MailReports {
    /// Every one.
    All,
    /// Those of messages that failed.
    #[default]
    Failed,
    /// None.
    None,
}

/// A premium-rated number and keyword (M5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PremiumService {
    /// The short code.
    pub number: Number,
    /// The keyword on it.
    pub keyword: Keyword,
    /// What a recipient pays for one, in the plan's currency, VAT included (M5).
    pub price: Amount,
    /// True for a donation. Default false (M5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub donation: Option<bool>,
}

impl PremiumService {
    /// What the tenant must have for it.
    #[must_use]
    pub fn needs(&self) -> Service {
        if self.donation == Some(true) { Service::Donations } else { Service::Premium }
    }
}

impl Delivery {
    /// What the tenant must have for it.
    #[must_use]
    pub fn needs(self) -> Service {
        match self {
            Self::Email => Service::SmsToEmail,
            Self::Webhook => Service::Api,
        }
    }
}

/// Ceilings that protect the tenant and the routes. Absent: the installation's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = also(
    "!has(self.messagesPerHour) || !has(self.messagesPerDay) || self.messagesPerHour <= self.messagesPerDay",
    "write a `messagesPerHour` of at most `messagesPerDay`"
))]
pub struct Limits {
    /// Parts that one message may have, 1 to 20. Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub max_parts: Option<u8>,
    /// Recipients in one API call, 1 to 10000. Default 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub recipients_per_call: Option<u32>,
    /// Messages accepted in one clock hour. Default: no ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub messages_per_hour: Option<u32>,
    /// Messages accepted in one calendar day. Default: no ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub messages_per_day: Option<u32>,
    /// Refuses the same text to the same number within an interval, as a loop or a button pressed twice sends it. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_guard: Option<DuplicateGuard>,
    /// Numbers may begin with one of these. Default: every number that a route carries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 300), transform = set)]
    pub allowed_prefixes: Vec<Prefix>,
    /// How long a message may wait before it is given up, minutes, 1 to 10080 (seven days). Default 4320 (three days).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_080))]
    pub validity_minutes: Option<u32>,
}

/// A guard against duplicates. A call that is repeated with its `Idempotency-Key` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DuplicateGuard {
    /// How long after a message was accepted the same text to the same number is refused, seconds, 1 to 86400: `60`.
    #[schemars(range(min = 1, max = 86_400))]
    pub seconds: u32,
}
