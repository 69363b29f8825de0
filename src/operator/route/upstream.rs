//! How a route stands with its upstream, as its connector's pods tell it in PostgreSQL: figures and a condition beside
//! Ready, since an upstream that is away is not for the operator to mend.
use super::super::conditions::Verdict;
use super::build;
use crate::crd::SmsRouteSpec;
use crate::crd::conditions::{reasons, types};
use crate::crd::smsroute::{CircuitState, CircuitStatus, ErrorClass, ReceiptIdFormat, RouteError, Upstream};
use crate::domain::Circuit;
use crate::store::upstream_reports::{Failure, LastError, ReceiptIds, Report, Trouble};

/// A pod that was killed leaves its report behind for a while; those that live have told since, or soon will.
fn living<'a>(spec: &SmsRouteSpec, reports: &'a [Report]) -> &'a [Report] {
    &reports[..reports.len().min(spec.replicas().into())]
}

/// Whether the route takes messages; `None` where no pod has told, or the route is closed.
pub(super) fn circuit(spec: &SmsRouteSpec, reports: &[Report]) -> Option<CircuitStatus> {
    let living = if build::closed(spec).is_some() { &[] } else { living(spec, reports) };
    let worst = living.iter().map(|report| report.circuit).max()?;
    let since = living.iter().filter(|report| report.circuit == worst).map(|report| report.since).min()?;
    let last_error = living.iter().filter_map(|report| report.last_error).max_by_key(|error| error.at);
    Some(CircuitStatus {
        state: match worst {
            Circuit::Closed => CircuitState::Closed,
            Circuit::HalfOpen => CircuitState::HalfOpen,
            Circuit::Open => CircuitState::Open,
        },
        since: in_seconds(since),
        last_error: last_error.map(|error| RouteError {
            class: class(error.trouble),
            code: code(spec, error),
            at: in_seconds(error.at),
        }),
    })
}

fn in_seconds(at: jiff::Timestamp) -> String {
    jiff::Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn class(trouble: Trouble) -> ErrorClass {
    match trouble {
        Trouble::Connect => ErrorClass::Connect,
        Trouble::Tls => ErrorClass::Tls,
        Trouble::Refused => ErrorClass::BindRefused,
        Trouble::Lost => ErrorClass::Lost,
        Trouble::Throttled => ErrorClass::Throttled,
        Trouble::Fault => ErrorClass::Fault,
        Trouble::Unanswered => ErrorClass::Unanswered,
    }
}

/// What a submit over HTTPS meets, the connector tells by the status of SMPP that says the same: no code of that upstream's.
fn code(spec: &SmsRouteSpec, error: LastError) -> Option<String> {
    let status = error.status?;
    match (&spec.upstream, error.trouble) {
        (Upstream::Smpp(_), _) => Some(format!("0x{status:08X}")),
        (Upstream::Https(_), Trouble::Refused) => Some(format!("HTTP {status}")),
        (Upstream::Https(_), _) => None,
    }
}

/// Why the upstream takes nothing though its binds stand, and what becomes of it.
fn why_open(spec: &SmsRouteSpec, reports: &[Report]) -> String {
    let error = reports.iter().filter_map(|report| report.last_error).max_by_key(|error| error.at);
    let what = match error.map(|error| error.trouble) {
        Some(Trouble::Throttled) => {
            "the upstream throttles and takes nothing: compare `ratePerSecond` with what it allows"
        }
        Some(Trouble::Unanswered) => "the upstream answers no messages in time",
        _ => {
            "the upstream takes no messages, by a fault of its own or since it will have none of ours: ask it why, should this last"
        }
    };
    let code = error.and_then(|error| code(spec, error)).map(|code| format!(" (status {code})")).unwrap_or_default();
    format!("{what}{code}; tenants send by their next route or wait, and it is tried again by itself")
}

/// The figure of the printer column, and whether all binds stand. Of `reports` the newest come first.
pub(super) fn verdict(spec: &SmsRouteSpec, reports: &[Report]) -> (String, Verdict) {
    let living = living(spec, reports);
    let agreed = spec.binds();
    let stand = living.iter().map(|report| report.binds).fold(0, u16::saturating_add).min(agreed);
    let no = |reason, message: String| Verdict::no(types::UPSTREAM_READY, reason, message);
    let verdict = if let Some(closed) = build::closed(spec) {
        no(reasons::MAINTENANCE, closed)
    } else if living.is_empty() {
        let message = "no connector pod has told how it stands with the upstream: look at the pods and their logs";
        no(reasons::NOT_REPORTED, message.to_owned())
    } else if stand >= agreed && living.iter().any(|report| report.circuit != Circuit::Closed) {
        no(reasons::CIRCUIT_OPEN, format!("{stand} of {agreed} binds stand: {}", why_open(spec, living)))
    } else if stand >= agreed {
        let fits = proposed_id_format(spec, reports).map(|format| {
            format!(
                "; receipts would find their messages with `receipts.idFormat: {}`, and do not as it is",
                word(format)
            )
        });
        let message = format!("{stand} of {agreed} binds stand{}", fits.unwrap_or_default());
        Verdict::yes(types::UPSTREAM_READY, reasons::SUCCEEDED, message)
    } else {
        let failure = living.iter().find_map(|report| report.failure);
        let why = failure.map_or_else(|| "the others are being made".to_owned(), |failure| advice(spec, failure));
        let reason = if stand == 0 { reasons::UPSTREAM_UNAVAILABLE } else { reasons::BINDS_MISSING };
        no(reason, format!("{stand} of {agreed} binds stand: {why}"))
    };
    (format!("{stand}/{agreed}"), verdict)
}

/// How ids in receipts seem to be spelled, where that is not as the route says. For its owner to decide: nothing follows from it.
pub(super) fn proposed_id_format(spec: &SmsRouteSpec, reports: &[Report]) -> Option<ReceiptIdFormat> {
    let living = &reports[..reports.len().min(spec.replicas().into())];
    living.iter().find_map(|report| report.id_format).map(|ids| match ids {
        ReceiptIds::Same => ReceiptIdFormat::AsIs,
        ReceiptIds::HexThenDecimal => ReceiptIdFormat::HexToDecimal,
        ReceiptIds::DecimalThenHex => ReceiptIdFormat::DecimalToHex,
    })
}

/// As the spec writes it.
fn word(format: ReceiptIdFormat) -> &'static str {
    match format {
        ReceiptIdFormat::AsIs => "asIs",
        ReceiptIdFormat::Decimal => "decimal",
        ReceiptIdFormat::Hex => "hex",
        ReceiptIdFormat::HexToDecimal => "hexToDecimal",
        ReceiptIdFormat::DecimalToHex => "decimalToHex",
    }
}

/// What happened, and what to do about it.
fn advice(spec: &SmsRouteSpec, failure: Failure) -> String {
    let (address, tls) = match &spec.upstream {
        Upstream::Smpp(_) => ("`upstream.smpp.host` and `port`", "`upstream.smpp.tls`"),
        Upstream::Https(_) => ("`upstream.https.url`", "`upstream.https.url` and `caRef`"),
    };
    match (failure, &spec.upstream) {
        (Failure::Connect, _) => format!(
            "the upstream cannot be reached: check {address}, and whether the upstream and the firewalls between let this \
             cluster in"
        ),
        (Failure::Tls, _) => {
            format!("there is no agreement with the upstream on TLS: check {tls} against the certificate that it shows")
        }
        (Failure::Lost, _) => {
            "the upstream ended the connection or left us without an answer, and is tried again: ask it \
                               why, should this last"
                .to_owned()
        }
        (Failure::Refused(status), Upstream::Smpp(smpp)) => format!(
            "the upstream refused the bind (status 0x{status:08X}): {}",
            refused(spec, &smpp.credentials_ref.name, status)
        ),
        (Failure::Refused(status), Upstream::Https(https)) => {
            format!("the upstream answered HTTP {status}: {}", unwelcome(&https.credentials_ref.name, status))
        }
    }
}

/// By the statuses of the REST API.
fn unwelcome(secret: &str, status: u32) -> String {
    match status {
        401 => format!("check token in Secret {secret}, and `upstream.https.servicePlanId`"),
        403 => format!(
            "check token in Secret {secret}, and at the upstream whether the service plan may send and has a callback URL"
        ),
        404 | 405 => "check `upstream.https.url` and `servicePlanId`".to_owned(),
        300..=399 => "it has moved: check `upstream.https.url`".to_owned(),
        500.. => "it is out of order, and tried again: ask it why, should this last".to_owned(),
        _ => "ask the upstream what it means".to_owned(),
    }
}

/// By SMPP 3.4, 5.1.3.
fn refused(spec: &SmsRouteSpec, secret: &str, status: u32) -> String {
    match status {
        // Invalid password, invalid system id.
        0x0E | 0x0F => format!("check systemId and password in Secret {secret}"),
        // Already bound; bind failed, which many upstreams say of everything.
        0x05 | 0x0D => format!(
            "check systemId and password in Secret {secret}, and whether the upstream allows {} binds",
            spec.binds()
        ),
        // Invalid system type.
        0x53 => "check `upstream.smpp.systemType`".to_owned(),
        _ => "ask the upstream what it means".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(more: serde_json::Value) -> SmsRouteSpec {
        let mut spec = json!({
            "upstream": {"smpp": {"host": "smpp.example.com", "port": 3601, "credentialsRef": {"name": "sinch"}}},
            "processor": {"name": "Sinch", "country": "SE"}, "ratePerSecond": 20, "binds": 2,
        });
        for (key, value) in more.as_object().expect("fields") {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).expect("a spec")
    }

    const SINCE: &str = "2026-03-01T12:00:00.5Z";

    fn report(binds: u16, failure: Option<Failure>) -> Report {
        let since = SINCE.parse().expect("a time");
        Report { binds, failure, id_format: None, circuit: Circuit::Closed, since, last_error: None }
    }

    #[test]
    fn how_receipts_seem_to_be_spelled_is_proposed() {
        let seen = Report { id_format: Some(ReceiptIds::HexThenDecimal), ..report(2, None) };
        let (_, verdict) = verdict(&spec(json!({})), &[seen]);
        assert!(verdict.holds);
        assert_eq!(
            verdict.message,
            "2 of 2 binds stand; receipts would find their messages with `receipts.idFormat: hexToDecimal`, and do not as it is"
        );
        assert_eq!(proposed_id_format(&spec(json!({})), &[seen]), Some(ReceiptIdFormat::HexToDecimal));
        for format in ["asIs", "decimal", "hex", "hexToDecimal", "decimalToHex"] {
            assert_eq!(word(serde_json::from_value(json!(format)).expect("a format")), format);
        }
    }

    fn broken(circuit: Circuit, trouble: Trouble, status: Option<u32>, at: &str) -> Report {
        let at = at.parse().expect("a time");
        Report { circuit, since: at, last_error: Some(LastError { trouble, status, at }), ..report(1, None) }
    }

    #[test]
    fn the_circuit_is_told_with_the_last_error() {
        let two = spec(json!({"connector": {"replicas": 2}}));
        let told = |reports: &[Report]| serde_json::to_value(circuit(&two, reports)).expect("JSON");
        assert_eq!(told(&[]), json!(null));
        assert_eq!(told(&[report(1, None)]), json!({"state": "closed", "since": "2026-03-01T12:00:00Z"}));
        let open = broken(Circuit::Open, Trouble::Throttled, Some(0x58), "2026-03-01T13:00:00Z");
        let earlier = broken(Circuit::HalfOpen, Trouble::Fault, Some(8), "2026-03-01T12:30:00Z");
        let worst = json!({
            "state": "open", "since": "2026-03-01T13:00:00Z",
            "lastError": {"class": "throttled", "code": "0x00000058", "at": "2026-03-01T13:00:00Z"},
        });
        assert_eq!(told(&[earlier, open]), worst, "the worst of the pods, and the newest error");
        assert_eq!(told(&[report(1, None), earlier, open])["state"], "halfOpen", "of those that live");
        let closed = spec(json!({"maintenance": {"closed": true}}));
        assert_eq!(circuit(&closed, &[open]), None);
    }

    #[test]
    fn an_upstream_that_takes_nothing_is_a_reason_of_its_own() {
        let said = |circuit, trouble, status| {
            let pods = [broken(circuit, trouble, status, SINCE), report(1, None)];
            let verdict = verdict(&spec(json!({"connector": {"replicas": 2}})), &pods).1;
            (verdict.holds, verdict.reason, verdict.message)
        };
        let (holds, reason, message) = said(Circuit::Open, Trouble::Throttled, Some(0x58));
        assert_eq!((holds, reason), (false, reasons::CIRCUIT_OPEN));
        assert_eq!(
            message,
            "2 of 2 binds stand: the upstream throttles and takes nothing: compare `ratePerSecond` with what it allows (status \
             0x00000058); tenants send by their next route or wait, and it is tried again by itself"
        );
        assert!(!said(Circuit::HalfOpen, Trouble::Unanswered, None).0);
        assert!(said(Circuit::Open, Trouble::Fault, Some(8)).2.contains("0x00000008"));
        assert!(said(Circuit::Closed, Trouble::Fault, Some(8)).0, "what is over is no reason");
    }

    #[test]
    fn a_failure_is_named_with_what_to_do() {
        let said = |binds, failure| {
            let (summary, verdict) = verdict(&spec(json!({})), &[report(binds, Some(failure))]);
            assert!(!verdict.holds);
            (summary, verdict.reason, verdict.message)
        };
        let (summary, reason, message) = said(0, Failure::Refused(14));
        assert_eq!((summary.as_str(), reason), ("0/2", reasons::UPSTREAM_UNAVAILABLE));
        assert_eq!(
            message,
            "0 of 2 binds stand: the upstream refused the bind (status 0x0000000E): check systemId and password in Secret sinch"
        );
        let (summary, reason, message) = said(1, Failure::Refused(5));
        assert_eq!((summary.as_str(), reason), ("1/2", reasons::BINDS_MISSING));
        assert!(message.contains("whether the upstream allows 2 binds"), "{message}");
        assert!(said(0, Failure::Connect).2.contains("`upstream.smpp.host`"));
        assert!(said(0, Failure::Tls).2.contains("`upstream.smpp.tls`"));
        assert!(said(0, Failure::Lost).2.contains("tried again"));
    }

    #[test]
    fn an_upstream_over_https_is_spoken_of_in_its_own_words() {
        let https = json!({
            "url": "https://eu.sms.example.com/xms/v1", "servicePlanId": "plan_1", "credentialsRef": {"name": "rest"},
        });
        let mut spec = spec(json!({}));
        spec.upstream = serde_json::from_value(json!({"https": https})).expect("an upstream");
        let said = |failure| verdict(&spec, &[report(0, Some(failure))]).1.message;
        assert_eq!(
            said(Failure::Refused(401)),
            "0 of 2 binds stand: the upstream answered HTTP 401: check token in Secret rest, and `upstream.https.servicePlanId`"
        );
        assert!(said(Failure::Refused(403)).contains("callback URL"));
        assert!(said(Failure::Refused(404)).contains("`upstream.https.url`"));
        assert!(said(Failure::Refused(503)).contains("out of order"));
        assert!(said(Failure::Connect).contains("`upstream.https.url`"));
        assert!(said(Failure::Tls).contains("`caRef`"));
    }

    #[test]
    fn pods_add_up_and_those_that_were_killed_do_not_count() {
        let two = spec(json!({"connector": {"replicas": 2}}));
        let (one, none) = (report(1, None), report(0, Some(Failure::Connect)));
        let of = |reports: &[Report]| {
            let (summary, verdict) = verdict(&two, reports);
            (summary, verdict.holds)
        };
        assert_eq!(of(&[one, one]), ("2/2".to_owned(), true));
        assert_eq!(of(&[one]), ("1/2".to_owned(), false));
        assert_eq!(of(&[none, none, one, one]), ("0/2".to_owned(), false), "the newest are those that live");
        assert_eq!(of(&[report(9, None), one]), ("2/2".to_owned(), true), "never more than agreed");
    }

    #[test]
    fn silence_and_maintenance_are_reasons_of_their_own() {
        let reason = |spec: &SmsRouteSpec| verdict(spec, &[]).1.reason;
        assert_eq!(reason(&spec(json!({}))), reasons::NOT_REPORTED);
        let closed = spec(json!({"maintenance": {"closed": true, "message": "moving"}}));
        assert_eq!(reason(&closed), reasons::MAINTENANCE);
    }
}
