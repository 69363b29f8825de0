//! A tenant with an endpoint, and all who write what it is told of: its sender, its connector, and the worker.
use std::sync::{Arc, Mutex};

use budstikke::domain::content::to_bytes;
use budstikke::domain::inbound::{Content, Inbound, Segment};
use budstikke::domain::{Clock, Personal, RouteId, SystemClock, copenhagen_day};
use budstikke::keyring::seal::{Field, PublicKey};
use budstikke::keyring::{self, Kek, Keyring};
use budstikke::store;
use budstikke::store::inbound::{self, Part, SealedInbound};
use budstikke::worker::{Metrics, Settings, Worker};
use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx as _;
use prometheus_client::registry::Registry;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::service::{Answer, KEK, Service, provide};
use super::receiver::Receiver;

/// A clock that a test sets.
#[derive(Debug)]
pub(super) struct Hand(Mutex<Timestamp>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("a time")
    }
}

impl Hand {
    pub(super) fn pass(&self, time: SignedDuration) {
        let mut now = self.0.lock().expect("a time");
        *now = now.saturating_add(time).expect("near");
    }
}

pub(super) struct Scene {
    pub(super) service: Service,
    pub(super) receiver: Receiver,
    pub(super) clock: Arc<Hand>,
    pub(super) route: RouteId,
    pub(super) sender: PgPool,
    pub(super) connector: PgPool,
}

impl Scene {
    pub(super) async fn set() -> Self {
        let service = Service::start().await;
        let route = service.databases.route("route", &[(service.tenant, 1)]).await;
        let sender = store::connect(&service.databases.sender_login(service.tenant).await, 2, "test");
        let connector = store::connect(&service.databases.connector_login(route).await, 2, "test");
        sqlx::query("insert into inbound_number (tenant_id, route_id, number) values ($1, $2, '1204')")
            .bind(service.tenant.0)
            .bind(route.0)
            .execute(&service.owner())
            .await
            .expect("a number");
        let clock = Arc::new(Hand(Mutex::new(SystemClock.now())));
        Self { service, receiver: Receiver::start().await, clock, route, sender, connector }
    }

    /// A worker's process.
    pub(super) fn worker(&self) -> Worker {
        self.worker_with(|_| {})
    }

    pub(super) fn worker_with(&self, change: impl FnOnce(&mut Settings)) -> Worker {
        self.worker_until(CancellationToken::new(), change)
    }

    /// One that is told to stop.
    pub(super) fn worker_until(&self, stop: CancellationToken, change: impl FnOnce(&mut Settings)) -> Worker {
        let keys = keyring::connect(&self.service.databases.keyring.dsn("budstikke_worker"), 2, "test");
        let keyring = Keyring::open(keys, Kek::parse(KEK).expect("a key"));
        let metrics = Metrics::register(&mut Registry::default());
        let mut settings = Settings {
            at_once: 8,
            ports: Vec::new(),
            allow_private: true,
            authority: Some(self.receiver.authority.clone()),
        };
        change(&mut settings);
        let pool = self.service.databases.data.pool("budstikke_worker");
        Worker::new(pool, keyring, self.clock.clone(), metrics, settings, stop).expect("a worker")
    }

    /// Delivers what is due: how many tries.
    pub(super) async fn deliver(&self) -> u64 {
        self.worker().pass().await.expect("the database answers")
    }

    pub(super) async fn call(&self, method: Method, path: &str, body: &Value) -> Answer {
        let request = self.service.api.request(&self.service.key, method, path);
        self.service.api.call(if body.is_null() { request } else { request.json(body) }).await
    }

    /// Sets up an endpoint of the receiver's: its id and secret.
    pub(super) async fn webhook(&self, events: &[&str]) -> (String, String) {
        let url = self.receiver.url("/hook?token=adgangskode");
        let answer = self.call(Method::POST, "/v1/webhooks", &json!({"url": url, "events": events})).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        (text(&answer.body["id"]), text(&answer.body["secret"]))
    }

    pub(super) async fn read(&self, id: &str) -> Value {
        let answer = self.call(Method::GET, &format!("/v1/webhooks/{id}"), &Value::Null).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.body
    }

    /// What the endpoint was told, newest first.
    pub(super) async fn deliveries(&self, id: &str) -> Vec<Value> {
        let answer = self.call(Method::GET, &format!("/v1/webhooks/{id}/deliveries"), &Value::Null).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.body["deliveries"].as_array().expect("a list").clone()
    }

    /// The states of what the endpoint was told, oldest first.
    pub(super) async fn states(&self, id: &str) -> Vec<String> {
        let mut deliveries = self.deliveries(id).await;
        deliveries.reverse();
        deliveries.iter().map(|delivery| text(&delivery["state"])).collect()
    }

    /// Stores results of messages, as the tenant's sender does. `final` where no receipt is awaited.
    pub(super) async fn settle(&self, ids: &[&str], state: i16, is_final: bool) {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.parse().expect("an id")).collect();
        let upstream: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        sqlx::query(
            "select sender_settle($1, array_fill($2::smallint, array[cardinality($1)]), array_fill(null::integer, array[cardinality($1)]),
                 array_fill($3::bigint, array[cardinality($1)]), $4, array_fill(1, array[cardinality($1)]),
                 array_fill(now(), array[cardinality($1)]), array_fill(case when $5 then now() end, array[cardinality($1)]),
                 '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')",
        )
        .bind(&ids)
        .bind(state)
        .bind(self.route.0)
        .bind(&upstream)
        .bind(is_final)
        .execute(&self.sender)
        .await
        .expect("settled");
    }

    /// Applies receipts of messages of one part, by the connector (the sender is away).
    pub(super) async fn receipts(&self, ids: &[&str], state: i16, error: Option<i32>) -> Vec<i16> {
        sqlx::query_scalar(
            "select receipts_apply($1, array_fill(1, array[cardinality($1)]), array_fill($2::smallint, array[cardinality($1)]),
                 array_fill($3::integer, array[cardinality($1)]), array_fill(now(), array[cardinality($1)]))",
        )
        .bind(ids)
        .bind(state)
        .bind(error)
        .fetch_one(&self.connector)
        .await
        .expect("applied")
    }

    /// A message came in for the tenant, by its connector.
    pub(super) async fn received(&self, from: &str, words: &str) -> Uuid {
        let key = &provide(&self.service.databases, self.service.tenant).await[0];
        let public = PublicKey::new(self.service.tenant, &key.name, &key.key).expect("a key");
        let content = Content::Text(Personal::new(words.to_owned()));
        let (from, to) = (Personal::new(from.to_owned()), Personal::new("1204".to_owned()));
        let plain =
            to_bytes(&Inbound { from, to, content, segment: None, coding: None, languages: Default::default() })
                .expect("bytes");
        let (id, now) = (Uuid::now_v7(), SystemClock.now());
        for _ in 0..2 {
            // The same once more, as after an answer that was lost.
            sqlx::query("select inbound_store($1, $2, $3, $4, $5, $6)")
                .bind(self.service.tenant.0)
                .bind(id)
                .bind(copenhagen_day(now).to_sqlx() as jiff_sqlx::Date)
                .bind(now.to_sqlx() as jiff_sqlx::Timestamp)
                .bind(&key.name)
                .bind(public.seal(id, Field::Inbound, plain.reveal()).expect("sealed"))
                .execute(&self.connector)
                .await
                .expect("stored");
        }
        id
    }

    /// A part of a message came in.
    pub(super) async fn received_part(&self, from: &str, number: u8, count: u8, words: &str) -> Uuid {
        let key = &provide(&self.service.databases, self.service.tenant).await[0];
        let public = PublicKey::new(self.service.tenant, &key.name, &key.key).expect("a key");
        let content = Content::Octets(Personal::new(words.as_bytes().to_vec()));
        let (from, to) = (Personal::new(from.to_owned()), Personal::new("1204".to_owned()));
        let segment = Segment::checked(7, number, count);
        let plain = to_bytes(&Inbound { from, to, content, segment, coding: Some(0), languages: Default::default() })
            .expect("bytes");
        let (id, now) = (Uuid::now_v7(), SystemClock.now());
        let sealed = public.seal(id, Field::Inbound, plain.reveal()).expect("sealed");
        let (tenant, key_name) = (self.service.tenant, key.name.clone());
        let row =
            SealedInbound { tenant, id, day: copenhagen_day(now), received_at: now, key_name, sealed, asks: None };
        let part = Part { thread: count.into(), number, count, digest: number.into() };
        inbound::store_part(&self.connector, &row, &part).await.expect("stored");
        id
    }

    pub(super) async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.service.owner()).await.expect("a count")
    }
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text: {value}")).to_owned()
}

impl Scene {
    pub(super) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }
}
