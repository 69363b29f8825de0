//! What every reconciliation needs.
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use sqlx::PgPool;
use tokio::sync::{Notify, Semaphore, watch};
use url::Url;

use super::backoff::Backoff;
use super::expiry::Last;
use super::idle::Work;
use super::metrics::Metrics;
use super::told::Told;
use super::{Args, Error};
use crate::domain::{Clock, Secret};
use crate::keyring::Keyring;
use crate::pki::Authority;

/// What every reconciliation needs.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) pool: PgPool,
    pub(super) keyring: Arc<Keyring>,
    /// See [`Args::wrapping_key_days`].
    pub(super) wrapping_key_days: u32,
    /// How the last run of retention went.
    pub(super) retention: watch::Sender<Last>,
    /// Since when sending is closed, because a database was restored.
    pub(super) closed_since: watch::Sender<Option<Timestamp>>,
    /// Who has something to send.
    pub(super) work: Work,
    /// What must be gone is looked at now.
    pub(super) expire_now: Notify,
    pub(super) authority: Authority,
    pub(super) database: DataInstance,
    pub(super) workloads: Workloads,
    pub(super) embedded: Embedded,
    pub(super) metrics: Metrics,
    pub(super) recorder: Recorder,
    pub(super) backoff: Backoff,
    pub(super) told: Told,
    pub(super) clock: Arc<dyn Clock>,
    /// Bounds the reconciliations of all namespaces together.
    pub(super) permits: Semaphore,
}

/// What senders and connectors run on.
#[derive(Debug, Clone)]
pub(super) struct Workloads {
    pub(super) image: String,
    pub(super) pull_policy: String,
    pub(super) pull_secrets: Vec<String>,
    pub(super) network_policies: bool,
    pub(super) log: String,
}

/// Which instances came with the chart.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Embedded {
    pub(super) data: bool,
    pub(super) keyring: bool,
    /// Whether backups are taken of them.
    pub(super) backups: bool,
}

/// How pods reach the data instance.
pub(super) struct DataInstance {
    url: Url,
    pub(super) ca: String,
}

impl DataInstance {
    /// The operator's own address, to be given other logins, and the authority beside it.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let read =
            |path: &Path| std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source });
        let url = Url::parse(read(path)?.trim()).map_err(|_| Error::DatabaseUrl)?;
        let authority = path.with_file_name("ca.crt");
        let ca = if authority.exists() { read(&authority)? } else { String::new() };
        Ok(Self { url, ca })
    }

    /// The address with another login.
    pub(super) fn url(&self, login: &str, password: &Secret) -> Secret {
        let mut url = self.url.clone();
        // Both can only fail on addresses without a host, which the operator could not have used itself.
        let _ = url.set_username(login);
        let _ = url.set_password(Some(password.expose()));
        Secret::new(url)
    }

    /// The password in an address that [`DataInstance::url`] made for this login.
    pub(super) fn password(url: &str, login: &str) -> Option<Secret> {
        let url = Url::parse(url).ok()?;
        (url.username() == login).then(|| url.password().map(Secret::new)).flatten()
    }

    /// Its port, for network policies.
    pub(super) fn port(&self) -> u16 {
        self.url.port().unwrap_or(5432)
    }
}

impl Workloads {
    pub(super) fn of(args: &Args) -> Self {
        Self {
            image: args.image.clone(),
            pull_policy: args.image_pull_policy.clone(),
            pull_secrets: args.image_pull_secrets.iter().filter(|name| !name.is_empty()).cloned().collect(),
            network_policies: args.network_policies,
            log: args.workload_log.clone(),
        }
    }
}

/// Events are told in the name of this pod.
pub(super) fn recorder(client: Client, args: &Args) -> Recorder {
    Recorder::new(client, Reporter { controller: "budstikke-operator".to_owned(), instance: Some(args.pod.clone()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_address_is_the_operators_with_another_login() {
        let url = Url::parse("postgres://budstikke_operator:a@db.sms.svc:5432/budstikke?sslmode=verify-full");
        let instance = DataInstance { url: url.expect("a URL"), ca: String::new() };
        let made = instance.url("bst_7", &Secret::new("pass-word_1"));
        assert_eq!(made.expose(), "postgres://bst_7:pass-word_1@db.sms.svc:5432/budstikke?sslmode=verify-full");
        assert_eq!(DataInstance::password(made.expose(), "bst_7"), Some(Secret::new("pass-word_1")));
        assert_eq!(DataInstance::password(made.expose(), "bst_8"), None, "another account's password is not taken up");
    }
}
