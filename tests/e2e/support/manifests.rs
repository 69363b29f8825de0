//! The resources of a scenario, as JSON: as small as the kinds allow, so that a test adds what it is about.
use serde_json::{Value, json};

/// Where the chart is installed, and what it serves.
pub(crate) const NAMESPACE: &str = "budstikke";
/// The plan and policy that every tenant of the tests is under.
pub(crate) const STANDARD: &str = "e2e";

/// `examples/plan.yaml` and `examples/policy.yaml` under the tests' own name.
pub(crate) fn plan_and_policy() -> [Value; 2] {
    [include_str!("../../../examples/plan.yaml"), include_str!("../../../examples/policy.yaml")].map(|text| {
        let mut object: Value = serde_yaml_ng::from_str(text).expect("an example");
        object["metadata"]["name"] = STANDARD.into();
        object
    })
}

/// A tenant that is verified, has accepted and may send, by these routes.
pub(crate) fn tenant(name: &str, routes: &[&str]) -> Value {
    let routes: Vec<_> = routes.iter().map(|route| json!({"name": route})).collect();
    json!({
        "apiVersion": "budstikke.dev/v1alpha1",
        "kind": "Tenant",
        "metadata": {"name": name},
        "spec": {
            "organisation": {
                "name": "Prøve ApS",
                "address": {"lines": ["Prøvevej 1"], "postcode": "8000", "city": "Aarhus C", "country": "DK"},
                "registration": {"cvr": "12345674"},
            },
            "contact": {"email": "post@proeve.example"},
            "brand": "email2sms",
            "services": ["api"],
            "planRef": {"name": STANDARD},
            "retentionRef": {"name": STANDARD},
            "routes": routes,
            "senderIds": [{"id": "Proeve"}],
            "limits": {"recipientsPerCall": 10000},
            "verification": {
                "organisationConfirmedOn": "2026-01-05",
                "contactEmail": {"address": "post@proeve.example", "confirmedOn": "2026-01-05"},
            },
            "acceptance": {"termsVersion": "2026-01", "acceptedOn": "2026-01-06"},
            "sender": {"idleSeconds": 0},
        },
    })
}

/// A route to a simulated upstream; its credentials are in a Secret of the same name.
pub(crate) fn route(name: &str, host: &str) -> Value {
    json!({
        "apiVersion": "budstikke.dev/v1alpha1",
        "kind": "SmsRoute",
        "metadata": {"name": name},
        "spec": {
            "upstream": {"smpp": {"host": host, "port": 2775, "tls": {"mode": "disabled"}, "credentialsRef": {"name": name}}},
            "processor": {"name": "Simulated SMSC", "country": "DK"},
            "binds": 2,
            "ratePerSecond": 200,
            "timeouts": {"reconnectMinMilliseconds": 200, "reconnectMaxSeconds": 2},
        },
    })
}

/// A route's credentials.
pub(crate) fn credentials(name: &str, system_id: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": {"systemId": system_id, "password": "secret12"},
    })
}

/// A simulated upstream.
pub(crate) fn smsc(name: &str, options: &[&str]) -> [Value; 2] {
    let mut args = vec!["simulate", "smsc", "--listen", "0.0.0.0:2775", "--control", "0.0.0.0:8080"];
    args.extend(options);
    let label = json!({"app.kubernetes.io/name": name});
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": label},
            "template": {
                "metadata": {"labels": label},
                "spec": {
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 1,
                    "securityContext": {
                        "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [{
                        "name": "smsc",
                        "image": "budstikke.dev/budstikke-simulator:dev",
                        "imagePullPolicy": "IfNotPresent",
                        "args": args,
                        "ports": [{"name": "smpp", "containerPort": 2775}, {"name": "control", "containerPort": 8080}],
                        "readinessProbe": {"tcpSocket": {"port": "smpp"}, "periodSeconds": 1},
                        "securityContext": {
                            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                        },
                    }],
                },
            },
        },
    });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": label,
            "ports": [
                {"name": "smpp", "port": 2775, "targetPort": "smpp"},
                {"name": "control", "port": 8080, "targetPort": "control"},
            ],
        },
    });
    [deployment, service]
}
