//! What the attacker takes, and what he finds in it by looking at octets: he starts no server, so what a server would not show
//! any more hides nothing from him.
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use aho_corasick::AhoCorasick;

use super::cipher::Tally;
use super::installation::{Installation, Instance};
use crate::support::postgres::unprivileged;
use crate::support::search::Search;

/// Octets around the name of a key, or a tenant's id, in which the wrapped key is looked for.
const AROUND: usize = 160;
/// Octets behind the id of a row in which what is sealed for it is looked for.
const BEHIND: usize = 1_200;
const PAGE: usize = 8192;
const NOTHING: [u8; PAGE] = [0; PAGE];

/// Where something was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Taken {
    /// The directory of the data instance, of the keyring; and those of their standbys.
    Data,
    DataStandby,
    Keyring,
    Standby,
    /// Retained base backups and log in the repositories.
    DataBase,
    DataLog,
    KeyringBase,
    KeyringLog,
    /// What all processes have said.
    Said,
}

/// What is found in octets.
#[derive(Debug, Default, Clone)]
pub(super) struct Finds {
    /// Names of the words that stand there in plain.
    pub(super) plain: BTreeSet<&'static str>,
    /// What stands around the names of keys, by name.
    pub(super) keys: HashSet<(String, Vec<u8>)>,
    /// What stands around the ids of tenants.
    pub(super) wrapping: HashSet<Vec<u8>>,
    /// What stands behind the ids of rows.
    pub(super) rows: HashSet<([u8; 16], Vec<u8>)>,
    pub(super) octets: usize,
}

impl Finds {
    fn add(&mut self, more: &Self) {
        self.plain.extend(&more.plain);
        self.keys.extend(more.keys.iter().cloned());
        self.wrapping.extend(more.wrapping.iter().cloned());
        self.rows.extend(more.rows.iter().cloned());
        self.octets += more.octets;
    }
}

/// What he looks for.
pub(super) struct Look {
    pub(super) search: Search,
    marks: AhoCorasick,
    rows: Vec<[u8; 16]>,
}

/// Beginnings of the names of keys.
const NAMES: &[&[u8]] = &[b"log/2", b"queue/2", b"inbound/2", b"mail/2"];

impl Look {
    pub(super) fn new(search: Search, tenant: i64, rows: Vec<[u8; 16]>) -> Self {
        let id = tenant.to_le_bytes();
        let marks = AhoCorasick::new(NAMES.iter().copied().chain([&id[..]]).chain(rows.iter().map(|row| &row[..])));
        Self { search, marks: marks.expect("an automaton"), rows }
    }

    fn at(&self, octets: &[u8], finds: &mut Finds) {
        for hit in self.marks.find_overlapping_iter(octets) {
            let around = || octets[hit.start().saturating_sub(AROUND)..octets.len().min(hit.end() + AROUND)].to_vec();
            match hit.pattern().as_usize() {
                pattern if pattern < NAMES.len() => {
                    let part_of_name = |octet: &&u8| octet.is_ascii_alphanumeric() || b"/-:".contains(octet);
                    let name: Vec<u8> =
                        octets[hit.start()..].iter().take(48).take_while(part_of_name).copied().collect();
                    // Two dates: what is encrypted may have the beginning by chance.
                    if name.iter().filter(|octet| **octet == b'-').count() >= 4 {
                        finds.keys.insert((String::from_utf8(name).expect("ASCII"), around()));
                    }
                }
                pattern if pattern == NAMES.len() => {
                    finds.wrapping.insert(around());
                }
                pattern => {
                    let row = self.rows[pattern - NAMES.len() - 1];
                    let behind = octets[hit.end()..octets.len().min(hit.end() + BEHIND)].to_vec();
                    finds.rows.insert((row, behind));
                }
            }
        }
    }

    /// What is in a file. The log's pages begin with a header, which may be in the middle of anything.
    fn file(&self, path: &Path, finds: &mut Finds) {
        let Ok(whole) = std::fs::read(path) else { return };
        finds.octets += whole.len();
        // Most of a segment is empty.
        let octets = whole.chunks(PAGE).filter(|page| *page != &NOTHING[..page.len()]).collect::<Vec<_>>().concat();
        finds.plain.extend(self.search.read(&*octets).expect("memory"));
        self.at(&octets, finds);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.len() >= 24 && name.bytes().take(24).all(|octet| octet.is_ascii_hexdigit()) {
            let long = |page: &[u8]| page.get(2).is_some_and(|flags| flags & 2 == 2);
            let pages =
                octets.chunks(PAGE).map(|page| page.get(if long(page) { 40 } else { 24 }..).unwrap_or_default());
            let stream = pages.collect::<Vec<_>>().concat();
            finds.plain.extend(self.search.read(&*stream).expect("memory"));
            self.at(&stream, finds);
        }
    }

    fn directory(&self, path: &Path) -> Finds {
        let mut finds = Finds::default();
        let mut below = vec![path.to_owned()];
        while let Some(path) = below.pop() {
            if path.is_dir() && !path.is_symlink() {
                // Files come and go while servers run.
                below.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            } else if !path.is_symlink() {
                self.file(&path, &mut finds);
            }
        }
        finds
    }
}

/// What he has read already of what does not change: a base backup by its label, a segment by its name. What is not retained any
/// more he has not.
#[derive(Default)]
pub(super) struct Read(BTreeMap<String, Arc<Finds>>);

/// What he holds at one moment, by where it was taken.
pub(super) type Loot = BTreeMap<Taken, Finds>;

/// Takes everything that is retained now.
pub(super) fn take(installation: &Installation, look: &Look, read: &mut Read, tally: &mut Tally) -> Loot {
    let mut loot = Loot::new();
    for (taken, instance) in [
        (Taken::Data, &installation.data),
        (Taken::Keyring, &installation.keyring),
        (Taken::Standby, &installation.standby),
        (Taken::DataStandby, &installation.data_standby),
    ] {
        let mut finds = look.directory(&instance.home.join("pgdata"));
        finds.add(&look.directory(&instance.home.join("run")));
        loot.insert(taken, finds);
        for log in ["log", "backup.log"] {
            loot.entry(Taken::Said).or_default().add(&look.directory(&instance.home.join(log)));
        }
    }
    let mut retained = BTreeSet::new();
    for (base, log, instance) in [
        (Taken::DataBase, Taken::DataLog, &installation.data),
        (Taken::KeyringBase, Taken::KeyringLog, &installation.keyring),
    ] {
        // As it lies there: encrypted, so that nothing at all may be found.
        let raw = look.directory(&instance.repository());
        assert!(raw.keys.is_empty() && raw.rows.is_empty() && raw.plain.is_empty(), "the repository is encrypted");
        tally.count("octets of repositories as they lie there", raw.octets);
        let repository = Repository { instance, scratch: installation.root.join("attacker") };
        for label in repository.labels() {
            let finds = repository.once(read, &mut retained, &label, |to| repository.restore(&label, to), look);
            tally.count("base backups restored", 1);
            loot.entry(base).or_default().add(&finds);
        }
        for name in repository.segments() {
            let finds = repository.once(read, &mut retained, &name, |to| repository.segment(&name, to), look);
            tally.count("segments of the log read", 1);
            loot.entry(log).or_default().add(&finds);
        }
    }
    read.0.retain(|name, _| retained.contains(name));
    for finds in loot.values() {
        tally.count("octets searched", finds.octets);
    }
    loot
}

/// The attacker's hands on a repository, with its passphrase.
struct Repository<'i> {
    instance: &'i Instance,
    scratch: std::path::PathBuf,
}

impl Repository<'_> {
    fn once(
        &self,
        read: &mut Read,
        retained: &mut BTreeSet<String>,
        name: &str,
        fetch: impl FnOnce(&Path),
        look: &Look,
    ) -> Arc<Finds> {
        let called = format!("{}/{name}", self.instance.name);
        retained.insert(called.clone());
        let finds = read.0.entry(called).or_insert_with(|| {
            let mut made = unprivileged(Path::new("mkdir"));
            assert!(made.args(["-m", "777"]).arg(&self.scratch).status().expect("run mkdir").success());
            fetch(&self.scratch);
            let finds = look.directory(&self.scratch);
            std::fs::remove_dir_all(&self.scratch).expect("remove what was read");
            Arc::new(finds)
        });
        Arc::clone(finds)
    }

    fn pgbackrest(&self) -> Command {
        let mut command = unprivileged(Path::new("pgbackrest"));
        command.arg(format!("--stanza={}", self.instance.stanza()));
        command.arg("--config").arg(self.instance.home.join("run/pgbackrest.conf")).current_dir("/");
        command
    }

    fn run(&self, change: impl FnOnce(&mut Command)) -> Vec<u8> {
        let mut command = self.pgbackrest();
        change(&mut command);
        let output = command.stderr(Stdio::inherit()).output().expect("run pgbackrest");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stdout));
        output.stdout
    }

    /// All files below a directory of the repository.
    fn files(&self, below: &str) -> Vec<String> {
        let listed = self.run(|command| {
            command.args(["repo-ls", "--recurse", "--filter", "^[0-9]", "--output=json"]).arg(below);
        });
        let listed: serde_json::Value = serde_json::from_slice(&listed).expect("JSON");
        listed.as_object().expect("files").keys().cloned().collect()
    }

    /// Those of base backups, cut short ones included.
    fn labels(&self) -> Vec<String> {
        let listed = self.files(&format!("backup/{}", self.instance.stanza()));
        listed.into_iter().filter(|name| name.ends_with('F') && !name.contains('/')).collect()
    }

    fn segments(&self) -> Vec<String> {
        let listed = self.files(&format!("archive/{}", self.instance.stanza()));
        let named = listed.iter().filter_map(|path| path.rsplit('/').next()?.get(..24));
        let names: BTreeSet<&str> = named.filter(|name| name.bytes().all(|octet| octet.is_ascii_hexdigit())).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    fn restore(&self, label: &str, to: &Path) {
        self.run(|command| {
            command.args(["restore", "--set", label, "--pg1-path"]).arg(to);
        });
    }

    fn segment(&self, name: &str, to: &Path) {
        self.run(|command| {
            command.args(["archive-get", name]).arg(to.join(name));
        });
    }
}
