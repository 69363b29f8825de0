//! `budstikke journal`: checks the erasure journal, for auditors.
use std::path::PathBuf;

use crate::store::retention::journal::{self, Checked, Restores};
use crate::store::{self, Dsn, DsnError};

/// Where the journal is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of the data instance's Secret.
    #[arg(long, env = "BUDSTIKKE_DATABASE_DIR", default_value = "/etc/budstikke/database")]
    database: PathBuf,
}

/// Why the journal is not whole, or could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database's address.
    #[error(transparent)]
    Dsn(DsnError),
    /// The journal was not read.
    #[error(transparent)]
    Read(store::retention::Error),
    /// It was changed.
    #[error("the journal is broken at entry {0}: that entry, or the one before it, was changed, added or taken out")]
    Broken(i64),
}

/// Checks every entry against the one before it; what it found, in a line.
///
/// # Errors
/// When the journal is broken, or cannot be read.
pub async fn run(args: Args) -> Result<String, Error> {
    let dsn = Dsn::read(&args.database.join("operator-url")).map_err(Error::Dsn)?;
    let pool = store::connect(&dsn, 1, "budstikke-journal");
    match journal::check(&pool).await.map_err(Error::Read)? {
        Checked::Whole { entries: 0, .. } => Ok("the journal is whole: nothing was erased yet".to_owned()),
        Checked::Whole { entries, newest } => {
            let whole = format!("the journal is whole: {entries} entries, the newest with the hash {newest}");
            let Restores { times, entries } = journal::restores(&pool).await.map_err(Error::Read)?;
            Ok(match times {
                0 => whole,
                _ => format!("{whole}; restored {times} times, by which at least {entries} entries were lost"),
            })
        }
        Checked::Broken { entry } => Err(Error::Broken(entry)),
    }
}
