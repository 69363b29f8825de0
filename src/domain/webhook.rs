//! Webhooks: which events there are, where an endpoint is, and how what it is told is signed (Standard Webhooks 1.0).
mod address;
mod secret;

use serde::{Deserialize, Serialize};

use super::Personal;

pub use self::address::{NotAnAddress, WebhookUrl, is_public};
pub use self::secret::{NotASecret, WebhookSecret};

/// What an endpoint can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WebhookEvent {
    /// The upstream took a message.
    #[serde(rename = "message.sent")]
    MessageSent,
    /// Nothing more will happen to a message.
    #[serde(rename = "message.final")]
    MessageFinal,
    /// A message was received.
    #[serde(rename = "message.received")]
    MessageReceived,
    /// The tenant asked for a trial.
    #[serde(rename = "webhook.test")]
    Test,
}

impl WebhookEvent {
    const ALL: [Self; 4] = [Self::MessageSent, Self::MessageFinal, Self::MessageReceived, Self::Test];

    /// As the database and the API write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessageSent => "message.sent",
            Self::MessageFinal => "message.final",
            Self::MessageReceived => "message.received",
            Self::Test => "webhook.test",
        }
    }

    /// The event behind a stored word; `None` for one of a later version.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == word)
    }
}

/// Why an endpoint is told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disabled {
    /// It answered that it is gone (410).
    Gone,
    /// One event could not be delivered for three days.
    Failing,
    /// The tenant said so.
    Asked,
}

impl Disabled {
    /// As the database and the API write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Failing => "failing",
            Self::Asked => "asked",
        }
    }
}

/// Where an endpoint is and what its tenant calls it, as it is sealed. The names are short because they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookTarget {
    /// Its address: may name a person, or hold a token.
    #[serde(rename = "u")]
    pub url: Personal<String>,
    /// The tenant's own words.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Personal<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_written_alike_everywhere() {
        for event in WebhookEvent::ALL {
            assert_eq!(WebhookEvent::from_word(event.as_str()), Some(event));
            assert_eq!(serde_json::to_value(event).expect("JSON"), event.as_str());
        }
        assert_eq!(WebhookEvent::from_word("message.lost"), None);
    }
}
