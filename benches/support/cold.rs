//! A machine that has nothing in memory, as after a start, or of what nobody has looked at for months.
use std::process::Command;

/// Writes out and empties the system's own cache of files; whether it could.
pub(crate) fn forget() -> bool {
    Command::new("sync").status().is_ok_and(|done| done.success())
        && std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}
