//! BillingPlan: validated, and counted who is under it. Its prices are enforced through the Tenants under it.
mod validate;

use std::time::Duration;

use kube::ResourceExt as _;

use super::conditions::{Standing, conditions};
use super::controller::{Controlled, Scope};
use super::failure::Failure;
use super::{midnight, status};
use crate::crd::conditions::reasons;
use crate::crd::{BillingPlan, BillingPlanSpec, BillingPlanStatus};
use crate::domain::copenhagen_day;

pub(super) use self::validate::{milli_ore, prices, validate};

impl Controlled for BillingPlan {
    async fn reconcile(&self, scope: &Scope) -> Result<Duration, Failure> {
        let name = self.name_any();
        let tenants = scope.world.tenants.state();
        let count = tenants.iter().filter(|tenant| tenant.spec.plan_ref.name.0 == name).count();
        let now = scope.context.clock.now();
        status::write(scope, self, build(self, count, now)).await?;
        // Another price list may hold from midnight on.
        Ok(midnight::until_next(now))
    }
}

fn build(plan: &BillingPlan, tenants: usize, now: jiff::Timestamp) -> BillingPlanStatus {
    let today = copenhagen_day(now);
    let price = in_words(&plan.spec, today);
    let standing = match validate(&plan.spec, today) {
        Ok(()) => Standing::Ready,
        Err(message) => Standing::Stalled(reasons::INVALID, message),
    };
    let generation = plan.metadata.generation.unwrap_or_default();
    let done = price.as_deref().unwrap_or_default();
    BillingPlanStatus {
        observed_generation: generation,
        conditions: conditions(status::current(plan), &standing, done, &[], generation, now),
        referenced_by: i32::try_from(tenants).ok(),
        price,
    }
}

fn in_words(spec: &BillingPlanSpec, today: jiff::civil::Date) -> Option<String> {
    let prices = validate::in_force(spec, today)?;
    let fee = format!("{} DKK a month", prices.monthly_fee);
    Some(match prices.included_parts.unwrap_or(0) {
        0 => fee,
        parts => format!("{fee}, {parts} SMS included"),
    })
}
