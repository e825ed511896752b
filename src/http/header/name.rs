//! Field names (RFC 9110, section 5.1): the ones the gateway acts on are integers.

macro_rules! known_names {
    ($($variant:ident = $text:literal),* $(,)?) => {
        /// A field name that some rule of the gateway looks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum KnownName { $($variant),* }

        impl KnownName {
            /// Every known name, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
            const TEXTS: &[&str] = &[$($text),*];

            /// The name in lower case.
            #[inline]
            pub const fn text(self) -> &'static str {
                Self::TEXTS[self as usize]
            }
        }
    };
}

known_names! {
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    Age = "age",
    AltSvc = "alt-svc",
    Authorization = "authorization",
    Baggage = "baggage",
    CacheControl = "cache-control",
    ClientCert = "client-cert",
    ClientCertChain = "client-cert-chain",
    Connection = "connection",
    ContentEncoding = "content-encoding",
    ContentLength = "content-length",
    ContentRange = "content-range",
    ContentType = "content-type",
    Cookie = "cookie",
    Date = "date",
    EarlyData = "early-data",
    Etag = "etag",
    Expect = "expect",
    Forwarded = "forwarded",
    Host = "host",
    Http2Settings = "http2-settings",
    KeepAlive = "keep-alive",
    LastModified = "last-modified",
    Location = "location",
    MaxForwards = "max-forwards",
    Origin = "origin",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyConnection = "proxy-connection",
    Range = "range",
    Referer = "referer",
    RetryAfter = "retry-after",
    SecFetchSite = "sec-fetch-site",
    SecWebsocketAccept = "sec-websocket-accept",
    SecWebsocketKey = "sec-websocket-key",
    SecWebsocketVersion = "sec-websocket-version",
    Server = "server",
    SetCookie = "set-cookie",
    Te = "te",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    UserAgent = "user-agent",
    Vary = "vary",
    Via = "via",
    WwwAuthenticate = "www-authenticate",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XForwardedProto = "x-forwarded-proto",
    XRealIp = "x-real-ip",
    XRequestId = "x-request-id",
}

/// Slots of the lookup table; a power of two.
const SLOTS: usize = 1024;
/// Marks an empty slot.
const EMPTY: u8 = u8::MAX;
/// Maps the hash of a name to its number; built, and proven free of collisions, at compile time.
static TABLE: [u8; SLOTS] = build_table();

/// Few instructions, no collision among the known names; a comparison follows in any case.
#[inline]
const fn slot(length: usize, first: u8, inner: u8, last: u8) -> usize {
    let mixed = (length as u32)
        .wrapping_mul(0xA6CE_CC1B)
        .wrapping_add((first as u32 | 0x20).wrapping_mul(0x612E_7697))
        .wrapping_add((inner as u32 | 0x20).wrapping_mul(0xC9E9_C617))
        .wrapping_add((last as u32 | 0x20).wrapping_mul(0x35BF_992D));
    (mixed >> 22) as usize % SLOTS
}

const fn slot_of(name: &[u8]) -> usize {
    slot(name.len(), name[0], name[name.len() * 3 / 4], name[name.len() - 1])
}

const fn build_table() -> [u8; SLOTS] {
    let mut table = [EMPTY; SLOTS];
    let mut number = 0;
    while number < KnownName::TEXTS.len() {
        let at = slot_of(KnownName::TEXTS[number].as_bytes());
        assert!(table[at] == EMPTY, "two known names share a slot: change the multipliers");
        table[at] = number as u8;
        number += 1;
    }
    table
}

const _: () = assert!(KnownName::TEXTS.len() <= 64, "the names of a head are one word");

impl KnownName {
    /// The known name spelt by `name` in any case, if there is one.
    #[inline]
    pub fn of(name: &[u8]) -> Option<Self> {
        if name.is_empty() {
            return None;
        }
        let number = TABLE[slot_of(name)];
        if number == EMPTY {
            return None;
        }
        let known = Self::ALL[number as usize];
        known.text().as_bytes().eq_ignore_ascii_case(name).then_some(known)
    }

    /// This name's bit in a set of known names.
    #[inline]
    pub const fn bit(self) -> u128 {
        // As one word, so that testing for a name shifts one register.
        (1_u64 << (self as u8 % 64)) as u128
    }
}

/// A field name as configuration and generated fields carry it: a number where we have one, lower-case text otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HeaderName {
    Known(KnownName),
    Other(Box<str>),
}

impl HeaderName {
    /// The name spelt by `text` in any case; `None` unless it is a token (RFC 9110, section 5.6.2).
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || !text.bytes().all(is_token) {
            return None;
        }
        Some(match KnownName::of(text.as_bytes()) {
            Some(known) => Self::Known(known),
            None => Self::Other(text.to_ascii_lowercase().into()),
        })
    }

    /// The name in lower case.
    pub fn text(&self) -> &str {
        match self {
            Self::Known(known) => known.text(),
            Self::Other(text) => text,
        }
    }
}

/// Whether `byte` may stand in a token (RFC 9110, section 5.6.2).
#[inline]
pub(crate) const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

static TOKEN: [bool; 256] = token_table();

const fn token_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let octet = byte as u8;
        let symbol = matches!(
            octet,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        table[byte] = octet.is_ascii_alphanumeric() || symbol;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for &known in KnownName::ALL {
            assert_eq!(KnownName::of(known.text().as_bytes()), Some(known));
            assert_eq!(KnownName::of(known.text().to_ascii_uppercase().as_bytes()), Some(known));
        }
    }

    #[test]
    fn an_unknown_name_is_not_mistaken_for_a_known_one() {
        assert_eq!(KnownName::of(b"x-hosted"), None);
        assert_eq!(KnownName::of(b"hosu"), None);
        assert_eq!(KnownName::of(b""), None);
    }

    #[test]
    fn a_name_with_a_space_is_no_header_name() {
        assert_eq!(HeaderName::parse("x y"), None);
        assert_eq!(HeaderName::parse("X-Y").map(|name| name.text().to_owned()), Some("x-y".to_owned()));
    }
}
