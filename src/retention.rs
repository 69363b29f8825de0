//! The end of what is kept: what must be gone goes on its day, and the journal says so (D1 to D4).
//!
//! Keys go first; what they sealed is unreadable from then on, in every backup too. Then the days that nothing can read any
//! more are dropped, and what tenants with a shorter log have on days that they share with others is erased. What can be
//! destroyed by a clock that is wrong is destroyed for ever, so nothing goes while two clocks disagree, or after time has
//! jumped.
use std::sync::Arc;
use std::time::Instant;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use sqlx::PgPool;

use crate::domain::{Clock, copenhagen_day};
use crate::keyring::{self, Class, Keyring, WalWindow};
use crate::store::installation;
use crate::store::retention::journal::{self, What};
use crate::store::retention::{self as store, Gone};

pub mod audit;
pub mod release;
pub mod restored;
pub mod shortened;

/// By how much clocks may differ, and time may seem to jump.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(120);

/// Why nothing, or not all, was destroyed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The keyring did not do it.
    #[error(transparent)]
    Keyring(#[from] keyring::Error),
    /// The data instance did not do it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It did not tell whether it was restored, or not do what follows from it.
    #[error(transparent)]
    Installation(#[from] installation::Error),
    /// The clocks of this machine and of the two servers do not agree.
    #[error(
        "nothing is destroyed while clocks disagree: the {server}'s differs from this machine's by {by} s. Set them right."
    )]
    Disagree {
        /// Whose.
        server: &'static str,
        /// By how many seconds.
        by: i64,
    },
    /// This machine's clock was set, or stood still.
    #[error(
        "nothing is destroyed since this machine's clock jumped by {by} s: when it is right, restart the operator's pods"
    )]
    Jumped {
        /// By how many seconds.
        by: i64,
    },
    /// The last run was later than now.
    #[error("nothing is destroyed: the last run was later than now, so a clock has been set back. Set it right.")]
    Back,
}

impl Error {
    /// The clocks are to blame, and people must look.
    #[must_use]
    pub fn is_hold(&self) -> bool {
        matches!(self, Self::Disagree { .. } | Self::Jumped { .. } | Self::Back)
    }
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// When.
    pub at: Timestamp,
    /// Keys that were destroyed.
    pub keys: i64,
    /// Partitions that were dropped.
    pub partitions: usize,
    /// Entries that were erased one by one.
    pub entries: i64,
    /// Messages that were ended since their key had to go.
    pub messages: i64,
    /// Messages that still wait although their key must go tomorrow: in a flight that nobody has ended.
    pub waiting: i64,
    /// Messages that wait, scheduled or held, under keys that would be gone as their log is, were it not for them.
    pub waiting_kept: i64,
    /// Accounts that were erased.
    pub accounts: usize,
    /// Turns of the day that were missed until now.
    pub caught_up: i32,
    /// How long the keyring's write-ahead log goes back.
    pub wal: WalWindow,
}

/// Brings about the end of what is kept.
pub struct Expiry {
    pool: PgPool,
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    /// By how much `clock` is ahead of the servers' by design: not at all, but in tests, where days pass quickly.
    ahead: SignedDuration,
    /// When it was last looked at the clock, by the clock and by one that nobody can set.
    looked: Option<(Timestamp, Instant)>,
    /// By how many seconds the clock has jumped.
    jumped: Option<i64>,
}

impl Expiry {
    /// One that has not looked at any clock yet.
    #[must_use]
    pub fn new(pool: PgPool, keyring: Arc<Keyring>, clock: Arc<dyn Clock>) -> Self {
        Self { pool, keyring, clock, ahead: SignedDuration::ZERO, looked: None, jumped: None }
    }

    /// The same beside servers whose clocks are behind by design.
    #[must_use]
    pub fn ahead(self, ahead: SignedDuration) -> Self {
        Self { ahead, ..self }
    }

    /// Has everything gone that must be gone now, whatever days and hours were missed.
    ///
    /// # Errors
    /// When a clock cannot be trusted: then nothing was destroyed. When a database does not answer: then what could be done
    /// was done, and the next run goes on.
    pub async fn run(&mut self) -> Result<Run, Error> {
        // What a restore has brought back goes by no clock.
        if !restored::look(&self.pool, &self.keyring).await?.erased_again {
            let (keys, rows) = restored::erase_again(&self.pool, &self.keyring).await?;
            tracing::info!(keys, rows, "what a restore has brought back is erased again");
        }
        let now = self.clock.now();
        self.look(now)?;
        let servers = [("data instance", store::clock(&self.pool).await?), ("keyring", self.keyring.clock().await?)];
        for (server, time) in servers {
            agree(server, now, time.saturating_add(self.ahead).unwrap_or(time))?;
        }
        if !store::begins(&self.pool, now).await? {
            return Err(Error::Back);
        }
        let today = copenhagen_day(now);
        // Before its key goes, while the entry in the log can still be read.
        let messages = store::expire_queue(&self.pool, today).await?;
        self.note(What::Messages, "queue", today, messages).await?;
        let waiting = store::waiting_late(&self.pool, today).await?;
        let waiting_kept = self.destroy_outlived(today).await?;
        let mut keys = self.destroy_keys(now, today).await?;
        let copies = self.cut_mail(now, today).await?;
        keys += copies.0;
        let accounts = self.erase_accounts(today).await?;
        // With what was destroyed until now in the log before it.
        self.keyring.mark_log().await?;
        let dropped = self.drop_partitions(now, today).await;
        let entries = store::purge(&self.pool, today).await?;
        self.note(What::Entries, "log", today, entries).await?;
        // No number, no text: of no account to the journal, as other working data.
        store::purge_jobs(&self.pool, now).await?;
        // A day that others are at work on goes by the next run.
        let partitions = dropped?;
        restored::mark(&self.pool, &self.keyring).await?;
        let wal = self.keyring.wal_window().await?;
        let caught_up = store::done(&self.pool, now).await?;
        let (entries, messages) = (entries.items + copies.1, messages.items);
        Ok(Run { at: now, keys, partitions, entries, messages, waiting, waiting_kept, accounts, caught_up, wal })
    }

    fn look(&mut self, now: Timestamp) -> Result<(), Error> {
        let present = Instant::now();
        if let Some((then, since)) = self.looked.replace((now, present)) {
            let passed = SignedDuration::try_from(present.duration_since(since)).unwrap_or(SignedDuration::MAX);
            let jump = now.duration_since(then) - passed;
            if jump.abs() > TOLERANCE {
                self.jumped = Some(jump.as_secs());
            }
        }
        self.jumped.map_or(Ok(()), |by| Err(Error::Jumped { by }))
    }

    /// Keys that were made for a longer log than is kept now, as soon as nothing is kept that they open: of the queue's those that no
    /// message waits under. How many messages keep theirs. What went is noted with what is due by its date.
    async fn destroy_outlived(&self, today: Date) -> Result<i64, Error> {
        let outlived = self.keyring.outlived(&store::all_kept(&self.pool).await?, today).await?;
        let (queue, mut destroyed): (Vec<_>, Vec<_>) =
            outlived.into_iter().partition(|key| key.class == Class::Queue.as_str());
        let names: Vec<_> = queue.iter().map(|key| (key.tenant, &*key.name)).collect();
        let waiting = store::waiting_under(&self.pool, &names).await?;
        destroyed.extend(queue.into_iter().zip(&waiting).filter(|(_, waiting)| **waiting == 0).map(|(key, _)| key));
        self.keyring.destroy_outlived(&destroyed).await?;
        Ok(waiting.iter().sum())
    }

    async fn destroy_keys(&self, now: Timestamp, today: Date) -> Result<i64, Error> {
        self.keyring.destroy_hours(now).await?;
        let mut all = 0;
        for destroyed in self.keyring.destroy(today).await? {
            let gone = Gone { items: destroyed.keys, tenants: destroyed.tenants };
            self.note(What::Keys, &destroyed.class, destroyed.gone_on, gone).await?;
            self.keyring.noted(&destroyed).await?;
            all += destroyed.keys;
        }
        Ok(all)
    }

    /// Copies of mail that a shorter policy cuts. How many keys and rows.
    async fn cut_mail(&self, now: Timestamp, today: Date) -> Result<(i64, i64), Error> {
        let (keys, rows) = shortened::mail::cut(&self.pool, &self.keyring, now).await?;
        self.note(What::Keys, "mail", today, keys).await?;
        self.note(What::Entries, "mail", today, rows).await?;
        Ok((keys.items, rows.items))
    }

    /// Their keys first: what is left by a crash in between can be read by nobody.
    async fn erase_accounts(&self, today: Date) -> Result<usize, Error> {
        let accounts = store::erasable(&self.pool, today).await?;
        for account in &accounts {
            let keys = self.keyring.forget(*account).await?;
            if let Some(rows) = store::erase_account(&self.pool, *account, today).await? {
                let gone = Gone { items: keys + rows, tenants: 1 };
                journal::append(&self.pool, What::Account, "account", today, gone).await?;
            }
        }
        Ok(accounts.len())
    }

    async fn drop_partitions(&self, now: Timestamp, today: Date) -> Result<usize, Error> {
        let living = self.keyring.first_living_day().await?.unwrap_or(today);
        let mut days = store::expirable(&self.pool, living, today).await?;
        days.extend(store::expirable_whole(&self.pool, now, today).await?);
        let (mut dropped, mut failed) = (0, None);
        for day in &days {
            match self.drop_day(day).await {
                Ok(()) => dropped += 1,
                // Who is at work on one day keeps no other.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(dropped), Err)
    }

    async fn drop_day(&self, day: &store::Day) -> Result<(), Error> {
        store::detach_day(&self.pool, day).await?;
        let items = store::drop_day(&self.pool, day).await?;
        Ok(journal::append(&self.pool, What::Partition, &day.parent, day.day, Gone { items, tenants: 0 }).await?)
    }

    async fn note(&self, what: What, class: &str, due: Date, gone: Gone) -> Result<(), Error> {
        if gone.items > 0 {
            journal::append(&self.pool, what, class, due, gone).await?;
        }
        Ok(())
    }
}

fn agree(server: &'static str, ours: Timestamp, theirs: Timestamp) -> Result<(), Error> {
    let by = theirs.duration_since(ours);
    if by.abs() > TOLERANCE { Err(Error::Disagree { server, by: by.as_secs() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_disagree_are_named() {
        let now: Timestamp = "2026-03-29T00:59:59Z".parse().expect("a timestamp");
        let at = |seconds| now.saturating_add(SignedDuration::from_secs(seconds)).expect("near");
        assert!(agree("keyring", now, at(120)).is_ok() && agree("keyring", now, at(-120)).is_ok());
        let error = agree("keyring", now, at(-3_600)).expect_err("an hour apart");
        assert!(error.is_hold());
        assert_eq!(
            error.to_string(),
            "nothing is destroyed while clocks disagree: the keyring's differs from this machine's by -3600 s. Set them right."
        );
    }
}
