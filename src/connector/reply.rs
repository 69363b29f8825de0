//! How a submit is answered: to a sender of ours with what only it understands, to a plain SMPP client with what the
//! standard has for it. The one place that knows both.
use std::str::FromStr;

use rusmpp::CommandStatus;
use rusmpp::pdus::SubmitSmResp;
use rusmpp::types::COctetString;

use crate::smpp::session::Responder;
use crate::smpp::vendor::{DestinationTag, NO_CREDIT, NOT_WRITTEN, STALE_EPOCH, WRITTEN_UNANSWERED};

/// See the module.
#[derive(Debug)]
#[must_use = "dropped, it refuses the submit"]
pub(super) struct Reply {
    responder: Responder,
    plain: bool,
}

impl Reply {
    pub(super) fn new(responder: Responder, plain: bool) -> Self {
        Self { responder, plain }
    }

    /// The upstream took it, under this id.
    pub(super) fn accept(self, id: &str, tag: DestinationTag) {
        let mut response = SubmitSmResp::new(COctetString::from_str(id).unwrap_or_default(), Vec::new());
        if !self.plain {
            response.push_tlv(tag);
        }
        self.responder.answer(CommandStatus::EsmeRok, response);
    }

    /// Refuses it, with a status of ours or of the upstream's.
    pub(super) fn refuse(self, status: CommandStatus) {
        self.responder.refuse(if self.plain { standard(status) } else { status });
    }
}

/// What comes closest in the standard: "send it again" for what the upstream never saw, "it failed" where it may have
/// been sent, since a client that sends again would double it.
fn standard(status: CommandStatus) -> CommandStatus {
    match status {
        NO_CREDIT => CommandStatus::EsmeRthrottled,
        NOT_WRITTEN | STALE_EPOCH => CommandStatus::EsmeRmsgqful,
        WRITTEN_UNANSWERED => CommandStatus::EsmeRsubmitfail,
        other => other,
    }
}
