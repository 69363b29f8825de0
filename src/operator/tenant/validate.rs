//! What is to be said of a Tenant, promise by promise, and whether it may accept and send.
use jiff::ToSpan as _;
use jiff::civil::Date;

use super::super::conditions::Verdict;
use super::dereference::{Dereferenced, Under};
use super::services;
use crate::crd::TenantSpec;
use crate::crd::conditions::{reasons, types};
use crate::crd::tenant::{Termination, TerminationReason};
use crate::domain::Region;
use crate::store::accounts::InboundNumber;

/// What is to be said of a Tenant.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judgement {
    pub(super) verified: Verdict,
    pub(super) terms: Verdict,
    pub(super) plan: Verdict,
    pub(super) services: Verdict,
    pub(super) policy: Verdict,
    pub(super) routes: Verdict,
    pub(super) credentials: Verdict,
    pub(super) suspended: Verdict,
    pub(super) terminated: Verdict,
    pub(super) active: Verdict,
    /// Numbers it receives on: no condition of its own, but part of what the spec asks.
    pub(super) numbers: Verdict,
    /// The country of numbers without one: no condition of its own either.
    pub(super) country: Verdict,
    /// Why the account is closed, as the stable word and the text that API answers carry; `None`: it is open.
    pub(super) closed: Option<(&'static str, String)>,
    /// It has had nothing to send for so long that it has no pods.
    pub(super) asleep: bool,
    /// The day on which the account is erased for good (A6).
    pub(super) erased_on: Option<Date>,
}

impl Judgement {
    /// The conditions, but for the sender's.
    pub(super) fn told(&self) -> impl Iterator<Item = Verdict> {
        let all = [
            &self.active,
            &self.verified,
            &self.terms,
            &self.plan,
            &self.services,
            &self.policy,
            &self.routes,
            &self.credentials,
            &self.suspended,
            &self.terminated,
        ];
        all.map(Clone::clone).into_iter()
    }
}

pub(super) fn validate(spec: &TenantSpec, found: &Dereferenced, today: Date) -> Judgement {
    let mut judgement = Judgement {
        verified: verified(spec),
        terms: terms(spec, found, today),
        plan: under(types::PLAN_READY, &found.plan),
        services: services::verdict(spec, found),
        policy: under(types::RETENTION_READY, &found.policy),
        routes: routes(found),
        credentials: Verdict::yes(types::CREDENTIALS_READY, reasons::SUCCEEDED, ""),
        suspended: suspended(spec),
        terminated: terminated(spec, today),
        active: Verdict::yes(types::ACTIVE, reasons::SENDING, "the tenant may send"),
        numbers: Verdict::yes(types::ROUTES_READY, reasons::SUCCEEDED, ""),
        country: country(spec),
        closed: None,
        asleep: false,
        erased_on: erased_on(spec, found),
    };
    judgement.closed = closed_by_spec(spec, today).or_else(|| closed_by_others(found, &judgement));
    judgement.active = active(found, &judgement);
    judgement
}

/// A1, A2: by the owner's word in the spec.
fn verified(spec: &TenantSpec) -> Verdict {
    let no = |reason, message: &str| Verdict::no(types::VERIFIED, reason, message);
    let word = spec.verification.as_ref();
    if !spec.organisation.registration.check_digit_holds() && word.is_none_or(|word| word.cvr_confirmed_on.is_none()) {
        return no(
            reasons::CVR_CHECK_DIGIT,
            "the CVR number fails its check digit: correct it, or confirm it in `verification.cvrConfirmedOn`",
        );
    }
    if word.is_none_or(|word| word.organisation_confirmed_on.is_none()) {
        return no(
            reasons::ORGANISATION_UNCONFIRMED,
            "the owner confirms the organisation in `verification.organisationConfirmedOn`",
        );
    }
    let proved = word.and_then(|word| word.contact_email.as_ref());
    if proved.is_none_or(|proved| proved.address != spec.contact.email) {
        return no(
            reasons::EMAIL_UNCONFIRMED,
            "the contact e-mail has not proved itself: the owner may confirm it in `verification.contactEmail`",
        );
    }
    Verdict::yes(types::VERIFIED, reasons::SUCCEEDED, "organisation and contact e-mail are confirmed")
}

/// A3: any version of the plan's terms, accepted in writing; later ones follow by notice (A7).
fn terms(spec: &TenantSpec, found: &Dereferenced, today: Date) -> Verdict {
    let no = |message: String| Verdict::no(types::TERMS_ACCEPTED, reasons::TERMS_NOT_ACCEPTED, message);
    let Some(acceptance) = spec.acceptance.as_ref().filter(|acceptance| acceptance.accepted_on.0 <= today) else {
        return no("the terms are not accepted in writing".to_owned());
    };
    let version = &acceptance.terms_version;
    let known = found.plan.spec().is_some_and(|plan| plan.terms.iter().any(|terms| terms.version == *version));
    if !known {
        return no(format!("version {version} is none of the plan's terms: write the version that was accepted"));
    }
    let message = format!("version {version} was accepted on {}", acceptance.accepted_on.0);
    Verdict::yes(types::TERMS_ACCEPTED, reasons::SUCCEEDED, message)
}

fn under<Spec>(about: &'static str, under: &Under<Spec>) -> Verdict {
    match under {
        Under::Named(_) => Verdict::yes(about, reasons::SUCCEEDED, "it exists and is valid"),
        Under::Last { message, .. } => Verdict::no(about, reasons::LAST_VALID_IN_FORCE, message.as_str()),
        Under::Nothing { missing, message } => {
            // An invalid plan is mended elsewhere: the Tenant itself is not what must change.
            let reason = if *missing { reasons::NOT_FOUND } else { reasons::PROGRESSING };
            Verdict::no(about, reason, message.as_str())
        }
    }
}

fn routes(found: &Dereferenced) -> Verdict {
    let no = |reason, message: String| Verdict::no(types::ROUTES_READY, reason, message);
    let missing: Vec<&str> =
        found.routes.iter().filter(|route| route.found.is_none()).map(|route| route.name.as_str()).collect();
    if !missing.is_empty() {
        let message = format!("SmsRoute {} does not exist: create it, or take it out of `routes`", missing.join(", "));
        return no(reasons::NOT_FOUND, message);
    }
    let waiting: Vec<String> = found
        .routes
        .iter()
        .filter_map(|route| Some((&route.name, route.found.as_ref()?)))
        .filter(|(_, found)| !found.ready)
        .map(|(name, found)| format!("SmsRoute {name}: {}", found.why_not))
        .collect();
    if waiting.is_empty() {
        Verdict::yes(types::ROUTES_READY, reasons::SUCCEEDED, "all routes are ready")
    } else {
        no(reasons::PROGRESSING, waiting.join("; "))
    }
}

/// Numbers that are another tenant's.
pub(super) fn numbers(taken: &[InboundNumber]) -> Verdict {
    if taken.is_empty() {
        return Verdict::yes(types::ROUTES_READY, reasons::SUCCEEDED, "");
    }
    let mut names: Vec<String> = taken.iter().map(|taken| format!("{} {}", taken.number, taken.keyword)).collect();
    names.dedup();
    let names: Vec<&str> = names.iter().map(|name| name.trim_end()).collect();
    let message = format!("another Tenant has {} in `inboundNumbers`: take it out of one of the two", names.join(", "));
    Verdict::no(types::ROUTES_READY, reasons::INVALID, message)
}

/// A country whose numbers nobody can read would fail at each call.
fn country(spec: &TenantSpec) -> Verdict {
    match spec.default_country.as_ref().filter(|country| Region::from_code(country).is_none()) {
        None => Verdict::yes(types::ACTIVE, reasons::SUCCEEDED, ""),
        Some(country) => {
            let message =
                format!("no numbering plan is known for {country}: write another country in `defaultCountry`");
            Verdict::no(types::ACTIVE, reasons::INVALID, message)
        }
    }
}

fn suspended(spec: &TenantSpec) -> Verdict {
    match &spec.suspension {
        None => Verdict::no(types::SUSPENDED, reasons::NONE, "not suspended"),
        Some(suspension) => {
            let message = suspension.message.clone().unwrap_or_else(|| suspension.reason.as_str().to_owned());
            Verdict::yes(types::SUSPENDED, reasons::SUSPENDED, message)
        }
    }
}

/// A6: one month's notice; at once for repeated abuse (A5).
fn last_day(termination: &Termination) -> Date {
    let notice = termination.notice_given_on.0;
    termination.ends_on.map_or_else(
        || match termination.reason {
            TerminationReason::RepeatedAbuse => notice,
            TerminationReason::Notice | TerminationReason::ChangedTerms => notice.saturating_add(1.month()),
        },
        |day| day.0,
    )
}

fn has_ended(termination: &Termination, today: Date) -> bool {
    let last = last_day(termination);
    // Without notice: not after that day, but with it (A5).
    last < today || (termination.reason == TerminationReason::RepeatedAbuse && last <= today)
}

fn terminated(spec: &TenantSpec, today: Date) -> Verdict {
    match &spec.termination {
        None => Verdict::no(types::TERMINATED, reasons::NONE, "no notice was given"),
        Some(termination) => {
            let verb = if has_ended(termination, today) { "ended" } else { "ends" };
            let message = format!("the account {verb} on {}", last_day(termination));
            Verdict::yes(types::TERMINATED, reasons::TERMINATED, message)
        }
    }
}

fn erased_on(spec: &TenantSpec, found: &Dereferenced) -> Option<Date> {
    let months = found.policy.spec()?.accounts.delete_after_months;
    Some(last_day(spec.termination.as_ref()?).saturating_add(i32::from(months).months()))
}

/// Why the account neither accepts nor sends, where the spec alone says so. The words are part of the API.
pub(super) fn closed_by_spec(spec: &TenantSpec, today: Date) -> Option<(&'static str, String)> {
    let suspended = suspended(spec);
    if suspended.holds {
        return Some(("suspended", suspended.message));
    }
    if spec.termination.as_ref().is_some_and(|termination| has_ended(termination, today)) {
        return Some(("terminated", terminated(spec, today).message));
    }
    if !verified(spec).holds {
        return Some(("unverified", "The account is not verified yet.".to_owned()));
    }
    None
}

/// Why the account neither accepts nor sends, where something else does.
fn closed_by_others(found: &Dereferenced, judgement: &Judgement) -> Option<(&'static str, String)> {
    if !judgement.terms.holds {
        return Some(("terms_not_accepted", "The terms are not accepted yet.".to_owned()));
    }
    let routes = found.routes.iter().any(|route| route.found.is_some());
    if found.plan.spec().is_none() || found.policy.spec().is_none() || !routes || !judgement.country.holds {
        return Some(("not_ready", "The account is not set up yet.".to_owned()));
    }
    None
}

/// Whether the tenant may send, and if not why.
fn active(found: &Dereferenced, judgement: &Judgement) -> Verdict {
    let no = |reason, message: &str| Verdict::no(types::ACTIVE, reason, message);
    match judgement.closed.as_ref().map(|(code, message)| (*code, message.as_str())) {
        Some(("suspended", message)) => no(reasons::SUSPENDED, message),
        Some(("terminated", message)) => no(reasons::TERMINATED, message),
        Some(("unverified", _)) => no(judgement.verified.reason, &judgement.verified.message),
        Some(("terms_not_accepted", _)) => no(judgement.terms.reason, &judgement.terms.message),
        Some(_) => {
            let lacking = [&judgement.country, &judgement.plan, &judgement.policy, &judgement.routes];
            let lacking =
                lacking.into_iter().find(|verdict| !verdict.holds && verdict.reason != reasons::LAST_VALID_IN_FORCE);
            lacking.map_or_else(|| no(reasons::PROGRESSING, ""), |why| no(why.reason, &why.message))
        }
        None => sends(found, &judgement.routes),
    }
}

/// Whether an open account has a way to send.
fn sends(found: &Dereferenced, routes: &Verdict) -> Verdict {
    let no = |reason, why: &str| Verdict::no(types::ACTIVE, reason, format!("messages are accepted and wait: {why}"));
    let there = found.routes.iter().filter_map(|route| Some((&route.name, route.found.as_ref()?)));
    if there.clone().any(|(_, found)| found.sends()) {
        return Verdict::yes(types::ACTIVE, reasons::SENDING, "the tenant may send");
    }
    if there.clone().any(|(_, found)| found.closed.is_none()) {
        return no(reasons::NO_ROUTE, &routes.message);
    }
    let closed = there.filter_map(|(name, found)| Some(format!("SmsRoute {name}: {}", found.closed.as_ref()?)));
    no(reasons::MAINTENANCE, &closed.collect::<Vec<_>>().join("; "))
}
