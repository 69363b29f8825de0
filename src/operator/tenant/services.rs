//! Which services a Tenant has: those of its spec that its brand offers, one of its plan's (A9).
use super::super::conditions::Verdict;
use super::dereference::{Dereferenced, Under};
use crate::crd::billingplan::Brand;
use crate::crd::conditions::{reasons, types};
use crate::crd::tenant::{Delivery, Service};
use crate::crd::{BillingPlanSpec, TenantSpec};

/// What the tenant may use; nothing where it has no plan, or none of its plan's brands.
pub(super) fn had(spec: &TenantSpec, found: &Dereferenced) -> Vec<Service> {
    let Some(Ok(brand)) = found.plan.spec().map(|plan| brand(spec, plan)) else { return Vec::new() };
    spec.services.iter().filter(|service| brand.services.contains(service)).copied().collect()
}

/// Whether the brand offers all of the tenant's services, and the rest of its spec uses no other.
pub(super) fn verdict(spec: &TenantSpec, found: &Dereferenced) -> Verdict {
    let no = |message: String| Verdict::no(types::SERVICES_READY, reasons::INVALID, message);
    let plan = match &found.plan {
        Under::Named(plan) | Under::Last { spec: plan, .. } => plan,
        // The plan itself is what is to be mended.
        Under::Nothing { message, .. } => {
            return Verdict::no(types::SERVICES_READY, reasons::PROGRESSING, message.as_str());
        }
    };
    let brand = match brand(spec, plan) {
        Ok(brand) => brand,
        Err(message) => return no(message),
    };
    let beyond: Vec<&str> = spec
        .services
        .iter()
        .filter(|service| !brand.services.contains(service))
        .map(|service| service.as_str())
        .collect();
    let mut wrong = used_without(spec);
    if !beyond.is_empty() {
        wrong.insert(
            0,
            format!(
                "brand {} of BillingPlan {} does not offer {}: take it out of `services`, or add it to the brand's",
                brand.name,
                spec.plan_ref.name,
                beyond.join(", ")
            ),
        );
    }
    if wrong.is_empty() {
        return Verdict::yes(types::SERVICES_READY, reasons::SUCCEEDED, "the brand offers all services of the tenant");
    }
    no(wrong.join("; "))
}

/// The brand that the tenant is served under, or what to write where there is none.
fn brand<'a>(spec: &TenantSpec, plan: &'a BillingPlanSpec) -> Result<&'a Brand, String> {
    let named = &spec.plan_ref.name;
    let choice = || plan.brands.iter().map(|brand| brand.name.to_string()).collect::<Vec<_>>().join(", ");
    match (&spec.brand, plan.brands.as_slice()) {
        (Some(wanted), brands) => brands
            .iter()
            .find(|brand| brand.name == *wanted)
            .ok_or_else(|| format!("BillingPlan {named} has no brand {wanted}: write one of {} in `brand`", choice())),
        (None, [only]) => Ok(only),
        (None, _) => Err(format!("BillingPlan {named} has several brands: write one of {} in `brand`", choice())),
    }
}

/// What the spec uses of services that it does not name, and what to write.
fn used_without(spec: &TenantSpec) -> Vec<String> {
    let premium = spec
        .premium
        .iter()
        .map(|premium| ("premium", format!("{} {}", premium.number, premium.keyword), premium.needs()));
    let inbound = spec.inbound_numbers.iter().flat_map(|inbound| {
        let to = |delivery: &Delivery| ("inboundNumbers", format!("delivery of {}", inbound.number), delivery.needs());
        inbound.deliver.iter().map(to)
    });
    premium
        .chain(inbound)
        .filter(|(.., needed)| !spec.services.contains(needed))
        .map(|(field, what, needed)| {
            let service = needed.as_str();
            format!("{what} in `{field}` needs {service}: add it to `services`, or take it out of `{field}`")
        })
        .collect()
}
