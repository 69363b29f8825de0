//! What a tenant may use, by the words that specs, the database and the API have for it.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A service that a tenant may use (A9, M1 to M5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Service {
    /// REST API (M4).
    Api,
    /// Web portal (M4).
    Portal,
    /// A mail becomes an SMS (M2).
    EmailToSms,
    /// Lists of recipients by mail, CSV or portal (M2).
    Bulk,
    /// An inbound SMS becomes a mail (M3).
    SmsToEmail,
    /// Content billing by SMS (M5).
    Premium,
    /// Donations by SMS (M5).
    Donations,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Api, Self::Portal, Self::EmailToSms, Self::Bulk, Self::SmsToEmail, Self::Premium, Self::Donations];

    /// As a spec, the database and the API write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Portal => "portal",
            Self::EmailToSms => "emailToSms",
            Self::Bulk => "bulk",
            Self::SmsToEmail => "smsToEmail",
            Self::Premium => "premium",
            Self::Donations => "donations",
        }
    }

    /// The service behind a stored word; one of a later version is unknown.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_word_everywhere() {
        for service in Service::ALL {
            assert_eq!(serde_json::to_value(service).expect("JSON"), service.as_str());
            assert_eq!(Service::from_word(service.as_str()), Some(service));
        }
        assert_eq!(Service::from_word("telex"), None);
    }
}
