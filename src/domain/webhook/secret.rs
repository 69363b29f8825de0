//! The secret of an endpoint, and the signature made with it.
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use crate::domain::{NoRandomness, Secret};

/// Bytes of a secret: 256 random bits.
const BYTES: usize = 32;
const PREFIX: &str = "whsec_";

/// A secret, `whsec_<base64>`. `Debug` shows nothing of it; the memory is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Secret);

/// The text is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret reads whsec_<base64>")]
pub struct NotASecret;

impl WebhookSecret {
    /// A fresh one.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn mint() -> Result<Self, NoRandomness> {
        let mut random = Zeroizing::new([0; BYTES]);
        NoRandomness::fill(&mut *random)?;
        let mut whole = String::with_capacity(64);
        whole.push_str(PREFIX);
        BASE64_STANDARD.encode_string(*random, &mut whole);
        Ok(Self(Secret::new(whole)))
    }

    /// One that was minted before.
    ///
    /// # Errors
    /// When it is of another form.
    pub fn parse(text: &str) -> Result<Self, NotASecret> {
        let secret = Self(Secret::new(text));
        secret.bytes().map(|_| secret)
    }

    /// The whole secret: shown to its tenant once, and sealed.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.expose()
    }

    /// The signature of a delivery: `v1,<base64>`, HMAC-SHA-256 over id, time (Unix seconds) and body.
    ///
    /// # Errors
    /// None in practice: the form was checked.
    pub fn sign(&self, id: &str, at: i64, body: &[u8]) -> Result<String, NotASecret> {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.bytes()?));
        context.update(format!("{id}.{at}.").as_bytes());
        context.update(body);
        Ok(format!("v1,{}", BASE64_STANDARD.encode(context.sign())))
    }

    fn bytes(&self) -> Result<Zeroizing<Vec<u8>>, NotASecret> {
        let encoded = self.0.expose().strip_prefix(PREFIX).ok_or(NotASecret)?;
        let bytes = BASE64_STANDARD.decode(encoded).map(Zeroizing::new).map_err(|_| NotASecret)?;
        if (24..=64).contains(&bytes.len()) { Ok(bytes) } else { Err(NotASecret) }
    }
}

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn it_signs_as_the_standard_says() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let signed = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signed.as_deref(), Ok("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn a_minted_one_reads_back_and_shows_nothing() {
        let secret = WebhookSecret::mint().expect("a secret");
        assert_eq!(WebhookSecret::parse(secret.reveal()), Ok(secret.clone()));
        assert_ne!(WebhookSecret::mint().expect("another"), secret);
        assert_eq!(format!("{secret:?}"), "[secret]");
        for wrong in
            ["", "whsec_", "whsec_short", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS"]
        {
            assert_eq!(WebhookSecret::parse(wrong), Err(NotASecret), "{wrong}");
        }
    }
}
