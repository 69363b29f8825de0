//! How one proves oneself to the engine: by a token that somebody else renews, or by the service account's.
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::TransitError;
use super::ask::Asker;
use crate::domain::Secret;

/// Of a token that does not say when it ends.
const ENDLESS: Duration = Duration::from_secs(3600);

pub(super) enum Login {
    /// Read for each question, so that whoever renews it need tell nobody.
    File(PathBuf),
    /// Logged in for; used until a third of its time is left.
    Role { role: String, mount: String, jwt: PathBuf, kept: Mutex<Option<(Secret, Instant)>> },
}

#[derive(Serialize)]
struct Credentials<'a> {
    role: &'a str,
    jwt: &'a Secret,
}

#[derive(Deserialize)]
struct LoggedIn {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: Secret,
    lease_duration: u64,
}

impl Login {
    pub(super) async fn token(&self, asker: &Asker) -> Result<Secret, TransitError> {
        let (role, mount, jwt, kept) = match self {
            Self::File(path) => return read(path).await,
            Self::Role { role, mount, jwt, kept } => (role, mount, jwt, kept),
        };
        // Held while logging in: those who come meanwhile take what this one gets.
        let mut kept = kept.lock().await;
        if let Some((token, until)) = &*kept
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let jwt = read(jwt).await?;
        let path = format!("auth/{mount}/login");
        let LoggedIn { auth } = asker.post("log in", &path, None, &Credentials { role, jwt: &jwt }).await?;
        let lives = Some(Duration::from_secs(auth.lease_duration)).filter(|lives| !lives.is_zero()).unwrap_or(ENDLESS);
        *kept = Some((auth.client_token.clone(), Instant::now() + lives.min(ENDLESS) * 2 / 3));
        Ok(auth.client_token)
    }

    /// The token was refused. Another one may have come meanwhile.
    pub(super) async fn forget(&self, token: &Secret) {
        if let Self::Role { kept, .. } = self {
            let mut kept = kept.lock().await;
            if kept.as_ref().is_some_and(|(kept, _)| kept == token) {
                *kept = None;
            }
        }
    }
}

async fn read(path: &Path) -> Result<Secret, TransitError> {
    let text = tokio::fs::read_to_string(path).await.map(Secret::new);
    let text = text.map_err(|source| TransitError::Read { path: path.to_owned(), source })?;
    let token = text.expose().trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TransitError::NoToken(path.to_owned()));
    }
    Ok(Secret::new(token))
}
