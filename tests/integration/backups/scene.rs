//! A keyring instance of one's own with a repository and perhaps a standby, run by the chart's scripts as processes on loopback.
use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use budstikke::domain::{Clock as _, Secret, SystemClock};
use budstikke::pki::{Authority, Leaf};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/budstikke/files");
const MIGRATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/keyring/migrations");
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Scene {
    directory: PathBuf,
    port: u16,
    standby_port: u16,
    /// What the scripts are told besides: where the repository is, if it is not on the volume.
    pub(super) told: Vec<(&'static str, String)>,
}

/// A script and what it runs; ended when it is dropped.
pub(super) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // As a pod is ended: the server's fast shutdown, then the signal that every container gets. A shell that waits for a
        // command it has started may take the first for that command's.
        let end = Instant::now() + Duration::from_secs(20);
        for signal in ["-INT", "-TERM"] {
            let _ = Command::new("kill").args([signal, &self.0.id().to_string()]).stderr(Stdio::null()).status();
            let patience = if signal == "-INT" { Instant::now() + Duration::from_secs(2) } else { end };
            while Instant::now() < patience && matches!(self.0.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// As nobody, where the tests run as root: PostgreSQL refuses that. Ends with the test process, however that ends.
pub(super) fn unprivileged(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command.arg("--pdeathsig=INT").arg(program).current_dir("/");
    command
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Scene {
    pub(super) fn set() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short: a socket's path has 107 bytes at most.
        let directory = std::env::temp_dir().join(format!("bsk-backups-{}-{number}", std::process::id()));
        let scene = Self { directory, port: free_port(), standby_port: free_port(), told: Vec::new() };
        let now = SystemClock.now();
        let root = Authority::generate(now).expect("an authority");
        let authority = Authority::load(&root.certificate, &root.key).expect("loads");
        let server = authority.issue(&Leaf::Server(vec!["localhost".to_owned()]), now, 30).expect("a certificate");
        let secret = |secret: &Secret| secret.expose().to_owned();
        for (path, content) in [
            ("tls/ca.crt", authority.certificate().to_owned()),
            ("tls/tls.crt", server.certificate.clone()),
            ("tls/tls.key", secret(&server.key)),
            ("secrets/postgres-password", "a".to_owned()),
            ("secrets/owner-password", "b".to_owned()),
            ("secrets/standby-password", "c".to_owned()),
            ("secrets/backup-passphrase", "a-passphrase-that-no-repository-holds".to_owned()),
        ] {
            let path = scene.path(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("make it");
            fs::write(path, content).expect("write it");
        }
        for folder in ["repository", "primary", "standby"] {
            fs::create_dir_all(scene.path(folder)).expect("make it");
        }
        let modes = "chmod -R u=rwX,go= \"$1\"; if [ \"$(id -u)\" = 0 ]; then chown -R 65534:65534 \"$1\"; fi";
        let status = Command::new("sh").args(["-c", modes, "sh"]).arg(&scene.directory).status();
        assert!(status.expect("sh").success());
        scene
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file, or makes a folder where there is no content, as whoever runs the scripts.
    pub(super) fn put(&self, name: &str, content: Option<&str>) {
        let path = self.path(name);
        match content {
            Some(content) => fs::write(&path, content).expect("write it"),
            None => fs::create_dir(&path).expect("make it"),
        }
        if is_root() {
            std::os::unix::fs::chown(path, Some(65534), Some(65534)).expect("give it to nobody");
        }
    }

    fn script(&self, script: &str, place: &str, port: u16, told: &[&str]) -> Command {
        let mut command = unprivileged("bash");
        let path = |name: &str| self.path(name).into_os_string();
        command.arg(format!("{SCRIPTS}/{script}"));
        command
            .env("INSTANCE", "keyring")
            .env("PGDATA", path(&format!("{place}/pgdata")))
            .env("RUN", path(&format!("{place}/run")))
            .env("SOCKETS", path(&format!("{place}/run")))
            .env("SECRETS", path("secrets"))
            .env("TLS", path("tls"))
            .env("LISTEN", "localhost")
            .env("PORT", port.to_string())
            .env("REPOSITORY", "volume")
            .env("REPOSITORY_PATH", path("repository"))
            .envs(self.told.iter().map(|(name, value)| (*name, value)))
            .envs(told.iter().filter_map(|told| told.split_once('=')));
        if script != "backup.sh" {
            command.args(["-c", "fsync=off", "-c", "wal_recycle=off", "-c", "archive_timeout=1min"]);
        }
        command
    }

    pub(super) fn start(&self, mut command: Command, log: &str) -> Process {
        let log = fs::File::options().create(true).append(true).open(self.path(log)).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        Process(command.spawn().expect("start it"))
    }

    pub(super) fn primary(&self, told: &[&str]) -> Process {
        self.start(self.script("postgres.sh", "primary", self.port, told), "log")
    }

    pub(super) fn backups(&self, every: &str, keep: &str) -> Process {
        let told = [format!("EVERY={every}"), format!("KEEP={keep}"), "TICK=1".to_owned()];
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        self.start(self.script("backup.sh", "primary", self.port, &told), "backup-log")
    }

    pub(super) fn standby(&self, told: &[&str]) -> Process {
        let mut command = self.script("standby.sh", "standby", self.standby_port, told);
        command.env("PRIMARY", "localhost").env("PRIMARY_PORT", self.port.to_string());
        self.start(command, "standby-log")
    }

    /// What a primary says that does not start.
    pub(super) fn refused(&self, told: &[&str]) -> String {
        let output =
            self.script("postgres.sh", "primary", self.port, told).stdin(Stdio::null()).output().expect("bash");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "it started: {said}");
        said
    }

    fn ask(&self, place: &str, port: u16, statement: &str, seconds: &str) -> Output {
        let mut command = unprivileged("timeout");
        command.args([
            seconds,
            "psql",
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            "budstikke",
        ]);
        command.arg("-h").arg(self.path(&format!("{place}/run"))).args(["-p", &port.to_string(), "-c", statement]);
        command.env("HOME", self.path(place)).output().expect("psql")
    }

    fn answer(output: &Output) -> String {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub(super) fn sql(&self, statement: &str) -> String {
        Self::answer(&self.ask("primary", self.port, statement, "60"))
    }

    pub(super) fn sql_of_standby(&self, statement: &str) -> String {
        Self::answer(&self.ask("standby", self.standby_port, statement, "60"))
    }

    pub(super) fn told(&self) -> String {
        self.sql("select string_agg(what, ',' order by ctid) from told")
    }

    /// Whether a statement is not answered within two seconds.
    pub(super) fn blocks(&self, statement: &str) -> bool {
        self.ask("primary", self.port, statement, "2").status.code() == Some(124)
    }

    pub(super) fn wait_until(&self, what: &str, patience: Duration, holds: impl Fn() -> bool) {
        let end = Instant::now() + patience;
        while !holds() {
            let logs =
                ["log", "backup-log", "standby-log"].map(|log| fs::read_to_string(self.path(log)).unwrap_or_default());
            assert!(Instant::now() < end, "not in time: {what}\n{}", logs.join("\n---\n"));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Until a question to the primary has this answer.
    pub(super) fn until(&self, what: &str, statement: &str, answer: &str) {
        self.wait_until(what, PATIENCE, || {
            let output = self.ask("primary", self.port, statement, "10");
            output.status.success() && String::from_utf8_lossy(&output.stdout).trim() == answer
        });
    }

    pub(super) fn until_ready(&self) {
        self.until("the primary answers", "select not pg_is_in_recovery()", "t");
    }

    pub(super) fn until_promoted(&self) {
        self.wait_until("the standby is the primary", PATIENCE, || {
            let output = self.ask("standby", self.standby_port, "select not pg_is_in_recovery()", "10");
            String::from_utf8_lossy(&output.stdout).trim() == "t"
        });
    }

    /// The keyring's schema, as its owner has it.
    pub(super) fn migrate(&self) {
        let mut all = "set role budstikke_owner; create schema keyring; set search_path = keyring;\n".to_owned();
        for migration in ["0001_keys.sql", "0002_backups.sql"] {
            all.push_str(&fs::read_to_string(Path::new(MIGRATIONS).join(migration)).expect("a migration"));
        }
        self.sql(&all);
    }

    pub(super) fn lose_the_volume(&self) {
        fs::remove_dir_all(self.path("primary")).expect("lose it");
        self.put("primary", None);
    }

    fn holds(&self, place: &str, text: &str) -> bool {
        files(&self.path(place)).iter().any(|file| {
            fs::read(file).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
        })
    }

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
    fn base_backups(&self) -> Vec<String> {
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
