//! Messages as callers see them, and the words for what an upstream says in numbers.
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::{Entry, LocalError, MessageState, MilliOre, Personal};
use crate::store::history::Record;

/// A message and its delivery report.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Its id.
    pub id: Uuid,
    /// The call it came with.
    pub batch_id: Uuid,
    /// The recipient, in international form.
    #[schema(value_type = String, examples("+4520123456"))]
    pub to: Personal<String>,
    /// What it says it is from.
    pub from: String,
    /// As much of the text as is logged: 160 characters at most.
    #[schema(value_type = String)]
    pub text: Personal<String>,
    /// What the account calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reference: Option<Personal<String>>,
    /// Where it stands.
    #[schema(value_type = State)]
    pub state: MessageState,
    /// The same in words.
    pub state_text: &'static str,
    /// Nothing more will happen to it.
    pub r#final: bool,
    /// How many parts it takes.
    #[schema(minimum = 1, maximum = 255)]
    pub parts: i16,
    /// What it costs, all parts together, in the currency of the account's plan and before VAT; absent where it ended without being
    /// submitted, which costs nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("0.50"))]
    pub price: Option<String>,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub accepted_at: Option<Timestamp>,
    /// Not before this instant; while it waits for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub send_at: Option<Timestamp>,
    /// When the upstream took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub submitted_at: Option<Timestamp>,
    /// When it reached its final state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub final_at: Option<Timestamp>,
    /// Why it was not delivered, where somebody said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// Why a message was not delivered.
#[derive(Debug, Serialize, ToSchema)]
pub struct Failure {
    /// The upstream's or network's number.
    pub code: i32,
    /// What it means.
    pub detail: String,
}

/// Where a message stands: the domain's states, for the document.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum State {
    /// Accepted, not yet submitted.
    Queued,
    /// Of unknown fate after a crash, or asked to wait.
    Held,
    /// The upstream took it; `final` says whether a receipt is still awaited.
    Sent,
    /// On the handset.
    Delivered,
    /// The network could not deliver it.
    Failed,
    /// Its validity ended first.
    Expired,
    /// Refused by the upstream, or by a rule after accept.
    Rejected,
    /// Cancelled before it was submitted.
    Cancelled,
    /// Submitted, but no receipt came in time.
    Unknown,
}

/// How a text is written: the domain's encodings, for the document.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum EncodingName {
    /// GSM 03.38.
    Gsm,
    /// UTF-16.
    Ucs2,
}

impl Message {
    /// Joins what the database knows and what its entry says.
    #[must_use]
    pub fn new(record: &Record, entry: Entry) -> Self {
        Self {
            id: record.id.0,
            batch_id: record.batch.0,
            to: entry.to.international(),
            from: entry.from.into(),
            text: entry.text,
            reference: entry.reference,
            state: record.state,
            state_text: state_text(record.state, record.is_final()),
            r#final: record.is_final(),
            parts: record.parts,
            price: record.cost().map(MilliOre::decimal),
            accepted_at: record.id.at(),
            send_at: record.not_before,
            submitted_at: record.submitted_at,
            final_at: record.final_at,
            error: record.error.filter(|code| *code != 0).map(|code| failure(record.state, code)),
        }
    }
}

/// A state in plain words.
#[must_use]
pub fn state_text(state: MessageState, is_final: bool) -> &'static str {
    match state {
        MessageState::Sent if is_final => "handed to the network; reports are not asked for on its route",
        MessageState::Queued => "waiting to be sent",
        MessageState::Held => "held back until it is decided whether to send it",
        MessageState::Sent => "handed to the network, which has not reported back yet",
        MessageState::Delivered => "delivered to the handset",
        MessageState::Failed => "the network could not deliver it",
        MessageState::Expired => "the time allowed for delivery ended before the handset could be reached",
        MessageState::Rejected => "refused before it reached the network",
        MessageState::Cancelled => "cancelled before it was sent",
        MessageState::Unknown => "handed to the network, which never reported back",
    }
}

/// An error of our own; or a rejected message carries an SMPP status, any other an error of the mobile network (GSM
/// 03.40, MAP).
fn failure(state: MessageState, code: i32) -> Failure {
    let known = match LocalError::from_code(code) {
        Some(error) => Some(local_error(error)),
        None if state == MessageState::Rejected => smpp_status(code),
        None => network_error(code),
    };
    let detail = known.map_or_else(
        || match state {
            MessageState::Rejected => format!("the upstream refused it with status {code:#010x}"),
            _ => format!("the network gave error {code}"),
        },
        str::to_owned,
    );
    Failure { code, detail }
}

fn local_error(error: LocalError) -> &'static str {
    match error {
        LocalError::TooLate => "its validity ended before it could be sent",
        LocalError::Unreadable => "it could not be put into the form that the upstream takes",
        LocalError::NoRoute => "no route of the account carries its number or sender id",
        LocalError::Restored => "the service was restored from a backup: whether it was sent is not known",
        LocalError::GivenUp => "it was held and then given up: whether it was sent is not known",
        LocalError::OptedOut => "the recipient opted out before it was sent",
        LocalError::KeyLost => "the service was restored from a backup: it cannot be read any more",
    }
}

fn smpp_status(code: i32) -> Option<&'static str> {
    Some(match code {
        0x01..=0x05 => "the upstream could not read the submission",
        0x08 => "the upstream had a system error",
        0x0a => "the upstream does not accept the sender id",
        0x0b => "the upstream does not accept the recipient's number",
        0x14 => "the upstream's queue is full",
        0x33 | 0x34 => "the upstream does not accept the recipient",
        0x45 => "the upstream could not submit it",
        0x48 | 0x49 => "the upstream does not accept the form of the sender id",
        0x50 | 0x51 => "the upstream does not accept the form of the recipient's number",
        0x58 => "the upstream asked for fewer messages a second",
        0x61 | 0x62 => "the upstream does not accept the schedule or validity",
        _ => return None,
    })
}

fn network_error(code: i32) -> Option<&'static str> {
    Some(match code {
        1 | 5 | 7 => "the number is not in use",
        9 | 12 => "the subscriber or handset is not allowed on the network",
        11 | 21 => "the subscription cannot receive SMS",
        13 => "the subscriber has barred it",
        6 | 27 | 28 | 29 => "the handset is switched off or out of coverage",
        31 => "the handset is busy",
        32 => "the handset's memory is full",
        34..=36 => "the network had a fault",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_errors_have_words_and_others_their_number() {
        assert_eq!(failure(MessageState::Failed, 27).detail, "the handset is switched off or out of coverage");
        assert_eq!(failure(MessageState::Rejected, 0x0b).detail, "the upstream does not accept the recipient's number");
        assert_eq!(
            failure(MessageState::Rejected, -3).detail,
            "no route of the account carries its number or sender id"
        );
        assert_eq!(failure(MessageState::Failed, 4711).detail, "the network gave error 4711");
        assert_eq!(failure(MessageState::Rejected, 0x401).detail, "the upstream refused it with status 0x00000401");
    }
}
