//! The `budstikke` binary: parses the command line and runs one role.
use std::process::ExitCode;

fn main() -> ExitCode {
    budstikke::cli::main()
}
