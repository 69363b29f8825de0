//! Who may talk to senders and connectors, and whom they may talk to. Everything else is closed.
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// SMPP between senders and connectors.
pub(super) const SMPP_PORT: u16 = 2775;
/// Where connectors hear the callbacks of upstreams over HTTPS.
pub(super) const CALLBACK_PORT: u16 = 8443;
/// Health end-points and metrics.
const HEALTH_PORT: u16 = 8080;

/// What one role's pods may do.
pub(super) fn policy(
    metadata: ObjectMeta,
    pods: LabelSelector,
    ingress: Vec<NetworkPolicyIngressRule>,
    egress: Vec<NetworkPolicyEgressRule>,
) -> NetworkPolicy {
    let health = from_anywhere(HEALTH_PORT);
    // 5353 where the pods of the DNS listen there, since policies look at what a Service's address was translated to.
    let names = [53, 5353].into_iter().flat_map(|number| [port(number, "UDP"), tcp(number)]).collect();
    let names = NetworkPolicyEgressRule { ports: Some(names), to: None };
    NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pods),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(std::iter::once(health).chain(ingress).collect()),
            egress: Some(std::iter::once(names).chain(egress).collect()),
        }),
    }
}

/// To a port, wherever it is: upstreams and databases have no label to name them by.
pub(super) fn to_port(number: u16) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule { ports: Some(vec![tcp(number)]), to: None }
}

/// To one connector.
pub(super) fn to_pods(number: u16, pods: LabelSelector) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule { ports: Some(vec![tcp(number)]), to: Some(vec![peer(pods)]) }
}

/// From anywhere: what comes in through a cluster's Ingress has no label to name it by.
pub(super) fn from_anywhere(number: u16) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule { ports: Some(vec![tcp(number)]), from: None }
}

/// From the senders of this namespace.
pub(super) fn from_pods(number: u16, pods: LabelSelector) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule { ports: Some(vec![tcp(number)]), from: Some(vec![peer(pods)]) }
}

fn peer(pods: LabelSelector) -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(pods), ..NetworkPolicyPeer::default() }
}

fn tcp(number: u16) -> NetworkPolicyPort {
    port(number, "TCP")
}

fn port(number: u16, protocol: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(number.into())),
        protocol: Some(protocol.to_owned()),
        end_port: None,
    }
}
