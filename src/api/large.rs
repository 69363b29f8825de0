//! Large reads: copies of everything, statistics, searches. Each may hold a connection to the database for a while, so together they
//! get no more than leaves room for what accepts messages and looks one up. Over that a caller is told to come again.
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;
use crate::domain::TenantId;

/// How long a statistic or search waits for its turn: most take a few milliseconds.
const TURN: Duration = Duration::from_secs(1);

/// What is at work.
#[derive(Debug)]
pub struct Large {
    places: Arc<Semaphore>,
    copies_at_once: usize,
    copies: Arc<Mutex<HashSet<TenantId>>>,
}

/// The place of a large read, until this is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// The place of a copy that is being made, until this is dropped.
#[derive(Debug)]
pub struct CopyPlace {
    _place: Place,
    copies: Arc<Mutex<HashSet<TenantId>>>,
    tenant: TenantId,
}

impl Large {
    /// At most so many at once; half of them copies, which take long.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        let copies_at_once = (at_once / 2).max(1);
        Self { places: Arc::new(Semaphore::new(at_once)), copies_at_once, copies: Arc::default() }
    }

    /// A place for a statistic or a search.
    ///
    /// # Errors
    /// When none is free for a second.
    pub async fn begin(&self) -> Result<Place, Problem> {
        match tokio::time::timeout(TURN, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place { _permit: permit }),
            _ => Err(Problem::ManyLargeReads),
        }
    }

    /// A place for a copy of this tenant's data: one at a time for each.
    ///
    /// # Errors
    /// When one is being made for it, for as many as may be at once, or no place is free.
    pub fn begin_copy(&self, tenant: TenantId) -> Result<CopyPlace, Problem> {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        if copies.contains(&tenant) {
            return Err(Problem::CopyUnderWay);
        }
        if copies.len() >= self.copies_at_once {
            return Err(Problem::ManyLargeReads);
        }
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Problem::ManyLargeReads)?;
        copies.insert(tenant);
        Ok(CopyPlace { _place: Place { _permit: permit }, copies: Arc::clone(&self.copies), tenant })
    }
}

impl Drop for CopyPlace {
    fn drop(&mut self) {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_copy_at_a_time_for_a_tenant_and_a_few_in_all() {
        let large = Large::new(4);
        let one = large.begin_copy(TenantId(1)).expect("the first");
        assert!(matches!(large.begin_copy(TenantId(1)), Err(Problem::CopyUnderWay)));
        let _two = large.begin_copy(TenantId(2)).expect("another tenant's");
        assert!(matches!(large.begin_copy(TenantId(3)), Err(Problem::ManyLargeReads)));
        drop(one);
        assert!(large.begin_copy(TenantId(1)).is_ok());
    }

    #[tokio::test]
    async fn searches_find_a_place_beside_copies_or_are_told_to_come_again() {
        let large = Large::new(2);
        let _copy = large.begin_copy(TenantId(1)).expect("a copy");
        let search = large.begin().await.expect("the other half is for the others");
        assert!(matches!(large.begin().await, Err(Problem::ManyLargeReads)));
        drop(search);
        assert!(large.begin().await.is_ok());
    }
}
