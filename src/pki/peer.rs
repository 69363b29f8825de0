//! What a certificate says about its holder.
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Error;
use crate::domain::TenantId;

/// The tenant whose sender holds this (already verified) client certificate: its common name is `sender-<tenant id>`.
/// `None` for every other certificate.
#[must_use]
pub fn sender_of(certificate: &CertificateDer<'_>) -> Option<TenantId> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut names = parsed.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?.strip_prefix("sender-")?;
    // One name, and written the one way there is: no sign, no leading zero.
    let id = name.parse().ok().filter(|id: &i64| *id > 0 && id.to_string() == name)?;
    names.next().is_none().then_some(TenantId(id))
}

/// When the first certificate of a PEM text ends.
///
/// # Errors
/// When there is none, or it cannot be decoded.
pub fn expires(pem: &[u8]) -> Result<Timestamp, Error> {
    let der = CertificateDer::from_pem_slice(pem).map_err(|source| Error::ReadPem { what: "a certificate", source })?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| Error::Decode)?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).map_err(|_| Error::Decode)
}
