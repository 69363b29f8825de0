//! The `budstikke-sender` binary: one role, and nothing of the others. A thousand of these run beside each other, and most of what one that
//! waits has in memory are pages of its program.
use std::process::ExitCode;

fn main() -> ExitCode {
    budstikke::cli::sender()
}
