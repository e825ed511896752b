//! Version 1: one line of text (section 2.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Claims, Endpoints, Header, Malformed, Progress, V1_PREFIX};

/// The longest line, its end included.
const LINE_BYTES_MAX: usize = 107;
/// The digits of the largest port.
const PORT_BYTES_MAX: usize = 5;

/// Reads a line whose beginning is known to be that of one. Nothing of it is looked at before it is complete.
pub(super) fn parse(bytes: &[u8]) -> Result<Progress<'_>, Malformed> {
    let window = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr2(b'\r', b'\n', window) else {
        return if window.len() < LINE_BYTES_MAX { Ok(Progress::Partial) } else { Err(Malformed::Line) };
    };
    match window[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if end + 2 <= LINE_BYTES_MAX => return Ok(Progress::Partial),
        _ => return Err(Malformed::Line),
    }
    let line = std::str::from_utf8(&window[V1_PREFIX.len().min(end)..end]).map_err(|_| Malformed::Line)?;
    Ok(Progress::Complete(Header { length: end + 2, endpoints: endpoints(line)?, claims: Claims::default() }))
}

/// What stands behind `PROXY `.
fn endpoints(line: &str) -> Result<Endpoints<'static>, Malformed> {
    let (family, rest) = line.split_once(' ').unwrap_or((line, ""));
    match family {
        // What follows is to be ignored.
        "UNKNOWN" => Ok(Endpoints::Unknown),
        "TCP4" => pair(rest, |text| text.parse::<Ipv4Addr>().map(IpAddr::V4).ok()),
        "TCP6" => pair(rest, |text| text.parse::<Ipv6Addr>().map(IpAddr::V6).ok()),
        _ => Err(Malformed::Family),
    }
}

fn pair(text: &str, ip: impl Fn(&str) -> Option<IpAddr>) -> Result<Endpoints<'static>, Malformed> {
    let mut parts = text.split(' ');
    let mut next = || parts.next().unwrap_or_default();
    let (source, destination) = (ip(next()).ok_or(Malformed::Address)?, ip(next()).ok_or(Malformed::Address)?);
    let (from, to) = (port(next())?, port(next())?);
    if parts.next().is_some() {
        return Err(Malformed::Line);
    }
    Ok(Endpoints::Inet { source: SocketAddr::new(source, from), destination: SocketAddr::new(destination, to) })
}

/// Digits, without a zero in front of others.
fn port(text: &str) -> Result<u16, Malformed> {
    let digits = text.len() <= PORT_BYTES_MAX && text.bytes().all(|octet| octet.is_ascii_digit());
    let zero = text.len() > 1 && text.starts_with('0');
    if digits && !zero { text.parse().map_err(|_| Malformed::Port) } else { Err(Malformed::Port) }
}
