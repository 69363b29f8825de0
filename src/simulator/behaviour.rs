//! How the SMSC behaves; everything here can be changed while it runs.
use serde::{Deserialize, Serialize};

use crate::domain::Secret;

/// What becomes of accepted messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Receipts {
    /// No receipts, whatever is asked.
    None,
    /// All are delivered.
    Delivered,
    /// Of each twenty, sixteen are delivered, two undeliverable, one expired and one rejected.
    Mix,
    /// None is delivered.
    Failed,
}

/// How message ids look, in the answer to a submit and in its receipt: as in the field, not always alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum IdFormat {
    /// Decimal in both, and in the receipt's TLV.
    Decimal,
    /// Hexadecimal in the answer, decimal in the receipt's text; no TLV.
    Hex,
    /// A UUID, in the receipt in upper case; the TLV as in the answer.
    Uuid,
    /// Decimal with leading zeros in the answer, without in the receipt's text; no TLV.
    Padded,
}

/// How the SMSC behaves.
#[derive(Debug, Clone, PartialEq, Serialize, clap::Args)]
pub struct Behaviour {
    /// Submits a second, above which they are throttled (ESME_RTHROTTLED); 0: no limit. A twentieth more is let pass,
    /// since the network bunches what was sent evenly.
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// How long an answer takes, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pub latency_ms: u64,
    /// Of a hundred submits, how many are throttled.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub throttle_percent: u8,
    /// Of a hundred submits, how many are refused (with `error_status`).
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub error_percent: u8,
    /// The SMPP status that those are refused with; ESME_RSUBMITFAIL unless written otherwise.
    #[arg(long, default_value_t = 0x45)]
    pub error_status: u32,
    /// Of a hundred submits, how many meet garbage: by turns PDUs that nobody can read before the answer, or octets that are no
    /// PDU instead of it. The latter is taken all the same.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub garbage_percent: u8,
    /// Which receipts are sent to those who asked for them.
    #[arg(long, value_enum, default_value_t = Receipts::Delivered)]
    pub receipts: Receipts,
    /// How long after the answer a receipt is sent, in milliseconds.
    #[arg(long, default_value_t = 100)]
    pub receipt_delay_ms: u64,
    /// How message ids look.
    #[arg(long, value_enum, default_value_t = IdFormat::Decimal)]
    pub id_format: IdFormat,
    /// Take submits and never answer them.
    #[arg(long)]
    pub stall: bool,
    /// Refuse every bind.
    #[arg(long)]
    pub latch: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            rate: 0.0,
            latency_ms: 0,
            throttle_percent: 0,
            error_percent: 0,
            error_status: 0x45,
            garbage_percent: 0,
            receipts: Receipts::Delivered,
            receipt_delay_ms: 100,
            id_format: IdFormat::Decimal,
            stall: false,
            latch: false,
        }
    }
}

/// A change of behaviour: what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// See [`Behaviour::rate`].
    pub rate: Option<f64>,
    /// See [`Behaviour::latency_ms`].
    pub latency_ms: Option<u64>,
    /// See [`Behaviour::throttle_percent`].
    pub throttle_percent: Option<u8>,
    /// See [`Behaviour::error_percent`].
    pub error_percent: Option<u8>,
    /// See [`Behaviour::error_status`].
    pub error_status: Option<u32>,
    /// See [`Behaviour::garbage_percent`].
    pub garbage_percent: Option<u8>,
    /// See [`Behaviour::receipts`].
    pub receipts: Option<Receipts>,
    /// See [`Behaviour::receipt_delay_ms`].
    pub receipt_delay_ms: Option<u64>,
    /// See [`Behaviour::id_format`].
    pub id_format: Option<IdFormat>,
    /// See [`Behaviour::stall`].
    pub stall: Option<bool>,
    /// See [`Behaviour::latch`].
    pub latch: Option<bool>,
    /// From now on the password of a bind; binds that stand stay. Never told again, unlike the rest.
    pub password: Option<Secret>,
    /// Drop every connection now, without a word.
    #[serde(default)]
    pub drop_connections: bool,
}

impl Behaviour {
    /// Takes a change over.
    pub fn apply(&mut self, change: &Change) {
        fn set<T: Copy>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        set(&mut self.rate, change.rate);
        set(&mut self.latency_ms, change.latency_ms);
        set(&mut self.throttle_percent, change.throttle_percent.map(|percent| percent.min(100)));
        set(&mut self.error_percent, change.error_percent.map(|percent| percent.min(100)));
        set(&mut self.error_status, change.error_status);
        set(&mut self.garbage_percent, change.garbage_percent.map(|percent| percent.min(100)));
        set(&mut self.receipts, change.receipts);
        set(&mut self.receipt_delay_ms, change.receipt_delay_ms);
        set(&mut self.id_format, change.id_format);
        set(&mut self.stall, change.stall);
        set(&mut self.latch, change.latch);
    }
}

impl IdFormat {
    /// The id in the answer to the `number`th message.
    pub(super) fn answer(self, number: u64) -> String {
        match self {
            Self::Decimal => number.to_string(),
            Self::Hex => format!("{number:x}"),
            Self::Uuid => uuid(number).to_string(),
            Self::Padded => format!("{number:018}"),
        }
    }

    /// The id in the text of its receipt.
    pub(super) fn receipt(self, number: u64) -> String {
        match self {
            Self::Decimal | Self::Hex | Self::Padded => number.to_string(),
            Self::Uuid => uuid(number).to_string().to_uppercase(),
        }
    }

    /// The id in the TLV of its receipt.
    pub(super) fn tlv(self, number: u64) -> Option<String> {
        matches!(self, Self::Decimal | Self::Uuid).then(|| self.answer(number))
    }
}

/// Looks random, and is the same for the same number.
fn uuid(number: u64) -> uuid::Uuid {
    let spread = u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    uuid::Builder::from_random_bytes(spread.to_be_bytes()).into_uuid()
}
