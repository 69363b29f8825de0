//! Who sells, under which brand and which terms (A3, A7 to A9, B7).
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{
    schema::{a_month_after, also, set},
    tenant::{Cvr, Service},
    values::{Address, Day, Domain, Email, HttpsUrl, Name, Number},
};

/// Who sells: printed on invoices (B7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Seller {
    /// Registered name.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// Registered address.
    pub address: Address,
    /// Danish CVR number, eight digits (B7).
    pub cvr: Cvr,
    /// Where invoices are answered.
    pub email: Email,
    /// Phone, digits with country code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Number>,
    /// Where invoices are paid to (B7, B8).
    pub bank_account: BankAccount,
    /// The series that invoice numbers begin with, at most 10 capital letters, digits and dashes. Default: plain numbers (B7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10), transform = also(
        "self.matches('^[A-Z0-9-]{1,10}$')", "write a series of capital letters, digits and dashes, as in BS-"
    ))]
    pub invoice_series: Option<String>,
}

/// Where invoices are paid to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BankAccount {
    /// Registration number, four digits.
    #[schemars(length(max = 4), transform = also(
        "self.matches('^[0-9]{4}$')", "write the four digits of the registration number in quotes, as in \"0040\""
    ))]
    pub registration: String,
    /// Account number, up to ten digits.
    #[schemars(length(max = 10), transform = also(
        "self.matches('^[0-9]{4,10}$')", "write 4 to 10 digits in quotes, as in \"0440116243\""
    ))]
    pub number: String,
    /// IBAN without spaces, for payers abroad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 34), transform = also(
        "self.matches('^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$')", "write the IBAN without spaces, as in DK5000400440116243"
    ))]
    pub iban: Option<String>,
}

/// A brand: one face of the installation (A9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Brand {
    /// The brand's key, which Tenants name.
    pub name: Name,
    /// The brand as people read it: `Email2SMS`.
    #[schemars(length(min = 1, max = 60))]
    pub display_name: String,
    /// The brand's own domain: portal, API and mail are under it.
    pub domain: Domain,
    /// The address that its mails come from.
    pub sender_address: Email,
    /// The services that it offers (A9).
    #[schemars(length(min = 1, max = 7), transform = set)]
    pub services: Vec<Service>,
}

/// An individual written offer (A8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// The owner's number of the offer.
    #[schemars(length(min = 1, max = 60))]
    pub reference: String,
    /// The day it was given in writing (A8).
    pub given_on: Day,
}

/// One version of the terms (A3, A7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = also(
    &format!("!has(self.announcedOn) || (has(self.favourable) && self.favourable) || {}", a_month_after("self.announcedOn", "self.from")),
    "terms change with one month's notice: write a `from` a month after `announcedOn`, or `favourable: true` for a purely favourable change"
))]
pub struct Terms {
    /// The version's name, as acceptances keep it: `2026-01`.
    #[schemars(length(min = 1, max = 30))]
    pub version: String,
    /// The day from which it holds (A7).
    pub from: Day,
    /// The day it was announced by e-mail: a month or more before. Absent: the first version (A7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced_on: Option<Day>,
    /// A purely favourable change, which needs no notice. Default false (A7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub favourable: Option<bool>,
    /// Where the text is, for download (A3, M6).
    pub page: HttpsUrl,
}
