//! What calls come to, and why some come to nothing.
use super::*;
use crate::domain::Region;

fn account() -> Account {
    Account {
        sender_ids: vec![SenderId::parse("Sølyst").expect("a name"), SenderId::parse("4520000000").expect("a number")],
        region: Region::from_code("DK"),
        max_parts: 3,
        recipients_per_call: 4,
        log_days: 90,
        log_characters: 160,
        validity_seconds: 172_800,
        prices: [("45".to_owned(), MilliOre(30_000)), ("46".to_owned(), MilliOre(45_000))].into_iter().collect(),
    }
}

fn now() -> Timestamp {
    "2026-03-10T12:00:00Z".parse().expect("a timestamp")
}

fn planned(json: &str) -> Result<Plan, Problem> {
    plan(&serde_json::from_str(json).expect("a request"), &account(), now())
}

/// The field and word of a call that cannot be done.
fn refused(json: &str) -> (&'static str, &'static str) {
    match planned(json).expect_err(json) {
        Problem::Invalid { path, code, .. } => (path, code),
        other => panic!("{json}: {other:?}"),
    }
}

#[test]
fn one_recipient_takes_the_defaults() {
    let plan = planned(r#"{"to": "20 12 34 56", "text": "Hej"}"#).expect("a plan");
    assert_eq!((plan.accepted.len(), plan.parts.get(), plan.encoding), (1, 1, Encoding::Gsm));
    assert_eq!(plan.accepted[0].price, MilliOre(30_000));
    assert_eq!(plan.accepted[0].body.from.as_str(), "Sølyst");
    assert_eq!(plan.accepted[0].body.to.international().reveal(), "+4520123456");
    assert_eq!((plan.send_at, plan.expires_at.to_string().as_str()), (None, "2026-03-12T12:00:00Z"));
}

#[test]
fn a_bad_recipient_is_refused_by_its_place_and_the_others_go() {
    let plan = planned(r#"{"to": ["20123456", "abc", "+1 201 555 0123", "+4520123456"], "text": "Hej"}"#);
    let plan = plan.expect("a plan");
    let accepted: Vec<_> = plan.accepted.iter().map(|recipient| recipient.index).collect();
    let refused: Vec<_> = plan.refused.iter().map(|refused| (refused.index, refused.code.as_str())).collect();
    assert_eq!(accepted, [0]);
    assert_eq!(refused, [(1, "number_malformed"), (2, "destination_not_in_plan"), (3, "number_repeated")]);
}

#[test]
fn a_call_without_a_good_recipient_is_refused_whole() {
    let refused = planned(r#"{"to": ["1", "2"], "text": "Hej"}"#).expect_err("nobody to send to");
    assert!(matches!(refused, Problem::AllRefused(refused) if refused.len() == 2));
}

#[test]
fn what_is_wrong_with_the_call_names_its_field() {
    assert_eq!(refused(r#"{"to": [], "text": "Hej"}"#), ("to", "to_empty"));
    assert_eq!(refused(r#"{"to": ["1","2","3","4","5"], "text": "Hej"}"#), ("to", "too_many_recipients"));
    assert_eq!(refused(r#"{"to": "20123456", "text": ""}"#), ("text", "text_empty"));
    assert_eq!(refused(r#"{"to": "20123456", "text": "😀", "encoding": "gsm"}"#), ("text", "text_not_gsm"));
    let long = format!(r#"{{"to": "20123456", "text": "{}"}}"#, "a".repeat(3 * 153 + 1));
    assert_eq!(refused(&long), ("text", "too_many_parts"));
    assert_eq!(refused(r#"{"to": "20123456", "text": "Hej", "from": "Bank"}"#), ("from", "sender_id_not_owned"));
    assert_eq!(refused(r#"{"to": "20123456", "text": "Hej", "from": ""}"#), ("from", "sender_id_malformed"));
    for validity in [59, 172_801] {
        let json = format!(r#"{{"to": "20123456", "text": "Hej", "validity": {validity}}}"#);
        assert_eq!(refused(&json), ("validity", "validity_out_of_range"));
    }
    let far = r#"{"to": "20123456", "text": "Hej", "sendAt": "2026-04-10T12:00:00Z"}"#;
    assert_eq!(refused(far), ("sendAt", "too_far_ahead"));
}

#[test]
fn validity_counts_from_the_time_of_sending() {
    let plan = planned(r#"{"to": "20123456", "text": "Hej", "sendAt": "2026-03-11T08:00:00+01:00", "validity": 3600}"#);
    let plan = plan.expect("a plan");
    assert_eq!(plan.send_at.map(|at| at.to_string()).as_deref(), Some("2026-03-11T07:00:00Z"));
    assert_eq!(plan.expires_at.to_string(), "2026-03-11T08:00:00Z");
    let past = planned(r#"{"to": "20123456", "text": "Hej", "sendAt": "2020-01-01T00:00:00Z"}"#).expect("a plan");
    assert_eq!(past.send_at, None, "a time that has passed is now");
}

/// Until when a message of now ends, or the words of the refusal; `validity` of two days.
fn ends(log_days: u16, send_at: Option<&str>) -> Result<String, String> {
    let account = Account { log_days, ..account() };
    let request = serde_json::json!({"to": "20123456", "text": "Hej", "sendAt": send_at});
    let planned = plan(&serde_json::from_value(request).expect("a request"), &account, now());
    planned.map(|plan| plan.expires_at.to_string()).map_err(|problem| match problem {
        Problem::Invalid { path: "sendAt", code: "too_far_ahead", detail } => detail,
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_message_may_not_outlive_its_log_and_hears_the_latest_time() {
    // Accepted on 10 March, so the log's key of 5 days goes with 15 March in Copenhagen.
    let outlives = |latest| {
        format!("at the latest {latest}: with this validity a later message would outlive what the account keeps of it")
    };
    assert_eq!(ends(5, Some("2026-03-13T12:00:00Z")), Err(outlives("2026-03-12T23:00:00Z")));
    assert_eq!(ends(5, Some("2026-03-12T23:00:00Z")).as_deref(), Ok("2026-03-14T23:00:00Z"));
    assert_eq!(ends(5, Some("2026-03-12T23:00:01Z")), Err(outlives("2026-03-12T23:00:00Z")));
    // The day on which clocks are set forward has 23 hours.
    assert_eq!(ends(21, Some("2026-03-28T12:00:00Z")), Err(outlives("2026-03-27T22:00:00Z")));
    let shorter = ends(1, Some("2026-03-10T13:00:00Z")).expect_err("its log is gone tomorrow");
    assert!(shorter.ends_with("write a shorter `validity`, or send it now"), "{shorter}");
    assert_eq!(
        ends(1, None).as_deref(),
        Ok("2026-03-12T12:00:00Z"),
        "one that is sent now goes, though history forgets it"
    );
    assert_eq!(ends(0, Some("2026-04-09T11:00:00Z")).as_deref(), Ok("2026-04-11T11:00:00Z"), "nothing is logged");
    let month = ends(0, Some("2026-04-10T12:00:00Z")).expect_err("more than a month");
    assert_eq!(month, "at the latest 2026-04-09T12:00:00Z: a message may be sent 30 days ahead");
}

#[test]
fn a_key_that_goes_earlier_than_the_policy_says_bounds_a_message() {
    let scheduled = r#"{"to": "20123456", "text": "Hej", "sendAt": "2026-03-20T12:00:00Z"}"#;
    let bound = |json, key| {
        planned(json).and_then(|mut plan| plan.bound(now(), key, None).map(|()| plan.expires_at.to_string()))
    };
    assert_eq!(bound(scheduled, "queue/2026-04-18/2026-03-10").expect("in time"), "2026-03-22T12:00:00Z");
    let refused = bound(scheduled, "queue/2026-03-19/2026-03-10").expect_err("its key goes the day before");
    let Problem::Invalid { detail, .. } = refused else { panic!("{refused:?}") };
    assert!(detail.starts_with("at the latest 2026-03-15T23:00:00Z"), "{detail}");
    let at_once = r#"{"to": "20123456", "text": "Hej"}"#;
    assert_eq!(bound(at_once, "queue/2026-03-13/2026-03-10").expect("it ends earlier"), "2026-03-11T23:00:00Z");
}

#[test]
fn the_stored_answer_has_no_number() {
    let plan = planned(r#"{"to": ["20123456", "x"], "text": "Hej"}"#).expect("a plan");
    let stored = plan.answer(Some(BatchId::new(now())), &[MessageId::nth(now(), 0)]);
    let stored = serde_json::to_string(&stored).expect("json");
    assert!(!stored.contains("20123456"), "{stored}");
    let shown = serde_json::to_string(&plan.answer(None, &[])).expect("json");
    assert!(shown.contains("+4520123456") && !shown.contains("batchId"), "{shown}");
}

#[test]
fn the_quota_begins_anew_at_copenhagen_midnight() {
    assert_eq!(until_tomorrow(now()), Duration::from_secs(11 * 3600));
    let late = "2026-07-01T21:50:00Z".parse().expect("a timestamp");
    assert_eq!(until_tomorrow(late), Duration::from_secs(15 * 60));
}
