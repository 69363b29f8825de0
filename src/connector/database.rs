//! What [`super::follow::Follow`] asks of the database, and nothing else: so that a simulation can answer in PostgreSQL's place.
use sqlx::PgPool;

use crate::store::shares::{self, Error, InboundNumber, Listener, Notice, OptOutRule, Share};

/// See the module.
pub(super) trait Database: Send + Sync + 'static {
    /// What hears its notifications.
    type Ear: Ear;

    /// See [`shares::read`].
    fn shares(&self) -> impl Future<Output = Result<Vec<Share>, Error>> + Send;

    /// See [`shares::opt_outs`].
    fn opt_outs(&self) -> impl Future<Output = Result<Vec<OptOutRule>, Error>> + Send;

    /// See [`shares::numbers`].
    fn numbers(&self) -> impl Future<Output = Result<Vec<InboundNumber>, Error>> + Send;

    /// See [`Listener::open`].
    fn listen(&self) -> impl Future<Output = Result<Self::Ear, Error>> + Send;
}

/// Hears notifications.
pub(super) trait Ear: Send {
    /// See [`Listener::next`].
    fn next(&mut self) -> impl Future<Output = Result<Notice, Error>> + Send;

    /// See [`Listener::check`].
    fn check(&mut self) -> impl Future<Output = Result<(), Error>> + Send;
}

impl Database for PgPool {
    type Ear = Listener;

    async fn shares(&self) -> Result<Vec<Share>, Error> {
        shares::read(self).await
    }

    async fn opt_outs(&self) -> Result<Vec<OptOutRule>, Error> {
        shares::opt_outs(self).await
    }

    async fn numbers(&self) -> Result<Vec<InboundNumber>, Error> {
        shares::numbers(self).await
    }

    async fn listen(&self) -> Result<Listener, Error> {
        Listener::open(self).await
    }
}

impl Ear for Listener {
    async fn next(&mut self) -> Result<Notice, Error> {
        Self::next(self).await
    }

    async fn check(&mut self) -> Result<(), Error> {
        Self::check(self).await
    }
}
