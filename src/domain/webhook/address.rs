//! Where an endpoint may be: an address of HTTPS, on a machine that the whole world can reach.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use crate::domain::Personal;

/// The most characters of an address.
const LONGEST: usize = 2000;

/// A checked address: `https`, with a host, without user, password and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    host: Host<String>,
    port: u16,
    target: Personal<String>,
}

/// Why a text is no address of an endpoint, and what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAddress {
    /// No URL, too long, or not of HTTPS.
    #[error("write an address that begins with https://, of 2000 characters at most")]
    Form,
    /// A user, password or fragment in it.
    #[error("write it without user, password and fragment; a token belongs in its path or query")]
    Extra,
}

impl WebhookUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// When it is none for an endpoint.
    pub fn parse(text: &str) -> Result<Self, NotAnAddress> {
        if text.len() > LONGEST {
            return Err(NotAnAddress::Form);
        }
        let url = Url::parse(text).map_err(|_| NotAnAddress::Form)?;
        if url.scheme() != "https" {
            return Err(NotAnAddress::Form);
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(NotAnAddress::Extra);
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(NotAnAddress::Form);
        };
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Ok(Self { host: host.to_owned(), port, target: Personal::new(target) })
    }

    /// The machine.
    #[must_use]
    pub fn host(&self) -> &Host<String> {
        &self.host
    }

    /// The port; 443 where none is named.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as a request says them. May hold a token.
    #[must_use]
    pub fn target(&self) -> &Personal<String> {
        &self.target
    }

    /// What stands in the `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == 443 { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }

    /// The address that is written out instead of a name.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        match self.host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
        }
    }
}

/// Whether an address belongs to a machine on the Internet: none of this machine, this network or this cloud, and none that stands
/// for one of those by translation.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    let reserved = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)                   // this network, private, this machine, multicast and beyond
            | (100, 64..=127, _)                         // of a provider (CGNAT)
            | (169, 254, _)                              // link-local; metadata of most clouds
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)                            // of protocols, for documents
            | (192, 88, 99)                              // relays of 6to4
            | (198, 18..=19, _)                          // benchmarks
            | (198, 51, 100)
            | (203, 0, 113)
    );
    // The host of every machine in one cloud, of all the world by its number.
    !reserved && (a, b, c, d) != (168, 63, 129, 16)
}

/// Global unicast alone: no loopback, link-local or unique local address, no multicast, no address of IPv4 inside one of IPv6 (mapped,
/// compatible, NAT64).
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    match (a, b) {
        (0x2001, 0..=0x01ff) => false,                    // of protocols, Teredo among them
        (0x2001, 0x0db8) | (0x3fff, 0..=0x0fff) => false, // for documents
        (0x2002, _) => false,                             // 6to4: an address of IPv4 inside
        (0x2000..=0x3fff, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_machines_on_the_internet_are_public() {
        for public in [
            "1.1.1.1",
            "99.255.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.3.1",
            "198.20.0.1",
            "223.255.255.255",
            "2a00:1450:400f::1",
            "2606:4700::1111",
            "2001:4860:4860::8888",
        ] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
        for private in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "168.63.129.16",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "fe80::1",
            "fec0::1",
            "fd00:ec2::254",
            "fc00::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "100::1",
            "5f00::1",
        ] {
            assert!(!is_public(private.parse().expect("an address")), "{private}");
        }
    }

    #[test]
    fn an_address_is_taken_apart_or_refused_in_words() {
        let url = WebhookUrl::parse("https://Hooks.Example.dk/sms/in?token=a%20b").expect("an address");
        assert_eq!((url.authority().as_str(), url.port()), ("hooks.example.dk", 443));
        assert_eq!(url.target().reveal(), "/sms/in?token=a%20b");
        assert_eq!(WebhookUrl::parse("https://[2a00::1]:8443").expect("an address").authority(), "[2a00::1]:8443");
        // However it is written, it is the address that it is.
        for written in ["https://127.1/", "https://0x7f000001/", "https://2130706433/"] {
            assert_eq!(WebhookUrl::parse(written).expect("an address").literal(), Some(Ipv4Addr::LOCALHOST.into()));
        }
        for wrong in [
            "",
            "hooks.example.dk",
            "http://hooks.example.dk/",
            "https://",
            "ftp://x/",
            &format!("https://x/{}", "y".repeat(2000)),
        ] {
            assert_eq!(WebhookUrl::parse(wrong), Err(NotAnAddress::Form), "{wrong}");
        }
        for extra in ["https://me@x.dk/", "https://me:secret@x.dk/", "https://x.dk/#here"] {
            assert_eq!(WebhookUrl::parse(extra), Err(NotAnAddress::Extra), "{extra}");
        }
        assert!(!format!("{url:?}").contains("token"), "a token is not shown");
    }
}
