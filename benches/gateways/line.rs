//! A caller's connection, kept from call to call. It does as little as it can: what a caller takes is not there for the gateway that
//! is measured.
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(crate) struct Line {
    stream: Box<dyn Stream>,
    heard: Vec<u8>,
}

impl Line {
    /// To a port of this machine.
    pub(crate) async fn open(port: u16, tls: Option<&Arc<ClientConfig>>) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("somebody listens");
        stream.set_nodelay(true).expect("a connection");
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = ServerName::try_from("localhost").expect("a name");
                Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.expect("a handshake"))
            }
        };
        Self { stream, heard: Vec::new() }
    }

    /// Sends a request as it is, and gives the status and the body of its answer.
    pub(crate) async fn call(&mut self, request: &str) -> (u16, &str) {
        self.stream.write_all(request.as_bytes()).await.expect("it listens");
        self.stream.flush().await.expect("it listens");
        self.heard.clear();
        let (head, length) = loop {
            self.hear().await;
            if let Some(end) = self.heard.windows(4).position(|at| at == b"\r\n\r\n") {
                break (end + 4, length(text(&self.heard[..end])));
            }
        };
        while self.heard.len() < head + length {
            self.hear().await;
        }
        let status = text(&self.heard[..head]).split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), text(&self.heard[head..]))
    }

    async fn hear(&mut self) {
        let octets = self.stream.read_buf(&mut self.heard).await.expect("it answers");
        assert_ne!(octets, 0, "it hung up: {}", text(&self.heard));
    }
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).expect("text")
}

/// Octets of the body that follows this head.
fn length(head: &str) -> usize {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().and_then(|(_, length)| length.trim().parse().ok()).expect("a length")
}
