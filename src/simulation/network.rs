//! A network in memory. Octets take their time, arrive in pieces, stop for a while, vanish, or the connection breaks with
//! some of them lost: as a seed has it, and never otherwise.
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::tap::Tap;
use crate::smpp::client::{ConnectError, Dial, Target};

/// Octets on the way in one direction, at most; then a writer waits.
const ROOM: usize = 16 * 1024;

/// Who has connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Host {
    Sender(usize),
    Connector,
    Upstream,
}

/// What somebody who tries to connect meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    /// Refused at once.
    Shut,
    /// Nobody answers.
    Dark,
}

/// A connection as a listener gets it.
pub(crate) struct Arrival {
    pub(crate) from: Host,
    pub(crate) stream: End,
}

/// See the module. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Network(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    chance: StdRng,
    latency: Duration,
    listeners: BTreeMap<Host, mpsc::UnboundedSender<Arrival>>,
    doors: BTreeMap<Host, Door>,
    connections: Vec<Arc<Connection>>,
}

/// Both directions of one connection: from the one that connected, and to it.
#[derive(Debug)]
struct Connection {
    hosts: [Host; 2],
    pipes: [Mutex<Pipe>; 2],
}

#[derive(Debug)]
struct Pipe {
    chance: StdRng,
    latency: Duration,
    on_the_way: VecDeque<(Instant, Bytes)>,
    octets: usize,
    last_due: Instant,
    /// Nothing arrives before.
    stalled_until: Instant,
    /// What is written vanishes.
    mute: bool,
    /// The writer is done: what is on the way arrives, then the end.
    ended: bool,
    /// The connection broke: what is on the way arrives, then the error; nothing more can be written.
    broken: bool,
    /// The reader is gone.
    unread: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pipe {
    fn new(seed: u64, latency: Duration) -> Self {
        let now = Instant::now();
        Self {
            chance: StdRng::seed_from_u64(seed),
            latency,
            on_the_way: VecDeque::new(),
            octets: 0,
            last_due: now,
            stalled_until: now,
            mute: false,
            ended: false,
            broken: false,
            unread: false,
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            chance: StdRng::seed_from_u64(seed),
            latency: Duration::from_millis(2),
            listeners: BTreeMap::new(),
            doors: BTreeMap::new(),
            connections: Vec::new(),
        })))
    }

    /// What connects to `host` from now on arrives here.
    pub(crate) fn listen(&self, host: Host) -> mpsc::UnboundedReceiver<Arrival> {
        let (arrivals, arriving) = mpsc::unbounded_channel();
        lock(&self.0).listeners.insert(host, arrivals);
        arriving
    }

    /// How long octets take at most from now on, in connections old and new.
    pub(crate) fn set_latency(&self, latency: Duration) {
        let mut state = lock(&self.0);
        state.latency = latency;
        for pipe in state.connections.iter().flat_map(|connection| &connection.pipes) {
            lock(pipe).latency = latency;
        }
    }

    /// What those who connect to `host` meet from now on.
    pub(crate) fn set_door(&self, host: Host, door: Door) {
        lock(&self.0).doors.insert(host, door);
    }

    fn among(&self, one: Host, other: Host) -> Vec<Arc<Connection>> {
        let state = lock(&self.0);
        let between =
            |connection: &&Arc<Connection>| connection.hosts == [one, other] || connection.hosts == [other, one];
        state.connections.iter().filter(between).cloned().collect()
    }

    /// Nothing arrives between two hosts for so long.
    pub(crate) fn stall(&self, one: Host, other: Host, time: Duration) {
        for pipe in self.among(one, other).iter().flat_map(|connection| &connection.pipes) {
            lock(pipe).stalled_until = Instant::now() + time;
        }
    }

    /// From now on nothing that is written on the connections between two hosts arrives, and nobody is told.
    pub(crate) fn mute(&self, one: Host, other: Host) {
        for pipe in self.among(one, other).iter().flat_map(|connection| &connection.pipes) {
            let mut pipe = lock(pipe);
            pipe.mute = true;
            pipe.on_the_way.clear();
            pipe.octets = 0;
            pipe.wake();
        }
    }

    /// Breaks the connections between two hosts; of what is on the way some is lost.
    pub(crate) fn cut(&self, one: Host, other: Host) {
        let connections = self.among(one, other);
        connections.iter().for_each(Connection::cut);
    }

    /// Breaks all connections of a host.
    pub(crate) fn cut_off(&self, host: Host) {
        let connections: Vec<_> = {
            let state = lock(&self.0);
            state.connections.iter().filter(|connection| connection.hosts.contains(&host)).cloned().collect()
        };
        connections.iter().for_each(Connection::cut);
    }

    async fn connect(&self, from: Host, to: Host, tap: Option<Tap>, answering: Option<Tap>) -> std::io::Result<End> {
        let (door, delay) = {
            let mut state = lock(&self.0);
            let most = state.latency;
            (state.doors.get(&to).copied().unwrap_or(Door::Open), state.chance.random_range(Duration::ZERO..=most))
        };
        sleep(delay).await;
        let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        match door {
            Door::Open => {}
            Door::Shut => return Err(refused()),
            Door::Dark => std::future::pending().await,
        }
        let mut state = lock(&self.0);
        let latency = state.latency;
        let mut pipe = || Mutex::new(Pipe::new(state.chance.random(), latency));
        let connection = Arc::new(Connection { hosts: [from, to], pipes: [pipe(), pipe()] });
        state.connections.retain(|connection| Arc::strong_count(connection) > 1);
        let end = |side, tap| End { connection: Arc::clone(&connection), side, tap, sleep: None };
        let (own, theirs) = (end(0, tap), end(1, answering));
        let listener = state.listeners.get(&to).ok_or_else(refused)?;
        listener.send(Arrival { from, stream: theirs }).map_err(|_| refused())?;
        state.connections.push(connection);
        Ok(own)
    }
}

impl Connection {
    fn cut(self: &Arc<Self>) {
        for pipe in &self.pipes {
            let mut pipe = lock(pipe);
            let pieces = pipe.on_the_way.len();
            let arrive = pipe.chance.random_range(0..=pieces);
            pipe.on_the_way.truncate(arrive);
            pipe.broken = true;
            pipe.wake();
        }
    }
}

/// How one host reaches another: what our roles are given in place of the network.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    pub(crate) network: Network,
    pub(crate) from: Host,
    pub(crate) to: Host,
    /// Hears what this end writes and reads.
    pub(crate) tap: Option<Tap>,
    /// Hears what the other end writes and reads.
    pub(crate) answering: Option<Tap>,
}

impl Dial for Dialer {
    type Stream = End;

    async fn dial(&self, target: &Target) -> Result<End, ConnectError> {
        let fresh = |tap: &Option<Tap>| tap.as_ref().map(Tap::fresh);
        let connecting = self.network.connect(self.from, self.to, fresh(&self.tap), fresh(&self.answering));
        let connected = tokio::time::timeout(target.timeout, connecting).await;
        connected.map_err(|_| ConnectError::TimedOut(target.timeout))?.map_err(ConnectError::Connect)
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    connection: Arc<Connection>,
    side: usize,
    tap: Option<Tap>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(tap) = &mut self.tap {
            tap.gone();
        }
        let [own, other] = [self.side, 1 - self.side];
        let mut out = lock(&self.connection.pipes[own]);
        out.ended = true;
        out.wake();
        drop(out);
        let mut inn = lock(&self.connection.pipes[other]);
        inn.unread = true;
        inn.wake();
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        loop {
            let mut pipe = lock(&this.connection.pipes[1 - this.side]);
            let now = Instant::now();
            let due = pipe.on_the_way.front().map(|(due, _)| (*due).max(pipe.stalled_until));
            match due {
                Some(due) if due <= now => {
                    while into.remaining() > 0
                        && let Some((_, piece)) = pipe.on_the_way.front_mut().filter(|(due, _)| *due <= now)
                    {
                        let octets = piece.len().min(into.remaining());
                        into.put_slice(&piece[..octets]);
                        if let Some(tap) = &mut this.tap {
                            tap.read(&piece[..octets]);
                        }
                        piece.advance(octets);
                        let empty = piece.is_empty();
                        pipe.octets = pipe.octets.saturating_sub(octets);
                        if empty {
                            pipe.on_the_way.pop_front();
                        }
                    }
                    pipe.writer.take().into_iter().for_each(Waker::wake);
                    return Poll::Ready(Ok(()));
                }
                Some(due) => {
                    pipe.reader = Some(context.waker().clone());
                    drop(pipe);
                    let sleep = this.sleep.insert(Box::pin(sleep_until(due)));
                    match sleep.as_mut().poll(context) {
                        Poll::Ready(()) => {}
                        Poll::Pending => return Poll::Pending,
                    }
                }
                None if pipe.mute => {
                    pipe.reader = Some(context.waker().clone());
                    return Poll::Pending;
                }
                None if pipe.broken => return Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into())),
                None if pipe.ended => return Poll::Ready(Ok(())),
                None => {
                    pipe.reader = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<std::io::Result<usize>> {
        let this = &mut *self;
        let mut pipe = lock(&this.connection.pipes[this.side]);
        if pipe.broken || (pipe.unread && !pipe.mute) {
            drop(pipe);
            // Who wrote cannot know whether these went out.
            if let Some(tap) = &mut this.tap {
                tap.written(octets);
            }
            return Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()));
        }
        let room = ROOM.saturating_sub(pipe.octets).min(octets.len());
        if room == 0 && !octets.is_empty() {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let taken = if pipe.chance.random_ratio(1, 8) && room > 1 { pipe.chance.random_range(1..room) } else { room };
        if !pipe.mute {
            let most = pipe.latency;
            let delay = pipe.chance.random_range(Duration::ZERO..=most);
            let due = pipe.last_due.max(Instant::now() + delay);
            pipe.last_due = due;
            pipe.octets += taken;
            pipe.on_the_way.push_back((due, Bytes::copy_from_slice(&octets[..taken])));
            pipe.reader.take().into_iter().for_each(Waker::wake);
        }
        drop(pipe);
        if let Some(tap) = &mut this.tap {
            tap.written(&octets[..taken]);
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let mut pipe = lock(&self.connection.pipes[self.side]);
        pipe.ended = true;
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}
