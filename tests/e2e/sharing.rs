//! Tenants share a route by weight, and never make it faster than it may be (K3).
use std::collections::BTreeMap;

use serde_json::json;

use crate::support::caller::{Caller, numbers};
use crate::support::smsc::{Smsc, Submit};
use crate::support::stage;
use crate::support::wait::eventually;
use crate::support::world::{SOON, World};

/// Submits a second.
const RATE: usize = 20;
/// What the weights are judged by, milliseconds.
const SPAN: i64 = 20_000;

/// A tenant that shares the route, known at the upstream by its sender id.
async fn sharer(world: &World, route: &str, sender_id: &str, weight: u32) -> String {
    let short = sender_id.to_lowercase();
    world
        .tenant(&short, &[route], |spec| {
            spec["routes"][0]["weight"] = weight.into();
            spec["senderIds"] = json!([{"id": sender_id}]);
        })
        .await
}

/// When the first submit of a sender id at or after `from` came.
async fn first(smsc: &Smsc, sender_id: &str, from: i64) -> i64 {
    eventually(&format!("a submit of {sender_id}"), SOON, async || {
        let submits = smsc.submits().await?;
        let came = submits.iter().find(|submit| submit.source == sender_id && submit.at_ms >= from);
        came.map(|submit| submit.at_ms).ok_or_else(|| format!("{} submits", submits.len()))
    })
    .await
}

/// Submits in the span that begins at `from`, by sender id.
async fn counted(smsc: &Smsc, from: i64) -> BTreeMap<String, usize> {
    let submits = eventually("the span has passed", SOON, async || {
        let submits = smsc.submits().await?;
        let latest = submits.last().map_or(0, |submit| submit.at_ms);
        if latest >= from + SPAN { Ok(submits) } else { Err(format!("{} of {SPAN} ms", latest - from)) }
    })
    .await;
    let mut counts = BTreeMap::new();
    for Submit { source, .. } in submits.into_iter().filter(|one| (from..from + SPAN).contains(&one.at_ms)) {
        *counts.entry(source).or_default() += 1;
    }
    counts
}

/// The rate is used, and each has its part of what went, give or take a tenth.
fn assert_shares(counts: &BTreeMap<String, usize>, weights: &[(&str, usize)]) {
    let all: usize = weights.iter().map(|(_, weight)| weight).sum();
    let most = RATE * usize::try_from(SPAN).expect("positive") / 1000;
    let whole: usize = counts.values().sum();
    assert!(whole * 100 >= most * 95, "{whole} of {most} went: {counts:?}");
    for (sender_id, weight) in weights {
        let (due, had) = (whole * weight / all, counts.get(*sender_id).copied().unwrap_or_default());
        assert!(due.abs_diff(had) * 10 <= due, "{sender_id} had {had} instead of {due}: {counts:?}");
    }
}

/// No span, however long and wherever it begins, holds more than the rate allows in it and one second's worth. That second
/// is the SMSC's: while it is kept from reading, submits pile up and are stamped late, all at once.
fn assert_rate(submits: &[Submit]) {
    let rate = i64::try_from(RATE).expect("small");
    // How far a count is ahead of the rate, in thousandths of a submit. What a span holds too many is what this grows by.
    let ahead = |count: i64, submit: &Submit| count * 1000 - rate * submit.at_ms;
    let mut least = i64::MAX;
    for (before, submit) in (0_i64..).zip(submits) {
        least = least.min(ahead(before, submit));
        let surplus = ahead(before + 1, submit) - least - rate * 1000;
        assert!(surplus <= 0, "a span that ends with submit {before} holds {} too many", (surplus + 999) / 1000);
    }
}

async fn warm(caller: &Caller, number: u32) {
    let accepted = caller.send(&numbers(number, 1)).await;
    caller.until(accepted.messages[0], "delivered", SOON).await;
}

#[tokio::test]
async fn tenants_share_a_route_by_weight_and_the_small_do_not_wait_for_the_large() {
    stage::alone("share", async |world| {
        let smsc = world.smsc(&[]).await;
        let route = world.route("narrow", &smsc, |spec| spec["ratePerSecond"] = RATE.into()).await;
        let mut callers = Vec::new();
        for (sender_id, weight) in [("One", 1), ("Three", 3), ("Four", 4), ("Lone", 1)] {
            callers.push(sharer(world, &route, sender_id, weight).await);
        }
        world.route_ready(&route).await;
        let mut ready = Vec::new();
        for (tenant, number) in callers.iter().zip([1, 2, 3, 4]) {
            world.tenant_ready(tenant).await;
            let caller = world.caller(tenant).await;
            warm(&caller, number).await;
            ready.push(caller);
        }
        let [one, three, four, lone] = ready.try_into().expect("four callers");

        one.send(&numbers(100_000, 10_000)).await;
        three.send(&numbers(200_000, 2_000)).await;
        let begun = first(&smsc, "Three", 0).await.max(first(&smsc, "One", 0).await);
        let both = first(&smsc, "Three", begun + 1_000).await;
        assert_shares(&counted(&smsc, both).await, &[("One", 1), ("Three", 3)]);

        let asked = jiff::Timestamp::now().as_millisecond();
        lone.send(&numbers(300_000, 1)).await;
        let took = first(&smsc, "Lone", asked).await - asked;
        assert!(took <= 1_000, "one message waited {took} ms beside another's 10,000");

        four.send(&numbers(400_000, 1_000)).await;
        let joined = first(&smsc, "Four", asked).await;
        let settled = first(&smsc, "Four", joined + 1_000).await;
        assert_shares(&counted(&smsc, settled).await, &[("One", 1), ("Three", 3), ("Four", 4)]);

        assert_rate(&smsc.submits().await.expect("its record"));
        // One more than the rate: the network may bring the first of a second late and the last early. Time in which the
        // SMSC was kept from reading does not count against the route.
        let stats = smsc.stats().await.expect("its counters");
        assert!(stats.busiest_second <= RATE + 1, "never above the rate: {stats:?}");
    })
    .await;
}
