//! Identities. All are free of personal data and may be logged.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id! {
    /// An account: immutable, given once for installation + namespace + name + registration number.
    TenantId
}
number_id! {
    /// An `SmsRoute`, given once for namespace + name.
    RouteId
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh id that sorts by `at` (UUID version 7, millisecond).
            #[must_use]
            pub fn new(at: Timestamp) -> Self {
                let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
                let timestamp = uuid::Timestamp::from_unix_time(millis / 1000, ((millis % 1000) * 1_000_000) as u32, 0, 0);
                Self(Uuid::new_v7(timestamp))
            }

            /// When it was made, to the millisecond; `None` for an id that is not ours.
            #[must_use]
            pub fn at(self) -> Option<Timestamp> {
                let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
                Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id! {
    /// One message to one recipient. Its time names the day of its log key and partition.
    MessageId
}
uuid_id! {
    /// One accepted call; groups the messages it made.
    BatchId
}

impl MessageId {
    /// The id of a call's `nth` message, all made at `at`: ids of one call sort as its recipients do, and lie within
    /// the batch's millisecond, so that a batch is found without an index of its own. 58 random bits remain.
    #[must_use]
    pub fn nth(at: Timestamp, nth: u16) -> Self {
        let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
        let nanos = ((millis % 1000) * 1_000_000) as u32;
        Self(Uuid::new_v7(uuid::Timestamp::from_unix_time(millis / 1000, nanos, u128::from(nth), u16::BITS as u8)))
    }

    /// The id of something that is told more than once: the same `at` and name give the same id.
    #[must_use]
    pub fn named(at: Timestamp, name: [u8; 10]) -> Self {
        let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &name).into_uuid())
    }

    /// The lower bound of all ids made at `at` or later; no message has it.
    #[must_use]
    pub fn lowest(at: Timestamp) -> Self {
        Self(Uuid::from_u128(u128::try_from(at.as_millisecond()).unwrap_or(0) << 80))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_call_sort_as_its_recipients_and_stay_in_its_millisecond() {
        let at: Timestamp = "2026-02-03T04:05:06.789Z".parse().expect("a timestamp");
        let ids: Vec<_> = [0, 1, 2, 255, 256, 4095, 4096, 65535].map(|nth| MessageId::nth(at, nth)).into();
        assert!(ids.is_sorted());
        for id in &ids {
            assert_eq!(id.at(), Some(at));
            assert!(MessageId::lowest(at) < *id);
            assert!(*id < MessageId::lowest(at + jiff::SignedDuration::from_millis(1)));
        }
        assert_ne!(MessageId::nth(at, 7), MessageId::nth(at, 7));
        let named = MessageId::named(at, [7; 10]);
        assert_eq!((named, named.at()), (MessageId::named(at, [7; 10]), Some(at)));
        assert_ne!(named, MessageId::named(at, [8; 10]));
    }
}
