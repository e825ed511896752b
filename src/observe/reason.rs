//! Why an exchange or a connection ended as it did: the one vocabulary of the log, the metrics and the problem types.

/// Whose doing an outcome is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Nothing went wrong.
    Nobody,
    Client,
    Upstream,
    Gateway,
}

impl Side {
    /// The word for it in documents and labels.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
        }
    }
}

/// What is fixed about a reason.
struct Entry {
    word: &'static str,
    status: u16,
    side: Side,
    title: &'static str,
    meaning: &'static str,
}

macro_rules! reasons {
    ($($(#[doc = $meaning:literal])+ $name:ident = $word:literal, $status:literal, $side:ident, $title:literal;)*) => {
        /// Why an exchange or a connection ended as it did. A word, once released, keeps its meaning.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason {
            #[default]
            $($(#[doc = $meaning])+ $name,)*
        }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }

        static TABLE: [Entry; Reason::COUNT] = [$(
            Entry { word: $word, status: $status, side: Side::$side, title: $title, meaning: concat!($($meaning),+) },
        )*];
    };
}

// Word, status (0: no answer of ours), side, title of the problem document.
reasons! {
    /// Nothing to report: the exchange was completed, the connection closed in order.
    Ok = "ok", 0, Nobody, "OK";
    /// The gateway answered by itself as configured: a redirect, a fixed answer, `OPTIONS` about itself.
    LocalAnswer = "local-answer", 0, Nobody, "Answered by the gateway";
    /// No route matches the request.
    NoRoute = "no-route", 404, Client, "No route matches";

    /// The client closed or reset its connection before the answer was complete.
    ClientClosed = "client-closed", 0, Client, "Client closed the connection";
    /// The client took nothing of its answer for the idle time.
    ClientStalled = "client-stalled", 0, Client, "Client stopped reading";
    /// The connection did not begin with the PROXY header that its listener requires, or came from nobody who may send one;
    /// the detail word says which.
    ProxyHeader = "proxy-header", 0, Client, "PROXY header refused";
    /// The client and the gateway could not agree on a TLS connection, or not in time; the detail or the metrics say why.
    HandshakeFailed = "handshake-failed", 0, Client, "TLS handshake failed";
    /// The client has sent a request by plain text to a listener that speaks TLS.
    PlainText = "plain-text", 400, Client, "This port speaks TLS: use https";
    /// The client spent a budget of HTTP/2, such as that of resets or pings; the metrics say which.
    Flood = "flood", 0, Client, "Too much of something";
    /// The client broke the rules of HTTP/2 so that its connection could not go on.
    ProtocolError = "protocol-error", 0, Client, "HTTP/2 was broken";
    /// The request head was not complete in time.
    HeadTimeout = "head-timeout", 408, Client, "Request head took too long";
    /// The time that a caller of gRPC waits, its `grpc-timeout`, was over.
    CallerTimeout = "caller-timeout", 504, Client, "Deadline exceeded";
    /// The request body stalled, or came slower than the minimum rate.
    BodyTimeout = "body-timeout", 408, Client, "Request body took too long";
    /// A keep-alive connection brought no further request in time; it is closed without an answer.
    KeepAliveTimeout = "keep-alive-timeout", 0, Client, "Connection was idle";
    /// The request breaks the rules of its protocol; the detail word says which.
    Malformed = "malformed", 400, Client, "Malformed request";
    /// The request target is not acceptable: a bad escape, a forbidden octet, a path above the root.
    TargetRefused = "target-refused", 400, Client, "Request target refused";
    /// The path holds an encoded slash and the route does not keep them.
    EncodedSlash = "encoded-slash", 400, Client, "Encoded slash in the path";
    /// The request target is longer than the limit.
    TargetTooLong = "target-too-long", 414, Client, "Request target too long";
    /// The head, or one of its fields, is larger than the limit, or it has too many fields.
    HeadTooLarge = "head-too-large", 431, Client, "Request head too large";
    /// The content is larger than the limit, as declared or as counted.
    BodyTooLarge = "body-too-large", 413, Client, "Content too large";
    /// The upstream needs a declared length and the request has none.
    LengthRequired = "length-required", 411, Client, "Length required";
    /// The method is not allowed here.
    MethodRefused = "method-refused", 405, Client, "Method not allowed";
    /// The method token is longer than any we would forward.
    MethodTooLong = "method-too-long", 501, Client, "Method not implemented";
    /// The client expects something other than `100-continue`.
    ExpectationFailed = "expectation-failed", 417, Client, "Expectation failed";
    /// The major version of the protocol is not spoken here.
    VersionUnsupported = "version-unsupported", 505, Client, "HTTP version not supported";
    /// The transfer coding is not `chunked`.
    CodingUnsupported = "coding-unsupported", 501, Client, "Transfer coding not implemented";
    /// The asked-for upgrade is not one the gateway can make, such as an unknown WebSocket version.
    UpgradeRefused = "upgrade-refused", 426, Client, "Upgrade refused";
    /// The page that asks for a WebSocket comes from an origin that the route does not list.
    OriginRefused = "origin-refused", 403, Client, "Origin refused";
    /// The authority is not served on this connection.
    Misdirected = "misdirected", 421, Client, "Misdirected request";
    /// The request has passed through this gateway before.
    Loop = "loop", 508, Client, "Loop detected";

    /// No endpoint is left to try: none is configured, resolved or usable.
    NoEndpoint = "no-endpoint", 503, Upstream, "No upstream endpoint available";
    /// No connection was established in time.
    ConnectTimeout = "connect-timeout", 504, Upstream, "Upstream did not accept the connection in time";
    /// The endpoint refused the connection.
    ConnectRefused = "connect-refused", 502, Upstream, "Upstream refused the connection";
    /// The connection failed for another cause, such as no way to the host.
    ConnectFailed = "connect-failed", 502, Upstream, "Upstream could not be reached";
    /// The endpoint and the gateway could not agree on a TLS connection.
    TlsHandshake = "tls-handshake", 502, Upstream, "Upstream refused the TLS connection";
    /// The endpoint's certificate is not trusted, not valid, or of another name.
    TlsCertificate = "tls-certificate", 502, Upstream, "Upstream could not prove its name";
    /// The upstream's response head did not begin, or did not end, in time.
    ResponseTimeout = "response-timeout", 504, Upstream, "Upstream did not answer in time";
    /// The time for the exchange, retries included, was over before a response head had come.
    ExchangeTimeout = "exchange-timeout", 504, Upstream, "Upstream did not answer in time";
    /// The upstream's answer, or the upload to it, stood still for the idle time.
    IdleTimeout = "idle-timeout", 504, Upstream, "Upstream stood still";
    /// The upstream reset the connection.
    UpstreamReset = "upstream-reset", 502, Upstream, "Upstream reset the connection";
    /// The upstream closed the connection before its response head.
    UpstreamClosed = "upstream-closed", 502, Upstream, "Upstream closed the connection";
    /// The upstream's answer ended before its declared end; what was sent to the client is visibly cut.
    UpstreamTruncated = "upstream-truncated", 502, Upstream, "Upstream answer was cut short";
    /// The upstream's answer breaks the rules of its protocol; the detail word says which.
    UpstreamMalformed = "upstream-malformed", 502, Upstream, "Malformed upstream answer";
    /// The upstream's response head is larger than the limit.
    UpstreamHeadTooLarge = "upstream-head-too-large", 502, Upstream, "Upstream response head too large";
    /// A call of gRPC was to go to an upstream that does not speak HTTP/2.
    UpstreamVersion = "upstream-version", 502, Upstream, "Upstream does not speak HTTP/2";
    /// The upstream confirmed another protocol than asked for, or confirmed it wrongly.
    UpgradeFailed = "upgrade-failed", 502, Upstream, "Upgrade failed";

    /// Every connection the pool may have is in use.
    PoolExhausted = "pool-exhausted", 503, Gateway, "Upstream connections exhausted";
    /// The exchange lasted longer than any may.
    TotalTimeout = "total-timeout", 504, Gateway, "Exchange took too long";
    /// A tunnel carried nothing for its idle time.
    TunnelIdle = "tunnel-idle", 0, Nobody, "Tunnel was idle";
    /// A tunnel or stream reached its configured lifetime.
    Lifetime = "lifetime", 0, Nobody, "Lifetime reached";
    /// The gateway is shutting down.
    Draining = "draining", 503, Gateway, "Shutting down";
    /// The gateway refuses work to stay responsive.
    Overload = "overload", 503, Gateway, "Temporarily overloaded";
    /// Descriptors or memory ran out.
    NoResources = "no-resources", 503, Gateway, "Out of resources";
    /// A bug of the gateway ended this exchange; all others go on.
    Panic = "panic", 500, Gateway, "Internal error";
}

impl Reason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The stable word: in the log, as a label, as the end of the problem type.
    #[inline]
    pub fn word(self) -> &'static str {
        self.entry().word
    }

    /// The status of the local reply, unless the exchange says otherwise; none where no reply of ours is due.
    #[inline]
    pub fn status(self) -> Option<u16> {
        match self.entry().status {
            0 => None,
            status => Some(status),
        }
    }

    /// Whose doing it is.
    #[inline]
    pub fn side(self) -> Side {
        self.entry().side
    }

    /// The fixed title of the problem document; it names no internals.
    #[inline]
    pub fn title(self) -> &'static str {
        self.entry().title
    }

    /// What it means, for the documentation.
    pub fn meaning(self) -> &'static str {
        self.entry().meaning.trim()
    }

    /// Whether a time limit ended it.
    pub fn is_timeout(self) -> bool {
        self.word().ends_with("-timeout") || matches!(self, Self::ClientStalled | Self::TunnelIdle | Self::Lifetime)
    }

    /// Whether an open tunnel may end with it.
    pub fn may_end_a_tunnel(self) -> bool {
        use Reason::{ClientClosed, Draining, Flood, Lifetime, Ok, ProtocolError, TunnelIdle, UpstreamReset};
        matches!(self, Ok | ClientClosed | UpstreamReset | TunnelIdle | Lifetime | Draining | Flood | ProtocolError)
    }

    /// Its number, for tables of [`Self::COUNT`] entries.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    #[inline]
    fn entry(self) -> &'static Entry {
        &TABLE[self.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_word_is_unique_and_in_kebab_case() {
        let words: HashSet<_> = Reason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), Reason::COUNT);
        for word in words {
            assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{word}");
            assert!(!word.starts_with('-') && !word.ends_with('-'), "{word}");
        }
    }

    #[test]
    fn every_reason_stands_at_its_number_and_is_explained() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(reason.meaning().ends_with('.'), "{reason:?}");
            assert!(!reason.title().is_empty());
        }
    }

    #[test]
    fn a_local_status_is_an_error_and_fits_the_side() {
        for reason in Reason::ALL {
            match (reason.side(), reason.status()) {
                (Side::Nobody, status) => assert_eq!(status, None, "{reason:?}"),
                (Side::Upstream, Some(status)) => assert!((502..=504).contains(&status), "{reason:?}"),
                (_, Some(status)) => assert!((400..=599).contains(&status), "{reason:?}"),
                (_, None) => {}
            }
        }
    }

    #[test]
    fn a_connect_timeout_is_504_and_a_refusal_is_502() {
        assert_eq!(Reason::ConnectTimeout.status(), Some(504));
        assert_eq!(Reason::ConnectRefused.status(), Some(502));
    }
}
