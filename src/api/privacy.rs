//! `GET /v1/privacy` and the privacy page, `GET /privacy`: what is kept, for how long, where and by whom, for everybody (D9). Made of
//! what is in force, so that neither can promise what is not enforced; and so that nothing in them tells of one account (D6), of
//! different policies each figure is the longest.
mod page;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

pub use self::page::page;
use super::Shared;
use super::problem::{Document, Problem};
use crate::store::statement::{self, InForce};

/// How long an answer is repeated: whoever asks, the database is asked no oftener.
const FRESH: Duration = Duration::from_secs(30);
/// A check is recent for so long; checks are made every five minutes.
const RECENT: SignedDuration = SignedDuration::from_hours(1);

/// What is kept, for how long, where and by whom.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Privacy {
    /// How long each class is kept, at most over all accounts; absent as long as there is no account.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<Kept>,
    /// Where personal data is.
    hosting: Vec<Hosting>,
    /// Who handles messages on the way to the recipient, one for each route in use.
    processors: Vec<Processor>,
    /// Cookies that are set: none.
    cookies: Vec<String>,
    /// When it was last seen that all that had to be gone was gone; absent before the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    checked_at: Option<Timestamp>,
    /// Whether that was within the last hour.
    checked_recently: bool,
}

/// How long each class is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// What is promised of the log: numbers, times, and the beginning of the text (D2).
    log: Keep,
    /// Days after the day of accept on which entries of the log can still be read, as it is enforced: fewer than promised by those
    /// for which backups of keys are kept.
    log_days_enforced: i32,
    /// Characters of the text in the log (D1).
    log_text_characters: u16,
    /// Days that copies of SMS carried as e-mail are kept (D3).
    mail_days: u8,
    /// Months from the end of an account to its deletion (A6).
    account_months: u8,
    /// Years after the end of the financial year that invoices are kept (B9).
    invoice_years: u8,
}

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Keep {
    /// Calendar months.
    Months(u8),
    /// Days.
    Days(u8),
}

/// Where personal data is, and what is declared of it (D8).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hosting {
    /// The country, ISO 3166-1.
    country: String,
    /// The place.
    location: String,
    /// Who hosts.
    provider: String,
    /// `encryptedVolumes`, `encryptedStandby`, `encryptedExternalBackups`: what is declared to be so.
    #[serde(default)]
    declared: Vec<String>,
}

/// A company that handles messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Processor {
    /// Its name.
    name: String,
    /// Where it handles them, ISO 3166-1.
    country: String,
    /// The day of the data processing agreement with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agreement_on: Option<String>,
    /// Its own page on data protection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    page: Option<String>,
}

/// What of a policy's spec is stated.
#[derive(Debug, Deserialize)]
struct Policy {
    log: Log,
    mail: Mail,
    accounts: Accounts,
    invoices: Invoices,
    hosting: Hosting,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Log {
    keep: Keep,
    text_characters: u16,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mail {
    keep_days: u8,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accounts {
    delete_after_months: u8,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invoices {
    keep_years: u8,
}

impl Keep {
    /// For comparing: the days of it, at most.
    fn days(self) -> u16 {
        match self {
            Self::Months(months) => 31 * u16::from(months),
            Self::Days(days) => days.into(),
        }
    }
}

/// The last answer, and when it was made.
#[derive(Debug, Default)]
pub struct Cache(Mutex<Option<(Instant, InForce)>>);

impl Privacy {
    /// What is in force, in public words.
    fn of(in_force: InForce, now: Timestamp) -> Result<Self, serde_json::Error> {
        let InForce { policies, log_days, processors, checked_at } = in_force;
        let policies: Vec<Policy> = policies.into_iter().map(serde_json::from_value).collect::<Result<_, _>>()?;
        let longest = |of: fn(&Policy) -> u8| policies.iter().map(of).max();
        let kept = || {
            Some(Kept {
                log: policies.iter().map(|policy| policy.log.keep).max_by_key(|keep| keep.days())?,
                log_days_enforced: log_days,
                log_text_characters: policies.iter().map(|policy| policy.log.text_characters).max()?,
                mail_days: longest(|policy| policy.mail.keep_days)?,
                account_months: longest(|policy| policy.accounts.delete_after_months)?,
                invoice_years: longest(|policy| policy.invoices.keep_years)?,
            })
        };
        let kept = kept();
        let mut hosting: Vec<Hosting> = policies.into_iter().map(|policy| policy.hosting).collect();
        hosting.sort();
        hosting.dedup();
        let processors = processors.into_iter().map(serde_json::from_value).collect::<Result<_, _>>()?;
        let checked_recently = checked_at.is_some_and(|at| now.duration_since(at) < RECENT);
        Ok(Self { kept, hosting, processors, cookies: Vec::new(), checked_at, checked_recently })
    }

    async fn now(shared: &Shared) -> Result<Self, Problem> {
        // Held over the question: of many who ask at once one asks the database.
        let mut last = shared.statement.0.lock().await;
        let fresh = last.as_ref().filter(|(made, _)| made.elapsed() < FRESH);
        let in_force = if let Some((_, in_force)) = fresh {
            in_force.clone()
        } else {
            let read = statement::in_force(&shared.pool).await.map_err(Problem::database)?;
            *last = Some((Instant::now(), read.clone()));
            read
        };
        Self::of(in_force, shared.clock.now()).map_err(Problem::internal)
    }
}

/// What is kept, for how long, where, and by whom
///
/// For everybody, without a key: the retention that is enforced on this installation, the longest of all accounts where they
/// differ. The same for people, in Danish and English: `/privacy`.
#[utoipa::path(
    get,
    path = "/v1/privacy",
    operation_id = "readPrivacy",
    tag = "public",
    responses(
        (status = 200, description = "What is in force.", body = Privacy),
        (status = 503, description = "The database does not answer.", content_type = "application/problem+json", body = Document),
    ),
)]
pub async fn statement(State(shared): State<Arc<Shared>>) -> Result<Json<Privacy>, Problem> {
    Privacy::now(&shared).await.map(Json)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(keep: &Value, mail_days: u8, country: &str) -> Value {
        json!({
            "log": {"keep": keep, "textCharacters": 160}, "mail": {"keepDays": mail_days}, "accounts": {"deleteAfterMonths": 3},
            "invoices": {"keepYears": 5}, "backups": {"keyringKeepHours": 24, "dataKeepDays": 30},
            "hosting": {"country": country, "location": "Aarhus", "provider": "Vert"},
        })
    }

    fn stated(policies: Vec<Value>) -> Privacy {
        let checked_at = Some("2026-11-27T10:00:00Z".parse().expect("a time"));
        let in_force =
            InForce { policies, log_days: 88, processors: vec![json!({"name": "S", "country": "SE"})], checked_at };
        Privacy::of(in_force, "2026-11-27T10:59:59Z".parse().expect("a time")).expect("readable")
    }

    #[test]
    fn of_different_policies_the_longest_is_stated_and_no_place_is_left_out() {
        let (months, days) = (json!({"months": 2}), json!({"days": 70}));
        let privacy =
            stated(vec![policy(&months, 3, "DK"), policy(&days, 0, "DK"), policy(&json!({"days": 0}), 1, "SE")]);
        let kept = privacy.kept.expect("policies");
        assert_eq!((kept.log, kept.mail_days, kept.log_days_enforced), (Keep::Days(70), 3, 88));
        let countries: Vec<_> = privacy.hosting.iter().map(|hosting| hosting.country.as_str()).collect();
        assert_eq!(countries, ["DK", "SE"]);
        assert!(privacy.checked_recently);
    }

    #[test]
    fn without_an_account_nothing_is_kept_and_nothing_claimed() {
        let privacy = stated(Vec::new());
        assert!(privacy.kept.is_none() && privacy.hosting.is_empty());
    }
}
