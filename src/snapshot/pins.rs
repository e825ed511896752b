//! Keys that an upstream must have, beside being believed.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::client_auth::sha256;
use crate::base::x509::Certificate;

/// SHA-256 over a SubjectPublicKeyInfo.
pub type Digest = [u8; 32];

/// Believes whom another verifier believes, if its certificate has one of these keys.
#[derive(Debug)]
pub struct Pinned {
    inner: Arc<dyn ServerCertVerifier>,
    pins: Vec<Digest>,
}

impl Pinned {
    /// At least one key.
    pub fn new(inner: Arc<dyn ServerCertVerifier>, pins: Vec<Digest>) -> Self {
        Self { inner, pins }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(certificate, others, name, ocsp, now)?;
        let key = Certificate::of(certificate).and_then(|read| sha256(read.public_key));
        match key.filter(|key| self.pins.contains(key)) {
            Some(_) => Ok(verified),
            // Nobody else says so: it stands for this alone.
            None => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
