//! What a route must be beyond its schema.
use super::build::Address;
use super::dereference::{Dereferenced, Found};
use crate::crd::SmsRouteSpec;
use crate::crd::conditions::{reasons, types};
use crate::crd::smsroute::{TlsMode, Upstream};

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

/// Whether numbers and texts reach the upstream over TLS only (D8).
pub(super) fn compliant(spec: &SmsRouteSpec) -> Verdict {
    let plain = match &spec.upstream {
        Upstream::Smpp(smpp) => smpp.tls.as_ref().and_then(|tls| tls.mode) == Some(TlsMode::Disabled),
        Upstream::Https(_) => false,
    };
    if plain {
        let message = "numbers and texts go to the upstream over plain TCP, so D8 is not kept: leave \
                       `upstream.smpp.tls.mode` out, unless it is a simulator or a private line";
        return Verdict::no(types::COMPLIANT, reasons::PLAIN_TCP, message);
    }
    Verdict::yes(types::COMPLIANT, reasons::SUCCEEDED, "the upstream is reached over verified TLS only")
}

/// What this version cannot do, told rather than ignored.
fn unsupported(spec: &SmsRouteSpec) -> Option<&'static str> {
    match &spec.upstream {
        Upstream::Https(https) if Address::read(&https.url).is_none() => Some(
            "calls cannot be made at `upstream.https.url`: write host, port and path only, as in https://eu.sms.api.sinch.com/xms/v1",
        ),
        Upstream::Https(_) if spec.text.is_some() => {
            Some("an upstream over HTTPS writes and splits text by itself: leave `text` out")
        }
        Upstream::Https(_) if spec.receipts.as_ref().is_some_and(|receipts| receipts.id_format.is_some()) => {
            Some("an upstream over HTTPS writes its ids in one way: leave `receipts.idFormat` out")
        }
        Upstream::Https(_) => None,
        Upstream::Smpp(smpp) => {
            let certificate = smpp.tls.as_ref().and_then(|tls| tls.client_certificate_ref.as_ref());
            certificate.map(|_| "this version shows upstreams no certificate: leave `tls.clientCertificateRef` out")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_tcp_is_told_and_tls_is_not() {
        let verdict = |tls: serde_json::Value| {
            let smpp = json!({"host": "smpp.example.com", "port": 1, "credentialsRef": {"name": "s"}, "tls": tls});
            let spec = json!({
                "upstream": {"smpp": smpp}, "processor": {"name": "SMSC", "country": "DK"}, "ratePerSecond": 1,
            });
            compliant(&serde_json::from_value(spec).expect("a spec"))
        };
        assert!(verdict(json!(null)).holds);
        assert!(verdict(json!({"serverName": "other.example.com"})).holds);
        let plain = verdict(json!({"mode": "disabled"}));
        assert_eq!((plain.about, plain.holds, plain.reason), (types::COMPLIANT, false, reasons::PLAIN_TCP));
    }

    #[test]
    fn what_an_upstream_over_https_cannot_have_is_told() {
        let told = |url: &str, more: serde_json::Value| {
            let https = json!({"url": url, "servicePlanId": "plan_1", "credentialsRef": {"name": "rest"}});
            let mut spec = json!({
                "upstream": {"https": https}, "processor": {"name": "Sinch", "country": "SE"}, "ratePerSecond": 1,
            });
            for (key, value) in more.as_object().expect("fields") {
                spec[key] = value.clone();
            }
            let spec: SmsRouteSpec = serde_json::from_value(spec).expect("a spec");
            assert!(compliant(&spec).holds);
            unsupported(&spec).unwrap_or_default()
        };
        let url = "https://eu.sms.example.com/xms/v1";
        assert_eq!(told(url, json!({})), "");
        assert_eq!(told(url, json!({"receipts": {"request": "none"}})), "");
        assert!(told("https://eu.sms.example.com/xms?v=1", json!({})).contains("`upstream.https.url`"));
        assert!(told(url, json!({"text": {"concatenation": "udh16"}})).contains("leave `text` out"));
        assert!(told(url, json!({"receipts": {"idFormat": "hex"}})).contains("leave `receipts.idFormat` out"));
    }
}
