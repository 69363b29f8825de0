//! Bodies, parameters and headers of calls, with failures in our own words.
mod wording;

use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::domain::copenhagen_day;

/// A JSON body, and its bytes as they came.
#[derive(Debug)]
pub struct JsonBody<T> {
    /// What it says.
    pub content: T,
    /// How it was written.
    pub bytes: Bytes,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::NotJson);
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => Problem::TooLarge,
            _ => Problem::BodyNotRead,
        })?;
        let content = read(&bytes)?;
        Ok(Self { content, bytes })
    }
}

/// Reads a body.
///
/// # Errors
/// When it is not JSON, or not of this form.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let malformed = |path, error: &serde_json::Error| Problem::Malformed { path, detail: wording::of_body(error) };
    let content = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| malformed(wording::path(error.path()), error.inner()))?;
    reader.end().map_err(|error| malformed(String::new(), &error))?;
    Ok(content)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(kind)) = headers.get(header::CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// Parameters after the question mark.
#[derive(Debug)]
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parameters(&parts.uri).map(Self)
    }
}

/// Reads what stands after the question mark.
///
/// # Errors
/// When it is not of this form.
pub(super) fn parameters<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    Query::try_from_uri(uri).map(|Query(parameters)| parameters).map_err(|rejection| Problem::Malformed {
        path: "query".to_owned(),
        detail: wording::of_query(&rejection.body_text()),
    })
}

/// The first day that a database and we read alike; nothing of a service for SMS is older.
const OLDEST: Date = jiff::civil::date(2000, 1, 1);

/// A day in a parameter.
///
/// # Errors
/// When it is none, or before all that there is.
pub fn day(path: &'static str, text: Option<&str>) -> Result<Option<Date>, Problem> {
    let Some(text) = text else { return Ok(None) };
    // The shape first: the reader would also take a whole instant for its day.
    let day = Some(text).filter(|text| text.len() == "2026-01-31".len()).and_then(|text| text.parse().ok());
    let day = day.ok_or_else(|| invalid(path, "not_a_date", "write a day of the calendar as 2026-01-31".to_owned()))?;
    not_too_early(path, day).map(|()| Some(day))
}

/// An instant in a parameter.
///
/// # Errors
/// When it is none, or before all that there is.
pub fn instant(path: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let instant: Timestamp = text.parse().map_err(|_| {
        let detail = "write an instant as 2026-01-31T12:00:00Z; the + of an offset is written %2B in an address";
        invalid(path, "not_an_instant", detail.to_owned())
    })?;
    not_too_early(path, copenhagen_day(instant)).map(|()| Some(instant))
}

/// Holds that a day is one that the database can hold too.
///
/// # Errors
/// When it is before all that there is.
pub fn not_too_early(path: &'static str, day: Date) -> Result<(), Problem> {
    if day < OLDEST { Err(invalid(path, "too_early", format!("{OLDEST} at the earliest"))) } else { Ok(()) }
}

/// Of two, the first is the later one.
#[must_use]
pub fn reversed(first: &'static str, last: &str) -> Problem {
    invalid(first, "dates_reversed", format!("write a `{first}` on or before `{last}`"))
}

/// Nothing is of then yet.
#[must_use]
pub fn in_the_future(path: &'static str) -> Problem {
    invalid(path, "in_the_future", "it lies in the future; write one that has come".to_owned())
}

/// Holds that a text is one line that a database stores and a page shows as it was written.
///
/// # Errors
/// When there are control characters in it, NUL among them.
pub fn printable(path: &'static str, text: &str) -> Result<(), Problem> {
    if text.chars().any(char::is_control) {
        return Err(invalid(
            path,
            "control_character",
            "write it without control characters and line breaks".to_owned(),
        ));
    }
    Ok(())
}

fn invalid(path: &'static str, code: &'static str, detail: String) -> Problem {
    Problem::Invalid { path, code, detail }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn days_and_instants_are_read_or_refused_in_words() {
        assert_eq!(day("from", None).ok(), Some(None));
        assert_eq!(day("from", Some("2026-02-28")).ok(), Some(Some(date(2026, 2, 28))));
        for wrong in ["2026-02-29", "yesterday", "", "2026-02-28T12:00:00Z", "1999-12-31", "-009999-01-01", "2026-2-8"]
        {
            assert!(matches!(day("from", Some(wrong)), Err(Problem::Invalid { path: "from", .. })), "{wrong}");
        }
        assert!(instant("until", Some("2026-02-28T12:00:00+01:00")).is_ok());
        for wrong in ["2026-02-28", "soon", "2026-02-28T12:00:00 01:00", "-009999-01-02T00:00:00Z"] {
            assert!(matches!(instant("until", Some(wrong)), Err(Problem::Invalid { path: "until", .. })), "{wrong}");
        }
    }

    #[test]
    fn control_characters_are_refused() {
        assert!(printable("recipient", "Sydsjællands Politi, 1234-5").is_ok());
        for wrong in ["a\0b", "a\nb", "\u{7f}", "\u{85}"] {
            assert!(printable("recipient", wrong).is_err(), "{wrong:?}");
        }
    }
}
