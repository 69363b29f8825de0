//! The owner of the installation, who is no tenant: a key of its own, which bootstrap makes and whose hash alone is mounted here.
//! It is looked for nowhere else, so no tenant's key is ever the owner's, nor the owner's a tenant's.
use std::path::Path;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::time::Instant;

use super::Shared;
use super::auth::bearer;
use super::problem::Problem;
use crate::domain::TenantId;
use crate::keyring::seal::RepeatKey;

/// Whose allowance of calls the owner uses, and whose the owner's repeated calls are: no account has this id, they begin with 1.
pub(super) const OWNER: TenantId = TenantId(0);

/// A caller with the owner's key.
pub struct Owner {
    hash: Vec<u8>,
}

// No derived Debug: the hash is the key of other hashes.
impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[owner]")
    }
}

impl Owner {
    /// The key of what is kept of the owner's calls to know their repetition by. With another API key it is another one: what came
    /// before is not recognised then.
    ///
    /// # Errors
    /// None in practice.
    pub(super) fn repeat_key(&self) -> Result<RepeatKey, Problem> {
        RepeatKey::of_owner(OWNER, &self.hash).map_err(Problem::internal)
    }
}

impl FromRequestParts<Arc<Shared>> for Owner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let key = bearer(parts)?;
        let file = shared.settings.owner_key_hash_file.as_deref().ok_or(Problem::Unauthorized)?;
        let hash = hash(file).await?;
        if !key.matches(&hash) {
            return Err(Problem::Unauthorized);
        }
        if !shared.door.allows(OWNER, Instant::now()) {
            return Err(Problem::TooManyCalls);
        }
        Ok(Self { hash })
    }
}

/// The hash that holds now: another key takes effect without a restart. The owner calls seldom.
async fn hash(file: &Path) -> Result<Vec<u8>, Problem> {
    let unusable =
        |source: Box<dyn std::error::Error + Send + Sync>| Problem::Unavailable { part: "owner's key", source };
    let text = tokio::fs::read_to_string(file).await.map_err(|error| unusable(error.into()))?;
    let text = text.trim();
    let octet = |at: usize| text.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    let hash: Option<Vec<u8>> = (0..text.len()).step_by(2).map(octet).collect();
    hash.filter(|hash| hash.len() == 32).ok_or_else(|| {
        unusable("the file holds no SHA-256 in hexadecimal: delete the Secret and restart the operator".into())
    })
}
