//! Addresses: what a listener binds, where an endpoint is, and networks.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer};

use crate::base::Address;

use super::value::{Literal, literal, literal_type};

/// `sun_path` on Linux, less the final zero.
const UNIX_PATH_BYTES_MAX: usize = 107;
/// RFC 1035, section 2.3.4.
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Where a listener or the admin API listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BindAddress {
    Ip(SocketAddr),
    Unix(PathBuf),
}

impl BindAddress {
    /// As streams know it.
    pub fn address(&self) -> Address {
        match self {
            Self::Ip(address) => Address::Ip(*address),
            Self::Unix(path) => Address::Unix(path.as_path().into()),
        }
    }

    /// Whether only this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Ip(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

const BIND_HINT: &str = "write `\"0.0.0.0:8080\"`, `\"[::]:8080\"` or `unix:/path`";

impl Literal for BindAddress {
    const EXPECTED: &'static str = "an address such as `\"0.0.0.0:8080\"`";

    fn of_text(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(Self::Unix);
        }
        if text.starts_with(':') || text.starts_with("*:") {
            return Err(
                "an address to bind needs its host\nwrite `\"[::]:8080\"` for every address, IPv4 included".into()
            );
        }
        text.parse().map(Self::Ip).map_err(|_| format!("this is not an address to bind\n{BIND_HINT}"))
    }

    fn of_number(_: u64) -> Result<Self, String> {
        Err(format!("a port alone is not an address\n{BIND_HINT}"))
    }
}

/// Permissions of the file of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketMode(u32);

impl SocketMode {
    /// As the kernel knows it.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

const MODE_HINT: &str = "write three octal digits in quotes, as `\"0660\"`: for the owner, the group, all others";

impl Literal for SocketMode {
    const EXPECTED: &'static str = "permissions such as `\"0660\"`";

    fn of_text(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix('0').filter(|digits| digits.len() == 3).unwrap_or(text);
        let octal = digits.len() == 3 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        let mode = u32::from_str_radix(digits, 8).ok().filter(|_| octal);
        mode.map(Self).ok_or_else(|| format!("these are no permissions\n{MODE_HINT}"))
    }

    fn of_number(_: u64) -> Result<Self, String> {
        Err(format!("a number may be meant as octal or not\n{MODE_HINT}"))
    }
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    Ip(SocketAddr),
    /// Resolved at load, and again as its records expire.
    Name {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl EndpointAddress {
    /// As streams know it; none while it is a name that must be resolved.
    pub fn address(&self) -> Option<Address> {
        match self {
            Self::Ip(address) => Some(Address::Ip(*address)),
            Self::Name { .. } => None,
            Self::Unix(path) => Some(Address::Unix(path.as_path().into())),
        }
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

const ENDPOINT_HINT: &str = "write `\"10.0.0.1:8080\"`, `\"[::1]:8080\"`, `\"host.name:8080\"` or `unix:/path`";

impl Literal for EndpointAddress {
    const EXPECTED: &'static str = "an address such as `\"10.0.0.1:8080\"`";

    fn of_text(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(Self::Unix);
        }
        if text.contains("://") {
            return Err(format!("an endpoint is an address, not a URL\n{ENDPOINT_HINT}"));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 { Err(port_hint()) } else { Ok(Self::Ip(address)) };
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(port_hint());
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(port_hint)?;
        let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(port_hint)?;
        if !is_host_name(host) {
            return Err(format!("this is not an address\n{ENDPOINT_HINT}"));
        }
        Ok(Self::Name { host: host.to_ascii_lowercase(), port })
    }

    fn of_number(_: u64) -> Result<Self, String> {
        Err(format!("a port alone is not an address\n{ENDPOINT_HINT}"))
    }
}

fn port_hint() -> String {
    format!("an endpoint needs a port from 1 to 65535\n{ENDPOINT_HINT}")
}

fn unix_path(path: &str) -> Result<PathBuf, String> {
    if !path.starts_with('/') {
        return Err("a Unix socket needs an absolute path\nwrite `unix:/run/name.sock`".into());
    }
    if path.len() > UNIX_PATH_BYTES_MAX || path.contains('\0') {
        return Err(format!(
            "the path of a Unix socket has at most {UNIX_PATH_BYTES_MAX} bytes\nchoose a shorter path"
        ));
    }
    Ok(Path::new(path).to_owned())
}

/// A name of ASCII labels; other scripts are written as A-labels (`xn--…`). A last label of digits only would be a
/// mistyped IPv4 address.
pub(super) fn is_host_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        inner && (1..=LABEL_BYTES_MAX).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let last_is_number = host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    host.len() <= HOST_BYTES_MAX && host.split('.').all(label) && !last_is_number
}

/// A network: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

impl Network {
    pub fn get(self) -> IpNet {
        self.0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const NETWORK_HINT: &str = "write `10.0.0.0/8`, `2001:db8::/32` or one address";

impl Literal for Network {
    const EXPECTED: &'static str = "a network such as `10.0.0.0/8`";

    fn of_text(text: &str) -> Result<Self, String> {
        let address = text.parse::<IpAddr>().ok().map(IpNet::from);
        let network = address.or_else(|| text.parse::<IpNet>().ok());
        let network = network.ok_or_else(|| format!("this is not a network\n{NETWORK_HINT}"))?;
        if network.addr() != network.network() {
            return Err(format!("the address has bits beyond its prefix\nwrite `{}`", Masked(network)));
        }
        Ok(Self(network))
    }

    fn of_number(_: u64) -> Result<Self, String> {
        Err(format!("this is not a network\n{NETWORK_HINT}"))
    }
}

/// The prefix length says enough; the address itself is not repeated, for it may have come from `${…}`.
struct Masked(IpNet);

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0.max_prefix_len() - self.0.prefix_len();
        write!(f, "…/{}` with the last {bits} bits zero, or `…/{}", self.0.prefix_len(), self.0.max_prefix_len())
    }
}

literal_type!([] BindAddress, "bind address", |_generator| {
    json_schema!({ "type": "string", "format": "bind address" })
});
literal_type!([] EndpointAddress, "endpoint address", |_generator| {
    json_schema!({ "type": "string", "format": "endpoint address" })
});
literal_type!([] SocketMode, "permissions", |_generator| {
    json_schema!({ "type": "string", "format": "permissions", "pattern": "^(0?[0-7]{3}|.*\\$\\{.*)$" })
});
literal_type!([] Network, "network", |_generator| json_schema!({ "type": "string", "format": "network" }));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_binds_ip_addresses_and_unix_sockets() {
        for text in ["0.0.0.0:8080", "[::]:8080", "127.0.0.1:0", "unix:/run/tidegate.sock"] {
            assert_eq!(BindAddress::of_text(text).unwrap().to_string(), text);
        }
        for text in ["", "8080", ":8080", "*:8080", "localhost:8080", "0.0.0.0", "::1:80", "unix:relative", "unix:"] {
            assert!(BindAddress::of_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_endpoint_is_an_address_or_a_name_with_a_port() {
        for text in ["10.0.0.1:8080", "[::1]:80", "orders.internal:80", "a_b:1", "unix:/run/app.sock"] {
            assert_eq!(EndpointAddress::of_text(text).unwrap().to_string(), text);
        }
        for text in
            ["", "10.0.0.1", "::1", "host", "host:0", "host:65536", "http://a:1", "10.0.0.256:80", "a b:1", "-a:1"]
        {
            assert!(EndpointAddress::of_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn permissions_are_three_octal_digits() {
        for (text, mode) in [("0660", 0o660), ("660", 0o660), ("0777", 0o777), ("000", 0)] {
            assert_eq!(SocketMode::of_text(text).unwrap().get(), mode);
        }
        for text in ["", "66", "0668", "rw", "01777", "00660", "0o660", "+66"] {
            assert!(SocketMode::of_text(text).is_err(), "{text}");
        }
        assert!(SocketMode::of_number(660).is_err());
    }

    #[test]
    fn loopback_and_unix_sockets_are_local() {
        let local = |text| BindAddress::of_text(text).unwrap().is_local();
        assert!(local("127.0.0.1:1") && local("[::1]:1") && local("unix:/x"));
        assert!(!local("0.0.0.0:1") && !local("[::]:1"));
    }

    #[test]
    fn a_network_has_no_bits_beyond_its_prefix() {
        assert_eq!(Network::of_text("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert_eq!(Network::of_text("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert!(Network::of_text("10.0.0.1/8").unwrap_err().contains("last 24 bits"));
        assert!(Network::of_text("10.0.0.0/33").is_err());
    }
}
