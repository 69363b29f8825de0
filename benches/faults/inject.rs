//! Does what goes wrong and undoes it, and keeps a journal of it.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use budstikke::simulator::{Change, Smsc};
use sqlx::PgPool;
use tokio::time::{Instant, sleep_until};

use super::endpoint::Endpoint;
use super::now_ms;
use super::plan::{Fault, Planned, Victim};
use super::postgres::{Database, Databases};
use super::proxy::Proxy;
use super::support::installation::{Installation, Link, Route};

/// Longer than any upstream's answer may take.
const LATE: Duration = Duration::from_secs(3);

/// What happened.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) fault: Fault,
    /// Unix milliseconds.
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
    /// Parts that may have been sent twice for it, at most: by tenant, what was in its flights.
    pub(crate) flown: Vec<u64>,
    /// And of all tenants together, what an upstream may keep silent about.
    pub(crate) silent: u64,
}

pub(crate) struct Injector {
    databases: Databases,
    installation: Installation,
    smsc: Arc<Smsc>,
    endpoint: Endpoint,
    proxies: BTreeMap<Link, Proxy>,
    route: Route,
    /// How often an endpoint was taken from a worker, instead of waiting for the minute for which it is its own.
    pub(crate) taken_away: usize,
    superuser: PgPool,
    pub(crate) journal: Vec<Event>,
    /// Those that hold, with their end and what must be known then.
    holding: Vec<Holding>,
    /// Parts in each tenant's flights when that could last be asked.
    in_flight: Vec<u64>,
}

struct Holding {
    fault: Fault,
    until: Instant,
    entry: usize,
    garbled: u64,
}

impl Injector {
    pub(crate) fn new(
        databases: Databases,
        installation: Installation,
        smsc: Arc<Smsc>,
        endpoint: Endpoint,
        proxies: BTreeMap<Link, Proxy>,
        route: Route,
    ) -> Self {
        let superuser = databases.data.pool("postgres");
        let in_flight = vec![0; installation.tenants.len()];
        Self {
            databases,
            installation,
            smsc,
            endpoint,
            proxies,
            route,
            taken_away: 0,
            superuser,
            journal: Vec::new(),
            holding: Vec::new(),
            in_flight,
        }
    }

    /// Lets all of it go wrong, and mends all of it.
    pub(crate) async fn run(&mut self, plan: &[Planned]) {
        let began = Instant::now();
        for (number, planned) in (1..).zip(plan) {
            self.mend_until(began + planned.at).await;
            let subject = planned.fault.subject();
            let same = |holding: &&Holding| holding.fault.subject() == subject;
            while let Some(until) = self.holding.iter().find(same).map(|holding| holding.until) {
                self.mend_until(until).await;
            }
            println!(
                "[{number:>3}/{} {:>6.1} s] {}{}",
                plan.len(),
                began.elapsed().as_secs_f64(),
                planned.fault,
                if planned.lasts.is_zero() {
                    String::new()
                } else {
                    format!(", for {:.1} s", planned.lasts.as_secs_f64())
                }
            );
            self.begin(planned.fault, planned.lasts).await;
        }
        self.end_all().await;
    }

    /// Ends what holds, each in its time.
    pub(crate) async fn end_all(&mut self) {
        while let Some(last) = self.holding.iter().map(|holding| holding.until).max() {
            self.mend_until(last).await;
        }
    }

    /// Ends what ends until then, each in its time.
    async fn mend_until(&mut self, then: Instant) {
        loop {
            let first = self.holding.iter().enumerate().min_by_key(|(_, holding)| holding.until);
            let Some((place, until)) =
                first.map(|(place, holding)| (place, holding.until)).filter(|(_, until)| *until <= then)
            else {
                return sleep_until(then).await;
            };
            sleep_until(until).await;
            let holding = self.holding.remove(place);
            self.end(&holding).await;
        }
    }

    /// Lets one thing go wrong.
    pub(crate) async fn begin(&mut self, fault: Fault, lasts: Duration) {
        let from_ms = now_ms();
        // Asked before the one who could answer is gone.
        if fault == Fault::Kill(Victim::Data) {
            self.count_in_flight().await;
        }
        let garbled = self.smsc.stats().garbled;
        self.inflict(fault);
        let mut event = Event { fault, from_ms, to_ms: from_ms, flown: vec![0; self.in_flight.len()], silent: 0 };
        if (0..self.in_flight.len()).any(|tenant| fault.leaves_doubt(tenant)) {
            self.count_in_flight().await;
            let flown = self.in_flight.iter().enumerate();
            event.flown = flown.map(|(tenant, parts)| if fault.leaves_doubt(tenant) { *parts } else { 0 }).collect();
            event.silent = windows(&self.route, fault, lasts);
        }
        self.journal.push(event);
        if !matches!(fault, Fault::Cut(_) | Fault::Lose(_) | Fault::Drop | Fault::Refuse) {
            let entry = self.journal.len() - 1;
            self.holding.push(Holding { fault, until: Instant::now() + lasts, entry, garbled });
        }
    }

    fn inflict(&mut self, fault: Fault) {
        let behave = |change: Change| self.smsc.behave(&change);
        match fault {
            Fault::Kill(victim) => match self.victim(victim) {
                Target::Role(role, number) => self.installation.process(role, number).kill(),
                Target::Instance(instance) => instance.crash(),
            },
            Fault::Cut(link) => self.proxies[&link].cut(),
            Fault::Lose(link) => self.proxies[&link].lose(),
            Fault::Delay(link, delay) => self.proxies[&link].delay(delay),
            Fault::Freeze(link) => self.proxies[&link].freeze(true),
            Fault::Throttle(percent) => behave(Change { throttle_percent: Some(percent), ..Change::default() }),
            Fault::Stall => behave(Change { stall: Some(true), ..Change::default() }),
            Fault::Late => {
                let latency = u64::try_from(LATE.as_millis()).ok();
                behave(Change { latency_ms: latency, ..Change::default() });
            }
            Fault::Garbage(percent) => behave(Change { garbage_percent: Some(percent), ..Change::default() }),
            Fault::Drop => behave(Change { drop_connections: true, ..Change::default() }),
            Fault::Latch => behave(Change { latch: Some(true), drop_connections: true, ..Change::default() }),
            Fault::Refuse => self.endpoint.refuse(),
            Fault::Pause => {}
        }
    }

    async fn end(&mut self, holding: &Holding) {
        let behave = |change: Change| self.smsc.behave(&change);
        match holding.fault {
            Fault::Kill(victim) => {
                self.bring_back(victim).await;
            }
            Fault::Delay(link, _) => self.proxies[&link].delay(Duration::ZERO),
            Fault::Freeze(link) => self.proxies[&link].freeze(false),
            Fault::Throttle(_) => behave(Change { throttle_percent: Some(0), ..Change::default() }),
            Fault::Stall => behave(Change { stall: Some(false), ..Change::default() }),
            Fault::Late => behave(Change { latency_ms: Some(0), ..Change::default() }),
            Fault::Garbage(_) => behave(Change { garbage_percent: Some(0), ..Change::default() }),
            Fault::Latch => behave(Change { latch: Some(false), ..Change::default() }),
            Fault::Cut(_) | Fault::Lose(_) | Fault::Drop | Fault::Refuse | Fault::Pause => {}
        }
        let garbled = self.smsc.stats().garbled - holding.garbled;
        let event = &mut self.journal[holding.entry];
        event.to_ms = now_ms();
        if matches!(holding.fault, Fault::Garbage(_)) {
            // Every second time a bind ends with all that was on it.
            event.silent += garbled.div_ceil(2) * u64::from(self.route.window);
        }
    }

    /// Starts one who was killed again.
    async fn bring_back(&mut self, victim: Victim) {
        if victim == Victim::Worker && !self.data_is_away() {
            // Else it would do little but wait, each time for a minute.
            self.take_away().await;
        }
        match self.victim(victim) {
            Target::Role(role, number) => self.installation.process(role, number).launch(),
            Target::Instance(instance) => instance.revive().await,
        }
    }

    /// What an endpoint is told is due again, whoever is at it.
    pub(crate) async fn take_away(&mut self) {
        let free = "update webhook set claimed_until = now(), next_at = '-infinity' where claim_id is not null or next_at > now()";
        let freed = sqlx::query(free).execute(&self.superuser).await;
        self.taken_away += freed.map_or(0, |freed| usize::try_from(freed.rows_affected()).expect("few"));
    }

    fn victim(&mut self, victim: Victim) -> Target<'_> {
        match victim {
            Victim::Api => Target::Role("api", 0),
            Victim::Sender(number) => Target::Role("sender", number),
            Victim::Connector => Target::Role("connector", 0),
            Victim::Worker => Target::Role("worker", 0),
            Victim::Data => Target::Instance(&mut self.databases.data),
            Victim::Keyring => Target::Instance(&mut self.databases.keyring),
        }
    }

    fn data_is_away(&self) -> bool {
        self.holding.iter().any(|holding| holding.fault == Fault::Kill(Victim::Data))
    }

    /// Counts the parts of each tenant's messages of unknown fate; while PostgreSQL is away their number does not grow.
    async fn count_in_flight(&mut self) {
        if self.data_is_away() {
            return;
        }
        let count = sqlx::query_scalar::<_, Vec<i64>>(
            "select array(select (select coalesce(sum(q.parts), 0)::bigint from flight f
                                  join queue q on q.tenant_id = f.tenant_id and q.message_id = any (f.message_ids)
                                  where f.tenant_id = t.id)
                          from unnest($1) with ordinality as t (id, place) order by place)",
        );
        let tenants: Vec<i64> = self.installation.tenants.iter().map(|tenant| tenant.0).collect();
        if let Ok(counts) = count.bind(tenants).fetch_one(&self.superuser).await {
            self.in_flight = counts.into_iter().map(i64::unsigned_abs).collect();
        }
    }

    /// Enters when nothing here ran. A bind that is not answered in time for it ends, and another one may, when that is tried again.
    pub(crate) fn stood_still(&mut self, pauses: &[(i64, i64)]) {
        let silent = 2 * u64::from(self.route.binds) * u64::from(self.route.window);
        self.journal.extend(pauses.iter().map(|&(from_ms, to_ms)| Event {
            fault: Fault::Pause,
            from_ms,
            to_ms,
            flown: vec![0; self.in_flight.len()],
            silent,
        }));
    }

    /// Those who have ended by themselves, with the end of what they said.
    pub(crate) fn fallen(&mut self) -> Vec<String> {
        let senders = (0..self.in_flight.len()).map(|number| ("sender", number));
        let all: Vec<_> = [("api", 0), ("connector", 0), ("worker", 0)].into_iter().chain(senders).collect();
        let fallen: Vec<_> =
            all.into_iter().filter(|(role, number)| !self.installation.process(role, *number).runs()).collect();
        fallen.into_iter().map(|(role, _)| format!("{role}: {}", tail(&self.installation.log(role)))).collect()
    }

    pub(crate) fn installation(&self) -> &Installation {
        &self.installation
    }

    pub(crate) fn superuser(&self) -> &PgPool {
        &self.superuser
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn smsc(&self) -> &Smsc {
        &self.smsc
    }
}

enum Target<'a> {
    /// And which of several.
    Role(&'static str, usize),
    Instance(&'a mut Database),
}

/// Parts that can be written and not answered while an upstream keeps silent: a window of each bind, and another one each time
/// that an answer is waited for no longer.
fn windows(route: &Route, fault: Fault, lasts: Duration) -> u64 {
    let window = u64::from(route.binds) * u64::from(route.window);
    match fault {
        Fault::Stall | Fault::Late | Fault::Freeze(Link::ConnectorToUpstream) => {
            let times = lasts.as_millis().div_ceil(route.response.as_millis()) + 1;
            window * u64::try_from(times).expect("few")
        }
        Fault::Delay(Link::ConnectorToUpstream, _) => window,
        _ => 0,
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
