//! The installation's Secrets are made once, whoever comes first, and taken up again.
use budstikke::operator::bootstrap::{Args, ensure_all};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{ListParams, PostParams};

use super::scene::Scene;

fn args(namespace: &str) -> Args {
    Args {
        namespace: namespace.to_owned(),
        release: "sms".to_owned(),
        kek_generation: 1,
        out: None,
        database_secret: None,
        embedded_database: true,
        database_ca_secret: None,
        keyring_secret: None,
        embedded_keyring: true,
        keyring_ca_secret: None,
    }
}

async fn secrets(scene: &Scene) -> Vec<(String, Option<String>)> {
    let all = scene.api::<Secret>().list(&ListParams::default()).await.expect("list");
    all.items.iter().map(|secret| (secret.name_any(), secret.resource_version())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_make_one_installation_and_a_third_takes_it_up() {
    let scene = Scene::set().await;
    let args = args(&scene.namespace);
    let (one, two) = tokio::join!(ensure_all(&scene.client, &args), ensure_all(&scene.client, &args));
    assert_eq!(one.expect("made"), two.expect("made"), "both see the same");
    let made = secrets(&scene).await;
    let names: Vec<&str> = made.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sms-api-tls", "sms-ca", "sms-database", "sms-kek", "sms-keyring", "sms-owner-key"]);
    ensure_all(&scene.client, &args).await.expect("taken up");
    assert_eq!(secrets(&scene).await, made, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_named_is_never_made() {
    let scene = Scene::set().await;
    let args = Args { database_secret: Some("own".to_owned()), embedded_database: false, ..args(&scene.namespace) };
    let error = ensure_all(&scene.client, &args).await.expect_err("it does not exist").to_string();
    assert!(error.contains("the Secret own does not exist"), "{error}");
    let url = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "own"},
                                 "stringData": {"owner-url": "a", "operator-url": "b"}});
    scene.create::<Secret>(url).await;
    let error = ensure_all(&scene.client, &args).await.expect_err("it lacks one").to_string();
    assert_eq!(error, "the Secret own has no usable key api-url");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_an_earlier_version_is_given_what_it_lacks_and_nothing_else_is_changed() {
    let scene = Scene::set().await;
    let args = args(&scene.namespace);
    ensure_all(&scene.client, &args).await.expect("made");
    let api = scene.api::<Secret>();
    let before = api.get("sms-keyring").await.expect("it is there");
    let mut old = before.clone();
    let kept = old.data.as_mut().expect("content");
    let passphrase = kept.remove("backup-passphrase").expect("made with the others");
    api.replace("sms-keyring", &PostParams::default(), &old).await.expect("an earlier version's");
    let (one, two) = tokio::join!(ensure_all(&scene.client, &args), ensure_all(&scene.client, &args));
    assert_eq!(one.expect("completed"), two.expect("completed"), "both see the same");
    let mut after = api.get("sms-keyring").await.expect("it is there").data.expect("content");
    assert_ne!(after.insert("backup-passphrase".to_owned(), passphrase.clone()), Some(passphrase), "drawn anew");
    assert_eq!(Some(after), before.data, "nothing else was touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_is_raised_adds_one_key_beside_the_others() {
    let scene = Scene::set().await;
    let first = args(&scene.namespace);
    ensure_all(&scene.client, &first).await.expect("made");
    let kek = async || scene.find::<Secret>("sms-kek").await.and_then(|secret| secret.data).expect("its content");
    let before = kek().await;
    let second = Args { kek_generation: 2, ..args(&scene.namespace) };
    let (one, two) = tokio::join!(ensure_all(&scene.client, &second), ensure_all(&scene.client, &second));
    assert_eq!(one.expect("added"), two.expect("added"), "both see the same");
    let after = kek().await;
    assert_eq!(after.keys().collect::<Vec<_>>(), ["kek", "kek.2", "kek.2.since"]);
    assert_eq!(after["kek"], before["kek"], "what is wrapped by it still opens");
    ensure_all(&scene.client, &first).await.expect("an operator of before");
    assert_eq!(kek().await, after, "nothing goes back");
}
