//! The test that convinces (D2, D3): somebody holds every retained base backup and all of the log of both instances, the
//! volumes of all servers, the standby's too, what every process has said, the passphrase of the repositories, and today's
//! key-encryption key. What must be gone he cannot read; what need not be gone yet he can, so he knows how.
//!
//! Days pass by a clock that the product and the servers share. Three times the installation is broken, and he reads.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use budstikke::domain::{ApiKey, Clock as _, Hour, Scope, TenantId, content, copenhagen_day, period};
use budstikke::keyring::seal::{Field, PublicKey};
use budstikke::keyring::{self, Kek, Keyring, WalWindow};
use budstikke::retention::Expiry;
use budstikke::store::inbound::{self, SealedInbound};
use budstikke::store::mail::{self, Direction, Kind};
use budstikke::store::retention::{self as store, Kept};
use budstikke::store::{self as database, accounts, migrate, partitions};
use jiff::civil::{Date, date};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::api::service::{Api, KEK, mint};
use crate::support::postgres::{Database, Databases};
use crate::support::search::{Canaries, Search};
use attack::{Canary, Opened, keys_from};
use cipher::Tally;
use clock::at;
use installation::Installation;
use loot::{Look, Read, Taken};

mod attack;
mod cipher;
mod clock;
mod installation;
mod loot;

/// The first day; the third night after it is an hour shorter.
const FIRST: Date = date(2027, 3, 25);
/// `log.keep` of the policy, days.
const PROMISED: i64 = 3;
/// `mail.keepDays`.
const MAIL_DAYS: u32 = 3;
/// `backups.keyringKeepHours`, which are whole days here.
const KEEP_HOURS: i64 = 24;
const KEEP: SignedDuration = SignedDuration::from_hours(KEEP_HOURS);
/// So many days after accept the key of the log goes: `PROMISED` less the days that its backups are kept.
const LOG_DAYS: u32 = 2;
/// A queue's key lives longer, as long as a message may wait.
const QUEUE_DAYS: i64 = 9;
/// How often the operator looks.
const OPERATOR: SignedDuration = SignedDuration::from_mins(5);
/// An id that nothing else in a file looks like.
const TENANT: i64 = 0x5D1E_C0DE_0417;

/// How the installation is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nowhere,
    /// The keyring is in the instance of the data.
    Shared,
    /// A key that must be gone is only marked to be so.
    Marked,
    /// The keyring's backups are kept an hour longer than the policy says.
    KeptLonger,
}

struct Town {
    installation: Installation,
    _databases: Databases,
    broken: Broken,
    api: Api,
    key: ApiKey,
    tenant: TenantId,
    keyring: Arc<Keyring>,
    operator: PgPool,
    owner: PgPool,
    connector: PgPool,
    /// As the mail role logs in.
    mail: PgPool,
    words: Canaries,
    canaries: Vec<Canary>,
    copies: Vec<Copied>,
    read: Read,
    tally: Tally,
    begun: Instant,
}

/// A copy of mail.
struct Copied {
    made: Timestamp,
    /// When its key is destroyed.
    gone: Timestamp,
}

fn ms(since: Instant) -> usize {
    usize::try_from(since.elapsed().as_millis()).expect("not for ever")
}

fn day(number: i64) -> Date {
    FIRST.saturating_add(number.days())
}

impl Town {
    async fn found(name: &'static str, broken: Broken) -> Self {
        let hours = if broken == Broken::KeptLonger { KEEP_HOURS + 1 } else { KEEP_HOURS };
        let begun = Instant::now();
        let start = move || Installation::start(name, at(FIRST, 12, 30), u64::try_from(hours * 3600).expect("some"));
        let installation = tokio::task::spawn_blocking(start).await.expect("an installation");
        let keys = if broken == Broken::Shared { &installation.data } else { &installation.keyring };
        let databases = Databases {
            data: Database::elsewhere(installation.data.address.clone()),
            keyring: Database::elsewhere(keys.address.clone()),
        };
        let (data, keys) = (databases.data.instance(), databases.keyring.instance());
        let wait = std::time::Duration::from_secs(60);
        migrate::migrate(&data, &keys, FIRST, wait).await.expect("migrated");
        let owner = databases.data.pool("budstikke_owner");
        let numbered = format!("alter table tenant alter tenant_id restart with {TENANT}");
        sqlx::query(sqlx::AssertSqlSafe(numbered)).execute(&owner).await.expect("numbered");
        let tenant = databases.tenant("tenant").await;
        let route = databases.route("route", &[(tenant, 1)]).await;
        let operator = databases.data.pool("budstikke_operator");
        sqlx::query("update enforcement set log_days = $1")
            .bind(i32::try_from(LOG_DAYS).expect("few"))
            .execute(&operator)
            .await
            .expect("enforced");
        sqlx::query("insert into inbound_number (tenant_id, route_id, number) values ($1, $2, '1204')")
            .bind(tenant.0)
            .bind(route.0)
            .execute(&operator)
            .await
            .expect("a number");
        let kept = Kept { days: i32::try_from(LOG_DAYS).expect("few"), shortened_at: None };
        store::keep(&operator, tenant, kept).await.expect("kept");
        if broken == Broken::Marked {
            let keyring = databases.keyring.pool("budstikke_owner");
            sqlx::raw_sql(MARK).execute(&keyring).await.expect("broken");
        }
        let keys = keyring::connect(&databases.keyring.dsn("budstikke_operator"), 2, "operator");
        let clock = Arc::clone(&installation.clock);
        let town = Self {
            api: Api::at(&databases, 10_000, clock).await,
            key: mint(&databases, tenant, &Scope::ALL).await,
            keyring: Arc::new(Keyring::open(keys, Kek::parse(KEK).expect("a key"))),
            connector: database::connect(&databases.connector_login(route).await, 2, "connector"),
            mail: databases.data.pool("budstikke_api"),
            installation,
            _databases: databases,
            broken,
            tenant,
            operator,
            owner,
            words: Canaries::new(),
            canaries: Vec::new(),
            copies: Vec::new(),
            read: Read::default(),
            tally: Tally::default(),
            begun,
        };
        assert_eq!(town.tenant.0, TENANT);
        town.midnight().await;
        town
    }

    fn now(&self) -> Timestamp {
        self.installation.clock.now()
    }

    /// What the operator does when a day begins: keys and partitions of the coming days; and what must be gone goes. It
    /// begins anew, since it would not believe a clock that was set.
    async fn midnight(&self) {
        let today = copenhagen_day(self.now());
        partitions::ensure(&self.operator, today).await.expect("partitions");
        let last = today.saturating_add(7.days());
        self.keyring.provide(self.tenant, today, last, LOG_DAYS).await.expect("keys");
        self.provide_mail().await;
        // Where there is no standby, the archive must have them first.
        while !self.keyring.secure(self.tenant, today).await.expect("asked") {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let days = self.keyring.provide(self.tenant, today, last, LOG_DAYS).await.expect("keys");
        accounts::publish_keys(&self.operator, self.tenant, &days).await.expect("published");
        self.expire().await;
    }

    /// Keys and partitions of the coming hours' copies of mail.
    async fn provide_mail(&self) {
        let WalWindow::Bounded(wal) = self.keyring.wal_window().await.expect("asked") else {
            panic!("no end of its log")
        };
        let hours = u32::try_from(KEEP_HOURS).expect("few");
        let lives = period::mail_hours(MAIL_DAYS, hours, wal.try_into().expect("short"));
        self.keyring.provide_mail(self.tenant, self.now(), lives).await.expect("keys of the hours");
        partitions::ensure_mail(&self.operator, self.now()).await.expect("partitions");
    }

    /// What the operator does every few minutes.
    async fn expire(&self) {
        let clock = Arc::clone(&self.installation.clock);
        Expiry::new(self.operator.clone(), Arc::clone(&self.keyring), clock).run().await.expect("a run");
    }

    /// Canaries of every class but mail, through the public API where there is one.
    async fn sing(&mut self) {
        self.logged().await;
        self.queued().await;
        self.received().await;
        self.repeated().await;
    }

    /// A number and a text that nobody else has.
    fn words(&mut self, class: &str) -> (String, String) {
        let day = copenhagen_day(self.now());
        let name = |what: &str| -> &'static str { format!("{what} of {class} on {day}").leak() };
        (self.words.number(name("number")), self.words.word(name("text")))
    }

    fn keep(&mut self, class: &'static str, id: Uuid, field: u8, word: String) {
        let day = copenhagen_day(self.now());
        self.keep_under(class, format!("/{day}"), id, field, word);
    }

    fn keep_under(&mut self, class: &'static str, ends: String, id: Uuid, field: u8, word: String) {
        let day = copenhagen_day(self.now());
        self.canaries.push(Canary { class, day, ends, row: *id.as_bytes(), field, word });
    }

    async fn post(&self, body: &serde_json::Value) -> Uuid {
        let answer = self.api.post(&self.key, body).await;
        assert_eq!(answer.status.as_u16(), 202, "{answer:?}");
        answer.body["messages"][0]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
    }

    /// Accepted and sent: its sender has moved it to the log.
    async fn logged(&mut self) {
        let (number, text) = self.words("log");
        let id = self.post(&json!({"to": format!("+{number}"), "text": format!("Hej {text}")})).await;
        let moved = sqlx::query(
            "with gone as (delete from queue where message_id = $1 returning *)
             insert into message_log (tenant_id, message_id, day, batch_id, state, parts, amount, submitted_at, final_at, log_key,
                 entry, number_hash)
             select tenant_id, message_id, day, batch_id, 3, parts, amount, now(), now(), log_key, entry, number_hash from gone",
        );
        assert_eq!(moved.bind(id).execute(&self.owner).await.expect("moved").rows_affected(), 1);
        self.keep("log", id, 2, text);
    }

    /// Accepted to be sent later, and never sent.
    async fn queued(&mut self) {
        let (number, text) = self.words("queue");
        let later = self.now() + SignedDuration::from_hours(2);
        let id = self.post(&json!({"to": format!("+{number}"), "text": text, "sendAt": later, "validity": 3600})).await;
        self.keep("queue", id, 1, text);
    }

    /// Received: its connector has sealed it to the key of the day.
    async fn received(&mut self) {
        let (number, text) = self.words("inbound");
        let now = self.now();
        let public = inbound::key(&self.connector, self.tenant).await.expect("asked").expect("a key of the day");
        let key = PublicKey::new(self.tenant, &public.name, &public.key).expect("a key");
        let plain = json!({"f": number, "t": "1204", "x": text});
        let id = budstikke::domain::MessageId::new(now).0;
        let plain = content::to_bytes(&plain).expect("octets");
        let sealed = key.seal(id, Field::Inbound, plain.reveal()).expect("sealed");
        let (tenant, day, key_name) = (self.tenant, copenhagen_day(now), public.name);
        let row = SealedInbound { tenant, id, day, received_at: now, key_name, sealed, asks: None };
        inbound::store(&self.connector, &row).await.expect("stored");
        self.keep("inbound", id, 3, text);
    }

    /// A mail that becomes an SMS: a copy is kept under the key of the hour. One a day, which it is known by.
    async fn copied(&mut self) {
        let (number, text) = self.words("mail");
        let made = self.now();
        let key = self.keyring.mail_key(self.tenant, made).await.expect("a key of the hour");
        let content = format!("From: sms@example.dk\r\nTo: {number}@sms.example.dk\r\n\r\nHej {text}\r\n");
        let put = mail::put(&self.mail, &key, made, Kind::Raw, Direction::ToSms, content.as_bytes());
        let id = put.await.expect("kept");
        self.keep_under("mail", format!("/{}", Hour::of(made)), id, 8, text);
        self.copies.push(Copied { made, gone: key.gone_at().begins() });
    }

    /// Accepted once, asked for twice: of the key of the call and its body only hashes are kept, so there is nothing to open.
    async fn repeated(&mut self) {
        let (number, text) = self.words("idempotency");
        let key = self.words("Idempotency-Key").1;
        for _ in 0..2 {
            let body = json!({"to": format!("+{number}"), "text": text});
            let answer = self.api.post_once(&self.key, &key, &body).await;
            assert_eq!(answer.status.as_u16(), 202, "{answer:?}");
        }
    }

    /// The shipped loop of backups comes by.
    async fn back_up(&mut self, data: bool) {
        let begun = Instant::now();
        let rounds = [Some(&self.installation.keyring), data.then_some(&self.installation.data)];
        tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                for instance in rounds.into_iter().flatten() {
                    scope.spawn(|| instance.back_up());
                }
            });
        });
        self.tally.count("ms of backups", ms(begun));
    }

    /// All that the attacker can read at this moment. In plain he finds nothing at any time.
    fn attack(&mut self) -> Opened {
        let begun = Instant::now();
        let rows = self.canaries.iter().map(|canary| canary.row).collect();
        let look = Look::new(Search::new(&self.words.words, &[]), TENANT, rows);
        let loot = loot::take(&self.installation, &look, &mut self.read, &mut self.tally);
        let plain: BTreeMap<_, _> = loot.iter().map(|(taken, finds)| (taken, &finds.plain)).collect();
        assert!(plain.values().all(|words| words.is_empty()), "in plain: {plain:?}");
        let opened = attack::open(&loot, KEK, TENANT, &self.canaries, &mut self.tally);
        self.tally.count("attacks", 1);
        self.tally.count("ms of attacks", ms(begun));
        opened
    }

    /// Noon: what is due since the morning goes; canaries, and a backup.
    async fn noon(&mut self, number: i64, sings: bool) {
        self.installation.clock.set(at(day(number), 12, 0));
        self.expire().await;
        if sings {
            self.sing().await;
        }
        self.back_up(false).await;
    }

    /// The last minutes of a day, with a backup that holds all keys that go with the next.
    async fn evening(&mut self, number: i64) {
        self.installation.clock.set(at(day(number), 23, 55));
        self.back_up(true).await;
    }

    /// A day begins: its keys go, and the log forgets them, unless the keyring is elsewhere.
    async fn morning(&mut self, number: i64) {
        self.installation.clock.set(at(day(number), 0, 0));
        self.midnight().await;
        if self.broken == Broken::Shared {
            return self.installation.clock.pass(OPERATOR);
        }
        let segment = self.installation.segment();
        let (started, begun) = (Instant::now(), self.now());
        while !tokio::task::block_in_place(|| self.installation.pass_until_forgotten(&segment, OPERATOR)) {
            assert!(self.now() < begun + SignedDuration::from_mins(15), "{segment} stays in the log of the keyring");
            self.expire().await;
        }
        self.tally.count("ms until forgotten", ms(started));
        let passed = self.now().duration_since(begun).as_secs();
        let window = self.keyring.wal_window().await.expect("asked");
        assert!(matches!(window, WalWindow::Bounded(window) if passed <= window), "{passed} s, though {window:?}");
        self.tally.most("seconds until the keyring's log has forgotten", passed.try_into().expect("forward"));
    }
}

impl Town {
    /// The figures, for who asks the test runner for them.
    #[expect(clippy::print_stdout, reason = "the test runner keeps it unless it is asked for")]
    fn tell(&self) {
        println!("{:?}: {:?} in {:?}", self.broken, self.tally.0, self.begun.elapsed());
    }
}

/// Instead of dropping them.
const MARK: &str = "
    alter table keyring.key add column destroyed boolean not null default false;
    create or replace function keyring.destroy_keys(day date) returns void
    language plpgsql security definer set search_path = keyring, pg_temp as $$ begin
        update key set destroyed = true where gone_on <= day and not destroyed;
        perform pg_logical_emit_message(true, 'budstikke', '');
    end $$";

const CLASSES: [&str; 4] = ["log", "inbound", "queue", "mail"];

/// Three days of canaries, and on to the morning of this day: what he can read at the end of the first evening, and on each
/// morning; of what is broken on the last one alone.
async fn three_days(town: &mut Town, until: i64) -> (Opened, Vec<(Timestamp, Opened)>) {
    town.sing().await;
    town.copied().await;
    town.evening(0).await;
    let first = if town.broken == Broken::Nowhere { town.attack() } else { Opened::new() };
    let mut mornings = Vec::new();
    for number in 1..=until {
        town.morning(number).await;
        if town.broken == Broken::Nowhere || number == until {
            mornings.push((town.now(), town.attack()));
        }
        if number == 1 {
            // What is copied in this hour goes at midnight: as early as the evening's backup can hold its key to the end.
            town.installation.clock.set(at(day(number), 1, 5));
            town.copied().await;
        }
        if number == 4 {
            // The day before had 23 hours, and backups are kept for 24.
            town.installation.clock.set(at(day(number), 1, 5));
            town.back_up(false).await;
            mornings.push((town.now(), town.attack()));
        }
        if number < until {
            town.noon(number, number < 3).await;
            if number == 2 {
                town.copied().await;
            }
            town.evening(number).await;
        }
    }
    (first, mornings)
}

/// Where keys are that are not destroyed.
fn live(keys: &BTreeSet<Taken>) -> bool {
    keys.contains(&Taken::Keyring) && keys.contains(&Taken::Standby)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_everything_reads_nothing_that_must_be_gone() {
    let mut town = Town::found("attacked", Broken::Nowhere).await;
    let (first, mornings) = three_days(&mut town, 5).await;

    // He knows how: by a key from each place, and ciphertexts from each.
    for class in CLASSES {
        let opened = &first[&(class, FIRST)];
        for key in [Taken::Keyring, Taken::Standby, Taken::KeyringBase, Taken::KeyringLog] {
            for text in [Taken::Data, Taken::DataStandby, Taken::DataBase, Taken::DataLog] {
                assert!(opened.contains(&(key, text)), "{class}: {key:?} {text:?} of {opened:?}");
            }
        }
    }
    for (now, opened) in &mornings {
        let today = copenhagen_day(*now);
        for accepted in (0..3).map(day).filter(|accepted| *accepted < today) {
            let destroyed = at(accepted.saturating_add(i64::from(LOG_DAYS).days()), 0, 0);
            let promised = at(accepted.saturating_add((PROMISED + 1).days()), 0, 0);
            for class in ["log", "inbound"] {
                let keys = keys_from(opened, class, accepted);
                let what = format!("{class} of {accepted} at {now}: {keys:?}");
                assert!(*now < promised || keys.is_empty(), "promised: {what}");
                if *now < destroyed {
                    assert!(live(&keys), "not due: {what}");
                } else if *now < destroyed + KEEP {
                    // Only backups have it, and these not for long.
                    assert!(keys.contains(&Taken::KeyringBase) && keys.is_subset(&BACKUPS.into()), "{what}");
                } else {
                    assert_eq!(keys, BTreeSet::new(), "{what}");
                }
            }
            assert!(live(&keys_from(opened, "queue", accepted)), "a queue's key lives longer");
        }
        town.copies.iter().for_each(|copy| judge(copy, *now, opened));
    }

    // Nothing happens for two days but that they pass, until the queue's key goes too.
    town.noon(QUEUE_DAYS - 1, false).await;
    town.evening(QUEUE_DAYS - 1).await;
    town.morning(QUEUE_DAYS).await;
    let opened = town.attack();
    let keys = keys_from(&opened, "queue", FIRST);
    assert!(keys.contains(&Taken::KeyringBase) && keys.is_subset(&BACKUPS.into()), "just destroyed: {keys:?}");
    assert!(live(&keys_from(&opened, "queue", day(1))), "not due");
    town.noon(QUEUE_DAYS, false).await;
    town.evening(QUEUE_DAYS).await;
    town.morning(QUEUE_DAYS + 1).await;
    let opened = town.attack();
    assert!(!opened.keys().any(|(class, of)| *of == FIRST || *class != "queue"), "{opened:?}");
    assert!(live(&keys_from(&opened, "queue", day(2))), "not due");
    town.tell();
}

/// What he may read of a copy of mail at this moment (D3).
fn judge(copy: &Copied, now: Timestamp, opened: &Opened) {
    const HOUR: SignedDuration = SignedDuration::from_hours(1);
    let keys = keys_from(opened, "mail", copenhagen_day(copy.made));
    let what = format!("mail of {} at {now}: {keys:?}", copy.made);
    let promise = SignedDuration::from_hours(24 * i64::from(MAIL_DAYS));
    assert!(now < copy.made + promise || keys.is_empty(), "promised: {what}");
    assert!(copy.gone + KEEP >= Hour::of(copy.made).begins() + promise - HOUR, "an hour early at most: {what}");
    if now < copy.made {
        assert_eq!(keys, BTreeSet::new(), "{what}");
    } else if now < copy.gone {
        assert!(live(&keys), "not due: {what}");
    } else if now < copy.gone + KEEP {
        assert!(keys.is_subset(&BACKUPS.into()), "{what}");
        // The last backup before it was destroyed was taken in the minutes before midnight.
        let at_midnight = copy.gone == at(copenhagen_day(copy.gone), 0, 0);
        assert!(!at_midnight || keys.contains(&Taken::KeyringBase), "{what}");
    } else {
        assert_eq!(keys, BTreeSet::new(), "{what}");
    }
}

const BACKUPS: [Taken; 2] = [Taken::KeyringBase, Taken::KeyringLog];

/// Three ways to break it; each takes about a minute, so they have a command of their own: `make broken`.
mod broken {
    use super::*;

    /// What he reads of the first day when nothing of it may be read any more.
    async fn reads_when_broken(name: &'static str, broken: Broken) -> BTreeSet<Taken> {
        let mut town = Town::found(name, broken).await;
        let (_, mornings) = three_days(&mut town, 3).await;
        let keys = CLASSES[..2].iter().map(|class| keys_from(&mornings[0].1, class, FIRST));
        let keys = keys.reduce(|one, other| &one & &other).expect("two classes");
        town.tell();
        keys
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn he_reads_when_the_keyring_shares_the_instance_of_the_data() {
        let keys = reads_when_broken("attacked-shared", Broken::Shared).await;
        assert!(keys.contains(&Taken::DataBase), "by keys from the data's backups, which are kept for years: {keys:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn he_reads_when_keys_are_only_marked_to_be_destroyed() {
        let keys = reads_when_broken("attacked-marked", Broken::Marked).await;
        assert!(keys.contains(&Taken::Keyring) && keys.contains(&Taken::KeyringBase), "{keys:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn he_reads_when_the_keyrings_backups_are_kept_an_hour_longer() {
        let keys = reads_when_broken("attacked-kept-longer", Broken::KeptLonger).await;
        assert!(keys.contains(&Taken::KeyringBase), "{keys:?}");
        assert!(keys.is_subset(&BACKUPS.into()), "and from nowhere else: {keys:?}");
    }
}
