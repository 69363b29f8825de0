//! A real Vault with a transit engine, over TLS: each test has its own, and may stop, seal and start it again. It ends with the test.
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use budstikke::keyring::TransitArgs;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// What a role of Budstikke needs, and no more: as docs/keys.md says.
pub(crate) const POLICY: &str = r#"
path "transit/encrypt/budstikke" { capabilities = ["update"] }
path "transit/decrypt/budstikke" { capabilities = ["update"] }
"#;

pub(crate) struct Vault {
    directory: PathBuf,
    address: String,
    running: Option<Child>,
    client: reqwest::Client,
}

impl Vault {
    /// Started, with the key `budstikke` and the policy of that name.
    pub(crate) async fn start() -> Self {
        let directory = std::env::temp_dir().join(format!("budstikke-vault-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&directory).unwrap();
        let authority = write_certificates(&directory);
        let trusted = reqwest::Certificate::from_pem(authority.as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([trusted]).build().unwrap();
        let mut vault = Self { directory, address: "127.0.0.1:0".to_owned(), running: None, client };
        vault.resume();
        vault.call(Method::POST, "sys/mounts/transit", json!({"type": "transit"})).await;
        vault.call(Method::POST, "transit/keys/budstikke", json!({"type": "aes256-gcm96"})).await;
        vault.call(Method::PUT, "sys/policies/acl/budstikke", json!({"policy": POLICY})).await;
        vault
    }

    /// Starts the server where it was, with what it held.
    pub(crate) fn resume(&mut self) {
        let program = std::env::var_os("BUDSTIKKE_VAULT").map(PathBuf::from).unwrap_or_default();
        assert!(
            program.is_file(),
            "BUDSTIKKE_VAULT must name the program `vault`: run `make test`, or `export BUDSTIKKE_VAULT=$(dev/tools/build \
             --vault)/vault` (the first time takes minutes)",
        );
        let log = std::fs::File::options().append(true).create(true).open(self.directory.join("log")).unwrap();
        let mut child = Command::new(program)
            .args(["--listen", &self.address, "--dir"])
            .arg(&self.directory)
            .arg("--cert")
            .arg(self.directory.join("server.crt"))
            .arg("--key")
            .arg(self.directory.join("server.key"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        self.running = Some(child);
        let log = || std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        assert!(!address.trim().is_empty(), "Vault must start: {}", log());
        self.address = address.trim().to_owned();
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) async fn seal(&self) {
        self.call(Method::POST, "sys/seal", json!({})).await;
    }

    pub(crate) async fn unseal(&self) {
        let key = std::fs::read_to_string(self.file("unseal")).unwrap();
        self.call(Method::POST, "sys/unseal", json!({"key": key})).await;
    }

    /// As root.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let token = std::fs::read_to_string(self.file("token")).unwrap();
        let url = format!("https://{}/v1/{path}", self.address);
        let request = self.client.request(method, url).header("x-vault-token", token).json(&body);
        let response = request.send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Writes a token with this policy to a file, as an agent does.
    pub(crate) async fn token(&self, policy: &str) -> PathBuf {
        let made = self.call(Method::POST, "auth/token/create", json!({"policies": [policy], "ttl": "1h"})).await;
        let path = self.file(&format!("token-{}", Uuid::now_v7()));
        std::fs::write(&path, format!("{}\n", made["auth"]["client_token"].as_str().unwrap())).unwrap();
        path
    }

    /// How it is spoken to, by a token with the policy; it wraps.
    pub(crate) async fn args(&self) -> TransitArgs {
        TransitArgs {
            address: Some(format!("https://{}", self.address)),
            wraps: true,
            ca_file: Some(self.file("ca.crt")),
            token_file: Some(self.token("budstikke").await),
            ..TransitArgs::default()
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The authority's certificate.
fn write_certificates(directory: &Path) -> String {
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "test authority of vault");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    write("ca.crt", &authority.pem());
    let params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    let key = KeyPair::generate().unwrap();
    write("server.crt", &params.signed_by(&key, &authority).unwrap().pem());
    write("server.key", &key.serialize_pem());
    authority.pem()
}
