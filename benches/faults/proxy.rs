//! A TCP proxy that cuts, delays or freezes what goes through it.
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Reads that may be on their way in one direction; then no more is read.
const UNDER_WAY: usize = 64;

/// What becomes of the connections that there are.
#[derive(Clone, Default)]
struct Standing {
    /// They break.
    cut: CancellationToken,
    /// Nothing goes over them any more, and nobody is told.
    lost: CancellationToken,
}

/// How a proxy behaves.
#[derive(Debug, Clone, Copy, Default)]
struct Manner {
    delay: Duration,
    frozen: bool,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    manner: watch::Sender<Manner>,
    standing: Arc<Mutex<Standing>>,
}

impl Proxy {
    /// One in front of `target`, on another port of its address: its certificate stays right.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = StdListener::bind((target.ip(), 0)).expect("a port");
        listener.set_nonblocking(true).expect("not blocking");
        let address = listener.local_addr().expect("its number");
        let listener = TcpListener::from_std(listener).expect("a listener");
        let manner = watch::Sender::new(Manner::default());
        let standing = Arc::default();
        tokio::spawn(serve(listener, target, manner.clone(), Arc::clone(&standing)));
        Self { address, manner, standing }
    }

    /// Breaks all connections.
    pub(crate) fn cut(&self) {
        self.renew().cut.cancel();
    }

    /// Nothing goes over the connections that there are any more, and nobody is told: the machine at the other end has lost its
    /// power. New ones work.
    pub(crate) fn lose(&self) {
        self.renew().lost.cancel();
    }

    /// The connections that there are; those to come are not among them.
    fn renew(&self) -> Standing {
        std::mem::take(&mut *self.standing.lock().expect("not poisoned"))
    }

    /// Each way takes so much longer from now on.
    pub(crate) fn delay(&self, delay: Duration) {
        self.manner.send_modify(|manner| manner.delay = delay);
    }

    /// Nothing goes through any more, or all goes on.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.manner.send_modify(|manner| manner.frozen = frozen);
    }
}

async fn serve(
    listener: TcpListener,
    target: SocketAddr,
    manner: watch::Sender<Manner>,
    standing: Arc<Mutex<Standing>>,
) {
    while let Ok((near, _)) = listener.accept().await {
        let Standing { cut, lost } = standing.lock().expect("not poisoned").clone();
        let manner = manner.subscribe();
        tokio::spawn(async move { cut.run_until_cancelled(join(near, target, manner, lost)).await });
    }
}

async fn join(near: TcpStream, target: SocketAddr, mut manner: watch::Receiver<Manner>, lost: CancellationToken) {
    // Whoever connects over a frozen link waits too.
    let _ = manner.wait_for(|manner| !manner.frozen).await;
    let Ok(far) = TcpStream::connect(target).await else { return };
    let (_, _) = (near.set_nodelay(true), far.set_nodelay(true));
    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) = (near.into_split(), far.into_split());
    // The end of one direction is the end of both: nobody here half-closes.
    tokio::select! {
        () = pass(&mut near_read, &mut far_write, manner.clone()) => return,
        () = pass(&mut far_read, &mut near_write, manner) => return,
        () = lost.cancelled() => drop((far_read, far_write)),
    }
    // The near end stays as it is.
    std::future::pending().await
}

/// Passes on in order, each read after its delay.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, manner: watch::Receiver<Manner>) {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let seen = manner.clone();
    let read = async move {
        loop {
            let mut octets = Vec::with_capacity(16 * 1024);
            match from.read_buf(&mut octets).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
            let delay = seen.borrow().delay;
            if sender.send((Instant::now() + delay, octets)).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        let mut manner = manner;
        while let Some((due, octets)) = under_way.recv().await {
            sleep_until(due).await;
            let _ = manner.wait_for(|manner| !manner.frozen).await;
            if to.write_all(&octets).await.is_err() {
                return;
            }
        }
    };
    // What was read before the end is still written.
    tokio::join!(read, write);
}
