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

/// Whose allowance of calls the owner uses: no account has this id, they begin with 1.
const OWNER: TenantId = TenantId(0);

/// A caller with the owner's key.
#[derive(Debug)]
pub struct Owner;

impl FromRequestParts<Arc<Shared>> for Owner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let key = bearer(parts)?;
        let file = shared.settings.owner_key_hash_file.as_deref().ok_or(Problem::Unauthorized)?;
        if !key.matches(&hash(file).await?) {
            return Err(Problem::Unauthorized);
        }
        if !shared.door.allows(OWNER, Instant::now()) {
            return Err(Problem::TooManyCalls);
        }
        Ok(Self)
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
