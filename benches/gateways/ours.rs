//! Ours: the API, a connector and senders, as they are released.
use std::time::{Duration, Instant};

use budstikke::domain::{Clock as _, SystemClock, TenantId, copenhagen_day};
use budstikke::keyring::{self, Kek, Keyring};
use jiff::ToSpan as _;

use super::cpu::{Watch, Who};
use super::line::Line;
use super::load::recipient;
use super::parts::Wanted;
use super::report::Run;
use super::statements::Look;
use super::{PATIENCE, SETTINGS, centre, load, statements};
use crate::fill::{self, Log};
use crate::postgres::Databases;
use crate::support::accounts::KEK;
use crate::support::api::Api;
use crate::support::installation::{Crew, Installation, Route};
use crate::support::process::Process;

/// More than a machine can do: the route's rate is not what is measured.
pub(crate) const ROUTE: Route = Route {
    binds: 1,
    rate: 100_000,
    window: 1000,
    response: Duration::from_secs(30),
    enquire: Duration::from_secs(30),
};
pub(crate) const TEXT: &str =
    "Hej! Din tid hos Værkstedet er i morgen kl. 9.30. Ring på 70 12 34 56 for at flytte den.";
/// Of the log, where one is made.
const DAYS: u32 = 90;
/// Messages before what is measured: connections, prepared statements and keys.
const WARM: usize = 1000;
/// Between two looks at what is done.
const SOON: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_secs(1);
/// Connections of a sender that has work.
const CONNECTIONS: usize = 3;
/// Those of the instance that the chart makes.
const MOST: usize = 300;

/// An installation and what it stands on.
pub(crate) struct Stage {
    pub(crate) databases: Databases,
    pub(crate) centre: Process,
    pub(crate) installation: Installation,
    /// What of the log is no call's.
    filled: usize,
}

/// Of the newest days alone: a log may be long.
const DELIVERED: &str = "select count(*) from message_log where state = 3 and day >= current_date - 1";

impl Stage {
    pub(crate) async fn set(route: &Route, crew: &Crew, centre: Process) -> Self {
        Self::set_with(&[], 0, route, crew, centre).await
    }

    /// With more settings of PostgreSQL, and so many messages in the log, all of the first tenant's.
    async fn set_with(more: &[&str], rows: u64, route: &Route, crew: &Crew, centre: Process) -> Self {
        let connections = format!("max_connections={}", MOST.max(crew.members.len() * CONNECTIONS + 100));
        let settings: Vec<&str> = [SETTINGS, more, &[&connections]].concat();
        // They are started anew, with TLS and the settings.
        let mut databases = Databases::bare_with(if rows == 0 { &settings } else { fill::SETTINGS }).await;
        databases.migrate().await.expect("migrate");
        if rows > 0 {
            history(&databases, rows).await;
        }
        let upstream = centre.at;
        let wire = |_, address| address;
        let installation = Installation::start(&mut databases, &settings, upstream, route, crew, wire).await;
        let mut stage = Self { databases, centre, installation, filled: 0 };
        stage.filled = stage.count(DELIVERED).await;
        stage
    }

    /// Whose CPU is told apart.
    pub(crate) fn watch(&self) -> Watch {
        let of = |role| Who::Processes(self.installation.of_role(role).map(Process::pid).collect());
        Watch::start(vec![
            ("api", of("api")),
            ("sender", of("sender")),
            ("connector", of("connector")),
            ("data_postgres", Who::Server(self.databases.data.pid())),
            ("keyring_postgres", Who::Server(self.databases.keyring.pid())),
            ("centre", Who::Processes(vec![self.centre.pid()])),
        ])
    }

    /// The most memory that a process of each role had, MiB.
    pub(crate) fn memory(&self) -> Vec<(&'static str, f64)> {
        let most = |role| self.installation.of_role(role).map(Process::peak).reduce(f64::max);
        ["api", "connector", "sender"].into_iter().filter_map(|role| Some((role, most(role)?))).collect()
    }

    /// The callers' connections.
    async fn lines(&self) -> Vec<Line> {
        let (port, tls) = self.installation.at();
        let lines = (0..load::CLIENTS).map(|_| Line::open(port, Some(&tls)));
        futures::future::join_all(lines).await
    }

    /// One message to one recipient.
    async fn call(&self, line: &mut Line, number: usize) {
        let apis = &self.installation.apis;
        let body = format!(r#"{{"to":"+{}","text":"{TEXT}"}}"#, recipient(number));
        let (status, said) = line.call(&apis[number % apis.len()].request(&body)).await;
        assert_eq!(status, 202, "{said}\n{}", self.installation.log("api"));
    }

    /// What is said to a call that is accepted.
    pub(crate) async fn post(&self, api: &Api, body: &serde_json::Value) -> serde_json::Value {
        let (status, said) = api.post("", body, None, Duration::from_secs(60)).await.expect("an answer");
        assert_eq!(status, 202, "{said}\n{}", self.installation.log("api"));
        said
    }

    /// Waits until so many messages have their receipt stored. To count costs the database something, so the next look is when half
    /// of what is left may be done.
    pub(crate) async fn settled(&self, messages: usize) {
        let (began, mut first) = (Instant::now(), None);
        loop {
            let delivered = self.count(DELIVERED).await - self.filled;
            if delivered >= messages {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{delivered} of {messages} have their receipt");
            let (at, before) = *first.get_or_insert((Instant::now(), delivered));
            let done = (delivered - before).max(1) as f64;
            let left = at.elapsed().mul_f64((messages - delivered) as f64 / done);
            tokio::time::sleep((left / 2).clamp(SOON, LATE)).await;
        }
    }

    pub(crate) async fn count(&self, statement: &'static str) -> usize {
        let count: i64 = sqlx::query_scalar(statement).fetch_one(&self.installation.owner).await.expect("a count");
        usize::try_from(count).expect("a count")
    }
}

/// A log of [`DAYS`] days of whoever will be the first tenant.
async fn history(databases: &Databases, rows: u64) {
    let (tenant, today) = (TenantId(1), copenhagen_day(SystemClock.now()));
    let first = today.saturating_sub(i64::from(DAYS - 1).days());
    let keys = keyring::connect(&databases.keyring.dsn("budstikke_operator"), 4, "bench");
    let keyring = Keyring::open(keys, Kek::parse(KEK).expect("a key"));
    keyring.provide(tenant, first, today, DAYS).await.expect("keys");
    let number = |_| unreachable!("no number is looked for");
    let (days, rows_a_day) = (DAYS, rows / u64::from(DAYS));
    let log = Log { tenants: vec![tenant; 2], first, days, rows_a_day, known: 0, messages: 1, number };
    fill::fill(databases, keyring, log).await;
    let superuser = databases.data.pool("postgres");
    sqlx::query("checkpoint").execute(&superuser).await.expect("checkpoint");
    superuser.close().await;
}

/// What is there besides.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Beside {
    /// Tenants that have nothing to do.
    pub(crate) idle: usize,
    /// Messages in the log.
    pub(crate) rows: u64,
}

/// So many messages of so many tenants, from the first call until the last receipt is stored.
/// What PostgreSQL did for it is told where statements are looked at.
pub(crate) async fn through(messages: usize, tenants: usize, beside: Beside, wanted: &Wanted) -> Run {
    let crew = Crew { idle: beside.idle, ..Crew::weighing(&vec![1; tenants]) };
    let looked = wanted.statements;
    let more = if looked { statements::SETTINGS } else { &[] }.iter().copied();
    let more: Vec<&str> = more.chain(wanted.settings.iter().map(String::as_str)).collect();
    let stage = Stage::set_with(&more, beside.rows, &ROUTE, &crew, centre::start()).await;
    let warm = WARM.max(tenants * 5);
    let mut lines = stage.lines().await;
    load::run(&mut lines, warm, async |line, number| stage.call(line, number).await).await;
    stage.settled(warm).await;
    let look = if looked { Some(Look::begin(&stage.databases).await) } else { None };

    let (began, watch) = (Instant::now(), stage.watch());
    let accepted = load::run(&mut lines, messages, async |line, number| stage.call(line, number).await).await;
    stage.settled(warm + messages).await;
    let (seconds, spent) = (began.elapsed().as_secs_f64(), watch.stop());
    if let Some(look) = look {
        println!("{}\n", look.end(messages).await);
    }
    Run { accepted: Some(accepted), messages, seconds, spent, memory: stage.memory() }
}

/// So many messages accepted while nobody sends: each is in the queue, and on the disk, when its call is answered.
pub(crate) async fn accept(messages: usize, beside: Beside) -> Run {
    let crew = Crew { idle: beside.idle, sends: false, ..Crew::one() };
    let stage = Stage::set(&ROUTE, &crew, centre::start()).await;
    let mut lines = stage.lines().await;
    load::run(&mut lines, WARM, async |line, number| stage.call(line, number).await).await;
    let (began, watch) = (Instant::now(), stage.watch());
    let accepted = load::run(&mut lines, messages, async |line, number| stage.call(line, number).await).await;
    let (seconds, spent) = (began.elapsed().as_secs_f64(), watch.stop());
    assert_eq!(stage.count("select count(*) from queue where state = 0").await, WARM + messages, "all are queued");
    Run { accepted: Some(accepted), messages, seconds, spent, memory: stage.memory() }
}
