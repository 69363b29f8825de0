//! Real PostgreSQL instances, a pair as in production: one for the data, one for the keyring, migrated by our own code.
//!
//! [`Databases::start`] gives a test databases of its own on a pair that all tests share (fast: copies of a migrated
//! template). [`Databases::alone`] gives it a pair of its own, which it may stop and start. Servers listen on a socket
//! file only, and end when the test process does, however that ends.
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use budstikke::domain::{Clock as _, RouteId, SystemClock, TenantId, copenhagen_day};
use budstikke::store::migrate::{self, Instance};
use budstikke::store::{self, Dsn, scram};
use sqlx::postgres::PgPool;

/// Nobody's user and group id: PostgreSQL refuses to run as root.
pub(crate) const NOBODY: u32 = 65534;

/// The password of every login.
pub(crate) const PASSWORD: &str = "a-secret-that-no-log-holds";

/// A data and a keyring database, migrated.
pub(crate) struct Databases {
    pub(crate) data: Database,
    pub(crate) keyring: Database,
}

/// One database of a server.
pub(crate) struct Database {
    server: ServerRef,
    name: String,
}

enum ServerRef {
    Shared(&'static Server),
    Own(Server),
    /// Started by somebody else.
    Elsewhere(Address),
}

/// Where a server is that somebody else has started, as an installation does: over TLS.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) port: u16,
    /// The file with the authority of its certificate, which is for `localhost`.
    pub(crate) authority: PathBuf,
}

static SHARED: LazyLock<(Server, Server)> = LazyLock::new(|| {
    // On a thread of its own: whoever comes first may be inside a runtime already.
    std::thread::spawn(|| {
        let hasty = || vec!["fsync=off".to_owned(), "full_page_writes=off".to_owned()];
        let (data, keyring) = (Server::start("data", hasty()), Server::start("keyring", hasty()));
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        runtime.block_on(migrate_both(&data, &keyring, "template"));
        (data, keyring)
    })
    .join()
    .expect("start the shared instances")
});

static COUNT: AtomicU32 = AtomicU32::new(1);

async fn migrate_both(data: &Server, keyring: &Server, name: &str) {
    data.create(name, None).await;
    keyring.create(name, None).await;
    let (data, keyring) = (data.instance(name), keyring.instance(name));
    migrate::migrate(&data, &keyring, copenhagen_day(SystemClock.now()), Duration::from_secs(10))
        .await
        .expect("migrate");
}

impl Databases {
    /// Databases of one's own on the shared pair. Account ids differ from test to test, since logins belong to the server.
    pub(crate) async fn start() -> Self {
        let (data, keyring) = tokio::task::spawn_blocking(|| &*SHARED).await.expect("start the shared instances");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        data.create(&name, Some("template")).await;
        keyring.create(&name, Some("template")).await;
        let databases = Self {
            data: Database { server: ServerRef::Shared(data), name: name.clone() },
            keyring: Database { server: ServerRef::Shared(keyring), name },
        };
        let first = i64::from(number) * 1000;
        let owner = databases.data.pool("budstikke_owner");
        for (table, id) in [("tenant", "tenant_id"), ("route", "route_id")] {
            let statement = format!("alter table {table} alter {id} restart with {first}");
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&owner).await.expect("number the accounts");
        }
        owner.close().await;
        databases
    }

    /// A pair of instances of one's own, not migrated yet.
    pub(crate) async fn bare() -> Self {
        Self::bare_with(&["fsync=off", "full_page_writes=off"]).await
    }

    /// A pair of instances of one's own with these settings, not migrated yet.
    pub(crate) async fn bare_with(settings: &[&str]) -> Self {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let servers = tokio::task::spawn_blocking(move || {
            (Server::start("data", settings.clone()), Server::start("keyring", settings))
        });
        let (data, keyring) = servers.await.expect("start the instances");
        data.create("budstikke", None).await;
        keyring.create("budstikke", None).await;
        let own = |server| Database { server: ServerRef::Own(server), name: "budstikke".to_owned() };
        Self { data: own(data), keyring: own(keyring) }
    }

    /// A pair of instances of one's own, migrated.
    pub(crate) async fn alone() -> Self {
        let databases = Self::bare().await;
        databases.migrate().await.expect("migrate");
        databases
    }

    /// Runs the migrations on both.
    pub(crate) async fn migrate(&self) -> Result<(), migrate::Error> {
        let (data, keyring) = (self.data.instance(), self.keyring.instance());
        migrate::migrate(&data, &keyring, copenhagen_day(SystemClock.now()), Duration::from_secs(10)).await
    }

    /// An account that may send anything within generous limits.
    pub(crate) async fn tenant(&self, name: &str) -> TenantId {
        let operator = self.data.pool("budstikke_operator");
        let tenant: i64 = sqlx::query_scalar(
            "insert into tenant (namespace, name, registration) values ('test', $1, 'DK10000009') returning tenant_id",
        )
        .bind(name)
        .fetch_one(&operator)
        .await
        .expect("insert a tenant");
        sqlx::query(
            "insert into enforcement (tenant_id, generation, may_accept, may_send, services, sender_ids, max_parts, \
                recipients_per_call, log_days, log_characters, validity_seconds, crash_policy) \
             values ($1, 1, true, true, '{api}', '{Budstikke}', 10, 1000, 90, 160, 172800, 'resend')",
        )
        .bind(tenant)
        .execute(&operator)
        .await
        .expect("insert its enforcement");
        sqlx::query("insert into price (tenant_id, prefix, amount) values ($1, '', 35000)")
            .bind(tenant)
            .execute(&operator)
            .await
            .expect("insert its price");
        operator.close().await;
        TenantId(tenant)
    }

    /// A route that these tenants share, by weight.
    pub(crate) async fn route(&self, name: &str, shares: &[(TenantId, i32)]) -> RouteId {
        let operator = self.data.pool("budstikke_operator");
        let route: i64 =
            sqlx::query_scalar("insert into route (namespace, name) values ('test', $1) returning route_id")
                .bind(name)
                .fetch_one(&operator)
                .await
                .expect("insert a route");
        for (tenant, weight) in shares {
            sqlx::query("insert into route_share (route_id, tenant_id, weight) values ($1, $2, $3)")
                .bind(route)
                .bind(tenant.0)
                .bind(weight)
                .execute(&operator)
                .await
                .expect("share the route");
        }
        operator.close().await;
        RouteId(route)
    }

    /// Makes the tenant's login, as the operator does, and says how its sender logs in.
    pub(crate) async fn sender_login(&self, tenant: TenantId) -> Dsn {
        self.login("select tenant_login($1, $2)::text", tenant.0).await
    }

    /// Makes the route's login, as the operator does, and says how its connector logs in.
    pub(crate) async fn connector_login(&self, route: RouteId) -> Dsn {
        self.login("select route_login($1, $2)::text", route.0).await
    }

    async fn login(&self, function: &'static str, id: i64) -> Dsn {
        let operator = self.data.pool("budstikke_operator");
        let name: String = sqlx::query_scalar(function)
            .bind(id)
            .bind(scram::verifier(PASSWORD).expect("a verifier"))
            .fetch_one(&operator)
            .await
            .expect("make a login");
        operator.close().await;
        self.data.dsn(&name)
    }
}

impl Database {
    fn server(&self) -> &Server {
        match &self.server {
            ServerRef::Shared(server) => server,
            ServerRef::Own(server) => server,
            ServerRef::Elsewhere(_) => panic!("somebody else has started it"),
        }
    }

    /// The database of an installation.
    pub(crate) fn elsewhere(address: Address) -> Self {
        Self { server: ServerRef::Elsewhere(address), name: "budstikke".to_owned() }
    }

    /// The URL of a login: `postgres`, `budstikke_owner`, `budstikke_operator`, `budstikke_api`, `budstikke_worker`, or one that was made.
    pub(crate) fn url(&self, login: &str) -> String {
        if let ServerRef::Elsewhere(Address { port, authority }) = &self.server {
            let authority = authority.display();
            let options = format!("sslmode=verify-full&sslrootcert={authority}");
            return format!("postgres://{login}:{PASSWORD}@localhost:{port}/{}?{options}", self.name);
        }
        self.server().url(login, &self.name)
    }

    /// How a login connects.
    pub(crate) fn dsn(&self, login: &str) -> Dsn {
        Dsn::parse(&self.url(login)).expect("a URL")
    }

    /// A pool of at most 4 connections for a login.
    pub(crate) fn pool(&self, login: &str) -> PgPool {
        store::connect(&self.dsn(login), 4, "test")
    }

    /// The owner's and the fixed logins' addresses, as `migrate` wants them.
    pub(crate) fn instance(&self) -> Instance {
        let dsn = |login: &str| self.dsn(login);
        Instance {
            owner: dsn("budstikke_owner"),
            logins: vec![dsn("budstikke_operator"), dsn("budstikke_api"), dsn("budstikke_worker")],
        }
    }

    /// What the server logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.server().directory.join("log")).expect("the server's log")
    }

    /// The process id of the server's first process.
    #[allow(dead_code, reason = "the bench alone counts the servers' CPU")]
    pub(crate) fn pid(&self) -> u32 {
        let file = std::fs::read_to_string(self.server().directory.join("data/postmaster.pid")).expect("the pid file");
        file.lines().next().and_then(|line| line.parse().ok()).expect("a pid")
    }

    /// Ends the server's processes at once, as a power cut would. Only on instances of one's own.
    pub(crate) fn kill(&mut self) {
        match &mut self.server {
            ServerRef::Own(server) => server.stop("immediate"),
            _ => panic!("others use this instance too"),
        }
    }

    /// Ends each of the server's processes with SIGKILL: it can do nothing about it. Only on instances of one's own.
    #[allow(dead_code, reason = "the fault harness alone is so rude")]
    pub(crate) fn crash(&mut self) {
        match &mut self.server {
            ServerRef::Own(server) => server.crash(),
            _ => panic!("others use this instance too"),
        }
    }

    /// Starts it again after [`Database::kill`] or [`Database::crash`].
    pub(crate) async fn revive(&mut self) {
        let ServerRef::Own(server) = &mut self.server else { panic!("other tests use this instance too") };
        server.launch();
        server.answers().await;
    }

    /// Stops the server in good order, and starts it with other settings.
    #[allow(dead_code, reason = "the bench of searches alone fills with other settings than it searches with")]
    pub(crate) async fn restart(&mut self, settings: &[&str]) {
        let ServerRef::Own(server) = &mut self.server else { panic!("others use this instance too") };
        server.stop("fast");
        server.settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        server.launch();
        server.answers().await;
    }

    /// Copies the files of the stopped server and starts it again: where the copy is.
    #[allow(dead_code, reason = "the benches restore nothing")]
    pub(crate) async fn snapshot(&mut self) -> PathBuf {
        let ServerRef::Own(server) = &mut self.server else { panic!("other tests use this instance too") };
        server.stop("fast");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let copy = server.directory.join(format!("snapshot-{number}"));
        copy_files(&server.directory.join("data"), &copy);
        server.launch();
        server.answers().await;
        copy
    }

    /// Puts a snapshot in the place of what the server has now; on another timeline, as what restores from an archive does, or on
    /// the same, as a volume that is put back.
    #[allow(dead_code, reason = "the benches restore nothing")]
    pub(crate) async fn restore(&mut self, snapshot: &Path, other_timeline: bool) {
        let ServerRef::Own(server) = &mut self.server else { panic!("other tests use this instance too") };
        server.stop("immediate");
        let data = server.directory.join("data");
        std::fs::remove_dir_all(&data).expect("remove the files");
        copy_files(snapshot, &data);
        if other_timeline {
            std::fs::write(data.join("standby.signal"), "").expect("begin as a standby");
        }
        server.launch();
        server.answers().await;
        if other_timeline {
            server.promote();
        }
    }

    /// A standby that streams, and that every commit waits for.
    #[allow(dead_code, reason = "the benches have none")]
    pub(crate) async fn standby(&self) -> Standby {
        let primary = self.server();
        let directory = directory(&format!("{}-standby", COUNT.fetch_add(1, Ordering::Relaxed)));
        let copied = unprivileged(&tool("pg_basebackup"))
            .args(["-U", "postgres", "-R", "-X", "stream", "-c", "fast", "--no-sync", "-h"])
            .arg(&primary.directory)
            .arg("-D")
            .arg(directory.join("data"))
            .env("PGPASSWORD", PASSWORD)
            .current_dir("/")
            .status();
        assert!(copied.expect("run pg_basebackup").success(), "copy the primary");
        let mut standby = Server { directory, settings: primary.settings.clone(), keeper: None };
        standby.launch();
        standby.answers().await;
        let mut superuser = primary.superuser().await.expect("connect as superuser");
        for statement in ["alter system set synchronous_standby_names = '*'", "select pg_reload_conf()"] {
            sqlx::query(statement).execute(&mut superuser).await.expect("wait for the standby");
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        let synchronous = "select exists (select from pg_stat_replication where sync_state = 'sync')
                           and current_setting('synchronous_standby_names') = '*'";
        while !sqlx::query_scalar::<_, bool>(synchronous).fetch_one(&mut superuser).await.expect("an answer") {
            assert!(Instant::now() < deadline, "the standby does not follow");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Standby(standby)
    }

    /// The primary dies and its standby takes over.
    #[allow(dead_code, reason = "the benches have none")]
    pub(crate) fn fail_over(&mut self, Standby(standby): Standby) {
        self.kill();
        standby.promote();
        self.server = ServerRef::Own(standby);
    }
}

/// A server that may take over.
pub(crate) struct Standby(Server);

fn copy_files(from: &Path, to: &Path) {
    let copied = unprivileged(Path::new("cp")).arg("-R").arg(from).arg(to).status();
    assert!(copied.expect("run cp").success(), "copy {}", from.display());
}

/// A server process and its directory.
struct Server {
    directory: PathBuf,
    settings: Vec<String>,
    keeper: Option<Child>,
}

/// What `initdb` makes, once for all servers of this process.
static INITIAL: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = directory("initial");
    let password_file = directory.join("password");
    std::fs::write(&password_file, PASSWORD).expect("write the password file");
    let initdb = unprivileged(&tool("initdb"))
        .args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--pwfile"])
        .arg(password_file)
        .arg("-D")
        .arg(directory.join("data"))
        .current_dir("/")
        .stdout(Stdio::null())
        .status();
    assert!(initdb.expect("run initdb").success(), "initdb");
    // Removed when this process ends and with it the pipe.
    let remover =
        Command::new("sh").args(["-c", r#"read -r _; rm -rf "$0""#]).arg(&directory).stdin(Stdio::piped()).spawn();
    std::mem::forget(remover.expect("run sh"));
    directory
});

/// A directory for a server, which is not run as root.
pub(crate) fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("budstikke-{}-{name}", std::process::id()));
    std::fs::create_dir(&directory).expect("make a directory");
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).expect("open the directory");
    if is_root() {
        chown(&directory, Some(NOBODY), Some(NOBODY)).expect("give the directory to nobody");
    }
    directory
}

impl Server {
    /// Starts a server on a fresh copy of the directory that `initdb` made once.
    fn start(kind: &str, settings: Vec<String>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = directory(&format!("{number}-{kind}"));
        let copied = unprivileged(Path::new("cp")).arg("-R").arg(INITIAL.join("data")).arg(&directory).status();
        assert!(copied.expect("run cp").success(), "copy the initial directory");
        let mut server = Self { directory, settings, keeper: None };
        server.launch();
        server
    }

    /// Runs the server under a shell that ends it, and removes its directory, once this process closes the pipe or dies.
    fn launch(&mut self) {
        let script = r#"directory=$1; shift
            "$0" -D "$directory/data" -k "$directory" -h "" "$@" >"$directory/log" 2>&1 &
            server=$!
            read -r word
            kill -QUIT $server 2>/dev/null
            wait $server
            [ "$word" = keep ] || rm -rf "$directory""#;
        let keeper = unprivileged(Path::new("sh"))
            .args(["-c", script])
            .arg(tool("postgres"))
            .arg(&self.directory)
            .args(["-c", "max_connections=300"])
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .current_dir("/")
            .stdin(Stdio::piped())
            .spawn();
        self.keeper = Some(keeper.expect("run postgres"));
    }

    fn stop(&mut self, mode: &str) {
        let stop = unprivileged(&tool("pg_ctl"))
            .args(["stop", "-w", "-m", mode, "-D"])
            .arg(self.directory.join("data"))
            .current_dir("/")
            .stdout(Stdio::null())
            .status();
        assert!(stop.expect("run pg_ctl").success(), "stop the server");
        self.release();
    }

    fn crash(&mut self) {
        let data = self.directory.join("data");
        // Until none is left: one may have been starting when the others were killed.
        loop {
            let processes = working_in(&data);
            if processes.is_empty() {
                break;
            }
            let killed = Command::new("kill").arg("-9").args(processes).stderr(Stdio::null()).status();
            killed.expect("run kill");
        }
        self.release();
    }

    /// Ends the keeper of a server that has ended.
    fn release(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            keeper.stdin.take().expect("a pipe").write_all(b"keep\n").expect("keep the directory");
            keeper.wait().expect("the keeper ends");
        }
    }

    fn promote(&self) {
        let promoted = unprivileged(&tool("pg_ctl"))
            .args(["promote", "-w", "-D"])
            .arg(self.directory.join("data"))
            .current_dir("/")
            .stdout(Stdio::null())
            .status();
        assert!(promoted.expect("run pg_ctl").success(), "promote the server");
    }

    fn url(&self, login: &str, database: &str) -> String {
        format!("postgres://{login}:{PASSWORD}@localhost/{database}?host={}", self.directory.display())
    }

    fn instance(&self, database: &str) -> Instance {
        let dsn = |login: &str| Dsn::parse(&self.url(login, database)).expect("a URL");
        Instance {
            owner: dsn("budstikke_owner"),
            logins: vec![dsn("budstikke_operator"), dsn("budstikke_api"), dsn("budstikke_worker")],
        }
    }

    async fn superuser(&self) -> Result<sqlx::PgConnection, sqlx::Error> {
        use sqlx::Connection as _;
        sqlx::PgConnection::connect(&self.url("postgres", "postgres")).await
    }

    /// Waits until the server takes connections.
    async fn answers(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = self.superuser().await {
            assert!(Instant::now() < deadline, "no answer from {}: {error}", self.directory.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Makes a database as an installation does: owned by a role that is no superuser. A copy takes the template's
    /// content, but PostgreSQL does not copy who may connect.
    async fn create(&self, name: &str, template: Option<&str>) {
        self.answers().await;
        let mut superuser = self.superuser().await.expect("connect as superuser");
        let mut run = async |statement: String| {
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut superuser).await.map(|_| ())
        };
        let verifier = scram::verifier(PASSWORD).expect("a verifier");
        if template.is_none() {
            run(format!("create role budstikke_owner login createrole password '{verifier}'"))
                .await
                .expect("make the owner");
        }
        let template = template.map(|template| format!("template {template}")).unwrap_or_default();
        run(format!("create database {name} owner budstikke_owner {template}")).await.expect("make the database");
        if !template.is_empty() {
            run(format!(
                "revoke all on database {name} from public; \
                 grant connect on database {name} to budstikke_operator, budstikke_api, budstikke_worker"
            ))
            .await
            .expect("say who may connect");
            let groups = format!("grant connect on database {name} to budstikke_sender, budstikke_connector");
            // Absent on the keyring instance, as they must be.
            let _ = run(groups).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}

/// The processes that work in a directory: those of a server do in its own.
fn working_in(directory: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("of Linux").flatten();
    let works =
        |process: &std::fs::DirEntry| std::fs::read_link(process.path().join("cwd")).is_ok_and(|at| at == directory);
    processes.filter(works).map(|process| process.file_name().to_string_lossy().into_owned()).collect()
}

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

pub(crate) fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command
}

/// A program of the newest PostgreSQL that is installed: Debian keeps the servers out of the path.
fn tool(name: &str) -> PathBuf {
    static DIRECTORY: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        versions.filter_map(|version| Some(version.ok()?.path().join("bin"))).max()
    });
    DIRECTORY.as_ref().map_or_else(|| PathBuf::from(name), |directory| directory.join(name))
}
