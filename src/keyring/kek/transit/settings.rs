//! Where the engine is, and how one logs in there.
use std::path::{Path, PathBuf};

use tokio::sync::{Mutex, Semaphore};

use super::ask::Asker;
use super::login::Login;
use super::{TURNS, Transit};
use crate::keyring::kek::KekError;
use crate::pki;

/// Where the transit engine is, and how one logs in there.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TransitArgs {
    /// `https://host:port` of OpenBao or Vault; without it no transit engine is used.
    #[arg(id = "transit-address", long = "transit-address", env = "BUDSTIKKE_TRANSIT_ADDRESS")]
    pub address: Option<String>,
    /// New keys are wrapped by the engine, and those under the Secret's keys are moved to it. Else it unwraps what it wrapped, and no
    /// more: first every process must have come to know it.
    #[arg(id = "transit-wraps", long = "transit-wraps", env = "BUDSTIKKE_TRANSIT_WRAPS", default_value_t = false, action = clap::ArgAction::Set)]
    pub wraps: bool,
    /// Where the engine is mounted. Default: `transit`.
    #[arg(id = "transit-mount", long = "transit-mount", env = "BUDSTIKKE_TRANSIT_MOUNT")]
    pub mount: Option<String>,
    /// The name of the key. Default: `budstikke`.
    #[arg(id = "transit-key", long = "transit-key", env = "BUDSTIKKE_TRANSIT_KEY")]
    pub key: Option<String>,
    /// The namespace; without it the root.
    #[arg(id = "transit-namespace", long = "transit-namespace", env = "BUDSTIKKE_TRANSIT_NAMESPACE")]
    pub namespace: Option<String>,
    /// File with the certificates that signed the server's, read at the start; without it the public authorities are trusted.
    #[arg(id = "transit-ca-file", long = "transit-ca-file", env = "BUDSTIKKE_TRANSIT_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// File with a token that somebody else renews; read for each question.
    #[arg(id = "transit-token-file", long = "transit-token-file", env = "BUDSTIKKE_TRANSIT_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// The role to log in to, with the service account's token, where there is no token file.
    #[arg(id = "transit-role", long = "transit-role", env = "BUDSTIKKE_TRANSIT_ROLE")]
    pub role: Option<String>,
    /// Where that login is mounted: of the kind `kubernetes` or `jwt`. Default: `kubernetes`.
    #[arg(id = "transit-auth-mount", long = "transit-auth-mount", env = "BUDSTIKKE_TRANSIT_AUTH_MOUNT")]
    pub auth_mount: Option<String>,
    /// File with the service account's token; read for each login.
    #[arg(id = "transit-jwt-file", long = "transit-jwt-file", env = "BUDSTIKKE_TRANSIT_JWT_FILE")]
    pub jwt_file: Option<PathBuf>,
}

impl Transit {
    /// `None` where none is configured. Asks nothing yet.
    pub(in crate::keyring::kek) fn of(args: &TransitArgs) -> Result<Option<Self>, KekError> {
        let wrong = |what: &str| KekError::Transit(what.to_owned());
        let Some(address) = given(args.address.as_ref()) else {
            return if args.wraps { Err(wrong("it is to wrap, and has no address")) } else { Ok(None) };
        };
        let url: url::Url = address.parse().map_err(|_| wrong("its address: want https://host:port"))?;
        // Keys and tokens go there.
        if url.scheme() != "https" || url.path() != "/" || url.query().is_some() || !url.username().is_empty() {
            return Err(wrong("its address: want https://host:port"));
        }
        let named = |name: Option<&String>, otherwise: &str| {
            let name = given(name).map_or(otherwise, String::as_str).trim_matches('/').to_owned();
            let may = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
            if name.is_empty() || !name.bytes().all(may) || name.split('/').any(|part| part.starts_with('.')) {
                return Err(wrong("a mount or key: want letters, digits, - _ . and / between"));
            }
            Ok(name)
        };
        let login = match (&args.token_file, given(args.role.as_ref())) {
            (Some(file), None) => Login::File(file.clone()),
            (None, Some(role)) => Login::Role {
                role: role.clone(),
                mount: named(args.auth_mount.as_ref(), "kubernetes")?,
                jwt: args.jwt_file.clone().ok_or_else(|| wrong("name the file with the service account's token"))?,
                kept: Mutex::default(),
            },
            _ => return Err(wrong("name a file with a token, or a role to log in to: one of both")),
        };
        let authority = args.ca_file.as_deref().map(text).transpose()?;
        let tls = pki::upstream_config(authority.as_deref()).map_err(|_| wrong("its authority: want PEM"))?;
        let asker = Asker::new(&url, given(args.namespace.as_ref()).map(String::as_str), &tls)
            .ok_or_else(|| wrong("its namespace: want ASCII"))?;
        Ok(Some(Self {
            asker,
            login,
            mount: named(args.mount.as_ref(), "transit")?,
            key: named(args.key.as_ref(), "budstikke")?,
            wraps: args.wraps,
            turns: Semaphore::new(TURNS),
            rests: Mutex::default(),
        }))
    }
}

/// An empty environment variable says nothing.
fn given(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.is_empty())
}

fn text(path: &Path) -> Result<String, KekError> {
    std::fs::read_to_string(path).map_err(|source| KekError::Read { path: path.to_owned(), source })
}
