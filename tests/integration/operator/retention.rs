//! What the operator does and shows for retention.
use budstikke::crd::{RetentionPolicy, Tenant};
use budstikke::domain::{Clock as _, SystemClock, TenantId, copenhagen_day};
use budstikke::keyring::{self, Kek, Keyring};
use budstikke::store::mail::{self, Direction, Kind};
use budstikke::store::partitions;
use jiff::SignedDuration;
use serde_json::json;

use super::scene::{Scene, kek, tenant};

/// Waits until the policy's `Compliant` has this reason; its message.
async fn compliant(scene: &Scene, reason: &str) -> String {
    let found = scene.until(reason, || async {
        let policy: RetentionPolicy = scene.find("standard").await?;
        let conditions = policy.status?.conditions;
        let compliant = conditions.into_iter().find(|condition| condition.type_ == "Compliant")?;
        (compliant.status == "False" && compliant.reason == reason).then_some(compliant.message)
    });
    found.await
}

/// As on a server with the chart's settings, which a database has not of its own.
async fn bound(scene: &Scene) {
    let bounded = "create or replace function keyring.wal_window(out seconds bigint, out unbounded_by text)
                   language sql stable as $$ select 4200::bigint, null::text $$";
    sqlx::query(bounded).execute(&scene.databases.keyring.pool("budstikke_owner")).await.expect("bounded");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_proved_is_not_claimed() {
    let scene = Scene::set().await;
    scene.furnish().await;
    let _operator = scene.operator("one");
    let declared = compliant(&scene, "Invalid").await;
    assert!(declared.starts_with("D8 is not kept"), "{declared}");

    let keyring = scene.databases.keyring.pool("budstikke_owner");
    let may = async |statement: &'static str| {
        sqlx::query(statement).execute(&keyring).await.expect(statement);
        let now = jiff::Timestamp::now().to_string();
        scene.change::<RetentionPolicy>("standard", json!({"metadata": {"annotations": {"looked": now}}})).await;
    };
    may("revoke select on keyring.key from budstikke_operator").await;
    let message = compliant(&scene, "DatabaseUnavailable").await;
    assert!(message.starts_with("it cannot be shown now that what must be gone is gone: "), "{message}");
    may("grant select on keyring.key to budstikke_operator").await;
    compliant(&scene, "Invalid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_for_copies_of_mail_are_made_for_those_who_use_mail_and_log() {
    let scene = Scene::set().await;
    scene.furnish().await;
    let mut mailing = tenant("mailing");
    mailing["spec"]["services"] = json!(["api", "bulk"]);
    scene.create::<Tenant>(mailing).await;
    scene.create::<Tenant>(tenant("silent")).await;
    let _operator = scene.operator("one");
    let keyring = scene.databases.keyring.pool("budstikke_owner");
    let keys = async || -> i64 {
        sqlx::query_scalar("select count(*) from keyring.hour_key").fetch_one(&keyring).await.expect("counted")
    };
    for name in ["mailing", "silent"] {
        scene.tenant_says(name, "CredentialsReady", "True", "Succeeded").await;
    }
    assert_eq!(keys().await, 0, "the settings of the keyring's server bound nothing");
    bound(&scene).await;
    scene.change::<Tenant>("mailing", json!({"spec": {"defaultCountry": "SE"}})).await;
    scene.until("keys of hours", || async { (keys().await > 0).then_some(()) }).await;
    assert!((49..=50).contains(&keys().await), "of one tenant, for two days");
    let days: Vec<i64> =
        sqlx::query_scalar("select distinct extract(epoch from gone_at - usable_from)::bigint from keyring.hour_key")
            .fetch_all(&keyring)
            .await
            .expect("read");
    assert_eq!(
        days,
        [46 * 3600],
        "three days, less a day of backups, less the hours of the log and of its destruction"
    );
    let room = "select count(*) from pg_class where relname like 'mail\\_copy\\_2%' and relkind = 'r'";
    scene
        .until("partitions of the coming hours", || async {
            let made: i64 = sqlx::query_scalar(room).fetch_one(&scene.pool()).await.expect("counted");
            (made >= 120).then_some(())
        })
        .await;

    let out = json!({"spec": {"logging": {"optOutConfirmedOn": "2026-01-02"}}});
    scene.change::<Tenant>("mailing", out).await;
    scene.until("no key is left", || async { (keys().await == 0).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_mail_that_a_shorter_policy_would_take_are_shown_until_the_owners_word() {
    let scene = Scene::set().await;
    scene.furnish().await;
    let mut mailing = tenant("mailing");
    mailing["spec"]["services"] = json!(["api", "bulk"]);
    scene.create::<Tenant>(mailing).await;
    bound(&scene).await;
    let _operator = scene.operator("one");
    scene.tenant_says("mailing", "CredentialsReady", "True", "Succeeded").await;
    let account = scene.until("an account", || async { scene.find::<Tenant>("mailing").await?.status?.account_id });
    let account = TenantId(account.await);

    // Made thirty hours ago, under the policy of then.
    let then = SystemClock.now() - SignedDuration::from_hours(30);
    let keyring = || {
        let pool = keyring::connect(&scene.databases.keyring.dsn("budstikke_operator"), 1, "test");
        Keyring::open(pool, Kek::parse(&kek(7)).expect("a key"))
    };
    let before = keyring();
    before.provide_mail(account, then, 46).await.expect("keys of the hours");
    let key = before.mail_key(account, then).await.expect("a key");
    partitions::ensure_mail(&scene.pool(), then).await.expect("partitions of then");
    let api = scene.databases.data.pool("budstikke_api");
    let id = mail::put(&api, &key, then, Kind::Raw, Direction::ToSms, b"kanariefugl").await.expect("kept");

    let pending = async || {
        let policy: RetentionPolicy = scene.find("standard").await?;
        let conditions = policy.status?.conditions;
        conditions.into_iter().find(|condition| condition.type_ == "ErasurePending").map(|condition| condition.message)
    };
    scene.change::<RetentionPolicy>("standard", json!({"spec": {"mail": {"keepDays": 2}}})).await;
    let told = scene
        .until("it is shown", || async {
            // It is looked once a minute, or when something changes.
            let now = jiff::Timestamp::now().to_string();
            scene.change::<RetentionPolicy>("standard", json!({"metadata": {"annotations": {"looked": now}}})).await;
            pending().await
        })
        .await;
    assert!(told.starts_with("1 copies of mail of 1 tenants are older"), "{told}");
    assert!(told.contains("`mail.keepDays` as it was"), "{told}");
    assert!(mail::get(&api, &keyring(), account, id).await.expect("asked").is_some(), "it is there meanwhile");

    let word = copenhagen_day(SystemClock.now()).tomorrow().expect("a day").to_string();
    scene.change::<RetentionPolicy>("standard", json!({"spec": {"eraseConfirmedBefore": word}})).await;
    let gone = "select not exists (select from mail_copy where copy_id = $1)";
    scene
        .until("it is gone", || async {
            let gone = sqlx::query_scalar(gone).bind(id).fetch_one(&api).await.expect("asked");
            bool::then_some(gone, ())
        })
        .await;
    assert!(keyring().mail_key_named(account, key.name()).await.is_err(), "and its key");
}
