//! Numbers and texts of people are nowhere in objects, events, metrics and logs (D10), and in the files of the
//! databases only as ciphertext (D1, D8). Some that nobody else has are sent, refused and received while the logs tell
//! all they can, and then looked for everywhere.
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::caller::{Answer, Caller};
use crate::support::helm::install;
use crate::support::manifests::NAMESPACE;
use crate::support::search::plants::{Finds, plant};
use crate::support::search::{Canaries, Search, sources};
use crate::support::smsc::Smsc;
use crate::support::stage;
use crate::support::wait::{eventually, holds};
use crate::support::world::{SOON, World};

/// Everything is logged; and the write-ahead log is not compressed, which would hide what is in it.
const OPEN: [&str; 4] = [
    "--set",
    "operator.log=trace,api.log=trace,worker.log=trace,workloads.log=trace",
    "--set",
    "postgres.embedded.settings.wal_compression=off",
];

// What shows that the right things were read.
const LOUD: &str = "a line of the loudest log";
const TENANT: &str = "the tenant's name";
const KEY: &str = "the name of a key";

/// The body of a call.
fn sms(canaries: &mut Canaries, number: &'static str, text: &'static str) -> Value {
    json!({"to": format!("+{}", canaries.number(number)), "text": canaries.word(text)})
}

/// Three parts in UTF-16. The end is in the last one, and behind all that is ever logged of a text.
fn long(begin: &str, end: &str) -> String {
    format!("{begin} {} {end}", "ж".repeat(144))
}

async fn post(caller: &Caller, body: &Value) -> Answer {
    caller.call(Method::POST, "/v1/messages", Some(body)).await
}

/// The id of the one message that was accepted.
fn id(answer: &Answer) -> Uuid {
    assert_eq!(answer.status, StatusCode::ACCEPTED, "it is accepted: {}", answer.body["type"]);
    answer.body["messages"][0]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
}

/// What is accepted: delivered, refused by the upstream, undelivered, and waiting.
async fn send(smsc: &Smsc, caller: &Caller, canaries: &mut Canaries) {
    let (number, text) = (canaries.number("number"), canaries.word("text"));
    let body = json!({"to": format!("+{number}"), "text": format!("Tid kl. 10.15 på {text}.")});
    let key = canaries.word("Idempotency-Key");
    let call = async || {
        let attempt = async || caller.attempt(Method::POST, "/v1/messages", &key, Some(&body)).await;
        id(&eventually("an answer", SOON, attempt).await)
    };
    let first = call().await;
    assert_eq!(call().await, first, "a repeated call sends once");
    caller.until(first, "delivered", SOON).await;
    let page = caller.call(Method::GET, "/v1/messages", None).await.body.to_string();
    assert!(page.contains(&number) && page.contains(&text), "its tenant reads it");

    let number = canaries.number("number of a long text");
    let text = long(&canaries.word("begin of a long text"), &canaries.word("end of a long text"));
    let in_parts = id(&post(caller, &json!({"to": [format!("00{number}")], "text": text})).await);
    let message = caller.until(in_parts, "delivered", SOON).await;
    assert_eq!(message["parts"], 3);

    smsc.behave(&json!({"error_percent": 100})).await;
    let refused = id(&post(caller, &sms(canaries, "number refused upstream", "text refused upstream")).await);
    caller.until(refused, "rejected", SOON).await;
    smsc.behave(&json!({"error_percent": 0, "receipts": "failed"})).await;
    let undelivered = id(&post(caller, &sms(canaries, "undelivered number", "undelivered text")).await);
    caller.until(undelivered, "failed", SOON).await;

    let mut later = sms(canaries, "waiting number", "waiting text");
    later["sendAt"] = (Timestamp::now() + SignedDuration::from_hours(24)).to_string().into();
    id(&post(caller, &later).await);
}

/// What the API turns away.
async fn refuse(world: &World, caller: &Caller, canaries: &mut Canaries) {
    let number = canaries.number("number of a refused call");
    let to = format!("+{number}");
    let digits = rand::random_range(0..10_u64.pow(18));
    let no_number = canaries.keep("what is no number", format!("45{digits:018}"));
    let endless = format!("{} {}", canaries.word("endless text"), "x".repeat(2_000));
    let bodies = [
        (422, json!({"to": format!("+{no_number}"), "text": canaries.word("text to what is no number")})),
        (422, json!({"to": to, "text": endless})),
        (422, json!({"to": to, "from": canaries.number("foreign sender id"), "text": "hej"})),
        (400, json!({"to": number.parse::<u64>().expect("digits"), "text": "hej"})),
        (400, json!({"to": to, "text": [canaries.word("text of the wrong type")]})),
    ];
    for (status, body) in bodies {
        let answer = post(caller, &body).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body["type"]);
    }

    let (number, word) = (canaries.number("number in an address"), canaries.word("word in an address"));
    let paths = [
        (404, format!("/v1/messages/{number}")),
        (400, format!("/v1/messages?to=%2B{number}")),
        (404, format!("/v1/{word}")),
    ];
    for (status, path) in paths {
        let answer = caller.call(Method::GET, &path, None).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body["type"]);
    }

    let secret = canaries.word("wrong API key");
    let authority = world.secret("budstikke-ca", "ca.crt").await;
    let stranger = Caller::new(NAMESPACE.to_owned(), &authority, format!("bud_stranger_{secret}{secret}"));
    let answer = post(&stranger, &sms(canaries, "number of a stranger's call", "text of a stranger's call")).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

/// What handsets write: to nobody's number, and to the tenant's.
async fn receive(smsc: &Smsc, caller: &Caller, own: &str, canaries: &mut Canaries) {
    let (from, text) = (canaries.number("sender to nobody"), canaries.word("text to nobody"));
    eventually("the upstream is bound", SOON, async || smsc.inbound(&from, "4571000000", &text).await).await;
    let (from, end) = (canaries.number("inbound sender"), canaries.word("end of an inbound text"));
    let text = long(&canaries.word("begin of an inbound text"), &end);
    smsc.inbound(&from, own, &text).await.expect("the upstream is bound");
    eventually("it is received", SOON, async || {
        let page = caller.call(Method::GET, "/v1/inbound", None).await;
        let received = page.body.to_string();
        holds(received.contains(&from) && received.contains(&end), page.status)
    })
    .await;
}

/// Changes the release; its pods are new ones then.
async fn open(world: &World) {
    let parts = ["operator", "api", "worker"].map(|part| format!("app.kubernetes.io/component={part}"));
    let mut before = Vec::new();
    for part in &parts {
        before.push(world.pods(part).await);
    }
    install(&OPEN).await;
    for (part, before) in parts.iter().zip(&before) {
        world.replaced(part, before).await;
    }
}

/// Nothing was searched in vain: each source was there, and is what it is taken for.
fn assert_read(found: &sources::Found) {
    let of = |kind: &str, role: &str| {
        let (kind, role) = (format!("{kind} of "), format!("/{role}"));
        let of = found.iter().filter(|(source, _)| source.starts_with(&kind) && source.ends_with(&role));
        of.map(|(_, names)| names).collect::<Vec<_>>()
    };
    for role in sources::ROLES {
        assert!(of("log", role).iter().any(|names| names.contains(LOUD)), "the log of the {role} tells all");
        assert!(!of("metrics", role).is_empty(), "the metrics of the {role} are there");
    }
    for (files, mark) in [("files of etcd", TENANT), ("files of postgres", TENANT), ("files of keyring", KEY)] {
        assert!(found[files].contains(mark), "{mark} is in the {files}");
    }
}

#[tokio::test]
async fn numbers_and_texts_are_nowhere_but_where_they_belong() {
    stage::changing_the_release("leaks", async |world| {
        let (since, mut canaries) = (Timestamp::now(), Canaries::new());
        open(world).await;
        let smsc = world.smsc(&[]).await;
        let route = world.route("main", &smsc, |_| {}).await;
        let own = format!("4570{:06}", rand::random_range(0..1_000_000_u32));
        let numbers = json!([{"number": own}]);
        let tenant = world.tenant("tenant", &[&route], |spec| spec["inboundNumbers"] = numbers).await;
        world.route_ready(&route).await;
        world.tenant_ready(&tenant).await;
        let caller = world.caller(&tenant).await;

        send(&smsc, &caller, &mut canaries).await;
        refuse(world, &caller, &mut canaries).await;
        receive(&smsc, &caller, &own, &mut canaries).await;
        let planted = plant(world, &tenant, &mut canaries).await;

        let marks = [(LOUD, r#""level":"TRACE""#.to_owned()), (TENANT, tenant), (KEY, "inbound/20".to_owned())];
        let search = Search::new(&canaries.words, &marks);
        let found = sources::read(world, &search, since, smsc.name()).await;
        assert_read(&found);
        let mut finds = Finds::new();
        for (source, names) in found {
            let names = names.into_iter().filter(|name| marks.iter().all(|(mark, _)| mark != name));
            finds.extend(names.map(|name| (source.clone(), name)));
        }
        let missed: Vec<_> = planted.difference(&finds).collect();
        assert!(missed.is_empty(), "what was planted is found: {missed:?}");
        let leaks: Vec<_> = finds.difference(&planted).collect();
        assert!(leaks.is_empty(), "numbers or texts are where they do not belong: {leaks:?}");
    })
    .await;
}
