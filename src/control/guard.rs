//! Who may call the admin API: whoever names it by a name of ours, from no foreign page, with the token if there is one.
//!
//! A browser on an operator's machine reaches loopback addresses. A rebound DNS name shows in `Host`, a foreign page in
//! `Origin` or `Sec-Fetch-Site`; both are refused before anything is done.

use std::net::IpAddr;

/// What a call says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Call<'a> {
    pub path: &'a str,
    /// Whether it can change something: everything but GET and HEAD.
    pub mutating: bool,
    /// `Host`, or the authority of an absolute target.
    pub host: Option<&'a str>,
    pub origin: Option<&'a str>,
    pub fetch_site: Option<&'a str>,
    pub authorization: Option<&'a str>,
}

/// What is asked of every call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    /// Names that `Host` may have besides loopback addresses.
    pub hosts: &'a [&'a str],
    pub token: Option<&'a str>,
    /// A Unix socket is reached by path alone: its permissions say who may.
    pub unix: bool,
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denial {
    #[error("the Host is neither a loopback address nor one of `admin.hosts`")]
    Host,
    #[error("the call comes from a foreign page")]
    Foreign,
    #[error("the bearer token is missing or wrong")]
    Token,
}

impl Denial {
    pub fn status(self) -> u16 {
        match self {
            Self::Host | Self::Foreign => 403,
            Self::Token => 401,
        }
    }
}

/// Lets the call pass, or says why not.
pub(super) fn check(call: &Call<'_>, rules: &Rules<'_>) -> Result<(), Denial> {
    if !rules.unix && !call.host.is_some_and(|host| is_ours(host, rules.hosts)) {
        return Err(Denial::Host);
    }
    if call.mutating && is_foreign(call) {
        return Err(Denial::Foreign);
    }
    match rules.token {
        Some(token) if !is_probe(call.path) && !carries(call.authorization, token) => Err(Denial::Token),
        _ => Ok(()),
    }
}

/// Probes of load balancers carry no token and learn one bit.
fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// Whether a `Host` names a loopback address or one of `hosts`, whatever the port.
fn is_ours(host: &str, hosts: &[&str]) -> bool {
    let Some(name) = without_port(host) else { return false };
    let address = name.strip_prefix('[').map_or(name, |rest| rest.strip_suffix(']').unwrap_or(rest));
    if let Ok(ip) = address.parse::<IpAddr>() {
        return ip.is_loopback() || hosts.contains(&name) || hosts.contains(&address);
    }
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    is("localhost") || hosts.iter().any(|known| is(known))
}

fn without_port(host: &str) -> Option<&str> {
    let end = match host.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let digits = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    (digits && !name.is_empty()).then_some(name)
}

/// Whether a browser sent it on behalf of another page. Other clients send neither field.
fn is_foreign(call: &Call<'_>) -> bool {
    let site = call.fetch_site.is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let origin = call.origin.is_some_and(|origin| {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority.is_none_or(|authority| call.host != Some(authority))
    });
    site || origin
}

fn carries(authorization: Option<&str>, token: &str) -> bool {
    let given = authorization.and_then(|value| {
        let (scheme, given) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(given.trim())
    });
    given.is_some_and(|given| same(given.as_bytes(), token.as_bytes()))
}

/// Equality whose time tells the length and nothing else.
fn same(given: &[u8], token: &[u8]) -> bool {
    let differences = given.iter().zip(token).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    given.len() == token.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules<'static> = Rules { hosts: &["gate.internal", "10.0.0.7"], token: None, unix: false };

    fn at(host: &str) -> Result<(), Denial> {
        check(&Call { path: "/status", host: Some(host), ..Call::default() }, &RULES)
    }

    fn post<'a>(origin: Option<&'a str>, fetch_site: Option<&'a str>) -> Result<(), Denial> {
        let host = Some("127.0.0.1:9901");
        check(&Call { path: "/drain", mutating: true, host, origin, fetch_site, ..Call::default() }, &RULES)
    }

    #[test]
    fn a_loopback_literal_is_ours_whatever_the_port() {
        for host in ["127.0.0.1", "127.0.0.1:9901", "127.8.9.1:1", "[::1]:9901", "[::1]", "localhost:9901", "LOCALHOST"]
        {
            assert_eq!(at(host), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_configured_name_is_ours() {
        for host in ["gate.internal", "Gate.Internal:9901", "10.0.0.7:9901"] {
            assert_eq!(at(host), Ok(()), "{host}");
        }
    }

    #[test]
    fn any_other_host_is_refused() {
        for host in [
            "evil.test",
            "evil.test:9901",
            "127.0.0.1.evil.test",
            "localhost.evil.test",
            "10.0.0.8",
            "",
            ":9901",
            "[::1",
            "[::1]x",
            "localhost:x",
            "127.0.0.1:9901:1",
            "::1",
            "0.0.0.0",
            "user@localhost",
        ] {
            assert_eq!(at(host), Err(Denial::Host), "{host}");
        }
        assert_eq!(check(&Call { path: "/status", ..Call::default() }, &RULES), Err(Denial::Host));
    }

    #[test]
    fn a_unix_socket_asks_for_no_host() {
        let rules = Rules { unix: true, ..RULES };
        assert_eq!(check(&Call { path: "/status", host: Some("x"), ..Call::default() }, &rules), Ok(()));
    }

    #[test]
    fn a_mutating_call_from_a_foreign_page_is_refused() {
        for origin in ["http://evil.test", "null", "http://127.0.0.1:8080", "file://127.0.0.1:9901", ""] {
            assert_eq!(post(Some(origin), None), Err(Denial::Foreign), "{origin}");
        }
        for site in ["cross-site", "same-site", "else"] {
            assert_eq!(post(None, Some(site)), Err(Denial::Foreign), "{site}");
        }
    }

    #[test]
    fn our_own_page_and_a_command_line_may_call() {
        assert_eq!(post(Some("http://127.0.0.1:9901"), Some("same-origin")), Ok(()));
        assert_eq!(post(None, Some("none")), Ok(()));
        assert_eq!(post(None, None), Ok(()));
    }

    #[test]
    fn a_token_is_asked_for_everywhere_but_at_the_probes() {
        let rules = Rules { token: Some("0123456789abcdef"), ..RULES };
        let call = |path, authorization| {
            check(&Call { path, host: Some("localhost"), authorization, ..Call::default() }, &rules)
        };
        assert_eq!(call("/healthz", None), Ok(()));
        assert_eq!(call("/readyz", None), Ok(()));
        assert_eq!(call("/metrics", Some("Bearer 0123456789abcdef")), Ok(()));
        assert_eq!(call("/metrics", Some("bearer  0123456789abcdef")), Ok(()));
        for wrong in [
            None,
            Some("0123456789abcdef"),
            Some("Bearer 0123456789abcdeF"),
            Some("Bearer 0123456789abcdef0"),
            Some("Bearer 012345678"),
            Some("Bearer "),
            Some("Basic 0123456789abcdef"),
        ] {
            assert_eq!(call("/metrics", wrong), Err(Denial::Token), "{wrong:?}");
        }
    }
}
