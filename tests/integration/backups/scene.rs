//! A keyring instance of one's own with a repository and perhaps a standby, run by the chart's scripts as processes on loopback.
use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use budstikke::domain::{Clock as _, Secret, SystemClock};
use budstikke::pki::{Authority, Leaf};

use super::repository::files;

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
        // What is told takes effect as the other user: libfaketime's semaphore is that one's.
        let mut command = unprivileged("env");
        let path = |name: &str| self.path(name).into_os_string();
        command.args(told).args(["bash", &format!("{SCRIPTS}/{script}")]);
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
            .envs(self.told.iter().map(|(name, value)| (*name, value)));
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
        self.backups_told(every, keep, &[])
    }

    pub(super) fn backups_told(&self, every: &str, keep: &str, told: &[&str]) -> Process {
        let (every, keep) = (format!("EVERY={every}"), format!("KEEP={keep}"));
        let told = [&[&*every, &*keep, "TICK=1"], told].concat();
        self.start(self.script("backup.sh", "primary", self.port, &told), "backup-log")
    }

    pub(super) fn standby(&self, told: &[&str]) -> Process {
        let mut command = self.script("standby.sh", "standby", self.standby_port, told);
        command.env("PRIMARY", "localhost").env("PRIMARY_PORT", self.port.to_string());
        self.start(command, "standby-log")
    }

    /// What a primary says that does not start.
    pub(super) fn refused(&self, told: &[&str]) -> String {
        let script = self.script("postgres.sh", "primary", self.port, told);
        let mut command = Command::new("timeout");
        command.arg("60").arg(script.get_program()).args(script.get_args()).current_dir("/").stdin(Stdio::null());
        command.envs(script.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.output().expect("bash");
        assert_ne!(output.status.code(), Some(124), "it started");
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

    /// Something is in the log, and its segment is closed.
    pub(super) fn write(&self) {
        self.sql("select pg_logical_emit_message(true, 'test', '')");
        self.sql("select pg_switch_wal()");
    }

    pub(super) fn set_secret(&self, name: &str, content: &str) {
        fs::write(self.path("secrets").join(name), content).expect("write it");
    }

    /// Sets the mode of a file or folder, and of all in it.
    pub(super) fn set_mode(&self, path: &str, mode: &str) {
        let status = Command::new("chmod").args(["-R", mode]).arg(self.path(path)).status();
        assert!(status.expect("chmod").success());
    }

    /// Files whose path in the scene's directory begins so, and that others may read; there is at least one file.
    pub(super) fn open_to_others(&self, begin: &str) -> Vec<String> {
        let begin = self.path(begin).display().to_string();
        let mut found = files(&self.directory).into_iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        found.retain(|path| path.starts_with(&begin));
        assert!(!found.is_empty(), "no {begin}");
        let mode = |path: &String| fs::metadata(path).map(|data| std::os::unix::fs::MetadataExt::mode(&data));
        found.retain(|path| mode(path).is_ok_and(|mode| mode & 0o077 != 0));
        found
    }

    pub(super) fn log_of_backups(&self) -> String {
        fs::read_to_string(self.path("backup-log")).unwrap_or_default()
    }

    pub(super) fn log_of_standby(&self) -> String {
        fs::read_to_string(self.path("standby-log")).unwrap_or_default()
    }

    /// A folder with a program in it that stands in for another.
    pub(super) fn stand_in(&self, program: &str, script: &str) -> String {
        let folder = self.path("programs");
        fs::create_dir_all(&folder).expect("make it");
        fs::write(folder.join(program), format!("#!/bin/sh\n{script}\n")).expect("write it");
        for path in [folder.join(program), folder.clone()] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(path, mode).expect("open it");
        }
        folder.display().to_string()
    }

    pub(super) fn lose_the_volume(&self) {
        fs::remove_dir_all(self.path("primary")).expect("lose it");
        self.put("primary", None);
    }
}
