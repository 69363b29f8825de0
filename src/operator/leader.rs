//! One of several operators leads, by a Lease; the others keep their caches warm. A leader that goes releases it.
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch::Receiver;
use tokio::task::JoinHandle;

use super::Args;

/// How long a leader that does not answer keeps the lead, seconds.
const DURATION: u64 = 15;
/// How long before that it renews, seconds.
const GRACE: u64 = 5;
/// How often a leader makes sure that it leads.
const LOOK: Duration = Duration::from_secs(5);

/// Takes part in the election. The lead is given back when the receiver is dropped and the task has ended.
pub(super) async fn elect(
    client: &Client,
    args: &Args,
) -> Result<(Receiver<bool>, JoinHandle<Result<LeaseManager, LeaseManagerError>>), LeaseManagerError> {
    let manager = LeaseManagerBuilder::new(client.clone(), &args.lease)
        .with_namespace(&args.namespace)
        .with_identity(&args.pod)
        .with_field_manager(format!("budstikke-operator-{}", args.pod))
        .with_duration(DURATION)
        .with_grace(GRACE)
        .build()
        .await?;
    Ok(manager.watch().await)
}

/// Ends once this operator cannot be sure any more that it leads: another one may by then.
pub(super) async fn lost(client: &Client, args: &Args) {
    let leases = Api::<Lease>::namespaced(client.clone(), &args.namespace);
    let mut sure_until = Timestamp::now() + Duration::from_secs(DURATION);
    loop {
        tokio::time::sleep(LOOK).await;
        if let Ok(Ok(lease)) = tokio::time::timeout(LOOK, leases.get(&args.lease)).await {
            match held_until(&lease, &args.pod) {
                Some(until) => sure_until = until,
                None => return,
            }
        }
        if Timestamp::now() > sure_until {
            return;
        }
    }
}

/// Until when this pod leads; `None`: another one does, or nobody.
fn held_until(lease: &Lease, pod: &str) -> Option<Timestamp> {
    let spec = lease.spec.as_ref().filter(|spec| spec.holder_identity.as_deref() == Some(pod))?;
    let seconds = u64::try_from(spec.lease_duration_seconds?).ok()?;
    spec.renew_time.as_ref().map(|renewed| renewed.0 + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_holder_leads_and_only_as_long_as_it_renewed() {
        let until = |spec: serde_json::Value| {
            held_until(&serde_json::from_value(json!({"spec": spec})).expect("a Lease"), "me").map(|at| at.to_string())
        };
        let spec = |holder| json!({"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"});
        assert_eq!(until(spec("me")).as_deref(), Some("2026-01-01T00:00:15Z"));
        assert_eq!(until(spec("another")), None);
        assert_eq!(until(json!({})), None);
    }
}
