//! `kubectl port-forward`, on a port of this machine's own choice. It ends with the value.
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use tokio::sync::oneshot;

use super::manifests::NAMESPACE;

#[derive(Debug)]
pub(crate) struct Forward {
    child: Child,
    pub(crate) port: u16,
}

impl Forward {
    /// To a Service or pod (`service/budstikke-api`); an error says what kubectl said, as while no pod is ready.
    pub(crate) async fn open(target: &str, port: u16) -> Result<Self, String> {
        let mut child = Command::new("kubectl")
            .args(["port-forward", "--namespace", NAMESPACE, target, &format!(":{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("kubectl: {error}"))?;
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
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
        match told.await {
            Ok(port) => Ok(Self { child, port }),
            Err(_) => {
                let _ = child.wait();
                Err(complaints.join().unwrap_or_default())
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
