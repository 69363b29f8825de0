//! How to reach an upstream: SMPP or HTTPS, with its TLS and credentials (M1, D8).
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{
    schema::also,
    values::{Host, HttpsUrl, Name, Reference},
};

/// How to reach an upstream: exactly one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Upstream {
    /// SMPP 3.4 or 5.0 over TCP with TLS (M1).
    Smpp(SmppUpstream),
    /// A REST API over HTTPS in Sinch's form (M1).
    Https(HttpsUpstream),
}

/// An SMPP upstream (M1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SmppUpstream {
    /// Host name or IPv4 address.
    pub host: Host,
    /// TCP port, 1 to 65535.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
    /// TLS. Default: verified against the public authorities (D8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// A Secret with `systemId` (at most 15 characters) and `password` (at most 8).
    pub credentials_ref: Reference,
    /// How the binds are made. Default `transceiver`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_mode: Option<BindMode>,
    /// Protocol version told at the bind. Default `v34`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<SmppVersion>,
    /// The `system_type` that the upstream asks for, at most 12 ASCII characters. Default: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), transform = also(
        "self.matches('^[ -~]*$')", "write ASCII characters only"
    ))]
    pub system_type: Option<String>,
    /// Types and plans of numbers. Default: by the form of each address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addressing: Option<Addressing>,
}

/// TLS towards an upstream (D8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = also(
    "!has(self.mode) || self.mode != 'disabled' || !(has(self.serverName) || has(self.caRef) || has(self.clientCertificateRef))",
    "`mode: disabled` has no names or certificates: leave the other fields out, or write `mode: verify`"
))]
pub struct Tls {
    /// `verify` the upstream's certificate, or `disabled`: plain TCP, and D8 is not kept. Default `verify` (D8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<TlsMode>,
    /// The name in the upstream's certificate. Default: the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Host>,
    /// A Secret whose `ca.crt` holds the authorities to trust. Default: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<Reference>,
    /// A Secret of type `kubernetes.io/tls` with our own certificate, where the upstream asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<Reference>,
}

/// Whether TLS is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TlsMode {
    /// TLS 1.2 or newer with a verified certificate.
    #[default]
    Verify,
    /// Plain TCP: for a simulator or a private line; the route's status says that D8 is not kept.
    Disabled,
}

/// How binds are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BindMode {
    /// Each bind sends and receives.
    #[default]
    Transceiver,
    /// Binds come in pairs: a transmitter and a receiver. A pair counts as one of `binds`.
    TransmitterReceiver,
}

/// An SMPP version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SmppVersion {
    /// SMPP 3.4.
    #[default]
    V34,
    /// SMPP 5.0.
    V50,
}

/// Types and plans of numbers, where the upstream wants others than the usual ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Addressing {
    /// Type of a numeric sender. Default: `international`, for short codes `networkSpecific`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ton: Option<Ton>,
    /// Plan of a numeric sender. Default `isdn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_npi: Option<Npi>,
    /// Type of the recipient. Default `international`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_ton: Option<Ton>,
    /// Plan of the recipient. Default `isdn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_npi: Option<Npi>,
    /// The `address_range` told at the bind. Default: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), transform = also(
        "self.matches('^[ -~]*$')", "write ASCII characters only"
    ))]
    pub address_range: Option<String>,
}

/// SMPP type of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub enum Ton {
    Unknown,
    International,
    National,
    NetworkSpecific,
    Subscriber,
    Alphanumeric,
    Abbreviated,
}

/// SMPP numbering plan indicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub enum Npi {
    Unknown,
    Isdn,
    Data,
    Telex,
    LandMobile,
    National,
    Private,
    Ermes,
    Internet,
    Wap,
}

/// An HTTPS upstream in Sinch's form (M1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpsUpstream {
    /// The service's address, up to and without the plan: `https://eu.sms.api.sinch.com/xms/v1`.
    pub url: HttpsUrl,
    /// The service plan's id at the upstream.
    #[schemars(length(max = 64), transform = also(
        "self.matches('^[A-Za-z0-9_-]+$')", "write the service plan id as the upstream shows it: letters, digits, - and _"
    ))]
    pub service_plan_id: String,
    /// A Secret with `token`, and with `callbackSecret` (12 characters or more), by which the upstream signs its callbacks;
    /// without receipts and inbound SMS there are none, and it may be left out.
    pub credentials_ref: Reference,
    /// A Secret whose `ca.crt` holds the authorities to trust. Default: the public ones (D8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<Reference>,
    /// Callbacks arrive at port 8443 of the Service `connector-<route>`, at `/callbacks/` and this. Default: the route's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_path: Option<Name>,
}
