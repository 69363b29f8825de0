//! The account's states as the owner decides them: acceptance seen, logging, suspension, termination (A3 to A7, B6, D4).
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{
    schema::{a_month_after, also},
    values::Day,
};

/// An acceptance of the terms in writing that the owner holds outside the portal (A3). What a tenant accepts in the
/// portal is a fact in PostgreSQL and needs nothing here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Acceptance {
    /// The version of the plan's terms that was accepted (A3).
    #[schemars(length(min = 1, max = 30))]
    pub terms_version: String,
    /// The day of the acceptance (A3).
    pub accepted_on: Day,
    /// Where the owner keeps the written acceptance: a case or contract number, not a person's name (A3, D10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 60))]
    pub reference: Option<String>,
}

/// The tenant's wish that nothing be logged (D4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = also(
    "!has(self.receiptsByWebhookFrom) || self.receiptsByWebhookFrom >= self.optOutConfirmedOn",
    "write a `receiptsByWebhookFrom` on or after `optOutConfirmedOn`"
))]
pub struct Logging {
    /// The day on which the tenant confirmed that there will be no history and no delivery report (D4).
    pub opt_out_confirmed_on: Day,
    /// The day on which the tenant asked in writing for receipts by webhook all the same. Absent: none are sent (D4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipts_by_webhook_from: Option<Day>,
}

/// The account is closed for sending until this is removed (A5, B6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Suspension {
    /// Why (A5, B6).
    pub reason: SuspensionReason,
    /// What the tenant is told, in its language: API answers and notices carry it. No person's name or number (D10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 300))]
    pub message: Option<String>,
    /// The day from which it was decided, for the record; it is in force as soon as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Day>,
}

/// Why an account is closed for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SuspensionReason {
    /// Unsolicited messages (A5).
    Spam,
    /// Other abuse (A5).
    Abuse,
    /// Invoices unpaid (B6).
    NonPayment,
    /// A key or mailbox of the tenant's is in wrong hands.
    Security,
    /// The tenant asked for it.
    TenantRequest,
    /// Something else, told in the message.
    Other,
}

impl SuspensionReason {
    /// The word as the resource writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spam => "spam",
            Self::Abuse => "abuse",
            Self::NonPayment => "nonPayment",
            Self::Security => "security",
            Self::TenantRequest => "tenantRequest",
            Self::Other => "other",
        }
    }
}

/// Notice that the account ends (A6). It ends one month after the notice, at once for repeated abuse, or on `endsOn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = also("self.reason != 'repeatedAbuse' || self.by == 'owner'", "only the owner ends an account for repeated abuse: write `by: owner`"),
    transform = also(
        &format!("!has(self.endsOn) || self.reason == 'repeatedAbuse' || {}", a_month_after("self.noticeGivenOn", "self.endsOn")),
        "the notice is one month: write an `endsOn` a month or more after `noticeGivenOn`, or leave it out"
    ),
    transform = also("!has(self.endsOn) || self.endsOn >= self.noticeGivenOn", "write an `endsOn` on or after `noticeGivenOn`"))]
pub struct Termination {
    /// Who gave notice (A6).
    pub by: Party,
    /// The day on which the notice was given in writing (A6).
    pub notice_given_on: Day,
    /// Why (A5, A6, A7).
    pub reason: TerminationReason,
    /// The last day of the account. Default: one month after the notice; the day of the notice for repeated abuse (A5, A6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_on: Option<Day>,
}

/// One of the two sides of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Party {
    /// The customer.
    Tenant,
    /// The provider.
    Owner,
}

/// Why an account ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TerminationReason {
    /// Ordinary notice (A6).
    Notice,
    /// The tenant does not accept changed terms or prices (A7).
    ChangedTerms,
    /// Repeated abuse: without notice, by the owner (A5).
    RepeatedAbuse,
}
