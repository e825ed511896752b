//! Which certificates of clients a listener believes, and what is read of one.

use std::cell::Cell;
use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime as Moment};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::tls::{Problem, provider};
use crate::base::UnixTime;
use crate::base::der::{self, Elements};
use crate::base::x509::Certificate;
use crate::context::{ClientCertificate, FINGERPRINT_BYTES, distinguished_name};

/// Authorities that a client is told of, so that it finds the right certificate among its own. A client that is told of
/// none chooses by itself.
const HINTS_MAX: usize = 100;

/// An authority, or the list of what one has revoked: from when to when it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The Name as it stands in certificates.
    name: Box<[u8]>,
    valid_from: UnixTime,
    pub valid_until: UnixTime,
}

impl Authority {
    /// Its name as text.
    pub fn name(&self) -> String {
        distinguished_name(&self.name)
    }
}

/// Authorities whose certificates are believed, read from a PEM file.
pub fn authorities(text: &[u8]) -> Result<Vec<(CertificateDer<'static>, Authority)>, Problem> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text) {
        let certificate = certificate.map_err(|_| Problem::BadPem)?;
        let read = Certificate::of(&certificate).ok_or(Problem::BadCertificate)?;
        let (valid_from, valid_until) = (read.valid_from, read.valid_until);
        let authority = Authority { name: read.subject.into(), valid_from, valid_until };
        found.push((certificate, authority));
    }
    if found.is_empty() { Err(Problem::NoCertificate) } else { Ok(found) }
}

/// Revocation lists, read from a PEM file or one of DER.
pub fn revocation_lists(file: &[u8]) -> Result<Vec<(CertificateRevocationListDer<'static>, Authority)>, Problem> {
    let mut lists = Vec::new();
    if file.first() == Some(&der::SEQUENCE) {
        lists.push(CertificateRevocationListDer::from(file.to_vec()));
    } else {
        for list in CertificateRevocationListDer::pem_slice_iter(file) {
            lists.push(list.map_err(|_| Problem::BadPem)?);
        }
    }
    let with_issuer = |list: CertificateRevocationListDer<'static>| {
        let authority = issuer(&list).ok_or(Problem::BadRevocationList)?;
        Ok((list, authority))
    };
    if lists.is_empty() { Err(Problem::NoRevocationList) } else { lists.into_iter().map(with_issuer).collect() }
}

/// Who has issued a revocation list, and when the next one is due; for ever where it does not say.
fn issuer(list: &[u8]) -> Option<Authority> {
    // RFC 5280, section 5.1: CertificateList { TBSCertList { version, signature, issuer, thisUpdate, nextUpdate, … }, … }
    let mut inner = Elements::of(Elements::of_sequence(list)?.content_of(der::SEQUENCE)?);
    inner.take_if(der::INTEGER);
    let _signature = inner.content_of(der::SEQUENCE)?;
    let name = inner.take_if(der::SEQUENCE)?.whole.into();
    let valid_from = inner.time()?;
    let valid_until = inner.time_if().unwrap_or(UnixTime::from_nanos(u64::MAX));
    Some(Authority { name, valid_from, valid_until })
}

/// What a listener demands of clients.
pub struct ClientAuth {
    verifier: Arc<Verifier>,
    pub authorities: Vec<Authority>,
    pub revocation_lists: Vec<Authority>,
}

/// How strict a listener is with the certificates of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strictness {
    /// A client without one is refused.
    pub required: bool,
    /// A revocation list that has expired is gone by still.
    pub expired_lists: bool,
}

impl ClientAuth {
    /// Believes certificates of these authorities that are on no revocation list.
    pub fn new(
        authorities: Vec<(CertificateDer<'static>, Authority)>,
        mut lists: Vec<(CertificateRevocationListDer<'static>, Authority)>,
        strictness: Strictness,
    ) -> Result<Self, Problem> {
        // The library goes by the first list that speaks for a certificate: what an older one does not know must not count.
        lists.sort_by_key(|(_, issuer)| Reverse(issuer.valid_from));
        let mut roots = RootCertStore::empty();
        let (certificates, authorities): (Vec<_>, Vec<_>) = authorities.into_iter().unzip();
        for certificate in certificates {
            roots.add(certificate).map_err(|_| Problem::BadCertificate)?;
        }
        let (lists, revocation_lists): (Vec<_>, Vec<_>) = lists.into_iter().unzip();
        let many = authorities.len() > HINTS_MAX;
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).with_crls(lists);
        if !strictness.expired_lists {
            builder = builder.enforce_revocation_expiration();
        }
        if !strictness.required {
            builder = builder.allow_unauthenticated();
        }
        if many {
            builder = builder.clear_root_hint_subjects();
        }
        let verifier = Arc::new(Verifier(builder.build().map_err(|_| Problem::BadRevocationList)?));
        Ok(Self { verifier, authorities, revocation_lists })
    }

    /// For the library.
    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier) as _
    }

    /// The authorities no revocation list speaks for, where there are any lists.
    pub fn without_list(&self) -> impl Iterator<Item = &Authority> {
        let listed = |authority: &Authority| self.revocation_lists.iter().any(|list| list.name == authority.name);
        self.authorities.iter().filter(move |authority| !self.revocation_lists.is_empty() && !listed(authority))
    }

    /// Whether a certificate that was believed when it was shown still is: a resumed session has not shown it again.
    pub fn check_again(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let (certificate, others) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let now = Moment::since_unix_epoch(std::time::Duration::from_nanos(now.as_nanos()));
        self.verifier.verify_client_cert(certificate, others, now).map(|_| ())
    }
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.authorities.iter().map(Authority::name).collect();
        f.debug_struct("ClientAuth").field("authorities", &names).finish_non_exhaustive()
    }
}

/// What stands in a chain that a client has shown.
pub fn read(chain: &[CertificateDer<'_>]) -> Option<ClientCertificate> {
    let digest = sha256(chain.first()?)?;
    ClientCertificate::of(chain.iter().map(|certificate| certificate.to_vec().into()).collect(), &digest)
}

/// The digest that is used throughout for certificates and keys.
pub(super) fn sha256(octets: &[u8]) -> Option<[u8; FINGERPRINT_BYTES]> {
    let digest = TLS13_AES_128_GCM_SHA256.tls13()?.common.hash_provider.hash(octets);
    digest.as_ref().try_into().ok()
}

thread_local! {
    /// The certificate that was last refused on this thread.
    static REFUSED: Cell<Option<Box<ClientCertificate>>> = const { Cell::new(None) };
}

/// The certificate that was refused on this thread since the last call. The library keeps it to itself: whoever made the
/// call takes it from here right after.
pub fn refused() -> Option<Box<ClientCertificate>> {
    REFUSED.take()
}

/// The library's, which also notes what it refuses.
#[derive(Debug)]
struct Verifier(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: Moment,
    ) -> Result<ClientCertVerified, Error> {
        self.0.verify_client_cert(certificate, others, now).inspect_err(|_| {
            REFUSED.set(read(std::slice::from_ref(certificate)).map(Box::new));
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
