//! Where a message stands.
use serde::{Deserialize, Serialize};

/// Where a message stands. The numbers are what the database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(i16)]
pub enum MessageState {
    /// Accepted, not yet submitted.
    Queued = 0,
    /// Of unknown fate after a crash, or asked to wait: the tenant or owner decides.
    Held = 1,
    /// The upstream took it; no final receipt yet.
    Sent = 2,
    /// On the handset.
    Delivered = 3,
    /// The upstream or network could not deliver it.
    Failed = 4,
    /// Its validity ended first.
    Expired = 5,
    /// Refused by the upstream, or by a rule of ours after accept.
    Rejected = 6,
    /// Cancelled before it was submitted.
    Cancelled = 7,
    /// Submitted, but no receipt came within the validity.
    Unknown = 8,
}

impl MessageState {
    /// The state behind a stored number.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        use MessageState::{Cancelled, Delivered, Expired, Failed, Held, Queued, Rejected, Sent, Unknown};
        [Queued, Held, Sent, Delivered, Failed, Expired, Rejected, Cancelled, Unknown]
            .into_iter()
            .find(|state| state.code() == code)
    }

    /// The number the database holds.
    #[must_use]
    pub fn code(self) -> i16 {
        self as i16
    }

    /// Nothing more can happen to the message.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Held | Self::Sent)
    }
}

/// Why a message ended without a word from the upstream. Stored beside upstreams' own errors, which are not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum LocalError {
    /// Its validity ended before it could be submitted.
    TooLate = -1,
    /// It cannot be opened, or not be put on the wire.
    Unreadable = -2,
    /// No route of the tenant carries its number.
    NoRoute = -3,
    /// It was in a queue that was restored, and may have been sent after the backup: its owner had it ended.
    Restored = -4,
    /// Its key was lost with a restored keyring.
    KeyLost = -5,
    /// It was held, since nobody knows whether it was sent, and its tenant gave it up.
    GivenUp = -6,
    /// Its recipient wanted nothing more before it was sent.
    OptedOut = -7,
}

impl LocalError {
    /// The number the database holds.
    #[must_use]
    pub fn code(self) -> i32 {
        self as i32
    }

    /// The error behind a stored number; `None` for an upstream's own.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        [Self::TooLate, Self::Unreadable, Self::NoRoute, Self::Restored, Self::KeyLost, Self::GivenUp, Self::OptedOut]
            .into_iter()
            .find(|error| error.code() == code)
    }
}
