//! One bind at work: its submits are judged, and answered at once, after the latency, or when the stalling ends.
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusmpp::pdus::SubmitSm;
use rusmpp::{CommandStatus, Pdu};
use tokio::time::{Instant, sleep_until};

use super::Centre;
use super::reply::{c_string, receipt, text};
use crate::simulator::behaviour::Behaviour;
use crate::simulator::garbage::Garbage;
use crate::simulator::outbox::{Fate, Outbox, Parcel};
use crate::simulator::record::{Submit, now_ms};
use crate::smpp::session::{Event, Incoming, Responder, Session};

/// What to answer to a submit.
#[derive(Debug, Clone)]
enum Verdict {
    Accepted(String),
    Refused(CommandStatus),
}

/// What one session is busy with.
pub(super) struct Desk<'a> {
    centre: &'a Centre,
    system_id: &'a str,
    outbox: &'a Outbox,
    session: &'a Session,
    /// Answers that wait out the latency; they leave in the order in which they came.
    answers: VecDeque<(Instant, Responder, Verdict)>,
    /// Submits taken while stalling; answered when that ends.
    stalled: Vec<(Responder, Verdict)>,
}

impl Drop for Desk<'_> {
    fn drop(&mut self) {
        self.centre.record().stats.unanswered -= self.answers.len() + self.stalled.len();
    }
}

impl<'a> Desk<'a> {
    pub(super) fn new(centre: &'a Centre, system_id: &'a str, outbox: &'a Outbox, session: &'a Session) -> Self {
        Self { centre, system_id, outbox, session, answers: VecDeque::new(), stalled: Vec::new() }
    }

    pub(super) async fn work(&mut self, mut incoming: Incoming) {
        let mut behaviour = self.centre.behaviour.subscribe();
        loop {
            let due = self.answers.front().map(|(due, ..)| *due);
            tokio::select! {
                event = incoming.next() => match event {
                    Some(Event::Request(request)) => match request.pdu {
                        Pdu::SubmitSm(submit) => self.submit(&submit, request.responder, &behaviour.borrow()),
                        _ => request.responder.refuse(CommandStatus::EsmeRinvcmdid),
                    },
                    Some(Event::Notice(_)) => {}
                    None => return,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    if let Some((_, responder, verdict)) = self.answers.pop_front() {
                        self.centre.record().stats.unanswered -= 1;
                        answer(responder, verdict);
                    }
                }
                Ok(()) = behaviour.changed() => {
                    if !behaviour.borrow().stall {
                        let now = Instant::now();
                        self.answers.extend(self.stalled.drain(..).map(|(responder, verdict)| (now, responder, verdict)));
                    }
                }
            }
        }
    }

    fn submit(&mut self, submit: &SubmitSm, responder: Responder, behaviour: &Behaviour) {
        let (verdict, garbage, message) = self.centre.judge(submit, self.system_id, behaviour);
        let latency = Duration::from_millis(behaviour.latency_ms);
        if matches!(verdict, Verdict::Accepted(_))
            && let Some(receipt) = receipt(submit, message, behaviour)
        {
            let due = Instant::now() + latency + Duration::from_millis(behaviour.receipt_delay_ms);
            let parcel = Parcel { due, number: message, receipt: true, tries: 0, pdu: Box::new(receipt) };
            if !self.outbox.put(parcel) {
                self.centre.settled(Fate::Lost);
            }
        }
        garbage.send(self.session);
        if garbage == Garbage::Instead {
            return;
        }
        if latency.is_zero() && self.answers.is_empty() && !behaviour.stall {
            return answer(responder, verdict);
        }
        self.centre.record().stats.unanswered += 1;
        if behaviour.stall {
            self.stalled.push((responder, verdict));
        } else {
            self.answers.push_back((Instant::now() + latency, responder, verdict));
        }
    }
}

fn answer(responder: Responder, verdict: Verdict) {
    match verdict {
        Verdict::Accepted(id) => responder.accept(&id),
        Verdict::Refused(status) => responder.refuse(status),
    }
}

impl Centre {
    fn judge(&self, submit: &SubmitSm, system_id: &str, behaviour: &Behaviour) -> (Verdict, Garbage, u64) {
        let mut record = self.record();
        let number = record.stats.submitted;
        let busy = record.came(system_id);
        // Evenly spread instead of by chance, so that tests can count.
        let strikes = |percent: u8| (number + 1) * u64::from(percent) / 100 > number * u64::from(percent) / 100;
        #[expect(clippy::cast_precision_loss, reason = "at most as many as arrive in a second")]
        let too_many = behaviour.rate > 0.0 && busy as f64 > behaviour.rate + (behaviour.rate / 20.0).max(1.0);
        let message = self.messages.fetch_add(1, Ordering::Relaxed);
        let verdict = if too_many || strikes(behaviour.throttle_percent) {
            record.stats.throttled += 1;
            Verdict::Refused(CommandStatus::EsmeRthrottled)
        } else if strikes(behaviour.error_percent) {
            record.stats.refused += 1;
            Verdict::Refused(behaviour.error_status.into())
        } else {
            if behaviour.stall {
                record.stats.stalled += 1;
            } else {
                record.stats.accepted += 1;
                record.system(system_id).accepted += 1;
            }
            Verdict::Accepted(behaviour.id_format.answer(message))
        };
        let garbage = if strikes(behaviour.garbage_percent) {
            record.stats.garbled += 1;
            Garbage::by_turns(record.stats.garbled)
        } else {
            Garbage::None
        };
        let (status, message_id) = match &verdict {
            _ if behaviour.stall || garbage == Garbage::Instead => (None, None),
            Verdict::Accepted(id) => (Some(0), Some(id.clone())),
            Verdict::Refused(status) => (Some((*status).into()), None),
        };
        record.keep(Submit {
            number,
            at_ms: now_ms(),
            system_id: system_id.to_owned(),
            source: c_string(submit.source_addr.as_ref()),
            destination: c_string(submit.destination_addr.as_ref()),
            esm_class: submit.esm_class.into(),
            data_coding: submit.data_coding.into(),
            registered_delivery: submit.registered_delivery.into(),
            short_message: text(submit).iter().map(|octet| format!("{octet:02x}")).collect(),
            tlvs: submit.tlvs().iter().map(|tlv| tlv.tag().into()).collect(),
            taken: matches!(verdict, Verdict::Accepted(_)),
            status,
            message_id,
        });
        (verdict, garbage, message)
    }
}
