//! The handshake, over the plain halves of a fresh connection.

use std::cell::RefCell;
use std::io;

use rustls::{CertificateError, Error};

use super::engine::Engine;
use crate::base::Timestamp;
use crate::proxy::net::{self, Net, Patience, Writer};

/// The word for a client that speaks HTTP without TLS; it has been told nothing yet.
pub(in crate::proxy) const PLAIN_TEXT: &str = "plain-text";

/// Why there is no connection.
#[derive(Debug)]
pub(in crate::proxy) struct HandshakeError {
    /// A word for the metrics, such as `timeout`.
    pub word: &'static str,
    pub kind: io::ErrorKind,
    /// Whether the peer's certificate is the cause.
    pub certificate: bool,
}

impl HandshakeError {
    /// More wait for an RSA signature than can be made in time; the peer is told by the end of the connection.
    const OVERLOADED: Self =
        Self { word: "signing-overloaded", kind: io::ErrorKind::ConnectionRefused, certificate: false };
    /// A certificate that we cannot read, though the library could.
    pub const MALFORMED_CERTIFICATE: Self =
        Self { word: "certificate-malformed", kind: io::ErrorKind::InvalidData, certificate: true };

    /// A connection that was made and is refused all the same.
    pub fn refusal(error: &Error) -> Self {
        Self { word: word(error), kind: io::ErrorKind::InvalidData, certificate: is_about_a_certificate(error) }
    }
}

/// Ends a connection whose hands are shaken before anything was said on it.
pub(in crate::proxy) async fn turn_away<N: Net>(
    net: &N,
    writer: &RefCell<N::Writer>,
    engine: &mut Engine,
    deadline: Timestamp,
) {
    engine.close();
    // Whoever does not listen gets the end alone.
    let _ = send(net, writer, engine, deadline).await;
    writer.borrow_mut().shutdown();
}

/// Shakes hands until `deadline`. On an error the peer has been told, as far as it listens and [`PLAIN_TEXT`] is not it.
pub(in crate::proxy) async fn handshake<N: Net>(
    net: &N,
    reader: &RefCell<N::Reader>,
    writer: &RefCell<N::Writer>,
    engine: &mut Engine,
    deadline: Timestamp,
) -> Result<(), HandshakeError> {
    let mut fresh = true;
    loop {
        if fresh && engine.has_received() {
            fresh = false;
            if engine.is_asked_in_plain_text() {
                return Err(HandshakeError { word: PLAIN_TEXT, kind: io::ErrorKind::InvalidData, certificate: false });
            }
        }
        if let Some(signing) = engine.sign_elsewhere() {
            match net.sign(signing, deadline).await {
                Ok(signed) => engine.go_on_with(*signed),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(judged(engine, &error)),
                Err(_) => return Err(HandshakeError::OVERLOADED),
            }
        }
        let done = engine.shake_hands();
        let sent = send(net, writer, engine, deadline).await;
        let done = match (done, sent) {
            (Ok(done), Ok(())) => done,
            (Err(error), _) | (Ok(_), Err(error)) => {
                writer.borrow_mut().shutdown();
                return Err(judged(engine, &error));
            }
        };
        if done {
            return Ok(());
        }
        // A silent peer holds no buffer.
        if let Err(error) = net::readable(reader, deadline).await {
            return Err(judged(engine, &error));
        }
        let (result, buffer) = net::read(reader, engine.lend(), deadline).await;
        engine.received(&result, buffer);
    }
}

async fn send<N: Net>(
    net: &N,
    writer: &RefCell<N::Writer>,
    engine: &mut Engine,
    deadline: Timestamp,
) -> io::Result<()> {
    if !engine.has_queue() {
        return Ok(());
    }
    let patience = Patience { idle: deadline.since(net.now()), until: deadline };
    let (result, _) = net::write(writer, engine.take_queue(), 0, patience).await;
    result
}

fn judged(engine: &Engine, error: &io::Error) -> HandshakeError {
    let word = match (engine.error(), error.kind()) {
        (Some(error), _) => word(error),
        (None, io::ErrorKind::TimedOut) => "timeout",
        (None, io::ErrorKind::InvalidData) => "malformed",
        (None, _) => "closed",
    };
    let certificate = engine.error().is_some_and(is_about_a_certificate);
    HandshakeError { word, kind: error.kind(), certificate }
}

/// Whether what the peer has shown, or has not, is the cause.
fn is_about_a_certificate(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(_) | Error::NoCertificatesPresented | Error::InvalidCertRevocationList(_))
}

/// What is wrong with a certificate, for who has to do something about it.
fn certificate_word(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::UnknownIssuer => "certificate-unknown-authority",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate-expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "certificate-not-yet-valid",
        CertificateError::Revoked => "certificate-revoked",
        CertificateError::UnknownRevocationStatus => "certificate-without-crl",
        CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
            "certificate-crl-expired"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "certificate-other-name",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate-other-purpose"
        }
        CertificateError::BadSignature => "certificate-bad-signature",
        CertificateError::ApplicationVerificationFailure => "certificate-pin-mismatch",
        CertificateError::BadEncoding => "certificate-malformed",
        _ => "certificate-refused",
    }
}

/// What went wrong, in a word of a closed set.
fn word(error: &Error) -> &'static str {
    match error {
        Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => "not-tls",
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => "malformed",
        Error::InappropriateHandshakeMessage { .. } | Error::PeerMisbehaved(_) => "misbehaved",
        Error::PeerIncompatible(_) => "incompatible",
        Error::NoApplicationProtocol => "no-common-protocol",
        Error::AlertReceived(_) => "alert-received",
        Error::NoCertificatesPresented => "certificate-missing",
        Error::InvalidCertificate(error) => certificate_word(error),
        Error::InvalidCertRevocationList(_) => "certificate-crl-invalid",
        Error::DecryptError => "decrypt",
        // The one error without a name of its own is that no certificate was chosen.
        Error::General(_) => "unknown-name",
        _ => "other",
    }
}
