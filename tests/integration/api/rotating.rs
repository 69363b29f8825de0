//! Wrapping keys are exchanged by hand (`budstikke rotate`) while messages go on.
use std::cell::Cell;
use std::path::PathBuf;

use budstikke::domain::TenantId;
use budstikke::keyring::KekArgs;
use budstikke::operator::rotate::{self, Args, RotateError};
use budstikke::store::accounts;
use reqwest::StatusCode;

use super::service::{Api, KEK, Service, number};
use crate::support::postgres::Databases;

/// What bootstrap has handed out, as far as this command reads it.
struct Files(PathBuf);

impl Files {
    fn of(databases: &Databases) -> Self {
        let files = std::env::temp_dir().join(format!("budstikke-rotate-{}", uuid::Uuid::now_v7()));
        for (name, text) in [
            ("database/operator-url", databases.data.url("budstikke_operator")),
            ("keyring/operator-url", databases.keyring.url("budstikke_operator")),
            ("kek/kek", KEK.to_owned()),
        ] {
            let path = files.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
            std::fs::write(path, text).expect("write a file");
        }
        Self(files)
    }

    /// Of one tenant, or of all.
    async fn rotate(&self, tenant: Option<&str>) -> Result<(), RotateError> {
        let args = Args {
            tenant: tenant.map(str::to_owned),
            all: tenant.is_none(),
            files: self.0.clone(),
            kek: KekArgs::default(),
        };
        rotate::run(args).await
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn wrapping_keys_are_exchanged_by_hand_while_messages_go_on() {
    let service = Service::start().await;
    let (other, _) = service.other_tenant("other").await;
    let files = Files::of(&service.databases);
    let keys = service.databases.keyring.pool("budstikke_owner");
    let wrapping = async |tenant: TenantId| -> Vec<u8> {
        let stored = sqlx::query_scalar("select wrapped from keyring.wrapping_key where tenant_id = $1");
        stored.bind(tenant.0).fetch_one(&keys).await.expect("stored")
    };
    let before = (wrapping(service.tenant).await, wrapping(other).await);
    let waits = service.sent(&number(), "venter").await;
    let logged = service.sent(&number(), "sendt").await;
    service.settle(&logged, 3, None).await;

    let done = Cell::new(false);
    let rotating = async {
        for _ in 0..5 {
            files.rotate(Some("test/tenant")).await.expect("exchanged");
        }
        done.set(true);
    };
    let reads = async |api: &Api, id: &str, text: &str| {
        let answer = api.get(&service.key, &format!("/v1/messages/{id}")).await;
        assert_eq!((answer.status, answer.body["text"].as_str()), (StatusCode::OK, Some(text)), "{answer:?}");
    };
    let going_on = async {
        let mut sent = Vec::new();
        while !done.get() {
            // One that has just started has no key in memory; the other has those of before.
            let started = Api::start(&service.databases).await;
            for (id, text) in [(&waits, "venter"), (&logged, "sendt")] {
                reads(&started, id, text).await;
                reads(&service.api, id, text).await;
            }
            sent.push(service.sent(&number(), "imens").await);
        }
        sent
    };
    let ((), sent) = tokio::join!(rotating, going_on);
    assert!(!sent.is_empty());
    let after = Api::start(&service.databases).await;
    for (id, text) in [(&waits, "venter"), (&logged, "sendt")].into_iter().chain(sent.iter().map(|id| (id, "imens"))) {
        reads(&after, id, text).await;
    }
    let own = wrapping(service.tenant).await;
    assert_ne!(own, before.0);
    assert_eq!(wrapping(other).await, before.1, "another's stays");

    files.rotate(None).await.expect("all of them");
    assert_ne!(wrapping(service.tenant).await, own);
    assert_ne!(wrapping(other).await, before.1);
    reads(&Api::start(&service.databases).await, &waits, "venter").await;
}

#[tokio::test]
async fn who_has_no_wrapping_key_is_named() {
    let service = Service::start().await;
    let files = Files::of(&service.databases);
    service.databases.tenant("keyless").await;
    let pool = service.databases.data.pool("budstikke_operator");
    assert!(accounts::find(&pool, "test", "keyless").await.expect("asked").is_some());
    for name in ["test/keyless", "test/nobody", "elsewhere/tenant", "tenant"] {
        let error = files.rotate(Some(name)).await.expect_err(name);
        assert!(matches!(&error, RotateError::NoTenant(unknown) if unknown == name), "{error}");
    }
}
