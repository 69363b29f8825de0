//! A message centre that writes down when each submit came: between two moments, since this process may have been kept from
//! reading. It looks by itself every half millisecond, so that the earlier one is no guess.
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::centre::{Bind, WORD};
use super::load;
use crate::support::place::local;
use crate::support::process::{Process, free_port};

const LOOKS: Duration = Duration::from_micros(500);

/// A submit, by the clock of the centre.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// It had not come before.
    pub(crate) earliest: Duration,
    /// It was there.
    pub(crate) latest: Duration,
    /// Its recipient's.
    pub(crate) number: usize,
}

/// Starts one in a process of its own.
pub(crate) fn start(file: &Path) -> Process {
    let at = local(free_port());
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([WORD, &at.port().to_string()]).arg(file);
    Process::spawn("centre", at, command)
}

/// What was written down so far, in the order in which it came.
pub(crate) fn read(file: &Path) -> Vec<Arrival> {
    let text = std::fs::read_to_string(file).expect("a recording");
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let arrivals = whole.lines().map(|line| {
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().expect("a number")).collect();
        let [earliest, latest] = [numbers[0], numbers[1]].map(Duration::from_micros);
        Arrival { earliest, latest, number: usize::try_from(numbers[2]).expect("64 bits") }
    });
    arrivals.collect()
}

/// Serves until it is killed.
pub(crate) fn serve(port: u16, file: &str) {
    let file = Arc::new(File::create(file).expect("a file"));
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    let began = Instant::now();
    for stream in listener.incoming() {
        let (stream, file) = (stream.expect("a connection"), Arc::clone(&file));
        std::thread::spawn(move || record(stream, &file, began));
    }
}

fn record(mut stream: TcpStream, mut file: &File, began: Instant) {
    stream.set_nodelay(true).expect("no delay");
    stream.set_nonblocking(true).expect("it does not wait");
    let mut bind = Bind::recording();
    let (mut read, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
    let mut earliest = began.elapsed();
    loop {
        let looked = began.elapsed();
        match stream.read(&mut chunk) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                earliest = looked;
                std::thread::sleep(LOOKS);
            }
            Err(_) | Ok(0) => return,
            Ok(octets) => {
                let latest = began.elapsed();
                read.extend_from_slice(&chunk[..octets]);
                if !say(&mut stream, bind.answer(&mut read)) {
                    return;
                }
                let lines = bind.recipients.iter_mut().flat_map(|numbers| numbers.drain(..)).map(|number| {
                    let number = load::number(&number).expect("a recipient of ours");
                    format!("{} {} {number}\n", earliest.as_micros(), latest.as_micros())
                });
                file.write_all(lines.collect::<String>().as_bytes()).expect("written down");
            }
        }
    }
}

/// Writes all of it to what may not take all at once.
fn say(stream: &mut TcpStream, mut octets: Vec<u8>) -> bool {
    while !octets.is_empty() {
        match stream.write(&octets) {
            Ok(taken) => drop(octets.drain(..taken)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(LOOKS),
            Err(_) => return false,
        }
    }
    true
}
