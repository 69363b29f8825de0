//! What a connector tells of its upstream, for the route's status.
use std::time::Duration;

use budstikke::config::connector::Settings;
use budstikke::domain::Secret;
use budstikke::simulator::{Options, Smsc};
use budstikke::store::upstream_reports::{self, Failure, Report};
use tokio::net::TcpListener;

use super::stage::{Stage, settings, until};
use crate::support::postgres::Databases;

/// Waits until the operator would read this of the stage's route.
pub(super) async fn told(stage: &Stage, wanted: &[Report]) {
    let pool = stage.databases.data.pool("budstikke_operator");
    let what = format!("{wanted:?}");
    until(&what, async || {
        let reports = upstream_reports::of_route(&pool, stage.route).await.expect("reports");
        (reports == wanted).then_some(())
    })
    .await;
}

pub(super) fn report(binds: u16, failure: Option<Failure>) -> Report {
    Report { binds, failure, id_format: None }
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
    stage.configure(|config| config.password = Secret::new("other"));
    told(&stage, &[report(2, None)]).await;
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
