//! RetentionPolicy: validated, counted who is under it, and shown to be kept. What it says is enforced through the Tenants under
//! it (`tenant`), and by what goes each day (`expiry`).
mod copies;
mod proof;
mod validate;

use std::time::Duration;

use super::conditions::{Standing, Verdict, condition, conditions};
use super::controller::{Controlled, Scope};
use super::failure::Failure;
use super::status;
use crate::crd::conditions::{reasons, types};
use crate::crd::{RetentionPolicy, RetentionPolicySpec, RetentionPolicyStatus};
use crate::domain::TenantId;
use kube::ResourceExt as _;

use self::proof::Proof;
pub(super) use self::validate::{kept_mail_hours, log_days, mail_hours, validate};

/// How often it is looked whether it is still kept.
const AGAIN: Duration = Duration::from_secs(60);
/// Until the first run of an operator that has just begun to lead.
const SOON: Duration = Duration::from_secs(2);

impl Controlled for RetentionPolicy {
    async fn reconcile(&self, scope: &Scope) -> Result<Duration, Failure> {
        let name = self.name_any();
        let tenants = scope.world.tenants.state();
        let under: Vec<_> = tenants.iter().filter(|tenant| tenant.spec.retention_ref.name.0 == name).collect();
        let account = |status: &crate::crd::TenantStatus| status.account_id.map(TenantId);
        let accounts: Vec<_> = under.iter().filter_map(|tenant| tenant.status.as_ref().and_then(account)).collect();
        let proof = match Proof::of(scope, &self.spec, &accounts).await {
            Ok(proof) => proof,
            Err(failure) => {
                self.unproven(scope, &failure).await?;
                return Err(failure);
            }
        };
        // What the leader before has shown stands until this one knows better.
        if proof.last.is_unknown() && self.status.as_ref().is_some_and(|status| status.last_run.is_some()) {
            return Ok(SOON);
        }
        status::write(scope, self, build(self, under.len(), &proof, scope.context.clock.now())).await?;
        Ok(if proof.last.is_unknown() { SOON } else { AGAIN })
    }
}

impl RetentionPolicy {
    /// What was shown before does not stand while nobody can look.
    async fn unproven(&self, scope: &Scope, failure: &Failure) -> Result<(), Failure> {
        let mut all = status::current(self).to_vec();
        let message = format!("it cannot be shown now that what must be gone is gone: {failure}");
        let verdict = Verdict::no(types::COMPLIANT, reasons::DATABASE_UNAVAILABLE, message);
        let generation = self.metadata.generation.unwrap_or_default();
        let compliant = condition(&all, &verdict, generation, scope.context.clock.now());
        all.retain(|old| old.type_ != types::COMPLIANT);
        all.push(compliant);
        let before = self.status.clone().unwrap_or_default();
        status::write(scope, self, RetentionPolicyStatus { conditions: all, ..before }).await
    }
}

fn build(policy: &RetentionPolicy, tenants: usize, proof: &Proof, now: jiff::Timestamp) -> RetentionPolicyStatus {
    let spec = &policy.spec;
    let standing = match validate(spec) {
        Ok(()) => Standing::Ready,
        Err(message) => Standing::Stalled(reasons::INVALID, message),
    };
    let generation = policy.metadata.generation.unwrap_or_default();
    let verdicts: Vec<Verdict> = [proof.compliant(spec, now), proof.pending()].into_iter().flatten().collect();
    RetentionPolicyStatus {
        observed_generation: generation,
        conditions: conditions(status::current(policy), &standing, &in_words(spec), &verdicts, generation, now),
        referenced_by: i32::try_from(tenants).ok(),
        log: Some(in_words(spec)),
        classes: proof.classes(spec),
        last_run: proof.last_run(policy.status.as_ref()),
        next_run: Some(proof::shown(proof::next_midnight(now))),
        erased: proof.erased.clone(),
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
