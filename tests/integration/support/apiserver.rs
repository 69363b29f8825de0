//! A real Kubernetes API server (etcd and kube-apiserver alone: no controllers, no nodes), with the four kinds installed.
//!
//! One server serves all tests of a run; each test takes a client of its own (a client lives on its test's runtime) and
//! a namespace of its own. A watchdog ends both programs when the test process is gone, however it went.
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde::Deserialize;

/// Two cores shared with compilers: the server itself needs a few seconds.
const DEADLINE: Duration = Duration::from_secs(180);

/// Runs both programs until its standard input ends, which it does with the test process, then removes what they left.
const WATCHDOG: &str = r#"
"$BIN/etcd" --data-dir "$DIR/etcd" --listen-client-urls "$ETCD" --advertise-client-urls "$ETCD" --listen-peer-urls "$PEER" \
  --initial-advertise-peer-urls "$PEER" --initial-cluster "default=$PEER" --unsafe-no-fsync --log-level error >"$DIR/etcd.log" 2>&1 &
etcd=$!
"$BIN/kube-apiserver" --etcd-servers "$ETCD" --bind-address 127.0.0.1 --secure-port "$PORT" --advertise-address 127.0.0.1 \
  --tls-cert-file "$DIR/server.crt" --tls-private-key-file "$DIR/server.key" --client-ca-file "$DIR/ca.crt" \
  --service-account-key-file "$DIR/server.pub" --service-account-signing-key-file "$DIR/server.key" \
  --service-account-issuer https://kubernetes.default.svc --service-cluster-ip-range 10.0.0.0/24 --authorization-mode RBAC \
  --disable-admission-plugins ServiceAccount --endpoint-reconciler-type none --allow-privileged=true \
  --shutdown-delay-duration 0 >"$DIR/apiserver.log" 2>&1 &
apiserver=$!
cat >/dev/null
kill -9 $apiserver $etcd
wait
rm -rf "$DIR"
"#;

/// The server of this run.
pub(crate) struct ApiServer {
    directory: PathBuf,
    _watchdog: Child,
}

impl ApiServer {
    /// The server of this run, started by whoever asks first. Panics with what to do when it cannot be started.
    pub(crate) fn shared() -> &'static Self {
        static SERVER: OnceLock<ApiServer> = OnceLock::new();
        SERVER.get_or_init(|| {
            // A runtime of its own: the caller's may end before the server is needed again.
            std::thread::spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(Self::start())
            })
            .join()
            .expect("the API server must start; the reason is above")
        })
    }

    /// A client with all rights, for the runtime it is made on.
    pub(crate) async fn client(&self) -> Client {
        Client::try_from(self.config().await).unwrap()
    }

    /// How a client with all rights reaches it.
    pub(crate) async fn config(&self) -> Config {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
    }

    /// A client and an empty namespace that no other test has.
    pub(crate) async fn namespace(&self) -> (Client, String) {
        let client = self.client().await;
        let metadata = ObjectMeta { generate_name: Some("test-".into()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let made = Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        (client, made.metadata.name.unwrap())
    }

    /// The kubeconfig of a user with all rights, for programs such as kubectl and helm.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// File with the authority that signed its certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// `https://host:port`.
    pub(crate) fn address(&self) -> String {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        kubeconfig.clusters[0].cluster.as_ref().and_then(|cluster| cluster.server.clone()).unwrap()
    }

    async fn start() -> Self {
        let binaries = binaries();
        let directory = std::env::temp_dir().join(format!("budstikke-apiserver-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let [etcd, peer, port] = free_ports();
        write_certificates(&directory, port);
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG])
            .env("BIN", binaries)
            .env("DIR", &directory)
            .env("ETCD", format!("http://127.0.0.1:{etcd}"))
            .env("PEER", format!("http://127.0.0.1:{peer}"))
            .env("PORT", port.to_string())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let server = Self { directory, _watchdog: watchdog };
        let client = server.client().await;
        server.wait_until_ready(&client).await;
        install_definitions(&client).await;
        server
    }

    async fn wait_until_ready(&self, client: &Client) {
        let since = Instant::now();
        loop {
            let request = axum::http::Request::get("/readyz").body(Vec::new()).unwrap();
            let Err(error) = client.request_text(request).await else { break };
            let log = std::fs::read_to_string(self.directory.join("apiserver.log")).unwrap_or_default();
            if since.elapsed() > DEADLINE || log.contains("command failed") {
                let end: Vec<&str> = log.lines().rev().take(20).collect();
                panic!(
                    "the API server does not get ready: {error}; the end of its log, last line first:\n{}",
                    end.join("\n")
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn binaries() -> PathBuf {
    let directory = std::env::var_os("BUDSTIKKE_TOOLS").map(PathBuf::from).unwrap_or_default();
    for program in ["etcd", "kube-apiserver"] {
        assert!(
            directory.join(program).is_file(),
            "BUDSTIKKE_TOOLS must name the directory that holds `etcd` and `kube-apiserver`: run `make test`, or \
             `export BUDSTIKKE_TOOLS=$(dev/tools/build etcd kube-apiserver)` (the first time takes minutes)",
        );
    }
    directory
}

/// Ports that were free a moment ago, three different ones.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn write_certificates(directory: &Path, port: u16) {
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "test authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    write("ca.crt", &authority.pem());

    let mut params = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
    let key = KeyPair::generate().unwrap();
    write("server.crt", &params.signed_by(&key, &authority).unwrap().pem());
    write("server.key", &key.serialize_pem());
    write("server.pub", &key.public_key_pem());

    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "admin");
    params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth);
    let key = KeyPair::generate().unwrap();
    write("admin.crt", &params.signed_by(&key, &authority).unwrap().pem());
    write("admin.key", &key.serialize_pem());

    let file = |name: &str| directory.join(name).display().to_string();
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{ "name": "test", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "certificate-authority": file("ca.crt"),
        } }],
        "users": [{ "name": "admin", "user": {
            "client-certificate": file("admin.crt"), "client-key": file("admin.key"),
        } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "admin" } }],
    });
    write("kubeconfig", &kubeconfig.to_string());
}

async fn install_definitions(client: &Client) {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    let text = budstikke::crd::yaml().unwrap();
    let mut names = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let definition = CustomResourceDefinition::deserialize(document).unwrap();
        let made = api.create(&PostParams::default(), &definition).await.expect("the server takes the definition");
        names.push(made.metadata.name.unwrap());
    }
    let since = Instant::now();
    for name in names {
        loop {
            let definition = api.get(&name).await.unwrap();
            let conditions = definition.status.and_then(|status| status.conditions).unwrap_or_default();
            if conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True") {
                break;
            }
            assert!(since.elapsed() < DEADLINE, "{name} is not established: {conditions:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
