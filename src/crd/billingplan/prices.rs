//! Dated prices (A7, A8, B1, B2, M5).
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{
    schema::{a_month_after, also, keyed},
    values::{Amount, Day, Number, Percent, Prefix, UnitPrice},
};

/// The currency of a plan's amounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Currency {
    /// Danish kroner: the law states its ceilings in them (B5).
    #[serde(rename = "DKK")]
    Dkk,
}

/// Value added tax (B7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Vat {
    /// The rate, percent: `"25"` (B7).
    pub percent: Percent,
    /// Whether reminder and collection fees carry it too. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_fees: Option<bool>,
}

/// The prices from one day on, without VAT (A7, A8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = also(
    &format!("!has(self.announcedOn) || (has(self.favourable) && self.favourable) || {}", a_month_after("self.announcedOn", "self.from")),
    "prices change with one month's notice: write a `from` a month after `announcedOn`, or `favourable: true` for a purely favourable change"
))]
pub struct Prices {
    /// The day from which they hold (A7).
    pub from: Day,
    /// The day they were announced by e-mail: a month or more before. Absent: the first list (A7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced_on: Option<Day>,
    /// A purely favourable change, which needs no notice. Default false (A7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub favourable: Option<bool>,
    /// Fee a calendar month: `"99.00"`.
    pub monthly_fee: Amount,
    /// Fee for opening the account. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_fee: Option<Amount>,
    /// SMS parts in the monthly fee, 0 to 10000000; unused ones lapse with the month. Default 0 (B2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10_000_000))]
    pub included_parts: Option<u32>,
    /// Price of a part by the longest prefix that fits. A number that fits none is refused.
    #[schemars(length(min = 1, max = 300), transform = keyed(&["prefix"]))]
    pub sms: Vec<Price>,
    /// Price of an inbound SMS. Default: none (M3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<UnitPrice>,
    /// The tenant's share of what recipients pay, by short code (M5).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), transform = keyed(&["number"]))]
    pub premium: Vec<PremiumShare>,
}

/// The price of one part to numbers with one prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Price {
    /// First digits, country code first: `45`.
    pub prefix: Prefix,
    /// Price of one part without VAT: `"0.295"`.
    pub price: UnitPrice,
}

/// The tenant's share of premium-rated SMS on one short code (M5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PremiumShare {
    /// The short code.
    pub number: Number,
    /// The tenant's share of what recipients pay, percent: `"62.5"` (M5).
    pub percent: Percent,
    /// The tenant's share of donations, percent. Default: as of other content (M5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub donation_percent: Option<Percent>,
}
