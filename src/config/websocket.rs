//! `routes[].websocket`: what holds for the WebSockets of a route.

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::{Check, Report};
use super::shape::{OneOrMany, text_type};
use super::timeouts::Timeout;
use super::value::{Bounded, Period};

/// What holds for the WebSockets of a route; the timeouts of requests do not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Websocket {
    /// How long a WebSocket may be silent in both directions at once; then it is closed with status 1001. Default: `1h`.
    pub idle_timeout: Option<Bounded<Timeout>>,
    /// How long a WebSocket may live, however busy; then it is closed with status 1001. Default: `timeouts.lifetime`.
    pub lifetime: Option<Bounded<Timeout>>,
    /// Where pages that may open a WebSocket come from: `https://app.example.com`, or `https://*.example.com` for every
    /// name below; one or a list. A request without `Origin`, which no browser sends, is not refused. Default: any.
    pub origins: OneOrMany<Origin>,
}

/// Longer than any timeout of a request: what is silent is not gone, and costs next to nothing.
const IDLE_TIMEOUT: Timeout = Period::from_secs(3600);

impl Websocket {
    /// How long one may be silent.
    pub fn idle_timeout(&self) -> Bounded<Timeout> {
        self.idle_timeout.unwrap_or(Bounded::AtMost(IDLE_TIMEOUT))
    }
}

text_type!(
    /// Where a page comes from (RFC 6454), kept as browsers write it: lower case, and no port that the scheme implies.
    Origin,
    "a string that is an origin",
    |text| {
        const HINT: &str = "write scheme, host and port, as in `https://app.example.com` or `https://*.example.com`";
        let text = text.to_ascii_lowercase();
        let Some((scheme, authority)) = text.split_once("://") else {
            return Err(format!("this is not an origin\n{HINT}"));
        };
        let implied = match scheme {
            "https" => ":443",
            "http" => ":80",
            "ws" | "wss" => return Err(format!("an origin is that of the page, not of the WebSocket\n{HINT}")),
            _ => "",
        };
        let authority = authority.strip_suffix(implied).unwrap_or(authority);
        let host = authority.strip_prefix("*.").unwrap_or(authority);
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        // What browsers write of a host and a port, brackets of IPv6 included.
        let is_authority = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b));
        if !is_scheme || !is_authority {
            return Err(format!("this is not an origin, which has no path and no wildcard but `*.` in front\n{HINT}"));
        }
        Ok(format!("{scheme}://{authority}").into())
    }
);

impl Check for Websocket {
    fn check(&self, report: &mut Report<'_>) {
        if let (Some(Bounded::AtMost(idle)), Some(Bounded::AtMost(lifetime))) = (self.idle_timeout, self.lifetime)
            && idle.get() >= lifetime.get()
        {
            let hint = "write a shorter time, or remove it";
            report.warning("without-effect", report.span, "idle_timeout", "the lifetime ends before it", hint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_kept_as_browsers_write_it() {
        for (written, kept) in [
            ("https://App.example.com", "https://app.example.com"),
            ("https://a:443", "https://a"),
            ("http://a:80", "http://a"),
            ("http://a:443", "http://a:443"),
            ("https://*.a.b", "https://*.a.b"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(Origin::parse(written).unwrap().as_str(), kept, "{written}");
        }
    }

    #[test]
    fn what_no_browser_would_send_is_refused() {
        for written in
            ["", "a", "null", "*", "https://", "https://a/", "https://a/b", "https://*", "https://a.*", "wss://a"]
        {
            assert!(Origin::parse(written).is_err(), "{written}");
        }
    }
}
