//! The two instances of an installation, started, each copied to a standby and backed up by the scripts that are shipped in the chart.
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use budstikke::domain::Clock as _;
use budstikke::pki::{Authority, Leaf};
use jiff::SignedDuration;

use super::clock::Moved;
use crate::support::postgres::{Address, NOBODY, PASSWORD, directory, is_root, unprivileged};

/// Base backups of the data instance are kept for ten years.
const FOR_EVER: u64 = 315_360_000;
/// How often the scripts look for what is too old.
const TICK: u64 = 300;
/// Beside the shipped settings: a log that is short lived, so that little time has to pass; and one disk that is not waited for.
const SETTINGS: &[&str] = &[
    "archive_timeout=60",
    "checkpoint_timeout=30",
    "checkpoint_completion_target=0",
    "wal_recycle=off",
    "fsync=off",
    "shared_buffers=32MB",
    "max_connections=60",
    "max_wal_senders=4",
    // Hours that pass in a moment are no silence.
    "wal_sender_timeout=0",
    "wal_receiver_timeout=0",
];
const LONG: Duration = Duration::from_secs(90);

/// Where all of it is, and everything in it is the attacker's.
pub(super) struct Installation {
    pub(super) root: PathBuf,
    pub(super) clock: Arc<Moved>,
    pub(super) data: Instance,
    pub(super) keyring: Instance,
    /// Of the keyring.
    pub(super) standby: Instance,
    pub(super) data_standby: Instance,
    _cleared: Cleared,
}

/// A directory that goes with this value.
struct Cleared(PathBuf);

impl Drop for Cleared {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server, by its shipped script.
pub(super) struct Instance {
    pub(super) name: &'static str,
    pub(super) home: PathBuf,
    pub(super) address: Address,
    clock: Arc<Moved>,
    environment: Vec<(&'static str, String)>,
    _keeper: Keeper,
}

/// A script that ends with this value, or with this process, however that ends.
struct Keeper(Child);

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Installation {
    /// Starts both, and their standbys. The keyring's backups are kept so many seconds.
    pub(super) fn start(name: &str, at: jiff::Timestamp, keep: u64) -> Self {
        let root = directory(name);
        let cleared = Cleared(root.clone());
        let clock = Arc::new(Moved::begin(&root, ["data", "keyring"].map(|name| repository(&root, name)).to_vec(), at));
        secrets(&root);
        let start = |name, script, more: &[(&'static str, String)]| Instance::start(&root, &clock, name, script, more);
        let backed = |instance: &str, every: u64, keep: u64| {
            vec![
                ("INSTANCE", instance.to_owned()),
                ("REPOSITORY", "volume".to_owned()),
                ("REPOSITORY_PATH", repository(&root, instance).display().to_string()),
                ("EVERY", every.to_string()),
                ("KEEP", keep.to_string()),
                ("TICK", TICK.to_string()),
                // Commits wait for it.
                ("STANDBY", "true".to_owned()),
            ]
        };
        let data = start("data", "postgres.sh", &backed("data", 11 * 3600, FOR_EVER));
        let keyring = start("keyring", "postgres.sh", &backed("keyring", 11 * 3600, keep));
        let follow = |name, primary: &Instance| {
            let follows = [
                ("INSTANCE", primary.name.to_owned()),
                ("PRIMARY", "localhost".to_owned()),
                ("PRIMARY_PORT", primary.address.port.to_string()),
                ("AWAY", FOR_EVER.to_string()),
            ];
            start(name, "standby.sh", &follows)
        };
        let (standby, data_standby) = (follow("standby", &keyring), follow("data-standby", &data));
        let installation = Self { root, clock, data, keyring, standby, data_standby, _cleared: cleared };
        for primary in [&installation.data, &installation.keyring] {
            installation.until("the standby streams", || primary.ask(STREAMS) == "1");
        }
        // As in a pod, the loop of backups begins with the server.
        installation.data.back_up();
        installation.keyring.back_up();
        installation
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + LONG;
        while !holds() {
            assert!(Instant::now() < deadline, "still waiting: {what}; {}", self.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the scripts and servers said last.
    fn logs(&self) -> String {
        let last = |instance: &Instance| {
            let log = std::fs::read_to_string(instance.home.join("log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(12).collect();
            format!("{}:\n{}\n", instance.name, lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
        };
        [&self.data, &self.keyring, &self.standby, &self.data_standby].map(last).concat()
    }

    /// Where the keyring's log is now.
    pub(super) fn segment(&self) -> String {
        self.keyring.ask("select pg_walfile_name(pg_current_wal_lsn())")
    }

    /// Lets so much time pass, but no more than until this segment and all before it are gone from the logs of both the keyring's
    /// servers. Whether they are.
    pub(super) fn pass_until_forgotten(&self, segment: &str, time: SignedDuration) -> bool {
        let forgotten = |instance: &Instance| {
            let names = std::fs::read_dir(instance.home.join("pgdata/pg_wal")).expect("the log").flatten();
            let names = names.filter_map(|entry| entry.file_name().into_string().ok());
            names.filter(|name| name.len() == 24 && !name.contains('.')).all(|name| &*name > segment)
        };
        let until = self.clock.now() + time;
        loop {
            if forgotten(&self.keyring) && forgotten(&self.standby) {
                return true;
            }
            if self.clock.now() >= until {
                return false;
            }
            self.clock.pass(SignedDuration::from_secs(20));
            // They look at the clock when they wake up.
            self.keyring.wake();
            self.standby.wake();
            std::thread::sleep(Duration::from_millis(60));
        }
    }
}

const STREAMS: &str = "select count(*) from pg_stat_replication where sync_state = 'sync'";

/// What the operator's bootstrap makes, but for the passwords, which tests know.
fn secrets(root: &Path) {
    let now = jiff::Timestamp::now();
    let made = Authority::generate(now).expect("an authority");
    let authority = Authority::load(&made.certificate, &made.key).expect("the authority");
    let leaf = authority.issue(&Leaf::Server(vec!["localhost".to_owned()]), now, 1_000).expect("a certificate");
    for (file, content) in [
        ("tls/ca.crt", made.certificate.as_str()),
        ("tls/tls.crt", leaf.certificate.as_str()),
        ("tls/tls.key", leaf.key.expose()),
        ("secrets/postgres-password", PASSWORD),
        ("secrets/owner-password", PASSWORD),
        ("secrets/standby-password", PASSWORD),
        ("secrets/backup-passphrase", "a passphrase that the attacker has too"),
    ] {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("make a directory");
        std::fs::write(&path, content).expect("write a secret");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("close it");
        if is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY)).expect("give it to nobody");
        }
    }
}

fn repository(root: &Path, instance: &str) -> PathBuf {
    root.join(format!("{instance}-repository"))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/budstikke/files").join(name)
}

impl Instance {
    fn start(root: &Path, clock: &Arc<Moved>, name: &'static str, file: &str, more: &[(&'static str, String)]) -> Self {
        // Free a moment ago; nobody else on the machine asks for it by number.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let home = root.join(name);
        std::fs::create_dir(&home).expect("make a directory");
        if is_root() {
            chown(&home, Some(NOBODY), Some(NOBODY)).expect("give it to nobody");
        }
        let place = |part: &str| home.join(part).display().to_string();
        let mut environment = vec![
            ("PGDATA", place("pgdata")),
            ("SECRETS", root.join("secrets").display().to_string()),
            ("TLS", root.join("tls").display().to_string()),
            ("RUN", place("run")),
            ("SOCKETS", place("run")),
            ("PORT", port.to_string()),
            ("LISTEN", "localhost".to_owned()),
            ("HOSTNAME", name.to_owned()),
            ("HOME", home.display().to_string()),
        ];
        environment.extend_from_slice(more);
        // A server by itself is told to end at once, as by a power cut; a script ends its server.
        let mut command = kept(&home, if file == "postgres.sh" { "QUIT" } else { "TERM" }, "log", clock);
        command.arg(script(file)).args(SETTINGS.iter().flat_map(|setting| ["-c", setting])).envs(environment.clone());
        let keeper = Keeper(command.spawn().expect("run sh"));
        let address = Address { port, authority: root.join("tls/ca.crt") };
        Self { name, home, address, clock: Arc::clone(clock), environment, _keeper: keeper }
    }

    /// One round of the shipped loop that takes the backups and removes those that are too old: it is started, and ended when it
    /// waits for its next.
    pub(super) fn back_up(&self) {
        let mut command = kept(&self.home, "TERM", "backup.log", &self.clock);
        command.arg(script("backup.sh")).envs(self.environment.clone());
        let keeper = Keeper(command.spawn().expect("run sh"));
        let deadline = Instant::now() + LONG;
        let wait = format!("sleep\0{TICK}\0").into_bytes();
        while !grandchildren(keeper.0.id()).contains(&wait) {
            assert!(Instant::now() < deadline, "a round of backups takes too long: {}", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(keeper);
        let log = std::fs::read_to_string(self.home.join("backup.log")).expect("the log");
        let failed = ["could not", "no base backup", "NO BACKUP", "does not answer"];
        // What tells of backups is in the schema that the operator reads.
        let line = log.lines().find(|line| failed.iter().any(|word| line.contains(word)) && !line.contains("told"));
        assert_eq!(line, None, "{}: {log}", self.name);
    }

    fn told(&self, variable: &str) -> &str {
        self.environment.iter().find(|(name, _)| *name == variable).map(|(_, value)| &**value).expect("it is told")
    }

    pub(super) fn stanza(&self) -> &str {
        self.told("INSTANCE")
    }

    pub(super) fn repository(&self) -> PathBuf {
        self.told("REPOSITORY_PATH").into()
    }

    /// Asks as whoever is of the server's user.
    pub(super) fn ask(&self, statement: &str) -> String {
        let mut command = unprivileged(Path::new("psql"));
        command.args(["-X", "-q", "-A", "-t", "-U", "postgres", "-d", "budstikke", "-c", statement]);
        command.args(["-p", &self.address.port.to_string(), "-h"]).arg(self.home.join("run")).current_dir("/");
        let output = command.stderr(Stdio::null()).output().expect("run psql");
        String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
    }

    /// Wakes the server's processes up.
    fn wake(&self) {
        let file = std::fs::read_to_string(self.home.join("pgdata/postmaster.pid")).expect("the pid file");
        let pid = file.lines().next().expect("a pid");
        let sent = Command::new("kill").args(["-HUP", pid]).status().expect("run kill");
        assert!(sent.success(), "wake the server");
    }
}

/// A shell that runs a script and logs what it says, and ends it, once this process closes the pipe or dies.
fn kept(home: &Path, end: &str, log: &str, clock: &Moved) -> Command {
    let keep = r#"log=$1 end=$2; shift 2
        bash "$@" >>"$log" 2>&1 &
        child=$!
        read -r _
        below=$(cat "/proc/$child/task/$child/children")
        kill -"$end" $child 2>/dev/null
        wait $child
        for one in $below; do kill -TERM "$one" 2>/dev/null; done
        true"#;
    let mut command = unprivileged(Path::new("env"));
    command
        .args(clock.variables())
        .args(["sh", "-c", keep, "keep"])
        .arg(home.join(log))
        .arg(end)
        .current_dir("/")
        .stdin(Stdio::piped());
    command
}

/// The command lines of a process's grandchildren.
fn grandchildren(pid: u32) -> Vec<Vec<u8>> {
    let children = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
    };
    let line = |pid| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    children(pid).into_iter().flat_map(children).map(line).collect()
}
