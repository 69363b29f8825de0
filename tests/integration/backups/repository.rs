//! What is in a scene's repository and on its volumes, as somebody sees it who has the files alone.
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::scene::Scene;

impl Scene {
    pub(super) fn repository_holds(&self, text: &str) -> bool {
        assert!(!self.data_files().is_empty(), "there is something to look through");
        self.holds("repository", text)
    }

    pub(super) fn volume_holds(&self, text: &str) -> bool {
        self.holds("primary/pgdata/base", text)
    }

    /// Files of the repository that hold data: all of a base backup, and segments of the log.
    pub(super) fn data_files(&self) -> Vec<PathBuf> {
        let holds_data = |file: &PathBuf| {
            let text = file.to_string_lossy();
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            (text.contains("F/") && !text.contains("backup.history"))
                || (text.contains("/archive/") && name.split('-').next().is_some_and(|first| first.len() == 24))
        };
        files(&self.path("repository")).into_iter().filter(holds_data).collect()
    }

    /// Base backups in the repository, oldest first, by their names.
    pub(super) fn base_backups(&self) -> Vec<String> {
        let names = self.data_files().into_iter().flat_map(|file| {
            file.iter()
                .map(|part| part.to_string_lossy().into_owned())
                .filter(|part| part.ends_with('F'))
                .collect::<Vec<_>>()
        });
        let mut names: Vec<String> = names.filter(|name| name.len() == "20260131-120000F".len()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Notes the first base backup that is seen; true once another one is the oldest.
    pub(super) fn oldest_is_not_the_first(&self) -> bool {
        let note = self.path("first");
        match (self.base_backups().first(), fs::read_to_string(&note)) {
            (Some(first), Ok(noted)) => *first != noted,
            (Some(first), Err(_)) => {
                fs::write(note, first).expect("note it");
                false
            }
            (None, _) => false,
        }
    }

    /// The age of the oldest data in the repository.
    pub(super) fn oldest(&self) -> Duration {
        let age = |file: &PathBuf| SystemTime::now().duration_since(fs::metadata(file).ok()?.modified().ok()?).ok();
        self.data_files().iter().filter_map(age).max().unwrap_or_default()
    }

    /// Whether what the repository says of itself can be read.
    pub(super) fn set_readable(&self, is: bool) {
        for file in ["backup.info", "backup.info.copy"] {
            self.set_mode(&format!("repository/backup/keyring/{file}"), if is { "u+r" } else { "a-r" });
        }
    }

    /// All in the repository was written so long ago.
    pub(super) fn age_the_repository(&self, by: Duration) {
        let then = SystemTime::now() - by;
        for file in files(&self.path("repository")) {
            fs::File::open(file).and_then(|file| file.set_modified(then)).expect("date it back");
        }
    }

    /// The newest segment of the log in the repository, from the scene's directory.
    pub(super) fn newest_segment(&self) -> String {
        let segments = files(&self.path("repository/archive")).into_iter();
        let newest = segments.filter(|file| file.extension().is_some_and(|ending| ending == "zst")).max();
        let newest = newest.expect("a segment");
        newest.strip_prefix(self.path("")).expect("below it").display().to_string()
    }

    /// Files below a folder that anybody can read, at least to see what they are.
    pub(super) fn in_plain(&self, folder: &str) -> Vec<PathBuf> {
        let found = files(&self.path(folder)).into_iter();
        found.filter(|file| fs::read(file).is_ok_and(|octets| !octets.is_empty() && is_plain(&octets))).collect()
    }

    /// Files of the repository that do not begin as what pgBackRest has encrypted.
    pub(super) fn not_encrypted(&self) -> Vec<PathBuf> {
        let found = files(&self.path("repository")).into_iter();
        found.filter(|file| !fs::read(file).is_ok_and(|octets| octets.starts_with(b"Salted__"))).collect()
    }

    fn holds(&self, place: &str, text: &str) -> bool {
        files(&self.path(place)).iter().any(|file| {
            fs::read(file).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
        })
    }
}

/// What is compressed and no more, a page of a table, and one of the log.
fn is_plain(octets: &[u8]) -> bool {
    let zstd = [0x28, 0xB5, 0x2F, 0xFD];
    let begins: [&[u8]; 6] = [&zstd, &[0x1F, 0x8B], &[0x04, 0x22, 0x4D, 0x18], b"BZh", &[0x10, 0xD1], b"[back"];
    // Its size and version, and where its rows are.
    let number = |at: usize| octets.get(at..at + 2).map_or(0, |two| u16::from_le_bytes([two[0], two[1]]));
    let page = number(18) == 0x2004 && number(12) <= number(14) && number(14) <= number(16) && number(16) <= 8192;
    page || begins.iter().any(|begin| octets.starts_with(begin))
}

pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.append(&mut files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}
