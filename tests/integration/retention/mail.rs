//! Copies of mail, under keys of the hour (D3).
use budstikke::domain::Hour;
use budstikke::keyring::HOURS_AHEAD;
use budstikke::retention::shortened::mail::{self as shorter, Step, Wanted};
use budstikke::store::mail::{self, Direction, Kind, LARGEST};
use budstikke::store::retention::mail::{Pending, pending};
use jiff::civil::date;

use super::*;

/// With the default policy and the chart's settings: three days, less a day of backups and two hours of write-ahead log.
const LIVES: u32 = 46;

/// Keeps a copy made at `now`, as the mail role does, after the operator made what that needs.
pub(super) async fn copy(world: &World, tenant: TenantId, now: Timestamp, lives: u32, content: &[u8]) -> Uuid {
    let day = budstikke::domain::copenhagen_day(now);
    world.keyring.provide(tenant, day, day, 28).await.expect("keys");
    world.keyring.provide_mail(tenant, now, lives).await.expect("keys of the hours");
    partitions::ensure_mail(&world.pool, now).await.expect("partitions");
    let key = world.fresh_keyring().mail_key(tenant, now).await.expect("this hour's");
    mail::put(&world.pool_of_api(), &key, now, Kind::Raw, Direction::ToSms, content).await.expect("put")
}

/// What a process that has just started reads of it.
pub(super) async fn read(world: &World, tenant: TenantId, id: Uuid) -> Option<Vec<u8>> {
    let content = mail::get(&world.pool_of_api(), &world.fresh_keyring(), tenant, id).await.expect("asked");
    content.map(|content| content.to_vec())
}

async fn partitions(world: &World) -> i64 {
    world.count("select count(*) from pg_class where relname like 'mail\\_copy\\_2%' and relkind = 'r'").await
}

#[tokio::test]
async fn a_copy_can_be_read_until_its_hours_key_goes_and_never_after() {
    let world = World::new().await;
    let canary = b"From: kanariefugl@example.dk".as_slice();
    let (made, hour) = (at("2027-01-10T14:35:00Z"), Hour::of(at("2027-01-10T14:35:00Z")));
    let id = copy(&world, world.tenant, made, LIVES, canary).await;
    let later = copy(&world, world.tenant, at("2027-01-10T15:00:00Z"), LIVES, canary).await;
    let kept = mail::list(&world.pool_of_api(), world.tenant, None, 9).await.expect("listed");
    assert_eq!(kept.iter().map(|copy| copy.id).collect::<Vec<_>>(), [later, id]);
    assert_eq!((kept[1].kind, kept[1].direction, kept[1].made_at), (Kind::Raw, Direction::ToSms, made));
    assert_eq!(kept[1].gone_at, at("2027-01-12T12:00:00Z"));
    assert_eq!(kept[1].bytes, canary.len() as i64 + 28);

    // What a backup of the data holds.
    let (name, sealed): (String, Vec<u8>) = sqlx::query_as("select key_name, sealed from mail_copy where copy_id = $1")
        .bind(id)
        .fetch_one(&world.owner)
        .await
        .expect("the row");
    assert_eq!(name, "mail/2027-01-12T12Z/2027-01-10T14Z");
    assert!(!sealed.windows(8).any(|bytes| bytes == &canary[..8]));
    let key = world.fresh_keyring().mail_key_named(world.tenant, &name).await.expect("by its name");
    assert_eq!(key.open(id, &sealed).expect("opened").as_slice(), canary);
    assert!(key.open(later, &sealed).is_err(), "in another row it does not open");

    let gone = hour.plus(LIVES).begins();
    let before = partitions(&world).await;
    let run = world.run_at(gone.saturating_sub(SignedDuration::from_secs(1)).expect("near")).await.expect("not due");
    assert_eq!(run.keys, 0, "{run:?}");
    assert_eq!(read(&world, world.tenant, id).await.as_deref(), Some(canary));

    let run = world.run_at(gone).await.expect("due");
    assert_eq!(run.keys, 1, "{run:?}");
    let missing = world.fresh_keyring().mail_key_named(world.tenant, &name).await;
    assert!(matches!(missing, Err(KeyError::KeyMissing { class: Class::Mail, .. })), "the backup is noise");
    assert_eq!(read(&world, world.tenant, id).await, None);
    assert_eq!(read(&world, world.tenant, later).await.as_deref(), Some(canary), "its hour has not come");
    assert_eq!(world.count("select count(*) from mail_copy").await, 1);
    assert!(partitions(&world).await < before, "the file is gone too");
    let entries = "select count(*) from erasure_journal where due = '2027-01-12'
                   and (what, class, items) in (('keys', 'mail', 1), ('partition', 'mail_copy', 0), ('partition', 'mail_copy', 1))";
    assert!(world.count(entries).await >= 2);
    assert!(matches!(journal::check(&world.pool).await.expect("checked"), Checked::Whole { .. }));
    assert_eq!(world.run_at(gone).await.expect("again").keys, 0);
}

#[tokio::test]
async fn hours_are_of_absolute_time_when_clocks_change() {
    let world = World::new().await;
    // 02:30 comes twice.
    let (first, second) = (at("2026-10-25T02:30:00+02:00"), at("2026-10-25T02:30:00+01:00"));
    let one = copy(&world, world.tenant, first, LIVES, b"one").await;
    let other = copy(&world, world.tenant, second, LIVES, b"other").await;
    world.run_at(at("2026-10-26T22:00:00Z")).await.expect("the first one's is due");
    assert_eq!(read(&world, world.tenant, one).await, None);
    assert_eq!(read(&world, world.tenant, other).await.as_deref(), Some(b"other".as_slice()));
    world.run_at(at("2026-10-26T23:00:00Z")).await.expect("the second one's is due");
    assert_eq!(read(&world, world.tenant, other).await, None);

    // In spring it does not come at all: nothing lives longer for it.
    let id = copy(&world, world.tenant, at("2027-03-28T01:59:59+01:00"), LIVES, b"spring").await;
    world.run_at(at("2027-03-29T21:59:59Z")).await.expect("not due");
    assert!(read(&world, world.tenant, id).await.is_some());
    world.run_at(at("2027-03-29T22:00:00Z")).await.expect("due");
    assert_eq!(read(&world, world.tenant, id).await, None);
}

#[tokio::test]
async fn tenants_under_different_policies_lose_theirs_each_at_its_hour() {
    let world = World::new().await;
    let long = world.databases.tenant("long").await;
    let now = at("2027-01-10T14:35:00Z");
    let short = copy(&world, world.tenant, now, 1, b"short").await;
    let kept = copy(&world, long, now, 70, b"long").await;
    // Hours were missed.
    world.run_at(at("2027-01-10T20:10:00Z")).await.expect("run");
    assert_eq!(read(&world, world.tenant, short).await, None);
    assert!(read(&world, long, kept).await.is_some());
    assert_eq!(read(&world, world.tenant, kept).await, None, "another's is none of theirs");
}

#[tokio::test]
async fn keys_are_made_ahead_once_and_follow_the_policy() {
    let world = World::new().await;
    let (now, tenant) = (at("2027-01-10T14:35:00Z"), world.tenant);
    let early = world.keyring.provide_mail(tenant, now, LIVES).await;
    assert!(matches!(early, Err(KeyError::KeyMissing { .. })), "the tenant has no wrapping key yet");
    world.keyring.provide(tenant, date(2027, 1, 10), date(2027, 1, 10), 28).await.expect("keys");
    let creators = (0..4).map(|_| world.keyring.provide_mail(tenant, now, LIVES));
    futures::future::try_join_all(creators).await.expect("all provide");
    let keys = world.databases.keyring.pool("budstikke_owner");
    let names = async || -> Vec<String> {
        sqlx::query_scalar("select name from keyring.hour_key order by usable_from")
            .fetch_all(&keys)
            .await
            .expect("names")
    };
    assert_eq!(names().await.len(), HOURS_AHEAD as usize + 1);
    world.keyring.provide_mail(tenant, now, 22).await.expect("a shorter policy");
    let shorter = names().await;
    assert_eq!(shorter[..2], ["mail/2027-01-12T12Z/2027-01-10T14Z", "mail/2027-01-11T13Z/2027-01-10T15Z"]);
    assert_eq!(shorter.len(), HOURS_AHEAD as usize + 1);
    world.keyring.provide_mail(tenant, now, 0).await.expect("none");
    assert_eq!(names().await, shorter[..1], "this hour's may be in use");
    let next = world.fresh_keyring().mail_key(tenant, at("2027-01-10T15:00:00Z")).await;
    assert!(matches!(next, Err(KeyError::KeyMissing { .. })), "nothing is kept");
}

#[tokio::test]
async fn who_opts_out_has_no_mail_left_and_nobody_else_loses_any() {
    let world = World::new().await;
    let other = world.databases.tenant("other").await;
    let now = at("2027-01-10T14:35:00Z");
    let mine = copy(&world, world.tenant, now, LIVES, b"mine").await;
    let theirs = copy(&world, other, now, LIVES, b"theirs").await;
    assert_eq!(world.keyring.erase_mail(world.tenant).await.expect("erased"), i64::from(HOURS_AHEAD) + 1);
    assert_eq!(read(&world, world.tenant, mine).await, None);
    assert!(read(&world, other, theirs).await.is_some());
    assert_eq!(world.keyring.erase_mail(world.tenant).await.expect("again"), 0);
}

/// What the operator does with a policy that keeps copies so many hours.
async fn follow(world: &World, tenant: TenantId, hours: u32, word: Option<Date>, now: Timestamp) -> Step {
    let wanted = Wanted { hours, opted_out: false, confirmed_before: word };
    shorter::follow(&world.pool, tenant, wanted, now).await.expect("followed")
}

#[tokio::test]
async fn a_shorter_policy_is_shown_for_a_day_and_then_holds_for_what_is_there() {
    const LONG: u32 = 70;
    const SHORT: u32 = 40;
    let world = World::new().await;
    let other = world.databases.tenant("other").await;
    let (first, begun) = (at("2027-01-09T20:35:00Z"), at("2027-01-11T13:00:00Z"));
    for tenant in [world.tenant, other] {
        store::keep(&world.pool, tenant, Kept { days: 28, shortened_at: None }).await.expect("kept");
        assert!(matches!(follow(&world, tenant, LONG, None, first).await, Step::Keep(_)));
    }
    let old = copy(&world, world.tenant, first, LONG, b"old").await;
    let theirs = copy(&world, other, first, LONG, b"theirs").await;
    let younger = copy(&world, world.tenant, at("2027-01-10T22:05:00Z"), LONG, b"younger").await;
    let waits = async |now| {
        let before = shorter::first_kept(now, SHORT);
        pending(&world.pool, &[world.tenant, other], before, now).await.expect("asked")
    };
    assert_eq!(waits(begun).await, None);

    assert!(matches!(follow(&world, world.tenant, SHORT, None, begun).await, Step::Wait(_)));
    assert_eq!(
        waits(begun).await,
        Some(Pending { tenants: 1, copies: 1, since: begun }),
        "the younger one's time has not come"
    );
    let run = world.run_at(begun).await.expect("run");
    assert_eq!((run.keys, run.entries), (0, 0), "nothing is erased while it is shown: {run:?}");
    assert_eq!(read(&world, world.tenant, old).await.as_deref(), Some(b"old".as_slice()));
    let almost = at("2027-01-12T12:59:59Z");
    assert!(matches!(follow(&world, world.tenant, SHORT, None, almost).await, Step::Wait(_)));

    let due = at("2027-01-12T13:00:00Z");
    assert!(matches!(follow(&world, world.tenant, SHORT, None, due).await, Step::Erase(_)));
    assert_eq!(waits(due).await, None);
    let run = world.run_at(due).await.expect("run");
    assert_eq!(run.entries, 1, "{run:?}");
    assert_eq!(read(&world, world.tenant, old).await, None);
    assert!(read(&world, other, theirs).await.is_some(), "another policy's stay for as long as was promised");
    let listed = mail::list(&world.pool_of_api(), world.tenant, None, 9).await.expect("listed");
    assert_eq!(listed.iter().map(|copy| copy.id).collect::<Vec<_>>(), [younger], "its row is gone too");
    let entries = "select count(*) from erasure_journal where class = 'mail' and what in ('keys', 'entries')";
    assert_eq!(world.count(entries).await, 2);
    let gone = "select count(*) from keyring.hour_key where usable_from < '2027-01-10T22:00:00Z' and tenant_id = $1";
    let keys = world.databases.keyring.pool("budstikke_owner");
    let gone: i64 = sqlx::query_scalar(gone).bind(world.tenant.0).fetch_one(&keys).await.expect("counted");
    assert_eq!(gone, 0, "the backup of the data is noise");

    // What was there goes hour by hour from then on, long before its key's own time.
    assert!(matches!(follow(&world, world.tenant, SHORT, None, due).await, Step::Keep(_)));
    world.run_at(at("2027-01-12T13:59:59Z")).await.expect("not due");
    assert_eq!(read(&world, world.tenant, younger).await.as_deref(), Some(b"younger".as_slice()));
    world.run_at(at("2027-01-12T14:00:00Z")).await.expect("due");
    assert_eq!(read(&world, world.tenant, younger).await, None);
    assert!(read(&world, other, theirs).await.is_some());
}

#[tokio::test]
async fn copies_go_at_the_owners_word_or_with_the_tenants_own() {
    let world = World::new().await;
    let other = world.databases.tenant("other").await;
    let now = at("2027-01-10T14:35:00Z");
    for tenant in [world.tenant, other] {
        store::keep(&world.pool, tenant, Kept { days: 28, shortened_at: None }).await.expect("kept");
        follow(&world, tenant, LIVES, None, now).await;
    }
    let mine = copy(&world, world.tenant, now, LIVES, b"mine").await;
    let theirs = copy(&world, other, now, LIVES, b"theirs").await;
    assert!(
        matches!(follow(&world, world.tenant, 0, Some(date(2027, 1, 10)), now).await, Step::Wait(_)),
        "it is of today"
    );
    world.run_at(now).await.expect("run");
    assert!(read(&world, world.tenant, mine).await.is_some());
    assert!(matches!(follow(&world, world.tenant, 0, Some(date(2027, 1, 11)), now).await, Step::Erase(_)));
    let out = Wanted { hours: 0, opted_out: true, confirmed_before: None };
    assert_eq!(world.run_at(now).await.expect("run").entries, 1);
    assert_eq!(read(&world, world.tenant, mine).await, None);
    assert!(read(&world, other, theirs).await.is_some());
    assert!(matches!(shorter::follow(&world.pool, other, out, now).await.expect("followed"), Step::Erase(_)));
    assert_eq!(world.run_at(now).await.expect("run").entries, 1);
    assert_eq!(read(&world, other, theirs).await, None);
}

#[tokio::test]
async fn copies_are_bounded_and_can_go_ahead_of_their_time() {
    let world = World::new().await;
    let now = at("2027-01-10T14:35:00Z");
    let id = copy(&world, world.tenant, now, LIVES, &vec![7; LARGEST]).await;
    assert_eq!(read(&world, world.tenant, id).await.map(|content| content.len()), Some(LARGEST));
    let key = world.fresh_keyring().mail_key(world.tenant, now).await.expect("a key");
    let pool = world.pool_of_api();
    let large = mail::put(&pool, &key, now, Kind::List, Direction::ToSms, &vec![7; LARGEST + 1]).await;
    assert!(matches!(large, Err(mail::Error::TooLarge(_))));
    let other = world.databases.tenant("other").await;
    assert!(!mail::remove(&pool, other, id).await.expect("asked"), "another's");
    assert!(mail::remove(&pool, world.tenant, id).await.expect("removed"));
    assert_eq!(mail::list(&pool, world.tenant, None, 9).await.expect("listed"), []);
}

#[tokio::test]
async fn who_logs_again_within_the_hour_gets_a_key_of_another_name() {
    let world = World::new().await;
    let now = at("2027-01-10T14:35:00Z");
    let before = copy(&world, world.tenant, now, LIVES, b"before").await;
    world.keyring.erase_mail(world.tenant).await.expect("erased");
    let after = copy(&world, world.tenant, now, LIVES, b"after").await;
    assert_eq!(read(&world, world.tenant, before).await, None, "it is gone, and no fault");
    assert_eq!(read(&world, world.tenant, after).await.as_deref(), Some(b"after".as_slice()));
}
