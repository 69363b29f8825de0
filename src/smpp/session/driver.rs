//! The tasks behind a session: one reads, one writes, one watches the time.
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rusmpp::{CommandId, CommandStatus, Pdu};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::core::Core;
use super::incoming::{Event, Request, Responder};
use super::{Answer, BindKind, CloseReason, Role};
use crate::smpp::frame::{self, Frame, FrameError, PduError};

/// Room asked for before each read, in octets.
const READ: usize = 16 * 1024;
/// Outgoing octets above which nothing more is read: a peer that asks and does not listen must not fill our memory.
const BACKLOG: usize = 256 * 1024;
/// How long last words and the transport's own good-bye may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the reader needs to know about the bind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) role: Role,
    pub(super) kind: BindKind,
}

pub(super) fn spawn<S>(stream: S, read: BytesMut, core: Arc<Core>, rules: Rules, events: mpsc::Sender<Event>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (reading, writing) = tokio::io::split(stream);
    let reader = Reader { stream: reading, buffer: read, core: Arc::clone(&core), rules, events };
    tokio::spawn(reader.run());
    tokio::spawn(write(writing, Arc::clone(&core)));
    tokio::spawn(watch(core));
}

async fn watch(core: Arc<Core>) {
    while core.ending.run_until_cancelled(sleep_until(core.tick())).await.is_some() {}
}

async fn write<S: AsyncWrite>(mut stream: WriteHalf<S>, core: Arc<Core>) {
    let mut chunk = BytesMut::new();
    let between_pdus = write_until_end(&mut stream, &core, &mut chunk).await;
    let farewell = core.settle_rest();
    if between_pdus && !farewell.is_empty() {
        let _ = timeout(FAREWELL, stream.write_all(&farewell)).await;
    }
    let _ = timeout(FAREWELL, stream.shutdown()).await;
    core.set_over();
}

/// Whether the stream was left between two PDUs.
async fn write_until_end<S: AsyncWrite>(stream: &mut WriteHalf<S>, core: &Core, chunk: &mut BytesMut) -> bool {
    while core.ending.run_until_cancelled(core.to_write.notified()).await.is_some() {
        // Whoever else is about to send gets into the same write.
        tokio::task::yield_now().await;
        loop {
            chunk.clear();
            core.take(chunk);
            if chunk.is_empty() {
                break;
            }
            while !chunk.is_empty() {
                // In this order, so that what the transport took is always counted.
                tokio::select! {
                    biased;
                    wrote = stream.write(chunk) => match wrote {
                        Ok(0) => core.broke(std::io::ErrorKind::WriteZero, chunk.len()),
                        Ok(octets) => {
                            chunk.advance(octets);
                            core.wrote(octets);
                        }
                        Err(error) => core.broke(error.kind(), chunk.len()),
                    },
                    () = core.ending.cancelled() => return false,
                }
                if core.ending.is_cancelled() && !chunk.is_empty() {
                    return false;
                }
            }
        }
        if let Some(Err(error)) = core.ending.run_until_cancelled(stream.flush()).await {
            core.broke(error.kind(), 0);
        }
    }
    true
}

struct Reader<S> {
    stream: ReadHalf<S>,
    buffer: BytesMut,
    core: Arc<Core>,
    rules: Rules,
    events: mpsc::Sender<Event>,
}

impl<S: AsyncRead> Reader<S> {
    async fn run(mut self) {
        let core = Arc::clone(&self.core);
        // Whatever this waits for, the end of the session ends it.
        if let Some(reason) = core.ending.run_until_cancelled(self.read()).await {
            core.close(reason, None);
        }
    }

    async fn read(&mut self) -> CloseReason {
        let mut answers = Vec::new();
        let mut requests = Vec::new();
        loop {
            let broken = self.cut(&mut answers, &mut requests);
            // A trickle of octets that never make a PDU is no sign of life.
            if !answers.is_empty() || !requests.is_empty() {
                self.core.settle(&mut answers);
            }
            for request in requests.drain(..) {
                self.handle(request).await;
            }
            if let Err(error) = broken {
                let mut nack = BytesMut::new();
                frame::encode(&mut nack, CommandId::GenericNack, CommandStatus::EsmeRinvcmdlen, 0, None);
                self.core.close(CloseReason::Protocol(error), Some(nack));
                return CloseReason::Protocol(error);
            }
            while self.core.backlog() > BACKLOG {
                self.core.taken.notified().await;
            }
            self.buffer.reserve(READ);
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return CloseReason::PeerClosed,
                Ok(_) => {}
                Err(error) => return CloseReason::Broken(error.kind()),
            }
        }
    }

    /// Cuts all whole frames off the buffer.
    fn cut(
        &mut self,
        answers: &mut Vec<(CommandId, u32, Answer)>,
        requests: &mut Vec<Frame>,
    ) -> Result<(), FrameError> {
        while let Some(frame) = Frame::cut(&mut self.buffer)? {
            if frame.is_response() {
                let (id, sequence, status) = (frame.id, frame.sequence, frame.status);
                // A response whose body cannot be read still answers.
                let pdu = frame.decode().unwrap_or(None);
                answers.push((id, sequence, Answer { status, pdu }));
            } else {
                requests.push(frame);
            }
        }
        Ok(())
    }

    async fn handle(&mut self, frame: Frame) {
        let (id, sequence) = (frame.id, frame.sequence);
        match id {
            CommandId::EnquireLink => {
                self.core.answer(CommandId::EnquireLinkResp, CommandStatus::EsmeRok, sequence, None);
            }
            CommandId::Unbind => {
                let mut farewell = BytesMut::new();
                frame::encode(&mut farewell, CommandId::UnbindResp, CommandStatus::EsmeRok, sequence, None);
                self.core.close(CloseReason::PeerUnbound, Some(farewell));
            }
            CommandId::BindTransmitter | CommandId::BindReceiver | CommandId::BindTransceiver => {
                self.refuse(id, sequence, CommandStatus::EsmeRalybnd);
            }
            _ if !self.rules.allow(id) => self.refuse(id, sequence, CommandStatus::EsmeRinvbndsts),
            _ => match frame.decode() {
                Ok(Some(pdu)) => self.pass_on(id, sequence, pdu).await,
                Ok(None) => self.refuse(id, sequence, CommandStatus::EsmeRinvcmdlen),
                Err(error) => {
                    self.core.unreadable();
                    let answer = match error {
                        PduError::UnknownCommand(_) => CommandId::GenericNack,
                        PduError::Body(_) => frame::response_to(id),
                    };
                    self.core.answer(answer, error.status(), sequence, None);
                }
            },
        }
    }

    fn refuse(&self, id: CommandId, sequence: u32, status: CommandStatus) {
        self.core.answer(frame::response_to(id), status, sequence, None);
    }

    async fn pass_on(&mut self, id: CommandId, sequence: u32, pdu: Pdu) {
        let event = match id {
            CommandId::AlertNotification | CommandId::Outbind | CommandId::Other(_) => Event::Notice(pdu),
            _ => {
                let places = &self.core.unanswered;
                let permit = match Arc::clone(places).try_acquire_owned() {
                    Ok(permit) => permit,
                    Err(_) => {
                        self.core.hold();
                        let permit = Arc::clone(places).acquire_owned().await;
                        self.core.go_on();
                        // Closed only when the session is over.
                        let Ok(permit) = permit else { return };
                        permit
                    }
                };
                let responder = Responder::new(Arc::clone(&self.core), id, sequence, permit);
                Event::Request(Request { pdu, responder })
            }
        };
        let sent = match self.events.try_send(event) {
            Err(mpsc::error::TrySendError::Full(event)) => {
                self.core.hold();
                let sent = self.events.send(event).await;
                self.core.go_on();
                sent.is_ok()
            }
            sent => sent.is_ok(),
        };
        // Nobody listens: the request in the error refuses itself as it is dropped.
        if !sent {
            tracing::debug!(command = ?id, "nobody takes what the peer sends");
        }
    }
}

impl Rules {
    /// Who may ask what in this bind.
    fn allow(self, id: CommandId) -> bool {
        match id {
            CommandId::DeliverSm | CommandId::AlertNotification => {
                self.role == Role::Client && self.kind != BindKind::Transmitter
            }
            CommandId::DataSm => match self.role {
                Role::Client => self.kind != BindKind::Transmitter,
                Role::Server => self.kind != BindKind::Receiver,
            },
            CommandId::SubmitSm
            | CommandId::SubmitMulti
            | CommandId::QuerySm
            | CommandId::CancelSm
            | CommandId::ReplaceSm
            | CommandId::BroadcastSm
            | CommandId::QueryBroadcastSm
            | CommandId::CancelBroadcastSm => self.role == Role::Server && self.kind != BindKind::Receiver,
            _ => true,
        }
    }
}
