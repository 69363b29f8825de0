//! `/v1/owner/disclosures`, where the owner records what it had to disclose of a tenant; `GET /v1/disclosures`, where that tenant
//! reads it unless the law forbids (D6).
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Shared;
use super::auth::Caller;
use super::cursor::{self, PageQuery};
use super::extract::{self, JsonBody, Parameters};
use super::idempotency::{self, IdempotencyKey};
use super::owner::{OWNER, Owner};
use super::problem::{Document, Problem, ReadProblems};
use crate::domain::{BatchId, Scope, copenhagen_day};
use crate::store::disclosures::{self, About, Recorded};

/// Who got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum RecipientKind {
    /// A register of abuse, for abuse of the service or fraud against the owner.
    AbuseRegister,
    /// An authority, by law.
    Authority,
}

/// A class of data, as the inventory names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum DataClass {
    /// Who the tenant is.
    Account,
    /// What holds for it.
    Enforcement,
    /// What was under way.
    Working,
    /// History and delivery reports.
    Log,
    /// What it received.
    Inbound,
    /// Copies of SMS carried as e-mail.
    Mail,
    /// What it was billed for.
    Usage,
}

impl DataClass {
    const COUNT: usize = 7;
}

/// A Tenant, by its resource.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantName {
    /// Its namespace.
    namespace: String,
    /// Its name.
    name: String,
}

/// The days of the data that was disclosed, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// The first day.
    #[schema(value_type = String, format = Date)]
    from: Date,
    /// The last day.
    #[schema(value_type = String, format = Date)]
    until: Date,
}

/// Why a tenant is not told yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Secrecy {
    /// The law that forbids it, with its paragraph.
    #[schema(min_length = 1, max_length = 200)]
    law: String,
    /// Told from this day on; absent: not told. Where the ban ends early, record the disclosure anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Date)]
    until: Option<Date>,
}

/// What was disclosed. Never a person's name, number or text: those stay in the case itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// What kind of recipient.
    recipient_kind: RecipientKind,
    /// The recipient.
    recipient: String,
    /// The law with its paragraph, or the term of the contract.
    legal_basis: String,
    /// Classes of the data.
    classes: Vec<DataClass>,
    /// The days of the data; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<Period>,
    /// When it was disclosed.
    #[schema(value_type = String, format = DateTime)]
    disclosed_at: Timestamp,
    /// The entry that this one corrects.
    #[serde(skip_serializing_if = "Option::is_none")]
    corrects: Option<Uuid>,
}

/// A disclosure to record.
// No flattening: it would take a misspelt `secret` for nothing, and tell.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewDisclosure {
    /// Whom it is about.
    tenant: TenantName,
    /// Where the law forbids to tell the tenant.
    secret: Option<Secrecy>,
    /// What kind of recipient.
    recipient_kind: RecipientKind,
    /// The recipient: an organisation, and its case number where it has one.
    #[schema(min_length = 1, max_length = 120)]
    recipient: String,
    /// The law with its paragraph, or the term of the contract.
    #[schema(min_length = 1, max_length = 200)]
    legal_basis: String,
    /// Classes of the data.
    #[schema(min_items = 1, max_items = 7)]
    classes: Vec<DataClass>,
    /// The days of the data; absent where it has none.
    period: Option<Period>,
    /// When it was disclosed.
    #[schema(value_type = String, format = DateTime)]
    disclosed_at: Timestamp,
    /// The entry that this one corrects.
    corrects: Option<Uuid>,
}

/// A disclosure as its tenant reads it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Disclosure {
    /// Its id.
    id: Uuid,
    /// When it was recorded.
    #[schema(value_type = String, format = DateTime)]
    recorded_at: Option<Timestamp>,
    /// What was disclosed.
    #[serde(flatten)]
    content: Content,
}

/// A disclosure as the owner reads it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnersDisclosure {
    /// Whom it is about.
    tenant: TenantName,
    /// Why the tenant is not told, or was not until that day.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Secrecy>,
    /// What.
    #[serde(flatten)]
    disclosure: Disclosure,
}

/// A page, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct DisclosurePage {
    /// The disclosures.
    disclosures: Vec<Disclosure>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A page of all tenants' disclosures, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnersDisclosurePage {
    /// The disclosures.
    disclosures: Vec<OwnersDisclosure>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Disclosure {
    /// As the tenant reads it. A class of a later version is left out.
    pub(super) fn new(stored: disclosures::Disclosure) -> Self {
        let kind =
            if stored.recipient_kind == "authority" { RecipientKind::Authority } else { RecipientKind::AbuseRegister };
        let class = |word: &String| serde_json::from_value(serde_json::Value::String(word.clone())).ok();
        let content = Content {
            recipient_kind: kind,
            recipient: stored.recipient,
            legal_basis: stored.legal_basis,
            classes: stored.classes.iter().filter_map(class).collect(),
            period: stored.period.0.zip(stored.period.1).map(|(from, until)| Period { from, until }),
            disclosed_at: stored.disclosed_at,
            corrects: stored.corrects,
        };
        Self { id: stored.id, recorded_at: BatchId(stored.id).at(), content }
    }
}

impl OwnersDisclosure {
    fn new(About { namespace, name, mut disclosure }: About) -> Self {
        let until = disclosure.secret_until;
        let secret = disclosure.secret_by.take().map(|law| Secrecy { law, until });
        Self { tenant: TenantName { namespace, name }, secret, disclosure: Disclosure::new(disclosure) }
    }
}

/// A word as it is written in JSON.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn invalid(path: &'static str, code: &'static str, detail: &str) -> Problem {
    Problem::Invalid { path, code, detail: detail.to_owned() }
}

impl NewDisclosure {
    fn check(mut self, now: Timestamp) -> Result<(TenantName, disclosures::Disclosure), Problem> {
        let secret = self.secret.take();
        let fits = |text: &str, most: usize| !text.trim().is_empty() && text.chars().count() <= most;
        if !fits(&self.recipient, 120) {
            return Err(invalid(
                "recipient",
                "text_length",
                "1 to 120 characters: the organisation, and its case number",
            ));
        }
        if !fits(&self.legal_basis, 200) {
            return Err(invalid("legalBasis", "text_length", "1 to 200 characters: the law with its paragraph"));
        }
        if !secret.as_ref().is_none_or(|secret| fits(&secret.law, 200)) {
            return Err(invalid(
                "secret.law",
                "text_length",
                "1 to 200 characters: the law that forbids to tell the tenant",
            ));
        }
        for (path, text) in [
            ("recipient", &self.recipient),
            ("legalBasis", &self.legal_basis),
            ("tenant.namespace", &self.tenant.namespace),
            ("tenant.name", &self.tenant.name),
        ] {
            extract::printable(path, text)?;
        }
        if let Some(secret) = &secret {
            extract::printable("secret.law", &secret.law)?;
            secret.until.map_or(Ok(()), |until| extract::not_too_early("secret.until", until))?;
        }
        if !(1..=DataClass::COUNT).contains(&self.classes.len()) {
            return Err(invalid("classes", "classes_count", "name 1 to 7 classes of data"));
        }
        if self.disclosed_at > now {
            return Err(invalid("disclosedAt", "in_the_future", "record a disclosure after it took place"));
        }
        extract::not_too_early("disclosedAt", copenhagen_day(self.disclosed_at))?;
        if let Some(period) = self.period {
            extract::not_too_early("period.from", period.from)?;
            if period.from > period.until {
                return Err(extract::reversed("period.from", "period.until"));
            }
            if period.until > copenhagen_day(now) {
                return Err(extract::in_the_future("period.until"));
            }
        }
        let (secret_by, secret_until) = secret.map(|secret| (secret.law, secret.until)).unzip();
        Ok((
            self.tenant,
            disclosures::Disclosure {
                id: BatchId::new(now).0,
                recipient_kind: word(self.recipient_kind),
                recipient: self.recipient,
                legal_basis: self.legal_basis,
                classes: self.classes.iter().map(word).collect(),
                period: self.period.map(|period| (period.from, period.until)).unzip(),
                disclosed_at: self.disclosed_at,
                secret_by,
                secret_until: secret_until.flatten(),
                corrects: self.corrects,
            },
        ))
    }
}

/// Record a disclosure
///
/// Nothing is ever changed: correct an entry by a further one that names it in `corrects`. With an `Idempotency-Key`, repeating a call
/// whose answer was lost never records twice.
#[utoipa::path(
    post,
    path = "/v1/owner/disclosures",
    operation_id = "recordDisclosure",
    tag = "owner",
    params(("Idempotency-Key" = Option<String>, Header, description = "Up to 255 visible ASCII characters, for this call \
        alone: the same call again is answered as the first one was, with the header Idempotency-Replayed: true.")),
    request_body = NewDisclosure,
    responses(
        (status = 201, description = "It is recorded.", body = Disclosure,
            headers(("Idempotency-Replayed" = bool, description = "true where the answer is that of an earlier call."))),
        (status = 409, description = "A call with this Idempotency-Key is being worked on.", body = Document,
            content_type = "application/problem+json"),
        ReadProblems,
    ),
    security(("ownerKey" = [])),
)]
pub async fn record(
    State(shared): State<Arc<Shared>>,
    owner: Owner,
    headers: HeaderMap,
    JsonBody { content, bytes }: JsonBody<NewDisclosure>,
) -> Result<Response, Problem> {
    let now = shared.clock.now();
    let key = IdempotencyKey::of(&headers)?;
    let (tenant, entry) = content.check(now)?;
    let name = (tenant.namespace.as_str(), tenant.name.as_str());
    let answer = Disclosure::new(entry.clone());
    let repeat = match key {
        Some(key) => Some(idempotency::repeat_by(&owner.repeat_key()?, &key, &bytes, &answer)?),
        None => None,
    };
    let _in_flight = repeat.as_ref().map(|repeat| shared.in_flight.enter(OWNER, repeat.key_hash)).transpose()?;
    let repeat = repeat.as_ref().map(|repeat| (OWNER, repeat));
    let recorded = disclosures::record(&shared.pool, name, &entry, copenhagen_day(now), repeat).await;
    match recorded.map_err(|error| match error {
        disclosures::Error::Commit => Problem::OutcomeUnknown,
        error => Problem::database(error),
    })? {
        Recorded::Stored => Ok((StatusCode::CREATED, Json(answer)).into_response()),
        Recorded::Repeated(answer) => {
            Ok((StatusCode::CREATED, [("idempotency-replayed", "true")], Json(answer)).into_response())
        }
        Recorded::KeyReused => Err(Problem::KeyReused),
        Recorded::NoTenant => Err(Problem::NotFound("tenant")),
        Recorded::NothingToCorrect => {
            Err(invalid("corrects", "no_such_entry", "the tenant has no such entry; take its `id` from the list"))
        }
        Recorded::WouldTell => {
            let detail = "the entry that it corrects is secret for longer: write a `secret` that ends no earlier";
            Err(invalid("secret", "would_tell", detail))
        }
    }
}

/// List the disclosures of all tenants, newest first
#[utoipa::path(
    get,
    path = "/v1/owner/disclosures",
    operation_id = "listAllDisclosures",
    tag = "owner",
    params(PageQuery),
    responses(
        (status = 200, description = "A page.", body = OwnersDisclosurePage),
        ReadProblems,
    ),
    security(("ownerKey" = [])),
)]
pub async fn list_all(
    State(shared): State<Arc<Shared>>,
    _: Owner,
    Parameters(query): Parameters<PageQuery>,
) -> Result<Json<OwnersDisclosurePage>, Problem> {
    let place = query.place()?;
    let found = disclosures::list(&shared.pool, None, place.below, place.rows()).await;
    let (found, next) = cursor::page(found.map_err(Problem::database)?, place, |about| about.disclosure.id);
    Ok(Json(OwnersDisclosurePage { disclosures: found.into_iter().map(OwnersDisclosure::new).collect(), next }))
}

/// List what was disclosed about the account, newest first
#[utoipa::path(
    get,
    path = "/v1/disclosures",
    operation_id = "listDisclosures",
    tag = "data",
    params(PageQuery),
    responses(
        (status = 200, description = "A page. What the law forbids to tell is not in it.", body = DisclosurePage),
        ReadProblems,
    ),
    security(("apiKey" = ["data:read"])),
)]
pub async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Parameters(query): Parameters<PageQuery>,
) -> Result<Json<DisclosurePage>, Problem> {
    caller.may(Scope::DataRead)?;
    let place = query.place()?;
    let told_to = (caller.tenant(), copenhagen_day(shared.clock.now()));
    let found = disclosures::list(&shared.pool, Some(told_to), place.below, place.rows()).await;
    let (found, next) = cursor::page(found.map_err(Problem::database)?, place, |about| about.disclosure.id);
    Ok(Json(DisclosurePage {
        disclosures: found.into_iter().map(|about| Disclosure::new(about.disclosure)).collect(),
        next,
    }))
}
