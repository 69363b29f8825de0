//! TLS settings from PEM texts. Inside the installation only TLS 1.3 is spoken; the public API speaks 1.2 too.
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::Error;
use crate::domain::Secret;

/// What one side of a connection shows and whom it trusts, as PEM texts. Compared to see whether they changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The own certificate, with those between it and the authority.
    pub certificate: String,
    /// The own private key.
    pub key: Secret,
    /// The authority that the other side's certificate must come from.
    pub authority: String,
}

/// For a client that shows its certificate and trusts only the authority (sender → connector).
///
/// # Errors
/// When a text cannot be read or the key is not the certificate's.
pub fn client_config(identity: &Identity) -> Result<Arc<ClientConfig>, Error> {
    let config = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_root_certificates(roots(&identity.authority)?)
        .with_client_auth_cert(chain(&identity.certificate)?, key(&identity.key)?)
        .map_err(Error::Tls)?;
    Ok(Arc::new(config))
}

/// For a client of an upstream: shows no certificate, and trusts `authority` (PEM) or, without one, the public ones. An
/// upstream that still speaks TLS 1.2 is spoken to.
///
/// # Errors
/// When the text cannot be read.
pub fn upstream_config(authority: Option<&str>) -> Result<Arc<ClientConfig>, Error> {
    let roots = match authority {
        Some(pem) => roots(pem)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// For a server whose clients must show a certificate of the authority (the connector's side for senders).
///
/// # Errors
/// When a text cannot be read or the key is not the certificate's.
pub fn mutual_server_config(identity: &Identity) -> Result<Arc<ServerConfig>, Error> {
    let verifier =
        WebPkiClientVerifier::builder(Arc::new(roots(&identity.authority)?)).build().map_err(Error::Verifier)?;
    let config = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(&identity.certificate)?, key(&identity.key)?)
        .map_err(Error::Tls)?;
    Ok(Arc::new(config))
}

/// For a server whose clients authenticate by other means (the API). `protocols` are offered by ALPN, best first.
///
/// # Errors
/// When a text cannot be read or the key is not the certificate's.
pub fn server_config(certificate: &str, private: &Secret, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain(certificate)?, key(private)?)
        .map_err(Error::Tls)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|source| Error::ReadPem { what: "certificates", source })
}

fn key(pem: &Secret) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem.expose().as_bytes())
        .map_err(|source| Error::ReadPem { what: "a private key", source })
}

fn roots(pem: &str) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(pem)? {
        roots.add(certificate).map_err(Error::Tls)?;
    }
    Ok(roots)
}
