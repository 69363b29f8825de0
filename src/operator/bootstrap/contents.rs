//! What the installation's Secrets hold when they are made.
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use zeroize::Zeroizing;

use super::{Data, Error};
use crate::domain::{ApiKey, Secret};
use crate::pki::{Authority, INSTALLATION_DAYS, Issued, Leaf};

/// The authority's certificate.
pub(super) const CA: &str = "ca.crt";
/// The authority's private key.
pub(super) const CA_KEY: &str = "ca.key";
/// The key-encryption key, base64 of 32 bytes.
pub(super) const KEK: &str = "kek";
/// What [`added`] makes.
pub(super) const ADDED: &[&str] = &[CA, "standby-password", "backup-passphrase", WORKER];
/// How the worker logs in.
const WORKER: &str = "worker-url";
/// What the Secret of an existing instance must hold.
pub(super) const URLS: &[&str] = &["owner-url", "operator-url", "api-url", WORKER];

pub(super) fn authority(now: Timestamp) -> Result<Data, Error> {
    let Issued { certificate, key } = Authority::generate(now).map_err(Error::Certificate)?;
    Ok(data([(CA, certificate.as_str()), (CA_KEY, key.expose())]))
}

/// The authority of the Secret `name`.
pub(super) fn issuer(name: &str, data: &Data) -> Result<Authority, Error> {
    let text = |key: &'static str| {
        let bytes = data.get(key).map(|ByteString(bytes)| bytes.as_slice());
        bytes
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .ok_or_else(|| Error::Incomplete { name: name.to_owned(), key })
    };
    Authority::load(text(CA)?, &Secret::new(text(CA_KEY)?)).map_err(Error::Certificate)
}

pub(super) fn kek() -> Result<Data, Error> {
    Ok(data([(KEK, BASE64_STANDARD.encode(random()?).as_str())]))
}

/// The generation that a file of the key-encryption Secret is a key of.
pub(super) fn kek_generation(file: &str) -> Option<u32> {
    if file == KEK { Some(1) } else { file.strip_prefix(KEK)?.strip_prefix('.')?.parse().ok() }
}

/// Of the newest key.
pub(super) fn newest_kek(data: &Data) -> u32 {
    data.keys().filter_map(|file| kek_generation(file)).max().unwrap_or(0)
}

/// One more key, and since when it is there: it wraps once every pod has it.
pub(super) fn later_kek(generation: u32, now: Timestamp) -> Result<Data, Error> {
    let (key, since) = (format!("{KEK}.{generation}"), format!("{KEK}.{generation}.since"));
    Ok(data([(key.as_str(), BASE64_STANDARD.encode(random()?).as_str()), (since.as_str(), now.to_string().as_str())]))
}

/// The owner's key for the API, and the hash that alone is mounted there.
pub(super) fn owner_key() -> Result<Data, Error> {
    let key = ApiKey::mint().map_err(|_| Error::Random)?;
    let hash: String = key.hash().iter().map(|octet| format!("{octet:02x}")).collect();
    Ok(data([("ownerKey", key.reveal()), ("sha256", &hash)]))
}

/// Also for `localhost`, where port-forwarding shows the API.
pub(super) fn api_tls(issuer: &Authority, release: &str, namespace: &str, now: Timestamp) -> Result<Data, Error> {
    let mut names = service_names(&format!("{release}-api"), namespace);
    names.push("localhost".to_owned());
    let Issued { certificate, key } =
        issuer.issue(&Leaf::Server(names), now, INSTALLATION_DAYS).map_err(Error::Certificate)?;
    Ok(data([("tls.crt", certificate.as_str()), ("tls.key", key.expose()), (CA, issuer.certificate())]))
}

/// An embedded PostgreSQL instance.
pub(super) struct Instance<'a> {
    pub(super) host: String,
    pub(super) namespace: &'a str,
}

impl Instance<'_> {
    fn url(&self, login: &str, password: &str) -> Zeroizing<String> {
        let Self { host, namespace } = self;
        let at = format!("{host}.{namespace}.svc:5432/budstikke?sslmode=verify-full");
        Zeroizing::new(format!("postgres://budstikke_{login}:{password}@{at}"))
    }
}

/// Passwords, addresses and the server's certificate of an embedded instance.
pub(super) fn instance(issuer: &Authority, instance: &Instance<'_>, now: Timestamp) -> Result<Data, Error> {
    let Instance { host, namespace } = instance;
    let names = Leaf::Server(service_names(host, namespace));
    let Issued { certificate, key } = issuer.issue(&names, now, INSTALLATION_DAYS).map_err(Error::Certificate)?;
    let (owner, operator, api) = (password()?, password()?, password()?);
    Ok(data([
        ("postgres-password", password()?.as_str()),
        ("owner-password", owner.as_str()),
        ("owner-url", instance.url("owner", &owner).as_str()),
        ("operator-url", instance.url("operator", &operator).as_str()),
        ("api-url", instance.url("api", &api).as_str()),
        ("tls.crt", certificate.as_str()),
        ("tls.key", key.expose()),
    ]))
}

/// What the Secret of an embedded instance holds, and one of an earlier version lacks: since it has backups and a standby the
/// authority's certificate, by which a standby knows the primary, its password, and the passphrase of the repository; since there are
/// webhooks, how the worker logs in.
pub(super) fn added(issuer: &Authority, instance: &Instance<'_>) -> Result<Data, Error> {
    let (standby, passphrase, worker) = (password()?, password()?, password()?);
    Ok(data([
        (WORKER, instance.url("worker", &worker).as_str()),
        (CA, issuer.certificate()),
        ("standby-password", standby.as_str()),
        ("backup-passphrase", passphrase.as_str()),
    ]))
}

/// The names that a Service answers to, the one clients use first.
fn service_names(service: &str, namespace: &str) -> Vec<String> {
    vec![
        format!("{service}.{namespace}.svc"),
        service.to_owned(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc.cluster.local"),
    ]
}

/// 256 random bits that need no escaping in a URL or in SQL.
fn password() -> Result<Zeroizing<String>, Error> {
    Ok(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(random()?)))
}

fn random() -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| Error::Random)?;
    Ok(bytes)
}

fn data<const N: usize>(entries: [(&str, &str); N]) -> Data {
    entries.map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec()))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(data: &'a Data, key: &str) -> &'a str {
        std::str::from_utf8(&data[key].0).expect("text")
    }

    #[test]
    fn an_instance_gets_its_own_passwords_and_a_certificate_for_its_service() {
        let now = Timestamp::now();
        let issuer = issuer("ca", &authority(now).expect("an authority")).expect("loads");
        let made = || {
            let place = Instance { host: "sms-postgres".to_owned(), namespace: "prod" };
            instance(&issuer, &place, now).expect("made")
        };
        let (one, two) = (made(), made());
        assert!(URLS.iter().all(|key| one.contains_key(*key) || ADDED.contains(key)));
        let url = text(&one, "operator-url");
        let password = url.strip_prefix("postgres://budstikke_operator:").and_then(|rest| rest.split('@').next());
        assert_eq!(password.map(str::len), Some(43), "256 bits in {url}");
        assert!(url.ends_with("@sms-postgres.prod.svc:5432/budstikke?sslmode=verify-full"), "{url}");
        assert!(text(&one, "owner-url").contains(text(&one, "owner-password")));
        for key in one.keys() {
            assert_ne!(one[key], two[key], "{key} must be drawn anew");
        }
    }

    #[test]
    fn the_owners_key_comes_with_its_hash() {
        let data = owner_key().expect("a key");
        let key: ApiKey = text(&data, "ownerKey").parse().expect("a key");
        let hash = text(&data, "sha256");
        let octets = (0..32).map(|at| u8::from_str_radix(&hash[2 * at..2 * at + 2], 16).expect("hexadecimal"));
        assert!(key.matches(&octets.collect::<Vec<_>>()));
        assert_eq!(hash.len(), 64);
    }

    #[test]
    fn a_secret_without_its_key_is_named() {
        let mut data = authority(Timestamp::now()).expect("an authority");
        data.remove(CA_KEY);
        let error = issuer("sms-ca", &data).expect_err("incomplete").to_string();
        assert_eq!(error, "the Secret sms-ca has no usable key ca.key");
    }
}
