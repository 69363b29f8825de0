//! All that an installation leaves behind where somebody may look: objects, logs, metrics, and the files below them.
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use axum::http::Request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt as _;
use kube::api::{ListParams, LogParams};

use super::{END, Search};
use crate::support::crash;
use crate::support::manifests::NAMESPACE;
use crate::support::world::World;

/// The names of what was found, by source.
pub(crate) type Found = BTreeMap<String, BTreeSet<&'static str>>;

/// The roles, each in containers of that name.
pub(crate) const ROLES: [&str; 5] = ["operator", "api", "worker", "sender", "connector"];

/// The lists of the namespace.
const LISTS: [&str; 16] = [
    "api/v1/configmaps",
    "api/v1/events",
    "api/v1/pods",
    "api/v1/secrets",
    "api/v1/services",
    "apis/apps/v1/deployments",
    "apis/apps/v1/replicasets",
    "apis/apps/v1/statefulsets",
    "apis/budstikke.dev/v1alpha1/billingplans",
    "apis/budstikke.dev/v1alpha1/retentionpolicies",
    "apis/budstikke.dev/v1alpha1/smsroutes",
    "apis/budstikke.dev/v1alpha1/tenants",
    "apis/coordination.k8s.io/v1/leases",
    "apis/events.k8s.io/v1/events",
    "apis/networking.k8s.io/v1/networkpolicies",
    "apis/policy/v1/poddisruptionbudgets",
];

/// What an instance has written since `$1`, write-ahead log included: as it stands, and again after a checkpoint, which
/// brings the tables up to date and may take a part of the log away. Files come and go meanwhile.
const POSTGRES: &str = r#"
set -e
PATH=$PATH:/usr/lib/postgresql/15/bin
written() { find /var/lib/postgresql/data -type f -newermt "@$1" -exec cat {} + 2>/dev/null || true; }
written "$1"
PGPASSWORD=$(</secrets/postgres-password) psql -X -q -h 127.0.0.1 -U postgres -c checkpoint >/dev/null
written "$1"
echo "$2"
"#;

/// What etcd has written since `$1`, wherever it keeps it.
const ETCD: &str = r#"
for process in /proc/[0-9]*; do
  if [ "$(cat "$process/comm" 2>/dev/null)" = etcd ]; then
    directory=$(tr '\0' '\n' <"$process/cmdline" | sed -n 's/^--data-dir=//p; /^--data-dir$/{n;p;}')
    find "$process/root${directory:?}" -type f -newermt "@$1" -exec cat {} + 2>/dev/null
  fi
done
echo "$2"
"#;

/// Reads everything but the pods of one name, which are the outside world. What was not written since then is not read
/// where that can be told.
pub(crate) async fn read(world: &World, search: &Search, since: Timestamp, outside: &str) -> Found {
    let mut sources = Sources { world, search, found: Found::new() };
    sources.objects().await;
    for pod in world.pods(&format!("app.kubernetes.io/name!={outside}")).await {
        sources.logs(&pod).await;
        sources.metrics(&pod).await;
    }
    sources.files(since).await;
    sources.found
}

struct Sources<'w> {
    world: &'w World,
    search: &'w Search,
    found: Found,
}

impl Sources<'_> {
    fn look(&mut self, source: String, octets: &[u8]) {
        self.found.insert(source, self.search.read(octets).expect("what is in memory"));
    }

    async fn get(&self, path: &str) -> String {
        let request = Request::get(path).body(Vec::new()).expect("a request");
        self.world.client.request_text(request).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn objects(&mut self) {
        for list in LISTS {
            let (group, plural) = list.rsplit_once('/').expect("a group and a plural");
            let objects = self.get(&format!("/{group}/namespaces/{NAMESPACE}/{plural}")).await;
            self.look(list.to_owned(), objects.as_bytes());
        }
        let secrets = self.world.api::<Secret>().list(&ListParams::default()).await.expect("list Secrets").items;
        let data: Vec<_> = secrets.into_iter().filter_map(|secret| secret.data).flatten().map(|(_, it)| it.0).collect();
        self.look("data of Secrets".to_owned(), &data.concat());
    }

    async fn logs(&mut self, pod: &Pod) {
        let (pods, name) = (self.world.api::<Pod>(), pod.name_any());
        let Some(status) = &pod.status else { return };
        let containers = [&status.init_container_statuses, &status.container_statuses];
        for container in containers.into_iter().flatten().flatten() {
            for previous in [false, true] {
                let life = if previous { "previous log" } else { "log" };
                let source = format!("{life} of {name}/{}", container.name);
                let wanted = LogParams { container: Some(container.name.clone()), previous, ..LogParams::default() };
                match pods.logs(&name, &wanted).await {
                    Ok(log) => self.look(source, log.as_bytes()),
                    // Most had no life before this one.
                    Err(_) if previous => {}
                    Err(error) => panic!("{source}: {error}"),
                }
            }
        }
    }

    async fn metrics(&mut self, pod: &Pod) {
        let role = pod.labels().get("app.kubernetes.io/component");
        let Some(role) = role.filter(|role| ROLES.contains(&role.as_str())) else { return };
        let name = pod.name_any();
        let page = self.get(&format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}:8080/proxy/metrics")).await;
        assert!(page.contains(&format!("budstikke_{role}_")), "the page of {name} has its metrics");
        self.look(format!("metrics of {name}/{role}"), page.as_bytes());
    }

    async fn files(&mut self, since: Timestamp) {
        for instance in ["postgres", "keyring"] {
            let pod = format!("budstikke-{instance}-0");
            self.shell(format!("files of {instance}"), NAMESPACE, pod, POSTGRES, since).await;
        }
        // The pod that can kill whatever runs on the node can also read it.
        self.world.prepare_to_crash().await;
        let pod = self.world.killer.get().expect("it stands ready").clone();
        self.shell("files of etcd".to_owned(), crash::NAMESPACE, pod, ETCD, since).await;
    }

    /// What a script in a pod hands on, as it comes.
    async fn shell(
        &mut self,
        source: String,
        namespace: &'static str,
        pod: String,
        script: &'static str,
        since: Timestamp,
    ) {
        let (search, since) = (self.search.clone(), since.as_second().to_string());
        let run = move || {
            let mut shell = Command::new("kubectl")
                .args(["exec", "--namespace", namespace, &pod, "--", "/bin/bash", "-c", script, "read", &since, END])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .expect("kubectl");
            let found = search.read(shell.stdout.take().expect("piped"));
            (found.expect("what kubectl says"), shell.wait().expect("kubectl's end"))
        };
        let (mut found, status) = tokio::task::spawn_blocking(run).await.expect("kubectl's thread");
        assert!(found.remove(END) && status.success(), "{source} are read to the end: {status}");
        self.found.insert(source, found);
    }
}
