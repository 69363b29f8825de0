//! A caller of the REST API, as a careful program is one: when an answer is lost or the service is away, it repeats the
//! call with the same `Idempotency-Key`.
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use reqwest::{Certificate, Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use uuid::Uuid;

use super::forward::Forward;
use super::wait::eventually;
use super::world::World;

const SERVICE: &str = "budstikke-api";
/// The API is away for no longer, whatever is killed.
const PATIENCE: Duration = Duration::from_secs(180);

/// Within which an address that can be reached at all is.
const REACHED: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(crate) struct Caller {
    /// Where the API is.
    namespace: String,
    authority: Certificate,
    key: String,
    /// The Service's own address, where this machine can reach it.
    service: Option<IpAddr>,
    connection: Mutex<Option<Connection>>,
}

/// How the API is reached.
#[derive(Debug)]
struct Connection {
    port: u16,
    client: reqwest::Client,
    /// Kept for as long as it is used.
    _forward: Option<Forward>,
}

/// What one call was answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

/// What one call had accepted.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) batch: Uuid,
    pub(crate) messages: Vec<Uuid>,
}

impl Caller {
    pub(crate) fn new(namespace: String, authority: &str, key: String) -> Self {
        let authority = Certificate::from_pem(authority.as_bytes()).expect("the installation's authority");
        Self { namespace, authority, key, service: None, connection: Mutex::new(None) }
    }

    /// The same, going to the Service as a program in the cluster would, where this machine can reach its address: what a
    /// forward's own start takes is not a part of what is measured then.
    pub(crate) async fn directly(mut self, world: &World) -> Self {
        let service = world.api::<Service>().get(SERVICE).await.expect("the API's Service");
        let address = service.spec.and_then(|spec| spec.cluster_ip).and_then(|address| address.parse().ok());
        if let Some(address) = address {
            let reached = timeout(REACHED, TcpStream::connect(SocketAddr::new(address, 443))).await;
            self.service = reached.is_ok_and(|reached| reached.is_ok()).then_some(address);
        }
        self
    }

    /// One try.
    pub(crate) async fn attempt(
        &self,
        method: Method,
        path: &str,
        repeat: &str,
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let (url, client) = self.connect(path).await?;
        let mut request = client.request(method, url).bearer_auth(&self.key).header("idempotency-key", repeat);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answered = async {
            let response = request.send().await?;
            let status = response.status();
            response.json().await.map(|body| Answer { status, body })
        };
        let answered: Result<Answer, reqwest::Error> = answered.await;
        if answered.is_err() {
            *self.connection.lock().await = None;
        }
        answered.map_err(|error| format!("{error:?}"))
    }

    /// By the Service's name, as its certificate is made for it.
    async fn connect(&self, path: &str) -> Result<(String, reqwest::Client), String> {
        let host = format!("{SERVICE}.{}.svc", self.namespace);
        let mut connection = self.connection.lock().await;
        let Connection { port, client, .. } = match &mut *connection {
            Some(open) => open,
            closed => {
                let forward = match self.service {
                    Some(_) => None,
                    None => Some(Forward::open(&self.namespace, &format!("service/{SERVICE}"), 443).await?),
                };
                let port = forward.as_ref().map_or(443, |forward| forward.port);
                let address = self.service.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
                let client = reqwest::Client::builder()
                    .no_proxy()
                    .tls_certs_only([self.authority.clone()])
                    .resolve(&host, SocketAddr::new(address, port))
                    .timeout(Duration::from_secs(20))
                    .build()
                    .expect("a client");
                closed.insert(Connection { port, client, _forward: forward })
            }
        };
        Ok((format!("https://{host}:{port}{path}"), client.clone()))
    }

    /// Calls until the service has an answer of its own. (A loop of its own, since traffic is called from a task.)
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let (repeat, deadline) = (format!("{:016x}", rand::random::<u64>()), Instant::now() + PATIENCE);
        loop {
            let answer = self.attempt(method.clone(), path, &repeat, body).await;
            if let Ok(answer) = &answer
                && !answer.status.is_server_error()
                && ![StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS].contains(&answer.status)
            {
                return answer.clone();
            }
            assert!(Instant::now() < deadline, "no answer to {method} {path} within {PATIENCE:?}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Sends one text to many.
    pub(crate) async fn send(&self, to: &[String]) -> Accepted {
        let answer = self.call(Method::POST, "/v1/messages", Some(&message(to))).await;
        accepted(&answer, to.len())
    }

    /// A message as its history shows it.
    pub(crate) async fn read(&self, message: Uuid) -> Value {
        let answer = self.call(Method::GET, &format!("/v1/messages/{message}"), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    }

    /// Waits until a message is in a state; gives the message.
    pub(crate) async fn until(&self, message: Uuid, state: &str, within: Duration) -> Value {
        eventually(&format!("message {message} is {state}"), within, async || {
            let message = self.read(message).await;
            if message["state"] == state { Ok(message) } else { Err(message.to_string()) }
        })
        .await
    }

    /// How many messages of a call are in which state.
    pub(crate) async fn batch(&self, batch: Uuid) -> Value {
        let answer = self.call(Method::GET, &format!("/v1/batches/{batch}"), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    }
}

/// The body of a call.
pub(crate) fn message(to: &[String]) -> Value {
    json!({"to": to, "text": "En budstikke gik fra gård til gård."})
}

fn accepted(answer: &Answer, wanted: usize) -> Accepted {
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    let id = |value: &Value| value.as_str().and_then(|id| id.parse().ok()).expect("an id");
    let messages: Vec<Uuid> =
        answer.body["messages"].as_array().into_iter().flatten().map(|one| id(&one["id"])).collect();
    assert_eq!(messages.len(), wanted, "all are accepted: {}", answer.body["refused"]);
    Accepted { batch: id(&answer.body["batchId"]), messages }
}

/// `count` Danish mobile numbers from `first` on, as an upstream sees them but for the plus sign.
pub(crate) fn numbers(first: u32, count: u32) -> Vec<String> {
    (first..first + count).map(|number| format!("+4526{number:06}")).collect()
}
