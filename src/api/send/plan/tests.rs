//! What calls come to, and why some come to nothing.
use super::*;
use crate::domain::{Encoding, Service};

fn account() -> Account {
    Account {
        services: vec![Service::Api],
        duplicate_seconds: None,
        sender_ids: ["Sølyst", "4520000000"].map(|id| own(id, &[])).to_vec(),
        allowed_prefixes: Vec::new(),
        region: Region::from_code("DK"),
        max_parts: 3,
        recipients_per_call: 4,
        log_days: 90,
        log_characters: 160,
        validity_seconds: 172_800,
        opt_outs: false,
        prices: [("45".to_owned(), MilliOre(30_000)), ("46".to_owned(), MilliOre(45_000))].into_iter().collect(),
    }
}

fn own(id: &str, countries: &[&str]) -> OwnSender {
    let countries = countries.iter().filter_map(|code| Region::from_code(code)).collect();
    OwnSender { id: SenderId::parse(id).expect("a sender id"), countries, lacks: None }
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
    assert_eq!((plan.accepted.len(), plan.accepted[0].parts.get()), (1, 1));
    assert_eq!((plan.accepted[0].body.encoding, plan.accepted[0].body.flash), (Encoding::Gsm, false));
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
fn quotas_begin_anew_with_the_hour_and_at_copenhagen_midnight() {
    assert_eq!((hour_of_day(now()), until_next_hour(now())), (13, Duration::from_secs(3600)));
    let at = |text: &str| text.parse::<Timestamp>().expect("a timestamp");
    assert_eq!(until_next_hour(at("2026-03-10T12:59:59.9Z")), Duration::from_secs(1));
    // Clocks go back at 3: hours 2 and 3 have the same name, and are two.
    let hours = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T22:59:59Z", "2026-10-25T23:00:00Z"];
    assert_eq!(hours.map(|text| hour_of_day(at(text))), [2, 3, 24, 0]);
    assert_eq!(until_tomorrow(now()), Duration::from_secs(11 * 3600));
    let late = "2026-07-01T21:50:00Z".parse().expect("a timestamp");
    assert_eq!(until_tomorrow(late), Duration::from_secs(15 * 60));
}

#[test]
fn a_text_is_made_to_fit_as_asked() {
    let worded = |more: &str, text: &str| {
        let plan = planned(&format!(r#"{{"to": "20123456", "text": "{text}"{more}}}"#)).expect("a plan");
        let recipient = plan.accepted.into_iter().next().expect("one");
        (recipient.body.text.reveal().chars().count(), recipient.parts.get(), recipient.body.encoding)
    };
    let long = "a".repeat(500);
    assert_eq!(worded(r#", "tooLong": "truncate""#, &long), (459, 3, Encoding::Gsm));
    assert_eq!(worded(r#", "tooLong": "truncate", "maxParts": 1"#, &long), (160, 1, Encoding::Gsm));
    assert_eq!(worded(r#", "transliterate": true"#, "“Tak”"), (5, 1, Encoding::Gsm));
    assert_eq!(worded(r#", "transliterate": true"#, "“Tak” 😀"), (7, 1, Encoding::Ucs2));
    assert_eq!(worded(r#", "transliterate": true, "encoding": "ucs2""#, "“Tak”"), (5, 1, Encoding::Ucs2));
    let plan = planned(r#"{"to": "20123456", "text": "Hej", "flash": true}"#).expect("a plan");
    assert!(plan.accepted[0].body.flash);
    for most in [0, 4] {
        let json = format!(r#"{{"to": "20123456", "text": "Hej", "maxParts": {most}}}"#);
        assert_eq!(refused(&json), ("maxParts", "max_parts_out_of_range"));
    }
    let two = format!(r#"{{"to": "20123456", "text": "{}", "maxParts": 1}}"#, "a".repeat(161));
    assert_eq!(refused(&two), ("text", "too_many_parts"));
}

#[test]
fn a_recipient_whose_words_do_not_fit_is_refused_by_itself() {
    let json = r##"{"to": [{"number": "20123456", "parameters": {"a": "@"}}, {"number": "20123457", "parameters": {"a": "#"}}],
                   "text": "{{a}}", "encoding": "gsm"}"##;
    let with = |a: &str, b: &str| planned(&json.replace('@', a).replace('#', b)).expect("a plan");
    let plan = with("😀", "ok");
    assert_eq!((plan.accepted[0].index, plan.refused[0].code.as_str()), (1, "text_not_gsm"));
    let plan = with("ok", &"b".repeat(3 * 153 + 1));
    assert_eq!((plan.accepted[0].index, plan.refused[0].code.as_str()), (0, "too_many_parts"));
    // What is too long is refused also where its end, which is not looked at, would leave when it is transliterated.
    let marks = format!(
        r##"{{"to": [{{"number": "20123456", "parameters": {{"a": "{}{}"}}}}], "text": "{{{{a}}}}",
        "maxParts": 1, "transliterate": true}}"##,
        "e\u{301}".repeat(400),
        "x".repeat(200)
    );
    let Problem::AllRefused(refused) = planned(&marks).expect_err("too long") else { panic!("refused by itself") };
    assert_eq!(refused[0].code, "too_many_parts");
    let plan = with("ok", "");
    assert_eq!((plan.accepted[0].index, plan.refused[0].code.as_str()), (0, "text_empty"));
}

#[test]
fn the_first_sender_that_fits_the_country_is_the_default() {
    let account = Account { sender_ids: vec![own("Nord", &["DK"]), own("Syd", &["SE", "DK"])], ..account() };
    let planned = |json: &str| plan(&serde_json::from_str(json).expect("a request"), &account, now());
    let both = planned(r#"{"to": ["20123456", "+46701234567"], "text": "Hej"}"#).expect("a plan");
    let senders: Vec<_> = both.accepted.iter().map(|recipient| recipient.body.from.as_str()).collect();
    assert_eq!(senders, ["Nord", "Syd"]);
    let refused = planned(r#"{"to": "+46701234567", "text": "Hej", "from": "Nord"}"#).expect_err("not in Sweden");
    assert!(matches!(refused, Problem::AllRefused(all) if all[0].code == "sender_id_not_in_country"));
}

#[test]
fn a_sender_id_of_a_service_that_the_account_lacks_is_refused_by_its_name_and_is_no_default() {
    let lacking = |senders: Vec<OwnSender>, json: &str| {
        plan(&serde_json::from_str(json).expect("a request"), &Account { sender_ids: senders, ..account() }, now())
    };
    let premium = || OwnSender { lacks: Some(Service::Premium), ..own("1204", &[]) };
    let (asked, open) =
        (r#"{"to": "20123456", "text": "Hej", "from": "1204"}"#, r#"{"to": "20123456", "text": "Hej"}"#);
    for (senders, json) in [(vec![own("Aurora", &[]), premium()], asked), (vec![premium()], open)] {
        let refusal = lacking(senders, json).expect_err(json);
        assert!(matches!(&refusal, Problem::MissingService { service: Service::Premium, .. }), "{refusal:?}");
        assert!(refusal.to_string().starts_with("the sender id 1204 needs the service `premium`"), "{refusal}");
    }
    let planned = lacking(vec![premium(), own("Aurora", &[])], open).expect("another is there");
    assert_eq!(planned.accepted[0].body.from.as_str(), "Aurora");
}
