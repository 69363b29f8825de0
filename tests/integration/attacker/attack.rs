//! What the attacker makes of what he holds: every key that he finds, with every ciphertext.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::civil::Date;

use super::cipher::{self, Key, Place, Tally};
use super::loot::{Loot, Taken};

/// A message of which he knows everything but what it says.
#[derive(Debug, Clone)]
pub(super) struct Canary {
    pub(super) class: &'static str,
    pub(super) day: Date,
    /// With what the name of its key ends: its day, or its hour.
    pub(super) ends: String,
    pub(super) row: [u8; 16],
    pub(super) field: u8,
    /// What he shows to have read it.
    pub(super) word: String,
}

impl Canary {
    fn is_under(&self, name: &str) -> bool {
        name.starts_with(self.class) && name.ends_with(&self.ends)
    }
}

/// Class and day of what was read, by where its key was taken and where its ciphertext.
pub(super) type Opened = BTreeMap<(&'static str, Date), BTreeSet<(Taken, Taken)>>;

/// Opens all that can be opened, with today's key-encryption key.
pub(super) fn open(loot: &Loot, kek: &str, tenant: i64, canaries: &[Canary], tally: &mut Tally) -> Opened {
    let kek: Key = BASE64_STANDARD.decode(kek).expect("base64").try_into().expect("32 octets");
    let wrapping: HashSet<Key> = loot
        .values()
        .flat_map(|finds| &finds.wrapping)
        .flat_map(|octets| cipher::unwrap(&kek, &Place::of_key(tenant, "wrapping", ""), octets))
        .collect();
    // The same octets are found in many places.
    let mut tried: HashMap<&(String, Vec<u8>), HashSet<Key>> = HashMap::new();
    let mut keys: BTreeMap<&str, BTreeMap<Key, BTreeSet<Taken>>> = BTreeMap::new();
    let sealed_under = |name: &str| canaries.iter().any(|canary| canary.is_under(name));
    for (taken, finds) in loot {
        for candidate in finds.keys.iter().filter(|(name, _)| sealed_under(name)) {
            let (name, octets) = candidate;
            let found = tried.entry(candidate).or_insert_with(|| {
                let class = name.split('/').next().unwrap_or_default();
                let place = Place::of_key(tenant, class, name);
                wrapping.iter().flat_map(|wrapping| cipher::unwrap(wrapping, &place, octets)).collect()
            });
            for key in found.iter() {
                keys.entry(name.as_str()).or_default().entry(*key).or_default().insert(*taken);
            }
        }
    }
    tally.count("places tried as keys", tried.keys().map(|(_, octets)| octets.len()).sum::<usize>() * wrapping.len());
    tally.count("keys found", keys.values().map(BTreeMap::len).sum());

    let mut opened = Opened::new();
    for canary in canaries {
        let of_its_time = keys.iter().filter(|(name, _)| canary.is_under(name));
        for (name, (key, key_taken)) in of_its_time.flat_map(|(name, keys)| keys.iter().map(move |key| (name, key))) {
            let place = Place {
                tenant,
                class: canary.class.to_owned(),
                name: (*name).to_owned(),
                row: canary.row,
                field: canary.field,
            };
            let mut tried: HashMap<&[u8], bool> = HashMap::new();
            for (taken, finds) in loot {
                for (row, octets) in &finds.rows {
                    if *row != canary.row {
                        continue;
                    }
                    let reads = || {
                        let plain = cipher::read(key, &place, octets)?;
                        String::from_utf8_lossy(&plain).contains(&canary.word).then_some(())
                    };
                    if *tried.entry(octets.as_slice()).or_insert_with(|| reads().is_some()) {
                        let pairs = key_taken.iter().map(|key_taken| (*key_taken, *taken));
                        opened.entry((canary.class, canary.day)).or_default().extend(pairs);
                    }
                }
            }
            tally.count("ciphertexts tried with keys", tried.len());
        }
    }
    opened
}

/// From where the key was taken of what was opened of this class and day.
pub(super) fn keys_from(opened: &Opened, class: &'static str, day: Date) -> BTreeSet<Taken> {
    opened.get(&(class, day)).into_iter().flatten().map(|(key, _)| *key).collect()
}
