//! Kannel's two boxes: HTTP in, SMPP out, the spool as store; receipts in memory or in PostgreSQL.
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::cpu::{Watch, Who};
use super::line::Line;
use super::load::recipient;
use super::report::Run;
use super::{PATIENCE, SETTINGS, centre, load, receipts};
use crate::postgres::{Databases, directory};
use crate::support::place::local;
use crate::support::process::{Process, free_port};

const TEXT: &str = "Hej!+Din+tid+hos+Vaerkstedet+er+i+morgen+kl.+9.30.+Ring+70+12+34+56+for+at+flytte+den.";

/// Messages before what is measured.
const WARM: usize = 200;

/// Where it keeps what it waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receipts {
    InMemory,
    InPostgres,
}

pub(crate) struct Kannel {
    processes: Vec<Process>,
    client: reqwest::Client,
    status: String,
    root: std::path::PathBuf,
}

impl Drop for Kannel {
    fn drop(&mut self) {
        self.processes.clear();
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

async fn listens(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(Instant::now() < deadline, "nobody listens on {port}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Kannel {
    /// With an upstream at this port, if it is to have one.
    async fn start(databases: &Databases, upstream: Option<u16>, stored: Receipts) -> Self {
        let root = directory("kannel");
        let path = |name: &str| root.join(name).display().to_string();
        std::fs::create_dir_all(path("store")).expect("a folder");
        let (admin, boxes, send) = (free_port(), free_port(), free_port());
        let (storage, database) = match stored {
            Receipts::InMemory => ("internal", String::new()),
            Receipts::InPostgres => ("pgsql", receipts::table(databases).await),
        };
        let configuration = format!(
            "group = core\nadmin-port = {admin}\nadmin-interface = 127.0.0.1\nadmin-password = x\nsmsbox-port = {boxes}\n\
             smsbox-interface = 127.0.0.1\nbox-allow-ip = 127.0.0.1\nstore-type = spool\nstore-location = {store}\n\
             dlr-storage = {storage}\n\n{database}\
             group = smsc\nsmsc = smpp\nsmsc-id = us\nhost = 127.0.0.1\nport = {upstream}\ntransceiver-mode = true\n\
             smsc-username = kannel\nsmsc-password = secret\nsystem-type = \"\"\nmax-pending-submits = 1000\n\
             msg-id-type = 0x03\n\n\
             group = smsbox\nbearerbox-host = 127.0.0.1\nsendsms-port = {send}\nsendsms-interface = 127.0.0.1\n\
             sendsms-chars = \"0123456789+ \"\n\n\
             group = sendsms-user\nusername = u\npassword = p\nmax-messages = 3\nconcatenation = true\n",
            store = path("store"),
            // Nobody listens there.
            upstream = upstream.unwrap_or_else(free_port),
        );
        let file = path("kannel.conf");
        std::fs::write(&file, configuration).expect("the configuration");
        let start = |role: &'static str, port| {
            let mut command = Command::new(format!("/usr/sbin/{role}"));
            command.args(["-v", "3", &file]);
            Process::start(role, local(port), command, Path::new(&path("log")))
        };
        let bearerbox = start("bearerbox", boxes);
        listens(boxes).await;
        let smsbox = start("smsbox", send);
        listens(send).await;
        let kannel = Self {
            processes: vec![bearerbox, smsbox],
            client: reqwest::Client::new(),
            status: format!("http://127.0.0.1:{admin}/status.xml?password=x"),
            root,
        };
        kannel.takes(upstream.is_some()).await;
        kannel
    }

    async fn takes(&self, bound: bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while bound && !self.tells().await.contains("online") {
            assert!(Instant::now() < deadline, "it does not bind");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // smsbox answers before it has found its bearerbox.
        let mut line = self.line().await;
        while !self.send(&mut line, 0).await {
            assert!(Instant::now() < deadline, "it takes no message");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if bound {
            self.settled(1, Duration::from_secs(30)).await;
        }
    }

    async fn tells(&self) -> String {
        match self.client.get(&self.status).send().await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// To its smsbox.
    async fn line(&self) -> Line {
        Line::open(self.processes[1].at.port(), None).await
    }

    async fn lines(&self) -> Vec<Line> {
        futures::future::join_all((0..load::CLIENTS).map(|_| self.line())).await
    }

    async fn send(&self, line: &mut Line, number: usize) -> bool {
        // A receipt for success and failure; nobody is told, which is less than we do.
        let to = recipient(number);
        let request = format!(
            "GET /cgi-bin/sendsms?username=u&password=p&from=Budstikke&to={to}&text={TEXT}&dlr-mask=3 HTTP/1.1\r\n\
             Host: 127.0.0.1\r\n\r\n"
        );
        let (status, said) = line.call(&request).await;
        if status != 202 {
            println!("Kannel: {said}");
        }
        status == 202
    }

    /// One message to one recipient.
    async fn call(&self, line: &mut Line, number: usize) {
        assert!(self.send(line, number).await, "a message was refused");
    }

    /// Waits until it has taken so many receipts since it began, the one of its start not counted, and waits for none.
    async fn settled(&self, messages: usize, patience: Duration) {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.tells().await;
            // <dlr><received><total>N</total></received>…<queued>M</queued><storage>…
            let after = status.split_once("<dlr>").map_or("", |(_, after)| after);
            let number = |from: &str, to: &str| {
                let (_, rest) = after.split_once(from)?;
                rest.split_once(to)?.0.trim().parse::<usize>().ok()
            };
            let received = number("<received><total>", "</total>").unwrap_or(0);
            if received >= messages && number("<queued>", "</queued>") == Some(0) {
                return;
            }
            assert!(Instant::now() < deadline, "{received} of {messages} receipts: {status}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Messages in the spool: each is a file, in a folder of many.
    fn spooled(&self) -> usize {
        let folders = std::fs::read_dir(self.root.join("store")).expect("a spool").flatten();
        folders.map(|folder| std::fs::read_dir(folder.path()).map_or(0, Iterator::count)).sum()
    }

    fn roles(&self) -> Vec<(&'static str, Who)> {
        self.processes.iter().map(|process| (process.role, Who::Processes(vec![process.pid()]))).collect()
    }

    fn memory(&self) -> Vec<(&'static str, f64)> {
        self.processes.iter().map(|process| (process.role, process.peak())).collect()
    }
}

/// So many messages, from the first call until the last receipt.
pub(crate) async fn through(messages: usize, stored: Receipts) -> Run {
    let databases = Databases::bare_with(SETTINGS).await;
    let centre = centre::start();
    let kannel = Kannel::start(&databases, Some(centre.at.port()), stored).await;
    let mut lines = kannel.lines().await;
    load::run(&mut lines, WARM, async |line, number| kannel.call(line, number).await).await;
    kannel.settled(WARM, PATIENCE).await;

    let mut roles = kannel.roles();
    roles.push(("centre", Who::Processes(vec![centre.pid()])));
    if stored == Receipts::InPostgres {
        roles.push(("data_postgres", Who::Server(databases.data.pid())));
    }
    let (began, watch) = (Instant::now(), Watch::start(roles));
    let accepted = load::run(&mut lines, messages, async |line, number| kannel.call(line, number).await).await;
    kannel.settled(WARM + messages, PATIENCE).await;
    Run {
        accepted: Some(accepted),
        messages,
        seconds: began.elapsed().as_secs_f64(),
        spent: watch.stop(),
        memory: kannel.memory(),
    }
}

/// So many messages taken into the spool; none can go on.
pub(crate) async fn accept(messages: usize) -> Run {
    let databases = Databases::bare_with(SETTINGS).await;
    let kannel = Kannel::start(&databases, None, Receipts::InMemory).await;
    let mut lines = kannel.lines().await;
    load::run(&mut lines, WARM, async |line, number| kannel.call(line, number).await).await;
    let (began, watch) = (Instant::now(), Watch::start(kannel.roles()));
    let accepted = load::run(&mut lines, messages, async |line, number| kannel.call(line, number).await).await;
    let (seconds, spent) = (began.elapsed().as_secs_f64(), watch.stop());
    assert!(kannel.spooled() >= WARM + messages, "all are in the spool");
    Run { accepted: Some(accepted), messages, seconds, spent, memory: kannel.memory() }
}
