//! `budstikke restored`: tells the owner what a restore has lost and what waits, and releases it.
use std::fmt::Write as _;
use std::path::PathBuf;

use sqlx::PgPool;

use crate::keyring::{self, marks};
use crate::store::installation::{self, Needed, Queued, Restore, Waiting};
use crate::store::{self, Dsn, DsnError};

/// Where both instances are, and what to do.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of the data instance's Secret.
    #[arg(long, global = true, env = "BUDSTIKKE_DATABASE_DIR", default_value = "/etc/budstikke/database")]
    database: PathBuf,
    /// Directory of the keyring instance's Secret.
    #[arg(long, global = true, env = "BUDSTIKKE_KEYRING_DIR", default_value = "/etc/budstikke/keyring")]
    keyring: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Open sending again. What was accepted since the restore is sent in any case.
    Release {
        /// What becomes of the messages that were restored with the queue. `send`: all are sent, those that were sent after the
        /// backup once more. `fail`: none is sent; those that were not sent after the backup are lost. Where the keyring alone
        /// was restored there are none.
        #[arg(long, value_enum)]
        queued: Queued,
    },
}

/// Why it is not known how the installation stands, or why it is not released.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A database's address.
    #[error(transparent)]
    Dsn(DsnError),
    /// The data instance did not do it.
    #[error(transparent)]
    Installation(#[from] installation::Error),
    /// The keyring did not do it.
    #[error(transparent)]
    Keyring(#[from] keyring::Error),
    /// Too early.
    #[error(
        "the leading operator has not looked at this yet, or not erased again what was erased before the backup: wait until \
         `budstikke restored` says that it has; its log says what is in the way"
    )]
    NotYet,
}

/// Tells how the installation stands, or releases it; in words.
///
/// # Errors
/// When a database does not answer, or it is too early.
pub async fn run(args: Args) -> Result<String, Error> {
    let data = Dsn::read(&args.database.join("operator-url")).map_err(Error::Dsn)?;
    let keys = Dsn::read(&args.keyring.join("operator-url")).map_err(Error::Dsn)?;
    let (data, keys) =
        (store::connect(&data, 1, "budstikke-restored"), keyring::connect(&keys, 1, "budstikke-restored"));
    match args.command {
        None => tell(&data, &keys).await,
        Some(Command::Release { queued }) => release(&data, &keys, queued).await,
    }
}

/// How the installation stands, in words.
///
/// # Errors
/// When a database does not answer.
pub async fn tell(data: &PgPool, keys: &PgPool) -> Result<String, Error> {
    let stands = installation::read(data).await?;
    let Some(since) = stands.closed_since else {
        return Ok(if stands.confirmed {
            format!("sending is open (epoch {})", stands.epoch)
        } else {
            "sending is closed: the data instance was restored, or a standby has taken over. The leading operator looks at it \
             within seconds; its log says what is in the way"
                .to_owned()
        });
    };
    let mut text = format!("sending is closed since {since:.0} (epoch {})\n", stands.epoch);
    let restores = installation::unreleased(data).await?;
    for restore in &restores {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", lost(restore));
    }
    let waiting = installation::waiting(data).await?;
    let unreadable = unreadable(data, keys).await?;
    let queue_restored = restores.iter().any(|restore| restore.what != "keyring");
    text.push_str(&waits(waiting, queue_restored, unreadable.iter().map(|lost| lost.messages).sum()));
    text.push_str(if stands.erased_again {
        "what was erased before is erased again\nto open sending: budstikke restored release --queued send|fail"
    } else {
        "what was erased before the backup is not erased again yet: wait for it, the operator's log says what is in the way"
    });
    Ok(text)
}

/// Opens sending; what came of it, in words.
///
/// # Errors
/// When a database does not answer, or it is too early: sending stays closed.
pub async fn release(data: &PgPool, keys: &PgPool, queued: Queued) -> Result<String, Error> {
    let stands = installation::read(data).await?;
    if !stands.confirmed || !stands.erased_again {
        return Err(Error::NotYet);
    }
    if stands.closed_since.is_none() {
        return Ok(format!("sending is open already (epoch {})", stands.epoch));
    }
    let lost = unreadable(data, keys).await?;
    Ok(match installation::release(data, queued, &lost).await? {
        Some(ended) => format!("sending is open (epoch {}); {ended} messages were ended", stands.epoch),
        None => format!("sending is open already (epoch {})", stands.epoch),
    })
}

/// The keys that the queue needs and the keyring does not have.
async fn unreadable(data: &PgPool, keys: &PgPool) -> Result<Vec<Needed>, Error> {
    Ok(marks::missing(keys, installation::needed_keys(data).await?).await?)
}

fn lost(restore: &Restore) -> String {
    let Restore { epoch, found_at, what, known_at, lost_until, messages, entries } = restore;
    let which = match what.as_str() {
        "data" => "the data instance was restored",
        "keyring" => "the keyring was restored",
        _ => "both instances were restored",
    };
    let between = if what == "keyring" {
        format!(
            "to a point at or after {known_at:.0}: keys that were made between {known_at:.0} and {lost_until:.0} are lost"
        )
    } else {
        format!(
            "to a point at or after {known_at:.0}: at least {messages} messages accepted and {entries} journal entries made until \
             {lost_until:.0} are lost, and whatever came after it"
        )
    };
    format!("epoch {epoch}, found at {found_at:.0}: {which}, {between}")
}

fn waits(Waiting { before, in_flight, since }: Waiting, queue_restored: bool, unreadable: i64) -> String {
    let which = if queue_restored {
        format!("{before} messages wait that were accepted before the restore, and {since} accepted since")
    } else {
        // Whichever word releases it: none of them may have been sent without being known.
        format!("{since} messages wait in the queue, which was not restored: they are sent in any case")
    };
    format!(
        "{which}; of all these a sender had begun to submit {in_flight}, and {unreadable} cannot be read any more, since their keys \
         are lost: these are ended in any case\n"
    )
}
