//! `Idempotency-Key`: the same call again is answered as the first one was, and never sends twice.
//!
//! The database's unique key is what guarantees it, within its transaction; here are the hashes it holds, and a look
//! aside that turns a repetition away while the first call is still being worked on by this process.
//! Both hashes are keyed by the tenant's key for repeated calls, so that no number or text can be guessed from them; those of the
//! owner's calls by what no database holds.
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use super::{Shared, seal};
use crate::domain::TenantId;
use crate::keyring::seal::RepeatKey;
use crate::store::repeats::{self, Repeat};

/// The header.
const HEADER: &str = "idempotency-key";
/// Its most characters.
const LONGEST: usize = 255;

/// What the caller wrote into the header.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

// No derived Debug: callers put numbers into it (D10).
impl std::fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[key]")
    }
}

impl IdempotencyKey {
    /// Reads the header, if the call has it.
    ///
    /// # Errors
    /// When it is given but empty, too long, or not visible ASCII.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let Some(value) = headers.get(HEADER) else { return Ok(None) };
        match value.to_str().map(str::trim) {
            Ok(key) if !key.is_empty() && key.len() <= LONGEST => Ok(Some(Self(key.to_owned()))),
            _ => Err(Problem::Invalid {
                path: "Idempotency-Key",
                code: "idempotency_key_malformed",
                detail: format!("1 to {LONGEST} visible ASCII characters"),
            }),
        }
    }
}

/// What the database keeps of a call, to know its repetition by.
///
/// # Errors
/// When the keyring is away.
pub async fn repeat(
    shared: &Shared,
    tenant: TenantId,
    idempotency: &IdempotencyKey,
    body: &[u8],
    answer: &impl Serialize,
) -> Result<Repeat, Problem> {
    let key = shared.keyring.repeat_key(tenant).await.map_err(seal::away)?;
    repeat_by(&key, idempotency, body, answer)
}

/// The same by a key that is at hand.
///
/// # Errors
/// None in practice: an answer always serialises.
pub fn repeat_by(
    key: &RepeatKey,
    idempotency: &IdempotencyKey,
    body: &[u8],
    answer: &impl Serialize,
) -> Result<Repeat, Problem> {
    let (key_hash, body_hash) = hashes(key, idempotency, body);
    Ok(Repeat { key_hash, body_hash, answer: serde_json::to_value(answer).map_err(Problem::internal)? })
}

fn hashes(key: &RepeatKey, idempotency: &IdempotencyKey, body: &[u8]) -> ([u8; 32], [u8; 32]) {
    (key.digest("idempotency key", idempotency.0.as_bytes()), key.digest("idempotency body", body))
}

/// What an accepted call with this key was answered, where there was one: a repetition is not refused for what has
/// changed since.
///
/// # Errors
/// When it came with another body, or database or keyring is away.
pub async fn earlier_answer<Answer: DeserializeOwned>(
    shared: &Shared,
    tenant: TenantId,
    idempotency: &IdempotencyKey,
    body: &[u8],
) -> Result<Option<Answer>, Problem> {
    let key = shared.keyring.repeat_key(tenant).await.map_err(seal::away)?;
    let (key_hash, body_hash) = hashes(&key, idempotency, body);
    let Some(earlier) = repeats::earlier(&shared.pool, tenant, &key_hash).await.map_err(Problem::database)? else {
        return Ok(None);
    };
    if earlier.body_hash != body_hash {
        return Err(Problem::KeyReused);
    }
    serde_json::from_value(earlier.answer).map(Some).map_err(Problem::internal)
}

/// The keys of calls that this process is working on.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<Mutex<HashSet<Key>>>);

/// A tenant's, by its hash.
type Key = (TenantId, [u8; 32]);

/// A key that is being worked on, until this is dropped.
#[derive(Debug)]
pub struct Entered {
    all: InFlight,
    key: Key,
}

impl InFlight {
    /// Enters a key.
    ///
    /// # Errors
    /// When a call with it is being worked on.
    pub fn enter(&self, tenant: TenantId, key_hash: [u8; 32]) -> Result<Entered, Problem> {
        let key = (tenant, key_hash);
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
            Ok(Entered { all: self.clone(), key })
        } else {
            Err(Problem::InFlight)
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_key_is_entered_once_at_a_time() {
        let (calls, key) = (InFlight::default(), [7; 32]);
        let first = calls.enter(TenantId(1), key).expect("free");
        assert!(matches!(calls.enter(TenantId(1), key), Err(Problem::InFlight)));
        assert!(calls.enter(TenantId(2), key).is_ok(), "another tenant's key is another key");
        drop(first);
        assert!(calls.enter(TenantId(1), key).is_ok());
    }

    #[test]
    fn the_header_is_optional_but_not_empty() {
        let read = |value: Option<&[u8]>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(HEADER, HeaderValue::from_bytes(value).expect("a header"));
            }
            IdempotencyKey::of(&headers)
        };
        assert_eq!(read(None).expect("none"), None);
        assert_eq!(read(Some(b"order-7")).expect("one"), Some(IdempotencyKey("order-7".into())));
        for wrong in [&b""[..], b"  ", &[b'a'; 256], "æ".as_bytes()] {
            assert!(read(Some(wrong)).is_err(), "{wrong:?}");
        }
    }
}
