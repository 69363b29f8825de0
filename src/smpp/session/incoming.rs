//! What the peer asks of us. A request is answered when its handler says so, which may be after a commit; until then
//! it holds one of the places of [`super::Options::unanswered`].
use std::str::FromStr;
use std::sync::Arc;

use rusmpp::pdus::{DataSmResp, DeliverSmResp, SubmitSmResp};
use rusmpp::types::COctetString;
use rusmpp::{CommandId, CommandStatus, Pdu};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::core::Core;
use crate::smpp::frame;

/// The peer's requests and notices, in the order in which they came.
#[derive(Debug)]
pub struct Incoming {
    events: mpsc::Receiver<Event>,
}

impl Incoming {
    pub(super) fn new(events: mpsc::Receiver<Event>) -> Self {
        Self { events }
    }

    /// The next one; `None` when the session is over. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

/// Something the peer said of its own accord. enquire_link, unbind and what cannot be read never get here.
#[derive(Debug)]
pub enum Event {
    /// It wants an answer.
    Request(Request),
    /// It wants none: alert_notification, outbind, and [`crate::smpp::vendor::Flow`].
    Notice(Pdu),
}

/// A request and the means to answer it.
pub struct Request {
    /// What is asked.
    pub pdu: Pdu,
    /// Answers it; dropped without a word, it refuses.
    pub responder: Responder,
}

// No derived Debug: a body holds numbers and texts (D10).
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("responder", &self.responder).finish_non_exhaustive()
    }
}

/// Answers one request, once. Answering never waits; after the session's end it does nothing.
#[derive(Debug)]
#[must_use = "dropped, it refuses the request"]
pub struct Responder {
    core: Arc<Core>,
    id: CommandId,
    sequence: u32,
    /// Taken when answered.
    permit: Option<OwnedSemaphorePermit>,
}

impl Responder {
    pub(super) fn new(core: Arc<Core>, id: CommandId, sequence: u32, permit: OwnedSemaphorePermit) -> Self {
        Self { core, id, sequence, permit: Some(permit) }
    }

    /// Takes a deliver_sm, submit_sm or data_sm. `message_id` is cut to 64 ASCII characters; for deliver_sm it is
    /// unused and best empty.
    pub fn accept(self, message_id: &str) {
        let id: String = message_id.chars().filter(char::is_ascii).filter(|c| *c != '\0').take(64).collect();
        let id = COctetString::from_str(&id).unwrap_or_default();
        match self.id {
            CommandId::SubmitSm => self.answer(CommandStatus::EsmeRok, SubmitSmResp::new(id, Vec::new())),
            CommandId::DataSm => self.answer(CommandStatus::EsmeRok, DataSmResp::new(id, Vec::new())),
            CommandId::DeliverSm => self.answer(CommandStatus::EsmeRok, DeliverSmResp::default()),
            _ => self.refuse(CommandStatus::EsmeRok),
        }
    }

    /// Refuses with `status`, without a body.
    pub fn refuse(mut self, status: CommandStatus) {
        self.say(status, None);
    }

    /// Answers with any response PDU.
    pub fn answer(mut self, status: CommandStatus, pdu: impl Into<Pdu>) {
        self.say(status, Some(&pdu.into()));
    }

    fn say(&mut self, status: CommandStatus, pdu: Option<&Pdu>) {
        if self.permit.take().is_some() {
            let id = pdu.map_or_else(|| frame::response_to(self.id), Pdu::command_id);
            self.core.answer(id, status, self.sequence, pdu);
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.say(unhandled(self.id), None);
    }
}

/// The status for a request that nobody took: a message shall be sent again later.
pub(super) fn unhandled(id: CommandId) -> CommandStatus {
    match id {
        CommandId::DeliverSm | CommandId::DataSm => CommandStatus::EsmeRxTAppn,
        _ => CommandStatus::EsmeRsyserr,
    }
}
