//! The keys of every tenant, in a PostgreSQL instance of its own: a key that is destroyed there is gone from every copy
//! of the data, backups included (D2, D3).
//!
//! A key-encryption key, which no database holds, wraps one wrapping key per tenant; that wraps the tenant's keys. Keys
//! exist, and are on another machine, days before their first use: the operator makes them ([`Keyring::provide`]), everyone
//! else only looks them up. What the keys do is in [`seal`], which the sender uses without a keyring; how the keys around
//! them change is in `rotation`.
mod cache;
mod destruction;
mod hours;
mod kek;
mod making;
pub mod marks;
pub mod received;
mod rotation;
mod safety;
pub mod seal;
mod sql;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::civil::Date;
use sqlx::PgPool;

use self::cache::Cache;
use self::kek::{Owner, Wrapped};
use self::making::{ATTEMPTS, fresh};
use self::seal::{AccountKey, KEY_BYTES, KeyBytes, LogKey, MailKey, PrivateKey, QueueKey, RepeatKey, WrappingKey};
use crate::domain::{Hour, TenantId};
use crate::store::{self, Dsn, asking};

pub use self::destruction::{Destroyed, Outlived, WalWindow};
pub use self::hours::HOURS_AHEAD;
pub use self::kek::{GRACE_SECONDS, Kek, KekArgs, KekError, TransitArgs, TransitError, WrapError};
pub use self::rotation::Rewrapped;

/// What a key is for. Classes never open each other's ciphertexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The full text of messages not yet final, by day of accept; the only class a tenant's sender has.
    Queue,
    /// What is kept for history, by day of accept.
    Log,
    /// A key pair by day: connectors seal what they receive to its public half.
    Inbound,
    /// Copies of mail for debugging, by hour.
    Mail,
    /// Recognises repeated calls; lives as long as the account.
    Repeat,
    /// What the tenant itself has set, such as addresses and secrets of its webhooks; lives as long as the account.
    Account,
}

impl Class {
    /// As the keyring stores it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Log => "log",
            Self::Inbound => "inbound",
            Self::Mail => "mail",
            Self::Repeat => "repeat",
            Self::Account => "account",
        }
    }

    /// The class of this name.
    fn named(name: &str) -> Option<Self> {
        [Self::Repeat, Self::Account, Self::Mail]
            .into_iter()
            .find(|class| class.as_str() == name)
            .or_else(|| Self::of(name))
    }

    /// The class of this name, of those that have a key for each day.
    fn of(name: &str) -> Option<Self> {
        [Self::Queue, Self::Log, Self::Inbound].into_iter().find(|class| class.as_str() == name)
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The keyring was not asked or did not answer.
    #[error("look up a key: {0}")]
    LookUp(#[source] sqlx::Error),
    /// New keys could not be stored; none is.
    #[error("store new keys: {0}")]
    Store(#[source] sqlx::Error),
    /// Keys that must be gone are not.
    #[error("destroy keys: {0}")]
    Destroy(#[source] sqlx::Error),
    /// The mark of how far the data has come was not kept.
    #[error("keep the data's mark: {0}")]
    Mark(#[source] sqlx::Error),
    /// It was never made, or it is destroyed. For the day's own keys this means that the operator is away for too long:
    /// nothing is accepted then.
    #[error("tenant {tenant} has no {} key for this", class.as_str())]
    KeyMissing {
        /// Whose.
        tenant: TenantId,
        /// Of which class.
        class: Class,
    },
    /// The stored key does not open: another key-encryption key, or a changed row.
    #[error("unwrap a {} key of tenant {tenant}", class.as_str())]
    Unwrap {
        /// Whose.
        tenant: TenantId,
        /// Of which class.
        class: Class,
    },
    /// It is there, and not yet on another machine: it must not be used until it is.
    #[error("the {} key of tenant {tenant} is not on the standby or in the archive yet", class.as_str())]
    NotSafe {
        /// Whose.
        tenant: TenantId,
        /// Of which class.
        class: Class,
    },
    /// The key-encryption key did not wrap or unwrap.
    #[error(transparent)]
    Kek(WrapError),
    /// Others changed the same keys again and again meanwhile.
    #[error("the keys of tenant {0} changed meanwhile: try again")]
    Changed(TenantId),
    /// The machine gave no random bytes, or refused a key.
    #[error("make a key")]
    Make,
}

/// A public key that connectors seal a day's inbound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicDay {
    /// The one day it is used on, in Copenhagen.
    pub day: Date,
    /// Its name: goes with every ciphertext.
    pub name: String,
    /// X25519.
    pub key: [u8; KEY_BYTES],
}

/// A pool on the keyring instance; see [`store::connect`].
#[must_use]
pub fn connect(dsn: &Dsn, max_connections: u32, application_name: &str) -> PgPool {
    store::pool(max_connections, dsn.options("keyring", application_name))
}

/// The way to the keys. Keeps a bounded number of unwrapped keys for a bounded time, so that a destroyed one is soon out
/// of memory too.
#[derive(Debug)]
pub struct Keyring {
    pool: PgPool,
    kek: Kek,
    /// Each with what it was unwrapped from: used only as long as that is what is stored.
    wrapping: Cache<TenantId, (Wrapped, WrappingKey)>,
    repeat: Cache<TenantId, RepeatKey>,
    account: Cache<TenantId, AccountKey>,
    queue_by_day: Cache<(TenantId, Date), QueueKey>,
    log_by_day: Cache<(TenantId, Date), LogKey>,
    mail_by_hour: Cache<(TenantId, Hour), MailKey>,
    log_of_days: Cache<(TenantId, Date), Vec<(Date, LogKey)>>,
    named: Cache<(TenantId, String), Named>,
}

/// Tenants whose log keys of all days are kept at once, for searches: some 100 KiB each.
const SEARCHERS: usize = 64;

/// A key that was asked for by its name.
#[derive(Debug)]
enum Named {
    Queue(Arc<QueueKey>),
    Log(Arc<LogKey>),
    Inbound(Arc<PrivateKey>),
    Mail(Arc<MailKey>),
}

impl Keyring {
    /// Keys of `pool`'s database, unwrapped with `kek`. Asks nothing yet.
    #[must_use]
    pub fn open(pool: PgPool, kek: Kek) -> Self {
        let keep = if kek.asks() { cache::KEEP_ASKED } else { cache::KEEP };
        Self {
            pool,
            kek,
            wrapping: Cache::new(keep, cache::MOST),
            repeat: Cache::default(),
            account: Cache::default(),
            queue_by_day: Cache::default(),
            log_by_day: Cache::default(),
            mail_by_hour: Cache::default(),
            log_of_days: Cache::new(cache::KEEP, SEARCHERS),
            named: Cache::default(),
        }
    }

    /// Whether keys can be looked up now: the instance answers, and its schema is there.
    pub async fn answers(&self) -> bool {
        sql::answers(asking(&self.pool)).await.is_ok()
    }

    /// The key that repeated calls are recognised with.
    ///
    /// # Errors
    /// [`Error::KeyMissing`] before the operator made it; else when the keyring does not answer.
    pub async fn repeat_key(&self, tenant: TenantId) -> Result<Arc<RepeatKey>, Error> {
        if let Some(key) = self.repeat.get(&tenant) {
            return Ok(key);
        }
        let class = Class::Repeat;
        let stored = sql::lasting_of(asking(&self.pool), tenant, class).await.map_err(Error::LookUp)?;
        let (name, bytes) = self.unwrap(tenant, class, stored).await?;
        let key = RepeatKey::new(tenant, &name, &bytes).map_err(|_| Error::Unwrap { tenant, class })?;
        Ok(self.repeat.put(tenant, Arc::new(key)))
    }

    /// The key that what the tenant itself has set is sealed with.
    ///
    /// # Errors
    /// [`Error::KeyMissing`] before the operator made it; else when the keyring does not answer.
    pub async fn account_key(&self, tenant: TenantId) -> Result<Arc<AccountKey>, Error> {
        if let Some(key) = self.account.get(&tenant) {
            return Ok(key);
        }
        let class = Class::Account;
        let stored = sql::lasting_of(asking(&self.pool), tenant, class).await.map_err(Error::LookUp)?;
        let (name, bytes) = self.unwrap_safe(tenant, class, stored).await?;
        let key = AccountKey::new(tenant, &name, &bytes).map_err(|_| Error::Unwrap { tenant, class })?;
        Ok(self.account.put(tenant, Arc::new(key)))
    }

    /// The key that the full text of messages accepted on `day` is sealed with.
    ///
    /// # Errors
    /// [`Error::KeyMissing`] when the operator did not make it, [`Error::NotSafe`] while it is on one machine alone; else when
    /// the keyring does not answer.
    pub async fn queue_key(&self, tenant: TenantId, day: Date) -> Result<Arc<QueueKey>, Error> {
        if let Some(key) = self.queue_by_day.get(&(tenant, day)) {
            return Ok(key);
        }
        let class = Class::Queue;
        let stored = sql::of_day(asking(&self.pool), tenant, class, day).await.map_err(Error::LookUp)?;
        let (name, bytes) = self.unwrap_safe(tenant, class, stored).await?;
        let key = QueueKey::new(tenant, &name, bytes).map_err(|_| Error::Unwrap { tenant, class })?;
        Ok(self.queue_by_day.put((tenant, day), Arc::new(key)))
    }

    /// All queue keys that are not due to be gone by `today`, those made ahead included: what a sender is given. Newest first.
    ///
    /// # Errors
    /// When the keyring does not answer, or one does not open.
    pub async fn queue_keys(&self, tenant: TenantId, today: Date) -> Result<Vec<QueueKey>, Error> {
        let class = Class::Queue;
        let mut keys = Vec::new();
        for stored in sql::living(asking(&self.pool), tenant, class, today).await.map_err(Error::LookUp)? {
            let (name, bytes) = self.unwrap(tenant, class, Some(stored)).await?;
            keys.push(QueueKey::new(tenant, &name, bytes).map_err(|_| Error::Unwrap { tenant, class })?);
        }
        Ok(keys)
    }

    /// The key that what is kept of messages accepted on `day` is sealed with.
    ///
    /// # Errors
    /// [`Error::KeyMissing`] when the operator did not make it, [`Error::NotSafe`] while it is on one machine alone; else when
    /// the keyring does not answer.
    pub async fn log_key(&self, tenant: TenantId, day: Date) -> Result<Arc<LogKey>, Error> {
        if let Some(key) = self.log_by_day.get(&(tenant, day)) {
            return Ok(key);
        }
        let class = Class::Log;
        let stored = sql::of_day(asking(&self.pool), tenant, class, day).await.map_err(Error::LookUp)?;
        let (name, bytes) = self.unwrap_safe(tenant, class, stored).await?;
        let key = LogKey::new(tenant, &name, &bytes).map_err(|_| Error::Unwrap { tenant, class })?;
        Ok(self.log_by_day.put((tenant, day), Arc::new(key)))
    }

    /// Every log key of the days before `until` that is left, oldest first: by them a number is found over all of the log (D7).
    /// One question, and none where the same tenant has searched within a minute.
    ///
    /// # Errors
    /// When the keyring does not answer, or one does not open.
    pub async fn log_keys(&self, tenant: TenantId, until: Date) -> Result<Arc<Vec<(Date, LogKey)>>, Error> {
        if let Some(keys) = self.log_of_days.get(&(tenant, until)) {
            return Ok(keys);
        }
        let class = Class::Log;
        let mut keys = Vec::new();
        for (day, stored) in sql::before(asking(&self.pool), tenant, class, until).await.map_err(Error::LookUp)? {
            let (name, bytes) = self.unwrap(tenant, class, Some(stored)).await?;
            keys.push((day, LogKey::new(tenant, &name, &bytes).map_err(|_| Error::Unwrap { tenant, class })?));
        }
        Ok(self.log_of_days.put((tenant, until), Arc::new(keys)))
    }

    /// The queue key of this name.
    ///
    /// # Errors
    /// [`Error::KeyMissing`] once it is destroyed; else when the keyring does not answer.
    pub async fn queue_key_named(&self, tenant: TenantId, name: &str) -> Result<Arc<QueueKey>, Error> {
        let class = Class::Queue;
        match &*self.named(tenant, class, name).await? {
            Named::Queue(key) => Ok(Arc::clone(key)),
            _ => Err(Error::KeyMissing { tenant, class }),
        }
    }

    /// The log key of this name.
    ///
    /// # Errors
    /// [`Error::KeyMissing`] once it is destroyed; else when the keyring does not answer.
    pub async fn log_key_named(&self, tenant: TenantId, name: &str) -> Result<Arc<LogKey>, Error> {
        let class = Class::Log;
        match &*self.named(tenant, class, name).await? {
            Named::Log(key) => Ok(Arc::clone(key)),
            _ => Err(Error::KeyMissing { tenant, class }),
        }
    }

    /// The private half of the inbound key of this name.
    ///
    /// # Errors
    /// [`Error::KeyMissing`] once it is destroyed; else when the keyring does not answer.
    pub async fn inbound_private(&self, tenant: TenantId, name: &str) -> Result<Arc<PrivateKey>, Error> {
        let class = Class::Inbound;
        match &*self.named(tenant, class, name).await? {
            Named::Inbound(key) => Ok(Arc::clone(key)),
            _ => Err(Error::KeyMissing { tenant, class }),
        }
    }

    async fn named(&self, tenant: TenantId, class: Class, name: &str) -> Result<Arc<Named>, Error> {
        let at = (tenant, name.to_owned());
        if let Some(key) = self.named.get(&at) {
            return Ok(key);
        }
        let stored = match class {
            Class::Mail => hours::named(&self.pool, tenant, name).await,
            _ => sql::named(asking(&self.pool), tenant, class, name).await,
        };
        let stored = stored.map_err(Error::LookUp)?;
        let (name, bytes) = self.unwrap(tenant, class, stored).await?;
        let refused = |_| Error::Unwrap { tenant, class };
        let key = match class {
            Class::Queue => Named::Queue(Arc::new(QueueKey::new(tenant, &name, bytes).map_err(refused)?)),
            Class::Log => Named::Log(Arc::new(LogKey::new(tenant, &name, &bytes).map_err(refused)?)),
            Class::Inbound => Named::Inbound(Arc::new(PrivateKey::new(tenant, &name, &bytes).map_err(refused)?)),
            Class::Mail => Named::Mail(Arc::new(MailKey::new(tenant, &name, &bytes).map_err(refused)?)),
            Class::Repeat | Class::Account => return Err(Error::KeyMissing { tenant, class }),
        };
        Ok(self.named.put(at, Arc::new(key)))
    }

    async fn unwrap(
        &self,
        tenant: TenantId,
        class: Class,
        stored: Option<sql::Stored>,
    ) -> Result<(String, KeyBytes), Error> {
        let stored = stored.ok_or(Error::KeyMissing { tenant, class })?;
        let wrapping = self.wrapping_of(tenant, &stored.wrapping).await?;
        let bytes = wrapping
            .1
            .unwrap(tenant, class, &stored.name, &stored.wrapped)
            .map_err(|_| Error::Unwrap { tenant, class })?;
        Ok((stored.name, bytes))
    }

    /// As [`Keyring::unwrap`], a key that something is about to be sealed with: it must be safe.
    async fn unwrap_safe(
        &self,
        tenant: TenantId,
        class: Class,
        stored: Option<sql::Stored>,
    ) -> Result<(String, KeyBytes), Error> {
        if stored.as_ref().is_some_and(|stored| !stored.safe) {
            return Err(Error::NotSafe { tenant, class });
        }
        self.unwrap(tenant, class, stored).await
    }

    /// Unwraps the tenant's wrapping key, unless it was unwrapped from the very same a short while ago. What is stored is
    /// always read together with the keys under it, so a rotation at the same time is never seen by half.
    async fn wrapping_of(&self, tenant: TenantId, stored: &Wrapped) -> Result<Arc<(Wrapped, WrappingKey)>, Error> {
        if let Some(known) = self.wrapping.get(&tenant)
            && known.0 == *stored
        {
            return Ok(known);
        }
        let turn = self.kek.turn(stored).await;
        if turn.is_some()
            && let Some(known) = self.wrapping.get(&tenant)
            && known.0 == *stored
        {
            return Ok(known);
        }
        let bytes = self.kek.unwrap(Owner::Tenant(tenant), stored).await.map_err(Error::Kek)?;
        let key = WrappingKey::new(&bytes).map_err(|_| Error::Make)?;
        Ok(self.wrapping.put(tenant, Arc::new((stored.clone(), key))))
    }
}
