//! What an answer to a submit means for its message.
use crate::smpp::CommandStatus;
use crate::smpp::fault::Fault;
use crate::smpp::session::{Answer, Outcome};
use crate::smpp::vendor::{self, DestinationTag};
use rusmpp::Pdu;

/// What an answer to a submit means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The upstream took the part.
    Taken {
        /// Its id for it.
        upstream_id: Box<str>,
        /// The connector's check of the destination.
        tag: i32,
    },
    /// Not now: the same again by the same route, more slowly.
    Throttled,
    /// It never reached the upstream: again, by this route or the next.
    NotWritten,
    /// The connector had not allowed it: again, when it does.
    NoCredit,
    /// A fault of the upstream's, and not the message's: again, a few times, by another route where there is one.
    Faulty(i32),
    /// It reached the upstream, and nobody knows more.
    Unanswered,
    /// The upstream will not have it.
    Refused(i32),
    /// A newer sender of the tenant has taken over.
    Stale,
}

impl Verdict {
    pub(super) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Answered(answer) => Self::answered(answer),
            Outcome::NotWritten(_) => Self::NotWritten,
            Outcome::WrittenUnanswered(_) => Self::Unanswered,
        }
    }

    fn answered(answer: &Answer) -> Self {
        match answer.status {
            CommandStatus::EsmeRok => {
                let tlvs = match &answer.pdu {
                    Some(Pdu::SubmitSmResp(response)) => response.tlvs(),
                    _ => &[],
                };
                Self::Taken {
                    upstream_id: answer.message_id().unwrap_or_default().into(),
                    // Stored as PostgreSQL has it: the same bits, signed.
                    tag: DestinationTag::find(tlvs).map_or(0, |tag| tag.0.cast_signed()),
                }
            }
            vendor::NOT_WRITTEN => Self::NotWritten,
            vendor::WRITTEN_UNANSWERED => Self::Unanswered,
            vendor::STALE_EPOCH => Self::Stale,
            vendor::NO_CREDIT => Self::NoCredit,
            status => match Fault::of(status) {
                Some(Fault::Throttled) => Self::Throttled,
                Some(Fault::Passing | Fault::Lasting) => Self::Faulty(code(status)),
                None => Self::Refused(code(status)),
            },
        }
    }

    /// The word that metrics count it by.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Taken { .. } => "taken",
            Self::Throttled => "throttled",
            Self::NotWritten => "not_written",
            Self::NoCredit => "no_credit",
            Self::Faulty(_) => "faulty",
            Self::Unanswered => "unanswered",
            Self::Refused(_) => "refused",
            Self::Stale => "stale",
        }
    }
}

fn code(status: CommandStatus) -> i32 {
    u32::from(status).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smpp::session::{CloseReason, Silence};

    fn status(status: u32) -> Verdict {
        Verdict::of(&Outcome::Answered(Answer { status: status.into(), pdu: None }))
    }

    #[test]
    fn every_status_has_its_meaning() {
        assert_eq!(status(0x58), Verdict::Throttled);
        assert_eq!(status(0x14), Verdict::Throttled);
        assert_eq!(status(0x08), Verdict::Faulty(8));
        assert_eq!(status(0x0D), Verdict::Faulty(13));
        assert_eq!(status(0x0A), Verdict::Refused(10));
        assert_eq!(status(0x0B), Verdict::Refused(11));
        assert_eq!(status(0x400), Verdict::NotWritten);
        assert_eq!(status(0x401), Verdict::Unanswered);
        assert_eq!(status(0x402), Verdict::Stale);
        assert_eq!(status(0x403), Verdict::NoCredit);
        assert_eq!(Verdict::of(&Outcome::NotWritten(CloseReason::PeerClosed)), Verdict::NotWritten);
        assert_eq!(Verdict::of(&Outcome::WrittenUnanswered(Silence::TimedOut)), Verdict::Unanswered);
    }
}
