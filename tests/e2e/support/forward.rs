//! `kubectl port-forward`, on a port of this machine's own choice. It ends with the value.
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// Within which kubectl says where it forwards from, or why it does not.
const OPENED: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Forward {
    child: Child,
    pub(crate) port: u16,
}

impl Forward {
    /// To a Service or pod (`service/budstikke-api`); an error says what kubectl said, as while no pod is ready.
    pub(crate) async fn open(namespace: &str, target: &str, port: u16) -> Result<Self, String> {
        let mut child = Command::new("kubectl")
            .args(["port-forward", "--namespace", namespace, "--pod-running-timeout=5s", target, &format!(":{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("kubectl: {error}"))?;
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        // Ended with the value from here on, whatever comes of it.
        let mut forward = Self { child, port: 0 };
        let (tell, told) = oneshot::channel();
        // Read to their ends, or a full pipe would stop kubectl.
        let complaints = std::thread::spawn(move || std::io::read_to_string(err).unwrap_or_default());
        std::thread::spawn(move || {
            let mut tell = Some(tell);
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let port = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split(' ').next());
                if let Some(port) = port.and_then(|port| port.parse().ok())
                    && let Some(tell) = tell.take()
                {
                    let _ = tell.send(port);
                }
            }
        });
        match timeout(OPENED, told).await {
            Ok(Ok(port)) => {
                forward.port = port;
                Ok(forward)
            }
            silent => {
                drop(forward);
                let said = complaints.join().unwrap_or_default();
                Err(if silent.is_err() { format!("no forward within {OPENED:?}: {said}") } else { said })
            }
        }
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
