//! Another time for servers, scripts and all that they start: libfaketime, which takes it from a file.
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::postgres::unprivileged;

/// The library keeps one semaphore for a program and all that it starts. By itself it belongs to the first of them, and whichever
/// fork of that one ends first takes it away: others then fail to start. So it belongs to a process that does nothing else.
#[derive(Debug)]
pub(crate) struct Faketime {
    variables: Vec<String>,
    holder: Child,
}

impl Faketime {
    /// For processes of the user that `unprivileged` gives. The file has an offset such as `-10d`, and may be replaced.
    pub(crate) fn of(file: &Path) -> Self {
        let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
        assert!(Path::new(&library).exists(), "the servers' clocks are set by libfaketime: run `make packages`");
        // From a file, always: what the library has of the environment it looks up again, and a server has none by then.
        let here = [format!("LD_PRELOAD={library}"), format!("FAKETIME_TIMESTAMP_FILE={}", file.display())];
        // Waiting takes as long as ever.
        let ever = ["FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC"];
        let mut variables: Vec<_> = here.into_iter().chain(ever.map(|name| format!("{name}=1"))).collect();
        // A name is made of a process's number: none is made where an earlier process of that number has left one.
        let made = (0..100).find_map(|_| {
            let mut holder = hold(&variables).spawn().expect("sh");
            let mut shared = String::new();
            BufReader::new(holder.stdout.take().expect("its output")).read_line(&mut shared).expect("a line");
            let shared = shared.trim();
            if shared.is_empty() {
                end(&mut holder);
                return None;
            }
            Some((holder, format!("FAKETIME_SHARED={shared}")))
        });
        let (holder, shared) = made.expect("a semaphore for libfaketime");
        variables.push(shared);
        Self { variables, holder }
    }

    /// `NAME=value`, for `env`.
    pub(crate) fn variables(&self) -> &[String] {
        &self.variables
    }
}

/// Ends with its input, so with this process, and the library then removes what it made.
fn hold(variables: &[String]) -> Command {
    let mut command = unprivileged(Path::new("env"));
    command.args(variables).args(["sh", "-c", r#"echo "$FAKETIME_SHARED"; read -r _; exit 0"#]);
    command.env_remove("FAKETIME_SHARED").current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn end(holder: &mut Child) {
    drop(holder.stdin.take());
    let _ = holder.wait();
}

impl Drop for Faketime {
    fn drop(&mut self) {
        end(&mut self.holder);
    }
}
