//! What a ciphertext is bound to.
use uuid::Uuid;
use zeroize::Zeroizing;

use super::kek::Owner;
use super::seal::{Field, KeyBytes, LogKey, OVERHEAD, PrivateKey, QueueKey, Refused, RepeatKey};
use super::{Class, Kek, WrapError};
use crate::domain::{RouteId, TenantId};

const ONE: TenantId = TenantId(1);
const OTHER: TenantId = TenantId(2);
const ROW: Uuid = Uuid::from_u128(1);
const OTHER_ROW: Uuid = Uuid::from_u128(2);

fn bytes() -> KeyBytes {
    Zeroizing::new([7; 32])
}

fn queue(tenant: TenantId, name: &str) -> QueueKey {
    QueueKey::new(tenant, name, bytes()).expect("a key")
}

#[test]
fn opens_where_it_was_sealed_and_nowhere_else() {
    let key = queue(ONE, "queue/a");
    let sealed = key.seal(ROW, Field::Body, b"en besked").expect("sealed");
    assert_eq!(sealed.len(), 9 + OVERHEAD);
    assert_eq!(key.open(ROW, Field::Body, &sealed).expect("opened").as_slice(), b"en besked");

    assert_eq!(key.open(OTHER_ROW, Field::Body, &sealed), Err(Refused), "another row");
    assert_eq!(key.open(ROW, Field::Entry, &sealed), Err(Refused), "another field");
    assert_eq!(queue(OTHER, "queue/a").open(ROW, Field::Body, &sealed), Err(Refused), "another tenant, same bytes");
    assert_eq!(queue(ONE, "queue/b").open(ROW, Field::Body, &sealed), Err(Refused), "another name, same bytes");
    let log = LogKey::new(ONE, "queue/a", &bytes()).expect("a key");
    assert_eq!(log.open(ROW, Field::Body, &sealed), Err(Refused), "another class, same bytes");
}

#[test]
fn a_changed_or_short_ciphertext_is_refused() {
    let key = queue(ONE, "queue/a");
    let sealed = key.seal(ROW, Field::Body, b"en besked").expect("sealed");
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(key.open(ROW, Field::Body, &changed), Err(Refused), "byte {at}");
        assert_eq!(key.open(ROW, Field::Body, &sealed[..at]), Err(Refused), "cut at {at}");
    }
}

#[test]
fn sealing_twice_gives_different_bytes() {
    let key = queue(ONE, "queue/a");
    let seal = || key.seal(ROW, Field::Body, b"en besked").expect("sealed");
    assert_ne!(seal(), seal());
}

#[test]
fn a_public_key_seals_and_its_private_half_alone_opens() {
    let pair = PrivateKey::new(ONE, "inbound/a", &bytes()).expect("a pair");
    let sealed = pair.public().seal(ROW, Field::Inbound, b"et svar").expect("sealed");
    assert_eq!(pair.open(ROW, Field::Inbound, &sealed).expect("opened").as_slice(), b"et svar");

    assert_eq!(pair.open(OTHER_ROW, Field::Inbound, &sealed), Err(Refused), "another row");
    assert_eq!(pair.open(ROW, Field::Body, &sealed), Err(Refused), "another field");
    let other_tenant = PrivateKey::new(OTHER, "inbound/a", &bytes()).expect("a pair");
    assert_eq!(other_tenant.open(ROW, Field::Inbound, &sealed), Err(Refused), "another tenant");
    let other_pair = PrivateKey::new(ONE, "inbound/a", &Zeroizing::new([8; 32])).expect("a pair");
    assert_eq!(other_pair.open(ROW, Field::Inbound, &sealed), Err(Refused), "another pair");
}

#[test]
fn a_sender_gets_the_same_key_through_its_secret() {
    let key = queue(ONE, "queue/a");
    let imported = QueueKey::import(ONE, "queue/a", &key.export()).expect("imported");
    let sealed = key.seal(ROW, Field::Body, b"en besked").expect("sealed");
    assert_eq!(imported.open(ROW, Field::Body, &sealed).expect("opened").as_slice(), b"en besked");
}

#[test]
fn digests_differ_by_purpose_and_tenant() {
    let repeat = |tenant| RepeatKey::new(tenant, "repeat", &bytes()).expect("a key");
    let key = repeat(ONE);
    assert_eq!(key.digest("key", b"x"), repeat(ONE).digest("key", b"x"));
    assert_ne!(key.digest("key", b"x"), key.digest("body", b"x"));
    assert_ne!(key.digest("key", b"x"), repeat(OTHER).digest("key", b"x"));
}

#[tokio::test]
async fn a_wrapping_key_belongs_to_its_tenant() {
    let kek = Kek::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a key");
    let wrapped = kek.wrap(Owner::Tenant(ONE), &bytes()).await.expect("wrapped");
    assert_eq!(kek.unwrap(Owner::Tenant(ONE), &wrapped).await.expect("unwrapped"), bytes());
    for other in [Owner::Tenant(OTHER), Owner::Route(RouteId(1))] {
        assert!(matches!(kek.unwrap(other, &wrapped).await, Err(WrapError::Refused(_))), "{other:?}");
    }
    assert!(Kek::parse("AAAA").is_err());
}

#[test]
fn keys_show_nothing() {
    let key = queue(ONE, "queue/a");
    let pair = PrivateKey::new(ONE, "inbound/a", &bytes()).expect("a pair");
    let kek = Kek::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a key");
    assert_eq!(format!("{key:?} {pair:?} {kek:?} {:?}", Class::Log), "[key] [key] Kek([key]) Log");
}
