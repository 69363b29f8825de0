//! Payment, interest, reminders, collection and suspension, within the promises and the law (B3 to B6).
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{
    schema::{also, keyed},
    values::{Amount, Day, Percent},
};

/// The rule for a ceiling; text that is no number is told so by its own rule.
fn at_most(ceiling: u32) -> String {
    format!("!self.matches('^[0-9]+([.][0-9]+)?$') || double(self) <= {ceiling}.0")
}

/// Payment terms (B3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = also(
    "self.days == 8 || has(self.agreedOn)",
    "terms longer than 8 days are agreed in writing: write the day in `agreedOn`, or `days: 8`"
))]
pub struct Payment {
    /// Days from the invoice date to the due date, 8 to 30 (B3).
    #[schemars(range(min = 8, max = 30))]
    pub days: u8,
    /// The day on which more than 8 days were agreed in writing (B3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreed_on: Option<Day>,
    /// A due date on a bank holiday moves to the next banking day. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_banking_day: Option<bool>,
}

/// Late interest: the reference rate in force and a margin, from the day after the due date, not compounded (B4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Interest {
    /// The discount rate, each with the day from which it holds (B4).
    #[schemars(length(min = 1, max = 60), transform = keyed(&["from"]))]
    pub reference_rates: Vec<ReferenceRate>,
    /// Percentage points above it a year, `"0"` to `"8"` (B4: 5; the law's own margin is 8).
    #[schemars(transform = also(&at_most(8), "the law allows a margin of at most 8: write \"5\", as promised"))]
    pub margin_percent: Percent,
    /// How days are counted. Default `actual365` (B4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_count: Option<DayCount>,
}

/// The discount rate from one day on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceRate {
    /// The day from which it holds.
    pub from: Day,
    /// Percent a year: `"1.75"`.
    pub percent: Percent,
}

/// How days of interest are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DayCount {
    /// Actual days over 365.
    #[default]
    Actual365,
    /// Months of 30 days over 360.
    Thirty360,
}

/// Reminders: the last one is also the statutory demand letter (B5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reminders {
    /// How many, 1 to 3: two are promised, three are lawful (B5).
    #[schemars(range(min = 1, max = 3))]
    pub count: u8,
    /// Fee of each, `"0"` to `"100"`: 50 is promised, 100 is lawful (B5).
    #[schemars(transform = also(&at_most(100), "the law allows a reminder fee of at most 100 kroner: write \"50\", as promised"))]
    pub fee: Amount,
    /// Days between two reminders, and before the first, 12 to 90 (B5).
    #[schemars(range(min = 12, max = 90))]
    pub spacing_days: u8,
    /// Days to pay after the last reminder, 10 to 90; collection only after them (B5).
    #[schemars(range(min = 10, max = 90))]
    pub demand_days: u8,
}

/// Collection (B5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Collection {
    /// Fee, `"0"` to `"100"` (B5).
    #[schemars(transform = also(&at_most(100), "the law allows a collection fee of at most 100 kroner: write \"100\" or less"))]
    pub fee: Amount,
}

/// Suspension for non-payment; payment lifts it (B6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuspensionRule {
    /// What starts the count (B6).
    pub from: SuspensionStart,
    /// Days after it, 0 to 90. Default 0 (B6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 90))]
    pub after_days: Option<u8>,
}

/// What starts the count to a suspension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SuspensionStart {
    /// The invoice's due date.
    DueDate,
    /// The last reminder's deadline.
    Reminder,
    /// The hand-over to collection.
    Collection,
}
