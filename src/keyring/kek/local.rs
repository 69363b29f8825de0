//! The keys of the Secret: `kek`, `kek.2`, `kek.3`, … by generation, each but the first with the time since when it is there
//! (`kek.2.since`). The kubelet brings a new one to running pods within about a minute.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{WrapError, key_bytes};
use crate::keyring::seal::{Cipher, KEY_BYTES, KeyBytes, Place, Refused};

/// How long a new key waits before anything is wrapped by it, seconds: a pod whose node has not heard of a change of the
/// Secret by then has long been taken out of service, since that node is not Ready.
pub const GRACE_SECONDS: i64 = 600;
/// The file of the first key; later ones have their generation behind it.
const FILE: &str = "kek";

/// Why there is no key-encryption key.
#[derive(Debug, thiserror::Error)]
pub enum KekError {
    /// The Secret's files.
    #[error("read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not 32 bytes in base64. The text itself is secret.
    #[error("parse the key-encryption key: want 32 bytes in base64")]
    Parse,
    /// The time since when a key is there.
    #[error("parse {0}: want a time such as 2026-01-02T03:04:05Z")]
    Since(PathBuf),
    /// No key at all.
    #[error("there is no key-encryption key: give the directory of its Secret, or a transit engine that wraps")]
    NoKey,
    /// The settings of the transit engine.
    #[error("use the transit engine: {0}")]
    Transit(String),
}

/// A key of the Secret.
pub(super) struct LocalKey {
    generation: u32,
    /// What is wrapped by it says so: 32 bits that follow from the key and lead to nothing of it.
    pub(super) id: String,
    pub(super) cipher: Cipher,
    /// Wraps from then on.
    from: Timestamp,
}

impl LocalKey {
    fn new(generation: u32, text: &str, from: Timestamp) -> Result<Self, KekError> {
        let bytes = key_bytes(text).ok_or(KekError::Parse)?;
        let cipher = Cipher::new(&bytes).map_err(|_| KekError::Parse)?;
        let id = check_value(&bytes).map_err(|_| KekError::Parse)?;
        Ok(Self { generation, id, cipher, from })
    }
}

fn check_value(bytes: &KeyBytes) -> Result<String, Refused> {
    let mut check = [0; KEY_BYTES];
    let prk = Salt::new(HKDF_SHA256, b"budstikke kek").extract(&**bytes);
    prk.expand(&[b"id"], HKDF_SHA256).and_then(|okm| okm.fill(&mut check)).map_err(|_| Refused)?;
    Ok(check[..4].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// All keys of the Secret that this process has seen.
pub(super) struct Local {
    dirs: Vec<PathBuf>,
    keys: ArcSwap<Vec<Arc<LocalKey>>>,
}

impl Local {
    pub(super) fn of(text: &str) -> Result<Self, KekError> {
        let key = LocalKey::new(1, text, Timestamp::MIN)?;
        Ok(Self { dirs: Vec::new(), keys: ArcSwap::from_pointee(vec![Arc::new(key)]) })
    }

    pub(super) fn read(dirs: &[PathBuf]) -> Result<Self, KekError> {
        let keys = read_all(dirs)?;
        Ok(Self { dirs: dirs.to_vec(), keys: ArcSwap::from_pointee(keys) })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.load().is_empty()
    }

    /// Looks again: keys that were added are known, keys that were taken out are forgotten.
    pub(super) fn reload(&self) -> Result<(), KekError> {
        if !self.dirs.is_empty() {
            self.keys.store(Arc::new(read_all(&self.dirs)?));
        }
        Ok(())
    }

    /// The newest that has been there long enough.
    pub(super) fn current(&self) -> Option<Arc<LocalKey>> {
        let now = Timestamp::now();
        let keys = self.keys.load();
        keys.iter().filter(|key| key.from <= now).max_by_key(|key| key.generation).cloned()
    }

    /// Opens with the key of this name. One that is not known may have been added; without a name any may be it.
    pub(super) fn open(&self, id: &str, place: &Place<'_>, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        let find = || -> Vec<Arc<LocalKey>> {
            self.keys.load().iter().filter(|key| id.is_empty() || key.id == id).cloned().collect()
        };
        let mut found = find();
        if found.is_empty() {
            self.reload().map_err(WrapError::Local)?;
            found = find();
        }
        if found.is_empty() {
            return Err(WrapError::Unknown(id.to_owned()));
        }
        let opened = found.iter().find_map(|key| key.cipher.open(place, wrapped).ok());
        opened.ok_or(WrapError::Refused(Refused))
    }
}

/// Of all directories together; what is in several is one key.
fn read_all(dirs: &[PathBuf]) -> Result<Vec<Arc<LocalKey>>, KekError> {
    let mut keys: Vec<Arc<LocalKey>> = Vec::new();
    for dir in dirs {
        let failed = |source| KekError::Read { path: dir.clone(), source };
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Some(generation) = generation(&path) else { continue };
            let key = LocalKey::new(generation, &text(&path)?, since(&path, generation)?)?;
            if !keys.iter().any(|known| known.id == key.id) {
                keys.push(Arc::new(key));
            }
        }
    }
    Ok(keys)
}

/// The generation that a file is of; `None` for all other files.
fn generation(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    if name == FILE { Some(1) } else { name.strip_prefix(FILE)?.strip_prefix('.')?.parse().ok() }
}

/// When it wraps: the first at once; a later one that does not say since when it is there, never.
fn since(path: &Path, generation: u32) -> Result<Timestamp, KekError> {
    if generation == 1 {
        return Ok(Timestamp::MIN);
    }
    let beside = path.with_file_name(format!("{FILE}.{generation}.since"));
    if !beside.exists() {
        return Ok(Timestamp::MAX);
    }
    let since: Timestamp = text(&beside)?.trim().parse().map_err(|_| KekError::Since(beside))?;
    Ok(since.saturating_add(jiff::SignedDuration::from_secs(GRACE_SECONDS)).unwrap_or(Timestamp::MAX))
}

fn text(path: &Path) -> Result<Zeroizing<String>, KekError> {
    let read = std::fs::read_to_string(path);
    read.map(Zeroizing::new).map_err(|source| KekError::Read { path: path.to_owned(), source })
}
