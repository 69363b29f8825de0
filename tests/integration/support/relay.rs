//! Between a role and a PostgreSQL server: passes everything on, until the server's machine "loses its power".
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::postgres::directory;

/// As a server's socket is called, which is found by its directory.
const SOCKET: &str = ".s.PGSQL.5432";

pub(crate) struct Relay {
    directory: PathBuf,
    /// Ends the connections that stand, without a word to who made them.
    standing: Arc<Mutex<CancellationToken>>,
}

impl Relay {
    /// One in front of the server of this URL, and the URL through it.
    pub(crate) fn start(name: &str, url: &str) -> (Self, String) {
        let (before, server) = url.split_once("host=").expect("a socket");
        let directory = directory(&format!("relay-{name}"));
        let listener = UnixListener::bind(directory.join(SOCKET)).expect("a socket");
        let standing = Arc::new(Mutex::new(CancellationToken::new()));
        tokio::spawn(serve(listener, Path::new(server).join(SOCKET), Arc::clone(&standing)));
        let through = format!("{before}host={}", directory.display());
        (Self { directory, standing }, through)
    }

    /// Nothing comes through the connections that stand any more, and nothing tells; new ones work.
    pub(crate) fn lose(&self) {
        std::mem::take(&mut *self.standing.lock().expect("not poisoned")).cancel();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn serve(listener: UnixListener, server: PathBuf, standing: Arc<Mutex<CancellationToken>>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let lost = standing.lock().expect("not poisoned").clone();
        let server = server.clone();
        tokio::spawn(async move {
            let Ok(mut far) = UnixStream::connect(server).await else { return };
            let passed = lost.run_until_cancelled(tokio::io::copy_bidirectional(&mut near, &mut far)).await;
            if passed.is_none() {
                drop(far);
                // Held open for as long as the test runs.
                std::future::pending::<()>().await;
            }
        });
    }
}
