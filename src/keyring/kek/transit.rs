//! A key of the transit engine of OpenBao or Vault as the key-encryption key, which then never leaves that server.
//!
//! Whose key is wrapped stands in what is encrypted, beside the key, and is compared when it is opened: so it holds with every type of
//! key and every version of the server. The engine's own `associated_data` is not used: servers before 1.13 take no notice of it, and
//! what they wrapped would not open after their upgrade. `context` goes along: a key that is derived demands it, others ignore it.
mod ask;
mod error;
mod login;
mod settings;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use self::ask::Asker;
use self::login::Login;
use crate::domain::Secret;
use crate::keyring::seal::{KEY_BYTES, KeyBytes, Place};

pub use self::error::TransitError;
pub use self::settings::TransitArgs;

/// How often one question is asked; after each but the last a pause that grows.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);
/// A server that gave nothing is left alone for so long: else everybody who waits would ask it again, one after another.
const REST: Duration = Duration::from_secs(1);
/// Questions at once.
const TURNS: usize = 8;

/// One key of a transit engine.
pub(super) struct Transit {
    asker: Asker,
    login: Login,
    mount: String,
    key: String,
    /// It wraps; else it only unwraps what it wrapped.
    pub(super) wraps: bool,
    turns: Semaphore,
    /// Until when it is left alone, and what it said.
    rests: Mutex<Option<(Instant, String)>>,
}

#[derive(Serialize)]
struct Encrypt<'a> {
    plaintext: &'a Secret,
    context: &'a str,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Serialize)]
struct Decrypt<'a> {
    ciphertext: &'a str,
    context: &'a str,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: Secret,
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

impl Transit {
    /// Whether what is named so was wrapped here.
    pub(super) fn wrapped(&self, id: &str) -> bool {
        id.strip_prefix(&self.prefix()).is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit()))
    }

    /// `<mount>/<key>:v`, before the version.
    fn prefix(&self) -> String {
        format!("{}/{}:v", self.mount, self.key)
    }

    /// Waits until not too many ask.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }

    /// The name of the key's newest version: of the one that encrypts, so that no right beyond encrypting is needed.
    pub(super) async fn newest(&self) -> Result<String, TransitError> {
        Ok(self.encrypt(&[], &[0]).await?.0)
    }

    pub(super) async fn wrap(&self, place: &Place<'_>, key: &KeyBytes) -> Result<(String, Vec<u8>), TransitError> {
        let place = place.bytes();
        let mut plain = Zeroizing::new(Vec::with_capacity(KEY_BYTES + place.len()));
        plain.extend_from_slice(&**key);
        plain.extend_from_slice(&place);
        self.encrypt(&place, &plain).await
    }

    pub(super) async fn unwrap(&self, place: &Place<'_>, wrapped: &[u8]) -> Result<KeyBytes, TransitError> {
        let place = place.bytes();
        let ciphertext = std::str::from_utf8(wrapped).map_err(|_| TransitError::NotIts)?;
        let context = BASE64_STANDARD.encode(&place);
        let Decrypted { plaintext } = self.ask("decrypt", &Decrypt { ciphertext, context: &context }).await?;
        let plain = BASE64_STANDARD.decode(plaintext.expose()).map(Zeroizing::new).map_err(|_| TransitError::Answer)?;
        match plain.split_first_chunk::<KEY_BYTES>() {
            Some((key, whose)) if whose == place.as_slice() => Ok(Zeroizing::new(*key)),
            _ => Err(TransitError::NotIts),
        }
    }

    /// The ciphertext, and the name of the version that made it.
    async fn encrypt(&self, place: &[u8], plain: &[u8]) -> Result<(String, Vec<u8>), TransitError> {
        let plaintext = Secret::new(BASE64_STANDARD.encode(plain));
        // An empty one would be refused where the key is derived.
        let context = BASE64_STANDARD.encode(if place.is_empty() { b"-".as_slice() } else { place });
        let body = Encrypt { plaintext: &plaintext, context: &context };
        let Encrypted { ciphertext } = self.ask("encrypt", &body).await?;
        // vault:v3:…
        let version = ciphertext.split(':').nth(1).and_then(|version| version.strip_prefix('v'));
        let id = format!("{}{}", self.prefix(), version.ok_or(TransitError::Answer)?);
        if self.wrapped(&id) { Ok((id, ciphertext.into_bytes())) } else { Err(TransitError::Answer) }
    }

    /// Asks until there is an answer, a refusal, or no try left.
    async fn ask<T: for<'a> Deserialize<'a>>(
        &self,
        what: &'static str,
        body: &impl Serialize,
    ) -> Result<T, TransitError> {
        if let Some((until, said)) = &*self.rests.lock().await
            && Instant::now() < *until
        {
            return Err(TransitError::Rests(said.clone()));
        }
        let answer = self.ask_on(what, body).await;
        let concerns_all = answer.as_ref().err().filter(|error| error.concerns_all());
        *self.rests.lock().await = concerns_all.map(|error| (Instant::now() + REST, error.to_string()));
        answer
    }

    /// A refused token is got anew once.
    async fn ask_on<T: for<'a> Deserialize<'a>>(
        &self,
        what: &'static str,
        body: &impl Serialize,
    ) -> Result<T, TransitError> {
        let path = format!("{}/{what}/{}", self.mount, self.key);
        let (mut tries, mut renewed) = (0, false);
        loop {
            let answer = match self.login.token(&self.asker).await {
                Ok(token) => match self.asker.post(what, &path, Some(&token), body).await {
                    Err(TransitError::Forbidden { .. }) if !renewed => {
                        renewed = true;
                        self.login.forget(&token).await;
                        continue;
                    }
                    answer => answer,
                },
                Err(error) => Err(error),
            };
            match answer {
                Ok(Data { data }) => return Ok(data),
                Err(error) => {
                    tries += 1;
                    if tries >= TRIES || !error.may_pass() {
                        return Err(error);
                    }
                    tokio::time::sleep(PAUSE * tries * tries).await;
                }
            }
        }
    }
}
