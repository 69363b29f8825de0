//! Exchanges wrapping keys at once, by hand: after the old ones may have been seen.
use std::path::PathBuf;

use super::Error;
use crate::domain::TenantId;
use crate::keyring::{self, KekArgs};
use crate::store::{self, Dsn, accounts};

/// Whose, and with what.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One tenant: NAMESPACE/NAME.
    #[arg(long, required_unless_present = "all", conflicts_with = "all")]
    pub tenant: Option<String>,
    /// Every tenant.
    #[arg(long)]
    pub all: bool,
    /// What bootstrap handed out.
    #[arg(long, env = "BUDSTIKKE_OUT", default_value = "/etc/budstikke")]
    pub files: PathBuf,
    /// Where the key-encryption key is, as for the operator.
    #[command(flatten)]
    pub kek: KekArgs,
}

/// Why not all were exchanged.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The operator's own files.
    #[error(transparent)]
    Open(Error),
    /// The account could not be looked up.
    #[error(transparent)]
    Account(accounts::Error),
    /// There is no such account.
    #[error("no tenant {0} has keys: want NAMESPACE/NAME of a Tenant")]
    NoTenant(String),
    /// The keyring.
    #[error("{done} wrapping keys are exchanged, then: {source}")]
    Keyring {
        /// How many were.
        done: usize,
        /// Why no more.
        source: keyring::Error,
    },
}

/// Exchanges them, one after another; says how many.
///
/// # Errors
/// See [`RotateError`]. Those that are exchanged stay so; run it again for the others.
pub async fn run(args: Args) -> Result<(), RotateError> {
    let keys = super::open_keyring(&args.files, &args.kek).map_err(RotateError::Open)?;
    let tenants = match &args.tenant {
        Some(name) => vec![find(&args, name).await?],
        None => keys.tenants().await.map_err(|source| RotateError::Keyring { done: 0, source })?,
    };
    for (done, tenant) in tenants.iter().enumerate() {
        let rotated = keys.rotate(*tenant).await.map_err(|source| RotateError::Keyring { done, source })?;
        match (rotated, &args.tenant) {
            (None, Some(name)) => return Err(RotateError::NoTenant(name.clone())),
            (rotated, _) => tracing::info!(%tenant, keys = rotated, "exchanged the wrapping key"),
        }
    }
    tracing::info!(tenants = tenants.len(), "done");
    Ok(())
}

async fn find(args: &Args, name: &str) -> Result<TenantId, RotateError> {
    let missing = || RotateError::NoTenant(name.to_owned());
    let (namespace, tenant) = name.split_once('/').ok_or_else(missing)?;
    let dsn =
        Dsn::read(&args.files.join("database/operator-url")).map_err(|error| RotateError::Open(Error::Dsn(error)))?;
    let pool = store::connect(&dsn, 1, "budstikke-rotate");
    accounts::find(&pool, namespace, tenant).await.map_err(RotateError::Account)?.ok_or_else(missing)
}
