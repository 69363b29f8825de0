//! Bodies, parameters and headers of calls, with failures in our own words.
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::problem::Problem;

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
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        let malformed = |path: String, error: &serde_json::Error| Problem::Malformed {
            // What the reader writes where it was at no field.
            path: if path == "." || path == "?" { String::new() } else { path },
            detail: error.to_string(),
        };
        let content = serde_path_to_error::deserialize(&mut reader)
            .map_err(|error| malformed(error.path().to_string(), error.inner()))?;
        reader.end().map_err(|error| malformed(String::new(), &error))?;
        Ok(Self { content, bytes })
    }
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
        let Query(parameters) = Query::try_from_uri(&parts.uri)
            .map_err(|rejection| Problem::Malformed { path: "query".to_owned(), detail: rejection.body_text() })?;
        Ok(Self(parameters))
    }
}
