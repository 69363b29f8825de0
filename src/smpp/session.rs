//! One bound connection, seen from either side: an ESME's or a message centre's.
//!
//! A [`Session`] is a handle; a reader, a writer and a watch task do the work. Callers encode straight into the
//! outgoing buffer, the writer takes all of it at once, and the reader settles all answers of a read at once: no task,
//! channel or system call per PDU.
//!
//! What happened to a request is exact, because money and duplicates hang on it: see [`Outcome`]. A request's time-out
//! counts from when its last octet was handed to the transport. A late answer is never taken for another's: sequence
//! numbers are not reused until they wrap at 0x7FFF_FFFF, and then never one that is still waiting.
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::BytesMut;
use rusmpp::{CommandStatus, Pdu};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use core::Core;
pub use incoming::{Event, Incoming, Request, Responder};

mod core;
mod driver;
mod incoming;
#[cfg(test)]
mod tests;

/// What a bind may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BindKind {
    /// Submits only.
    Transmitter,
    /// Receives only.
    Receiver,
    /// Both.
    Transceiver,
}

/// Which end of the bind we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// We have bound.
    Client,
    /// We were bound to.
    Server,
}

/// How a session behaves. The defaults are what most upstreams live with.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Our requests without an answer, at most.
    pub window: usize,
    /// How long an answer may take, from when the request was written.
    pub request_timeout: Duration,
    /// Silence in either direction after which the link is tested.
    pub enquire_after: Duration,
    /// Silence after that test which means that the link is dead.
    pub enquire_timeout: Duration,
    /// The peer's requests that we have not answered, at most; then reading stops.
    pub unanswered: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: 10,
            request_timeout: Duration::from_secs(30),
            enquire_after: Duration::from_secs(30),
            enquire_timeout: Duration::from_secs(10),
            unanswered: 100,
        }
    }
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// [`Session::unbind`] ended it in good order.
    #[error("unbound by us")]
    Unbound,
    /// [`Session::close`] ended it, or the last handle was dropped.
    #[error("closed by us")]
    Closed,
    /// The peer said unbind.
    #[error("unbound by the peer")]
    PeerUnbound,
    /// The peer closed the connection without a word.
    #[error("closed by the peer")]
    PeerClosed,
    /// Nothing came back, not even to enquire_link.
    #[error("the link is dead: enquire_link was not answered")]
    LinkDead,
    /// What came is not SMPP.
    #[error("the peer does not speak SMPP: {0}")]
    Protocol(#[from] super::frame::FrameError),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(std::io::ErrorKind),
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all are answers: moving one is cheaper than a box for each")]
pub enum Outcome {
    /// The peer answered.
    Answered(Answer),
    /// The request never reached the transport whole: the peer cannot have acted on it. Safe to send again.
    NotWritten(CloseReason),
    /// The request was written and its fate is unknown.
    WrittenUnanswered(Silence),
}

/// Why there is no answer to a request that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// [`Options::request_timeout`] went by.
    TimedOut,
    /// The session ended first.
    Closed(CloseReason),
}

/// An answer: a response of the request's own kind, or generic_nack.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status. Other than `EsmeRok` it is a refusal.
    pub status: CommandStatus,
    /// The body, when there was one that could be read.
    pub pdu: Option<Pdu>,
}

// No derived Debug: a body holds numbers and texts (D10).
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Answer {
    /// Whether the peer took the request.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status == CommandStatus::EsmeRok
    }

    /// The message id of a submit_sm_resp or data_sm_resp; `None` when absent or empty.
    #[must_use]
    pub fn message_id(&self) -> Option<&str> {
        let id = match self.pdu.as_ref()? {
            Pdu::SubmitSmResp(response) => response.message_id(),
            Pdu::DataSmResp(response) => response.message_id(),
            _ => return None,
        };
        text(id.as_ref())
    }
}

/// A C-string without its NUL, if there is anything before it.
fn text(c_string: &[u8]) -> Option<&str> {
    let text = c_string.strip_suffix(&[0]).unwrap_or(c_string);
    std::str::from_utf8(text).ok().filter(|text| !text.is_empty())
}

/// What a session counted since its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers that came after their request had timed out, or to nothing we asked.
    pub late_answers: u64,
    /// The peer's requests that could not be read.
    pub unreadable: u64,
}

/// A handle on a session. Clones share it; when the last one is dropped the session closes.
#[derive(Debug, Clone)]
pub struct Session {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    core: Arc<Core>,
    kind: BindKind,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.close(CloseReason::Closed, None);
    }
}

/// Octets read beyond the bind, and the sequence number to begin with.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) read: BytesMut,
    pub(super) sequence: u32,
}

impl Session {
    /// Takes over a stream on which the bind is done.
    pub(super) fn start<S>(
        stream: S,
        opening: Opening,
        role: Role,
        kind: BindKind,
        options: Options,
    ) -> (Self, Incoming)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let core = Arc::new(Core::new(opening.sequence, options));
        // Requests are bounded by their permits; the rest is room for notices.
        let (events, incoming) = mpsc::channel(options.unanswered.saturating_add(16));
        driver::spawn(stream, opening.read, Arc::clone(&core), driver::Rules { role, kind }, events);
        (Self { handle: Arc::new(Handle { core, kind }) }, Incoming::new(incoming))
    }

    /// Waits for a place in the window, sends, and waits for what becomes of it.
    pub async fn request(&self, pdu: impl Into<Pdu>) -> Outcome {
        match self.reserve().await {
            Ok(slot) => slot.send(pdu).await,
            Err(reason) => Outcome::NotWritten(reason),
        }
    }

    /// Waits for a place in the window.
    ///
    /// # Errors
    /// When the session takes no more requests.
    pub async fn reserve(&self) -> Result<Slot, CloseReason> {
        let permit = Arc::clone(&self.handle.core.window).acquire_owned().await;
        match (permit, self.handle.core.refusing()) {
            (Ok(permit), None) => Ok(Slot { core: Arc::clone(&self.handle.core), permit }),
            _ => Err(self.handle.core.reason()),
        }
    }

    /// A place in the window, if one is free now.
    #[must_use]
    pub fn try_reserve(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.handle.core.window).try_acquire_owned().ok()?;
        Some(Slot { core: Arc::clone(&self.handle.core), permit })
    }

    /// Sends a PDU that has no answer (see [`super::vendor::Flow`]). Takes no place in the window; the caller bounds
    /// how many it sends.
    ///
    /// # Errors
    /// When the session takes no more requests.
    pub fn notify(&self, pdu: impl Into<Pdu>) -> Result<(), CloseReason> {
        self.handle.core.notify(&pdu.into())
    }

    /// What this bind may do.
    #[must_use]
    pub fn kind(&self) -> BindKind {
        self.handle.kind
    }

    /// Places free in the window now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.handle.core.window.available_permits()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.handle.core.counts()
    }

    /// Whether the session still takes requests.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.handle.core.refusing().is_none()
    }

    /// Ends in good order: takes no more requests, waits up to `grace` for the answers still due in both directions,
    /// says unbind, and closes.
    pub async fn unbind(&self, grace: Duration) {
        self.handle.core.unbind(grace).await;
    }

    /// Ends at once. What is written and unanswered stays so.
    pub fn close(&self) {
        self.handle.core.close(CloseReason::Closed, None);
    }

    /// Waits until the session is over and every request is settled.
    pub async fn closed(&self) -> CloseReason {
        self.handle.core.closed().await
    }
}

/// A place in the window.
#[derive(Debug)]
pub struct Slot {
    core: Arc<Core>,
    permit: OwnedSemaphorePermit,
}

impl Slot {
    /// Queues the request to be written and gives what will become of it. The place is taken until that is known,
    /// whether or not anybody waits for it.
    pub fn send(self, pdu: impl Into<Pdu>) -> Pending {
        let Self { core, permit } = self;
        let (settle, outcome) = oneshot::channel();
        let written = WrittenAt::default();
        core.send(&pdu.into(), Some(permit), Some(settle), written.clone());
        Pending { outcome, written }
    }
}

/// When a request was handed to the transport whole: known once it was. For those that speak of the request; who only wants to know
/// has a [`Watched`].
#[derive(Debug, Clone, Default)]
pub struct WrittenAt(Arc<OnceLock<Instant>>, Arc<()>);

impl WrittenAt {
    /// Notes the moment; only the first counts.
    pub fn set(&self, at: Instant) {
        let _ = self.0.set(at);
    }

    /// The moment, if it has come.
    #[must_use]
    pub fn get(&self) -> Option<Instant> {
        self.0.get().copied()
    }

    /// For one that only wants to know.
    #[must_use]
    pub fn watch(&self) -> Watched {
        Watched(Arc::clone(&self.0), Arc::downgrade(&self.1))
    }
}

/// What will be known of a [`WrittenAt`], for any number of those that wait for it.
#[derive(Debug, Clone)]
pub struct Watched(Arc<OnceLock<Instant>>, Weak<()>);

impl Watched {
    /// The moment, if it has come.
    #[must_use]
    pub fn get(&self) -> Option<Instant> {
        self.0.get().copied()
    }

    /// It will never come: nobody speaks of the request any more.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.1.strong_count() == 0 && self.get().is_none()
    }
}

/// A request under way; a future of its [`Outcome`].
#[derive(Debug)]
#[must_use = "what becomes of a request decides whether to send it again"]
pub struct Pending {
    outcome: oneshot::Receiver<Outcome>,
    written: WrittenAt,
}

impl Pending {
    /// When it was handed to the transport.
    #[must_use]
    pub fn written_at(&self) -> WrittenAt {
        self.written.clone()
    }
}

/// Settles a [`Pending`] where no session does: for who brings requests to a peer by another protocol. Dropped, it says that
/// the fate is unknown.
#[derive(Debug)]
#[must_use = "dropped, it says that the request's fate is unknown"]
pub struct Promise {
    settle: oneshot::Sender<Outcome>,
    written: WrittenAt,
}

impl Promise {
    /// A request under way, and who is to settle it.
    pub fn new() -> (Self, Pending) {
        let (settle, outcome) = oneshot::channel();
        let written = WrittenAt::default();
        (Self { settle, written: written.clone() }, Pending { outcome, written })
    }

    /// Where to note when it was handed to the transport.
    #[must_use]
    pub fn written_at(&self) -> WrittenAt {
        self.written.clone()
    }

    /// Says what became of it.
    pub fn settle(self, outcome: Outcome) {
        let _ = self.settle.send(outcome);
    }
}

impl Future for Pending {
    type Output = Outcome;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.outcome).poll(context).map(|settled| {
            // Every request is settled before a session goes; only a torn-down runtime drops one, and then nobody
            // knows.
            settled.unwrap_or(Outcome::WrittenUnanswered(Silence::Closed(CloseReason::Closed)))
        })
    }
}
