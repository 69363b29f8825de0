//! Whether the database can be reached, and who listens to it. While it is away it turns some off at once, and others try to connect for
//! as long as a pool lets them; whoever listened is cut off, and does not hear what is said meanwhile.
use std::time::Duration;

use rand::RngExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::{Database, Ill};
use crate::domain::TenantId;
use crate::store::shares::Notice;

/// How long a pool lets somebody try to connect, as [`crate::store::connect`] does.
const PATIENCE: Duration = Duration::from_secs(5);
/// What sqlx leaves between two of these tries, at most.
const BETWEEN: Duration = Duration::from_secs(1);
/// Who is turned off at once hears so within this time.
const AT_ONCE: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub(super) struct Reach {
    away_until: Instant,
    listeners: Vec<mpsc::UnboundedSender<Notice>>,
}

impl Reach {
    pub(super) fn new() -> Self {
        Self { away_until: Instant::now(), listeners: Vec::new() }
    }
}

/// A connection that listens.
#[derive(Debug)]
pub(crate) struct Listener {
    database: Database,
    notices: mpsc::UnboundedReceiver<Notice>,
}

impl Database {
    /// Answers nobody for so long.
    pub(crate) fn go_away(&self, time: Duration) {
        let mut state = self.state();
        state.reach.away_until = Instant::now() + time;
        state.reach.listeners.clear();
    }

    pub(super) fn is_away(&self) -> bool {
        Instant::now() < self.state().reach.away_until
    }

    /// Connects, where it can be reached.
    pub(super) async fn reach(&self) -> Result<(), Ill> {
        let (wait, connects) = {
            let mut state = self.state();
            let away = state.reach.away_until.saturating_duration_since(Instant::now());
            if away.is_zero() {
                return Ok(());
            }
            if state.chance.random_ratio(1, 2) {
                (state.chance.random_range(Duration::ZERO..=AT_ONCE), false)
            } else {
                let back = away + state.chance.random_range(Duration::ZERO..=BETWEEN);
                (back.min(PATIENCE), back <= PATIENCE)
            }
        };
        sleep(wait).await;
        if connects { Ok(()) } else { Err(Ill) }
    }

    /// Tells whoever listens that a tenant has something new.
    pub(crate) fn wake(&self, tenant: TenantId) {
        self.state().reach.listeners.retain(|listener| listener.send(Notice::Wake(vec![tenant])).is_ok());
    }

    /// Begins to listen.
    pub(crate) async fn listen(&self) -> Result<Listener, Ill> {
        let (listener, notices) = mpsc::unbounded_channel();
        self.call(|state| state.reach.listeners.push(listener)).await?;
        Ok(Listener { database: self.clone(), notices })
    }
}

impl Listener {
    /// What is heard next, unless the connection is lost.
    pub(crate) async fn next(&mut self) -> Result<Notice, Ill> {
        self.notices.recv().await.ok_or(Ill)
    }

    /// Asks for a sign of life.
    pub(crate) async fn check(&mut self) -> Result<(), Ill> {
        self.database.call(|_| ()).await
    }
}
