//! The `budstikke` binary: parses the command line and runs one role.
use std::process::ExitCode;

/// What many threads ask for at once, thousands of times a second, takes the C library a fifth of a role's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    budstikke::cli::main()
}
