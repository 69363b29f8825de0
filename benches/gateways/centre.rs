//! A message centre that takes everything, answers at once, and returns a receipt for every message that asks for one. It looks at
//! nothing that it does not need.
use std::process::Command;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::recording;
use crate::support::place::local;
use crate::support::process::{Process, free_port};

/// The first argument of the process.
pub(crate) const WORD: &str = "centre";
const HEADER: usize = 16;
const SUBMIT: u32 = 0x4;
const DELIVER: u32 = 0x5;
const UNBIND: u32 = 0x6;
const ENQUIRE: u32 = 0x15;
const BINDS: [u32; 3] = [1, 2, 9];
const RESPONSE: u32 = 0x8000_0000;
/// Receipts without an answer, at most; the others wait.
const WINDOW: usize = 500;

/// Starts one in a process of its own.
pub(crate) fn start() -> Process {
    let at = local(free_port());
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([WORD, &at.port().to_string()]);
    Process::spawn("centre", at, command)
}

pub(crate) async fn serve(mut arguments: impl Iterator<Item = String>) {
    let port = arguments.next().and_then(|argument| argument.parse().ok()).expect("a port");
    if let Some(file) = arguments.next() {
        return recording::serve(port, &file);
    }
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        tokio::spawn(Bind::default().run(stream));
    }
}

#[derive(Default)]
pub(crate) struct Bind {
    /// Whom the submits are to that came, where somebody wants to know.
    pub(crate) recipients: Option<Vec<String>>,
    out: Vec<u8>,
    /// Receipts that wait for room.
    waiting: std::collections::VecDeque<Vec<u8>>,
    unanswered: usize,
    submitted: u64,
    sequence: u32,
}

impl Bind {
    /// One that keeps whom submits are to.
    pub(crate) fn recording() -> Self {
        Self { recipients: Some(Vec::new()), ..Self::default() }
    }

    async fn run(mut self, mut stream: TcpStream) {
        stream.set_nodelay(true).expect("no delay");
        let mut read = Vec::with_capacity(1 << 16);
        while stream.read_buf(&mut read).await.is_ok_and(|octets| octets > 0) {
            if stream.write_all(&self.answer(&mut read)).await.is_err() {
                return;
            }
        }
    }

    /// What is said to what came; what is no whole PDU stays.
    pub(crate) fn answer(&mut self, read: &mut Vec<u8>) -> Vec<u8> {
        let mut rest = &read[..];
        while let Some((frame, more)) = cut(rest) {
            self.take(frame);
            rest = more;
        }
        let taken = read.len() - rest.len();
        read.drain(..taken);
        self.release();
        std::mem::take(&mut self.out)
    }

    fn take(&mut self, frame: &[u8]) {
        let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().expect("four octets"));
        let (command, sequence) = (word(4), word(12));
        match command {
            SUBMIT => {
                self.submitted += 1;
                let id = format!("{:x}", 0x1000_0000 + self.submitted);
                self.say(SUBMIT | RESPONSE, sequence, format!("{id}\0").as_bytes());
                let (recipient, receipt) = receipt(&frame[HEADER..], &id);
                self.waiting.extend(receipt);
                if let Some(recipients) = &mut self.recipients {
                    recipients.push(recipient);
                }
            }
            _ if command == DELIVER | RESPONSE => self.unanswered -= 1,
            UNBIND | ENQUIRE => self.say(command | RESPONSE, sequence, b""),
            _ if BINDS.contains(&command) => self.say(command | RESPONSE, sequence, b"centre\0"),
            _ => {}
        }
    }

    fn release(&mut self) {
        while self.unanswered < WINDOW {
            let Some(body) = self.waiting.pop_front() else { return };
            self.sequence += 1;
            self.unanswered += 1;
            self.say(DELIVER, self.sequence, &body);
        }
    }

    fn say(&mut self, command: u32, sequence: u32, body: &[u8]) {
        let length = u32::try_from(HEADER + body.len()).expect("short");
        for word in [length, command, 0, sequence] {
            self.out.extend(word.to_be_bytes());
        }
        self.out.extend(body);
    }
}

/// The first whole PDU, and what follows it.
fn cut(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u32::from_be_bytes(octets.first_chunk::<4>()?.to_owned())).expect("64 bits");
    (octets.len() >= length.max(HEADER)).then(|| octets.split_at(length))
}

/// What is left of a PDU's body.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn octets(&mut self, count: usize) -> &'a [u8] {
        let (octets, rest) = self.0.split_at(count);
        self.0 = rest;
        octets
    }

    /// A C-string, its end included.
    fn text(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|octet| *octet == 0).expect("a C-string");
        self.octets(end + 1)
    }
}

/// Whom a submit is to, and the body of the deliver_sm that says that it was delivered; `None` where none was asked for.
fn receipt(submit: &[u8], id: &str) -> (String, Option<Vec<u8>>) {
    let mut fields = Fields(submit);
    fields.text(); // service_type
    fields.octets(2);
    let from = fields.text();
    fields.octets(2);
    let to = fields.text();
    let recipient = String::from_utf8_lossy(to.strip_suffix(&[0]).unwrap_or(to)).into_owned();
    fields.octets(3); // esm_class, protocol_id, priority_flag
    fields.text(); // schedule_delivery_time
    fields.text(); // validity_period
    let registered = fields.octets(1)[0];
    if registered & 3 == 0 {
        return (recipient, None);
    }
    let said =
        format!("id:{id} sub:001 dlvrd:001 submit date:2603101200 done date:2603101200 stat:DELIVRD err:000 text:");
    let mut body = vec![0, 1, 1];
    body.extend(to);
    body.extend([0, 1]);
    body.extend(from);
    body.extend([4, 0, 0, 0, 0, 0, 0, 0, 0, u8::try_from(said.len()).expect("short")]);
    body.extend(said.as_bytes());
    (recipient, Some(body))
}
