//! What pods prove themselves with: a certificate, a database login, keys. Made once, kept in the pods' Secret, and
//! taken from there again as long as it is good; a key that must outlive the Secret is in the keyring.
use std::collections::BTreeMap;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::{Timestamp, ToSpan as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use zeroize::Zeroizing;

use super::context::{Context, DataInstance};
use super::failure::Failure;
use crate::config::names;
use crate::domain::{RouteId, Secret};
use crate::pki::{self, Issued, Leaf, POD_DAYS};
use crate::store::logins::{self, Holder};

/// The content of a Secret.
pub(super) type Data = BTreeMap<String, ByteString>;

/// A text in a Secret.
pub(super) fn text<'a>(secret: Option<&'a KubeSecret>, key: &str) -> Option<&'a str> {
    let ByteString(bytes) = secret?.data.as_ref()?.get(key)?;
    std::str::from_utf8(bytes).ok()
}

/// An entry of a Secret.
pub(super) fn entry(key: &str, text: &str) -> (String, ByteString) {
    (key.to_owned(), ByteString(text.as_bytes().to_vec()))
}

/// The address of the data instance with a login of its own; the login is made, or made anew, where it is missing.
pub(super) async fn database(
    context: &Context,
    live: Option<&KubeSecret>,
    holder: Holder,
) -> Result<[(String, ByteString); 2], Failure> {
    let login = holder.role_name();
    let known = text(live, names::DATABASE_URL).and_then(|url| DataInstance::password(url, &login));
    let password = match known {
        Some(password) if logins::exists(&context.pool, holder).await.map_err(Failure::Login)? => password,
        _ => {
            let password = Secret::new(BASE64_URL_SAFE_NO_PAD.encode(*random()?));
            logins::ensure(&context.pool, holder, &password).await.map_err(Failure::Login)?;
            password
        }
    };
    let url = context.database.url(&login, &password);
    Ok([entry(names::DATABASE_URL, url.expose()), entry(names::DATABASE_CA, &context.database.ca)])
}

/// A certificate of the installation's authority. A new one is issued when a third of its time is left, when the
/// authority is another one, or when it is not `good` for its holder.
pub(super) fn certificate(
    context: &Context,
    live: Option<&KubeSecret>,
    leaf: &Leaf,
    good: impl Fn(&str) -> bool,
) -> Result<[(String, ByteString); 3], Failure> {
    let now = context.clock.now();
    let authority = context.authority.certificate();
    let known = || {
        let certificate = text(live, names::CERTIFICATE)?;
        let same = text(live, names::AUTHORITY) == Some(authority);
        (same && good(certificate) && lasts(certificate, now)).then(|| (certificate, text(live, names::KEY)))
    };
    if let Some((certificate, Some(key))) = known() {
        return Ok(triple(certificate, key, authority));
    }
    let Issued { certificate, key } = context.authority.issue(leaf, now, POD_DAYS).map_err(Failure::Certificate)?;
    Ok(triple(&certificate, key.expose(), authority))
}

fn triple(certificate: &str, key: &str, authority: &str) -> [(String, ByteString); 3] {
    [entry(names::CERTIFICATE, certificate), entry(names::KEY, key), entry(names::AUTHORITY, authority)]
}

fn lasts(certificate: &str, now: Timestamp) -> bool {
    let needed = now.saturating_add((POD_DAYS / 3 * 24).hours()).unwrap_or(now);
    pki::expires(certificate.as_bytes()).is_ok_and(|end| end > needed)
}

/// The key of a connector's checks of destinations. Kept in the keyring: were it lost with a Secret, or made anew by a
/// rotation, no receipt that is still to come would find its message.
pub(super) async fn tag_key(context: &Context, route: RouteId) -> Result<(String, ByteString), Failure> {
    let key = context.keyring.route_key(route).await.map_err(Failure::Keyring)?;
    Ok(entry(names::TAG_KEY, &BASE64_STANDARD.encode(*key)))
}

fn random() -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| Failure::Random)?;
    Ok(bytes)
}
