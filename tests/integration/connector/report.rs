//! What a connector tells of its upstream, for the route's status.
use std::time::Duration;

use budstikke::config::connector::Settings;
use budstikke::domain::{Circuit, Secret};
use budstikke::simulator::{Options, Smsc};
use budstikke::store::upstream_reports::{self, Failure, ReceiptIds, Report, Trouble};
use tokio::net::TcpListener;

use super::stage::{Stage, settings, until};
use crate::support::postgres::Databases;

/// What a report says of binds.
pub(super) type Bound = (u16, Option<Failure>);

/// Waits until the operator would read this of the stage's route.
pub(super) async fn told(stage: &Stage, wanted: &[Bound]) {
    let pool = stage.databases.data.pool("budstikke_operator");
    let what = format!("{wanted:?}");
    until(&what, async || {
        let reports = upstream_reports::of_route(&pool, stage.route).await.expect("reports");
        let bound: Vec<Bound> = reports.iter().map(|report| (report.binds, report.failure)).collect();
        (bound == wanted).then_some(())
    })
    .await;
}

pub(super) fn report(binds: u16, failure: Option<Failure>) -> Bound {
    (binds, failure)
}

/// Waits until the one pod of the stage's route proposes to read the ids of receipts so; `None`: as they are read.
pub(super) async fn proposed(stage: &Stage, wanted: Option<ReceiptIds>) {
    let pool = stage.databases.data.pool("budstikke_operator");
    until(&format!("{wanted:?}"), async || {
        let reports = upstream_reports::of_route(&pool, stage.route).await.expect("reports");
        reports.first().filter(|report| report.id_format == wanted).map(|_| ())
    })
    .await;
}

/// Waits until the one pod of the stage's route tells such a circuit; gives all that it tells.
pub(super) async fn circuit(stage: &Stage, wanted: Circuit) -> Report {
    let pool = stage.databases.data.pool("budstikke_operator");
    until(&format!("{wanted:?}"), async || {
        let reports = upstream_reports::of_route(&pool, stage.route).await.expect("reports");
        reports.first().copied().filter(|report| report.circuit == wanted)
    })
    .await
}

#[tokio::test]
async fn a_wrong_password_is_told_and_so_are_all_binds_once_it_is_right() {
    let databases = Databases::start().await;
    let smsc =
        Smsc::start(Options { password: Some("other".to_owned()), ..Options::default() }).await.expect("an SMSC");
    let settings = Settings { binds: 2, ..settings(smsc.address().port()) };
    let stage = Stage::start(databases, &[], settings).await;
    // ESME_RINVPASWD.
    told(&stage, &[report(0, Some(Failure::Refused(14)))]).await;
    let told_first = circuit(&stage, Circuit::Open).await;
    let error = told_first.last_error.expect("an error");
    assert_eq!((error.trouble, error.status), (Trouble::Refused, Some(14)));
    assert!(told_first.since <= error.at, "open from the beginning");
    stage.configure(|config| config.password = Secret::new("other"));
    told(&stage, &[report(2, None)]).await;
    let well = circuit(&stage, Circuit::Closed).await;
    assert!(well.since > told_first.since && well.last_error.is_some(), "the last error stays: {well:?}");
    smsc.stop().await;
    told(&stage, &[report(0, Some(Failure::Connect))]).await;
    let (databases, route) = (stage.databases, stage.route);
    stage.running.stop().await;
    let pool = databases.data.pool("budstikke_operator");
    assert_eq!(upstream_reports::of_route(&pool, route).await.expect("reports"), [], "one that stops takes it back");
}

#[tokio::test]
async fn what_an_upstream_that_hangs_up_means_depends_on_tls() {
    let databases = Databases::start().await;
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = upstream.local_addr().expect("an address").port();
    let hanging_up = tokio::spawn(async move { while upstream.accept().await.is_ok() {} });
    let stage = Stage::start(databases, &[], settings(port)).await;
    told(&stage, &[report(0, Some(Failure::Lost))]).await;
    stage.configure(|config| config.settings.tls_name = Some("smpp.example.com".to_owned()));
    told(&stage, &[report(0, Some(Failure::Tls))]).await;
    tokio::time::timeout(Duration::from_secs(20), stage.running.stop()).await.expect("it stops");
    hanging_up.abort();
}
