//! `admin`: the API for operators.

use schemars::JsonSchema;
use serde::Deserialize;

use super::address::BindAddress;
use super::check::{Check, Report};
use super::shape::{Shorthand, shorthand_type};
use super::spanned::{Spanned, Text};
use super::value::{Literal, Switched};

/// A shorter token is guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// The API for operators: metrics, health, status, reload and drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    pub bind: Spanned<Switched<BindAddress>>,
    pub token: Option<Text>,
    pub hosts: Vec<Text>,
}

/// The admin API in full.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminFull {
    /// Where it listens: an address, `unix:/path`, or `off`. An address that other machines reach needs a `token`.
    /// Default: `127.0.0.1:9901`.
    pub bind: Spanned<Switched<BindAddress>>,
    /// The bearer token that every call but `/healthz` and `/readyz` must carry, best as `${VAR}` or `${file:path}`.
    /// Default: none.
    pub token: Option<Text>,
    /// Names that `Host` may have besides the loopback addresses. Default: none.
    pub hosts: Vec<Text>,
}

impl Default for AdminFull {
    fn default() -> Self {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9901));
        Self { bind: Spanned::unwritten(Switched::On(BindAddress::Ip(address))), token: None, hosts: Vec::new() }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self::of_full(AdminFull::default())
    }
}

impl Shorthand for Admin {
    type Full = AdminFull;
    const EXPECTED: &'static str = "an address, `off`, or a map with `bind`";

    fn of_word(word: Text) -> Result<Self, String> {
        let bind = Switched::of_text(&word)?;
        Ok(Self { bind: word.map(|_| bind), token: None, hosts: Vec::new() })
    }

    fn of_full(full: AdminFull) -> Self {
        Self { bind: full.bind, token: full.token, hosts: full.hosts }
    }
}

shorthand_type!(Admin, { "type": "string", "format": "bind address" });

impl Check for Admin {
    fn check(&self, report: &mut Report<'_>) {
        if let Some(token) = self.token.as_ref().filter(|token| token.len() < TOKEN_BYTES_MIN) {
            let hint = format!("write at least {TOKEN_BYTES_MIN} characters, as `openssl rand -hex 32` prints");
            report.error("bad-value", token.span, "token", "the token is too short", hint);
        }
        if let Switched::On(bind) = &self.bind.value
            && !bind.is_local()
            && self.token.is_none()
            && report.lacks(&["token"])
        {
            let span = if self.bind.span.line == 0 { report.span } else { self.bind.span };
            let hint = "add `token: \"${ADMIN_TOKEN}\"`, or bind a loopback address or `unix:/path`";
            report.error("open-admin", span, "bind", "other machines reach the admin API without a token", hint);
        }
    }
}
