//! A run: what stands, what goes wrong, and the account. `make faults` does a long one, and a short one is among the tests.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use budstikke::config::sender::CrashPolicy;
use budstikke::domain::{Clock as _, SystemClock};
use budstikke::simulator::{Options, Smsc};
use uuid::Uuid;

pub(crate) mod account;
pub(crate) mod books;
pub(crate) mod chance;
pub(crate) mod doubles;
pub(crate) mod endpoint;
pub(crate) mod inject;
pub(crate) mod load;
pub(crate) mod pauses;
pub(crate) mod plan;
pub(crate) mod proxy;
pub(crate) mod recovery;
pub(crate) mod report;
pub(crate) mod seen;
pub(crate) mod settle;

use self::account::{Account, Check};
use self::books::Books;
use self::doubles::{Doubles, Release};
use self::endpoint::Endpoint;
use self::inject::Injector;
use self::load::{Load, Log};
use self::pauses::Pauses;
use self::plan::plan;
use self::proxy::Proxy;
use self::report::Report;
use self::seen::{Seen, Submits};
use self::settle::Decided;
use super::support::accounts::Member;
use super::support::installation::{Crew, Installation, Route};
use super::{postgres, support};

/// How much goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) faults: usize,
    /// Between two faults, on the average.
    pub(crate) every: Duration,
    /// Messages a second, all tenants together.
    pub(crate) load: u32,
    /// How often each is killed to measure how long it is missed.
    pub(crate) rounds: usize,
    pub(crate) route: Route,
    /// Of PostgreSQL.
    pub(crate) settings: &'static [&'static str],
    /// Does not wait for what is only looked at again later.
    pub(crate) hurry: bool,
}

/// What each tenant does with what is of unknown fate.
const POLICIES: [CrashPolicy; 3] = [CrashPolicy::Resend, CrashPolicy::Hold, CrashPolicy::Resend];

/// The tenant whose endpoint is told of the end of each message.
const TOLD: usize = 0;

/// The present in Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    SystemClock.now().as_millisecond()
}

/// Lets everything go wrong that the seed decides.
pub(crate) async fn run(scale: &Scale, seed: u64) -> Report {
    let began = Instant::now();
    let mut databases = postgres::Databases::bare_with(scale.settings).await;
    databases.migrate().await.expect("migrate");
    let smsc = Arc::new(Smsc::start(Options { record: 1_000_000, ..Options::default() }).await.expect("an SMSC"));
    let mut proxies = BTreeMap::new();
    let members = POLICIES.map(|policy| Member { weight: 1, policy }).to_vec();
    let mut endpoint = Endpoint::start().await;
    let crew = Crew { members, idle: 0, sends: true, tells: Some(endpoint.at.clone()) };
    let upstream = smsc.address();
    let installation =
        Installation::start(&mut databases, scale.settings, upstream, &scale.route, &crew, |link, to| {
            let proxy = Proxy::start(to);
            let seen = proxy.address;
            proxies.insert(link, proxy);
            seen
        })
        .await;
    let apis = installation.apis.clone();
    endpoint.tell(&apis[TOLD], installation.webhooks.expect("a port")).await;
    let submits = Submits::follow(Arc::clone(&smsc));
    let pauses = Pauses::watch();
    let load = Load::start(&apis, scale.load);
    let mut injector = Injector::new(databases, installation, smsc, endpoint, proxies, scale.route);

    let recoveries = recovery::measure(&mut injector, &load.calls[0], &submits, scale.rounds).await;
    injector.run(&plan(seed, scale.faults, scale.every, apis.len())).await;
    let logs = load.stop().await;
    println!("[{:>6.1} s] no more faults, and no more calls; what is under way ends", began.elapsed().as_secs_f64());
    let (decided, settled) = settle::settle(&mut injector, &apis, &POLICIES, scale.hurry).await;
    injector.stood_still(&pauses.found());

    let seen = submits.all().clone();
    let again: BTreeMap<String, u64> =
        logs.iter().flat_map(|log| &log.again).fold(BTreeMap::new(), |mut all, (what, times)| {
            *all.entry(what.clone()).or_default() += times;
            all
        });
    let wrong: Vec<&str> = logs.iter().flat_map(|log| &log.wrong).map(String::as_str).collect();
    let mut checks = vec![
        Check::new("every call is answered", wrong.is_empty(), wrong.join("; ")),
        Check::new("all comes to an end", settled, ""),
    ];
    let fallen = injector.fallen();
    checks.push(Check::new("nobody ends by itself", fallen.is_empty(), fallen.join("; ")));
    let (accounts, doubles) = accounts(&injector, &logs, &decided, &seen).await;
    checks.extend(account::checks(&accounts));
    checks.push(within_bounds(&doubles, &injector));
    let (accepted, taken_away) = (&logs[TOLD].accepted, injector.taken_away);
    checks.push(injector.endpoint().check(TOLD, accepted, &injector.journal, taken_away));
    checks.push(receipts(&injector, &seen).await);
    Report {
        seed,
        seconds: began.elapsed().as_secs_f64(),
        submits: seen.len(),
        again,
        policies: POLICIES.to_vec(),
        journal: injector.journal.clone(),
        accounts,
        doubles,
        recoveries,
        checks,
    }
}

/// Of each tenant.
async fn accounts(
    injector: &Injector,
    logs: &[Log],
    decided: &[Decided],
    seen: &[Seen],
) -> (Vec<Account>, Vec<Doubles>) {
    let installation = injector.installation();
    let (mut accounts, mut all_doubles) = (Vec::new(), Vec::new());
    for (tenant, (log, decided)) in logs.iter().zip(decided).enumerate() {
        let others = logs.iter().enumerate().filter(|(other, _)| *other != tenant);
        let others: Vec<Uuid> = others.flat_map(|(_, log)| &log.accepted).map(|message| message.id).collect();
        let api = &installation.apis[tenant];
        let books = Books::read(injector.superuser(), installation.tenants[tenant], api, &others).await;
        let releases = decided.released.iter().filter_map(|(id, at_ms)| {
            let message = log.accepted.iter().find(|message| message.id == *id)?;
            Some(Release { number: message.number, at_ms: *at_ms, parts: message.parts })
        });
        let doubles = Doubles::find(tenant, POLICIES[tenant], seen, &injector.journal, &releases.collect::<Vec<_>>());
        // What is nobody's is the first one's to explain.
        let own = seen.iter().filter(|submit| submit.number.map_or(0, |number| number.tenant) == tenant);
        let own: Vec<&Seen> = own.collect();
        accounts.push(Account::of(&log.accepted, decided, &books, &own, &doubles, &injector.journal));
        all_doubles.push(doubles);
    }
    (accounts, all_doubles)
}

fn within_bounds(doubles: &[Doubles], injector: &Injector) -> Check {
    let found: u64 = doubles.iter().map(|doubles| doubles.found).sum();
    let bound = Doubles::bound(doubles, &injector.journal);
    Check::new("and no more than these allow", found <= bound, format!("{found} found, at most {bound} allowed"))
}

/// A submit that was sent again has two receipts, and the first has no message.
async fn receipts(injector: &Injector, seen: &[Seen]) -> Check {
    let takes = i64::try_from(seen.iter().filter(|submit| submit.taken).count()).expect("few");
    let (named, parked) = books::named_and_parked(injector.superuser(), injector.installation().route).await;
    let (stats, unnamed) = (injector.smsc().stats(), takes - named);
    Check::new(
        "receipts are complete",
        stats.lost == 0 && stats.waiting == 0 && parked == unnamed,
        format!(
            "{} taken, {} given up by the SMSC, {parked} parked of {unnamed} submits whose answer nobody has",
            stats.receipts_sent, stats.lost
        ),
    )
}
