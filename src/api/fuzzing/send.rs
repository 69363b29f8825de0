//! `POST /v1/messages`, as far as it goes without a database: what is accepted is what can be sent.
use super::{body, heard, now};
use crate::api::send::{SendAnswer, SendRequest, plan};
use crate::domain::content::{self, Body};
use crate::domain::{MilliOre, Region, SenderId, Service, text};
use crate::store::credentials::{Account, OwnSender};

pub(super) fn send(bytes: &[u8], mask: u8) {
    let Some(request) = body::<SendRequest>(bytes, mask) else { return };
    let account = account();
    let Some(plan) = heard(plan::plan(&request, &account, now())) else { return };
    let recipients = request.to.as_slice().len();
    assert!(recipients <= account.recipients_per_call);
    assert_eq!(plan.accepted.len() + plan.refused.len(), recipients, "a recipient is neither accepted nor refused");
    assert!(plan.expires_at > now(), "accepted when it is too late");
    assert!(plan.send_at.is_none_or(|at| at > now() && at < plan.expires_at), "too late before it may be sent");
    for recipient in &plan.accepted {
        let Body { text, encoding, .. } = &recipient.body;
        assert_eq!(text::parts(text.reveal(), *encoding), Ok(recipient.parts), "other parts than are sent");
        assert!(recipient.parts.get() <= account.max_parts, "more parts than the account allows");
        let sealed = content::to_bytes(&recipient.body);
        let opened = sealed.as_ref().map(|bytes| content::from_bytes::<Body>(bytes.reveal()));
        assert_eq!(opened, Ok(Ok(recipient.body.clone())), "the sender reads something else");
        let entry = recipient.body.entry(usize::MAX);
        assert!(text.reveal().starts_with(entry.text.reveal()) && entry.text.reveal().chars().count() <= 160);
        assert!(recipient.reference.as_ref().is_none_or(|own| (1..=64).contains(&own.reveal().chars().count())));
    }
    // As it is stored, for a call that is made again: no number is in it.
    let answer = plan.answer(Some(crate::domain::BatchId::new(now())), &[]);
    assert!(answer.messages.iter().all(|message| message.to.is_none()));
    let stored = serde_json::to_value(&answer);
    assert!(stored.is_ok_and(|stored| serde_json::from_value::<SendAnswer>(stored).is_ok()), "it cannot be repeated");
}

fn account() -> Account {
    let sender = |id| SenderId::parse(id).ok().map(|id| OwnSender { id, countries: Vec::new(), lacks: None });
    Account {
        services: vec![Service::Api],
        duplicate_seconds: None,
        sender_ids: ["Sølyst", "1204"].into_iter().filter_map(sender).collect(),
        allowed_prefixes: Vec::new(),
        region: Region::from_code("DK"),
        max_parts: 6,
        recipients_per_call: 8,
        log_days: 90,
        log_characters: 160,
        validity_seconds: 172_800,
        opt_outs: false,
        prices: [("45".to_owned(), MilliOre(30_000)), ("4".to_owned(), MilliOre(45_000))].into_iter().collect(),
    }
}
