//! Who the tenant is, how it is reached, and what the owner says in its place (A1 to A4, B8).
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{
    schema::{also, text},
    values::{Address, Day, Email, Number},
};

text! {
    /// A Danish company registration number: eight digits. Its check digit is a condition, not a rule: real numbers fail it.
    Cvr, 20,
    "self.matches('^[1-9][0-9]{7}$')" => "write the eight digits of the CVR number in quotes, without DK, as in \"25313763\""
}

text! {
    /// A VAT number of another EU member state or Northern Ireland, country letters first.
    VatNumber, 30,
    "!self.startsWith('DK')" => "write a Danish number as `cvr` with its eight digits",
    "self.startsWith('DK') || self.matches('^(AT|BE|BG|CY|CZ|DE|EE|EL|ES|FI|FR|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|SI|SK|XI)[0-9A-Z+*]{2,12}$')"
        => "write an EU VAT number with its country's two letters and no spaces, as in SE556012579001"
}

text! {
    /// An EAN location number (GLN): 13 digits, the last one a check digit.
    Ean, 30,
    "self.matches('^[0-9]{13}$')" => "write the 13 digits of the EAN location number (GLN) in quotes, as in \"5798009811578\"",
    "!self.matches('^[0-9]{13}$') || (int(self.substring(0,1)) + 3*int(self.substring(1,2)) + int(self.substring(2,3)) \
     + 3*int(self.substring(3,4)) + int(self.substring(4,5)) + 3*int(self.substring(5,6)) + int(self.substring(6,7)) \
     + 3*int(self.substring(7,8)) + int(self.substring(8,9)) + 3*int(self.substring(9,10)) + int(self.substring(10,11)) \
     + 3*int(self.substring(11,12)) + int(self.substring(12,13))) % 10 == 0"
        => "this EAN location number (GLN) fails its check digit: look for a mistyped digit"
}

/// The organisation that has the account: a VAT-registered business, association, institution or authority (A1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Organisation {
    /// Registered name, as printed on invoices.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// Registered address, as printed on invoices.
    pub address: Address,
    /// The registration number: the account's identity, for ever (A1).
    #[schemars(transform = also(
        "self == oldSelf",
        "the registration number is the account's identity: write the old one, and make a Tenant with another name for another organisation"
    ))]
    pub registration: Registration,
    /// How electronic invoices reach a public body. Absent: invoices are PDF by e-mail (B7, B8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_sector: Option<PublicSector>,
}

/// A registration number: exactly one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Registration {
    /// Danish CVR number: eight digits (A1).
    Cvr(Cvr),
    /// VAT number of another EU country, country letters first (A1).
    Vat(VatNumber),
}

impl Registration {
    /// The number with its country, as the account's identity: `DK25313763`, `SE556012579001`.
    pub fn identity(&self) -> String {
        match self {
            Self::Cvr(number) => format!("DK{number}"),
            Self::Vat(number) => number.0.clone(),
        }
    }

    /// Whether a CVR number keeps its modulus-11 check digit; true for other numbers, which have rules of their own (A1).
    pub fn check_digit_holds(&self) -> bool {
        let Self::Cvr(number) = self else { return true };
        let weights = [2, 7, 6, 5, 4, 3, 2, 1];
        let sum: u32 =
            number.bytes().zip(weights).map(|(digit, weight)| u32::from(digit.wrapping_sub(b'0')) * weight).sum();
        sum.is_multiple_of(11)
    }
}

/// How electronic invoices reach a public body (B8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicSector {
    /// EAN location number (GLN), 13 digits (B8).
    pub ean: Ean,
    /// Format of the electronic invoice. Default `oioubl` (B8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<InvoiceFormat>,
    /// The body's order or requisition number, printed on each invoice (B8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 60))]
    pub order_reference: Option<String>,
    /// The body's id of the ordering office or contact: a reference, not a person's name (B8, D10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 60))]
    pub contact_id: Option<String>,
}

/// A format of electronic invoices (B8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum InvoiceFormat {
    /// OIOUBL 2.1 over NemHandel.
    #[default]
    Oioubl,
    /// Peppol BIS Billing 3.
    PeppolBis3,
}

/// The business contact: the only person a custom resource may name (A4, D10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    /// Where invoices and all official notices go (A4).
    pub email: Email,
    /// Name of the contact or office.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub name: Option<String>,
    /// Business phone, digits with country code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Number>,
    /// Language of mails, invoices and notices. Default `da`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
}

/// A language people are written to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Language {
    /// Danish.
    #[default]
    Da,
    /// English.
    En,
}

/// What the owner has confirmed, by its dated word (A1, A2). Sign-up never writes here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The day on which the owner confirmed that the organisation exists and may have an account (A2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation_confirmed_on: Option<Day>,
    /// The day on which the owner confirmed a CVR number that fails its check digit (A1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cvr_confirmed_on: Option<Day>,
    /// An address that the owner saw proved outside the portal, instead of the signed link (A2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact_email: Option<ConfirmedEmail>,
}

/// An address that the owner saw proved. Another address needs a proof of its own (A4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfirmedEmail {
    /// The address that was proved.
    pub address: Email,
    /// The day on which it was.
    pub confirmed_on: Day,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_digit_of_a_cvr_number_is_modulus_11() {
        assert!(Registration::Cvr("25313763".into()).check_digit_holds());
        assert!(!Registration::Cvr("25313764".into()).check_digit_holds());
        assert!(Registration::Vat("SE556012579001".into()).check_digit_holds());
    }
}
