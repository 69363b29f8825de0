//! Why the engine gave nothing, and what to do then. What it wrote is not repeated, as it may hold what was asked: known words in it
//! tell which of these it is.
use std::path::PathBuf;

use axum::http::StatusCode;
use serde::Deserialize;

/// Why the transit engine gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum TransitError {
    /// It was not reached, or did not answer in time.
    #[error("the transit engine was not reached ({what}): {why}")]
    Away {
        /// For what.
        what: &'static str,
        /// What the client said.
        why: String,
    },
    /// It said this a moment ago, and is left alone for another.
    #[error("{0}")]
    Rests(String),
    /// It is sealed.
    #[error("the transit engine is sealed ({what}): unseal it")]
    Sealed {
        /// For what.
        what: &'static str,
    },
    /// The token is none, its policy does not allow it, or there is no such key (which it may not make).
    #[error(
        "the transit engine refused ({what}): look at the token or role, its policy, and the key's name (docs/keys.md)"
    )]
    Forbidden {
        /// What.
        what: &'static str,
    },
    /// There is no such key, or no engine is mounted there.
    #[error("the transit engine has no such key or mount ({what}): make it, or name the one that there is")]
    Missing {
        /// For what.
        what: &'static str,
    },
    /// The key's version is below its `min_decryption_version`.
    #[error(
        "the transit engine opens this version of the key no more: lower its min_decryption_version until all is moved"
    )]
    TooOld,
    /// Wrapped by another key, for another owner, or changed.
    #[error("the transit engine's key does not open it for this owner")]
    NotIts,
    /// It refused for another reason.
    #[error("the transit engine refused ({what}): {status}; look at its log")]
    Refused {
        /// What.
        what: &'static str,
        /// How.
        status: StatusCode,
    },
    /// The file with a token.
    #[error("read {path}: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// That file holds none.
    #[error("{0} holds no token")]
    NoToken(PathBuf),
    /// It answered with something else.
    #[error("the transit engine's answer is none")]
    Answer,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

impl TransitError {
    pub(super) fn refused(what: &'static str, status: StatusCode, answer: &[u8]) -> Self {
        let said = serde_json::from_slice(answer).map(|Errors { errors }| errors.join("\n")).unwrap_or_default();
        let says = |words: &str| said.contains(words);
        match status {
            StatusCode::FORBIDDEN => Self::Forbidden { what },
            StatusCode::SERVICE_UNAVAILABLE if says("sealed") => Self::Sealed { what },
            StatusCode::NOT_FOUND => Self::Missing { what },
            _ if says("encryption key not found") => Self::Missing { what },
            _ if says("too old") => Self::TooOld,
            _ if says("message authentication failed") || says("invalid ciphertext") => Self::NotIts,
            _ => Self::Refused { what, status },
        }
    }

    /// Asking again may help: it was not reached, is busy, or changes its leader.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Away { .. } => true,
            Self::Refused { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            _ => false,
        }
    }

    /// It is not about the one key that was asked for: others would get the same.
    pub(super) fn concerns_all(&self) -> bool {
        match self {
            Self::TooOld | Self::NotIts | Self::Rests(_) => false,
            Self::Refused { .. } => self.may_pass(),
            _ => true,
        }
    }
}
