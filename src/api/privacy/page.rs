//! The privacy page: Danish, or English where the reader prefers it. No script, no cookie, nothing from elsewhere.
use std::sync::{Arc, LazyLock};

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{Keep, Privacy};
use crate::api::Shared;
use crate::api::extract::Parameters;
use crate::api::problem::Problem;

const STYLE: &str = include_str!("page.css");

/// Nothing but the page and its own style is loaded or run, and nobody frames it.
static POLICY: LazyLock<Option<HeaderValue>> = LazyLock::new(|| {
    let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).ok()
});

#[derive(Template)]
#[template(path = "api/privacy/da.html")]
struct Danish<'a> {
    privacy: &'a Privacy,
    style: &'static str,
}

#[derive(Template)]
#[template(path = "api/privacy/en.html")]
struct English<'a> {
    privacy: &'a Privacy,
    style: &'static str,
}

/// Which language is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Language {
    Da,
    En,
}

/// The parameters of the page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    lang: Option<Language>,
}

/// `GET /privacy`.
///
/// # Errors
/// When the database does not answer.
pub async fn page(
    State(shared): State<Arc<Shared>>,
    Parameters(query): Parameters<Query>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let privacy = Privacy::now(&shared).await?;
    let language = query.lang.unwrap_or_else(|| preferred(&headers));
    let html = match language {
        Language::Da => Danish { privacy: &privacy, style: STYLE }.render(),
        Language::En => English { privacy: &privacy, style: STYLE }.render(),
    };
    let mut response = Html(html.map_err(Problem::internal)?).into_response();
    let headers = response.headers_mut();
    if let Some(policy) = POLICY.clone() {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-language"));
    Ok(response)
}

/// English for those who name it before Danish; the service is Danish.
fn preferred(headers: &HeaderMap) -> Language {
    let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut languages: Vec<(&str, f32)> = wanted.split(',').filter_map(weighed).collect();
    languages.sort_by(|one, other| other.1.total_cmp(&one.1));
    let known = languages.iter().find_map(|(name, _)| match name.split('-').next() {
        Some("da") => Some(Language::Da),
        Some("en") => Some(Language::En),
        _ => None,
    });
    known.unwrap_or(Language::Da)
}

/// A language and how much it is wanted: `en-GB;q=0.8`.
fn weighed(part: &str) -> Option<(&str, f32)> {
    let (name, weight) = part.split_once(";q=").unwrap_or((part, "1"));
    Some((name.trim(), weight.trim().parse().ok()?))
}

impl Keep {
    fn in_danish(self) -> String {
        match self {
            Self::Months(1) => "1 måned".to_owned(),
            Self::Months(months) => format!("{months} måneder"),
            Self::Days(1) => "1 dag".to_owned(),
            Self::Days(days) => format!("{days} dage"),
        }
    }

    fn in_english(self) -> String {
        match self {
            Self::Months(1) => "1 month".to_owned(),
            Self::Months(months) => format!("{months} months"),
            Self::Days(1) => "1 day".to_owned(),
            Self::Days(days) => format!("{days} days"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_gets_the_language_that_is_wanted_most() {
        let language = |wanted: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(wanted));
            preferred(&headers)
        };
        assert_eq!(language("da, en-GB;q=0.8, en;q=0.7"), Language::Da);
        assert_eq!(language("de-DE, en;q=0.7, da;q=0.3"), Language::En);
        assert_eq!(language("en;q=0.2,da-DK;q=0.9"), Language::Da);
        assert_eq!(language("fr, *;q=0.1"), Language::Da);
        assert_eq!(preferred(&HeaderMap::new()), Language::Da);
    }
}
