//! BillingPlan: what is sold, under which brand and terms, at which prices, and how it is paid (A7 to A9, B1 to B8).
//! Money is text with a point (`"0.295"`) in the plan's currency, never a float; dates are days in Europe/Copenhagen.
mod payment;
mod prices;
mod seller;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use payment::{Collection, DayCount, Interest, Payment, ReferenceRate, Reminders, SuspensionRule, SuspensionStart};
pub use prices::{Currency, PremiumShare, Price, Prices, Vat};
pub use seller::{BankAccount, Brand, Offer, Seller, Terms};

use super::schema::{also, keyed};

/// What the owner decides about a plan.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "budstikke.dev",
    version = "v1alpha1",
    kind = "BillingPlan",
    namespaced,
    status = "BillingPlanStatus",
    derive = "PartialEq",
    shortname = "bplan",
    category = "budstikke",
    doc = "What is sold: brand, terms, dated prices, payment, interest, reminders and suspension.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Price", type_ = "string", json_path = ".status.price"),
    printcolumn(name = "Pay days", type_ = "integer", json_path = ".spec.payment.days"),
    printcolumn(name = "Tenants", type_ = "integer", json_path = ".status.referencedBy"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message")
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = also(
        "has(self.reminders) || !has(self.collection)",
        "collection comes after reminders: write `reminders`, or leave `collection` out"
    ),
    transform = also(
        "!has(self.suspension) || self.suspension.from != 'reminder' || has(self.reminders)",
        "`suspension.from: reminder` needs `reminders`: write them, or suspend from `dueDate`"
    ),
    transform = also(
        "!has(self.suspension) || self.suspension.from != 'collection' || has(self.collection)",
        "`suspension.from: collection` needs `collection`: write it, or suspend from `reminder`"
    ))]
pub struct BillingPlanSpec {
    /// Who sells: printed on invoices (B7).
    pub seller: Seller,
    /// The brands the plan is sold under (A9).
    #[schemars(length(min = 1, max = 10), transform = keyed(&["name"]))]
    pub brands: Vec<Brand>,
    /// An individual written offer. Absent: the plan's prices are public (A8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<Offer>,
    /// The terms, each version with its day (A3, A7).
    #[schemars(
        length(min = 1, max = 30),
        transform = keyed(&["version"]), transform = also(
                "self.filter(t, !has(t.announcedOn) && !(has(t.favourable) && t.favourable)).size() <= 1",
                "only the first version may be without notice: write `announcedOn`, or `favourable: true` for a purely favourable change"
            )
    )]
    pub terms: Vec<Terms>,
    /// The currency of every amount in the plan.
    pub currency: Currency,
    /// The prices, each list with the day from which it holds (A7, A8, B1, B2).
    #[schemars(
        length(min = 1, max = 24),
        transform = keyed(&["from"]), transform = also(
                "self.filter(p, !has(p.announcedOn) && !(has(p.favourable) && p.favourable)).size() <= 1",
                "only the first price list may be without notice: write `announcedOn`, or `favourable: true` for a purely favourable change"
            )
    )]
    pub prices: Vec<Prices>,
    /// Value added tax (B7).
    pub vat: Vat,
    /// Payment terms (B3).
    pub payment: Payment,
    /// Late interest. Absent: none is charged (B4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interest: Option<Interest>,
    /// Reminders. Absent: none are sent (B5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reminders: Option<Reminders>,
    /// Collection after the last reminder's deadline. Absent: the owner collects by hand (B5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<Collection>,
    /// Suspension for non-payment. Absent: never (B6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspension: Option<SuspensionRule>,
}

/// What holds for a plan now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BillingPlanStatus {
    /// The generation of the spec that this status speaks of; -1 before the first.
    pub observed_generation: i64,
    /// Ready, Reconciling, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::crd::schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Tenants that name this plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referenced_by: Option<i32>,
    /// Monthly fee and included units now, in one line: `99 DKK a month, 200 SMS included`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub price: Option<String>,
}
