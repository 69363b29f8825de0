//! Processes that end with their value, and what they use.
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::centre;

pub(crate) struct Process {
    child: Child,
    role: &'static str,
    /// Where it listens, if it does.
    pub(crate) port: u16,
}

impl Process {
    /// Starts a command; what it says goes to a file.
    pub(crate) fn start(role: &'static str, port: u16, command: &mut Command, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        Self { child: command.spawn().expect(role), role, port }
    }

    /// The message centre.
    pub(crate) fn centre() -> Self {
        let port = free_port();
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let child = command.args([centre::WORD, &port.to_string()]).stdin(Stdio::null()).spawn().expect("a centre");
        Self { child, role: "centre", port }
    }

    /// Its role, and the most memory that it had, MiB.
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
pub(crate) fn busy_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").expect("of Linux");
    let ticks: Vec<f64> =
        stat.lines().next().expect("a line").split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq
    (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]) / 100.0
}
