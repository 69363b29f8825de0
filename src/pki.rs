//! Certificates: the installation's own authority, the leaves it issues, and the TLS settings that use them.
//! Every connection between two parts of the installation is verified in both directions or by name (D8).
mod authority;
mod peer;
mod tls;

#[cfg(test)]
mod tests;

pub use authority::{Authority, INSTALLATION_DAYS, Issued, Leaf, POD_DAYS};
pub use peer::{expires, sender_of};
pub use tls::{Identity, client_config, mutual_server_config, server_config, upstream_config};

/// Why certificates could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key pair could not be generated.
    #[error("generate a key pair: {0}")]
    GenerateKey(#[source] rcgen::Error),
    /// A certificate could not be signed.
    #[error("sign the certificate of {subject}: {source}")]
    Sign {
        /// Whose certificate it was to be.
        subject: String,
        /// What the library said.
        source: rcgen::Error,
    },
    /// The authority's certificate or key is unusable.
    #[error("load the certificate authority: {0}")]
    LoadAuthority(#[source] rcgen::Error),
    /// A PEM text does not hold what it should.
    #[error("read {what} from PEM: {source}")]
    ReadPem {
        /// What was looked for.
        what: &'static str,
        /// What the library said.
        source: rustls_pki_types::pem::Error,
    },
    /// A certificate cannot be decoded.
    #[error("decode a certificate")]
    Decode,
    /// TLS refuses the material.
    #[error("set up TLS: {0}")]
    Tls(#[source] rustls::Error),
    /// The verifier of peers' certificates cannot be built.
    #[error("set up the verification of peers: {0}")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}
