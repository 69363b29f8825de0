//! Processes that end with their value, can be killed and started again, and what they use.
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) struct Process {
    command: Command,
    child: Child,
    pub(crate) role: &'static str,
    /// Where it listens: for its health, if for nothing else.
    #[allow(dead_code, reason = "the fault harness does not ask")]
    pub(crate) at: SocketAddr,
}

impl Process {
    /// Starts a command; what it says goes to a file.
    pub(crate) fn start(role: &'static str, at: SocketAddr, mut command: Command, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).expect("a log");
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        Self::spawn(role, at, command)
    }

    /// Starts a command that says nothing of interest.
    pub(crate) fn spawn(role: &'static str, at: SocketAddr, mut command: Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn().expect(role);
        Self { command, child, role, at }
    }

    /// Ends it at once (SIGKILL): it can do nothing about it, and says nothing to anybody.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it ends");
    }

    /// Starts it again as it was started first.
    #[allow(dead_code, reason = "the fault harness alone kills and starts again")]
    pub(crate) fn launch(&mut self) {
        self.child = self.command.spawn().expect(self.role);
    }

    /// Whether it has not ended by itself.
    #[allow(dead_code, reason = "the fault harness alone looks")]
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|ended| ended.is_none())
    }

    #[allow(dead_code, reason = "the fault harness does not ask")]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks for its health every two milliseconds until it can serve; false after `patience`.
    pub(crate) async fn is_ready(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while !ready(self.at).await.unwrap_or(false) {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        true
    }

    /// The memory that it has, MiB.
    #[allow(dead_code, reason = "one bench alone asks")]
    pub(crate) fn memory(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// The most memory that it had, MiB.
    #[allow(dead_code, reason = "the fault harness does not ask")]
    pub(crate) fn peak(&self) -> f64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a figure");
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib / 1024.0
    }
}

/// Whether what serves its health here says that it is ready.
async fn ready(at: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    Ok(status.ends_with(b" 200"))
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port()
}
