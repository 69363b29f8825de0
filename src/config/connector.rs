//! What the operator tells a connector (Secret `connector-<route>`). Tenants, weights and numbers are not here: a
//! connector reads those from PostgreSQL, so that none of them touches its pods.
use std::num::{NonZeroU16, NonZeroU64};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Error, Load, files, names};
use crate::domain::{RouteId, Secret};
use crate::pki::Identity;

/// Everything in a connector's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorConfig {
    /// Settings without secrets.
    pub settings: Settings,
    /// URL of the data instance with the route's own login.
    pub database_url: Secret,
    /// File with the authority of the data instance's certificate.
    pub database_ca: PathBuf,
    /// Key of the check of a receipt's destination, base64 of 32 bytes.
    pub tag_key: Secret,
    /// Who we are at the upstream: a user name, or over HTTPS the service plan.
    pub system_id: Secret,
    /// The upstream's password, or over HTTPS its token.
    pub password: Secret,
    /// Over HTTPS: what the upstream signs its callbacks with. Without it none is believed.
    pub callback_secret: Option<Secret>,
    /// The authority of the upstream's certificate, PEM; `None`: the public ones.
    pub upstream_ca: Option<String>,
    /// The certificate shown to senders.
    pub identity: Identity,
}

/// `config.json` of a connector. Binds and rate are the route's; each pod takes its [`Settings::share`] of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Which route it is.
    pub route_id: RouteId,
    /// Its name, for logs and metrics.
    pub name: String,
    /// Host name or address of the upstream.
    pub host: String,
    /// Port of the upstream.
    pub port: u16,
    /// The name that the upstream's certificate must carry; absent: plain TCP.
    #[serde(default)]
    pub tls_name: Option<String>,
    /// SMPP `system_type` of the bind.
    #[serde(default)]
    pub system_type: String,
    /// SMPP `address_range` of the bind.
    #[serde(default)]
    pub address_range: String,
    /// Numbers of the types and plans of addresses, where the upstream wants others than those of the addresses' form.
    #[serde(default)]
    pub addressing: Addressing,
    /// How the binds are made.
    pub bind: Bind,
    /// Binds that the upstream allows. With [`Bind::Separate`] each is one transmitter and one receiver.
    pub binds: u16,
    /// PDUs per second, in thousandths.
    pub rate_millis: u64,
    /// PDUs per second of one tenant, at most, in thousandths. A tenant's sender is bound to one of several pods at a time, so each
    /// holds it to all of this. Absent: as many as the route's.
    #[serde(default)]
    pub tenant_rate_millis: Option<u64>,
    /// Unanswered PDUs per bind, at most.
    pub window: u16,
    /// Milliseconds to connect, TLS included.
    pub connect_millis: u64,
    /// Milliseconds from the bind to its answer.
    pub bind_millis: u64,
    /// Milliseconds from the write of a PDU to its answer.
    pub response_millis: u64,
    /// Milliseconds of silence after which the link is asked for.
    pub enquire_millis: u64,
    /// The first pause before a bind is made anew, milliseconds; it doubles, with jitter.
    pub reconnect_min_millis: u64,
    /// The longest such pause, milliseconds.
    pub reconnect_max_millis: u64,
    /// How the upstream writes message ids.
    pub id_format: IdFormat,
    /// The upstream speaks HTTPS, and not SMPP. Then `tls_name` is always there.
    #[serde(default)]
    pub https: Option<Https>,
}

/// What an upstream over HTTPS needs beside host, port and TLS. Each bind is one connection then, and the window the most
/// messages that it takes at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Https {
    /// The path of its address, without a slash at the end: `/xms/v1`. The service plan follows.
    pub path: String,
    /// Callbacks arrive at `/callbacks/` and this.
    pub callback_path: String,
}

impl Settings {
    /// The part of one of so many pods. What does not divide is left: all together never have more than the whole.
    #[must_use]
    pub fn share(&self, pods: NonZeroU16) -> Self {
        let (binds, rate_millis) = (self.binds / pods, self.rate_millis / NonZeroU64::from(pods));
        Self { binds, rate_millis, ..self.clone() }
    }

    /// To connect, TLS included, at most.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_millis)
    }

    /// From the bind to its answer, at most.
    #[must_use]
    pub fn bind_timeout(&self) -> Duration {
        Duration::from_millis(self.bind_millis)
    }

    /// From the write of a PDU to its answer, at most.
    #[must_use]
    pub fn response_timeout(&self) -> Duration {
        Duration::from_millis(self.response_millis)
    }

    /// Silence after which the link is asked for.
    #[must_use]
    pub fn enquire_interval(&self) -> Duration {
        Duration::from_millis(self.enquire_millis)
    }
}

/// SMPP numbers of types (TON) and plans (NPI) of addresses; absent: by the form of each address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Addressing {
    /// Type of a numeric sender.
    pub source_ton: Option<u8>,
    /// Plan of a numeric sender.
    pub source_npi: Option<u8>,
    /// Type of the recipient.
    pub destination_ton: Option<u8>,
    /// Plan of the recipient.
    pub destination_npi: Option<u8>,
}

/// How binds are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Bind {
    /// One session both ways.
    Transceiver,
    /// A transmitter and a receiver.
    Separate,
}

/// How the upstream writes message ids in answers and in receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IdFormat {
    /// The same text or number in both, but for case and leading zeros.
    Same,
    /// Hexadecimal in the answer, decimal in the receipt.
    HexThenDecimal,
    /// Decimal in the answer, hexadecimal in the receipt.
    DecimalThenHex,
}

impl Load for ConnectorConfig {
    fn load(dir: &Path) -> Result<Self, Error> {
        Ok(Self {
            settings: files::json(dir, names::CONFIG)?,
            database_url: files::secret(dir, names::DATABASE_URL)?,
            database_ca: dir.join(names::DATABASE_CA),
            tag_key: files::secret(dir, names::TAG_KEY)?,
            system_id: files::secret(dir, names::SYSTEM_ID)?,
            password: files::secret(dir, names::PASSWORD)?,
            callback_secret: files::optional(dir, names::CALLBACK_SECRET)?
                .map(|text| Secret::new(text.trim_end_matches(['\r', '\n']))),
            upstream_ca: files::optional(dir, names::UPSTREAM_CA)?,
            identity: files::identity(dir)?,
        })
    }
}
