//! The connector against those who read the standard without us: two SMSCs as its upstream, Kannel as its client.
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::stage::until;

mod kannel;
mod smscs;

/// A process that ends with its test, and what it says on standard error.
struct Peer {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    listener: Option<JoinHandle<()>>,
}

impl Peer {
    fn start(command: &mut Command) -> Self {
        let started = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = started.unwrap_or_else(|error| panic!("{command:?}: {error}: run tests/peers/setup"));
        let said = Arc::new(Mutex::new(Vec::new()));
        let (lines, heard) = (BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&said));
        let listener = std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| heard.lock().unwrap().push(line));
        });
        Self { child, said, listener: Some(listener) }
    }

    /// The lines with these words that it has said by now.
    fn said(&self, words: &str) -> Vec<String> {
        self.said.lock().unwrap().iter().filter(|line| line.contains(words)).cloned().collect()
    }

    async fn says(&self, words: &str) {
        until(words, async || (!self.said(words).is_empty()).then_some(())).await;
    }

    /// Kills it; everything that it said has been heard then.
    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.listener.take().into_iter().for_each(|listener| listener.join().unwrap());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory that goes with its test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("budstikke-{name}-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn installed(which: &str) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/budstikke/peers");
    let directory = std::env::var_os("BUDSTIKKE_PEERS").map_or_else(home, PathBuf::from).join(which);
    assert!(
        directory.is_dir(),
        "{} is not there: run `make test`, or `tests/peers/setup`, and set BUDSTIKKE_PEERS if it is elsewhere",
        directory.display()
    );
    directory
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
