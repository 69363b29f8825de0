//! What callers send, tried with any octets (`crate::fuzzing`): bodies, parameters, headers, cursors. What is refused is refused as
//! the caller's fault, in a few words, and without what was written.
mod send;

use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::IntoResponse as _;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cursor::{self, PageQuery, Place};
use super::idempotency::IdempotencyKey;
use super::messages::ListQuery;
use super::problem::Problem;
use super::{decide, disclosures, extract, opt_outs, search, statistics, webhooks};

/// A number that seeds are full of, and that no answer may repeat.
const CANARY: &str = "4520123456";
/// The most octets of an answer's words: names of fields, and what was expected.
const MOST: usize = 700;

/// The first octet says what the rest is.
pub(crate) fn api(data: &[u8]) {
    let Some((what, rest)) = data.split_first() else { return };
    let mask = what >> 5;
    match what % 16 {
        0 | 1 => send::send(rest, mask),
        2 => drop(body::<webhooks::NewWebhook>(rest, mask)),
        3 => drop(body::<webhooks::WebhookChange>(rest, mask)),
        4 => drop(body::<opt_outs::NewOptOuts>(rest, mask)),
        5 => drop(body::<opt_outs::OptOutSearchRequest>(rest, mask)),
        6 => drop(body::<search::MessageSearchRequest>(rest, mask)),
        7 => drop(body::<search::SearchRequest>(rest, mask)),
        8 => drop(body::<decide::DecisionRequest>(rest, mask)),
        9 => drop(body::<disclosures::NewDisclosure>(rest, mask)),
        10 => list(rest),
        11 => drop(parameters::<statistics::AllQuery>(rest)),
        12 => drop(parameters::<statistics::DaysQuery>(rest)),
        13 => {
            if let Some(query) = parameters::<PageQuery>(rest) {
                heard(query.place());
            }
        }
        14 => place(rest),
        _ => words(rest),
    }
}

/// Always the same present: a Monday in March, in seconds.
fn now() -> Timestamp {
    Timestamp::from_second(1_772_452_830).unwrap_or_default()
}

/// The content, or what is wrong with it, which is looked at.
fn heard<T>(read: Result<T, Problem>) -> Option<T> {
    let problem = match read {
        Ok(content) => return Some(content),
        Err(problem) => problem,
    };
    assert!(problem.to_string().len() <= MOST, "an answer as long as the call");
    match &problem {
        Problem::Malformed { path, detail } => {
            assert!(!detail.contains(CANARY), "what was written is told back: {detail}");
            let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"_-.[]".contains(&octet);
            assert!(path.bytes().all(plain), "a path of more than names: {path}");
        }
        // A place's name is the caller's own word for it, and short.
        Problem::Invalid { code: "parameter_missing", .. } => {}
        Problem::Invalid { detail, .. } => assert!(!detail.contains(CANARY), "what was written is told back: {detail}"),
        Problem::AllRefused(refused) => {
            for one in refused {
                assert!(one.detail.len() <= MOST);
                assert!(one.code == "parameter_missing" || !one.detail.contains(CANARY), "told back: {}", one.detail);
            }
        }
        _ => {}
    }
    assert!(problem.into_response().status().is_client_error(), "a caller's fault that is taken for ours");
    None
}

/// Reads a body as it is, and once more with the number in every place of a kind.
fn body<T: DeserializeOwned>(bytes: &[u8], mask: u8) -> Option<T> {
    if let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && let Ok(masked) = serde_json::to_vec(&masked(value, mask % 4))
    {
        heard(extract::read::<T>(&masked));
    }
    heard(extract::read(bytes))
}

fn masked(value: Value, mask: u8) -> Value {
    match value {
        Value::String(_) if mask == 0 => format!("+{CANARY}, expected \"{CANARY}\"").into(),
        Value::Number(_) | Value::Bool(_) | Value::Null if mask == 1 => 4_520_123_456_u64.into(),
        Value::Array(list) if mask == 3 => Value::Array(list.into_iter().map(|_| CANARY.into()).collect()),
        Value::Array(list) => Value::Array(list.into_iter().map(|one| masked(one, mask)).collect()),
        Value::Object(fields) => {
            let name = |name: String| if mask == 2 && name.len().is_multiple_of(2) { CANARY.to_owned() } else { name };
            Value::Object(fields.into_iter().map(|(key, one)| (name(key), masked(one, mask))).collect())
        }
        other => other,
    }
}

fn parameters<T: DeserializeOwned>(octets: &[u8]) -> Option<T> {
    let address = [b"/v1/messages?", octets].concat();
    let uri = Uri::try_from(address).ok()?;
    heard(extract::parameters(&uri))
}

/// A filter never looks further than there is.
fn list(octets: &[u8]) {
    let Some(query) = parameters::<ListQuery>(octets) else { return };
    let Some(filter) = heard(query.place().and_then(|place| query.filter(now(), place))) else { return };
    let all = crate::store::history::Filter::everything(now());
    assert!(filter.from >= all.from && filter.until <= all.until, "a filter looks beyond everything");
}

/// A cursor that is taken is one that we wrote.
fn place(octets: &[u8]) {
    let Some((limit, text)) = octets.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Some(Place { limit, below }) = heard(cursor::place(Some(u16::from(*limit)), Some(text))) else { return };
    assert!((1..=200).contains(&limit));
    assert_eq!(below.map(cursor::write).as_deref(), Some(text));
}

/// Days, instants, lines of text and idempotency keys.
fn words(octets: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(octets) {
        let headers = HeaderMap::from_iter([(axum::http::HeaderName::from_static("idempotency-key"), value)]);
        if let Some(Some(key)) = heard(IdempotencyKey::of(&headers)) {
            assert_eq!(format!("{key:?}"), "[key]");
        }
    }
    let Ok(text) = std::str::from_utf8(octets) else { return };
    if let Some(Some(day)) = heard(extract::day("from", Some(text))) {
        assert_eq!(day.to_string(), text);
        assert!(day.year() >= 2000);
    }
    if let Some(Some(instant)) = heard(extract::instant("until", Some(text))) {
        assert!(instant.as_second() > 946_000_000, "older than a database and we read alike");
    }
    heard(extract::printable("recipient", text));
}
