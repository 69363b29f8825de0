//! What helps when a scenario failed: its resources and pods, the latest events, the last words of those at work.
use std::process::Command;

use super::manifests::NAMESPACE;
use super::world::World;

/// Shows it on the test's own output.
pub(crate) async fn failure(world: &World) {
    let (tenants, routes) = world.resources().await;
    println!("scenario {} failed", world.id);
    show(&["get", "pods", "--output", "wide"]);
    show(&["get", "tenants,smsroutes,retentionpolicies,billingplans"]);
    let events = kubectl(&["get", "events", "--sort-by", ".lastTimestamp"]);
    println!("events:\n{}", last_lines(&events, 25));
    for selector in ["app.kubernetes.io/component=operator", "app.kubernetes.io/component=api"] {
        show(&["logs", "--all-containers", "--selector", selector, "--tail", "15", "--prefix"]);
    }
    for (kind, name) in tenants.iter().map(|name| ("tenant", name)).chain(routes.iter().map(|name| ("route", name))) {
        show(&["logs", "--selector", &format!("budstikke.dev/{kind}={name}"), "--tail", "15", "--prefix"]);
    }
}

fn show(arguments: &[&str]) {
    println!("kubectl {}\n{}", arguments.join(" "), kubectl(arguments));
}

fn kubectl(arguments: &[&str]) -> String {
    match Command::new("kubectl").args(["--namespace", NAMESPACE]).args(arguments).output() {
        Ok(output) => String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        Err(error) => error.to_string(),
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
