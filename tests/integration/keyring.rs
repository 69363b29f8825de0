//! The keyring on a real instance: made once, looked up by everyone, gone when destroyed.
use std::sync::Arc;

use budstikke::domain::{Msisdn, RouteId, TenantId};
use budstikke::keyring::seal::Field;
use budstikke::keyring::{self, Class, Error, Kek, KekArgs, Keyring, WalWindow};
use budstikke::store::installation::Erasure;
use jiff::civil::{Date, date};
use uuid::Uuid;

use crate::support::postgres::Databases;

const FROM: Date = date(2026, 3, 1);
const TO: Date = date(2026, 3, 8);
const TENANT: TenantId = TenantId(7);
const KEK: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const ROW: Uuid = Uuid::from_u128(1);

/// As one process with this login sees it: nothing cached yet.
fn keyring(databases: &Databases, login: &str) -> Keyring {
    let pool = keyring::connect(&databases.keyring.dsn(login), 2, "test");
    Keyring::open(pool, Kek::parse(KEK).expect("a key"))
}

async fn keys(databases: &Databases) -> i64 {
    let count =
        sqlx::query_scalar("select (select count(*) from keyring.key) + (select count(*) from keyring.lasting_key)");
    count.fetch_one(&databases.keyring.pool("budstikke_owner")).await.expect("count keys")
}

#[tokio::test]
async fn creators_at_once_make_one_key_each() {
    let databases = Databases::start().await;
    let creators =
        (0..6).map(|_| async { keyring(&databases, "budstikke_operator").provide(TENANT, FROM, TO, 90).await });
    let made = futures::future::try_join_all(creators).await.expect("all provide");
    assert!(made.iter().all(|days| days == &made[0]), "all see the same public keys");
    assert_eq!(made[0].len(), 8);
    assert_eq!(keys(&databases).await, 2 + 8 + 8 + 8);

    let again =
        keyring(&databases, "budstikke_operator").provide(TENANT, FROM, TO.tomorrow().expect("a day"), 90).await;
    assert_eq!(again.expect("one day more")[..8], made[0][..]);
    assert_eq!(keys(&databases).await, 2 + 9 + 9 + 9);
}

#[tokio::test]
async fn later_days_follow_what_is_promised_now() {
    let databases = Databases::start().await;
    let names = |class: &'static str| {
        let pool = databases.keyring.pool("budstikke_owner");
        async move {
            let names =
                sqlx::query_scalar("select name from keyring.key where class = $1 order by usable_from").bind(class);
            names.fetch_all(&pool).await.expect("names") as Vec<String>
        }
    };
    let provide = async |days| {
        keyring(&databases, "budstikke_operator").provide(TENANT, FROM, date(2026, 3, 2), days).await.expect("provided")
    };
    let public = provide(0).await;
    assert!(names("log").await.is_empty(), "nothing is logged");
    assert_eq!(names("inbound").await, ["inbound/2026-03-02/2026-03-01", "inbound/2026-03-03/2026-03-02"]);
    assert_eq!(names("queue").await, ["queue/2026-04-09/2026-03-01", "queue/2026-04-10/2026-03-02"]);

    let longer = provide(90).await;
    assert_eq!(names("log").await, ["log/2026-05-30/2026-03-01", "log/2026-05-31/2026-03-02"]);
    assert_eq!(longer[0], public[0], "today's may be in use");
    assert_eq!(longer[1].name, "inbound/2026-05-31/2026-03-02");
    assert_ne!(longer[1].key, public[1].key);

    provide(30).await;
    assert_eq!(names("log").await, ["log/2026-05-30/2026-03-01", "log/2026-04-01/2026-03-02"]);
    let before = keys(&databases).await;
    provide(0).await;
    assert_eq!(names("log").await, ["log/2026-05-30/2026-03-01"], "today's goes when the log is erased");
    assert_eq!(keys(&databases).await, before - 1);
}

#[tokio::test]
async fn what_one_process_seals_another_opens() {
    let databases = Databases::start().await;
    let operator = keyring(&databases, "budstikke_operator");
    let public = operator.provide(TENANT, FROM, TO, 90).await.expect("provided");
    let (one, other) = (keyring(&databases, "budstikke_api"), keyring(&databases, "budstikke_api"));

    let queue = one.queue_key(TENANT, FROM).await.expect("a queue key");
    let body = queue.seal(ROW, Field::Body, b"en besked").expect("sealed");
    let same = other.queue_key_named(TENANT, queue.name()).await.expect("by its name");
    assert_eq!(same.open(ROW, Field::Body, &body).expect("opened").as_slice(), b"en besked");

    let log = one.log_key(TENANT, FROM).await.expect("a log key");
    assert_eq!(log.name(), "log/2026-05-30/2026-03-01", "the date on which it must be gone leads");
    let entry = log.seal(ROW, Field::Entry, b"en besked").expect("sealed");
    let same = other.log_key_named(TENANT, log.name()).await.expect("by its name");
    assert_eq!(same.open(ROW, Field::Entry, &entry).expect("opened").as_slice(), b"en besked");
    let number = Msisdn::from_digits("4520123456").expect("a number");
    assert_eq!(log.number_hash(&number), same.number_hash(&number));
    let next_day = one.log_key(TENANT, TO).await.expect("another day's");
    assert_ne!(log.number_hash(&number), next_day.number_hash(&number), "days cannot be joined by number");

    let seals = keyring::seal::PublicKey::new(TENANT, &public[0].name, &public[0].key).expect("a public key");
    let sealed = seals.seal(ROW, Field::Inbound, b"et svar").expect("sealed");
    let private = other.inbound_private(TENANT, &public[0].name).await.expect("its private half");
    assert_eq!(private.open(ROW, Field::Inbound, &sealed).expect("opened").as_slice(), b"et svar");
}

#[tokio::test]
async fn a_key_that_was_not_made_or_is_destroyed_is_missing() {
    let databases = Databases::start().await;
    let api = keyring(&databases, "budstikke_api");
    assert!(matches!(api.queue_key(TENANT, FROM).await, Err(Error::KeyMissing { .. })), "not made yet");
    keyring(&databases, "budstikke_operator").provide(TENANT, FROM, TO, 90).await.expect("provided");
    let name = api.log_key(TENANT, FROM).await.expect("made since").name().to_owned();
    assert!(matches!(api.log_key(TENANT, date(2026, 4, 1)).await, Err(Error::KeyMissing { .. })), "beyond the horizon");
    assert!(matches!(api.queue_key_named(TENANT, &name).await, Err(Error::KeyMissing { .. })), "of another class");

    keyring(&databases, "budstikke_operator").destroy(date(2026, 5, 30)).await.expect("destroyed");
    let fresh = keyring(&databases, "budstikke_api");
    assert!(matches!(fresh.log_key_named(TENANT, &name).await, Err(Error::KeyMissing { .. })));
}

#[tokio::test]
async fn keys_go_on_their_date_with_the_file_that_held_them() {
    let databases = Databases::start().await;
    let operator = keyring(&databases, "budstikke_operator");
    operator.provide(TENANT, FROM, TO, 30).await.expect("provided");
    operator.provide(TenantId(8), FROM, TO, 90).await.expect("provided");
    assert_eq!(operator.destroy(date(2026, 3, 30)).await.expect("none is due"), []);

    // Two days were missed.
    let went = operator.destroy(date(2026, 4, 2)).await.expect("destroyed");
    let went: Vec<_> = went.iter().map(|one| (one.gone_on.to_string(), &*one.class, one.keys, one.tenants)).collect();
    let of = |day: &str| ["inbound", "log", "queue"].map(|class| (day.to_owned(), class, 1, 1)).to_vec();
    assert_eq!(went.iter().map(|one| &one.0).collect::<Vec<_>>(), {
        let days = ["2026-03-31", "2026-04-01", "2026-04-02"];
        days.iter().flat_map(|day| [*day; 3]).collect::<Vec<_>>()
    });
    let mut first = went[..3].to_vec();
    first.sort();
    assert_eq!(first, of("2026-03-31"));

    let fresh = keyring(&databases, "budstikke_api");
    for day in [FROM, date(2026, 3, 3)] {
        assert!(matches!(fresh.log_key(TENANT, day).await, Err(Error::KeyMissing { .. })), "{day}");
        assert!(matches!(fresh.queue_key(TENANT, day).await, Err(Error::KeyMissing { .. })), "{day}");
        fresh.log_key(TenantId(8), day).await.expect("another's stays");
    }
    fresh.log_key(TENANT, date(2026, 3, 4)).await.expect("its time has not come");
    fresh.repeat_key(TENANT).await.expect("lives with the account");
    let left = fresh.queue_keys(TENANT, date(2026, 4, 2)).await.expect("living ones");
    assert_eq!(left.first().map(|key| key.name().to_owned()).as_deref(), Some("queue/2026-04-07/2026-03-08"));
    assert_eq!(left.len(), 5);
}

#[tokio::test]
async fn a_tenants_keys_can_go_ahead_of_their_date_and_nobody_elses() {
    let databases = Databases::start().await;
    let operator = keyring(&databases, "budstikke_operator");
    for tenant in [TENANT, TenantId(8)] {
        operator.provide(tenant, FROM, TO, 90).await.expect("provided");
    }
    assert_eq!(operator.erase(TENANT, Class::Log, date(2026, 3, 5)).await.expect("erased"), 4);
    let fresh = keyring(&databases, "budstikke_api");
    assert!(matches!(fresh.log_key(TENANT, date(2026, 3, 4)).await, Err(Error::KeyMissing { .. })));
    fresh.log_key(TENANT, date(2026, 3, 5)).await.expect("a later one");
    fresh.queue_key(TENANT, FROM).await.expect("another class");
    fresh.log_key(TenantId(8), FROM).await.expect("another tenant's");
    let tables = "select count(*) from pg_class where relname = 'key_old'";
    let owner = databases.keyring.pool("budstikke_owner");
    assert_eq!(sqlx::query_scalar::<_, i64>(tables).fetch_one(&owner).await.expect("counted"), 0, "no copy is left");
    assert_eq!(operator.erase(TENANT, Class::Log, date(2026, 3, 5)).await.expect("again"), 0);
}

#[tokio::test]
async fn a_key_that_is_made_anew_for_the_same_day_has_a_name_of_its_own() {
    let databases = Databases::start().await;
    let operator = keyring(&databases, "budstikke_operator");
    operator.provide(TENANT, FROM, TO, 90).await.expect("provided");
    let log_key = async || keyring(&databases, "budstikke_api").log_key(TENANT, FROM).await.expect("a key");
    let mut names = vec![log_key().await.name().to_owned()];
    let old = log_key().await.seal(ROW, Field::Entry, b"en besked").expect("sealed");
    for _ in 0..2 {
        // Who opts out on this day and thinks again: nothing is logged, and then it is.
        operator.erase(TENANT, Class::Log, date(2026, 3, 2)).await.expect("erased");
        operator.provide(TENANT, FROM, TO, 90).await.expect("provided");
        let anew = log_key().await;
        assert!(!names.contains(&anew.name().to_owned()), "{} was given before", anew.name());
        assert!(anew.name().starts_with("log/2026-05-30/2026-03-01/"), "its date still leads: {}", anew.name());
        assert!(anew.open(ROW, Field::Entry, &old).is_err());
        names.push(anew.name().to_owned());
    }
    let gone = keyring(&databases, "budstikke_api").log_key_named(TENANT, &names[0]).await;
    assert!(matches!(gone, Err(Error::KeyMissing { .. })), "what the first one sealed is known to be gone");
}

#[tokio::test]
async fn an_erasure_that_only_a_newer_version_knows_costs_no_key() {
    let databases = Databases::start().await;
    let operator = keyring(&databases, "budstikke_operator");
    operator.provide(TENANT, FROM, TO, 90).await.expect("provided");
    let before = keys(&databases).await;
    let erasure =
        |class: &str| Erasure { tenant: TENANT, class: class.to_owned(), before: TO, at: jiff::Timestamp::now() };
    assert_eq!(operator.erase_again(&erasure("fax")).await.expect("left alone"), 0);
    assert_eq!(keys(&databases).await, before);
    assert!(operator.erase_again(&erasure("account")).await.expect("forgotten") > 0);
    assert_eq!(keys(&databases).await, 0);
}

/// Whoever erases an account locks the wrapping keys first; one that looks a key up and had locked another table by then would
/// wait for it, and be waited for.
#[tokio::test]
async fn who_looks_a_key_up_waits_for_an_erasure_with_nothing_in_hand() {
    let databases = Databases::start().await;
    let operator = keyring(&databases, "budstikke_operator");
    operator.provide(TENANT, FROM, TO, 90).await.expect("provided");
    let now = FROM.at(12, 0, 0, 0).in_tz("Europe/Copenhagen").expect("noon").timestamp();
    operator.provide_mail(TENANT, now, 46).await.expect("provided");
    let owner = databases.keyring.pool("budstikke_owner");
    let (log, mail) = (operator.log_key(TENANT, FROM).await, operator.mail_key(TENANT, now).await);
    let (log, mail) = (log.expect("a key").name().to_owned(), mail.expect("a key").name().to_owned());
    let look_up = async |nth: usize| {
        let api = keyring(&databases, "budstikke_api");
        match nth {
            0 => api.log_key(TENANT, FROM).await.map(|_| ()),
            1 => api.log_key_named(TENANT, &log).await.map(|_| ()),
            2 => api.log_keys(TENANT, TO).await.map(|_| ()),
            3 => api.queue_keys(TENANT, FROM).await.map(|_| ()),
            4 => api.mail_key(TENANT, now).await.map(|_| ()),
            5 => api.mail_key_named(TENANT, &mail).await.map(|_| ()),
            _ => api.repeat_key(TENANT).await.map(|_| ()),
        }
    };
    for nth in 0..7 {
        let mut erasing = owner.begin().await.expect("begun");
        sqlx::query("lock table keyring.wrapping_key in access exclusive mode")
            .execute(&mut *erasing)
            .await
            .expect("locked");
        let watch = async {
            let waits = "select count(*) from pg_locks join pg_database d on d.oid = database
                         where relation = 'keyring.wrapping_key'::regclass and not granted and d.datname = current_database()";
            while sqlx::query_scalar::<_, i64>(waits).fetch_one(&owner).await.expect("counted") == 0 {
                tokio::task::yield_now().await;
            }
            let all = "lock table keyring.lasting_key, keyring.key, keyring.hour_key in access exclusive mode";
            let locked = sqlx::query(all).execute(&mut *erasing).await;
            erasing.rollback().await.expect("let go");
            locked
        };
        let (found, locked) = tokio::join!(look_up(nth), watch);
        locked.unwrap_or_else(|error| panic!("look-up {nth} keeps the erasure: {error}"));
        found.unwrap_or_else(|error| panic!("look-up {nth} is given up: {error}"));
    }
}

#[tokio::test]
async fn a_log_without_end_is_known_by_its_setting() {
    let databases = Databases::start().await;
    let operator = keyring(&databases, "budstikke_operator");
    assert_eq!(operator.wal_window().await.expect("asked"), WalWindow::Unbounded("archive_timeout".to_owned()));
    assert!(operator.clock().await.expect("a time") > "2026-01-01T00:00:00Z".parse().expect("a time"));
}

#[tokio::test]
async fn a_stored_key_opens_only_in_its_own_row_and_with_its_own_kek() {
    let databases = Databases::start().await;
    let operator = keyring(&databases, "budstikke_operator");
    operator.provide(TENANT, FROM, TO, 90).await.expect("provided");
    operator.provide(TenantId(8), FROM, TO, 90).await.expect("provided");

    let pool = keyring::connect(&databases.keyring.dsn("budstikke_api"), 2, "test");
    let other_kek = Kek::parse("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a key");
    assert!(matches!(Keyring::open(pool, other_kek).queue_key(TENANT, FROM).await, Err(Error::Kek(_))));

    let owner = databases.keyring.pool("budstikke_owner");
    sqlx::query(
        "update keyring.key k set wrapped = other.wrapped from keyring.key other
         where k.tenant_id = $1 and other.tenant_id = 8 and k.class = other.class and k.usable_from = other.usable_from",
    )
    .bind(TENANT.0)
    .execute(&owner)
    .await
    .expect("swap keys between tenants");
    let api = keyring(&databases, "budstikke_api");
    assert!(matches!(api.queue_key(TENANT, FROM).await, Err(Error::Unwrap { .. })));
    assert!(matches!(api.log_key(TENANT, FROM).await, Err(Error::Unwrap { .. })));
}

#[tokio::test]
async fn the_api_reads_keys_and_changes_none() {
    let databases = Databases::start().await;
    keyring(&databases, "budstikke_operator").provide(TENANT, FROM, TO, 90).await.expect("provided");
    let api = databases.keyring.pool("budstikke_api");
    for statement in [
        "delete from keyring.key",
        "update keyring.key set gone_on = gone_on + 1",
        "insert into keyring.wrapping_key (tenant_id, wrapped) values (99, '')",
        "update keyring.route_key set kek = ''",
        "select keyring.finish_rotation('')",
        "select keyring.rewrap('tenant', 7, '', '', '')",
        "select keyring.rotate_wrapping(7, '', '', '', '{}', '{}')",
        "select keyring.close_segment(now())",
        "select keyring.mark_log()",
        "select keyring.destroy_outlived('{}', '{}', '{}', '{}')",
    ] {
        let error = sqlx::query(statement).execute(&api).await.expect_err(statement);
        assert_eq!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("42501"), "{statement}");
    }
    assert_eq!(keys(&databases).await, 26);
}

/// The operator makes and destroys; what wraps a key changes by the functions of rotation alone.
#[tokio::test]
async fn the_operator_changes_no_wrapped_key_by_itself() {
    let databases = Databases::start().await;
    keyring(&databases, "budstikke_operator").provide(TENANT, FROM, TO, 90).await.expect("provided");
    let operator = databases.keyring.pool("budstikke_operator");
    for statement in [
        "update keyring.key set wrapped = ''",
        "update keyring.lasting_key set wrapped = ''",
        "update keyring.wrapping_key set wrapped = ''",
        "delete from keyring.wrapping_key",
        "delete from keyring.route_key",
        "select keyring.write_anew('keyring.wrapping_key_0', 'true')",
    ] {
        let error = sqlx::query(statement).execute(&operator).await.expect_err(statement);
        assert_eq!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("42501"), "{statement}");
    }
}

/// A key-encryption Secret, mounted.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("budstikke-kek-{}", Uuid::now_v7()));
        std::fs::create_dir(&path).expect("a folder");
        Self(path)
    }

    fn add(&self, file: &str, text: &str) {
        std::fs::write(self.0.join(file), text).expect("written");
    }

    /// A second key, there since then.
    fn add_second(&self, since: &str) {
        self.add("kek.2", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        self.add("kek.2.since", since);
    }

    fn keyring(&self, databases: &Databases, login: &str) -> Keyring {
        let pool = keyring::connect(&databases.keyring.dsn(login), 2, "test");
        let args = KekArgs { dirs: vec![self.0.clone()], ..KekArgs::default() };
        Keyring::open(pool, Kek::read(&args).expect("keys"))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const ROUTE: RouteId = RouteId(3);
const LONG_AGO: &str = "2026-01-01T00:00:00Z";

#[tokio::test]
async fn the_key_encryption_key_is_rotated_under_running_readers() {
    let databases = Databases::start().await;
    let old = Mounted::new();
    old.add("kek", KEK);
    let both = Mounted::new();
    both.add("kek", KEK);
    let operator = both.keyring(&databases, "budstikke_operator");
    for tenant in 1..=20 {
        operator.provide(TenantId(tenant), FROM, TO, 90).await.expect("provided");
    }
    let tag = operator.route_key(ROUTE).await.expect("a route's key");
    let log = operator.log_key(TENANT, FROM).await.expect("a key");
    let sealed = log.seal(ROW, Field::Entry, b"en besked").expect("sealed");
    while !operator.rewrap(100).await.expect("nothing to move").finished {}

    both.add_second(&jiff::Timestamp::now().to_string());
    let waits = operator.rewrap(100).await.expect("looked");
    assert_eq!((waits.moved, waits.behind), (0, 0), "not before every process can have it");

    both.add_second(LONG_AGO);
    let reader = Arc::new(both.keyring(&databases, "budstikke_api"));
    let stop = tokio_util::sync::CancellationToken::new();
    let reading = tokio::spawn({
        let (stop, databases, dir) = (stop.clone(), databases.keyring.dsn("budstikke_api"), both.0.clone());
        async move {
            let mut read = 0;
            while !stop.is_cancelled() {
                let pool = keyring::connect(&databases, 1, "test");
                let args = KekArgs { dirs: vec![dir.clone()], ..KekArgs::default() };
                let fresh = Keyring::open(pool.clone(), Kek::read(&args).expect("keys"));
                for tenant in 1..=20 {
                    fresh.queue_key(TenantId(tenant), FROM).await.expect("no failure at any time");
                    reader.log_key(TenantId(tenant), FROM).await.expect("no failure at any time");
                    read += 1;
                }
                pool.close().await;
            }
            read
        }
    });
    let cut_short = operator.rewrap(5).await.expect("a step");
    assert_eq!((cut_short.moved, cut_short.behind, cut_short.finished), (5, 16, false));
    // The process ends here; another goes on.
    let successor = both.keyring(&databases, "budstikke_operator");
    let mut last = successor.rewrap(5).await.expect("a step");
    while last.behind > 0 {
        last = successor.rewrap(5).await.expect("a step");
    }
    assert!(last.finished, "{last:?}");
    assert!(!successor.rewrap(5).await.expect("again").finished, "once");
    stop.cancel();
    assert!(reading.await.expect("no failure") > 0);

    assert!(matches!(old.keyring(&databases, "budstikke_api").log_key(TENANT, FROM).await, Err(Error::Kek(_))));
    std::fs::remove_file(both.0.join("kek")).expect("taken out");
    let new = both.keyring(&databases, "budstikke_operator");
    let same = new.log_key(TENANT, FROM).await.expect("by the new one alone");
    assert_eq!(same.open(ROW, Field::Entry, &sealed).expect("opened").as_slice(), b"en besked");
    assert_eq!(new.route_key(ROUTE).await.expect("by the new one alone"), tag, "receipts still find their messages");
}

#[tokio::test]
async fn a_process_learns_of_a_new_key_by_meeting_it() {
    let databases = Databases::start().await;
    let (ahead, behind) = (Mounted::new(), Mounted::new());
    for mounted in [&ahead, &behind] {
        mounted.add("kek", KEK);
    }
    let api = behind.keyring(&databases, "budstikke_api");
    ahead.add_second(LONG_AGO);
    ahead.keyring(&databases, "budstikke_operator").provide(TENANT, FROM, TO, 90).await.expect("provided");
    let error = api.log_key(TENANT, FROM).await.expect_err("not mounted here").to_string();
    assert!(error.contains("put it back into the Secret"), "{error}");
    behind.add_second(LONG_AGO);
    api.log_key(TENANT, FROM).await.expect("without a restart");
}

#[tokio::test]
async fn a_wrapping_key_is_exchanged_while_keys_are_made_and_read() {
    let databases = Databases::start().await;
    let operator = keyring(&databases, "budstikke_operator");
    for tenant in [TENANT, TenantId(8)] {
        operator.provide(tenant, FROM, FROM, 90).await.expect("provided");
    }
    let api = keyring(&databases, "budstikke_api");
    let repeat = api.repeat_key(TENANT).await.expect("a key").digest("a", b"b");
    let stored = "select wrapped from keyring.wrapping_key where tenant_id = 7";
    let owner = databases.keyring.pool("budstikke_owner");
    let before: Vec<u8> = sqlx::query_scalar(stored).fetch_one(&owner).await.expect("stored");

    let making = async {
        for ahead in 1..15 {
            let to = FROM.saturating_add(jiff::Span::new().days(ahead));
            keyring(&databases, "budstikke_operator").provide(TENANT, FROM, to, 90).await.expect("made");
            keyring(&databases, "budstikke_operator").provide(TenantId(8), FROM, to, 90).await.expect("made");
            api.log_key(TENANT, to).await.expect("read with the wrapping key of before in memory");
        }
    };
    let rotating = async |tenant| {
        for _ in 0..6 {
            let process = keyring(&databases, "budstikke_operator");
            assert!(process.rotate(tenant).await.expect("rotated").is_some());
        }
    };
    tokio::join!(making, rotating(TENANT), rotating(TenantId(8)));
    let after: Vec<u8> = sqlx::query_scalar(stored).fetch_one(&owner).await.expect("stored");
    assert_ne!(before, after);
    assert_eq!(keys(&databases).await, 2 * (2 + 3 * 15), "none was lost");
    let fresh = keyring(&databases, "budstikke_api");
    assert_eq!(fresh.repeat_key(TENANT).await.expect("a key").digest("a", b"b"), repeat);
    for ahead in 0..15 {
        fresh.log_key(TENANT, FROM.saturating_add(jiff::Span::new().days(ahead))).await.expect("every day's");
    }
    assert_eq!(fresh.tenants().await.expect("asked"), [TENANT, TenantId(8)]);
    assert_eq!(operator.rotate(TenantId(9)).await.expect("asked"), None, "no such tenant");
    assert_eq!(operator.aged(1, jiff::Timestamp::now(), 9).await.expect("asked"), []);
}

#[tokio::test]
async fn a_key_is_not_used_before_the_archive_has_it() {
    let archive = Mounted::new();
    let door = archive.0.join("open");
    let command = format!("archive_command=test -e {}", door.display());
    let databases = Databases::bare_with(&["fsync=off", "archive_mode=on", &command]).await;
    databases.migrate().await.expect("migrated");
    let operator = keyring(&databases, "budstikke_operator");
    let public = operator.provide(TENANT, FROM, FROM, 90).await.expect("provided");
    assert_eq!(public, [], "nothing is sealed to it yet");
    let api = keyring(&databases, "budstikke_api");
    for _ in 0..2 {
        assert!(!operator.secure(TENANT, FROM).await.expect("asked"));
        assert!(matches!(api.log_key(TENANT, FROM).await, Err(Error::NotSafe { .. })));
        assert!(matches!(api.queue_key(TENANT, FROM).await, Err(Error::NotSafe { .. })));
    }
    let owner = databases.keyring.pool("budstikke_owner");
    let marks = sqlx::query_scalar::<_, i64>("select count(*) from keyring.wal_mark").fetch_one(&owner).await;
    assert_eq!(marks.expect("counted"), 1, "an archive that is away fills no disk");
    // As the superuser who may, since the schema's owner was not given the right.
    let root = databases.keyring.pool("postgres");
    sqlx::query("select pg_switch_wal()").execute(&root).await.expect("switched");
    std::fs::write(&door, "").expect("opened");
    let begin = std::time::Instant::now();
    while !operator.secure(TENANT, FROM).await.expect("asked") {
        assert!(begin.elapsed().as_secs() < 90, "the archive is open");
        sqlx::query("select pg_switch_wal()").execute(&root).await.expect("switched");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    api.log_key(TENANT, FROM).await.expect("safe");
    assert_eq!(operator.provide(TENANT, FROM, FROM, 90).await.expect("provided").len(), 1);
}

/// A keyring whose archive takes a segment only while `open` is there, and hangs where `hang` is.
async fn archived(archive: &Mounted) -> Databases {
    let dir = archive.0.display();
    let command = format!("archive_command=while test -e {dir}/hang; do sleep 0.1; done; test -e {dir}/open");
    let settings = ["fsync=off", "archive_mode=on", &command, "archive_timeout=60", "wal_recycle=off"];
    let databases = Databases::bare_with(&settings).await;
    databases.migrate().await.expect("migrated");
    databases
}

/// Waits until the archive has all that was written until now.
async fn until_archived(databases: &Databases) {
    let root = databases.keyring.pool("postgres");
    let segment: String = sqlx::query_scalar("select pg_walfile_name(pg_current_wal_insert_lsn())")
        .fetch_one(&root)
        .await
        .expect("a segment");
    sqlx::query("select pg_switch_wal()").execute(&root).await.expect("switched");
    let begin = std::time::Instant::now();
    let there = "select coalesce(last_archived_wal >= $1, false) from pg_stat_archiver";
    while !sqlx::query_scalar::<_, bool>(there).bind(&segment).fetch_one(&root).await.expect("asked") {
        assert!(begin.elapsed().as_secs() < 90, "the archive is open");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_marks_of_every_run_make_later_keys_safe_for_good() {
    let archive = Mounted::new();
    archive.add("open", "");
    let databases = archived(&archive).await;
    let operator = keyring(&databases, "budstikke_operator");
    let now = FROM.at(12, 0, 0, 0).in_tz("Europe/Copenhagen").expect("noon").timestamp();
    operator.provide(TENANT, FROM, TO, 90).await.expect("provided");
    operator.provide_mail(TENANT, now, 46).await.expect("provided");
    let api = keyring(&databases, "budstikke_api");
    assert!(matches!(api.mail_key(TENANT, now).await, Err(Error::NotSafe { .. })), "on one machine alone");
    let root = databases.keyring.pool("postgres");
    let written = async || -> String {
        sqlx::query_scalar("select pg_current_wal_insert_lsn()::text").fetch_one(&root).await.expect("a place")
    };
    // Nothing else is written.
    let before = written().await;
    operator.mark_log().await.expect("marked");
    assert_ne!(written().await, before, "a segment that holds a destroyed key gets its successor");
    until_archived(&databases).await;
    api.log_key(TENANT, TO).await.expect("days before its first use");
    api.mail_key(TENANT, now).await.expect("as those of hours");
    assert!(operator.secure_hour(TENANT, now).await.expect("asked"));

    // The server forgets what it has archived, as it does when it crashes.
    operator.mark_log().await.expect("marked");
    std::fs::remove_file(archive.0.join("open")).expect("closed");
    sqlx::query("select pg_stat_reset_shared('archiver')").execute(&root).await.expect("reset");
    let fresh = keyring(&databases, "budstikke_api");
    fresh.log_key(TENANT, TO).await.expect("it was seen to be safe");
    operator.provide(TenantId(8), FROM, FROM, 90).await.expect("provided");
    operator.mark_log().await.expect("marked");
    assert!(matches!(fresh.log_key(TenantId(8), FROM).await, Err(Error::NotSafe { .. })), "a later one is not");
}

#[tokio::test]
async fn an_archive_that_hangs_is_known_to_be_late() {
    let archive = Mounted::new();
    archive.add("open", "");
    let databases = archived(&archive).await;
    let operator = keyring(&databases, "budstikke_operator");
    operator.mark_log().await.expect("marked");
    until_archived(&databases).await;
    assert!(matches!(operator.wal_window().await.expect("asked"), WalWindow::Bounded(_)));

    archive.add("hang", "");
    let owner = databases.keyring.pool("budstikke_owner");
    let root = databases.keyring.pool("postgres");
    operator.mark_log().await.expect("marked");
    sqlx::query("select pg_switch_wal()").execute(&root).await.expect("switched");
    assert!(matches!(operator.wal_window().await.expect("asked"), WalWindow::Bounded(_)), "it has its time");
    // A quarter of an hour and archive_timeout later.
    sqlx::query("update keyring.wal_mark set at = at - interval '17 minutes'").execute(&owner).await.expect("aged");
    let failed = "select failed_count from pg_stat_archiver";
    assert_eq!(sqlx::query_scalar::<_, i64>(failed).fetch_one(&root).await.expect("counted"), 0, "no try has ended");
    assert_eq!(operator.wal_window().await.expect("asked"), WalWindow::Unbounded("archive_command".to_owned()));
    std::fs::remove_file(archive.0.join("hang")).expect("it goes on");
    until_archived(&databases).await;
    assert!(matches!(operator.wal_window().await.expect("asked"), WalWindow::Bounded(_)));
}
