//! What carries a client's connection: TCP, or TLS 1.3 over it with one cipher suite, one group and a pinned
//! certificate, so that every proxy does the same cryptography.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientConnection, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, NamedGroup, SignatureScheme, version};

const SERVER_NAME: &str = "api.example.com";

/// The most tickets kept of one peer, as browsers do.
const TICKETS_MAX: usize = 8;

pub enum Transport {
    Plain(TcpStream),
    Tls(Box<Secure>),
}

pub struct Secure {
    stream: TcpStream,
    session: ClientConnection,
    /// Decrypted octets that wait inside the session, where no poller sees them.
    waiting: usize,
}

impl Transport {
    /// What has arrived; 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(secure) => secure.read(buffer),
        }
    }

    /// Whether [`read`](Self::read) has more to give that the poller will not announce.
    pub fn holds_more(&self) -> bool {
        matches!(self, Self::Tls(secure) if secure.waiting > 0)
    }

    /// Sends all of `bytes`, or fails: what is sent here always fits the socket's buffer.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(secure) => {
                // Before the end of the handshake the session keeps it.
                secure.session.writer().write_all(bytes)?;
                secure.flush()
            }
        }
    }

    /// How the handshake went, once it is over.
    pub fn handshake(&self) -> Option<HandshakeKind> {
        match self {
            Self::Tls(secure) if !secure.session.is_handshaking() => secure.session.handshake_kind(),
            _ => None,
        }
    }

    /// Says goodbye as a polite client does.
    pub fn finish(&mut self) -> Result<()> {
        let Self::Tls(secure) = self else { return Ok(()) };
        secure.session.send_close_notify();
        secure.flush()
    }
}

impl AsRawFd for Transport {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Plain(stream) => stream.as_raw_fd(),
            Self::Tls(secure) => secure.stream.as_raw_fd(),
        }
    }
}

impl Secure {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => {
                    self.waiting -= read.as_ref().map_or(self.waiting, |read| (*read).min(self.waiting));
                    return read;
                }
            }
            if self.session.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            let state =
                self.session.process_new_packets().map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
            self.waiting = state.plaintext_bytes_to_read();
            self.flush()?;
        }
    }

    fn flush(&mut self) -> Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.stream)?;
        }
        Ok(())
    }
}

/// How connections are to be secured.
pub struct Security {
    provider: Arc<CryptoProvider>,
    pin: Arc<Pin>,
    protocol: &'static [u8],
    /// Whether later connections offer the tickets of earlier ones.
    resume: bool,
}

impl Security {
    /// For a server that shows the certificate in the PEM file at `leaf`.
    pub fn new(leaf: &str, protocol: &'static [u8], resume: bool) -> std::result::Result<Self, String> {
        let certificate = CertificateDer::from_pem_file(leaf).map_err(|error| format!("{leaf}: {error}"))?;
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
        provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
        let provider = Arc::new(provider);
        let pin = Arc::new(Pin { certificate, provider: Arc::clone(&provider) });
        Ok(Self { provider, pin, protocol, resume })
    }

    /// The settings of one slot's connections, which share its tickets.
    pub fn slot(&self) -> Slot {
        let tickets = Arc::new(Tickets { resume: self.resume, ..Tickets::default() });
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13])
            .expect("the suite is one of TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Pin>::clone(&self.pin))
            .with_no_client_auth();
        config.alpn_protocols = vec![self.protocol.to_vec()];
        config.resumption = Resumption::store(Arc::<Tickets>::clone(&tickets));
        Slot { config: Arc::new(config), tickets }
    }
}

pub struct Slot {
    config: Arc<ClientConfig>,
    tickets: Arc<Tickets>,
}

impl Slot {
    /// Begins a connection; its handshake advances with reads.
    pub fn secure(&self, stream: TcpStream) -> Result<Transport> {
        self.tickets.arrived.store(0, Ordering::Relaxed);
        let name = ServerName::try_from(SERVER_NAME).expect("a name");
        let session = ClientConnection::new(Arc::clone(&self.config), name).map_err(Error::other)?;
        let mut secure = Secure { stream, session, waiting: 0 };
        secure.flush()?;
        Ok(Transport::Tls(Box::new(secure)))
    }

    /// Whether the server has sent a ticket on the newest connection: its handshake is over on both sides.
    pub fn has_ticket(&self) -> bool {
        self.tickets.arrived.load(Ordering::Relaxed) > 0
    }
}

#[derive(Debug, Default)]
struct Tickets {
    resume: bool,
    arrived: AtomicUsize,
    kept: Mutex<Vec<Tls13ClientSessionValue>>,
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.arrived.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.kept.lock().expect("nobody panics with it");
        if self.resume && kept.len() < TICKETS_MAX {
            kept.push(value);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept.lock().expect("nobody panics with it").pop()
    }
}

/// Demands one certificate and a signature by its key. Building a chain would be the client's work, not the proxy's.
#[derive(Debug)]
struct Pin {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if *leaf == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
