//! Whether a callback is the upstream's: HMAC-SHA-256 over body, nonce and time, under a secret that both know.
use aws_lc_rs::hmac;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};

use crate::domain::Secret;

const SIGNATURE: &str = "x-sinch-webhook-signature";
const NONCE: &str = "x-sinch-webhook-signature-nonce";
const TIMESTAMP: &str = "x-sinch-webhook-signature-timestamp";
const ALGORITHM: &str = "x-sinch-webhook-signature-algorithm";

/// How old a signature may be. An upstream tries a callback again for 22 hours and 45 minutes, and it is not said that it signs
/// it anew: refused for good it would be lost. What comes again within this time changes nothing: a receipt is final
/// once, and an SMS is stored under an id that follows from the upstream's.
const OLDEST: SignedDuration = SignedDuration::from_hours(24);
/// How far the upstream's clock may be ahead.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// Why a callback is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Doubt {
    /// We have no secret to check it with.
    #[error("the route has no callbackSecret")]
    NoSecret,
    /// It is not signed, or not so that we can read it.
    #[error("the signature's headers are missing or of another form")]
    Unsigned,
    /// It is too old, or of the future.
    #[error("the signature is too old, or of the future")]
    Late,
    /// It does not fit.
    #[error("the signature does not fit")]
    Wrong,
}

/// Checks a callback's signature, in the same time whatever is wrong with it.
///
/// # Errors
/// When it is not to be believed.
pub(super) fn check(secret: Option<&Secret>, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), Doubt> {
    let secret = secret.filter(|secret| !secret.expose().is_empty()).ok_or(Doubt::NoSecret)?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| text.len() <= 200);
    if header(ALGORITHM).is_some_and(|algorithm| !algorithm.eq_ignore_ascii_case("HmacSHA256")) {
        return Err(Doubt::Unsigned);
    }
    let nonce = header(NONCE).ok_or(Doubt::Unsigned)?;
    let stamp = header(TIMESTAMP).ok_or(Doubt::Unsigned)?;
    let signed_at = stamp.parse().ok().and_then(|second| Timestamp::from_second(second).ok()).ok_or(Doubt::Unsigned)?;
    let given = header(SIGNATURE).and_then(|text| BASE64_STANDARD.decode(text).ok()).ok_or(Doubt::Unsigned)?;
    let signed = [body, b".", nonce.as_bytes(), b".", stamp.as_bytes()].concat();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()), &signed, &given)
        .map_err(|_| Doubt::Wrong)?;
    let age = now.duration_since(signed_at);
    if (-AHEAD..=OLDEST).contains(&age) { Ok(()) } else { Err(Doubt::Late) }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    /// The example of the upstream's own documentation and libraries.
    const BODY: &str = r#"{"app_id":"","accepted_time":"2021-10-18T17:49:13.813615Z","project_id":"e2df3a34-a71b-4448-9db5-a8d2baad28e4","contact_create_notification":{"contact":{"id":"01FJA8B466Y0R2GNXD78MD9SM1","channel_identities":[{"channel":"SMS","identity":"48123456789","app_id":""}],"display_name":"New Test Contact","email":"new.contact@email.com","external_id":"","metadata":"","language":"EN_US"}},"message_metadata":""}"#;
    const HEADERS: [(&str, &str); 4] = [
        (SIGNATURE, "6bpJoRmFoXVjfJIVglMoJzYXxnoxRujzR4k2GOXewOE="),
        (NONCE, "01FJA8B4A7BM43YGWSG9GBV067"),
        (TIMESTAMP, "1634579353"),
        (ALGORITHM, "HmacSHA256"),
    ];

    fn check_with(change: Option<(&'static str, Option<&'static str>)>, body: &str, after: i64) -> Result<(), Doubt> {
        let mut headers = HeaderMap::new();
        for (name, value) in HEADERS {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        if let Some((name, value)) = change {
            headers.remove(name);
            headers.extend(value.map(|value| (HeaderName::from_static(name), HeaderValue::from_static(value))));
        }
        let now = Timestamp::from_second(1_634_579_353 + after).expect("a time");
        check(Some(&Secret::new("foo_secret1234")), &headers, body.as_bytes(), now)
    }

    #[test]
    fn the_upstreams_own_example_is_believed_for_as_long_as_it_tries() {
        for after in [-300, 0, 60, 86_400] {
            assert_eq!(check_with(None, BODY, after), Ok(()), "{after}");
        }
        for after in [-301, 86_401] {
            assert_eq!(check_with(None, BODY, after), Err(Doubt::Late), "{after}");
        }
        assert_eq!(check_with(Some((ALGORITHM, None)), BODY, 0), Ok(()));
    }

    #[test]
    fn whatever_is_changed_is_not_believed() {
        assert_eq!(check_with(None, &BODY.replace("48123456789", "48123456780"), 0), Err(Doubt::Wrong));
        assert_eq!(check_with(Some((NONCE, Some("01FJA8B4A7BM43YGWSG9GBV068"))), BODY, 0), Err(Doubt::Wrong));
        assert_eq!(check_with(Some((TIMESTAMP, Some("1634579354"))), BODY, 0), Err(Doubt::Wrong));
        assert_eq!(check_with(Some((SIGNATURE, Some("AAAA"))), BODY, 0), Err(Doubt::Wrong));
        for unread in [
            (SIGNATURE, None),
            (SIGNATURE, Some("%")),
            (NONCE, None),
            (TIMESTAMP, None),
            (TIMESTAMP, Some("yesterday")),
            (ALGORITHM, Some("none")),
        ] {
            assert_eq!(check_with(Some(unread), BODY, 0), Err(Doubt::Unsigned), "{unread:?}");
        }
    }

    #[test]
    fn without_a_secret_nothing_is_believed() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(check(None, &HeaderMap::new(), b"", now), Err(Doubt::NoSecret));
        assert_eq!(check(Some(&Secret::new("")), &HeaderMap::new(), b"", now), Err(Doubt::NoSecret));
    }
}
