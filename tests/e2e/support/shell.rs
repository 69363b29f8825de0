//! Commands in pods.
use std::process::Command;

use super::manifests::NAMESPACE;

/// Runs a command in a pod; what it said, or why it failed.
pub(crate) async fn exec(namespace: &str, pod: &str, container: &str, words: &[&str]) -> Result<String, String> {
    let mut command = Command::new("kubectl");
    command.args(["exec", "--namespace", namespace, pod, "--container", container, "--"]).args(words);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("its thread").expect("kubectl");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Asks the data instance as its superuser; each line of the answer is a row.
pub(crate) async fn psql(statements: &[&str]) -> Result<Vec<String>, String> {
    let mut words =
        vec!["/usr/lib/postgresql/15/bin/psql", "-h", "/run/budstikke/sockets", "-U", "postgres", "-d", "budstikke"];
    words.extend(["-X", "-q", "-At"]);
    words.extend(statements.iter().flat_map(|statement| ["-c", statement]));
    let said = exec(NAMESPACE, "budstikke-postgres-0", "postgres", &words).await?;
    Ok(said.lines().map(str::to_owned).collect())
}
