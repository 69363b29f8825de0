//! Processes that end with their value, can be killed and started again, and what they use.
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(crate) struct Process {
    command: Command,
    child: Child,
    pub(crate) role: &'static str,
    /// Where it listens, if it does.
    #[allow(dead_code, reason = "the fault harness does not ask")]
    pub(crate) port: u16,
}

impl Process {
    /// Starts a command; what it says goes to a file.
    pub(crate) fn start(role: &'static str, port: u16, mut command: Command, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).expect("a log");
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        Self::spawn(role, port, command)
    }

    /// Starts a command that says nothing of interest.
    pub(crate) fn spawn(role: &'static str, port: u16, mut command: Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn().expect(role);
        Self { command, child, role, port }
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

    /// Its role, and the most memory that it had, MiB.
    #[allow(dead_code, reason = "the fault harness does not ask")]
    pub(crate) fn memory(&self) -> (&'static str, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        (self.role, kib / 1024.0)
    }
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

/// CPU that the whole machine has used so far, seconds.
#[allow(dead_code, reason = "the fault harness does not ask")]
pub(crate) fn busy_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").expect("of Linux");
    let ticks: Vec<f64> =
        stat.lines().next().expect("a line").split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq
    (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]) / 100.0
}
