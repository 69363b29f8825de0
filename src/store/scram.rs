//! SCRAM-SHA-256 verifiers (RFC 5803, as PostgreSQL stores them), made on this side: a server that is told a verifier
//! never sees the password, and neither does its log.
use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

/// PostgreSQL's own count. Our passwords are 256 random bits, which no count makes harder to guess.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();
const SALT_BYTES: usize = 16;

/// The machine gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("draw a random salt")]
pub struct SaltError;

/// The verifier of `password` under a fresh salt: `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`.
/// Our passwords are ASCII, which SASLprep leaves as it is.
///
/// # Errors
/// When the machine gives no random bytes.
pub fn verifier(password: &str) -> Result<String, SaltError> {
    let mut salt = [0; SALT_BYTES];
    rand::fill(&mut salt).map_err(|_| SaltError)?;
    Ok(verifier_with(password, &salt))
}

fn verifier_with(password: &str, salt: &[u8]) -> String {
    let mut salted = Zeroizing::new([0; digest::SHA256_OUTPUT_LEN]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt, password.as_bytes(), &mut *salted);
    let salted = hmac::Key::new(hmac::HMAC_SHA256, &*salted);
    let stored = digest::digest(&digest::SHA256, hmac::sign(&salted, b"Client Key").as_ref());
    let server = hmac::sign(&salted, b"Server Key");
    format!(
        "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
        BASE64_STANDARD.encode(salt),
        BASE64_STANDARD.encode(stored),
        BASE64_STANDARD.encode(server)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_for_the_exchange_in_rfc_7677() {
        let decode = |text: &str| BASE64_STANDARD.decode(text).expect("base64");
        let verifier = verifier_with("pencil", &decode("W22ZaJ0SNY7soEsUEjb6gQ=="));
        let (stored, server) = verifier.rsplit_once('$').and_then(|(_, keys)| keys.split_once(':')).expect("two keys");
        let exchange = b"n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let sign = |key: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &decode(key)), exchange);

        assert_eq!(BASE64_STANDARD.encode(sign(server)), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        // The client proves that it knows the key which the stored one is the hash of.
        let proof = decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let client_key: Vec<u8> = proof.iter().zip(sign(stored).as_ref()).map(|(a, b)| a ^ b).collect();
        assert_eq!(BASE64_STANDARD.encode(digest::digest(&digest::SHA256, &client_key)), stored);
    }

    #[test]
    fn salts_differ() {
        assert_ne!(verifier("a").expect("random"), verifier("a").expect("random"));
    }
}
