//! `/v1/opt-outs`: the account's list of those who want nothing more from it. How calls are held against it, and how what handsets ask
//! for by SMS gets there, is in `entering`.
//!
//! Numbers come in the body and never in the address: proxies, load balancers and browsers log addresses (D10).
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::auth::Caller;
use super::cursor::{self, PageQuery};
use super::extract::{JsonBody, Parameters};
use super::problem::{Problem, ReadProblems};
use super::{Shared, seal};
use crate::domain::{MessageId, Msisdn, NumberRefusal, Personal, Region, Scope, TenantId};
use crate::keyring::seal::{AccountKey, Field};
use crate::store::opt_outs::{self as store, New};

mod entering;
mod waiting;

pub(super) use entering::{follow, hashes, hold};

/// Numbers of one call.
const MOST: usize = 10_000;

/// Numbers that want nothing more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOptOuts {
    /// The numbers, written as for sending: international with + or 00, or national to the account's country.
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 10_000, examples(json!(["+45 20 12 34 56"])))]
    numbers: Vec<Personal<String>>,
}

/// What became of a call.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OptOutsAnswer {
    /// The numbers that are on the list now, in the order of the call.
    opt_outs: Vec<ListedNumber>,
    /// What is no number; it is not on the list.
    refused: Vec<RefusedNumber>,
    /// Messages that waited for these numbers and are not sent.
    ended: usize,
}

/// A number that is on the list.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListedNumber {
    /// Its place in `numbers`, from 0.
    index: usize,
    /// Its entry.
    id: Uuid,
    /// It was not on the list before.
    added: bool,
}

/// What is no number.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefusedNumber {
    /// Its place in `numbers`, from 0.
    index: usize,
    /// A stable word for programs.
    #[schema(examples("number_too_short"))]
    code: &'static str,
    /// Why, in words.
    detail: String,
}

/// A number that nothing more is sent to.
#[derive(Debug, Serialize, ToSchema)]
pub struct OptOut {
    /// Its id.
    id: Uuid,
    /// The number, in international form.
    #[schema(value_type = String, examples("+4520123456"))]
    number: Personal<String>,
    /// How it came on the list: `api`, or `keyword` where its holder asked for it by SMS.
    #[schema(examples("keyword"))]
    source: String,
    /// When it came on the list.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

/// A page of the list, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OptOutPage {
    /// The numbers.
    opt_outs: Vec<OptOut>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which number.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OptOutSearchRequest {
    /// The number, written as for sending.
    #[schema(value_type = String, examples("+45 20 12 34 56"))]
    number: Personal<String>,
}

impl OptOut {
    /// What is stored, opened.
    pub(super) fn open(key: &AccountKey, stored: store::OptOut) -> Result<Self, Problem> {
        let digits = key.open(stored.id, Field::OptOut, &stored.sealed).map_err(Problem::internal)?;
        let digits = std::str::from_utf8(&digits).ok().and_then(Msisdn::from_digits);
        let number = digits.ok_or_else(|| Problem::internal("what was sealed as a number is none"))?.international();
        Ok(Self { id: stored.id, number, source: stored.source, since: stored.since })
    }
}

/// An entry of the list, sealed.
fn sealed(key: &AccountKey, id: Uuid, number: &Msisdn, since: Timestamp) -> Result<New, Problem> {
    let sealed = key.seal(id, Field::OptOut, number.digits().reveal().as_bytes()).map_err(Problem::internal)?;
    Ok(New { id, number_hash: key.number_hash(number), sealed, since })
}

/// Put numbers on the list of those who want nothing more
///
/// Nothing is accepted for them from the answer on, and what waits for them is cancelled; what is on its way already is not called
/// back. A number that is on the list stays as it is, so that a call may be repeated.
#[utoipa::path(
    post,
    path = "/v1/opt-outs",
    operation_id = "addOptOuts",
    tag = "opt-outs",
    request_body = NewOptOuts,
    responses((status = 200, description = "They are on the list.", body = OptOutsAnswer), ReadProblems),
    security(("apiKey" = ["opt-outs:manage"])),
)]
pub async fn add(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    JsonBody { content, .. }: JsonBody<NewOptOuts>,
) -> Result<Json<OptOutsAnswer>, Problem> {
    caller.may(Scope::OptOutsManage)?;
    let invalid = |code, detail: String| Problem::Invalid { path: "numbers", code, detail };
    if content.numbers.is_empty() {
        return Err(invalid("numbers_empty", "name at least one number".to_owned()));
    }
    if content.numbers.len() > MOST {
        return Err(invalid("too_many_numbers", format!("a call may have {MOST} numbers")));
    }
    let (tenant, now, region) = (caller.tenant(), shared.clock.now(), caller.region()?);
    let key = shared.keyring.account_key(tenant).await.map_err(seal::away)?;
    // Reading a number takes some 25 µs: beside the threads that serve all callers.
    let work = move || read(&key, region, &content.numbers, now);
    let Read { places, new, numbers, refused } =
        tokio::task::spawn_blocking(work).await.map_err(Problem::internal)??;
    let ids = store::add(&shared.pool, tenant, &new).await.map_err(Problem::database)?;
    let ended = waiting::end(&shared, tenant, numbers).await?;
    let mut seen = HashSet::new();
    let listed = |(index, nth): (usize, usize)| {
        let entry = new.get(nth)?;
        let id = *ids.get(&entry.number_hash[..])?;
        // Of a number that stands twice in the call the first place is the new one.
        Some(ListedNumber { index, id, added: seen.insert(nth) && id == entry.id })
    };
    let opt_outs = places.into_iter().filter_map(listed).collect();
    Ok(Json(OptOutsAnswer { opt_outs, refused, ended }))
}

/// The numbers of a call.
struct Read {
    /// Each place, and its number's among the distinct ones.
    places: Vec<(usize, usize)>,
    /// The distinct ones, sealed.
    new: Vec<New>,
    /// The same, to look for what waits.
    numbers: Vec<Msisdn>,
    refused: Vec<RefusedNumber>,
}

fn read(key: &AccountKey, region: Region, written: &[Personal<String>], now: Timestamp) -> Result<Read, Problem> {
    let mut known = HashMap::new();
    let mut read = Read { places: Vec::new(), new: Vec::new(), numbers: Vec::new(), refused: Vec::new() };
    for (index, (written, id)) in written.iter().zip((0..).map(|nth| MessageId::nth(now, nth))).enumerate() {
        match Msisdn::parse(written.reveal(), region) {
            Err(refusal) => read.refused.push(refused(index, refusal)),
            Ok(number) => {
                let nth = *known.entry(number.clone()).or_insert(read.new.len());
                if nth == read.new.len() {
                    read.new.push(sealed(key, id.0, &number, now)?);
                    read.numbers.push(number);
                }
                read.places.push((index, nth));
            }
        }
    }
    Ok(read)
}

fn refused(index: usize, refusal: NumberRefusal) -> RefusedNumber {
    RefusedNumber { index, code: refusal.code(), detail: refusal.to_string() }
}

/// List those who want nothing more, newest first
#[utoipa::path(
    get,
    path = "/v1/opt-outs",
    operation_id = "listOptOuts",
    tag = "opt-outs",
    params(PageQuery),
    responses((status = 200, description = "A page.", body = OptOutPage), ReadProblems),
    security(("apiKey" = ["opt-outs:manage"])),
)]
pub async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Parameters(query): Parameters<PageQuery>,
) -> Result<Json<OptOutPage>, Problem> {
    caller.may(Scope::OptOutsManage)?;
    let place = query.place()?;
    entering::enter(&shared, caller.tenant()).await?;
    let found = store::list(&shared.pool, caller.tenant(), place.below, place.rows()).await;
    let (found, next) = cursor::page(found.map_err(Problem::database)?, place, |entry| entry.id);
    let opt_outs = opened(&shared, caller.tenant(), found).await?;
    Ok(Json(OptOutPage { opt_outs, next }))
}

/// Entries, opened; no key is asked for where there is none.
pub(super) async fn opened(
    shared: &Shared,
    tenant: TenantId,
    stored: Vec<store::OptOut>,
) -> Result<Vec<OptOut>, Problem> {
    if stored.is_empty() {
        return Ok(Vec::new());
    }
    let key = shared.keyring.account_key(tenant).await.map_err(seal::away)?;
    stored.into_iter().map(|entry| OptOut::open(&key, entry)).collect()
}

/// Look a number up in the list
///
/// The number is in the body, so that no proxy logs it.
#[utoipa::path(
    post,
    path = "/v1/opt-outs/search",
    operation_id = "searchOptOuts",
    tag = "opt-outs",
    request_body = OptOutSearchRequest,
    responses((status = 200, description = "Its entry, or none.", body = OptOutPage), ReadProblems),
    security(("apiKey" = ["opt-outs:manage"])),
)]
pub async fn search(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    request: JsonBody<OptOutSearchRequest>,
) -> Result<Json<OptOutPage>, Problem> {
    caller.may(Scope::OptOutsManage)?;
    let number = Msisdn::parse(request.content.number.reveal(), caller.region()?)
        .map_err(|refusal| Problem::Invalid { path: "number", code: refusal.code(), detail: refusal.to_string() })?;
    entering::enter(&shared, caller.tenant()).await?;
    let key = shared.keyring.account_key(caller.tenant()).await.map_err(seal::away)?;
    let found = store::find(&shared.pool, caller.tenant(), &key.number_hash(&number)).await;
    let found = found.map_err(Problem::database)?;
    let opt_outs = found.into_iter().map(|entry| OptOut::open(&key, entry)).collect::<Result<_, _>>()?;
    Ok(Json(OptOutPage { opt_outs, next: None }))
}

/// Take a number off the list
///
/// It can be sent to again. The account answers for having its holder's consent.
#[utoipa::path(
    delete,
    path = "/v1/opt-outs/{id}",
    operation_id = "removeOptOut",
    tag = "opt-outs",
    params(("id" = Uuid, Path, description = "The entry's id.")),
    responses((status = 204, description = "It is gone."), ReadProblems),
    security(("apiKey" = ["opt-outs:manage"])),
)]
pub async fn remove(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<StatusCode, Problem> {
    caller.may(Scope::OptOutsManage)?;
    // What is no id is no entry's id.
    let Ok(Path(id)) = id else { return Err(Problem::NotFound("opt-out")) };
    match store::remove(&shared.pool, caller.tenant(), id).await.map_err(Problem::database)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::NotFound("opt-out")),
    }
}
