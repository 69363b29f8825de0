//! A route with a rate, more work than it takes, and tenants that share it: measured where it arrives.
use std::time::Duration;

use serde_json::json;

use super::batch;
use super::ours::Stage;
use super::recording::{self, Arrival};
use super::report::Report;
use crate::postgres::directory;
use crate::support::installation::{Crew, Route};

/// What the tenants' shares weigh.
const WEIGHTS: [i32; 3] = [1, 2, 4];
/// Recipients of each tenant, by which they are told apart.
const NUMBERS: usize = 100_000;
/// Until all are at work and calls are over.
const SETTLES: Duration = Duration::from_secs(3);
const SECOND: Duration = Duration::from_secs(1);

/// Enters all of it, for so many submits a second, watched for so many seconds.
pub(crate) async fn measure(rate: usize, seconds: u64, report: &mut Report) {
    let route = Route {
        binds: 1,
        rate: rate.try_into().expect("a rate"),
        window: 100,
        response: Duration::from_secs(30),
        enquire: Duration::from_secs(30),
    };
    let folder = directory("recording");
    let file = folder.join("arrivals");
    let crew = Crew::weighing(&WEIGHTS);
    let stage = Stage::set(&route, &crew, recording::start(&file)).await;
    let span = Duration::from_secs(seconds);
    // Half as much again as the heaviest can be given.
    let each = (rate * usize::try_from(seconds + 10).expect("a time")).min(NUMBERS);
    let fills = stage.installation.apis.iter().enumerate();
    let fills = fills.map(|(tenant, api)| batch::fill(&stage, api, tenant * NUMBERS..tenant * NUMBERS + each));
    futures::future::join_all(fills).await;
    tokio::time::sleep(SETTLES).await;
    let from = recording::read(&file).last().expect("something came").latest;
    tokio::time::sleep(span + SECOND).await;

    let all = recording::read(&file);
    let came: Vec<&Arrival> = all.iter().filter(|one| (from..from + span).contains(&one.latest)).collect();
    assert!(all.last().is_some_and(|last| last.latest >= from + span), "it goes on to the end");
    let tenants = "select count(distinct tenant_id) from queue where state = 0";
    assert_eq!(stage.count(tenants).await, WEIGHTS.len(), "all have had work all the time");
    enter(rate, seconds, &came, report);
    drop(stage);
    let _ = std::fs::remove_dir_all(folder);
}

fn enter(rate: usize, seconds: u64, came: &[&Arrival], report: &mut Report) {
    report.set("pacing_rate", rate);
    report.set("pacing_seconds", seconds);
    report.set("pacing_worst_window", busiest(came, |one| one.earliest));
    report.set("pacing_worst_window_seen", busiest(came, |one| one.latest));
    report.set("pacing_used", (came.len() as f64 / (rate as f64 * seconds as f64) * 1e4).round() / 1e4);
    let weights: i32 = WEIGHTS.iter().sum();
    let shares = WEIGHTS.iter().enumerate().map(|(tenant, weight)| {
        let had = came.iter().filter(|one| one.number / NUMBERS == tenant).count();
        had as f64 / came.len() as f64 / (f64::from(*weight) / f64::from(weights))
    });
    let shares: Vec<f64> = shares.collect();
    let worst = shares.iter().map(|share| (share - 1.0).abs()).fold(0.0, f64::max);
    report.set("fairness_weights", json!(WEIGHTS));
    report.set("fairness_of_due", shares.iter().map(|share| (share * 1e4).round() / 1e4).collect::<Vec<_>>());
    report.set("fairness_worst", (worst * 1e4).round() / 1e4);
}

/// The most that any second held, wherever it began: those that came before the last of it are taken to have come `at`.
fn busiest(came: &[&Arrival], at: impl Fn(&Arrival) -> Duration) -> usize {
    let mut first = 0;
    let held = came.iter().enumerate().map(|(last, arrival)| {
        while at(came[first]) + SECOND <= arrival.latest {
            first += 1;
        }
        last + 1 - first
    });
    held.max().unwrap_or_default()
}
