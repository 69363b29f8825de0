//! Tenants whose senders have gone to zero.
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{WatchEvent, WatchParams};
use tokio::task::JoinHandle;

use super::wait::{eventually, holds};
use super::world::{SOON, World};

fn wanted(deployment: &Deployment) -> Option<i32> {
    deployment.spec.as_ref().and_then(|spec| spec.replicas)
}

impl World {
    /// Waits until a tenant has no pods and none are wanted.
    pub(crate) async fn asleep(&self, tenant: &str) {
        eventually("its pods go", SOON, async || {
            let sender = self.sender(tenant).await?;
            holds(wanted(&sender) == Some(0), sender.spec)
        })
        .await;
        eventually("the last one has ended", SOON, async || {
            let pods = self.pods(&format!("budstikke.dev/tenant={tenant}")).await;
            holds(pods.is_empty(), pods.len())
        })
        .await;
    }

    /// When pods of a sleeping tenant are wanted again, milliseconds: watched from now on.
    pub(crate) async fn when_wanted(&self, tenant: &str) -> JoinHandle<i64> {
        let (senders, name) = (self.api::<Deployment>(), format!("sender-{tenant}"));
        let version = self.sender(tenant).await.expect("its Deployment").metadata.resource_version.unwrap_or_default();
        let one = WatchParams::default().fields(&format!("metadata.name={name}"));
        let changes = senders.watch(&one, &version).await.expect("a watch").boxed();
        tokio::spawn(async move {
            let pods = changes.try_filter_map(async |change| match change {
                WatchEvent::Modified(sender) => Ok(wanted(&sender).filter(|pods| *pods > 0)),
                _ => Ok(None),
            });
            let mut pods = std::pin::pin!(pods);
            pods.try_next().await.expect("a watch that lasts").expect("pods are wanted");
            jiff::Timestamp::now().as_millisecond()
        })
    }

    async fn sender(&self, tenant: &str) -> Result<Deployment, String> {
        self.api::<Deployment>().get(&format!("sender-{tenant}")).await.map_err(|error| error.to_string())
    }
}
