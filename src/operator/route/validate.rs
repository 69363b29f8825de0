//! What a route must be beyond its schema.
use super::dereference::{Dereferenced, Found};
use crate::crd::SmsRouteSpec;
use crate::crd::conditions::{reasons, types};
use crate::crd::smsroute::Upstream;

use super::super::conditions::Verdict;

/// Whether the connector has what it needs to reach the upstream.
pub(super) fn validate(spec: &SmsRouteSpec, found: &Dereferenced) -> Verdict {
    if let Some(message) = unsupported(spec) {
        return Verdict::no(types::CREDENTIALS_READY, reasons::INVALID, message);
    }
    match &found.credentials {
        Found::Good(_) => Verdict::yes(types::CREDENTIALS_READY, reasons::SUCCEEDED, "the Secrets hold what they must"),
        Found::Bad { missing, message, before } => {
            let reason = if *missing { reasons::SECRET_NOT_FOUND } else { reasons::SECRET_INVALID };
            let goes_on = if before.is_some() { "; the connector goes on with the credentials it had" } else { "" };
            Verdict::no(types::CREDENTIALS_READY, reason, format!("{message}{goes_on}"))
        }
    }
}

/// What this version cannot do, told rather than ignored.
fn unsupported(spec: &SmsRouteSpec) -> Option<&'static str> {
    match &spec.upstream {
        Upstream::Https(_) => Some("this version reaches upstreams over SMPP only: write `upstream.smpp`"),
        Upstream::Smpp(smpp) => {
            let certificate = smpp.tls.as_ref().and_then(|tls| tls.client_certificate_ref.as_ref());
            certificate.map(|_| "this version shows upstreams no certificate: leave `tls.clientCertificateRef` out")
        }
    }
}
