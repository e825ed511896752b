//! What the access log may say about one finished exchange, borrowed from wherever it lies.

use super::{Escaped, EscapedText, Reason, Times};
use crate::base::UnixTime;
use crate::context::ClientCertificate;

/// One finished exchange. Text that is absent is empty. Bytes are as received: the log escapes them. What repeats from
/// exchange to exchange, or was checked octet by octet, comes escaped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    pub request_id: Escaped<'a>,
    /// When the exchange ended.
    pub time: UnixTime,
    pub listener: Escaped<'a>,
    /// The client's address as decided by the trusted-proxies rules; formatted once per connection.
    pub client: Escaped<'a>,
    pub method: Escaped<'a>,
    pub host: Escaped<'a>,
    /// The canonical path, without the query.
    pub path: &'a [u8],
    /// The query, without the question mark. It may hold secrets and is logged only on request.
    pub query: &'a [u8],
    /// The client's protocol, such as `HTTP/1.1`.
    pub protocol: Escaped<'a>,
    /// The final status sent to the client; 0 when none was.
    pub status: u16,
    pub route: Escaped<'a>,
    pub upstream: Escaped<'a>,
    /// The endpoint of the last attempt.
    pub endpoint: Escaped<'a>,
    /// Tries made upstream, the first included.
    pub attempts: u32,
    /// Octets received from the client for this exchange, head included.
    pub bytes_in: u64,
    /// Octets sent to the client for this exchange, head included.
    pub bytes_out: u64,
    pub times: Times,
    pub reason: Reason,
    /// What exactly, where the reason alone leaves it open.
    pub detail: &'a str,
    pub trace_id: Escaped<'a>,
    pub user_agent: &'a [u8],
    pub referer: &'a [u8],
    /// Whether an earlier request came over the client's connection.
    pub client_reused: bool,
    /// Whether the upstream connection came from the pool.
    pub upstream_reused: bool,
    /// What a call of gRPC has ended with.
    pub grpc_status: Option<u8>,
    /// What the client's connection is secured by, where it is.
    pub transport: Option<&'a Transport>,
    /// The address at the other end of the client's socket.
    pub peer: Escaped<'a>,
    /// What a PROXY header has said of the client's connection, where there was one.
    pub introduction: Option<&'a Introduction>,
}

/// What a PROXY header has claimed; made once per connection.
#[derive(Clone, Debug, Default)]
pub struct Introduction {
    authority: EscapedText,
    tls_version: EscapedText,
    unique_id: EscapedText,
}

impl Introduction {
    /// The host that the client asked for, the version of TLS it spoke, and an id; empty where nothing is said.
    pub fn new(authority: &str, tls_version: &str, unique_id: &str) -> Self {
        let [authority, tls_version, unique_id] = [authority, tls_version, unique_id].map(EscapedText::new);
        Self { authority, tls_version, unique_id }
    }

    /// The host.
    pub fn authority(&self) -> Escaped<'_> {
        self.authority.as_escaped()
    }

    /// The version of TLS.
    pub fn tls_version(&self) -> Escaped<'_> {
        self.tls_version.as_escaped()
    }

    /// The id.
    pub fn unique_id(&self) -> Escaped<'_> {
        self.unique_id.as_escaped()
    }
}

/// What a connection is secured by; made once per connection.
#[derive(Clone, Debug)]
pub struct Transport {
    version: &'static str,
    cipher: &'static str,
    name: EscapedText,
    certificate: Option<Box<CertificateText>>,
}

/// Who a client is by its certificate.
#[derive(Clone, Debug)]
struct CertificateText {
    subject: EscapedText,
    serial: EscapedText,
    fingerprint: EscapedText,
}

impl Transport {
    /// By a version such as `TLSv1.3` and a suite as IANA names it; the client has asked for `name`, or for none.
    pub fn new(version: &'static str, cipher: &'static str, name: &str) -> Self {
        Self { version, cipher, name: EscapedText::new(name), certificate: None }
    }

    /// The same with the certificate that the client has shown.
    pub fn with_certificate(mut self, certificate: Option<&ClientCertificate>) -> Self {
        self.certificate = certificate.map(|certificate| {
            let ClientCertificate { subject, serial, fingerprint, .. } = certificate;
            let (subject, serial) = (EscapedText::new(subject), EscapedText::new(serial));
            Box::new(CertificateText { subject, serial, fingerprint: EscapedText::new(fingerprint) })
        });
        self
    }

    /// The version of TLS.
    pub fn version(&self) -> Escaped<'_> {
        Escaped::plain(self.version.as_bytes())
    }

    /// The cipher suite.
    pub fn cipher(&self) -> Escaped<'_> {
        Escaped::plain(self.cipher.as_bytes())
    }

    /// The subject of the client's certificate.
    pub fn subject(&self) -> Escaped<'_> {
        self.certificate.as_ref().map_or(Escaped::default(), |certificate| certificate.subject.as_escaped())
    }

    /// Its serial number.
    pub fn serial(&self) -> Escaped<'_> {
        self.certificate.as_ref().map_or(Escaped::default(), |certificate| certificate.serial.as_escaped())
    }

    /// Its fingerprint.
    pub fn fingerprint(&self) -> Escaped<'_> {
        self.certificate.as_ref().map_or(Escaped::default(), |certificate| certificate.fingerprint.as_escaped())
    }

    /// The name that the client asked for.
    pub fn name(&self) -> Escaped<'_> {
        self.name.as_escaped()
    }
}

/// What a record can be made of.
pub trait Recorded {
    /// The record. To be inlined always, so that only what a line holds is looked up.
    fn record(&self) -> Record<'_>;
}

impl Recorded for Record<'_> {
    #[inline(always)]
    fn record(&self) -> Record<'_> {
        *self
    }
}
