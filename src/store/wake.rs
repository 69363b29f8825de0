//! Tells the connectors, and through them the senders, that messages wait: after the commit, never in it (a NOTIFY
//! inside takes a lock that all commits of the server share), and at most twenty times a second a process, however many
//! messages are accepted. A wake-up that is lost costs a sender its next slow look, nothing more.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Notify;

use crate::domain::TenantId;
use crate::store::asking::asking;

/// The channel that connectors listen on; the payload is tenant ids, separated by commas.
pub const CHANNEL: &str = "budstikke_wake";
/// Tenants in one notification: the payload may have 8,000 bytes.
const TENANTS: usize = 100;
/// Between two rounds of notifications.
const INTERVAL: Duration = Duration::from_millis(50);

/// Collects tenants to wake. Cheap to clone; stops with its last clone.
#[derive(Debug, Clone)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    tenants: std::sync::Mutex<BTreeSet<TenantId>>,
    some: Notify,
}

impl Shared {
    fn add(&self, tenants: impl IntoIterator<Item = TenantId>) {
        self.tenants.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(tenants);
    }

    fn take(&self) -> Vec<i64> {
        let tenants = std::mem::take(&mut *self.tenants.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        tenants.into_iter().map(|tenant| tenant.0).collect()
    }
}

impl Waker {
    /// Starts notifying through `pool`.
    #[must_use]
    pub fn start(pool: &PgPool) -> Self {
        let shared = Arc::new(Shared::default());
        tokio::spawn(run(pool.clone(), Arc::downgrade(&shared)));
        Self { shared }
    }

    /// Has the tenant's senders woken soon: within 50 ms, and at once after a quiet time.
    pub fn wake(&self, tenant: TenantId) {
        self.shared.add([tenant]);
        self.shared.some.notify_one();
    }
}

async fn run(pool: PgPool, shared: std::sync::Weak<Shared>) {
    let mut failing = false;
    while let Some(shared) = shared.upgrade() {
        // The time-out lets the last clone go.
        if tokio::time::timeout(Duration::from_secs(1), shared.some.notified()).await.is_err() {
            continue;
        }
        let tenants = shared.take();
        match notify(&pool, &tenants).await {
            Ok(()) => failing = false,
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "senders cannot be woken; they look for themselves");
                }
                failing = true;
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn notify(pool: &PgPool, tenants: &[i64]) -> sqlx::Result<()> {
    let payloads: Vec<String> =
        tenants.chunks(TENANTS).map(|chunk| chunk.iter().map(i64::to_string).collect::<Vec<_>>().join(",")).collect();
    sqlx::query!("select pg_notify($1, payload) from unnest($2::text[]) as payload", CHANNEL, &payloads)
        .execute(asking(pool))
        .await?;
    Ok(())
}
