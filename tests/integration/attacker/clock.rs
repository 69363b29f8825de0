//! One time for all of an installation: the product takes it as its `Clock`, and the servers, pgBackRest and the shipped scripts
//! by libfaketime, from a file. It runs as the machine's clock does, and is set forward.
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use budstikke::domain::Clock;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use crate::support::faketime::Faketime;

#[derive(Debug)]
pub(super) struct Moved {
    ahead: AtomicI64,
    file: PathBuf,
    faketime: Faketime,
    /// Their files are as old as it seems: what a server or a script writes now is of now, and stays so.
    aged: Vec<PathBuf>,
}

impl Moved {
    /// Begins at this time.
    pub(super) fn begin(directory: &Path, aged: Vec<PathBuf>, at: Timestamp) -> Self {
        let file = directory.join("ahead");
        std::fs::write(&file, "+0\n").expect("write the offset");
        let faketime = Faketime::of(&file);
        let clock = Self { ahead: AtomicI64::new(0), file, faketime, aged };
        clock.set(at);
        clock
    }

    /// Goes on at this time.
    pub(super) fn set(&self, at: Timestamp) {
        let ahead = at.duration_since(Timestamp::now()).as_secs();
        let passes = ahead - self.ahead.load(Ordering::Relaxed);
        // A second is lost when it is set to a time of day that it shows.
        assert!(passes >= -1, "time goes forward");
        let aside = self.file.with_extension("new");
        std::fs::write(&aside, format!("+{ahead}\n")).expect("write the offset");
        std::fs::rename(aside, &self.file).expect("move the offset");
        self.ahead.store(ahead, Ordering::Relaxed);
        let passes = std::time::Duration::from_secs(passes.try_into().unwrap_or(0));
        self.aged.iter().for_each(|directory| age(directory, passes));
    }

    /// Goes on so much later.
    pub(super) fn pass(&self, time: SignedDuration) {
        self.set(self.now() + time);
    }

    /// What has a program and all that it starts live in this time.
    pub(super) fn variables(&self) -> &[String] {
        self.faketime.variables()
    }
}

/// The library shows files to be so much younger than they are as the clock is ahead.
fn age(path: &Path, by: std::time::Duration) {
    if path.is_symlink() {
        // What it leads to has its own turn.
    } else if path.is_dir() {
        std::fs::read_dir(path).into_iter().flatten().flatten().for_each(|entry| age(&entry.path(), by));
    } else if let Ok(file) = std::fs::File::open(path) {
        let written = file.metadata().and_then(|data| data.modified()).expect("when it was written");
        file.set_modified(written - by).expect("date it back");
    }
}

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_secs(self.ahead.load(Ordering::Relaxed))
    }
}

/// A time of day in Copenhagen.
pub(super) fn at(day: Date, hour: i8, minute: i8) -> Timestamp {
    day.at(hour, minute, 0, 0).in_tz("Europe/Copenhagen").expect("a time of day").timestamp()
}
