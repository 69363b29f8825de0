//! Makes the Secrets of an installation, once, where they are absent: the certificate authority, the key-encryption
//! key, the owner's key, the passwords of the two PostgreSQL instances and the certificates of their servers and of the API. Templates
//! cannot: they would make new ones at each rendering. Nothing owns these Secrets, so they outlive an uninstall and a
//! reinstall takes them up; whoever comes second takes what the first one made.
//!
//! What the pod's other containers need is written to a directory in memory: a Secret that is made here could not be a
//! volume of this very pod.
mod contents;
mod hand_out;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};

use self::contents::Instance;
use crate::domain::{Clock as _, SystemClock};

/// Where the installation is, and what of it exists already.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The installation's own namespace.
    #[arg(long, env = "BUDSTIKKE_NAMESPACE")]
    pub namespace: String,
    /// The name that the installation's objects begin with.
    #[arg(long, env = "BUDSTIKKE_RELEASE", default_value = "budstikke")]
    pub release: String,
    /// The generation of the key-encryption key that is wanted: where the Secret's newest is older, one is added.
    #[arg(long, env = "BUDSTIKKE_KEK_GENERATION", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub kek_generation: u32,
    /// Where the pod's other containers find what they need; without it nothing is written.
    #[arg(long, env = "BUDSTIKKE_OUT")]
    pub out: Option<PathBuf>,
    /// Secret of the data instance. Default: `<release>-database`.
    #[arg(long, env = "BUDSTIKKE_DATABASE_SECRET")]
    pub database_secret: Option<String>,
    /// Whether the data instance is the embedded one; an existing one's Secret is read and never made.
    #[arg(long, env = "BUDSTIKKE_EMBEDDED_DATABASE", default_value_t = true, action = clap::ArgAction::Set)]
    pub embedded_database: bool,
    /// Secret whose `ca.crt` signed the data instance's certificate. Default: the installation's own.
    #[arg(long, env = "BUDSTIKKE_DATABASE_CA_SECRET")]
    pub database_ca_secret: Option<String>,
    /// Secret of the keyring instance. Default: `<release>-keyring`.
    #[arg(long, env = "BUDSTIKKE_KEYRING_SECRET")]
    pub keyring_secret: Option<String>,
    /// Whether the keyring instance is the embedded one.
    #[arg(long, env = "BUDSTIKKE_EMBEDDED_KEYRING", default_value_t = true, action = clap::ArgAction::Set)]
    pub embedded_keyring: bool,
    /// Secret whose `ca.crt` signed the keyring instance's certificate. Default: the installation's own.
    #[arg(long, env = "BUDSTIKKE_KEYRING_CA_SECRET")]
    pub keyring_ca_secret: Option<String>,
}

/// Why the installation's Secrets are not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No way to the Kubernetes API.
    #[error("connect to the Kubernetes API: {0}")]
    Connect(#[source] kube::Error),
    /// A Secret could not be read.
    #[error("read the Secret {name}: {source}")]
    Read {
        /// Which one.
        name: String,
        /// What the API said.
        source: kube::Error,
    },
    /// A Secret could not be made.
    #[error("create the Secret {name}: {source}")]
    Create {
        /// Which one.
        name: String,
        /// What the API said.
        source: kube::Error,
    },
    /// A Secret could not be given what it lacks.
    #[error("change the Secret {name}: {source}")]
    Update {
        /// Which one.
        name: String,
        /// What the API said.
        source: kube::Error,
    },
    /// A Secret that somebody else makes is not there.
    #[error("the Secret {name} does not exist: create it, or leave its name out to have one made")]
    Missing {
        /// Which one.
        name: String,
    },
    /// A Secret lacks something.
    #[error("the Secret {name} has no usable key {key}")]
    Incomplete {
        /// Which one.
        name: String,
        /// What it lacks.
        key: &'static str,
    },
    /// A certificate could not be made.
    #[error(transparent)]
    Certificate(crate::pki::Error),
    /// The machine gave no random bytes.
    #[error("draw random bytes")]
    Random,
    /// The files for the other containers.
    #[error("write {path}: {source}")]
    Write {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The content of a Secret.
type Data = BTreeMap<String, ByteString>;

/// Makes what is absent, and hands out what the pod's other containers need.
///
/// # Errors
/// See [`Error`]. What was made stays; running again goes on from there.
pub async fn run(args: Args) -> Result<(), Error> {
    let client = kube::Client::try_default().await.map_err(Error::Connect)?;
    let made = ensure_all(&client, &args).await?;
    if let Some(out) = &args.out {
        hand_out::write(out, &made)?;
    }
    tracing::info!(namespace = args.namespace, "the installation's Secrets are there");
    Ok(())
}

/// The content of the installation's Secrets.
#[derive(PartialEq)]
pub struct Secrets {
    authority: Data,
    kek: Data,
    database: Data,
    database_ca: ByteString,
    keyring: Data,
    keyring_ca: ByteString,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secrets]")
    }
}

/// Makes what is absent.
///
/// # Errors
/// See [`Error`].
pub async fn ensure_all(client: &kube::Client, args: &Args) -> Result<Secrets, Error> {
    let now = SystemClock.now();
    let Args { namespace, release, .. } = args;
    let secrets = Installation { api: Api::namespaced(client.clone(), namespace) };

    let name = format!("{release}-ca");
    let authority = secrets.ensure(&name, || contents::authority(now)).await?;
    let issuer = contents::issuer(&name, &authority)?;
    let kek = format!("{release}-kek");
    secrets.ensure(&kek, contents::kek).await?;
    let kek = secrets.advance(&kek, args.kek_generation, now).await?;
    secrets.ensure(&format!("{release}-owner-key"), contents::owner_key).await?;
    secrets.ensure(&format!("{release}-api-tls"), || contents::api_tls(&issuer, release, namespace, now)).await?;

    let instance = async |secret: &Option<String>, embedded: bool, suffix: &str, service: &str| {
        let name = secret.clone().unwrap_or_else(|| format!("{release}-{suffix}"));
        if !embedded {
            return secrets.existing(&name, contents::URLS).await;
        }
        let instance = Instance { host: format!("{release}-{service}"), namespace };
        let added = || contents::added(&issuer, &instance);
        let make = || {
            let mut data = contents::instance(&issuer, &instance, now)?;
            data.append(&mut added()?);
            Ok(data)
        };
        let data = secrets.ensure(&name, make).await?;
        secrets.complete(&name, data, contents::ADDED, added).await
    };
    let database = instance(&args.database_secret, args.embedded_database, "database", "postgres").await?;
    let keyring = instance(&args.keyring_secret, args.embedded_keyring, "keyring", "keyring").await?;

    let ca = async |name: &Option<String>| match name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => secrets.existing(name, &[contents::CA]).await.map(|mut data| data.remove(contents::CA)),
        None => Ok(authority.get(contents::CA).cloned()),
    };
    let database_ca = ca(&args.database_ca_secret).await?.unwrap_or_default();
    let keyring_ca = ca(&args.keyring_ca_secret).await?.unwrap_or_default();
    Ok(Secrets { authority, kek, database, database_ca, keyring, keyring_ca })
}

/// The Secrets of the installation's namespace.
struct Installation {
    api: Api<Secret>,
}

impl Installation {
    /// The Secret's content; made by `make` if it is absent, unless somebody was faster.
    async fn ensure(&self, name: &str, make: impl FnOnce() -> Result<Data, Error>) -> Result<Data, Error> {
        if let Some(data) = self.read(name).await? {
            return Ok(data);
        }
        let secret = Secret {
            metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(labels()), ..ObjectMeta::default() },
            data: Some(make()?),
            ..Secret::default()
        };
        match self.api.create(&PostParams::default(), &secret).await {
            Ok(made) => {
                tracing::info!(name, "made");
                Ok(made.data.unwrap_or_default())
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                self.read(name).await?.ok_or_else(|| Error::Missing { name: name.to_owned() })
            }
            Err(source) => Err(Error::Create { name: name.to_owned(), source }),
        }
    }

    /// The key-encryption Secret, with a key of this generation or a newer one; added where there is none, beside the others.
    async fn advance(&self, name: &str, generation: u32, now: Timestamp) -> Result<Data, Error> {
        loop {
            let secret = self.api.get(name).await;
            let mut secret = secret.map_err(|source| Error::Read { name: name.to_owned(), source })?;
            let data = secret.data.get_or_insert_default();
            if contents::newest_kek(data) >= generation {
                return Ok(std::mem::take(data));
            }
            data.extend(contents::later_kek(generation, now)?);
            // Carries the version that was read: whoever comes second is refused, and takes what the first one added.
            match self.api.replace(name, &PostParams::default(), &secret).await {
                Ok(_) => tracing::info!(name, generation, "added a key-encryption key"),
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                Err(source) => return Err(Error::Update { name: name.to_owned(), source }),
            }
        }
    }

    /// Adds those keys that a Secret of an earlier version lacks, and changes none, unless somebody was faster.
    async fn complete(
        &self,
        name: &str,
        data: Data,
        keys: &[&str],
        make: impl Fn() -> Result<Data, Error>,
    ) -> Result<Data, Error> {
        if keys.iter().all(|key| data.contains_key(*key)) {
            return Ok(data);
        }
        let failed = |source| Error::Update { name: name.to_owned(), source };
        loop {
            let mut secret = self.api.get(name).await.map_err(failed)?;
            let mut all = make()?;
            all.append(&mut secret.data.take().unwrap_or_default());
            secret.data = Some(all);
            // Refused where another version of it was stored since: then what that one lacks is added.
            match self.api.replace(name, &PostParams::default(), &secret).await {
                Ok(secret) => {
                    tracing::info!(name, "completed");
                    return Ok(secret.data.unwrap_or_default());
                }
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                Err(source) => return Err(failed(source)),
            }
        }
    }

    /// A Secret that somebody else makes, with everything it must hold.
    async fn existing(&self, name: &str, keys: &[&'static str]) -> Result<Data, Error> {
        let data = self.read(name).await?.ok_or_else(|| Error::Missing { name: name.to_owned() })?;
        match keys.iter().find(|key| !data.contains_key(**key)) {
            Some(key) => Err(Error::Incomplete { name: name.to_owned(), key }),
            None => Ok(data),
        }
    }

    async fn read(&self, name: &str) -> Result<Option<Data>, Error> {
        match self.api.get_opt(name).await {
            Ok(secret) => Ok(secret.map(|secret| secret.data.unwrap_or_default())),
            Err(source) => Err(Error::Read { name: name.to_owned(), source }),
        }
    }
}

fn labels() -> BTreeMap<String, String> {
    [("app.kubernetes.io/name", "budstikke"), ("app.kubernetes.io/managed-by", "budstikke-bootstrap")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}
