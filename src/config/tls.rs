//! `tls`: certificates towards clients, trust towards upstreams.
//!
//! The files that a path names are read when the configuration is, so that whoever compiles needs no disk. What they
//! hold never appears in any output.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::address::is_host_name;
use super::check::Report;
use super::interpolate::World;
use super::passthrough::Passthrough;
use super::pin::Pin;
use super::shape::{OneOrMany, Shorthand, shorthand_type};
use super::spanned::Text;
use super::value::{Literal, Period};

/// How a listener speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// A certificate, or a list: each is shown to clients that ask for one of its names; the first also to those that ask
    /// for none, or for an unknown one. Required where not every connection is passed on.
    #[serde(default)]
    pub certificates: OneOrMany<Certificate>,
    /// Connections that are passed on as they are, by the name that the client asks for: nothing of them is decrypted. What
    /// is not listed is shown a certificate, and refused where there is none. Default: none is passed on.
    #[serde(default)]
    pub passthrough: OneOrMany<Passthrough>,
    /// The oldest version spoken. Default: `"1.2"`; `"1.3"` with `policy: modern`.
    #[serde(default)]
    pub minimum: Option<TlsVersion>,
    /// Which cipher suites are offered. Default: `intermediate`.
    #[serde(default)]
    pub policy: TlsPolicy,
    /// Whether a client that asks for an unknown name, or for none, is refused. Default: `false`, it is shown the first
    /// certificate.
    #[serde(default)]
    pub strict_sni: bool,
    /// Tell browsers by `Strict-Transport-Security` to come by `https` alone: for how long, or a map. Replaces what an
    /// upstream or a route says. Default: nothing is told.
    #[serde(default)]
    pub hsts: Option<Hsts>,
    /// Ask clients for a certificate. Default: they are not asked.
    #[serde(default)]
    pub client_certificates: Option<ClientCertificates>,
}

/// What browsers are told by Strict-Transport-Security (RFC 6797).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hsts {
    pub max_age: HstsAge,
    pub subdomains: bool,
    pub preload: bool,
}

/// For how long browsers remember: at most ten years.
pub type HstsAge = Period<0, { 10 * 365 * 24 * 3600 * 1000 }>;

/// Lists of browsers take no host that promises less.
const PRELOAD_AGE_MIN: Duration = Duration::from_secs(365 * 24 * 3600);

/// Strict-Transport-Security in full.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HstsFull {
    /// How long browsers remember it, from each answer on; `0s` has them forget.
    pub max_age: HstsAge,
    /// Whether every subdomain of the host is meant too. Default: `false`.
    #[serde(default)]
    pub subdomains: bool,
    /// Whether browsers may have the host on a list of their own, which is hard to leave. Needs `subdomains` and a `max_age`
    /// of a year. Default: `false`.
    #[serde(default)]
    pub preload: bool,
}

impl Shorthand for Hsts {
    type Full = HstsFull;
    const EXPECTED: &'static str = "a time such as `365d`, or a map with `max_age`";

    fn of_word(word: Text) -> Result<Self, String> {
        let max_age = HstsAge::of_text(word.as_str())?;
        Ok(Self { max_age, subdomains: false, preload: false })
    }

    fn of_full(full: HstsFull) -> Self {
        Self { max_age: full.max_age, subdomains: full.subdomains, preload: full.preload }
    }
}

shorthand_type!(Hsts, { "type": "string", "format": "time" });

impl Hsts {
    fn check(&self, report: &mut Report<'_>) {
        if self.preload && !(self.subdomains && self.max_age.get() >= PRELOAD_AGE_MIN) {
            let hint = "write `{ max_age: 365d, subdomains: true, preload: true }`, or leave `preload` out";
            let problem = "lists of browsers take no host without its subdomains, or for less than a year";
            report.error("conflict", report.span, "hsts.preload", problem, hint);
        }
    }
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// A PEM file with the certificate, followed by those of the authorities between it and a trusted root. The path is
    /// relative to the configuration file.
    pub chain: PemFile,
    /// A PEM file with the private key of the certificate, not encrypted.
    pub key: PemFile,
    /// A file with an OCSP response about the certificate, DER, which is shown along while it holds. Default: none.
    #[serde(default)]
    pub ocsp: Option<PemFile>,
}

/// Which certificates of clients are believed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificates {
    /// Whether a client without a certificate is refused. One that shows a certificate must show one that is believed
    /// either way. Default: `required`.
    #[serde(default)]
    pub mode: ClientCertificateMode,
    /// A PEM file with the authorities whose certificates are believed, or a list. Paths are relative to the configuration
    /// file.
    pub ca: OneOrMany<PemFile>,
    /// A file with certificate revocation lists, PEM or DER, or a list. Where there are any, every authority between a
    /// client and a root needs one. Default: nothing is taken for revoked.
    #[serde(default)]
    pub crl: OneOrMany<PemFile>,
    /// What an expired revocation list does: `refuse` refuses every certificate of its authority, `accept` goes by it still.
    /// Default: `refuse`.
    #[serde(default)]
    pub expired_crl: ExpiredCrl,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificateMode {
    /// A client without one is refused.
    #[default]
    Required,
    /// A client may have none.
    Optional,
}

/// What an expired revocation list does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExpiredCrl {
    /// Every certificate of its authority is refused: nobody knows what was revoked since.
    #[default]
    Refuse,
    /// It is gone by still.
    Accept,
}

impl ClientCertificates {
    fn take_in(&mut self, world: &mut World<'_>) {
        self.ca.0.iter_mut().chain(&mut self.crl.0).for_each(|file| file.value.read(world));
    }

    fn check(&self, report: &mut Report<'_>) {
        for (key, files) in [("ca", &self.ca), ("crl", &self.crl)] {
            for (at, file) in files.iter().enumerate() {
                file.check(&format!("{key}[{at}]"), report);
            }
        }
        if self.crl.is_empty() && self.expired_crl == ExpiredCrl::Accept {
            let hint = "name the lists in `crl`, or remove the key";
            report.warning("without-effect", report.span, "expired_crl", "there is no revocation list", hint);
        }
    }
}

impl Certificate {
    fn take_in(&mut self, world: &mut World<'_>) {
        self.chain.read(world);
        self.key.read(world);
        if let Some(ocsp) = &mut self.ocsp {
            ocsp.read(world);
        }
    }

    fn check(&self, key: &str, report: &mut Report<'_>) {
        self.chain.check(&format!("{key}.chain"), report);
        self.key.check(&format!("{key}.key"), report);
        if let Some(ocsp) = &self.ocsp {
            ocsp.check(&format!("{key}.ocsp"), report);
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

/// A set of cipher suites. None holds a suite without forward secrecy and authenticated encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TlsPolicy {
    /// TLS 1.3, and nothing older.
    Modern,
    /// TLS 1.3, and of TLS 1.2 the suites with ECDHE and AES-GCM or ChaCha20-Poly1305.
    #[default]
    Intermediate,
}

/// How an upstream is spoken to by TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    pub verify: bool,
    pub ca: Option<PemFile>,
    pub server_name: Option<Text>,
    pub certificate: Option<Certificate>,
    pub pins: OneOrMany<Pin>,
    /// The system's authorities, where these are trusted.
    pub roots: Option<Arc<[Vec<u8>]>>,
}

/// TLS to an upstream in full.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTlsFull {
    /// Whether the certificate must be trusted, valid and of the expected name. Default: `true`; `false` protects against
    /// nobody who can stand between, unless there are `pins`.
    pub verify: bool,
    /// A PEM file with the authorities to trust instead of the system's. The path is relative to the configuration file.
    pub ca: Option<PemFile>,
    /// The name to ask for and to find in the certificate. Default: the host name of the endpoint, or its address.
    pub server_name: Option<Text>,
    /// The certificate to show to endpoints that ask for one, and its key. Default: none.
    pub certificate: Option<Certificate>,
    /// Public keys, one of which the endpoint's certificate must have beside all else: `sha256/` and the digest of the key in
    /// base64, or a list. Name the next key before it comes. Default: any key.
    pub pins: OneOrMany<Pin>,
}

impl Default for UpstreamTlsFull {
    fn default() -> Self {
        Self { verify: true, ca: None, server_name: None, certificate: None, pins: OneOrMany::default() }
    }
}

impl Shorthand for UpstreamTls {
    type Full = UpstreamTlsFull;
    const EXPECTED: &'static str = "`on` or a map with `ca`, `server_name`, `certificate`, `pins` or `verify`";

    fn of_word(word: Text) -> Result<Self, String> {
        match word.as_str() {
            "on" => Ok(Self::of_full(UpstreamTlsFull::default())),
            _ => {
                Err("unknown word\nwrite `on`, or `{ ca: path, server_name: name }`; without the key it is plain text"
                    .into())
            }
        }
    }

    fn of_full(full: UpstreamTlsFull) -> Self {
        let UpstreamTlsFull { verify, ca, server_name, certificate, pins } = full;
        Self { verify, ca, server_name, certificate, pins, roots: None }
    }
}

shorthand_type!(UpstreamTls, { "const": "on" });

/// A file of a certificate or a key: its path as written, and what it held when the configuration was read, which is wiped
/// from memory with the configuration.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct PemFile {
    pub path: Text,
    #[serde(skip)]
    content: Option<Result<Arc<Zeroizing<Vec<u8>>>, String>>,
}

impl PemFile {
    /// What the file held; nothing where it could not be read, which is a finding.
    pub fn bytes(&self) -> &[u8] {
        self.content.as_ref().and_then(|content| content.as_ref().ok()).map_or(&[], |bytes| bytes)
    }

    fn read(&mut self, world: &mut World<'_>) {
        self.content = Some(world.include(&self.path).map(|bytes| Arc::new(Zeroizing::new(bytes))));
    }

    fn check(&self, key: &str, report: &mut Report<'_>) {
        if let Some(Err(reason)) = &self.content {
            let problem = format!("the file {} cannot be read: {reason}", self.path.shown());
            let hint = "the path is relative to the configuration file; the gateway must be allowed to read it";
            report.error("unreadable-file", self.path.span, key, problem, hint);
        }
    }
}

/// The content may be a key.
impl fmt::Debug for PemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

impl JsonSchema for PemFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PemFile".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "path" })
    }
}

impl ListenerTls {
    /// The oldest version spoken.
    pub fn oldest(&self) -> TlsVersion {
        match self.policy {
            TlsPolicy::Modern => TlsVersion::V13,
            TlsPolicy::Intermediate => self.minimum.unwrap_or(TlsVersion::V12),
        }
    }

    pub(super) fn take_in(&mut self, world: &mut World<'_>) {
        self.certificates.0.iter_mut().for_each(|certificate| certificate.value.take_in(world));
        if let Some(clients) = &mut self.client_certificates {
            clients.take_in(world);
        }
    }

    pub(super) fn check(&self, report: &mut Report<'_>) {
        self.check_whole(report);
        for (at, certificate) in self.certificates.iter().enumerate() {
            certificate.check(&format!("certificates[{at}]"), report);
        }
        if let Some(hsts) = &self.hsts {
            hsts.check(report);
        }
        if let Some(clients) = &self.client_certificates {
            clients.check(&mut report.below("client_certificates"));
        }
        if self.policy == TlsPolicy::Modern && self.minimum == Some(TlsVersion::V12) {
            let hint = "write `policy: intermediate`, or remove `minimum`";
            report.error("conflict", report.span, "minimum", "the policy `modern` has no suites of TLS 1.2", hint);
        }
    }
}

impl ListenerTls {
    /// TLS needs a certificate, or somebody else who has one.
    fn check_whole(&self, report: &mut Report<'_>) {
        if !self.certificates.is_empty() || !report.lacks(&["certificates", "passthrough"]) {
            return;
        }
        if self.passthrough.is_empty() {
            let hint = "write `certificates: { chain: path, key: path }`, or `passthrough` to pass connections on";
            report.error("missing-key", report.span, "certificates", "TLS needs a certificate", hint);
        } else if self.hsts.is_some() || self.minimum.is_some() || self.strict_sni || self.client_certificates.is_some()
        {
            let problem =
                "nothing is decrypted here: `hsts`, `minimum`, `strict_sni` and `client_certificates` say nothing";
            let hint = "remove them, or add `certificates`";
            report.warning("without-effect", report.span, "passthrough", problem, hint);
        }
    }
}

impl UpstreamTls {
    pub(super) fn take_in(&mut self, world: &mut World<'_>) {
        match &mut self.ca {
            Some(ca) => ca.read(world),
            None if self.verify => self.roots = Some(world.trust_roots()),
            None => {}
        }
        if let Some(certificate) = &mut self.certificate {
            certificate.take_in(world);
        }
    }

    pub(super) fn check(&self, report: &mut Report<'_>) {
        if let Some(ca) = &self.ca {
            ca.check("ca", report);
        }
        let is_peer = |name: &str| is_host_name(name) || name.parse::<IpAddr>().is_ok();
        if let Some(name) = self.server_name.as_ref().filter(|name| !is_peer(name)) {
            let hint = "write a name such as `api.example.com`, or an address, without a port";
            report.error("bad-value", name.span, "server_name", "this is not a host", hint);
        }
        if let Some(ca) = self.ca.as_ref().filter(|_| !self.verify) {
            let hint = "remove `verify`: certificates of these authorities are believed";
            report.error("conflict", ca.path.span, "ca", "with `verify: false` nobody looks at the authorities", hint);
        }
        if let Some(certificate) = &self.certificate {
            certificate.check("certificate", report);
            if let Some(ocsp) = &certificate.ocsp {
                let hint = "remove it: it is for the certificates of listeners";
                report.warning("without-effect", ocsp.path.span, "certificate.ocsp", "no endpoint asks for it", hint);
            }
        }
        if !self.verify && self.pins.is_empty() {
            let problem = "whoever stands between can read and change everything: the certificate is not verified";
            report.warning(
                "unverified",
                report.span,
                "verify",
                problem,
                "name the authority in `ca` instead, or a key in `pins`",
            );
        }
        if self.roots.as_ref().is_some_and(|roots| roots.is_empty()) {
            let hint = "name the authority in `ca`, or install the system's (Debian: ca-certificates)";
            report.error("no-trust-roots", report.span, "", "this system trusts no authority", hint);
        }
    }
}
