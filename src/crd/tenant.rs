//! Tenant: a business customer and everything the owner decides about it. Facts (messages, usage, what the tenant
//! decided itself, people) are in PostgreSQL; the only person named here is the business contact (D10).
mod account;
mod messaging;
mod organisation;
mod sender;
mod status;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use account::{Acceptance, Logging, Party, Suspension, SuspensionReason, Termination, TerminationReason};
pub use messaging::{
    Delivery, DuplicateGuard, InboundNumber, Keyword, Limits, Mail, MailReports, MailText, OptOuts, PremiumService,
    RouteOrder, RouteUse, SenderId, SenderIdUse, Service,
};
pub use organisation::{
    ConfirmedEmail, Contact, Cvr, Ean, InvoiceFormat, Language, Organisation, PublicSector, Registration, VatNumber,
    Verification,
};
pub use sender::{Api, CrashPolicy, Sender};
pub use status::{RouteStatus, SenderStatus, TenantStatus};

use super::{
    schema::{also, keyed, set},
    values::{Country, Hours, Name, Reference},
};

/// What the owner decides about a business customer.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "budstikke.dev",
    version = "v1alpha1",
    kind = "Tenant",
    namespaced,
    status = "TenantStatus",
    derive = "PartialEq",
    shortname = "tn",
    category = "budstikke",
    doc = "A business customer that sends and receives SMS: who it is, how it sends, and under which plan and policy.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Active", type_ = "string", json_path = ".status.conditions[?(@.type==\"Active\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Active\")].reason"),
    printcolumn(name = "Sender", type_ = "string", json_path = ".status.sender.summary"),
    printcolumn(name = "Plan", type_ = "string", json_path = ".spec.planRef.name", priority = 1),
    printcolumn(name = "Retention", type_ = "string", json_path = ".spec.retentionRef.name", priority = 1),
    printcolumn(
        name = "Compliant",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Compliant\")].status",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message")
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = also("!has(self.mail) || self.services.exists(s, s == 'emailToSms')", "add `emailToSms` to `services`, or leave `mail` out"),
    transform = also(
        "!has(self.premium) || self.premium.size() == 0 || self.services.exists(s, s == 'premium' || s == 'donations')",
        "add `premium` or `donations` to `services`, or leave `premium` out"
    ),
    transform = also(
        "!self.services.exists(s, s == 'smsToEmail') || (has(self.inboundNumbers) && self.inboundNumbers.size() > 0)",
        "`smsToEmail` needs a number to receive on: write it in `inboundNumbers`"
    ))]
pub struct TenantSpec {
    /// The organisation that has the account (A1).
    pub organisation: Organisation,
    /// The business contact: invoices and all official notices go there (A4).
    pub contact: Contact,
    /// The brand the tenant is served under: one of its plan's `brands`. May be left out where the plan has one (A9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<Name>,
    /// The services the tenant may use, of those that its brand offers (A9, M1 to M5).
    #[schemars(length(min = 1, max = 7), transform = set)]
    pub services: Vec<Service>,
    /// The BillingPlan (B1 to B9).
    pub plan_ref: Reference,
    /// The RetentionPolicy (D1 to D4).
    pub retention_ref: Reference,
    /// The routes the tenant sends by, in the order of fail-over (M1, K3).
    #[schemars(length(min = 1, max = 10), transform = keyed(&["name"]))]
    pub routes: Vec<RouteUse>,
    /// Which of the routes that carry a message goes first. Default `listed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_order: Option<RouteOrder>,
    /// The sender ids the tenant may use; the first that fits is the default. Absent: the route decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), transform = keyed(&["id"]))]
    pub sender_ids: Vec<SenderIdUse>,
    /// The country of numbers written without one, ISO 3166-1. Default `DK`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_country: Option<Country>,
    /// The numbers the tenant receives SMS on (M3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), transform = keyed(&["number"]))]
    pub inbound_numbers: Vec<InboundNumber>,
    /// Words by which recipients stop what the tenant sends. Default: the usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opt_outs: Option<OptOuts>,
    /// Email→SMS settings (M2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<Mail>,
    /// Premium-rated and donation services (M5).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), transform = keyed(&["number", "keyword"]))]
    pub premium: Vec<PremiumService>,
    /// Ceilings on what the tenant sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Hours in which messages go out; others wait. Default: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_window: Option<Hours>,
    /// The tenant's wish that nothing be logged. Absent: logged as the policy says (D4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// What the owner has confirmed (A1, A2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// An acceptance of the terms that the owner holds in writing outside the portal (A3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acceptance: Option<Acceptance>,
    /// Closes the account for sending until it is removed (A5, B6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspension: Option<Suspension>,
    /// Notice that the account ends (A6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination: Option<Termination>,
    /// Access to the REST API (M4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
    /// The tenant's own sender pods (K3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Sender>,
}
