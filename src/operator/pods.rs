//! What senders' and connectors' pods have in common: a restricted context, no token, a read-only root, probes, and the
//! Secret with everything they are told.
use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, LocalObjectReference,
    ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile,
    SecretVolumeSource, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::context::Workloads;
use super::labels;
use crate::crd::values::{Quantities, Resources};

/// A sender's own program: with the other roles in it, it would take twice the memory.
const SENDER: &str = "/budstikke-sender";

/// Where the Secret is mounted.
const CONFIG_DIR: &str = "/etc/budstikke";

/// The pods of one Tenant or SmsRoute.
pub(super) struct Pods<'a> {
    /// The role: `sender` or `connector`.
    pub(super) role: &'static str,
    /// Name, namespace, labels and owner of what is made.
    pub(super) metadata: ObjectMeta,
    /// The label and name that select the pods.
    pub(super) owner: (&'a str, &'a str),
    pub(super) replicas: i32,
    pub(super) resources: ResourceRequirements,
    /// Ports of its own, beside that of the health end-points.
    pub(super) ports: Vec<(&'static str, i32)>,
    /// Pods that may be there beyond `replicas` during a rollout. With none, all old ones have ended before a new one
    /// starts: a rolling update counts those that are about to end as gone already.
    pub(super) surge: i32,
    /// What they are told by their environment, beyond the Secret: a change replaces them.
    pub(super) env: Vec<EnvVar>,
}

impl Pods<'_> {
    pub(super) fn deployment(&self, workloads: &Workloads) -> Deployment {
        Deployment {
            metadata: self.metadata.clone(),
            spec: Some(DeploymentSpec {
                replicas: Some(self.replicas),
                selector: self.selector(),
                revision_history_limit: Some(2),
                strategy: Some(self.strategy()),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(labels::all(self.role, self.owner)),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(self.pod(workloads)),
                },
                ..DeploymentSpec::default()
            }),
            ..Deployment::default()
        }
    }

    /// From two replicas on; on one it would refuse every eviction.
    pub(super) fn budget(&self) -> Option<PodDisruptionBudget> {
        (self.replicas > 1).then(|| PodDisruptionBudget {
            metadata: self.metadata.clone(),
            spec: Some(PodDisruptionBudgetSpec {
                max_unavailable: Some(IntOrString::Int(1)),
                selector: Some(self.selector()),
                ..PodDisruptionBudgetSpec::default()
            }),
            ..PodDisruptionBudget::default()
        })
    }

    pub(super) fn selector(&self) -> LabelSelector {
        LabelSelector { match_labels: Some(labels::selector(self.role, self.owner)), ..LabelSelector::default() }
    }

    fn strategy(&self) -> DeploymentStrategy {
        if self.surge == 0 {
            return DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None };
        }
        DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: Some(IntOrString::Int(self.surge)),
                max_unavailable: Some(IntOrString::Int(1)),
            }),
        }
    }

    fn pod(&self, workloads: &Workloads) -> PodSpec {
        PodSpec {
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(30),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..Default::default() }),
                ..PodSecurityContext::default()
            }),
            image_pull_secrets: pull_secrets(&workloads.pull_secrets),
            topology_spread_constraints: (self.replicas > 1).then(|| vec![self.spread()]),
            containers: vec![self.container(workloads)],
            volumes: Some(vec![Volume {
                name: "config".to_owned(),
                secret: Some(SecretVolumeSource { secret_name: self.metadata.name.clone(), ..Default::default() }),
                ..Volume::default()
            }]),
            ..PodSpec::default()
        }
    }

    fn spread(&self) -> TopologySpreadConstraint {
        TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(self.selector()),
            ..TopologySpreadConstraint::default()
        }
    }

    fn container(&self, workloads: &Workloads) -> Container {
        let is_sender = self.role == "sender";
        let mut ports = vec![port("health", 8080)];
        ports.extend(self.ports.iter().map(|(name, number)| port(name, *number)));
        let mut environment = vec![env("BUDSTIKKE_LOG", &workloads.log), env("BUDSTIKKE_CONFIG_DIR", CONFIG_DIR)];
        environment.extend(self.env.iter().cloned());
        Container {
            name: self.role.to_owned(),
            image: Some(workloads.image.clone()),
            image_pull_policy: Some(workloads.pull_policy.clone()),
            command: is_sender.then(|| vec![SENDER.to_owned()]),
            args: (!is_sender).then(|| vec![self.role.to_owned()]),
            env: Some(environment),
            ports: Some(ports),
            resources: Some(self.resources.clone()),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(true),
                capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
                ..SecurityContext::default()
            }),
            startup_probe: Some(probe("/livez", 1, 60)),
            liveness_probe: Some(probe("/livez", 10, 3)),
            readiness_probe: Some(probe("/readyz", 2, 3)),
            volume_mounts: Some(vec![VolumeMount {
                name: "config".to_owned(),
                mount_path: CONFIG_DIR.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            }]),
            ..Container::default()
        }
    }
}

fn pull_secrets(names: &[String]) -> Option<Vec<LocalObjectReference>> {
    let secrets: Vec<_> = names.iter().map(|name| LocalObjectReference { name: name.clone() }).collect();
    (!secrets.is_empty()).then_some(secrets)
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

pub(super) fn env(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

/// The pod's own UID.
pub(super) fn env_uid(name: &str) -> EnvVar {
    let field = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: "metadata.uid".to_owned() };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("health".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// What the owner wrote, over what the installation gives.
pub(super) fn resources(
    written: Option<&Resources>,
    (cpu, memory, memory_limit): (&str, &str, &str),
) -> ResourceRequirements {
    let requests = written.and_then(|resources| resources.requests.as_ref());
    let limits = written.and_then(|resources| resources.limits.as_ref());
    ResourceRequirements {
        requests: Some(quantities(requests, Some(cpu), Some(memory))),
        limits: Some(quantities(limits, None, Some(memory_limit))),
        claims: None,
    }
}

fn quantities(written: Option<&Quantities>, cpu: Option<&str>, memory: Option<&str>) -> BTreeMap<String, Quantity> {
    let written_cpu = written.and_then(|quantities| quantities.cpu.as_deref()).map(canonical_cpu);
    let written_memory = written.and_then(|quantities| quantities.memory.as_deref()).map(canonical_memory);
    let cpu = written_cpu.or(cpu.map(str::to_owned)).map(|cpu| ("cpu".to_owned(), Quantity(cpu)));
    let memory = written_memory.or(memory.map(str::to_owned)).map(|memory| ("memory".to_owned(), Quantity(memory)));
    cpu.into_iter().chain(memory).collect()
}

/// As the API writes it back, so that both compare equal: `0.5` is `500m`, `2000m` is `2`.
fn canonical_cpu(cpu: &str) -> String {
    let millis = match cpu.strip_suffix('m') {
        Some(millis) => millis.parse::<u64>().ok(),
        None => {
            let (whole, decimals) = cpu.split_once('.').unwrap_or((cpu, ""));
            let thousandths = format!("{decimals:0<3}").get(..3).and_then(|text| text.parse::<u64>().ok());
            whole.parse::<u64>().ok().zip(thousandths).map(|(whole, millis)| whole * 1000 + millis)
        }
    };
    match millis {
        Some(millis) if millis % 1000 == 0 => (millis / 1000).to_string(),
        Some(millis) => format!("{millis}m"),
        None => cpu.to_owned(),
    }
}

/// As the API writes it back: `1024Mi` is `1Gi`, `1000M` is `1G`.
fn canonical_memory(memory: &str) -> String {
    const BINARY: &[&str] = &["Ki", "Mi", "Gi", "Ti"];
    const DECIMAL: &[&str] = &["k", "M", "G", "T"];
    for (units, step) in [(BINARY, 1024), (DECIMAL, 1000)] {
        for (nth, unit) in units.iter().enumerate() {
            let Some(mut amount) = memory.strip_suffix(unit).and_then(|text| text.parse::<u64>().ok()) else {
                continue;
            };
            let mut unit = *unit;
            for larger in &units[nth + 1..] {
                if amount % step != 0 {
                    break;
                }
                (amount, unit) = (amount / step, *larger);
            }
            return format!("{amount}{unit}");
        }
    }
    memory.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_written_as_the_api_writes_it() {
        for (written, canonical) in [
            ("1024Mi", "1Gi"),
            ("1048576Ki", "1Gi"),
            ("1536Mi", "1536Mi"),
            ("64Mi", "64Mi"),
            ("1000M", "1G"),
            ("1500M", "1500M"),
        ] {
            assert_eq!(canonical_memory(written), canonical, "{written}");
        }
    }

    #[test]
    fn cpu_is_written_as_the_api_writes_it() {
        for (written, canonical) in [("0.5", "500m"), ("1", "1"), ("2000m", "2"), ("50m", "50m"), ("1.25", "1250m")] {
            assert_eq!(canonical_cpu(written), canonical, "{written}");
        }
    }
}
