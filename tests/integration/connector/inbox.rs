//! A tenant's numbers, and what is stored of the SMS that handsets write to them.
use budstikke::domain::inbound::Received;
use budstikke::domain::{Clock as _, SystemClock, TenantId, copenhagen_day};
use budstikke::keyring::{self, Kek, Keyring};
use budstikke::store::received::{self, Awaited};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgPool;

use super::stage::Stage;
use crate::support::postgres::Databases;

/// Where inbound SMS of a tenant are found, and the keys that open them.
pub(super) struct Inbox {
    pub(super) tenant: TenantId,
    pub(super) owner: PgPool,
    pub(super) api: Keyring,
}

impl Inbox {
    pub(super) async fn open(databases: &Databases, tenant: TenantId) -> Self {
        let kek = || Kek::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        let open = |login: &str| Keyring::open(keyring::connect(&databases.keyring.dsn(login), 2, "test"), kek());
        let owner = databases.data.pool("budstikke_owner");
        // A day to either side: the test may run at midnight.
        let today = copenhagen_day(SystemClock.now());
        let (from, to) = (today.yesterday().unwrap(), today.tomorrow().unwrap());
        for day in open("budstikke_operator").provide(tenant, from, to, 90).await.unwrap() {
            sqlx::query("insert into public_key (tenant_id, day, key_name, key) values ($1, $2, $3, $4)")
                .bind(tenant.0)
                .bind(day.day.to_sqlx())
                .bind(day.name)
                .bind(day.key.to_vec())
                .execute(&owner)
                .await
                .unwrap();
        }
        Self { tenant, owner, api: open("budstikke_api") }
    }

    pub(super) async fn give(&self, stage: &Stage, number: &str) {
        self.give_keyword(stage, number, "").await;
    }

    /// Gives the tenant a keyword on a number.
    pub(super) async fn give_keyword(&self, stage: &Stage, number: &str, keyword: &str) {
        sqlx::query("insert into inbound_number (tenant_id, route_id, number, keyword) values ($1, $2, $3, $4)")
            .bind(self.tenant.0)
            .bind(stage.route.0)
            .bind(number)
            .bind(keyword)
            .execute(&self.owner)
            .await
            .unwrap();
        stage.run("select pg_notify('budstikke_change', 'tenant:' || $1)", self.tenant).await;
    }

    /// What the tenant has received, the oldest first.
    pub(super) async fn messages(&self) -> Vec<Received> {
        self.read(Awaited::Left).await
    }

    /// The same with what is not whole yet.
    pub(super) async fn all(&self) -> Vec<Received> {
        self.read(Awaited::Included).await
    }

    async fn read(&self, unfinished: Awaited) -> Vec<Received> {
        let sealed = received::list(&self.owner, self.tenant, SystemClock.now(), None, 1000, unfinished).await.unwrap();
        let mut messages = Vec::new();
        for message in sealed.iter().rev() {
            messages.push(self.api.received(self.tenant, message).await.unwrap().unwrap());
        }
        messages
    }

    /// What was written to the tenant, sorted.
    pub(super) async fn texts(&self) -> Vec<String> {
        let texts = self.messages().await.into_iter().map(|message| message.text.unwrap().reveal().clone());
        let mut texts: Vec<String> = texts.collect();
        texts.sort();
        texts
    }
}
