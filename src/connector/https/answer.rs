//! What an upstream's answer to a call means for the messages in it.
use std::time::Duration;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::wire::is_known;

/// Of the time that an upstream names, as much is waited; then it is asked again.
const LONGEST: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Taken, as the batch of this id; `None` where the answer names none.
    Taken(Option<String>),
    /// Not taken: fewer at a time, and nothing for so long.
    Throttled(Duration),
    /// Not taken, by a fault of the upstream's.
    Faulty,
    /// Not taken, and not to be sent again.
    Refused(StatusCode),
    /// Not taken: the address, the plan or the token is wrong, whatever is sent.
    Unwelcome(StatusCode),
    /// Whoever answered cannot know.
    Unknown,
}

#[derive(Deserialize)]
struct Batch {
    id: String,
}

impl Verdict {
    /// Reads an answer.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        match status {
            _ if status.is_success() => {
                let id = serde_json::from_slice(body).ok().map(|Batch { id }| id);
                Self::Taken(
                    id.filter(|id| (1..=48).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_graphic())),
                )
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let named = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
                Self::Throttled(Duration::from_secs(named.unwrap_or(0)).min(LONGEST))
            }
            // "The request was not processed", and "it did not come in whole".
            StatusCode::INTERNAL_SERVER_ERROR | StatusCode::REQUEST_TIMEOUT => Self::Faulty,
            // Somebody between us and the upstream.
            _ if status.is_server_error() => Self::Unknown,
            _ if is_known(status) => Self::Refused(status),
            _ => Self::Unwelcome(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn verdict(status: u16, retry_after: Option<&'static str>, body: &str) -> Verdict {
        let mut headers = HeaderMap::new();
        headers.extend(retry_after.map(|value| (RETRY_AFTER, HeaderValue::from_static(value))));
        Verdict::of(StatusCode::from_u16(status).expect("a status"), &headers, body.as_bytes())
    }

    #[test]
    fn each_status_has_its_meaning() {
        let status = |status| StatusCode::from_u16(status).expect("a status");
        assert_eq!(
            verdict(201, None, r#"{"id": "01FC66621", "to": ["4520123456"]}"#),
            Verdict::Taken(Some("01FC66621".into()))
        );
        for nothing in ["", "{}", r#"{"id": ""}"#, r#"{"id": "a b"}"#] {
            assert_eq!(verdict(201, None, nothing), Verdict::Taken(None), "{nothing}");
        }
        for faulty in [408, 500] {
            assert_eq!(verdict(faulty, None, ""), Verdict::Faulty);
        }
        for refused in [400, 402, 409, 413, 422] {
            assert_eq!(verdict(refused, None, ""), Verdict::Refused(status(refused)));
        }
        for ours in [301, 401, 403, 404, 405, 415] {
            assert_eq!(verdict(ours, None, ""), Verdict::Unwelcome(status(ours)));
        }
        for unknown in [502, 504] {
            assert_eq!(verdict(unknown, None, ""), Verdict::Unknown, "it may have been taken");
        }
    }

    #[test]
    fn the_time_that_is_named_is_waited_within_bounds() {
        for (named, waited) in [(None, 0), (Some("3"), 3), (Some(" 7 "), 7), (Some("86400"), 60), (Some("soon"), 0)] {
            assert_eq!(verdict(429, named, ""), Verdict::Throttled(Duration::from_secs(waited)));
        }
        assert_eq!(verdict(503, Some("2"), ""), Verdict::Throttled(Duration::from_secs(2)));
    }
}
