//! The SMPP session alone: how many submits a second go through one bind, against a message centre that answers at once, and against one
//! that answers after 20 ms. No database, no TLS, over loopback. Fails where it is fewer than wanted.
//!
//! `cargo bench --bench session -- [SECONDS]`: how long each is measured, 10 without a word.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "support/summary.rs"]
mod summary;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use budstikke::domain::Secret;
use budstikke::smpp::client::{self, Credentials, Target};
use budstikke::smpp::session::{BindKind, Options, Outcome, Session};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rusmpp::pdus::SubmitSm;
use rusmpp::types::{COctetString, OctetString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

const WINDOW: usize = 100;
const LATENCY: Duration = Duration::from_millis(20);
/// Submits a second with an answer at once.
const WANTED: f64 = 300_000.0;
/// Of the window by the latency, which no session can exceed.
const WANTED_OF_WINDOW: f64 = 0.95;
const HEADER: usize = 16;
/// What every answer ends with: an empty message id would do, and none gives one.
const MESSAGE_ID: &[u8] = b"7f3a91c2\0";

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10);
    let time = Duration::from_secs(seconds);
    let (at_once, late) = (rate(Duration::ZERO, time).await, rate(LATENCY, time).await);
    let most = WINDOW as f64 / LATENCY.as_secs_f64();
    let report = serde_json::json!({
        "window": WINDOW, "seconds": seconds,
        "at_once": {"submits_per_s": at_once.rate.round(), "cpu_us_per_submit": at_once.cpu, "wanted_per_s": WANTED},
        "after_20_ms": {"submits_per_s": late.rate.round(), "of_the_window": late.rate / most, "wanted": WANTED_OF_WINDOW},
    });
    println!("{report}");
    let share = late.rate / most;
    println!("\n| figure | measured | wanted |\n|---|---|---|");
    println!("| submits/s, answered at once (`session_per_s`) | {:.0} | at least {WANTED} |", at_once.rate);
    println!("| share of the window by 20 ms (`session_20ms_share`) | {share:.3} | at least {WANTED_OF_WINDOW} |");
    let mut figures = serde_json::Map::new();
    figures.insert("session_per_s".to_owned(), at_once.rate.round().into());
    figures.insert("session_cpu_us".to_owned(), ((at_once.cpu * 100.0).round() / 100.0).into());
    figures.insert("session_20ms_share".to_owned(), ((share * 1000.0).round() / 1000.0).into());
    summary::merge(&figures);
    let failed = [
        (at_once.rate < WANTED, "fewer submits a second than wanted where answers come at once"),
        (late.rate < WANTED_OF_WINDOW * most, "the window is not used where answers take 20 ms"),
    ];
    failed.iter().filter(|(failed, _)| *failed).for_each(|(_, what)| println!("{what}"));
    if failed.iter().any(|(failed, _)| *failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

struct Measured {
    rate: f64,
    /// Microseconds of this process, the message centre's included.
    cpu: f64,
}

async fn rate(latency: Duration, time: Duration) -> Measured {
    let session = bound(centre(latency).await).await;
    let submit = submit();
    let mut pending = FuturesUnordered::new();
    // A second to find its pace.
    let begin = Instant::now() + Duration::from_secs(1);
    let (mut answered, mut counted, mut cpu) = (0_u64, 0_u64, 0);
    let mut counts = false;
    loop {
        let now = Instant::now();
        if !counts && now >= begin {
            (counts, counted, cpu) = (true, answered, cpu_us());
        }
        if now >= begin + time {
            let submits = answered - counted;
            let took = (now - begin).as_secs_f64();
            let cpu = (cpu_us() - cpu) as f64 / submits as f64;
            return Measured { rate: submits as f64 / took, cpu };
        }
        while let Some(slot) = session.try_reserve() {
            pending.push(slot.send(submit.clone()));
        }
        // Whatever has been answered meanwhile is taken in at once.
        let mut next = pending.next().await;
        while let Some(outcome) = next {
            assert!(matches!(outcome, Outcome::Answered(answer) if answer.is_ok()));
            answered += 1;
            next = futures::FutureExt::now_or_never(pending.next()).flatten();
        }
    }
}

async fn bound(address: SocketAddr) -> Session {
    let patience = Duration::from_secs(5);
    let target = Target { host: address.ip().to_string(), port: address.port(), tls: None, timeout: patience };
    let stream = client::connect(&target).await.expect("a connection");
    let credentials = Credentials {
        system_id: "bench".to_owned(),
        password: Secret::new("bench"),
        system_type: String::new(),
        address_range: String::new(),
    };
    let options = Options { window: WINDOW, ..Options::default() };
    let bound = client::bind(stream, BindKind::Transceiver, &credentials, patience, options).await;
    let (session, mut incoming) = bound.expect("a bind");
    tokio::spawn(async move { while incoming.next().await.is_some() {} });
    session
}

fn submit() -> SubmitSm {
    let address = |digits: &str| COctetString::from_vec(format!("{digits}\0").into_bytes()).expect("an address");
    let text = OctetString::from_vec(b"Hej! Din tid er i dag kl. 10.15. Svar AFBUD, hvis du ikke kommer.".to_vec());
    SubmitSm::builder()
        .source_addr(address("Budstikke"))
        .destination_addr(address("4520123456"))
        .short_message(text.expect("short"))
        .build()
}

/// A message centre that takes everything and looks at nothing but lengths and sequence numbers.
async fn centre(latency: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a bind");
        serve(stream, latency).await;
    });
    address
}

async fn serve(stream: TcpStream, latency: Duration) {
    stream.set_nodelay(true).expect("no delay");
    let (mut reading, mut writing) = stream.into_split();
    let (answers, mut due) = mpsc::channel::<(tokio::time::Instant, Vec<u8>)>(1024);
    let writer = tokio::spawn(async move {
        while let Some((at, octets)) = due.recv().await {
            if !latency.is_zero() {
                exactly(at).await;
            }
            if writing.write_all(&octets).await.is_err() {
                break;
            }
        }
    });
    let (mut read, mut out) = (Vec::with_capacity(1 << 16), Vec::new());
    while reading.read_buf(&mut read).await.is_ok_and(|octets| octets > 0) {
        let mut rest = &read[..];
        while let Some((frame, more)) = cut(rest) {
            answer(frame, &mut out);
            rest = more;
        }
        let taken = read.len() - rest.len();
        read.drain(..taken);
        let at = tokio::time::Instant::now() + latency;
        if !out.is_empty() && answers.send((at, std::mem::take(&mut out))).await.is_err() {
            break;
        }
    }
    drop(answers);
    let _ = writer.await;
}

/// Waits until then, and not to the next millisecond, as a timer does.
async fn exactly(at: tokio::time::Instant) {
    sleep_until(at - Duration::from_millis(2)).await;
    while tokio::time::Instant::now() < at {
        tokio::task::yield_now().await;
    }
}

/// The first whole PDU, and what follows it.
fn cut(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_be_bytes(octets.first_chunk::<4>()?.to_owned()) as usize;
    (octets.len() >= length.max(HEADER)).then(|| octets.split_at(length))
}

/// The response of the request's kind: what has an id gets one, a bind gets an empty system id.
fn answer(frame: &[u8], out: &mut Vec<u8>) {
    const SUBMIT: u32 = 4;
    const BINDS: [u32; 3] = [1, 2, 9];
    let command = u32::from_be_bytes(frame[4..8].try_into().expect("four octets"));
    let body = match command {
        SUBMIT => MESSAGE_ID,
        command if BINDS.contains(&command) => b"\0",
        _ => b"",
    };
    out.extend(((HEADER + body.len()) as u32).to_be_bytes());
    out.extend((command | 0x8000_0000).to_be_bytes());
    out.extend(0_u32.to_be_bytes());
    out.extend(&frame[12..16]);
    out.extend(body);
}

/// What this process has used so far, microseconds, to the hundredth of a second.
fn cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("of Linux");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let fields: Vec<u64> = after_name.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // Without the state, which is a letter: user and system time are the 11th and 12th of the rest.
    (fields[10] + fields[11]) * 10_000
}
