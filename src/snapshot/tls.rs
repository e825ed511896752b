//! TLS as the operator wants it: which certificate for which name, which versions and suites, whom to trust.
//!
//! Beside `proxy/tls`, this is the only place that knows rustls. What it holds is immutable but for the ticket keys, which
//! all shards share and which rotate by themselves.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use ahash::AHashMap;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime as Moment};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, InconsistentKeys, RootCertStore, ServerConfig, SignatureAlgorithm,
    SignatureScheme, SupportedProtocolVersion,
};
use zeroize::Zeroize as _;

use super::client_auth::ClientAuth;
use super::ocsp::{OcspProblem, Staple};
use super::pins::{Digest, Pinned};
use crate::base::UnixTime;
use crate::base::x509;

/// Certificates of one chain.
const CHAIN_MAX: usize = 16;
/// What is spoken above TLS, as ALPN calls it, the best first.
pub const HTTP_1_1: &[u8] = b"http/1.1";
const HTTP_1_0: &[u8] = b"http/1.0";
/// The same for HTTP/2.
pub const HTTP_2: &[u8] = b"h2";

/// Versions by name.
const NEWEST: &[&SupportedProtocolVersion] = &[&TLS13];
const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// What is wrong with a certificate, a key or a list of authorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("the file holds no certificate")]
    NoCertificate,
    #[error("the chain has more than {CHAIN_MAX} certificates")]
    ChainTooLong,
    #[error("the certificate cannot be read")]
    BadCertificate,
    #[error("the file is not sound PEM")]
    BadPem,
    #[error("the file holds no private key")]
    NoKey,
    #[error("the private key cannot be used")]
    BadKey,
    #[error("the key does not belong to the certificate")]
    KeyMismatch,
    #[error("the file holds no revocation list")]
    NoRevocationList,
    #[error("the revocation list cannot be read")]
    BadRevocationList,
}

impl Problem {
    /// A stable word for scripts.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::ChainTooLong => "too-large",
            Self::BadCertificate => "bad-certificate",
            Self::BadPem => "bad-pem",
            Self::NoKey => "no-private-key",
            Self::BadKey => "bad-private-key",
            Self::KeyMismatch => "key-mismatch",
            Self::NoRevocationList => "no-revocation-list",
            Self::BadRevocationList => "bad-revocation-list",
        }
    }

    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::NoCertificate => "it must hold `-----BEGIN CERTIFICATE-----`; are chain and key mixed up?",
            Self::ChainTooLong => "keep the certificate and the authorities between it and the root",
            Self::BadCertificate => "it must be X.509 of version 3; look at it with `openssl x509 -text -noout -in`",
            Self::BadPem => "the file was cut or changed: write it anew",
            Self::NoKey => {
                "it must hold an unencrypted `-----BEGIN PRIVATE KEY-----`, or `RSA` or `EC` before `PRIVATE`"
            }
            Self::BadKey => "keys are RSA of 2048 to 8192 bits, ECDSA P-256, P-384 or P-521, or Ed25519",
            Self::KeyMismatch => {
                "were both files replaced? compare the public keys by `openssl x509 -pubkey` and `pkey -pubout`"
            }
            Self::NoRevocationList => "it must hold `-----BEGIN X509 CRL-----`, or be DER",
            Self::BadRevocationList => "it must be a complete X.509 CRL of version 2: `openssl crl -text -noout -in`",
        }
    }

    /// Whether the key is the cause.
    pub fn is_about_the_key(self) -> bool {
        matches!(self, Self::NoKey | Self::BadKey | Self::KeyMismatch)
    }
}

/// A certificate with its chain and key.
#[derive(Debug)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    /// Names in the certificate, in lower case; `*.` begins a wildcard.
    names: Vec<Box<str>>,
    pub valid_from: UnixTime,
    pub valid_until: UnixTime,
    /// The same with an OCSP response, and from when to when that holds.
    stapled: Option<(Arc<CertifiedKey>, UnixTime, UnixTime)>,
    /// Whether clients that know of it refuse the certificate without an OCSP response (RFC 7633).
    pub must_staple: bool,
}

/// id-pe-tlsfeature.
const TLS_FEATURE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 24];

impl Identity {
    /// Reads a chain and its key, both PEM.
    pub fn parse(chain: &[u8], key: &[u8]) -> Result<Self, Problem> {
        let chain = certificates(chain)?;
        let mut key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => Problem::NoKey,
            _ => Problem::BadPem,
        })?;
        let leaf = x509::Certificate::of(&chain[0]).ok_or(Problem::BadCertificate)?;
        let (valid_from, valid_until) = (leaf.valid_from, leaf.valid_until);
        let must_staple = leaf.extension(TLS_FEATURE).is_some();
        let names = names(&chain[0])?;
        let signing = aws_lc_rs::sign::any_supported_type(&key);
        key.zeroize();
        let key = CertifiedKey::new(chain, signing.map_err(|_| Problem::BadKey)?);
        key.keys_match().map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Problem::KeyMismatch,
            Error::InvalidCertificate(_) => Problem::BadCertificate,
            _ => Problem::BadKey,
        })?;
        Ok(Self { key: Arc::new(key), names, valid_from, valid_until, stapled: None, must_staple })
    }

    /// Has an OCSP response shown along for as long as it holds.
    pub fn staple(&mut self, response: &[u8]) -> Result<(), OcspProblem> {
        let serial = self.key.cert.first().and_then(|leaf| x509::Certificate::of(leaf)).map(|leaf| leaf.serial);
        let staple = Staple::parse(response, serial.unwrap_or_default())?;
        let mut key = CertifiedKey::clone(&self.key);
        key.ocsp = Some(staple.response);
        self.stapled = Some((Arc::new(key), staple.valid_from, staple.valid_until));
        Ok(())
    }

    /// From when to when the OCSP response holds, where there is one.
    pub fn stapled(&self) -> Option<(UnixTime, UnixTime)> {
        self.stapled.as_ref().map(|(_, from, until)| (*from, *until))
    }

    /// What is shown at `now`.
    fn shown(&self, now: UnixTime) -> &Arc<CertifiedKey> {
        match &self.stapled {
            Some((key, from, until)) if *from <= now && now < *until => key,
            _ => &self.key,
        }
    }

    /// The certificate itself.
    #[cfg(test)]
    pub fn leaf(&self) -> &[u8] {
        &self.key.cert[0]
    }

    /// The first name in the certificate; empty where it has none.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", |name| name)
    }
}

/// The certificates in a PEM file, at least one.
fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text) {
        chain.push(certificate.map_err(|_| Problem::BadPem)?);
    }
    match chain.len() {
        0 => Err(Problem::NoCertificate),
        1..=CHAIN_MAX => Ok(chain),
        _ => Err(Problem::ChainTooLong),
    }
}

fn names(certificate: &CertificateDer<'_>) -> Result<Vec<Box<str>>, Problem> {
    let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|_| Problem::BadCertificate)?;
    Ok(parsed.valid_dns_names().map(|name| name.to_ascii_lowercase().into()).collect())
}

/// Which certificate for which name.
#[derive(Debug)]
struct Names {
    exact: AHashMap<Box<str>, usize>,
    /// By what follows `*.`.
    wildcard: AHashMap<Box<str>, usize>,
    /// Certificates of the same name, in the order of the configuration: of different kinds, for clients of different age.
    sets: Vec<Vec<usize>>,
    identities: Vec<Identity>,
    /// Whether an unknown name, or none, is refused.
    strict: bool,
    /// Whether a key of these is RSA.
    has_rsa: bool,
}

fn is_rsa(identity: &Identity) -> bool {
    identity.key.key.algorithm() == SignatureAlgorithm::RSA
}

impl Names {
    fn new(identities: Vec<Identity>, strict: bool) -> Self {
        let mut by_name: AHashMap<&str, Vec<usize>> = AHashMap::new();
        for (at, identity) in identities.iter().enumerate() {
            for name in &identity.names {
                let holders = by_name.entry(name).or_default();
                if holders.last() != Some(&at) {
                    holders.push(at);
                }
            }
        }
        // The first set is the default.
        let first = by_name.get(identities[0].name()).filter(|holders| holders[0] == 0);
        let mut sets = vec![first.cloned().unwrap_or_else(|| vec![0])];
        let (mut exact, mut wildcard) = (AHashMap::new(), AHashMap::new());
        let mut places: AHashMap<Vec<usize>, usize> = AHashMap::new();
        for (name, holders) in by_name {
            let place = *places.entry(holders).or_insert_with_key(|holders| {
                sets.push(holders.clone());
                sets.len() - 1
            });
            match name.strip_prefix("*.") {
                Some(rest) => wildcard.insert(rest.into(), place),
                None => exact.insert(name.into(), place),
            };
        }
        let has_rsa = identities.iter().any(is_rsa);
        Self { exact, wildcard, sets, identities, strict, has_rsa }
    }

    /// The certificates for a name in lower case: by the exact name, then by a wildcard for its first label, then the
    /// default.
    fn set(&self, name: &str) -> Option<&[usize]> {
        let wildcard = || self.wildcard.get(name.split_once('.')?.1);
        match self.exact.get(name).or_else(wildcard) {
            Some(place) => Some(&self.sets[*place]),
            None => self.default_set(),
        }
    }

    /// The certificate for a client that asks for `name` and can read these signatures.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<usize> {
        let set = match name {
            Some(name) => self.set(name)?,
            None => self.default_set()?,
        };
        let usable = |at: &&usize| self.identities[**at].key.key.choose_scheme(schemes).is_some();
        set.iter().find(usable).or(set.first()).copied()
    }

    fn default_set(&self) -> Option<&[usize]> {
        (!self.strict).then(|| &self.sets[0][..])
    }
}

thread_local! {
    /// What the client asked for whose certificate was last chosen on this thread.
    static ASKED: Cell<Option<Option<Box<str>>>> = const { Cell::new(None) };
}

thread_local! {
    /// By which OCSP responses are judged on this thread.
    static NOW: Cell<UnixTime> = const { Cell::new(UnixTime::from_nanos(0)) };
}

/// Says what time it is, before the library is called on this thread: it does not tell who chooses a certificate.
pub fn set_now(now: UnixTime) {
    NOW.set(now);
}

/// The name asked for, if a certificate was chosen on this thread since the last call. Choosing happens inside of a call
/// of the library, which keeps the name to itself: whoever made that call takes it from here right after.
pub fn asked_name() -> Option<Option<Box<str>>> {
    ASKED.take()
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        ASKED.set(Some(hello.server_name().map(|name| name.to_ascii_lowercase().into())));
        let at = self.choose(hello.server_name(), hello.signature_schemes())?;
        Some(Arc::clone(self.identities[at].shown(NOW.get())))
    }
}

/// What a listener decides beside its certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerSettings {
    /// TLS 1.3 and nothing older.
    pub newest_only: bool,
    /// Whether an unknown name, or none, is refused.
    pub strict_sni: bool,
    /// Whether HTTP/1 is spoken.
    pub http1: bool,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
}

impl ServerSettings {
    /// What is offered above TLS, the preferred one first.
    fn protocols(self) -> Vec<Vec<u8>> {
        let spoken = [(self.http2, HTTP_2), (self.http1, HTTP_1_1), (self.http1, HTTP_1_0)];
        spoken.iter().filter(|(spoken, _)| *spoken).map(|(_, name)| name.to_vec()).collect()
    }
}

/// How a listener speaks TLS.
pub struct ServerTls {
    config: Arc<ServerConfig>,
    names: Arc<Names>,
    settings: ServerSettings,
    clients: Option<Arc<ClientAuth>>,
}

impl ServerTls {
    /// For these certificates, at least one; `clients` says which certificates of clients are believed. Tickets of
    /// `previous`, the same listener's, stay good unless the settings have changed, or who is believed: what a ticket says
    /// of a client was decided by the rules of its time.
    pub fn new(
        identities: Vec<Identity>,
        settings: ServerSettings,
        clients: Option<Arc<ClientAuth>>,
        previous: Option<&Self>,
    ) -> Result<Self, Error> {
        let names = Arc::new(Names::new(identities, settings.strict_sni));
        let versions = if settings.newest_only { NEWEST } else { BOTH };
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
        let builder = match &clients {
            Some(clients) => builder.with_client_cert_verifier(clients.verifier()),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&names) as _);
        let same = |previous: &&Self| {
            previous.settings == settings
                && previous.clients.as_ref().map(Arc::as_ptr) == clients.as_ref().map(Arc::as_ptr)
        };
        config.ticketer = match previous.filter(same) {
            Some(previous) => Arc::clone(&previous.config.ticketer),
            None => tickets()?,
        };
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.alpn_protocols = settings.protocols();
        Ok(Self { config: Arc::new(config), names, settings, clients })
    }

    /// What is demanded of clients.
    pub fn clients(&self) -> Option<&Arc<ClientAuth>> {
        self.clients.as_ref()
    }

    /// What the listener decided beside its certificates.
    pub fn settings(&self) -> ServerSettings {
        self.settings
    }

    /// Whether some key is RSA, and so takes long to sign.
    pub fn has_rsa(&self) -> bool {
        self.names.has_rsa
    }

    /// Whether a client that asks for this name, and can read these signatures, gets one by an RSA key.
    pub fn is_signed_by_rsa(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> bool {
        self.names.choose(name, schemes).is_some_and(|at| is_rsa(&self.names.identities[at]))
    }

    /// What a connection is made with.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// The place of the certificate that a client gets who asks for `name`, in lower case; none where it is refused.
    pub fn select(&self, name: Option<&str>) -> Option<usize> {
        let set = match name {
            Some(name) => self.names.set(name)?,
            None => self.names.default_set()?,
        };
        set.first().copied()
    }

    /// The certificates, in the order of the configuration.
    pub fn identities(&self) -> &[Identity] {
        &self.names.identities
    }
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn tickets() -> Result<Arc<dyn ProducesTickets>, Error> {
    Ok(Arc::new(Tickets(aws_lc_rs::Ticketer::new()?)))
}

/// A ticket holds the certificates that a client has shown. One with many of them gets none, rather than tickets that
/// others cut or refuse.
const TICKET_CONTENT_BYTES_MAX: usize = 8 * 1024;

/// Tickets of a bounded length.
#[derive(Debug)]
struct Tickets(Arc<dyn ProducesTickets>);

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        if plain.len() > TICKET_CONTENT_BYTES_MAX { None } else { self.0.encrypt(plain) }
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(cipher)
    }
}

/// Keys and configuration stay unsaid.
impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names.identities.iter().map(Identity::name);
        f.debug_struct("ServerTls").field("certificates", &names.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

/// Whether it was compiled from the same: then it is shared.
impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// How an upstream is spoken to.
pub struct ClientTls {
    config: Arc<ClientConfig>,
    identity: Option<Identity>,
}

/// Whom a client believes.
pub enum Trust<'t> {
    /// Authorities as DER.
    Roots(&'t [Vec<u8>]),
    /// Authorities in a PEM file.
    Authorities(&'t [u8]),
    /// Everybody.
    Anybody,
}

impl ClientTls {
    /// A client that believes whom `trust` says, if it has one of these keys where there are any, and that shows `identity`
    /// where it is asked for one.
    pub fn new(trust: &Trust<'_>, pins: Vec<Digest>, identity: Option<Identity>) -> Result<Self, Problem> {
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(BOTH).map_err(|_| Problem::BadCertificate)?;
        let mut verifier: Arc<dyn ServerCertVerifier> = match trust {
            Trust::Anybody => Arc::new(BelievesAnybody(provider().signature_verification_algorithms)),
            Trust::Roots(roots) => believes(system_roots(roots))?,
            Trust::Authorities(text) => believes(authorities(text)?)?,
        };
        if !pins.is_empty() {
            verifier = Arc::new(Pinned::new(verifier, pins));
        }
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let shown = identity.as_ref().map(|identity| Arc::new(SingleCertAndKey::from(Arc::clone(&identity.key))));
        let mut config = match shown {
            Some(shown) => builder.with_client_cert_resolver(shown),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self { config: Arc::new(config), identity })
    }

    /// What is shown to endpoints that ask for a certificate.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The same, offering other protocols by ALPN than HTTP/1.1.
    #[must_use]
    pub fn offering(mut self, protocols: &[&[u8]]) -> Self {
        let config = Arc::make_mut(&mut self.config);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        self
    }

    /// What a connection is made with.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

fn believes(roots: RootCertStore) -> Result<Arc<dyn ServerCertVerifier>, Problem> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    verifier.map(|verifier| verifier as _).map_err(|_| Problem::NoCertificate)
}

/// A system has old authorities that nobody can read any more: those are left out.
fn system_roots(roots: &[Vec<u8>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().map(|root| CertificateDer::from(root.as_slice()).into_owned()));
    store
}

fn authorities(text: &[u8]) -> Result<RootCertStore, Problem> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text) {
        let certificate = certificate.map_err(|_| Problem::BadPem)?;
        store.add(certificate).map_err(|_| Problem::BadCertificate)?;
    }
    if store.is_empty() { Err(Problem::NoCertificate) } else { Ok(store) }
}

/// The name that an endpoint must prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerName(ServerName<'static>);

impl PeerName {
    /// A host name or an address.
    pub fn new(name: &str) -> Option<Self> {
        let name = name.strip_suffix('.').unwrap_or(name);
        ServerName::try_from(name.to_owned()).ok().map(Self)
    }

    /// For the library.
    pub fn server_name(&self) -> ServerName<'static> {
        self.0.clone()
    }
}

/// Checks that the peer holds the key of its certificate, and nothing about who that is.
#[derive(Debug)]
struct BelievesAnybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for BelievesAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: Moment,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A self-signed certificate for these names, and its key.
    fn pair(names: &[&str]) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>()).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn identity(names: &[&str]) -> Identity {
        let (chain, key) = pair(names);
        Identity::parse(chain.as_bytes(), key.as_bytes()).unwrap()
    }

    fn server(strict_sni: bool) -> ServerTls {
        let identities =
            vec![identity(&["www.example.com"]), identity(&["*.example.com", "b.test"]), identity(&["c.test"])];
        ServerTls::new(
            identities,
            ServerSettings { newest_only: false, strict_sni, http1: true, http2: true },
            None,
            None,
        )
        .unwrap()
    }

    #[test]
    fn a_name_selects_exactly_then_by_wildcard_then_the_first() {
        let server = server(false);
        for (name, at) in [
            (Some("www.example.com"), 0),
            (Some("api.example.com"), 1),
            (Some("b.test"), 1),
            (Some("c.test"), 2),
            (Some("a.b.example.com"), 0),
            (Some("example.com"), 0),
            (Some("unknown"), 0),
            (None, 0),
        ] {
            assert_eq!(server.select(name), Some(at), "{name:?}");
        }
    }

    #[test]
    fn a_strict_listener_refuses_what_it_does_not_know() {
        let server = server(true);
        assert_eq!([server.select(Some("unknown")), server.select(None)], [None, None]);
        assert_eq!(server.select(Some("b.test")), Some(1));
    }

    #[test]
    fn tickets_outlive_a_reload_that_keeps_the_settings() {
        let settings = ServerSettings { newest_only: false, strict_sni: false, http1: true, http2: false };
        let first = ServerTls::new(vec![identity(&["a.test"])], settings, None, None).unwrap();
        let second = ServerTls::new(vec![identity(&["a.test"])], settings, None, Some(&first)).unwrap();
        assert!(Arc::ptr_eq(&first.config.ticketer, &second.config.ticketer));
        let stricter = ServerSettings { strict_sni: true, ..settings };
        let third = ServerTls::new(vec![identity(&["a.test"])], stricter, None, Some(&second)).unwrap();
        assert!(!Arc::ptr_eq(&first.config.ticketer, &third.config.ticketer));
    }

    #[test]
    fn a_broken_pair_says_which_way() {
        let ((chain, key), (other, _)) = (pair(&["a.test"]), pair(&["b.test"]));
        let cut = &chain[..chain.len() / 2];
        let problem = |chain: &str, key: &str| Identity::parse(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(problem(&key, &chain), Problem::NoCertificate);
        assert_eq!(problem(&chain, &chain), Problem::NoKey);
        assert_eq!(problem("", &key), Problem::NoCertificate);
        assert_eq!(problem(cut, &key), Problem::BadPem);
        assert_eq!(problem(&other, &key), Problem::KeyMismatch);
        assert_eq!(problem(&chain.repeat(CHAIN_MAX + 1), &key), Problem::ChainTooLong);
    }

    #[test]
    fn a_key_never_shows() {
        let (chain, key) = pair(&["a.test"]);
        let identity = Identity::parse(chain.as_bytes(), key.as_bytes()).unwrap();
        let settings = ServerSettings { newest_only: false, strict_sni: false, http1: true, http2: false };
        let shown = format!("{:?}", ServerTls::new(vec![identity], settings, None, None).unwrap());
        assert_eq!(shown, "ServerTls { certificates: [\"a.test\"], .. }");
    }

    #[test]
    fn authorities_must_be_there_and_sound() {
        let (chain, key) = pair(&["a.test"]);
        assert!(ClientTls::new(&Trust::Authorities(chain.as_bytes()), Vec::new(), None).is_ok());
        let empty = ClientTls::new(&Trust::Authorities(key.as_bytes()), Vec::new(), None).err();
        assert_eq!(empty, Some(Problem::NoCertificate));
    }
}
