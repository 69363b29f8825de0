//! Recipients' numbers, parsed once at the edge into E.164.
use std::str::FromStr as _;

use phonenumber::ParseError;
use phonenumber::country::Id;
use serde::{Deserialize, Serialize};

use super::Personal;

/// The longest text that is looked at as a number: E.164 has 15 digits, people add spaces and brackets.
const LONGEST_INPUT: usize = 32;

/// The country whose national numbers are understood without a country code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region(Id);

impl Region {
    /// The region of an ISO 3166-1 alpha-2 code such as `DK`; `None` when there is no such numbering plan.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Id::from_str(code).ok().map(Self)
    }
}

/// Reads the numbering plans into memory, which takes some tenths of a second: before the first caller has to wait for it.
pub fn load_numbering_plans() {
    let _ = phonenumber::metadata::DATABASE.by_id("DK");
}

/// A number in E.164: country code and subscriber, 15 digits at most, without the plus.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Msisdn(Personal<String>);

/// Why a text is no number that can be sent to. Says nothing about the digits themselves, so it may be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberRefusal {
    /// Nothing but blanks.
    #[error("the number is empty")]
    Empty,
    /// Letters, or signs that no number has.
    #[error("a number has digits, spaces, -, ., /, brackets and a leading + only")]
    NotANumber,
    /// The country code belongs to no country.
    #[error("no country has this country code")]
    UnknownCountry,
    /// Too few digits for its country.
    #[error("the number has too few digits for its country")]
    TooShort,
    /// Too many digits for its country.
    #[error("the number has too many digits for its country")]
    TooLong,
    /// Its country's numbering plan has no such number.
    #[error("its country has no such number")]
    NotInNumberingPlan,
}

impl NumberRefusal {
    /// The stable word for programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "number_empty",
            Self::NotANumber => "number_malformed",
            Self::UnknownCountry => "number_unknown_country",
            Self::TooShort => "number_too_short",
            Self::TooLong => "number_too_long",
            Self::NotInNumberingPlan => "number_not_in_numbering_plan",
        }
    }
}

impl Msisdn {
    /// Reads a number as people write it: international with `+` or `00`, or national to `region`.
    ///
    /// # Errors
    /// When it cannot be a number of its country.
    pub fn parse(text: &str, region: Region) -> Result<Self, NumberRefusal> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NumberRefusal::Empty);
        }
        // The parser also reads letters, extensions and URIs; nobody means those here, and it is stricter to not ask it.
        let mut signs = text.strip_prefix('+').unwrap_or(text).chars();
        if !signs.all(|sign| sign.is_ascii_digit() || matches!(sign, ' ' | '\u{a0}' | '-' | '.' | '/' | '(' | ')')) {
            return Err(NumberRefusal::NotANumber);
        }
        if text.chars().count() > LONGEST_INPUT {
            return Err(NumberRefusal::TooLong);
        }
        let number = phonenumber::parse(Some(region.0), text).map_err(|error| match error {
            ParseError::InvalidCountryCode => NumberRefusal::UnknownCountry,
            ParseError::TooShortAfterIdd | ParseError::TooShortNsn | ParseError::NoNumber => NumberRefusal::TooShort,
            ParseError::TooLong => NumberRefusal::TooLong,
            ParseError::MalformedInteger(_) => NumberRefusal::NotANumber,
        })?;
        if !number.is_valid() {
            return Err(NumberRefusal::NotInNumberingPlan);
        }
        Self::from_digits(&format!("{}{}", number.code().value(), number.national())).ok_or(NumberRefusal::TooLong)
    }

    /// A number that is E.164 already: 4 to 15 digits, the first not 0, without the plus.
    #[must_use]
    pub fn from_digits(digits: &str) -> Option<Self> {
        let fits = (4..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|digit| digit.is_ascii_digit());
        fits.then(|| Self(Personal::new(digits.to_owned())))
    }

    /// Its country, where the numbering plans know one: several countries share a code.
    #[must_use]
    pub fn country(&self) -> Option<Region> {
        let number = phonenumber::parse(None, self.international().reveal()).ok()?;
        number.country().id().map(Region)
    }

    /// The digits, country code first, without the plus: for the wire and for keyed hashes, never for a log.
    #[must_use]
    pub fn digits(&self) -> &Personal<String> {
        &self.0
    }

    /// As people write it, with the plus.
    #[must_use]
    pub fn international(&self) -> Personal<String> {
        Personal::new(format!("+{}", self.0.reveal()))
    }
}

/// A stored number that is not E.164.
#[derive(Debug, thiserror::Error)]
#[error("a stored number is not E.164")]
pub struct NotE164;

impl TryFrom<String> for Msisdn {
    type Error = NotE164;

    fn try_from(digits: String) -> Result<Self, NotE164> {
        Self::from_digits(&digits).ok_or(NotE164)
    }
}

impl From<Msisdn> for String {
    fn from(number: Msisdn) -> Self {
        number.0.reveal().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, NumberRefusal> {
        Msisdn::parse(text, Region::from_code("DK").expect("Denmark"))
            .map(|number| number.international().reveal().clone())
    }

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for text in ["20123456", "20 12 34 56", "+45 20 12 34 56", "0045 20123456", "+4520123456", " (45) 20-12.34/56 "]
        {
            let text = text.replace("(45)", "+45");
            assert_eq!(parse(&text), Ok("+4520123456".to_owned()), "{text}");
        }
        assert_eq!(parse("+46 70 123 45 67"), Ok("+46701234567".to_owned()));
        assert_eq!(parse("+49 1512 3456789"), Ok("+4915123456789".to_owned()));
        assert_eq!(parse("+298 211234"), Ok("+298211234".to_owned()));
        assert_eq!(parse("+1 (201) 555-0123"), Ok("+12015550123".to_owned()));
    }

    #[test]
    fn every_refusal_says_what_is_wrong() {
        let refused = |text: &str| parse(text).expect_err(text);
        assert_eq!(refused("  "), NumberRefusal::Empty);
        assert_eq!(refused("1800-FLOWERS"), NumberRefusal::NotANumber);
        assert_eq!(refused("20123456;phone-context=+45"), NumberRefusal::NotANumber);
        assert_eq!(refused("20+123456"), NumberRefusal::NotANumber);
        assert_eq!(refused("+999 12345678"), NumberRefusal::UnknownCountry);
        assert_eq!(refused("1"), NumberRefusal::TooShort);
        assert_eq!(refused("+45 2012345678901234567"), NumberRefusal::TooLong);
        assert_eq!(refused(&"2".repeat(40)), NumberRefusal::TooLong);
        assert_eq!(refused("+45 00123456"), NumberRefusal::NotInNumberingPlan);
        assert_eq!(refused("+45 2012345"), NumberRefusal::NotInNumberingPlan);
    }

    #[test]
    fn nothing_that_is_typed_makes_the_parser_panic() {
        use proptest::prelude::*;
        proptest!(|(text in "[+0-9 ()./-]{0,40}")| { let _ = parse(&text); });
    }

    #[test]
    fn debug_shows_no_digit() {
        let number = Msisdn::from_digits("4520123456").expect("E.164");
        assert_eq!(format!("{number:?}"), "Msisdn([personal])");
    }

    #[test]
    fn a_stored_number_is_checked_again() {
        assert!(serde_json::from_str::<Msisdn>("\"4520123456\"").is_ok());
        for wrong in ["\"+4520123456\"", "\"0045201\"", "\"1234567890123456\"", "\"\""] {
            assert!(serde_json::from_str::<Msisdn>(wrong).is_err(), "{wrong}");
        }
    }
}
