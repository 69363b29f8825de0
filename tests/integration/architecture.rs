//! The arrows between the rooms point down only, and the pure rooms stay pure.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms below it that it may use. `simulator` stands beside the roles; `fuzzing` tries some of them.
const ROOMS: &[(&str, &[&str])] = &[
    ("fuzzing", &["api", "connector", "smpp"]),
    (
        "cli",
        &["api", "connector", "operator", "retention", "sender", "simulator", "store", "telemetry", "worker", "crd"],
    ),
    ("api", &["config", "keyring", "pki", "store", "telemetry", "web", "domain"]),
    ("connector", &["config", "keyring", "pki", "smpp", "store", "telemetry", "web", "domain"]),
    ("operator", &["config", "keyring", "pki", "retention", "store", "telemetry", "crd", "domain"]),
    ("sender", &["config", "keyring", "pki", "smpp", "store", "telemetry", "domain"]),
    ("simulator", &["smpp", "telemetry", "web", "domain"]),
    ("worker", &["keyring", "pki", "store", "telemetry", "domain"]),
    ("retention", &["keyring", "store", "domain"]),
    ("config", &["pki", "keyring", "domain"]),
    ("keyring", &["pki", "store", "domain"]),
    ("pki", &["domain"]),
    ("smpp", &["domain"]),
    ("store", &["keyring", "domain"]),
    ("telemetry", &["domain"]),
    ("web", &[]),
    ("crd", &["domain"]),
    ("domain", &[]),
];

/// Crates that the pure rooms must not name.
const IMPURE: &[&str] = &["tokio", "sqlx", "axum", "rusmpp", "hyper"];

#[test]
fn rooms_use_only_the_rooms_below_them() {
    let mut wrong = Vec::new();
    for (room, below) in ROOMS {
        for (file, text) in files_of(room) {
            let used = names_after(&text, "crate::");
            let allowed: BTreeSet<&str> = below.iter().copied().chain([*room]).collect();
            for name in used.iter().filter(|name| ROOMS.iter().any(|(room, _)| room == name)) {
                if !allowed.contains(name.as_str()) {
                    wrong.push(format!("{} uses {name}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point up or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn every_room_is_on_the_list() {
    let map = fs::read_to_string(source("lib.rs")).expect("src/lib.rs");
    let declared: BTreeSet<String> = names_after(&map, "pub mod ");
    let listed: BTreeSet<String> = ROOMS.iter().map(|(room, _)| (*room).to_owned()).collect();
    assert_eq!(declared, listed);
}

#[test]
fn domain_and_crd_stay_pure() {
    let mut wrong = Vec::new();
    for room in ["domain", "crd"] {
        for (file, text) in files_of(room) {
            for name in IMPURE.iter().filter(|name| text.contains(&format!("{name}::"))) {
                wrong.push(format!("{} names {name}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "pure rooms that are not:\n{}", wrong.join("\n"));
}

/// What opens a connection to elsewhere, and the files that may: databases, upstreams, the Kubernetes API, a transit engine where
/// keys are wrapped by one, and tenants' webhooks. Nobody else is asked for anything, and nothing is told to anybody else (D11).
const OUTWARD: &[(&str, &[&str])] = &[
    ("PgPoolOptions::new", &["store.rs"]),
    ("TcpStream::connect", &["smpp/client.rs", "worker/post.rs"]),
    ("Client::try_default", &["operator.rs", "operator/bootstrap.rs"]),
    ("Client::try_from", &[]),
    ("UdpSocket", &[]),
    ("UnixStream", &[]),
    ("reqwest::", &[]),
    ("hyper::client", &["connector/https/wire.rs", "worker/post.rs"]),
    ("lookup_host", &["worker/post.rs"]),
    ("client::legacy", &["keyring/kek/transit/ask.rs", "simulator/rest/callback.rs"]),
];

#[test]
fn connections_to_elsewhere_are_opened_in_named_places_only() {
    let mut wrong = Vec::new();
    for (file, text) in ROOMS.iter().flat_map(|(room, _)| files_of(room)) {
        let name = file.strip_prefix(source("")).expect("below src").to_string_lossy().into_owned();
        if name.ends_with("tests.rs") {
            continue;
        }
        for (how, places) in OUTWARD {
            if text.contains(how) && !places.contains(&name.as_str()) {
                wrong.push(format!("{name}: {how}"));
            }
        }
    }
    assert!(wrong.is_empty(), "connections that nobody knows of (D11):\n{}", wrong.join("\n"));
    for (how, places) in OUTWARD {
        for place in *places {
            let text = fs::read_to_string(source(place)).expect("a file");
            assert!(text.contains(how), "{place} opens no connection by {how} any more: take it off the list");
        }
    }
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(path)
}

/// The files of a room, `room.rs` and everything below `room/`, with comments cut away.
fn files_of(room: &str) -> Vec<(PathBuf, String)> {
    let mut paths = vec![source(&format!("{room}.rs"))];
    let mut folders = vec![source(room)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                paths.push(path);
            }
        }
    }
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            (path, code)
        })
        .collect()
}

fn names_after(text: &str, marker: &str) -> BTreeSet<String> {
    text.match_indices(marker)
        .map(|(at, _)| {
            text[at + marker.len()..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
        })
        .collect()
}
