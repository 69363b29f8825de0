//! A tenant's numbers, and what is stored of the SMS that handsets write to them.
use budstikke::domain::inbound::Inbound;
use budstikke::domain::{Clock as _, SystemClock, TenantId, content, copenhagen_day};
use budstikke::keyring::seal::Field;
use budstikke::keyring::{self, Kek, Keyring};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgPool;
use uuid::Uuid;

use super::stage::Stage;
use crate::support::postgres::Databases;

/// Where inbound SMS of a tenant are found, and the keys that open them.
pub(super) struct Inbox {
    tenant: TenantId,
    owner: PgPool,
    api: Keyring,
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
        sqlx::query("insert into inbound_number (tenant_id, route_id, number, keyword) values ($1, $2, $3, '')")
            .bind(self.tenant.0)
            .bind(stage.route.0)
            .bind(number)
            .execute(&self.owner)
            .await
            .unwrap();
        stage.run("select pg_notify('budstikke_change', 'tenant:' || $1)", self.tenant).await;
    }

    /// What was written to the tenant, sorted.
    pub(super) async fn texts(&self) -> Vec<String> {
        let rows: Vec<(Uuid, String, Vec<u8>)> =
            sqlx::query_as("select inbound_id, key_name, sealed from inbound where tenant_id = $1")
                .bind(self.tenant.0)
                .fetch_all(&self.owner)
                .await
                .unwrap();
        let mut texts = Vec::new();
        for (id, name, sealed) in rows {
            let private = self.api.inbound_private(self.tenant, &name).await.unwrap();
            let inbound: Inbound = content::from_bytes(&private.open(id, Field::Inbound, &sealed).unwrap()).unwrap();
            texts.push(inbound.content.text().unwrap().to_owned());
        }
        texts.sort();
        texts
    }
}
