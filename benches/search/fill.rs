//! Fills the log as fast as disk and cores allow: each day's partition is made, filled by COPY in its final form (frozen, so that nothing
//! has to be written a second time), indexed as its table is, and attached; several days at once.
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use budstikke::domain::content::to_bytes;
use budstikke::domain::{Entry, MessageId, Msisdn, Personal, SenderId, TenantId};
use budstikke::keyring::Keyring;
use budstikke::keyring::seal::Field;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::postgres::Databases;

/// Days at work at once: while one waits for the disk, others are sorted.
const WORKERS: u32 = 3;
/// Stands for the name of a day's partition.
const ANY_DAY: &str = "any_day";
/// Bytes sent at once.
const CHUNK: usize = 1 << 20;
/// While it is filled: what a table holds that was made in the same transaction is in no log then.
pub(crate) const SETTINGS: &[&str] = &[
    "shared_buffers=1GB",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=8GB",
    "checkpoint_timeout=1h",
    "maintenance_work_mem=512MB",
    "max_parallel_maintenance_workers=0",
    "synchronous_commit=off",
    "fsync=off",
    "full_page_writes=off",
    "autovacuum=off",
];
/// Days and microseconds of PostgreSQL begin here.
const EPOCH: Date = jiff::civil::date(2000, 1, 1);
const EPOCH_SECONDS: i64 = 946_684_800;

/// What is to be in the log.
pub(crate) struct Log {
    /// The first one has half of it.
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) first: Date,
    pub(crate) days: u32,
    pub(crate) rows_a_day: u64,
    /// Numbers that are found.
    pub(crate) known: u32,
    /// How often each, at least once.
    pub(crate) messages: u32,
    /// The numbers that can be found.
    pub(crate) number: fn(u32) -> Msisdn,
}

struct Filling {
    pool: PgPool,
    keyring: Keyring,
    log: Log,
    next: AtomicU32,
    done: AtomicU32,
    /// What indexes [`ANY_DAY`]: attaching takes these for the parent's.
    indexes: Vec<String>,
    attaching: Mutex<()>,
    began: Instant,
}

/// Fills the log; how many rows it has then.
pub(crate) async fn fill(databases: &Databases, keyring: Keyring, log: Log) -> u64 {
    let pool = databases.data.pool("budstikke_owner");
    // Those that the migrations made are empty, and would be indexed while they are filled.
    let existing: Vec<String> = sqlx::query_scalar(
        "select relid::regclass::text from pg_partition_tree('message_log') where isleaf and level > 0",
    )
    .fetch_all(&pool)
    .await
    .expect("partitions");
    for partition in existing {
        sqlx::query(AssertSqlSafe(format!("drop table {partition}"))).execute(&pool).await.expect("dropped");
    }
    let indexes = sqlx::query_scalar(
        "select 'alter table any_day add ' || pg_get_constraintdef(oid) from pg_constraint
         where conrelid = 'message_log'::regclass and contype = 'p'
         union all
         select regexp_replace(pg_get_indexdef(indexrelid), 'INDEX \\S+ ON ONLY \\S+', 'INDEX ON any_day') from pg_index
         where indrelid = 'message_log'::regclass and not indisprimary",
    );
    let indexes = indexes.fetch_all(&pool).await.expect("definitions");
    let (next, done, attaching) = (AtomicU32::new(0), AtomicU32::new(0), Mutex::default());
    let filling = Arc::new(Filling { pool, keyring, log, next, done, indexes, attaching, began: Instant::now() });
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let filling = Arc::clone(&filling);
        workers.spawn(async move {
            let mut rows = 0;
            loop {
                let day = filling.next.fetch_add(1, Ordering::Relaxed);
                if day >= filling.log.days {
                    return rows;
                }
                rows += filling.day(day).await;
                filling.tell();
            }
        });
    }
    workers.join_all().await.into_iter().sum()
}

impl Filling {
    fn tell(&self) {
        let (done, days) = (self.done.fetch_add(1, Ordering::Relaxed) + 1, self.log.days);
        let took = self.began.elapsed().as_secs_f64();
        if done % 5 == 0 || done == days {
            let rows = u64::from(done) * self.log.rows_a_day;
            let left = took / f64::from(done) * f64::from(days - done);
            println!("{done} of {days} days, {rows} rows, after {took:.0} s; about {left:.0} s to go");
        }
    }

    /// Fills one day; how many rows.
    async fn day(&self, nth: u32) -> u64 {
        let day = self.log.first.saturating_add(i64::from(nth).days());
        let name = format!("message_log_{}", day.strftime("%Y%m%d"));
        let mut transaction = self.pool.begin().await.expect("begin");
        // Every row is there in its last form at once: no room is left for a second one, which here would only take disk.
        let create = format!(
            "create table {name} (like message_log including defaults including constraints) with (fillfactor = 100)"
        );
        sqlx::query(AssertSqlSafe(create)).execute(&mut *transaction).await.expect("created");
        let copy = format!("copy {name} ({COLUMNS}) from stdin with (format binary, freeze)");
        let mut copy = transaction.copy_in_raw(&copy).await.expect("copying");
        let mut rows = Rows::begin(day);
        let key = self.keyring.log_key(self.log.tenants[0], day).await.expect("a key");
        let searched = self.searched(nth);
        let ordinary = entry("4520000000");
        let sealed_length = key.seal(uuid::Uuid::nil(), Field::Entry, &ordinary).expect("sealed").len();
        let mut random = Random(u64::from(nth) + 1);
        let mut sealed_rows = searched.iter().copied().peekable();
        // Searched ones lie as far apart as they can.
        let apart = (self.log.rows_a_day / (searched.len() as u64 + 1)).max(1);
        let total = self.log.rows_a_day.max(searched.len() as u64);
        for row in 0..total {
            let at = rows.midnight + (row * 86_400_000 / total) as i64;
            let mine = row % 2 == 0;
            let tenant = if mine { 0 } else { 1 + (row / 2) as usize % (self.log.tenants.len() - 1) };
            match sealed_rows.next_if(|_| row % apart == 0) {
                Some(number) => {
                    let id = MessageId::new(Timestamp::from_millisecond(at).expect("a time")).0;
                    let to = (self.log.number)(number);
                    let hash = key.number_hash(&to);
                    let sealed = key.seal(id, Field::Entry, &entry(to.digits().reveal())).expect("sealed");
                    rows.add(self.log.tenants[0], id.into_bytes(), at, key.name(), &sealed, hash, &mut random);
                }
                None => {
                    let (id, hash) = (random.id(at), random.octets());
                    let sealed = vec![hash[0]; sealed_length];
                    rows.add(self.log.tenants[tenant], id, at, key.name(), &sealed, hash, &mut random);
                }
            }
            if rows.octets.len() > CHUNK {
                copy.send(std::mem::take(&mut rows.octets)).await.expect("copied");
            }
        }
        assert!(sealed_rows.next().is_none(), "every searched message has its row");
        rows.octets.extend((-1_i16).to_be_bytes());
        copy.send(std::mem::take(&mut rows.octets)).await.expect("copied");
        let copied = copy.finish().await.expect("copied");
        transaction.commit().await.expect("committed");
        self.run(format!("alter table {name} enable row level security")).await;
        for definition in &self.indexes {
            self.run(definition.replace(ANY_DAY, &name)).await;
        }
        let (low, high) = (day, day.saturating_add(1.day()));
        let attaching = self.attaching.lock().await;
        self.run(format!("alter table message_log attach partition {name} for values from ('{low}') to ('{high}')"))
            .await;
        drop(attaching);
        self.run(format!("vacuum analyze {name}")).await;
        copied
    }

    async fn run(&self, statement: String) {
        sqlx::query(AssertSqlSafe(statement)).execute(&self.pool).await.expect("run");
    }

    /// Which numbers have a message on a day.
    fn searched(&self, day: u32) -> Vec<u32> {
        let apart = self.log.days / self.log.messages;
        let on = |number: u32| (0..self.log.messages).any(|nth| (number * 7 + nth * apart) % self.log.days == day);
        (0..self.log.known).filter(|number| on(*number)).collect()
    }
}

/// An ordinary message, as it is logged.
fn entry(digits: &str) -> Vec<u8> {
    let to = Msisdn::from_digits(digits).expect("a number");
    let text = Personal::new("Hej! Din tid er kl. 10.15. Svar AFLYS, hvis du ikke kan komme.".to_owned());
    let entry = Entry { to, from: SenderId::parse("Budstikke").expect("a name"), text, reference: None };
    to_bytes(&entry).expect("bytes").reveal().clone()
}

/// What a row of the log is filled with, in order; it has no reference of its tenant's.
const COLUMNS: &str =
    "tenant_id, message_id, day, batch_id, state, error, parts, amount, route_id, upstream_id, tag, submitted_at,
    final_at, log_key, entry, number_hash";

/// Rows in the binary form of COPY.
struct Rows {
    octets: Vec<u8>,
    day: i32,
    /// When the day begins, milliseconds of Unix.
    midnight: i64,
    count: u64,
}

impl Rows {
    fn begin(day: Date) -> Self {
        let mut octets = b"PGCOPY\n\xff\r\n\0".to_vec();
        octets.extend([0; 8]);
        let midnight = day.at(0, 0, 0, 0).in_tz("Europe/Copenhagen").expect("midnight").timestamp().as_millisecond();
        Self { octets, day: EPOCH.until(day).expect("days").get_days(), midnight, count: 0 }
    }

    fn field(&mut self, content: &[u8]) {
        self.octets.extend((content.len() as i32).to_be_bytes());
        self.octets.extend(content);
    }

    /// A delivered message: [`COLUMNS`].
    #[allow(clippy::too_many_arguments)]
    fn add(
        &mut self,
        tenant: TenantId,
        id: [u8; 16],
        at: i64,
        key: &str,
        entry: &[u8],
        hash: [u8; 16],
        random: &mut Random,
    ) {
        let moment = ((at - EPOCH_SECONDS * 1000) * 1000).to_be_bytes();
        // In order: they are sorted with less work, and nothing looks for them here.
        let upstream = format!("{:016x}", at as u64 * 1_000_000 + self.count);
        self.count += 1;
        self.octets.extend(16_i16.to_be_bytes());
        self.field(&tenant.0.to_be_bytes());
        self.field(&id);
        self.field(&self.day.to_be_bytes());
        self.field(&id);
        self.field(&3_i16.to_be_bytes());
        // No error.
        self.octets.extend((-1_i32).to_be_bytes());
        self.field(&1_i16.to_be_bytes());
        self.field(&250_i64.to_be_bytes());
        self.field(&1_i64.to_be_bytes());
        self.field(upstream.as_bytes());
        self.field(&((random.next() % 65_536) as i32).to_be_bytes());
        self.field(&moment);
        self.field(&moment);
        self.field(key.as_bytes());
        self.field(entry);
        self.field(&hash);
    }
}

/// SplitMix64: quick, and the same rows every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn octets(&mut self) -> [u8; 16] {
        ((u128::from(self.next()) << 64) | u128::from(self.next())).to_be_bytes()
    }

    /// An id of version 7.
    fn id(&mut self, at: i64) -> [u8; 16] {
        let random = (u128::from(self.next()) << 64 | u128::from(self.next())) & ((1 << 80) - 1);
        uuid::Builder::from_u128((at as u128) << 80 | random)
            .with_version(uuid::Version::SortRand)
            .with_variant(uuid::Variant::RFC4122)
            .into_uuid()
            .into_bytes()
    }
}
