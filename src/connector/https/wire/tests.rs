use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const LONG: Duration = Duration::from_secs(30);
const TAKEN: &[u8] = b"HTTP/1.1 201 Created\r\ncontent-length: 14\r\n\r\n{\"id\": \"abcd\"}";

/// A wire to a server that does this with each connection, over plain TCP.
async fn wire<F>(server: impl Fn(TcpStream) -> F + Send + 'static) -> Wire
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            server(stream).await;
        }
    });
    Wire {
        target: Target { host: "127.0.0.1".to_owned(), port, tls: None, timeout: LONG },
        host: HeaderValue::from_static("sms.example.com"),
        token: HeaderValue::from_static("Bearer secret"),
        path: "/xms/v1/plan/batches".to_owned(),
        standing: None,
    }
}

/// Reads one request with a body of this length; false at the end of the stream.
async fn read_request(stream: &mut TcpStream, length: usize) -> bool {
    let mut read = Vec::new();
    loop {
        if let Some(head) = read.windows(4).position(|four| four == b"\r\n\r\n")
            && read.len() >= head + 4 + length
        {
            return true;
        }
        if !stream.read_buf(&mut read).await.is_ok_and(|octets| octets > 0) {
            return false;
        }
    }
}

async fn call(wire: &mut Wire, body: Vec<u8>, patience: Duration) -> (Called, Option<Instant>) {
    let written = WrittenAt::default();
    let called = wire.call(Bytes::from(body), vec![written.clone()], patience, &CancellationToken::new()).await;
    (called, written.get())
}

#[tokio::test]
async fn calls_share_a_connection_and_each_tells_when_it_was_written() {
    let mut wire = wire(|mut stream| async move {
        while read_request(&mut stream, 3).await {
            stream.write_all(TAKEN).await.expect("written");
        }
    })
    .await;
    let mut last = None;
    for _ in 0..3 {
        let (called, written) = call(&mut wire, b"{ }".to_vec(), LONG).await;
        let Called::Answered { status, body, .. } = called else { panic!("{called:?}") };
        assert_eq!((status, &*body), (StatusCode::CREATED, &b"{\"id\": \"abcd\"}"[..]));
        assert!(written > last);
        last = written;
    }
}

#[tokio::test]
async fn what_was_not_written_whole_is_not_written() {
    // More than any socket buffers.
    let big = vec![b' '; 64 << 20];
    let mut breaking = wire(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
    })
    .await;
    let (called, written) = call(&mut breaking, big.clone(), LONG).await;
    assert!(matches!(called, Called::NotWritten(Failure::Lost)), "{called:?}");
    assert_eq!(written, None);
    let mut deaf = wire(|stream| async move {
        tokio::time::sleep(LONG).await;
        drop(stream);
    })
    .await;
    let (called, written) = call(&mut deaf, big, Duration::from_millis(300)).await;
    assert!(matches!(called, Called::NotWritten(Failure::Lost)), "{called:?}");
    assert_eq!(written, None);
}

#[tokio::test]
async fn what_was_written_and_not_answered_is_of_unknown_fate() {
    let mut hanging_up = wire(|mut stream| async move {
        read_request(&mut stream, 3).await;
    })
    .await;
    let mut silent = wire(|mut stream| async move {
        read_request(&mut stream, 3).await;
        tokio::time::sleep(LONG).await;
    })
    .await;
    for (wire, patience) in [(&mut hanging_up, LONG), (&mut silent, Duration::from_millis(300))] {
        let (called, written) = call(wire, b"{ }".to_vec(), patience).await;
        assert!(matches!(called, Called::Unanswered), "{called:?}");
        assert!(written.is_some());
        assert!(wire.standing.is_none(), "nothing more is written there");
    }
}

#[tokio::test]
async fn of_an_answer_that_breaks_off_the_first_line_holds() {
    let mut wire = wire(|mut stream| async move {
        read_request(&mut stream, 3).await;
        let _ = stream.write_all(&TAKEN[..TAKEN.len() - 3]).await;
    })
    .await;
    let (called, _) = call(&mut wire, b"{ }".to_vec(), LONG).await;
    let Called::Answered { status, body, .. } = called else { panic!("{called:?}") };
    assert_eq!((status, body.len()), (StatusCode::CREATED, 0));
}

#[tokio::test]
async fn nobody_to_connect_to_is_not_written() {
    let mut wire = wire(async |_| {}).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address").port();
    wire.target.port = nobody;
    let (called, written) = call(&mut wire, b"{ }".to_vec(), LONG).await;
    assert!(matches!(called, Called::NotWritten(Failure::Connect)), "{called:?}");
    assert_eq!(written, None);
    assert!(matches!(wire.probe(LONG).await, Err(Error::Connect(_))));
}

#[tokio::test]
async fn a_probe_tells_who_does_not_know_us() {
    let answering = async |answer: &'static [u8]| {
        wire(move |mut stream| async move {
            read_request(&mut stream, 0).await;
            let _ = stream.write_all(answer).await;
        })
        .await
    };
    assert!(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.probe(LONG).await.is_ok());
    let refused = answering(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await.probe(LONG).await;
    assert_eq!(refused.expect_err("refused").failure(), Failure::Refused(401));
    assert_eq!(answering(b"").await.probe(LONG).await.expect_err("silence").failure(), Failure::Lost);
}
