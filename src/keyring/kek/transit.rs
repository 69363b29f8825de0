//! The transit engine of OpenBao or Vault as the key-encryption key, which then never leaves that server. The key must be of
//! the type `aes256-gcm96`: what is wrapped is bound to its owner by associated data.
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Certificate, Client, StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::KekError;
use crate::domain::Secret;

/// Of one request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Requests for one answer; after each but the last a pause that grows.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// Where the engine is, and how one logs in there.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TransitArgs {
    /// `https://host:port` of OpenBao or Vault; without it no transit engine is used.
    #[arg(long = "transit-address", env = "BUDSTIKKE_TRANSIT_ADDRESS")]
    pub address: Option<String>,
    /// Where the engine is mounted. Default: `transit`.
    #[arg(long = "transit-mount", env = "BUDSTIKKE_TRANSIT_MOUNT")]
    pub mount: Option<String>,
    /// The name of the key. Default: `budstikke`.
    #[arg(long = "transit-key", env = "BUDSTIKKE_TRANSIT_KEY")]
    pub key: Option<String>,
    /// The namespace; without it the root.
    #[arg(long = "transit-namespace", env = "BUDSTIKKE_TRANSIT_NAMESPACE")]
    pub namespace: Option<String>,
    /// File with the certificates that signed the server's; without it the public authorities are trusted.
    #[arg(long = "transit-ca-file", env = "BUDSTIKKE_TRANSIT_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// File with a token that somebody else renews (an agent); read for each request.
    #[arg(long = "transit-token-file", env = "BUDSTIKKE_TRANSIT_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// The role to log in to, with the service account's token, where there is no token file.
    #[arg(long = "transit-role", env = "BUDSTIKKE_TRANSIT_ROLE")]
    pub role: Option<String>,
    /// Where that login is mounted: of the kind `kubernetes` or `jwt`. Default: `kubernetes`.
    #[arg(long = "transit-auth-mount", env = "BUDSTIKKE_TRANSIT_AUTH_MOUNT")]
    pub auth_mount: Option<String>,
    /// File with the service account's token; read for each login.
    #[arg(long = "transit-jwt-file", env = "BUDSTIKKE_TRANSIT_JWT_FILE")]
    pub jwt_file: Option<PathBuf>,
}

/// Why the transit engine gave nothing. What it wrote is not repeated: it may hold what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TransitError {
    /// It was not reached, or its answer not read.
    #[error("ask the transit engine ({what}): {source}")]
    Ask {
        /// For what.
        what: &'static str,
        /// What the client said.
        source: reqwest::Error,
    },
    /// It refused.
    #[error("the transit engine refused ({what}): {status}; look at its audit log, and at the policy of the role")]
    Refused {
        /// What.
        what: &'static str,
        /// How.
        status: StatusCode,
    },
    /// The file with a token.
    #[error("read {path}: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It answered with something else.
    #[error("the transit engine's answer is none")]
    Answer,
}

/// How one proves oneself.
enum Login {
    File(PathBuf),
    Role { role: String, mount: String, jwt: PathBuf },
}

/// A token, and until when it is used.
struct Token(Secret, Instant);

/// One key of a transit engine.
pub(super) struct Transit {
    client: Client,
    address: Url,
    mount: String,
    key: String,
    namespace: Option<String>,
    login: Login,
    token: Mutex<Option<Token>>,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: Secret,
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Deserialize)]
struct LoggedIn {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: Secret,
    lease_duration: u64,
}

impl Transit {
    pub(super) fn of(args: &TransitArgs) -> Result<Option<Self>, KekError> {
        let Some(address) = args.address.as_deref().filter(|address| !address.is_empty()) else { return Ok(None) };
        let wrong = |what: &str| KekError::Transit(what.to_owned());
        let address: Url = address.parse().map_err(|_| wrong("its address: want https://host:port"))?;
        if address.scheme() != "https" {
            return Err(wrong("its address: want https://host:port"));
        }
        let login = match (&args.token_file, &args.role) {
            (Some(file), _) => Login::File(file.clone()),
            (None, Some(role)) => Login::Role {
                role: role.clone(),
                mount: args.auth_mount.clone().unwrap_or_else(|| "kubernetes".to_owned()),
                jwt: args.jwt_file.clone().ok_or_else(|| wrong("give the file with the service account's token"))?,
            },
            (None, None) => return Err(wrong("give a token file or a role to log in to")),
        };
        let mut builder = Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy();
        if let Some(path) = &args.ca_file {
            let pem = std::fs::read(path).map_err(|source| KekError::Read { path: path.clone(), source })?;
            let authorities = Certificate::from_pem_bundle(&pem).map_err(|_| wrong("its authority: want PEM"))?;
            builder = builder.tls_certs_only(authorities);
        }
        Ok(Some(Self {
            client: builder.build().map_err(|_| wrong("no client could be made"))?,
            address,
            mount: args.mount.clone().unwrap_or_else(|| "transit".to_owned()),
            key: args.key.clone().unwrap_or_else(|| "budstikke".to_owned()),
            namespace: args.namespace.clone().filter(|namespace| !namespace.is_empty()),
            login,
            token: Mutex::default(),
        }))
    }

    /// Whether what is named so was wrapped here.
    pub(super) fn wrapped(&self, id: &str) -> bool {
        id.strip_prefix(&self.prefix()).is_some_and(|version| !version.contains('/'))
    }

    /// `<mount>/<key>:v`, before the version.
    fn prefix(&self) -> String {
        format!("{}/{}:v", self.mount, self.key)
    }

    /// The name of the key's newest version: of the one that encrypts, so that no right beyond encrypting is needed.
    pub(super) async fn newest(&self) -> Result<String, TransitError> {
        Ok(self.encrypt(b"", &[0]).await?.0)
    }

    pub(super) async fn encrypt(&self, place: &[u8], plain: &[u8]) -> Result<(String, Vec<u8>), TransitError> {
        let plaintext = Zeroizing::new(BASE64_STANDARD.encode(plain));
        let body = json!({"plaintext": *plaintext, "associated_data": BASE64_STANDARD.encode(place)});
        let Encrypted { ciphertext } = self.ask("encrypt", &body).await?;
        // vault:v3:…
        let version = ciphertext.split(':').nth(1).and_then(|version| version.strip_prefix('v'));
        let id = format!("{}{}", self.prefix(), version.ok_or(TransitError::Answer)?);
        Ok((id, ciphertext.into_bytes()))
    }

    pub(super) async fn decrypt(&self, place: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, TransitError> {
        let ciphertext = std::str::from_utf8(wrapped).map_err(|_| TransitError::Answer)?;
        let body = json!({"ciphertext": ciphertext, "associated_data": BASE64_STANDARD.encode(place)});
        let Decrypted { plaintext } = self.ask("decrypt", &body).await?;
        BASE64_STANDARD.decode(plaintext.expose()).map(Zeroizing::new).map_err(|_| TransitError::Answer)
    }

    /// Asks until there is an answer, a refusal, or no try left. A refused token is got anew once.
    async fn ask<T: for<'a> Deserialize<'a>>(
        &self,
        what: &'static str,
        body: &impl Serialize,
    ) -> Result<T, TransitError> {
        let path = format!("v1/{}/{what}/{}", self.mount, self.key);
        let (mut tries, mut renewed) = (0, false);
        loop {
            let token = self.token().await?;
            let answer: Result<Data<T>, _> = self.post(what, &path, Some(&token), body).await;
            match answer {
                Ok(Data { data }) => return Ok(data),
                Err(TransitError::Refused { status: StatusCode::FORBIDDEN, .. }) if !renewed => {
                    renewed = true;
                    *self.token.lock().await = None;
                }
                Err(error) => {
                    tries += 1;
                    if tries >= TRIES || !error.may_pass() {
                        return Err(error);
                    }
                    tokio::time::sleep(PAUSE * tries * tries).await;
                }
            }
        }
    }

    /// The token in use. One that was logged in for is got anew when a third of its time is left.
    async fn token(&self) -> Result<Secret, TransitError> {
        let (role, mount, jwt) = match &self.login {
            Login::File(path) => return read(path).await,
            Login::Role { role, mount, jwt } => (role, mount, jwt),
        };
        let mut kept = self.token.lock().await;
        if let Some(Token(token, until)) = &*kept
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let jwt = read(jwt).await?;
        let body = json!({"role": role, "jwt": jwt.expose()});
        let LoggedIn { auth } = self.post("login", &format!("v1/auth/{mount}/login"), None, &body).await?;
        let until = Instant::now() + Duration::from_secs(auth.lease_duration) * 2 / 3;
        *kept = Some(Token(auth.client_token.clone(), until));
        Ok(auth.client_token)
    }

    async fn post<T: for<'a> Deserialize<'a>>(
        &self,
        what: &'static str,
        path: &str,
        token: Option<&Secret>,
        body: &impl Serialize,
    ) -> Result<T, TransitError> {
        let ask = |source: reqwest::Error| TransitError::Ask { what, source: source.without_url() };
        let url = self.address.join(path).map_err(|_| TransitError::Answer)?;
        let mut request = self.client.post(url).header("x-vault-request", "true").json(body);
        if let Some(token) = token {
            request = request.header("x-vault-token", token.expose());
        }
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        let response = request.send().await.map_err(ask)?;
        let status = response.status();
        if !status.is_success() {
            return Err(TransitError::Refused { what, status });
        }
        response.json().await.map_err(ask)
    }
}

impl TransitError {
    /// Asking again may help: it was not reached, is busy, sealed or changes its leader.
    fn may_pass(&self) -> bool {
        match self {
            Self::Ask { .. } => true,
            Self::Refused { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::Read { .. } | Self::Answer => false,
        }
    }
}

async fn read(path: &PathBuf) -> Result<Secret, TransitError> {
    let text = tokio::fs::read_to_string(path).await;
    text.map(|text| Secret::new(text.trim())).map_err(|source| TransitError::Read { path: path.clone(), source })
}
