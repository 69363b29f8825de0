//! RetentionPolicy: validated, and counted who is under it. What it says is enforced through the Tenants under it.
mod validate;

use std::time::Duration;

use super::conditions::{Standing, Verdict, conditions};
use super::controller::{Controlled, Scope};
use super::failure::Failure;
use super::status;
use crate::crd::conditions::{reasons, types};
use crate::crd::{RetentionPolicy, RetentionPolicySpec, RetentionPolicyStatus};
use kube::ResourceExt as _;

pub(super) use self::validate::{log_days, validate};

impl Controlled for RetentionPolicy {
    async fn reconcile(&self, scope: &Scope) -> Result<Duration, Failure> {
        let name = self.name_any();
        let tenants = scope.world.tenants.state();
        let count = tenants.iter().filter(|tenant| tenant.spec.retention_ref.name.0 == name).count();
        status::write(scope, self, build(self, count, scope.context.clock.now())).await?;
        Ok(Duration::MAX)
    }
}

fn build(policy: &RetentionPolicy, tenants: usize, now: jiff::Timestamp) -> RetentionPolicyStatus {
    let spec = &policy.spec;
    let standing = match validate(spec) {
        Ok(()) => Standing::Ready,
        Err(message) => Standing::Stalled(reasons::INVALID, message),
    };
    let generation = policy.metadata.generation.unwrap_or_default();
    // That what is promised is kept is proved elsewhere; that it cannot be is known from the spec alone.
    let verdicts: Vec<Verdict> = validate::not_kept(spec)
        .map(|message| Verdict::no(types::COMPLIANT, reasons::INVALID, message))
        .into_iter()
        .collect();
    RetentionPolicyStatus {
        observed_generation: generation,
        conditions: conditions(status::current(policy), &standing, &in_words(spec), &verdicts, generation, now),
        referenced_by: i32::try_from(tenants).ok(),
        log: Some(in_words(spec)),
    }
}

fn in_words(spec: &RetentionPolicySpec) -> String {
    use crate::crd::retentionpolicy::Keep;
    let kept = match spec.log.keep {
        Keep::Months(1) => "1 month".to_owned(),
        Keep::Months(months) => format!("{months} months"),
        Keep::Days(1) => "1 day".to_owned(),
        Keep::Days(days) => format!("{days} days"),
    };
    format!("{kept}, {} characters", spec.log.text_characters)
}
