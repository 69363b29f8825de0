//! The seeds of the fuzz targets, without a fuzzer: what held once still holds.
use std::fs;
use std::path::Path;

/// The most seeds of a target, and octets of one: git keeps them for ever.
const MOST: usize = 40;
const LONGEST: usize = 4096;

#[track_caller]
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let seeds: Vec<_> = fs::read_dir(folder).expect("seeds").map(|entry| entry.expect("a seed").path()).collect();
    assert!((5..=MOST).contains(&seeds.len()), "{target} has {} seeds", seeds.len());
    for seed in seeds {
        let octets = fs::read(&seed).expect("a file");
        assert!(octets.len() <= LONGEST, "{} is too long for a seed", seed.display());
        // Beside the assertion's own words: which seed it was.
        if let Err(broken) = std::panic::catch_unwind(|| run(&octets)) {
            eprintln!("broken by {}", seed.display());
            std::panic::resume_unwind(broken);
        }
    }
}

#[test]
fn the_seeds_of_frame_hold() {
    replay("frame", super::frame);
}

#[test]
fn the_seeds_of_pdu_hold() {
    replay("pdu", super::pdu);
}

#[test]
fn the_seeds_of_receipt_hold() {
    replay("receipt", super::receipt);
}

#[test]
fn the_seeds_of_inbound_hold() {
    replay("inbound", super::inbound);
}

#[test]
fn the_seeds_of_api_hold() {
    replay("api", super::api);
}
