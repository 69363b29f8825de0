//! The installation's certificate authority. Its key is in one Secret that only the operator reads.
use jiff::{Span, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::Error;
use crate::domain::Secret;

/// How long the authority's own certificate holds, days.
const AUTHORITY_DAYS: i64 = 20 * 365;
/// How long a pod's certificate holds, days. The operator issues a new one when a third of that is left.
pub const POD_DAYS: i64 = 365;
/// How long the certificates hold that are made once with the installation, days.
pub const INSTALLATION_DAYS: i64 = 10 * 365;

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// A server, by the DNS names or addresses that its clients know it by; the first one is its common name too.
    Server(Vec<String>),
    /// A client, by its common name.
    Client(String),
}

impl Leaf {
    fn subject(&self) -> &str {
        match self {
            Self::Server(names) => names.first().map_or("", String::as_str),
            Self::Client(name) => name,
        }
    }

    fn params(&self, now: Timestamp, days: i64) -> Result<CertificateParams, rcgen::Error> {
        let (names, usage) = match self {
            Self::Server(names) => (names.clone(), ExtendedKeyUsagePurpose::ServerAuth),
            Self::Client(_) => (Vec::new(), ExtendedKeyUsagePurpose::ClientAuth),
        };
        let mut params = CertificateParams::new(names)?;
        name(&mut params, self.subject());
        validity(&mut params, now, days);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

/// A certificate with its private key, both PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key (PKCS #8).
    pub key: Secret,
}

/// A certificate authority that can issue leaves.
#[derive(Debug)]
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new authority; keep what it returns, it is the only copy of the key.
    ///
    /// # Errors
    /// When no key can be generated or used.
    pub fn generate(now: Timestamp) -> Result<Issued, Error> {
        let key = KeyPair::generate().map_err(Error::GenerateKey)?;
        let mut params = CertificateParams::default();
        name(&mut params, "Budstikke CA");
        validity(&mut params, now, AUTHORITY_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate =
            params.self_signed(&key).map_err(|source| Error::Sign { subject: "the authority".to_owned(), source })?;
        Ok(Issued { certificate: certificate.pem(), key: Secret::new(key.serialize_pem()) })
    }

    /// Takes up an authority from its PEM texts.
    ///
    /// # Errors
    /// When either text cannot be read.
    pub fn load(certificate: &str, key: &Secret) -> Result<Self, Error> {
        let key = KeyPair::from_pem(key.expose()).map_err(Error::LoadAuthority)?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key).map_err(Error::LoadAuthority)?;
        Ok(Self { certificate: certificate.to_owned(), issuer })
    }

    /// The authority's certificate, PEM: what peers verify each other against.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Issues a certificate with a key of its own, valid for so many days.
    ///
    /// # Errors
    /// When a name is not a DNS name or address, or no key can be generated.
    pub fn issue(&self, leaf: &Leaf, now: Timestamp, days: i64) -> Result<Issued, Error> {
        let sign = |source| Error::Sign { subject: leaf.subject().to_owned(), source };
        let key = KeyPair::generate().map_err(Error::GenerateKey)?;
        let certificate =
            leaf.params(now, days).and_then(|params| params.signed_by(&key, &self.issuer)).map_err(sign)?;
        Ok(Issued { certificate: certificate.pem(), key: Secret::new(key.serialize_pem()) })
    }
}

fn name(params: &mut CertificateParams, common_name: &str) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
}

/// Valid from the day before (clocks differ) for so many days.
fn validity(params: &mut CertificateParams, now: Timestamp, days: i64) {
    let today = now.to_zoned(TimeZone::UTC).date();
    let at = |date: jiff::civil::Date| {
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = at(today.saturating_sub(Span::new().days(1)));
    params.not_after = at(today.saturating_add(Span::new().days(days)));
}
