//! Values that more than one kind writes: names, days, money, numbers, addresses. Each carries its form and the
//! sentence that tells its writer what to write instead.
use jiff::civil::Date;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::schema::{set, text};

text! {
    /// The name of an object in the same namespace.
    Name, 253,
    "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')" => "write the object's name: lower-case letters, digits and dashes"
}

text! {
    /// An e-mail address.
    Email, 254,
    r#"self.matches("^[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?[.])+[A-Za-z]{2,}$")"#
        => "write an e-mail address, as in faktura@example.dk"
}

text! {
    /// A country: two capital letters after ISO 3166-1.
    Country, 40,
    "self.matches('^[A-Z]{2}$')" => "write two capital letters after ISO 3166-1, as in DK"
}

text! {
    /// An amount of money in the plan's currency, at most two decimals, as text: `"50"`, `"99.50"`. Text, because a
    /// YAML number is a float, and an integer of øre misleads whoever reads kroner.
    Amount, 30,
    "self.matches('^(0|[1-9][0-9]{0,6})([.][0-9]{1,2})?$')"
        => "write an amount in quotes with a point and at most two decimals, as in \"99.50\""
}

text! {
    /// A price for one unit in the plan's currency, at most four decimals, as text: `"0.295"`.
    UnitPrice, 30,
    "self.matches('^(0|[1-9][0-9]{0,4})([.][0-9]{1,4})?$')"
        => "write a price in quotes with a point and at most four decimals, as in \"0.295\""
}

text! {
    /// A percentage from 0 to 100, at most two decimals, as text: `"25"`, `"2.85"`.
    Percent, 20,
    "self.matches('^(100([.]0{1,2})?|[1-9]?[0-9]([.][0-9]{1,2})?)$')"
        => "write a percentage from 0 to 100 in quotes with at most two decimals, as in \"2.85\""
}

text! {
    /// The first digits of phone numbers, country code first, without `+` or `00`: `45`, `4520`.
    Prefix, 40,
    "self.matches('^[1-9][0-9]{0,14}$')"
        => "write the first digits of international numbers in quotes, without + or 00, as in \"45\""
}

text! {
    /// A phone number or short code: digits only, country code first where there is one.
    Number, 40,
    "self.matches('^[1-9][0-9]{2,14}$')"
        => "write 3 to 15 digits in quotes, country code first, without + or 00, as in \"4512345678\""
}

text! {
    /// A host name or IPv4 address without a port.
    Host, 253,
    "self.matches('^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?([.][A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$')"
        => "write a host name without a scheme or port, as in smpp.example.com"
}

text! {
    /// A DNS domain with at least two labels, in lower case.
    Domain, 253,
    "self.matches('^([a-z0-9]([a-z0-9-]*[a-z0-9])?[.])+[a-z]{2,}$')"
        => "write a domain in lower case, as in sms.example.dk"
}

text! {
    /// The address of a page or service over TLS.
    HttpsUrl, 500,
    "self.matches('^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[^ ]*)?$')"
        => "write an address that begins with https://, as in https://example.dk/terms"
}

text! {
    /// A time of day in Europe/Copenhagen: `08:00`.
    TimeOfDay, 20,
    "self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')" => "write hours and minutes in quotes, as in \"08:00\""
}

text! {
    /// An amount of CPU: cores (`1`, `0.5`) or millicores (`50m`).
    Cpu, 20,
    "self.matches('^([0-9]{1,3}([.][0-9]{1,3})?|[0-9]{1,6}m)$')" => "write CPU in quotes, as in \"50m\" or \"0.5\""
}

text! {
    /// An amount of memory: `32Mi`, `1Gi`.
    Memory, 20,
    "self.matches('^[1-9][0-9]{0,6}(Ki|Mi|Gi|k|M|G)$')" => "write memory in quotes with its unit, as in \"32Mi\""
}

/// A calendar day in Europe/Copenhagen: `2026-01-31`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub Date);

impl JsonSchema for Day {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Day".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date", "maxLength": 10 })
    }
}

/// A reference to an object in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reference {
    /// The object's name.
    pub name: Name,
}

impl From<&str> for Reference {
    fn from(name: &str) -> Self {
        Self { name: name.into() }
    }
}

/// A postal address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// Street, number, floor, post box: one to three lines.
    #[schemars(length(min = 1, max = 3), inner(length(min = 1, max = 100)))]
    pub lines: Vec<String>,
    /// Postal code.
    #[schemars(length(min = 1, max = 12))]
    pub postcode: String,
    /// City.
    #[schemars(length(min = 1, max = 60))]
    pub city: String,
    /// Country, ISO 3166-1: `DK`.
    pub country: Country,
}

/// What the pods of one workload ask for and may use at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What a pod is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Quantities>,
    /// What a pod may use at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Quantities>,
}

/// An amount of CPU and memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quantities {
    /// CPU: cores or millicores, `50m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Memory: `32Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// Hours of the day on days of the week, Europe/Copenhagen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = super::schema::also(
    "self.from < self.until", "write a window within one day: `from` before `until`"
))]
pub struct Hours {
    /// The days it is open. Default: every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7), transform = set)]
    pub days: Vec<Weekday>,
    /// Open from this time of day, Europe/Copenhagen.
    pub from: TimeOfDay,
    /// Open until this time of day, Europe/Copenhagen.
    pub until: TimeOfDay,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}
