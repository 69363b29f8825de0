//! The key-encryption key: outside every database, in a Secret or in the transit engine of OpenBao or Vault. Without it the
//! keyring is noise.
//!
//! What is wrapped names the key that wrapped it. New wrapping is by the newest key that every process can have by then;
//! unwrapping by any that is still there, so a rotation needs no process to stop.
mod local;
mod transit;

use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::sync::SemaphorePermit;
use uuid::Uuid;
use zeroize::Zeroize as _;
use zeroize::Zeroizing;

use self::local::Local;
use self::transit::Transit;
use super::seal::{Field, KEY_BYTES, KeyBytes, Place, Refused};
use crate::domain::{RouteId, TenantId};

pub use self::local::{GRACE_SECONDS, KekError};
pub use self::transit::{TransitArgs, TransitError};

/// Where the key-encryption key is.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct KekArgs {
    /// Directories with the keys of the key-encryption Secret, separated by commas; read again when a key is not known.
    #[arg(long = "kek-dirs", env = "BUDSTIKKE_KEK_DIRS", value_delimiter = ',')]
    pub dirs: Vec<PathBuf>,
    /// A transit engine; the Secret's keys go on unwrapping what they wrapped.
    #[command(flatten)]
    pub transit: TransitArgs,
}

/// Wraps tenants' wrapping keys and routes' keys.
pub struct Kek {
    local: Local,
    transit: Option<Transit>,
}

impl std::fmt::Debug for Kek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kek([key])")
    }
}

/// Why a key was not wrapped or unwrapped.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// No key of this name is in the Secret, and it is not the configured transit engine's.
    #[error("no key-encryption key {0} here: put it back into the Secret, or configure the transit key that it names")]
    Unknown(String),
    /// Wrapped for another place, by another key, or changed.
    #[error("the wrapped key does not open")]
    Refused(#[source] Refused),
    /// The Secret's files.
    #[error(transparent)]
    Local(KekError),
    /// The transit engine.
    #[error(transparent)]
    Transit(TransitError),
}

/// A key, wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrapped {
    pub(super) kek: String,
    pub(super) bytes: Vec<u8>,
}

/// Whose key is wrapped: it opens as nobody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Tenant(TenantId),
    Route(RouteId),
}

impl Owner {
    fn place(self) -> Place<'static> {
        let (id, class) = match self {
            Self::Tenant(TenantId(id)) => (id, "wrapping"),
            Self::Route(RouteId(id)) => (id, "route"),
        };
        Place { tenant: TenantId(id), class, name: "", row: Uuid::nil(), field: Field::Key }
    }
}

impl Kek {
    /// One key, of 32 bytes in base64 (standard alphabet, padded).
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(text: &str) -> Result<Self, KekError> {
        Ok(Self { local: Local::of(text)?, transit: None })
    }

    /// Reads the keys of the Secret; the transit engine is not asked yet.
    ///
    /// # Errors
    /// When a file cannot be read or parsed, or when there is no key and no transit engine that wraps.
    pub fn read(args: &KekArgs) -> Result<Self, KekError> {
        let (local, transit) = (Local::read(&args.dirs)?, Transit::of(&args.transit)?);
        let kek = Self { local, transit };
        if kek.local.is_empty() && kek.wrapping_transit().is_none() { Err(KekError::NoKey) } else { Ok(kek) }
    }

    /// The name of the key that wraps now. Looks for new keys.
    ///
    /// # Errors
    /// When the files cannot be read, or the transit engine that wraps does not answer.
    pub async fn current(&self) -> Result<String, WrapError> {
        self.local.reload().map_err(WrapError::Local)?;
        if let Some(transit) = self.wrapping_transit() {
            return transit.newest().await.map_err(WrapError::Transit);
        }
        self.local.current().map(|key| key.id.clone()).ok_or(WrapError::Local(KekError::NoKey))
    }

    fn wrapping_transit(&self) -> Option<&Transit> {
        self.transit.as_ref().filter(|transit| transit.wraps)
    }

    /// Whether a server may have to be asked.
    pub(super) fn asks(&self) -> bool {
        self.transit.is_some()
    }

    /// The engine that wrapped it.
    fn transit_of(&self, wrapped: &Wrapped) -> Option<&Transit> {
        self.transit.as_ref().filter(|transit| transit.wrapped(&wrapped.kek))
    }

    /// Waits for one's turn where a server is to be asked to unwrap this, so that not all ask at once, and again for what another
    /// has just got.
    pub(super) async fn turn(&self, wrapped: &Wrapped) -> Option<SemaphorePermit<'_>> {
        match self.transit_of(wrapped) {
            Some(transit) => transit.turn().await,
            None => None,
        }
    }

    pub(super) async fn wrap(&self, owner: Owner, key: &KeyBytes) -> Result<Wrapped, WrapError> {
        if let Some(transit) = self.wrapping_transit() {
            let (kek, bytes) = transit.wrap(&owner.place(), key).await.map_err(WrapError::Transit)?;
            return Ok(Wrapped { kek, bytes });
        }
        let with = self.local.current().ok_or(WrapError::Local(KekError::NoKey))?;
        let bytes = with.cipher.seal(&owner.place(), &**key).map_err(WrapError::Refused)?;
        Ok(Wrapped { kek: with.id.clone(), bytes })
    }

    pub(super) async fn unwrap(&self, owner: Owner, wrapped: &Wrapped) -> Result<KeyBytes, WrapError> {
        if let Some(transit) = self.transit_of(wrapped) {
            return transit.unwrap(&owner.place(), &wrapped.bytes).await.map_err(WrapError::Transit);
        }
        let plain = self.local.open(&wrapped.kek, &owner.place(), &wrapped.bytes)?;
        Ok(Zeroizing::new(plain.as_slice().try_into().map_err(|_| WrapError::Refused(Refused))?))
    }
}

/// 32 bytes from base64.
pub(super) fn key_bytes(text: &str) -> Option<KeyBytes> {
    let mut decoded = BASE64_STANDARD.decode(text.trim()).ok()?;
    let bytes = <[u8; KEY_BYTES]>::try_from(decoded.as_slice()).ok().map(Zeroizing::new);
    decoded.zeroize();
    bytes
}
