//! What the operator makes: the keys of a tenant, days before their first use, and those of routes.
use std::sync::Arc;

use aws_lc_rs::rand;
use jiff::civil::Date;
use zeroize::Zeroizing;

use super::kek::{Owner, Wrapped};
use super::seal::{KEY_BYTES, KeyBytes, WrappingKey};
use super::{Error, Keyring, PublicDay, sql};
use crate::domain::{RouteId, TenantId};

/// How often keys that others change at the same time are tried.
pub(super) const ATTEMPTS: u32 = 5;

/// 32 random bytes.
pub(super) fn fresh() -> Result<KeyBytes, Error> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    rand::fill(&mut *bytes).map_err(|_| Error::Make)?;
    Ok(bytes)
}

impl Keyring {
    /// Makes what is missing of a tenant's keys: one that recognises repeated calls, one for what the tenant itself sets, and for each day from `from`, which is
    /// today, to `to` (both included) a queue key, and a log key and an inbound key pair that must be gone `log_days` after
    /// their day; without `log_days` no log key, and none is left of later days. Idempotent; two at once make one key. Today's keys
    /// keep the date they were made with; those of later days are made anew where `log_days` has changed. Returns the public keys
    /// of these days that are safe to use.
    ///
    /// # Errors
    /// When the keyring does not answer or a key cannot be made; what was committed before is kept.
    pub async fn provide(
        &self,
        tenant: TenantId,
        from: Date,
        to: Date,
        log_days: u32,
    ) -> Result<Vec<PublicDay>, Error> {
        let days: Vec<Date> = from.series(jiff::Span::new().days(1)).take_while(|day| *day <= to).collect();
        let present = sql::present(&self.pool, tenant, from, to).await.map_err(Error::LookUp)?;
        if !present.unmade_lasting().is_empty()
            || !present.missing(&days, log_days).is_empty()
            || !present.surplus(&days, log_days).is_empty()
        {
            self.make_missing(tenant, &days, log_days).await?;
        }
        sql::public_days(&self.pool, tenant, from, to).await.map_err(Error::LookUp)
    }

    /// Under the tenant's lock, so that a second creator finds what the first one made.
    async fn make_missing(&self, tenant: TenantId, days: &[Date], log_days: u32) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let (stored, wrapping) = self.ensure_wrapping(tenant).await?;
            if self.make_under(tenant, days, log_days, &stored, &wrapping.1).await? {
                return Ok(());
            }
        }
        Err(Error::Changed(tenant))
    }

    /// The tenant's wrapping key; made where it is absent. Outside of any transaction: unwrapping may take a while.
    async fn ensure_wrapping(&self, tenant: TenantId) -> Result<(Wrapped, Arc<(Wrapped, WrappingKey)>), Error> {
        let stored = match sql::wrapping(&self.pool, tenant).await.map_err(Error::LookUp)? {
            Some(stored) => stored,
            None => {
                let wrapped = self.kek.wrap(Owner::Tenant(tenant), &fresh()?).await.map_err(Error::Kek)?;
                sql::insert_wrapping(&self.pool, tenant, &wrapped).await.map_err(Error::Store)?
            }
        };
        let wrapping = self.wrapping_of(tenant, &stored).await?;
        Ok((stored, wrapping))
    }

    /// False where the wrapping key is another one by now.
    async fn make_under(
        &self,
        tenant: TenantId,
        days: &[Date],
        log_days: u32,
        stored: &Wrapped,
        wrapping: &WrappingKey,
    ) -> Result<bool, Error> {
        let (Some(first), Some(last)) = (days.first(), days.last()) else { return Ok(true) };
        let mut transaction = self.pool.begin().await.map_err(Error::Store)?;
        sql::lock(&mut transaction, tenant).await.map_err(Error::Store)?;
        if sql::wrapping(&mut *transaction, tenant).await.map_err(Error::LookUp)?.as_ref() != Some(stored) {
            return Ok(false);
        }
        let after = sql::made(&mut transaction, tenant).await.map_err(Error::Store)?;
        let present = sql::present(&mut *transaction, tenant, *first, *last).await.map_err(Error::LookUp)?;
        let mut made = Vec::new();
        for class in present.unmade_lasting() {
            let (name, wrapped) = sql::lasting(tenant, class, wrapping)?;
            sql::insert_lasting(&mut transaction, tenant, class, name, &wrapped).await.map_err(Error::Store)?;
        }
        let missing = present.missing(days, log_days);
        for key in &missing {
            made.push(sql::NewKey::make(tenant, key, wrapping, after)?);
        }
        let replaced = missing.iter().filter(|key| key.replaces).map(|key| (key.class, key.day));
        let unused: Vec<_> = replaced.chain(present.surplus(days, log_days)).collect();
        sql::withdraw(&mut transaction, tenant, &unused).await.map_err(Error::Store)?;
        sql::insert(&mut transaction, tenant, &made).await.map_err(Error::Store)?;
        transaction.commit().await.map_err(Error::Store)?;
        Ok(true)
    }

    /// The key of a route, made at the first call; whoever comes second takes what the first one made. It stays the same
    /// whatever is rotated around it: what it marked lives for days.
    ///
    /// # Errors
    /// When the keyring or the key-encryption key does not answer.
    pub async fn route_key(&self, route: RouteId) -> Result<KeyBytes, Error> {
        let owner = Owner::Route(route);
        let stored = match sql::route_key(&self.pool, route).await.map_err(Error::LookUp)? {
            Some(stored) => stored,
            None => {
                let wrapped = self.kek.wrap(owner, &fresh()?).await.map_err(Error::Kek)?;
                sql::insert_route_key(&self.pool, route, &wrapped).await.map_err(Error::Store)?
            }
        };
        self.kek.unwrap(owner, &stored).await.map_err(Error::Kek)
    }
}
