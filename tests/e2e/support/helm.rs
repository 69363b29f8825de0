//! The chart's release, as `dev/lib.sh` installs it.
use std::process::Command;

use super::manifests::NAMESPACE;

pub(crate) const RELEASE: &str = "budstikke";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/budstikke");
const VALUES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dev/values.yaml");

/// Runs helm in the release's namespace; shows what it said when it fails.
pub(crate) async fn helm(arguments: &[&str]) {
    helm_in(NAMESPACE, arguments).await;
}

/// Runs helm in any namespace; shows what it said when it fails.
pub(crate) async fn helm_in(namespace: &str, arguments: &[&str]) {
    let arguments: Vec<_> = ["--namespace", namespace].iter().chain(arguments).map(|&one| one.to_owned()).collect();
    let words = arguments.join(" ");
    let run = move || Command::new("helm").args(arguments).output();
    let output = tokio::task::spawn_blocking(run).await.expect("helm's thread").expect("helm");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "helm {words}: {}", String::from_utf8_lossy(&said));
}

/// Installs or upgrades the chart, with more settings, and waits until all of it is ready.
pub(crate) async fn install(settings: &[&str]) {
    install_in(NAMESPACE, settings).await;
}

/// The same in any namespace.
pub(crate) async fn install_in(namespace: &str, settings: &[&str]) {
    let mut arguments = vec!["upgrade", "--install", RELEASE, CHART, "--values", VALUES, "--wait", "--timeout", "5m"];
    arguments.extend(settings);
    helm_in(namespace, &arguments).await;
}
