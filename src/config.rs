//! What the operator tells a pod: a directory of files, mounted from a Secret that the operator writes. Both sides use
//! the types here, so that a field cannot be written one way and read another.
//!
//! The kubelet swaps the files while the pod runs; [`watch`] hands each new form on. Unknown fields are ignored and new
//! ones have defaults, so that a pod of the version before reads what this version writes.
pub mod connector;
mod files;
mod keys;
pub mod sender;
mod watch;

pub use files::{Error, names};
pub use keys::NamedKey;
pub use watch::{Load, watch};

use std::path::PathBuf;

/// Where the operator's Secret is mounted.
#[derive(Debug, Clone, clap::Args)]
pub struct Mount {
    /// The directory of the pod's own files.
    #[arg(long, env = "BUDSTIKKE_CONFIG_DIR", default_value = "/etc/budstikke")]
    pub config_dir: PathBuf,
}
