//! The queues of whoever leads. Nobody leads, nobody queues: a new leader begins with everything anyway.
use std::sync::{Mutex, PoisonError};

use futures::SinkExt as _;
use futures::channel::mpsc::{Receiver, Sender, channel};
use kube::runtime::reflector::ObjectRef;

use crate::crd::{BillingPlan, RetentionPolicy, SmsRoute, Tenant};

/// Changes that wait to be taken up by a controller, which holds each object once, however often it changed.
const WAITING: usize = 1024;

/// An object that something happened to, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::operator) enum Target {
    Tenant(String),
    Route(String),
    Policy(String),
    Plan(String),
}

/// Where the controllers of one namespace take their work from.
#[derive(Debug, Default)]
pub(in crate::operator) struct Queues(Mutex<Option<Open>>);

#[derive(Debug, Clone)]
struct Open {
    tenants: Sender<ObjectRef<Tenant>>,
    routes: Sender<ObjectRef<SmsRoute>>,
    policies: Sender<ObjectRef<RetentionPolicy>>,
    plans: Sender<ObjectRef<BillingPlan>>,
}

/// The other ends.
pub(in crate::operator) struct Work {
    pub(in crate::operator) tenants: Receiver<ObjectRef<Tenant>>,
    pub(in crate::operator) routes: Receiver<ObjectRef<SmsRoute>>,
    pub(in crate::operator) policies: Receiver<ObjectRef<RetentionPolicy>>,
    pub(in crate::operator) plans: Receiver<ObjectRef<BillingPlan>>,
}

impl Queues {
    /// Opens them for a new leader.
    pub(in crate::operator) fn open(&self) -> Work {
        let (tenants, tenants_end) = channel(WAITING);
        let (routes, routes_end) = channel(WAITING);
        let (policies, policies_end) = channel(WAITING);
        let (plans, plans_end) = channel(WAITING);
        *self.lock() = Some(Open { tenants, routes, policies, plans });
        Work { tenants: tenants_end, routes: routes_end, policies: policies_end, plans: plans_end }
    }

    /// Closes them: the controllers finish what they are at, and end.
    pub(in crate::operator) fn close(&self) {
        *self.lock() = None;
    }

    /// Waits where a queue is full, and drops the target where nobody leads.
    pub(in crate::operator) async fn push(&self, namespace: &str, target: Target) {
        let Some(mut open) = self.lock().clone() else { return };
        // An end that is gone means that the lead was just lost.
        let _ = match target {
            Target::Tenant(name) => open.tenants.send(ObjectRef::new(&name).within(namespace)).await,
            Target::Route(name) => open.routes.send(ObjectRef::new(&name).within(namespace)).await,
            Target::Policy(name) => open.policies.send(ObjectRef::new(&name).within(namespace)).await,
            Target::Plan(name) => open.plans.send(ObjectRef::new(&name).within(namespace)).await,
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
