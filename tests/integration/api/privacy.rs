//! What a tenant gets of what is registered about it, what the owner records of disclosures, and figures that tell of no single
//! tenant (D4, D6, D7).
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use budstikke::domain::content::{self, to_bytes};
use budstikke::domain::inbound::{Content, Inbound};
use budstikke::domain::{
    ApiKey, Clock as _, Entry, MessageId, Msisdn, Personal, Scope, SenderId, SystemClock, TenantId, copenhagen_day,
};
use budstikke::keyring::seal::{Field, PublicKey};
use budstikke::keyring::{self, Kek, Keyring};
use budstikke::store::{copy, partitions, receipts};
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff_sqlx::{Date as SqlDate, ToSqlx as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::service::{Answer, Api, KEK, OWNER, Service, mint, provide};

fn today() -> Date {
    copenhagen_day(SystemClock.now())
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

async fn post(service: &Service, key: &ApiKey, path: &str, body: &Value) -> Answer {
    service.api.call(service.api.request(key, Method::POST, path).json(body)).await
}

async fn search(service: &Service, key: &ApiKey, body: &Value) -> Vec<String> {
    let answer = post(service, key, "/v1/messages/search", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.body["messages"].as_array().expect("a list").iter().map(|it| text(&it["id"]).to_owned()).collect()
}

/// A message of a day gone by, logged as that day's accepting and sending leave it.
async fn logged(service: &Service, tenant: TenantId, to: &str, day: Date) -> String {
    partitions::ensure(&service.owner(), day).await.expect("partitions");
    let keys = keyring::connect(&service.databases.keyring.dsn("budstikke_operator"), 1, "test");
    let keyring = Keyring::open(keys, Kek::parse(KEK).expect("a key"));
    keyring.provide(tenant, day, day, 90).await.expect("keys");
    let key = keyring.log_key(tenant, day).await.expect("a key");
    let to = Msisdn::from_digits(to).expect("a number");
    let number_hash = key.number_hash(&to);
    let id = MessageId::new(day.at(12, 0, 0, 0).in_tz("Europe/Copenhagen").expect("noon").timestamp());
    let from = SenderId::parse("Budstikke").expect("a name");
    let entry = to_bytes(&Entry { to, from, text: Personal::new("Hej".to_owned()), reference: None }).expect("bytes");
    sqlx::query(
        "insert into message_log (tenant_id, message_id, day, batch_id, state, parts, amount, log_key, entry, number_hash)
         values ($1, $2, $3, $2, 3, 1, 250, $4, $5, $6)",
    )
    .bind(tenant.0)
    .bind(id.0)
    .bind(day.to_sqlx() as SqlDate)
    .bind(key.name())
    .bind(key.seal(id.0, Field::Entry, entry.reveal()).expect("sealed"))
    .bind(number_hash.as_slice())
    .execute(&service.owner())
    .await
    .expect("stored");
    id.to_string()
}

/// What somebody wrote to the tenant.
async fn received(service: &Service, tenant: TenantId, from: &str, what: &str) {
    let key = &provide(&service.databases, tenant).await[0];
    let public = PublicKey::new(tenant, &key.name, &key.key).expect("a key");
    let id = Uuid::now_v7();
    let personal = |text: &str| Personal::new(text.to_owned());
    let inbound = Inbound {
        from: personal(from),
        to: personal("1231"),
        content: Content::Text(personal(what)),
        segment: None,
        coding: None,
        languages: Default::default(),
    };
    let sealed = public.seal(id, Field::Inbound, content::to_bytes(&inbound).expect("bytes").reveal()).expect("sealed");
    sqlx::query(
        "insert into inbound (tenant_id, inbound_id, day, route_id, received_at, key_name, sealed)
         values ($1, $2, $3, 1, now(), $4, $5)",
    )
    .bind(tenant.0)
    .bind(id)
    .bind(today().to_sqlx() as SqlDate)
    .bind(&key.name)
    .bind(sealed)
    .execute(&service.owner())
    .await
    .expect("stored");
}

#[tokio::test]
async fn messages_to_one_number_are_found_on_every_day_and_nobody_elses() {
    let service = Service::start().await;
    let (other, others_key) = service.other_tenant("other").await;
    let old = logged(&service, service.tenant, "4520123456", today().saturating_sub(40.days())).await;
    let newer = logged(&service, service.tenant, "4520123456", today().saturating_sub(3.days())).await;
    logged(&service, service.tenant, "4520123457", today().saturating_sub(3.days())).await;
    let theirs = logged(&service, other, "4520123456", today().saturating_sub(3.days())).await;
    let sent = service.sent("20123456", "sendt").await;
    service.settle(&sent, 3, None).await;
    let waiting = service.sent("+45 20 12 34 56", "venter").await;
    service.sent("20123457", "en anden").await;

    let all = [waiting, sent, newer, old];
    assert_eq!(search(&service, &service.key, &json!({"number": "20 12 34 56"})).await, all, "newest first");
    assert_eq!(search(&service, &others_key, &json!({"number": "20123456"})).await, [theirs]);
    assert!(search(&service, &service.key, &json!({"number": "20123458"})).await.is_empty());

    let (mut paged, mut body) = (Vec::new(), json!({"number": "20123456", "limit": 1}));
    loop {
        let page = post(&service, &service.key, "/v1/messages/search", &body).await;
        paged.push(text(&page.body["messages"][0]["id"]).to_owned());
        assert_eq!(page.body["messages"][0]["to"], "+4520123456");
        let Some(next) = page.body["next"].as_str() else { break };
        body["cursor"] = json!(next);
    }
    assert_eq!(paged, all);

    let refused = post(&service, &service.key, "/v1/messages/search", &json!({"number": "12"})).await;
    assert_eq!((refused.problem(422), &refused.body["path"]), ("invalid".to_owned(), &json!("number")));
    let key = mint(&service.databases, service.tenant, &[Scope::InboundRead]).await;
    let refused = post(&service, &key, "/v1/messages/search", &json!({"number": "20123456"})).await;
    assert_eq!(refused.problem(403), "missing-scope");

    service.enforce("log_days = 0").await;
    let key = mint(&service.databases, service.tenant, &Scope::ALL).await;
    assert!(search(&service, &key, &json!({"number": "20123456"})).await.is_empty(), "D4");
}

#[tokio::test]
async fn what_one_number_wrote_is_found_too() {
    let service = Service::start().await;
    for (from, what) in [
        ("4520123456", "en"),
        ("4520123457", "anden"),
        ("20123456", "national"),
        ("Alfa", "tre"),
        ("1231", "kort"),
        ("+4520123456", "to"),
    ] {
        received(&service, service.tenant, from, what).await;
    }
    for (sender, wanted) in [
        ("20123456", &["to", "national", "en"][..]),
        ("+45 20 12 34 57", &["anden"]),
        ("ALFA", &["tre"]),
        ("1231", &["kort"]),
        ("Beta", &[]),
    ] {
        let answer = post(&service, &service.key, "/v1/inbound/search", &json!({"number": sender})).await;
        let found: Vec<&str> =
            answer.body["messages"].as_array().expect("a list").iter().map(|it| text(&it["text"])).collect();
        assert_eq!(found, wanted, "{sender}");
        assert!(answer.body["next"].is_null());
    }
    let one = post(&service, &service.key, "/v1/inbound/search", &json!({"number": "20123456", "limit": 1})).await;
    assert_eq!(one.body["messages"][0]["text"], "to");
    let rest = json!({"number": "20123456", "limit": 1, "cursor": one.body["next"]});
    let rest = post(&service, &service.key, "/v1/inbound/search", &rest).await;
    assert_eq!(rest.body["messages"][0]["text"], "national");
}

/// A copy's rows by section; whole.
async fn copied(service: &Service, key: &ApiKey) -> BTreeMap<String, Vec<Value>> {
    let response = service.api.request(key, Method::GET, "/v1/data").send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let body = response.text().await.expect("a body");
    let mut sections: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in body.lines() {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        sections.entry(text(&line["section"]).to_owned()).or_default().push(line["row"].take());
    }
    assert_eq!(sections["end"], [json!({"whole": true})], "{body}");
    sections
}

/// A row in every table that a copy tells of.
async fn registered(service: &Service) {
    let tenant = service.tenant;
    let route = service.databases.route("route", &[(tenant, 1)]).await;
    for statement in [
        "insert into in_force (tenant_id, kind, name, spec) values ($1, 'plan', 'standard', '{\"vat\": {\"percent\": \"25\"}}')",
        "insert into inbound_number (tenant_id, route_id, number) values ($1, $2, '1231')",
        "insert into retention (tenant_id, kept_days) values ($1, 90)",
        "insert into quota (tenant_id, day, hour, used) values ($1, current_date, -1, 3)",
        "insert into usage (tenant_id, message_id, part, month, at, amount)
         select $1, gen_random_uuid(), 1, date_trunc('month', now())::date, now(), 250 from generate_series(1, 2)",
    ] {
        let insert = sqlx::query(statement).bind(tenant.0);
        let insert = if statement.contains("$2") { insert.bind(route.0) } else { insert };
        insert.execute(&service.owner()).await.expect("stored");
    }
    let call = json!({"to": "20123456", "text": "Æ".repeat(300)});
    let sent = service.api.post_once(&service.key, "en-gang", &call).await;
    let id = text(&sent.body["messages"][0]["id"]).to_owned();
    service.settle(&id, 2, None).await;
    sqlx::query(
        "insert into message_part (tenant_id, message_id, part, day, state, route_id, upstream_id, tag)
         select tenant_id, message_id, 1, day, 2, $2, 'kendt-af', 7 from message_log where message_id = $1::uuid",
    )
    .bind(&id)
    .bind(route.0)
    .execute(&service.owner())
    .await
    .expect("stored");
    sqlx::query("select ensure_mail_partitions(now(), now() + interval '2 hours')")
        .execute(&service.owner())
        .await
        .expect("room");
    sqlx::query(
        "insert into mail_copy (tenant_id, copy_id, gone_at, made_at, kind, direction, key_name, sealed)
         values ($1, gen_random_uuid(), date_trunc('hour', now() + interval '1 hour'), now(), 'raw', 'to_sms', 'mail', '\\x00')",
    )
    .bind(tenant.0)
    .execute(&service.owner())
    .await
    .expect("stored");
    let webhook = json!({"url": "https://hooks.example.dk/sms", "events": ["message.final"]});
    let webhook = post(service, &service.key, "/v1/webhooks", &webhook).await;
    let trial = format!("/v1/webhooks/{}/test", text(&webhook.body["id"]));
    assert_eq!(post(service, &service.key, &trial, &Value::Null).await.status, StatusCode::ACCEPTED);
    service.sent("20123457", &"Ø".repeat(200)).await;
    assert_eq!(
        post(service, &service.key, "/v1/opt-outs", &json!({"numbers": ["20123459"]})).await.status,
        StatusCode::OK
    );
    received(service, tenant, "4520123458", "svar").await;
    disclose(service, &json!({})).await;
}

#[tokio::test]
async fn a_copy_tells_everything_that_is_registered() {
    let service = Service::start().await;
    registered(&service).await;
    let (other, _) = service.other_tenant("other").await;
    received(&service, other, "4520999999", "en andens").await;

    let copy = copied(&service, &service.key).await;
    let wanted: BTreeSet<&str> = copy::TOLD.iter().map(|(_, section)| *section).chain(["copy", "end"]).collect();
    assert_eq!(copy.keys().map(String::as_str).collect::<BTreeSet<_>>(), wanted);
    assert_eq!(copy["account"][0]["registration"], "DK10000009");
    assert_eq!(copy["waiting"][0]["text"], "Ø".repeat(200), "the whole text while it waits");
    let messages: Vec<&str> = copy["messages"].iter().map(|row| text(&row["to"])).collect();
    assert_eq!(messages, ["+4520123457", "+4520123456"]);
    assert_eq!(copy["messages"][1]["text"], "Æ".repeat(160), "as much as is logged");
    assert_eq!(copy["inbound"][0]["text"], "svar");
    assert_eq!(copy["inbound"].len(), 1, "nobody else's");
    assert_eq!((&copy["usage"][0]["parts"], &copy["usage"][0]["amount"]), (&json!(2), &json!(500)));
    assert_eq!(copy["mailCopies"][0]["kind"], "raw");
    assert_eq!(copy["routes"][0]["name"], "route");
    assert_eq!(copy["disclosures"][0]["recipient"], "Politiet");
    assert_eq!(copy["webhooks"][0]["url"], "https://hooks.example.dk/sms");
    assert_eq!(copy["webhookDeliveries"][0]["type"], "webhook.test");
    assert_eq!(copy["optOuts"][0]["number"], "+4520123459");
    let all = serde_json::to_string(&copy.values().collect::<Vec<_>>()).expect("JSON");
    for hidden in ["hash", "kendt-af", "\"tag\"", "whsec_"] {
        assert!(!all.contains(hidden), "{hidden} opens or recognises something");
    }

    let key = mint(&service.databases, service.tenant, &[Scope::MessagesRead, Scope::InboundRead]).await;
    assert_eq!(service.api.get(&key, "/v1/data").await.problem(403), "missing-scope");

    service.enforce("log_days = 0").await;
    let key = mint(&service.databases, service.tenant, &Scope::ALL).await;
    let copy = copied(&service, &key).await;
    assert!(!copy.contains_key("messages") && !copy.contains_key("parts"), "D4: no log in it");
    assert!(copy.contains_key("usage") && copy.contains_key("waiting"));
}

#[tokio::test]
async fn a_copy_tells_of_copies_of_mail_page_by_page() {
    let service = Service::start().await;
    sqlx::query("select ensure_mail_partitions(now(), now() + interval '9 hours')")
        .execute(&service.owner())
        .await
        .expect("room");
    sqlx::query(
        "insert into mail_copy (tenant_id, copy_id, gone_at, made_at, kind, direction, key_name, sealed)
         select $1, gen_random_uuid(), date_trunc('hour', now()) + interval '1 hour' * (n % 9 + 1), now(), 'raw', 'to_sms', 'mail', '\\x00'
         from generate_series(1, 450) as n",
    )
    .bind(service.tenant.0)
    .execute(&service.owner())
    .await
    .expect("stored");
    let copy = copied(&service, &service.key).await;
    let ids: BTreeSet<&str> = copy["mailCopies"].iter().map(|row| text(&row["id"])).collect();
    assert_eq!((copy["mailCopies"].len(), ids.len()), (450, 450), "each of them once");
}

#[test]
fn every_table_of_a_tenant_is_told_or_left_out_for_a_reason() {
    let inventory = include_str!("../../../docs/inventory.md");
    let cells =
        |line: &'static str| -> Vec<&'static str> { line.trim_matches('|').split('|').map(str::trim).collect() };
    let rows = inventory.lines().filter(|line| line.starts_with("| data |")).map(cells);
    let tables: BTreeSet<&str> = rows.filter(|row| row[2].contains("`tenant_id`")).map(|row| row[1]).collect();
    let known: BTreeSet<&str> = copy::TOLD.iter().chain(copy::LEFT_OUT).map(|(table, _)| *table).collect();
    assert_eq!(known, tables, "add the table to the copy, or to those left out, in store::copy");
}

/// Records a disclosure of the tenant's, with these fields written over; its id.
async fn disclose(service: &Service, change: &Value) -> String {
    let answer = try_disclose(service, change).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    text(&answer.body["id"]).to_owned()
}

async fn try_disclose(service: &Service, change: &Value) -> Answer {
    post(service, &OWNER.0, "/v1/owner/disclosures", &disclosure(change)).await
}

fn disclosure(change: &Value) -> Value {
    let mut body = json!({
        "tenant": {"namespace": "test", "name": "tenant"}, "recipientKind": "authority", "recipient": "Politiet",
        "legalBasis": "rpl. § 804", "classes": ["account", "log"], "period": {"from": "2026-01-01", "until": "2026-01-31"},
        "disclosedAt": "2026-02-01T12:00:00Z",
    });
    for (field, value) in change.as_object().expect("fields") {
        body[field] = value.clone();
    }
    body
}

async fn told(service: &Service) -> Vec<String> {
    let answer = service.get("/v1/disclosures").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.body["disclosures"].as_array().expect("a list").iter().map(|it| text(&it["id"]).to_owned()).collect()
}

#[tokio::test]
async fn disclosures_are_told_unless_and_until_the_law_allows() {
    let service = Service::start().await;
    let secret = |until: Option<Date>| json!({"secret": {"law": "rpl. § 783, stk. 4", "until": until}});
    let open = disclose(&service, &json!({})).await;
    let hidden = disclose(&service, &secret(None)).await;
    let later = disclose(&service, &secret(Some(today().saturating_add(1.day())))).await;
    let over = disclose(&service, &secret(Some(today()))).await;
    assert_eq!(told(&service).await, [over.clone(), open.clone()], "newest first");

    // A correction does not tell what it corrects.
    for change in [json!({"corrects": hidden}), json!({"corrects": later}), {
        let mut change = secret(Some(today().saturating_add(1.day())));
        change["corrects"] = json!(hidden);
        change
    }] {
        assert_eq!(try_disclose(&service, &change).await.problem(422), "invalid");
    }
    let mut change = secret(None);
    change["corrects"] = json!(later);
    disclose(&service, &change).await;
    let corrected = disclose(&service, &json!({"corrects": open, "recipient": "Anklagemyndigheden"})).await;
    assert_eq!(told(&service).await, [corrected, over, open]);

    let copy = copied(&service, &service.key).await;
    assert_eq!(copy["disclosures"].len(), 3);
    let all = service.api.get(&OWNER.0, "/v1/owner/disclosures").await;
    assert_eq!(all.body["disclosures"].as_array().map(Vec::len), Some(6), "the owner sees them all");
    let (_, other) = service.other_tenant("other").await;
    assert_eq!(service.api.get(&other, "/v1/disclosures").await.body["disclosures"], json!([]));
}

#[tokio::test]
async fn a_disclosure_is_checked_and_never_changed() {
    let service = Service::start().await;
    for (change, status) in [
        (json!({"secrets": {"law": "x"}}), 400),
        (json!({"recipient": " "}), 422),
        (json!({"legalBasis": "x".repeat(201)}), 422),
        (json!({"classes": []}), 422),
        (json!({"disclosedAt": "2999-01-01T00:00:00Z"}), 422),
        (json!({"disclosedAt": "-009998-01-01T00:00:00Z"}), 422),
        (json!({"period": {"from": "2026-02-01", "until": "2999-01-01"}}), 422),
        (json!({"period": {"from": "-009999-01-01", "until": "2026-01-01"}}), 422),
        (json!({"period": {"from": "2026-02-30", "until": "2026-03-01"}}), 400),
        (json!({"secret": {"law": "x", "until": "-009999-01-01"}}), 422),
        (json!({"secret": {"law": "x\u{0}"}}), 422),
        (json!({"recipient": "Poli\u{0}tiet"}), 422),
        (json!({"legalBasis": "rpl.\n§ 804"}), 422),
        (json!({"tenant": {"namespace": "test", "name": "ten\u{0}ant"}}), 422),
        (json!({"period": {"from": "2026-02-01", "until": "2026-01-01"}}), 422),
        (json!({"corrects": Uuid::now_v7()}), 422),
        (json!({"tenant": {"namespace": "test", "name": "nobody"}}), 404),
    ] {
        let answer = try_disclose(&service, &change).await;
        assert_eq!(answer.status.as_u16(), status, "{change}: {answer:?}");
        answer.problem(status);
    }
    disclose(&service, &json!({})).await;
    let api = service.databases.data.pool("budstikke_api");
    for statement in ["update disclosure set recipient = ''", "delete from disclosure"] {
        let error = sqlx::query(statement).execute(&api).await.expect_err("append-only");
        assert_eq!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("42501"), "{statement}");
    }
}

#[tokio::test]
async fn a_disclosure_may_be_of_every_class_that_is_kept_of_a_tenant() {
    let service = Service::start().await;
    let inventory = include_str!("../../../docs/inventory.md");
    let classes: BTreeSet<&str> = inventory
        .lines()
        .skip_while(|line| *line != "## Classes")
        .skip(1)
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("- **")?.split_once("**: ").map(|(class, _)| class))
        .collect();
    let kept: Vec<&str> = classes.into_iter().filter(|class| !["secret", "technical"].contains(class)).collect();
    assert!(kept.contains(&"mail"), "{kept:?}");
    disclose(&service, &json!({"classes": kept})).await;
    let answer = service.get("/v1/disclosures").await;
    assert_eq!(answer.body["disclosures"][0]["classes"], json!(kept));
}

#[tokio::test]
async fn a_repeated_call_records_one_disclosure() {
    let service = Service::start().await;
    let call = async |key: &str, change: &Value| {
        let request = service.api.request(&OWNER.0, Method::POST, "/v1/owner/disclosures");
        service.api.call(request.header("Idempotency-Key", key).json(&disclosure(change))).await
    };
    // What was refused is no answer to repeat.
    let nobody = json!({"tenant": {"namespace": "test", "name": "nobody"}});
    assert_eq!(call("case 1", &nobody).await.problem(404), "not-found");
    let secret = json!({"secret": {"law": "rpl. § 783, stk. 4"}});
    let first = call("case 1", &secret).await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let again = call("case 1", &secret).await;
    assert_eq!((again.status, &again.body), (StatusCode::CREATED, &first.body));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(call("case 1", &json!({})).await.problem(422), "idempotency-key-reused");
    assert_eq!(call(&"x".repeat(256), &json!({})).await.problem(422), "invalid");
    assert_eq!(service.count("disclosure").await, 1);
    assert_eq!(call("case 2", &secret).await.status, StatusCode::CREATED, "another key is another call");

    let at_once = futures::future::join_all((0..6).map(|_| call("case 3", &secret))).await;
    let made = at_once
        .iter()
        .filter(|answer| answer.status == StatusCode::CREATED && answer.headers.get("idempotency-replayed").is_none());
    assert_eq!(made.count(), 1, "{at_once:?}");
    assert_eq!(service.count("disclosure").await, 3);
    let copy = copied(&service, &service.key).await;
    assert!(!copy.contains_key("repeatedCalls"), "the owner's calls are no tenant's: they would tell what is secret");
}

#[tokio::test]
async fn the_owners_key_and_tenants_keys_open_different_doors() {
    let service = Service::start().await;
    for path in ["/v1/owner/disclosures", "/v1/owner/statistics"] {
        assert_eq!(service.get(path).await.problem(401), "unauthorized");
        assert_eq!(service.api.get(&OWNER.0, path).await.status, StatusCode::OK);
    }
    assert_eq!(post(&service, &service.key, "/v1/owner/disclosures", &json!({})).await.problem(401), "unauthorized");
    for path in ["/v1/messages", "/v1/data", "/v1/disclosures", "/v1/statistics"] {
        assert_eq!(service.api.get(&OWNER.0, path).await.problem(401), "unauthorized");
    }
}

#[tokio::test]
async fn figures_over_all_tenants_show_no_group_of_few() {
    let service = Service::start().await;
    let mut tenants = vec![service.tenant];
    for name in ["b", "c", "d"] {
        tenants.push(service.databases.tenant(name).await);
    }
    let day = today().saturating_sub(1.day());
    partitions::ensure(&service.owner(), day).await.expect("partitions");
    // Delivered: of four tenants; failed: of three; expired: of one. The minimum is three.
    for (nth, tenant) in tenants.iter().enumerate() {
        for state in [3, 4, 5].into_iter().take([3, 2, 2, 1][nth]) {
            sqlx::query(
                "insert into message_log (tenant_id, message_id, day, batch_id, state, parts, amount, submitted_at, log_key, entry)
                 select $1, gen_random_uuid(), $2, gen_random_uuid(), $3, 2, 250, now(), 'k', '\\x00' from generate_series(1, 10)",
            )
            .bind(tenant.0)
            .bind(day.to_sqlx() as SqlDate)
            .bind(i16::try_from(state).expect("a state"))
            .execute(&service.owner())
            .await
            .expect("stored");
        }
    }
    let ask =
        async |by: &str| service.api.get(&OWNER.0, &format!("/v1/owner/statistics?from={day}&to={day}&by={by}")).await;
    for by in ["day", "month"] {
        let answer = ask(by).await;
        let period = &answer.body["periods"][0];
        let delivered = json!([{"state": "delivered", "messages": 40, "parts": 80, "amount": 20_000}]);
        assert_eq!(period["groups"], delivered, "{answer:?}");
        assert_eq!(period["rest"], json!({"messages": 40, "parts": 80, "amount": 20_000}), "failed goes with expired");
        assert_eq!(period["withheld"], 0);
    }
    let quiet = format!("/v1/owner/statistics?from={0}&to={0}", day.saturating_sub(5.days()));
    assert_eq!(service.api.get(&OWNER.0, &quiet).await.body["periods"][0]["groups"], json!([]));
    let unfinished = format!("/v1/owner/statistics?to={}", today());
    assert_eq!(service.api.get(&OWNER.0, &unfinished).await.problem(422), "invalid");

    // One tenant's receipt comes in, another's log is erased: the difference of two answers would be theirs.
    let shown = ask("day").await.body;
    for change in [
        "update message_log set state = 4 where tenant_id = $1 and state = 3",
        "delete from message_log where tenant_id = $1",
    ] {
        sqlx::query(change).bind(tenants[3].0).execute(&service.owner()).await.expect("changed");
        assert_eq!(ask("day").await.body, shown, "{change}");
    }
    let second = Api::with(&service.databases, Arc::new(SystemClock), |settings| settings.minimum_tenants = 1).await;
    let path = format!("/v1/owner/statistics?from={day}&to={day}");
    assert_eq!(second.get(&OWNER.0, &path).await.body["periods"], shown["periods"], "nor by another minimum");
}

#[tokio::test]
async fn of_a_day_of_few_nothing_is_shown() {
    let service = Service::start().await;
    let day = today().saturating_sub(2.days());
    logged(&service, service.tenant, "4520123456", day).await;
    let few = service.api.get(&OWNER.0, &format!("/v1/owner/statistics?from={day}&to={day}")).await;
    let nothing = json!({"messages": 0, "parts": 0, "amount": 0});
    let period = &few.body["periods"][0];
    assert_eq!((&period["groups"], &period["rest"], &period["withheld"]), (&json!([]), &nothing, &json!(1)));
    let api = service.databases.data.pool("budstikke_api");
    for statement in ["update shown_day set figures = '{}'", "delete from shown_day"] {
        let error = sqlx::query(statement).execute(&api).await.expect_err("counted once");
        assert_eq!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("42501"), "{statement}");
    }
}

#[tokio::test]
async fn a_tenant_reads_its_own_figures() {
    let service = Service::start().await;
    let (first, second) = (service.sent("20123456", "en").await, service.sent("20123457", "to").await);
    service.settle(&first, 3, None).await;
    for id in [&first, &second] {
        sqlx::query(
            "insert into usage (tenant_id, message_id, part, month, at, amount)
             select $1, $2::uuid, part, $3, now(), 250 from generate_series(1, 2) as part",
        )
        .bind(service.tenant.0)
        .bind(id)
        .bind(today().first_of_month().to_sqlx() as SqlDate)
        .execute(&service.owner())
        .await
        .expect("stored");
    }
    let sent = json!({"messages": 2, "parts": 4, "amount": 1000});
    let own = service.get("/v1/statistics").await;
    assert_eq!(own.body["days"][today().to_string()], json!({"states": {"queued": 1, "delivered": 1}, "sent": sent}));
    service.enforce("log_days = 0").await;
    let key = mint(&service.databases, service.tenant, &Scope::ALL).await;
    let own = service.api.get(&key, "/v1/statistics").await;
    assert_eq!(
        own.body["days"][today().to_string()],
        json!({"states": {}, "sent": sent}),
        "D4: from what is billed alone"
    );
}

#[tokio::test]
async fn webhooks_hear_of_receipts_only_as_the_tenant_wished() {
    let service = Service::start().await;
    let pool = service.databases.data.pool("budstikke_api");
    for (log_days, from, told) in [
        ("90", "null", true),
        ("90", "current_date + 9", true),
        ("0", "null", false),
        ("0", "date '2026-03-02'", false),
        ("0", "date '2026-03-01'", true),
        ("0", "date '2026-02-01'", true),
    ] {
        let change = format!("log_days = {log_days}, receipts_by_webhook_from = {from}");
        service.enforce(Box::leak(change.clone().into_boxed_str())).await;
        let may = receipts::may_be_told(&pool, service.tenant, jiff::civil::date(2026, 3, 1)).await.expect("an answer");
        assert_eq!(may, told, "{change}");
    }
    let nobody = receipts::may_be_told(&pool, TenantId(-1), jiff::civil::date(2026, 3, 1)).await.expect("an answer");
    assert!(!nobody, "of an account that is not there nobody is told");
}
