//! What is said of a Tenant, and what is enforced and made for it, by what its spec and its surroundings say.
use jiff::civil::{Date, date};
use serde_json::{Value, json};

use super::build;
use super::dereference::{self, Dereferenced, FoundRoute, Live, Route, Under};
use super::validate::{Judgement, validate};
use crate::crd::conditions::reasons;
use crate::crd::{BillingPlanSpec, RetentionPolicySpec, SmsRouteSpec, Tenant, TenantSpec};
use crate::domain::{RouteId, TenantId};
use crate::store::accounts::Window;

const TODAY: Date = date(2026, 3, 15);

/// A Tenant that may send, with these fields written over.
fn tenant(change: &Value) -> Tenant {
    let mut spec = json!({
        "organisation": {
            "name": "Bageren ApS", "registration": {"cvr": "25313763"},
            "address": {"lines": ["Torvet 1"], "postcode": "8000", "city": "Aarhus", "country": "DK"},
        },
        "contact": {"email": "sms@example.dk"}, "services": ["api"],
        "planRef": {"name": "standard"}, "retentionRef": {"name": "standard"},
        "routes": [{"name": "main", "weight": 3}], "senderIds": [{"id": "Bageren"}],
        "verification": {"organisationConfirmedOn": "2026-01-02",
                         "contactEmail": {"address": "sms@example.dk", "confirmedOn": "2026-01-02"}},
        "acceptance": {"termsVersion": "2026-1", "acceptedOn": "2026-01-02"},
    });
    merge(&mut spec, change);
    let mut tenant = Tenant::new("acme", serde_json::from_value(spec).expect("a Tenant"));
    tenant.metadata.generation = Some(4);
    tenant
}

fn spec(change: &Value) -> TenantSpec {
    tenant(change).spec
}

/// As a JSON merge patch: `null` removes.
fn merge(into: &mut Value, change: &Value) {
    let (Value::Object(into), Value::Object(change)) = (into, change) else { return };
    for (key, value) in change {
        match value {
            Value::Null => drop(into.remove(key)),
            Value::Object(_) if into.get(key).is_some_and(Value::is_object) => merge(&mut into[key], value),
            _ => drop(into.insert(key.clone(), value.clone())),
        }
    }
}

fn plan() -> BillingPlanSpec {
    serde_json::from_value(json!({
        "seller": {
            "name": "Vert ApS", "address": {"lines": ["Vej 1"], "postcode": "8000", "city": "Aarhus", "country": "DK"},
            "cvr": "25313763", "email": "faktura@example.dk", "bankAccount": {"registration": "1234", "number": "1234567"},
        },
        "brands": [{"name": "sms", "displayName": "SMS", "domain": "sms.example.dk",
                    "senderAddress": "sms@example.dk",
                    "services": ["api", "portal", "emailToSms", "bulk", "smsToEmail", "premium"]}],
        "terms": [{"version": "2026-1", "from": "2026-01-01", "page": "https://example.dk/terms"},
                  {"version": "2027-1", "from": "2027-01-01", "announcedOn": "2026-03-01", "page": "https://example.dk/new"}],
        "currency": "DKK",
        "prices": [{"from": "2026-01-01", "monthlyFee": "99", "sms": [{"prefix": "45", "price": "0.295"}]}],
        "vat": {"percent": "25"}, "payment": {"days": 8},
    }))
    .expect("a plan")
}

fn policy(change: &Value) -> RetentionPolicySpec {
    let mut policy = json!({
        "log": {"keep": {"months": 3}, "textCharacters": 160}, "mail": {"keepDays": 3}, "accounts": {"deleteAfterMonths": 3},
        "invoices": {"keepYears": 5}, "backups": {"keyringKeepHours": 24, "dataKeepDays": 14},
        "hosting": {"country": "DK", "location": "Aarhus", "provider": "Vert ApS"},
    });
    merge(&mut policy, change);
    serde_json::from_value(policy).expect("a policy")
}

/// A route that is ready, with these fields written over.
fn route(name: &str, change: &Value) -> Route {
    let mut spec = json!({
        "upstream": {"smpp": {"host": "smsc.example.com", "port": 2775, "credentialsRef": {"name": "main"}}},
        "processor": {"name": "SMSC", "country": "DK"}, "ratePerSecond": 20,
    });
    merge(&mut spec, change);
    let spec: SmsRouteSpec = serde_json::from_value(spec).expect("a route");
    let closed = dereference::closed(&spec);
    let found = FoundRoute { id: RouteId(7), ready: true, why_not: String::new(), closed, spec };
    Route { name: name.to_owned(), written_weight: None, found: Some(found) }
}

fn surroundings(routes: Vec<Route>) -> Dereferenced {
    Dereferenced { plan: Under::Named(plan()), policy: Under::Named(policy(&json!({}))), routes, live: Live::default() }
}

fn usual() -> Dereferenced {
    surroundings(vec![route("main", &json!({}))])
}

fn judged(change: &Value) -> Judgement {
    validate(&spec(change), &usual(), TODAY)
}

fn code(change: &Value) -> Option<&'static str> {
    judged(change).closed.map(|(code, _)| code)
}

#[test]
fn everything_in_order_is_open_and_sends() {
    let judgement = judged(&json!({}));
    assert_eq!(judgement.closed, None);
    assert!(judgement.active.holds && judgement.verified.holds && judgement.terms.holds);
    assert_eq!(build::replicas(&spec(&json!({})), &usual(), &judgement), 1);
}

// Routes ---------------------------------------------------------------------------------------------------------------

#[test]
fn a_tenant_whose_only_route_is_closed_waits_without_pods_and_says_so() {
    let closed = || route("main", &json!({"maintenance": {"closed": true, "message": "moving"}}));
    let found = surroundings(vec![closed()]);
    let judgement = validate(&spec(&json!({})), &found, TODAY);
    assert_eq!(judgement.closed, None, "messages are accepted and wait");
    assert_eq!((judgement.active.holds, judgement.active.reason), (false, reasons::MAINTENANCE));
    assert!(judgement.active.message.ends_with("SmsRoute main: moving"), "{}", judgement.active.message);
    assert_eq!(build::replicas(&spec(&json!({})), &found, &judgement), 0, "no pod that could not get ready");

    let found = surroundings(vec![closed(), route("other", &json!({}))]);
    let judgement = validate(&spec(&json!({})), &found, TODAY);
    assert!(judgement.active.holds, "another route is open");
    assert_eq!(build::replicas(&spec(&json!({})), &found, &judgement), 1);
    let tenant = tenant(&json!({}));
    let told: Vec<String> =
        build::settings(&tenant, "sms", TenantId(1), &found).routes.into_iter().map(|leg| leg.name).collect();
    assert_eq!(told, ["other"]);
}

#[test]
fn a_sender_is_told_what_routes_cost_and_which_carry_premium() {
    let carries = json!({"carries": {"premium": true, "costs": [{"prefix": "45", "cost": "0.145"}]}});
    let found = surroundings(vec![route("main", &json!({})), route("premium", &carries)]);
    let legs = |change: &Value| build::settings(&tenant(change), "sms", TenantId(1), &found).routes;
    let premium = json!([
        {"number": "1231", "keyword": "GIV", "price": "50"}, {"number": "1204", "keyword": "GIV", "price": "50"},
        {"number": "1204", "keyword": "STEM", "price": "50"},
    ]);
    let usual = legs(&json!({}));
    assert!(usual.iter().all(|leg| leg.costs.is_empty() && leg.without_senders.is_empty()), "{usual:?}");
    let both = legs(&json!({"routeOrder": "cost", "services": ["api", "premium"], "premium": premium}));
    assert_eq!(both[0].without_senders, ["1204", "1231"]);
    assert!(both[0].costs.is_empty() && both[1].without_senders.is_empty());
    assert_eq!((both[1].costs[0].prefix.as_str(), both[1].costs[0].cost.0), ("45", 14_500));
}

#[test]
fn a_guard_against_duplicates_is_enforced_where_it_is_written() {
    let enforced = |change: &Value| {
        let (tenant, found) = (tenant(change), usual());
        let judgement = validate(&tenant.spec, &found, TODAY);
        build::orders(&tenant, &found, &judgement, TODAY).expect("orders").borrow(None).enforcement.duplicate_seconds
    };
    assert_eq!(enforced(&json!({})), None);
    assert_eq!(enforced(&json!({"limits": {"duplicateGuard": {"seconds": 60}}})), Some(60));
}

#[test]
fn a_route_that_is_not_ready_is_named() {
    let mut waiting = route("main", &json!({}));
    if let Some(found) = &mut waiting.found {
        (found.ready, found.why_not) = (false, "0 of 1 connector pods are ready".to_owned());
    }
    let judgement = validate(&spec(&json!({})), &surroundings(vec![waiting]), TODAY);
    assert_eq!((judgement.active.holds, judgement.active.reason), (false, reasons::NO_ROUTE));
    assert!(judgement.active.message.contains("SmsRoute main: 0 of 1"), "{}", judgement.active.message);

    let missing = Route { name: "main".to_owned(), written_weight: None, found: None };
    let judgement = validate(&spec(&json!({})), &surroundings(vec![missing]), TODAY);
    assert_eq!(judgement.closed.map(|(code, _)| code), Some("not_ready"));
    assert_eq!(judgement.active.reason, reasons::NOT_FOUND);
}

// Mail -----------------------------------------------------------------------------------------------------------------

#[test]
fn mail_is_kept_of_those_who_use_it_and_have_not_opted_out() {
    let keeps = |change: &Value, policy_says: &Value| {
        let found = Dereferenced { policy: Under::Named(policy(policy_says)), ..usual() };
        build::keeps_mail(&spec(change), &found).is_some()
    };
    for service in ["emailToSms", "bulk", "smsToEmail"] {
        assert!(keeps(&json!({"services": ["api", service]}), &json!({})), "{service}");
    }
    assert!(!keeps(&json!({"services": ["api", "portal"]}), &json!({})));
    assert!(!keeps(&json!({"services": ["bulk"]}), &json!({"optOut": {"always": true}})));
    assert!(!keeps(&json!({"services": ["bulk"], "logging": {"optOutConfirmedOn": "2026-01-02"}}), &json!({})));
}

#[test]
fn no_mail_is_kept_for_a_service_that_the_brand_does_not_offer() {
    let found = offering(&["api", "portal"]);
    assert!(build::keeps_mail(&spec(&json!({"services": ["api", "bulk"]})), &found).is_none());
}

// Services ----------------------------------------------------------------------------------------------------------------

/// A plan whose only brand offers these.
fn offering(services: &[&str]) -> Dereferenced {
    let mut plan = serde_json::to_value(plan()).expect("JSON");
    plan["brands"][0]["services"] = json!(services);
    Dereferenced { plan: Under::Named(serde_json::from_value(plan).expect("a plan")), ..usual() }
}

/// What is enforced: the services, and what the sender ids lack.
fn had(change: &Value, found: &Dereferenced) -> (Vec<String>, Vec<String>) {
    let tenant = tenant(change);
    let judgement = validate(&tenant.spec, found, TODAY);
    let orders = build::orders(&tenant, found, &judgement, TODAY).expect("a policy is in force");
    let enforcement = orders.borrow(None).enforcement.clone();
    (enforcement.services, enforcement.sender_lacks)
}

#[test]
fn a_tenant_has_the_services_that_its_brand_offers_and_the_others_are_named() {
    let asked = json!({"services": ["api", "bulk", "portal"]});
    let judgement = validate(&spec(&asked), &usual(), TODAY);
    assert!(judgement.services.holds, "{:?}", judgement.services);
    assert_eq!(had(&asked, &usual()).0, ["api", "bulk", "portal"]);

    let found = offering(&["portal", "premium"]);
    let judgement = validate(&spec(&asked), &found, TODAY);
    assert_eq!((judgement.services.holds, judgement.services.reason), (false, reasons::INVALID));
    assert_eq!(
        judgement.services.message,
        "brand sms of BillingPlan standard does not offer api, bulk: take it out of `services`, or add it to the brand's"
    );
    assert_eq!(judgement.closed, None, "what it has goes on");
    assert_eq!(had(&asked, &found).0, ["portal"]);
}

#[test]
fn a_tenant_is_under_one_of_its_plans_brands() {
    let says = |brand: Value, found: &Dereferenced| {
        let change = json!({"brand": brand});
        let verdict = validate(&spec(&change), found, TODAY).services;
        (verdict.holds, verdict.message, had(&change, found).0)
    };
    assert_eq!(says(json!("sms"), &usual()).2, ["api"]);
    let (holds, message, services) = says(json!("qme"), &usual());
    assert_eq!((holds, services.len()), (false, 0));
    assert_eq!(message, "BillingPlan standard has no brand qme: write one of sms in `brand`");

    let mut two = serde_json::to_value(plan()).expect("JSON");
    two["brands"] = json!([two["brands"][0], two["brands"][0]]);
    (two["brands"][1]["name"], two["brands"][1]["services"]) = (json!("qme"), json!(["portal"]));
    let two = Dereferenced { plan: Under::Named(serde_json::from_value(two).expect("a plan")), ..usual() };
    let (holds, message, services) = says(Value::Null, &two);
    assert_eq!((holds, services.len()), (false, 0));
    assert_eq!(message, "BillingPlan standard has several brands: write one of sms, qme in `brand`");
    assert_eq!(says(json!("sms"), &two).2, ["api"]);
    assert_eq!(says(json!("qme"), &two).2.len(), 0, "each offers its own");
}

#[test]
fn premium_numbers_and_deliveries_need_their_services() {
    let premium = |services: &[&str], donation: bool| {
        json!({
            "services": services, "senderIds": [{"id": "Bageren"}, {"id": "1204"}],
            "premium": [{"number": "1204", "keyword": "GIV", "price": "50", "donation": donation}],
        })
    };
    let has = premium(&["api", "premium"], false);
    assert!(validate(&spec(&has), &usual(), TODAY).services.holds);
    assert_eq!(had(&has, &usual()).1, ["", ""]);
    assert_eq!(had(&has, &offering(&["api"])).1, ["", "premium"], "its brand does not offer it");

    let other = premium(&["api", "premium"], true);
    let verdict = validate(&spec(&other), &usual(), TODAY).services;
    assert!(!verdict.holds && verdict.message.starts_with("1204 GIV in `premium` needs donations: "), "{verdict:?}");
    assert_eq!(had(&other, &usual()).1, ["", "donations"]);

    let inbound = json!({"inboundNumbers": [{"number": "1204", "deliver": ["email", "webhook"]}]});
    let verdict = validate(&spec(&inbound), &usual(), TODAY).services;
    assert!(verdict.message.starts_with("delivery of 1204 in `inboundNumbers` needs smsToEmail: "), "{verdict:?}");
    assert!(!verdict.message.contains("needs api"), "{verdict:?}");
}

// Verification and terms -----------------------------------------------------------------------------------------------

#[test]
fn a_cvr_that_fails_its_check_digit_is_lifted_by_the_owners_dated_word() {
    let wrong = json!({"organisation": {"registration": {"cvr": "12345678"}}});
    let judgement = judged(&wrong);
    assert_eq!((judgement.verified.holds, judgement.verified.reason), (false, reasons::CVR_CHECK_DIGIT));
    let mut lifted = wrong;
    merge(&mut lifted, &json!({"verification": {"cvrConfirmedOn": "2026-01-02"}}));
    assert!(judged(&lifted).verified.holds);
}

#[test]
fn organisation_and_contact_are_both_confirmed() {
    let reason = |change: &Value| judged(change).verified.reason;
    assert_eq!(reason(&json!({"verification": {"organisationConfirmedOn": null}})), reasons::ORGANISATION_UNCONFIRMED);
    assert_eq!(reason(&json!({"verification": {"contactEmail": null}})), reasons::EMAIL_UNCONFIRMED);
    assert_eq!(reason(&json!({"contact": {"email": "new@example.dk"}})), reasons::EMAIL_UNCONFIRMED, "another address");
}

#[test]
fn terms_are_accepted_in_a_version_of_the_plan_and_not_before_their_day() {
    let holds = |change: &Value| judged(change).terms.holds;
    assert!(holds(&json!({"acceptance": {"termsVersion": "2027-1"}})));
    assert!(holds(&json!({"acceptance": {"acceptedOn": "2026-03-15"}})));
    assert!(!holds(&json!({"acceptance": {"acceptedOn": "2026-03-16"}})), "not accepted yet");
    assert!(!holds(&json!({"acceptance": {"termsVersion": "2025-1"}})), "none of the plan's");
    assert!(!holds(&json!({"acceptance": null})));

    let message = "BillingPlan standard does not exist: create it".to_owned();
    let found = Dereferenced { plan: Under::Nothing { missing: true, message }, ..usual() };
    assert!(!validate(&spec(&json!({})), &found, TODAY).terms.holds, "no plan, no terms");
    let last = Under::Last { missing: true, message: "gone".to_owned(), spec: plan() };
    let judgement = validate(&spec(&json!({})), &Dereferenced { plan: last, ..usual() }, TODAY);
    assert!(judgement.terms.holds && judgement.closed.is_none(), "the last valid form stays in force");
    assert_eq!(judgement.plan.reason, reasons::LAST_VALID_IN_FORCE);
}

// Closed ---------------------------------------------------------------------------------------------------------------

#[test]
fn the_gravest_reason_for_being_closed_is_told() {
    let all = json!({
        "suspension": {"reason": "spam", "message": "Uopfordrede beskeder"},
        "termination": {"by": "owner", "reason": "repeatedAbuse", "noticeGivenOn": "2026-03-01"},
        "verification": null, "acceptance": null,
    });
    let judgement = judged(&all);
    assert_eq!(judgement.closed, Some(("suspended", "Uopfordrede beskeder".to_owned())));
    assert_eq!(judgement.active.reason, reasons::SUSPENDED);
    let mut change = all;
    for (lifted, next, reason) in [
        ("suspension", Some("terminated"), reasons::TERMINATED),
        ("termination", Some("unverified"), reasons::ORGANISATION_UNCONFIRMED),
    ] {
        change[lifted] = Value::Null;
        let judgement = judged(&change);
        assert_eq!(judgement.closed.as_ref().map(|(code, _)| *code), next);
        assert_eq!(judgement.active.reason, reason);
    }
    assert_eq!(code(&json!({"acceptance": null})), Some("terms_not_accepted"));
    let nothing = Under::Nothing { missing: true, message: "no policy".to_owned() };
    let judgement = validate(&spec(&json!({})), &Dereferenced { policy: nothing, ..usual() }, TODAY);
    assert_eq!(judgement.closed.map(|(code, _)| code), Some("not_ready"));
    assert_eq!((judgement.active.reason, judgement.active.message.as_str()), (reasons::NOT_FOUND, "no policy"));
}

#[test]
fn a_country_without_a_numbering_plan_is_the_writers_to_mend() {
    let judgement = judged(&json!({"defaultCountry": "XX"}));
    assert_eq!((judgement.country.holds, judgement.country.reason), (false, reasons::INVALID));
    assert_eq!(judgement.closed.as_ref().map(|(code, _)| *code), Some("not_ready"), "no call would be understood");
    assert_eq!(judgement.active.reason, reasons::INVALID);
    assert!(judgement.active.message.contains("XX"), "{}", judgement.active.message);
    assert!(judged(&json!({"defaultCountry": "SE"})).active.holds);

    let region = |country: &str| {
        let tenant = tenant(&json!({"defaultCountry": country}));
        let judgement = validate(&tenant.spec, &usual(), TODAY);
        let orders = build::orders(&tenant, &usual(), &judgement, TODAY).expect("a policy is in force");
        orders.borrow(None).enforcement.default_region.clone()
    };
    assert_eq!((region("SE").as_str(), region("XX").as_str()), ("SE", "DK"));
}

#[test]
fn a_suspension_without_a_message_tells_its_reason() {
    assert_eq!(judged(&json!({"suspension": {"reason": "nonPayment"}})).suspended.message, "nonPayment");
}

// Termination ----------------------------------------------------------------------------------------------------------

/// The word for being closed on each of these days, and when the account is erased.
fn ended(termination: &Value, days: [Date; 2]) -> ([Option<&'static str>; 2], Option<Date>) {
    let spec = spec(&json!({"termination": termination}));
    let on = |today| validate(&spec, &usual(), today);
    (days.map(|day| on(day).closed.map(|(code, _)| code)), on(days[0]).erased_on)
}

#[test]
fn an_account_ends_a_calendar_month_after_its_notice() {
    let notice = json!({"by": "tenant", "reason": "notice", "noticeGivenOn": "2026-01-31"});
    let (closed, erased) = ended(&notice, [date(2026, 2, 28), date(2026, 3, 1)]);
    assert_eq!(closed, [None, Some("terminated")], "its last day is one");
    assert_eq!(erased, Some(date(2026, 5, 28)), "the policy's three months later");

    let later =
        json!({"by": "tenant", "reason": "changedTerms", "noticeGivenOn": "2026-01-31", "endsOn": "2026-06-30"});
    let (closed, erased) = ended(&later, [date(2026, 6, 30), date(2026, 7, 1)]);
    assert_eq!(closed, [None, Some("terminated")]);
    assert_eq!(erased, Some(date(2026, 9, 30)));
}

#[test]
fn repeated_abuse_ends_it_on_the_day_itself() {
    let abuse = json!({"by": "owner", "reason": "repeatedAbuse", "noticeGivenOn": "2026-03-10"});
    let (closed, erased) = ended(&abuse, [date(2026, 3, 9), date(2026, 3, 10)]);
    assert_eq!(closed, [None, Some("terminated")]);
    assert_eq!(erased, Some(date(2026, 6, 10)));
}

#[test]
fn an_account_without_notice_is_never_erased() {
    let judgement = judged(&json!({}));
    assert_eq!(judgement.erased_on, None);
    assert_eq!((judgement.terminated.holds, judgement.terminated.reason), (false, reasons::NONE));
    let coming = judged(&json!({"termination": {"by": "tenant", "reason": "notice", "noticeGivenOn": "2026-03-01"}}));
    assert!(coming.terminated.holds && coming.active.holds, "notice alone closes nothing");
    assert_eq!(coming.terminated.message, "the account ends on 2026-04-01");
}

// Enforcement ----------------------------------------------------------------------------------------------------------

#[test]
fn what_is_enforced_follows_spec_plan_and_policy() {
    let found = usual();
    let tenant =
        tenant(&json!({"inboundNumbers": [{"number": "4512345678", "keywords": ["STEM"]}, {"number": "1204"}]}));
    let judgement = validate(&tenant.spec, &found, TODAY);
    let enforced = build::orders(&tenant, &found, &judgement, TODAY).expect("a policy is in force");
    let orders = enforced.borrow(Some("uid"));
    let row = orders.enforcement;
    assert_eq!((row.generation, row.may_accept, row.may_send, row.code.as_deref()), (4, true, true, None));
    assert_eq!((row.log_days, row.log_characters, enforced.log_days()), (88, 160, 88));
    assert_eq!((row.default_region.as_str(), row.validity_seconds), ("DK", 4320 * 60));
    assert_eq!(orders.plan.map(|terms| terms.name.as_str()), Some("standard"));
    let numbers: Vec<(&str, &str)> =
        orders.numbers.iter().map(|number| (number.number.as_str(), number.keyword.as_str())).collect();
    assert_eq!(numbers, [("4512345678", "STEM"), ("1204", "")]);
    assert_eq!(orders.shares.len(), 1);

    let opted_out = self::tenant(&json!({"logging": {"optOutConfirmedOn": "2026-01-02"}}));
    let enforced = build::orders(&opted_out, &found, &judgement, TODAY).expect("a policy is in force");
    assert_eq!((enforced.log_days(), enforced.borrow(None).enforcement.log_characters), (0, 0), "nothing is logged");
}

#[test]
fn where_when_and_under_what_name_an_account_sends_is_enforced() {
    let change = json!({
        "senderIds": [{"id": "Bageren"}, {"id": "Brød", "countries": ["DK", "SE"]}],
        "limits": {"allowedPrefixes": ["45", "4670"]},
        "sendWindow": {"from": "07:30", "until": "22:00", "days": ["monday", "sunday"]},
    });
    let (tenant, found) = (tenant(&change), usual());
    let judgement = validate(&tenant.spec, &found, TODAY);
    let enforced = build::orders(&tenant, &found, &judgement, TODAY).expect("a policy is in force");
    let row = enforced.borrow(None).enforcement.clone();
    assert_eq!(
        (row.sender_ids, row.sender_countries),
        (vec!["Bageren".into(), "Brød".into()], vec![String::new(), "DK,SE".into()])
    );
    assert_eq!(row.allowed_prefixes, ["45", "4670"]);
    assert_eq!(row.window, Some(Window { days: vec![1, 7], from: 450, until: 1320 }));
}

#[test]
fn a_closed_account_is_told_why_and_has_no_pods() {
    let (tenant, found) = (tenant(&json!({"suspension": {"reason": "spam"}})), usual());
    let judgement = validate(&tenant.spec, &found, TODAY);
    let enforced = build::orders(&tenant, &found, &judgement, TODAY).expect("a policy is in force");
    let row = enforced.borrow(None).enforcement.clone();
    assert_eq!((row.may_accept, row.may_send), (false, false));
    assert_eq!((row.code.as_deref(), row.reason.as_deref()), (Some("suspended"), Some("spam")));
    assert_eq!(build::replicas(&tenant.spec, &found, &judgement), 0);
}

#[test]
fn a_last_valid_form_is_not_kept_again_and_without_a_policy_nothing_is_ordered() {
    let (tenant, found) = (tenant(&json!({})), usual());
    let judgement = validate(&tenant.spec, &found, TODAY);
    let last =
        Under::Last { missing: true, message: String::new(), spec: policy(&json!({"log": {"keep": {"months": 1}}})) };
    let found = Dereferenced { policy: last, ..found };
    let enforced = build::orders(&tenant, &found, &judgement, TODAY).expect("the last valid form is in force");
    assert!(enforced.borrow(None).policy.is_none() && enforced.log_days() < 31);

    let nothing = Under::Nothing { missing: false, message: String::new() };
    assert!(build::orders(&tenant, &Dereferenced { policy: nothing, ..found }, &judgement, TODAY).is_none());
}

#[test]
fn receipts_go_to_webhooks_without_a_log_only_where_it_was_asked_and_is_allowed() {
    let asked = json!({"logging": {"optOutConfirmedOn": "2026-02-01", "receiptsByWebhookFrom": "2026-03-01"}});
    let silent = json!({"logging": {"optOutConfirmedOn": "2026-02-01"}});
    let from = Some(date(2026, 3, 1));
    for (change, opt_out, wanted) in [
        (&json!({}), json!({}), None),
        (&silent, json!({}), None),
        (&silent, json!({"webhookReceipts": true}), None),
        (&asked, json!({}), from),
        (&asked, json!({"webhookReceipts": true}), from),
        (&asked, json!({"webhookReceipts": true, "always": true}), from),
        (&asked, json!({"webhookReceipts": false}), None),
        (&json!({}), json!({"always": true}), None),
    ] {
        let written = build::receipts_by_webhook_from(&spec(change), &policy(&json!({"optOut": opt_out})));
        assert_eq!(written, wanted, "{change} under {opt_out}");
    }
}

// Opt-outs -------------------------------------------------------------------------------------------------------------

#[test]
fn a_tenant_listens_to_the_usual_words_to_its_own_or_to_none() {
    let words = |change: &Value| {
        let written = tenant(change);
        let orders = build::orders(&written, &usual(), &judged(change), TODAY).expect("orders");
        let enforcement = orders.borrow(None).enforcement.clone();
        (enforcement.stop_words, enforcement.start_words)
    };
    let (stop, start) = words(&json!({}));
    assert!(stop.contains(&"AFMELD".to_owned()) && start.contains(&"START".to_owned()));
    let (stop, start) = words(&json!({"optOuts": {"stopWords": ["SLUT"]}}));
    assert_eq!((stop, start.len()), (vec!["SLUT".to_owned()], 3));
    assert_eq!(words(&json!({"optOuts": {"byKeyword": false, "stopWords": ["SLUT"]}})), (Vec::new(), Vec::new()));
}
