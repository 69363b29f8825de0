//! Whole lives of messages against PostgreSQL alone: sealed, accepted with an idempotency key, claimed into a flight,
//! settled with their usage, and closed by a receipt, through the code that the roles run, each as its own login.
//! Nothing stands in for the upstream. Says how many lives one second of the servers' CPU buys, and fails where the median of
//! its rounds is below what is wanted.
//!
//! `cargo bench --bench lives -- [SECONDS [BATCH]] [setting=value …]`: settings of PostgreSQL beside the chart's.
//! With `encryption` among them every second round stores what is not sealed, of the same length: what encryption costs, and
//! whether that is more than is wanted. Only in the release profile does that say anything (`--profile release`, as benches are).
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../tests/integration/support/postgres.rs"]
#[allow(dead_code)]
mod postgres;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use budstikke::domain::text::Encoding;
use budstikke::domain::{
    BatchId, Body, Clock as _, MessageId, MessageState, MilliOre, Msisdn, Personal, RouteId, SenderId, SystemClock,
    TenantId, copenhagen_day, text,
};
use budstikke::keyring::seal::Field;
use budstikke::keyring::{self, Kek, Keyring};
use budstikke::store::accept::{Acceptor, Call, Logged, Message, Outcome};
use budstikke::store::repeats::Repeat;
use budstikke::store::results::{SentPart, Settled};
use budstikke::store::wake::Waker;
use budstikke::store::{self, claim, receipts, results};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::postgres::Databases;

const TENANTS: usize = 4;
/// Calls at once, of one message each.
const CALLERS: usize = 192;
/// Messages between accept and receipt, for each tenant.
const UNDER_WAY: usize = 3000;
/// Messages of one flight, one settling and one group of receipts.
const BATCH: u32 = 200;
/// Of the chart's embedded data instance.
const SETTINGS: &[&str] = &["shared_buffers=128MB", "wal_compression=lz4", "max_wal_size=2GB", "autovacuum_naptime=5s"];
/// Measured one after the other, in a store that fills.
const ROUNDS: usize = 3;
/// Lives per second of the servers' CPU.
const WANTED: f64 = 8_000.0;
/// Pairs of rounds, sealed and not, that show what encryption costs, and how much of the rate it may cost.
const PAIRS: usize = 45;
const WANTED_COST: f64 = 0.05;
/// After so long nothing of the round before is under way.
const SETTLES: Duration = Duration::from_millis(1500);
/// The key that is named by what is not sealed.
const NONE: &str = "none";
static SEALED: AtomicBool = AtomicBool::new(true);
const WARM_UP: Duration = Duration::from_secs(5);
const TEXT: &str =
    "Hej! Din tid hos Værkstedet er i morgen kl. 9.30. Svar ikke på denne besked; ring på 70 12 34 56 for at flytte.";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<u32>().ok());
    let (seconds, batch) = (numbers.next().unwrap_or(20), numbers.next().unwrap_or(BATCH));
    let extra = arguments.iter().filter(|argument| argument.contains('=')).map(String::as_str);
    let settings: Vec<&str> = SETTINGS.iter().copied().chain(extra).collect();

    let databases = Arc::new(Databases::bare_with(&settings).await);
    databases.migrate().await.expect("migrate");
    let lives = Arc::new(AtomicU64::new(0));
    let mut everyone = start(&databases, batch, &lives).await;
    let done = measure(&databases, &arguments, &settings, (seconds, batch), &lives).await;
    everyone.shutdown().await;
    done
}

async fn measure(
    databases: &Databases,
    arguments: &[String],
    settings: &[&str],
    (seconds, batch): (u32, u32),
    lives: &AtomicU64,
) -> ExitCode {
    tokio::time::sleep(WARM_UP).await;
    println!(
        "| lives | wall s | lives/s | server CPU s | lives per server CPU second | server CPU per life, µs | client's too, µs |"
    );
    println!("|---|---|---|---|---|---|---|");
    let time = Duration::from_secs(seconds.into());
    if arguments.iter().any(|argument| argument == "encryption") {
        return encryption(databases, time, lives).await;
    }
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        rates.push(round(databases, time, lives).await.per_server_cpu);
    }
    let median = median(&mut rates);
    let report = serde_json::json!({
        "lives_per_server_cpu_second": median, "of": rates, "wanted": WANTED, "batch": batch, "tenants": TENANTS,
        "settings": settings,
    });
    println!("{report}");
    if median < WANTED {
        println!("fewer than {WANTED} lives per second of the servers' CPU");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Short rounds with and without encryption in turns, since the store fills meanwhile, and is vacuumed and written out now and then: many of
/// them, so that each kind meets all of that as often.
async fn encryption(databases: &Databases, time: Duration, lives: &AtomicU64) -> ExitCode {
    let (mut sealed, mut plain, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        // Either goes first as often as the other.
        for seal in [pair % 2 == 0, pair % 2 == 1] {
            SEALED.store(seal, Ordering::Relaxed);
            // What is under way was made before.
            tokio::time::sleep(SETTLES).await;
            let rate = round(databases, time, lives).await.per_second;
            if seal { sealed.push(rate) } else { plain.push(rate) }
        }
        costs.push(1.0 - sealed[pair] / plain[pair]);
    }
    let cost = 1.0 - sealed.iter().sum::<f64>() / plain.iter().sum::<f64>();
    let report = serde_json::json!({
        "lives_per_second": {"sealed": mean(&sealed), "not_sealed": mean(&plain)},
        "cost": cost, "standard_error": standard_error(&costs), "pairs": PAIRS, "wanted": WANTED_COST,
    });
    println!("{report}");
    if cost > WANTED_COST {
        println!("encryption costs more than {WANTED_COST} of the store's own rate");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[expect(clippy::cast_precision_loss, reason = "a few")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// By how much the mean of these may be off.
#[expect(clippy::cast_precision_loss, reason = "a few")]
fn standard_error(values: &[f64]) -> f64 {
    let (mean, count) = (mean(values), values.len() as f64);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (count - 1.0) / count).sqrt()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Rate {
    per_second: f64,
    per_server_cpu: f64,
}

/// How many lives there were over this time, with a line for the reader.
#[expect(clippy::cast_precision_loss, reason = "a few million")]
async fn round(databases: &Databases, time: Duration, lives: &AtomicU64) -> Rate {
    let (began, server, client) = (Instant::now(), server_seconds(databases), client_seconds());
    let before = lives.load(Ordering::Relaxed);
    tokio::time::sleep(time).await;
    let wall = began.elapsed().as_secs_f64();
    let count = (lives.load(Ordering::Relaxed) - before) as f64;
    let (server, client) = (server_seconds(databases) - server, client_seconds() - client);
    println!(
        "| {count} | {wall:.1} | {:.0} | {server:.1} | {:.0} | {:.0} | {:.0} |",
        count / wall,
        count / server,
        server / count * 1e6,
        (server + client) / count * 1e6
    );
    Rate { per_second: count / wall, per_server_cpu: count / server }
}

/// Starts everyone.
async fn start(databases: &Arc<Databases>, batch: u32, lives: &Arc<AtomicU64>) -> JoinSet<()> {
    let mut everyone = JoinSet::new();
    let today = copenhagen_day(SystemClock.now());
    let kek = || Kek::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a key");
    let operator = Keyring::open(keyring::connect(&databases.keyring.dsn("budstikke_operator"), 1, "bench"), kek());
    let api = store::connect(&databases.data.dsn("budstikke_api"), 8, "bench api");
    let acceptor = Acceptor::start(&api, &Waker::start(&api));
    let keys = Arc::new(Keyring::open(keyring::connect(&databases.keyring.dsn("budstikke_api"), 2, "bench"), kek()));
    for number in 0..TENANTS {
        let tenant = databases.tenant(&format!("tenant-{number}")).await;
        operator.provide(tenant, today, today.tomorrow().expect("a day"), 90).await.expect("keys");
        let route = databases.route(&format!("route-{number}"), &[(tenant, 1)]).await;
        let stages = Arc::new(Stages { room: Semaphore::new(UNDER_WAY), accepted: Semaphore::new(0) });
        for _ in 0..CALLERS / TENANTS {
            everyone.spawn(call(tenant, acceptor.clone(), Arc::clone(&keys), Arc::clone(&stages)));
        }
        let pool = store::connect(&databases.sender_login(tenant).await, 2, "bench sender");
        let sender = Sender { tenant, route, pool, keys: Arc::clone(&keys), batch };
        everyone.spawn(sender.run(stages, Arc::clone(lives)));
    }
    everyone
}

/// One caller: a message at a time, each answered before the next.
async fn call(tenant: TenantId, acceptor: Acceptor, keys: Arc<Keyring>, stages: Arc<Stages>) {
    let from = SenderId::parse("Budstikke").expect("a sender id");
    let content = text::parts(TEXT, Encoding::Gsm).expect("a text");
    loop {
        stages.room.acquire().await.expect("open").forget();
        let now = SystemClock.now();
        let day = copenhagen_day(now);
        let (queue, log) =
            (keys.queue_key(tenant, day).await.expect("a key"), keys.log_key(tenant, day).await.expect("a key"));
        let repeat = keys.repeat_key(tenant).await.expect("a key");
        let id = MessageId::new(now);
        let number = format!("45{:08}", 20_000_000 + id.0.as_u128() % 70_000_000);
        let body = Body {
            to: Msisdn::from_digits(&number).expect("a number"),
            from: from.clone(),
            text: Personal::new(TEXT.to_owned()),
            encoding: Encoding::Gsm,
            flash: false,
        };
        let plain = serde_json::to_vec(&body).expect("plain text");
        let entry = serde_json::to_vec(&body.entry(160)).expect("plain text");
        let sealed = SEALED.load(Ordering::Relaxed);
        let message = Message {
            id,
            parts: content,
            price: MilliOre(35_000),
            body: if sealed { queue.seal(id.0, Field::Body, &plain).expect("sealed") } else { as_long(&plain) },
            logged: Some(Logged {
                entry: if sealed { log.seal(id.0, Field::Entry, &entry).expect("sealed") } else { as_long(&entry) },
                number_hash: if sealed { log.number_hash(&body.to) } else { digits(&number) },
                reference_hash: None,
            }),
        };
        let answer = serde_json::json!({"batch": id, "messages": [{"id": id, "state": "queued", "parts": 1}]});
        let call = Call {
            hour: 0,
            tenant,
            batch: BatchId::new(now),
            day,
            not_before: None,
            expires_at: now + Duration::from_secs(86400),
            urgent: false,
            queue_key: if sealed { queue.name() } else { NONE }.to_owned(),
            log_key: Some(log.name().to_owned()),
            repeat: Some(Repeat {
                key_hash: repeat.digest("key", id.0.as_bytes()),
                body_hash: repeat.digest("body", &plain),
                answer,
            }),
            guard: None,
            numbers: None,
            messages: vec![message],
        };
        let outcome = acceptor.accept(call).await;
        assert!(matches!(outcome, Ok(Outcome::Accepted)), "{outcome:?}");
        stages.accepted.add_permits(1);
    }
}

/// What takes as much room as if it were sealed.
fn as_long(plain: &[u8]) -> Vec<u8> {
    const NONCE_AND_TAG: usize = 28;
    [plain, &[0; NONCE_AND_TAG]].concat()
}

/// A number as it would be indexed in plain: as many octets as its hash, and scattered as that is.
fn digits(number: &str) -> [u8; 16] {
    let mut octets = [0; 16];
    octets.iter_mut().zip(number.bytes().rev()).for_each(|(octet, digit)| *octet = digit);
    octets
}

/// How far a tenant's messages are.
struct Stages {
    /// For how many more there is room.
    room: Semaphore,
    /// How many are queued.
    accepted: Semaphore,
}

/// One tenant's sender, its upstream, and the receipts.
struct Sender {
    tenant: TenantId,
    route: RouteId,
    pool: sqlx::PgPool,
    keys: Arc<Keyring>,
    batch: u32,
}

impl Sender {
    async fn run(self, stages: Arc<Stages>, lives: Arc<AtomicU64>) {
        let epoch = claim::begin(&self.pool, claim::Beginner::ALONE).await.expect("asked").expect("an epoch");
        loop {
            stages.accepted.acquire_many(self.batch).await.expect("open").forget();
            self.batch(epoch).await;
            lives.fetch_add(self.batch.into(), Ordering::Relaxed);
            stages.room.add_permits(self.batch as usize);
        }
    }

    async fn batch(&self, epoch: i64) {
        let (pool, tenant, route, now) = (&self.pool, self.tenant, self.route, SystemClock.now());
        let first = MessageId(uuid::Uuid::nil());
        let queued = claim::read(pool, tenant, first, &[], now, self.batch.into()).await.expect("read");
        let flight = uuid::Uuid::now_v7();
        let wanted: Vec<_> = queued.iter().map(|message| message.id.0).collect();
        let launched = claim::launch(pool, epoch, flight, route, &wanted).await.expect("launch");
        assert_eq!(launched.ids.len(), self.batch as usize);

        for message in queued.iter().filter(|message| message.queue_key != NONE) {
            let key = self.keys.queue_key_named(tenant, &message.queue_key).await.expect("a key");
            key.open(message.id.0, Field::Body, &message.body).expect("opened");
        }
        let settled: Vec<Settled> = queued.iter().map(|message| submitted(message.id, route)).collect();
        results::settle(pool, &settled, &[flight]).await.expect("settle");

        let receipts: Vec<receipts::Receipt> = settled.iter().map(|message| receipt(message, route)).collect();
        let outcomes = receipts::apply(pool, &receipts).await.expect("apply");
        assert!(outcomes.iter().all(|outcome| *outcome == receipts::Outcome::Applied));
    }
}

fn receipt(message: &Settled, route: RouteId) -> receipts::Receipt {
    receipts::Receipt {
        route,
        upstream_id: message.parts[0].upstream_id.clone(),
        tag: message.parts[0].tag,
        state: MessageState::Delivered,
        error: None,
        at: SystemClock.now(),
    }
}

fn submitted(id: MessageId, route: RouteId) -> Settled {
    let upstream_id = format!("{:016x}", id.0.as_u128().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 64);
    let part = SentPart {
        part: 1,
        state: MessageState::Sent,
        error: None,
        upstream_id: upstream_id.into(),
        tag: 4711,
        at: SystemClock.now(),
    };
    Settled {
        id,
        state: MessageState::Sent,
        error: None,
        route: Some(route),
        parts: vec![part],
        final_at: None,
        several: false,
    }
}

/// What all processes of both instances have used: the living ones, and those that their first process has waited for.
fn server_seconds(databases: &Databases) -> f64 {
    [&databases.data, &databases.keyring].iter().map(|database| tree_ticks(database.pid())).sum::<f64>() / 100.0
}

/// What this process has used: sealing, opening, and talking to the servers.
fn client_seconds() -> f64 {
    ticks(&stat("self").unwrap_or_default(), 13) / 100.0
}

/// The fields of a process after its name: state, parent, …; utime, stime, cutime, cstime are the 12th to 15th.
fn stat(pid: &str) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// Clock ticks (1/100 s on Linux) in the fields from utime to before `to`.
fn ticks(fields: &[String], to: usize) -> f64 {
    fields.get(11..to).unwrap_or_default().iter().filter_map(|tick| tick.parse::<f64>().ok()).sum()
}

/// Clock ticks of a process, its children that ended, and its children that live.
fn tree_ticks(first: u32) -> f64 {
    let mut sum = ticks(&stat(&first.to_string()).unwrap_or_default(), 15);
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let name = entry.file_name();
        let Some(fields) = name.to_str().filter(|name| name.parse::<u32>().is_ok()).and_then(stat) else { continue };
        if fields.get(1).is_some_and(|parent| *parent == first.to_string()) {
            sum += ticks(&fields, 13);
        }
    }
    sum
}
