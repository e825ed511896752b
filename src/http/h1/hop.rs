//! What ends at this hop: the fields to drop when a message is forwarded, and what `Connection` says about the
//! connection itself (RFC 9110, section 7.6.1). Strip first, add our own fields afterwards.

use std::fmt;

use crate::http::header::{Field, Fields, KnownName, is_token};
use crate::http::{RequestHead, ResponseHead, Span, Version};

/// Where a listed name starts: within a head of at most 64 KiB.
type Place = u16;

/// Names without a number that one `Connection` may list; more are refused.
pub const LISTED_NAMES_MAX: usize = 16;

/// Dropped from every message, listed or not.
const HOP_BY_HOP: u128 = set(&[
    KnownName::Connection,
    KnownName::Http2Settings,
    KnownName::KeepAlive,
    KnownName::ProxyAuthenticate,
    KnownName::ProxyAuthorization,
    KnownName::ProxyConnection,
    KnownName::Te,
    KnownName::TransferEncoding,
    KnownName::Upgrade,
]);

/// Framing, routing, credential and cache fields and those the gateway writes itself: what a peer must not have us
/// delete.
const PROTECTED: u128 = set(&[
    KnownName::Age,
    KnownName::Authorization,
    KnownName::Baggage,
    KnownName::CacheControl,
    KnownName::ClientCert,
    KnownName::ClientCertChain,
    KnownName::Connection,
    KnownName::ContentEncoding,
    KnownName::ContentLength,
    KnownName::ContentRange,
    KnownName::ContentType,
    KnownName::Cookie,
    KnownName::Date,
    KnownName::EarlyData,
    KnownName::Etag,
    KnownName::Expect,
    KnownName::Forwarded,
    KnownName::Host,
    KnownName::LastModified,
    KnownName::Location,
    KnownName::MaxForwards,
    KnownName::Origin,
    KnownName::ProxyAuthenticate,
    KnownName::ProxyAuthorization,
    KnownName::Range,
    KnownName::SecFetchSite,
    KnownName::SecWebsocketAccept,
    KnownName::SecWebsocketKey,
    KnownName::SecWebsocketVersion,
    KnownName::SetCookie,
    KnownName::Traceparent,
    KnownName::Tracestate,
    KnownName::Trailer,
    KnownName::TransferEncoding,
    KnownName::Vary,
    KnownName::Via,
    KnownName::WwwAuthenticate,
    KnownName::XForwardedFor,
    KnownName::XForwardedHost,
    KnownName::XForwardedPort,
    KnownName::XForwardedProto,
    KnownName::XRealIp,
    KnownName::XRequestId,
]);

/// Protected names without a number; those that begin with `tidegate-` are as well.
const PROTECTED_TEXTS: &[&str] =
    &["cache-groups", "cdn-cache-control", "content-location", "expires", "pragma", "surrogate-control"];

/// Never forwarded from a trailer section: it comes too late for what these say (RFC 9110, section 6.5.1).
pub const NOT_IN_TRAILERS: u128 = HOP_BY_HOP | PROTECTED;

const fn set(names: &[KnownName]) -> u128 {
    let mut set = 0;
    let mut at = 0;
    while at < names.len() {
        set |= 1 << names[at] as u8;
        at += 1;
    }
    set
}

/// Why a `Connection` field was refused: 400 for a request, 502 for a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopError {
    /// An option that is no token.
    InvalidOption,
    /// The field names one that is not the sender's to remove.
    ProtectedOption,
    /// More than [`LISTED_NAMES_MAX`] names, or one beyond the largest head.
    TooManyOptions,
}

impl HopError {
    /// A stable word for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::InvalidOption => "invalid-connection-option",
            Self::ProtectedOption => "protected-connection-option",
            Self::TooManyOptions => "too-many-connection-options",
        }
    }
}

impl fmt::Display for HopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for HopError {}

/// What one message says about this hop.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    /// Known names to drop when forwarding.
    strip: u64,
    /// Where `Connection` lists names without a number.
    listed: [Place; LISTED_NAMES_MAX],
    listed_count: u8,
    /// Whether the sender wishes, or announces, another protocol: an `Upgrade` field that `Connection` lists.
    pub upgrade: bool,
    /// Whether the sender reads trailers: `TE: trailers`, listed by `Connection` (RFC 9110, section 10.1.4).
    pub te_trailers: bool,
    /// Whether the sender is ready for another message on this connection.
    pub persistent: bool,
}

/// What `Connection` says of the connection itself.
#[derive(Clone, Copy, Default)]
struct Wish {
    close: bool,
    keep_alive: bool,
}

impl Default for Hop {
    /// What a message says that names no options: the connection's own fields end here, and so does the connection.
    #[inline(always)]
    fn default() -> Self {
        Self {
            strip: HOP_BY_HOP as u64,
            listed: [0; LISTED_NAMES_MAX],
            listed_count: 0,
            upgrade: false,
            te_trailers: false,
            persistent: false,
        }
    }
}

impl Hop {
    /// Reads the hop-by-hop fields of a request. An HTTP/1.0 client gets one answer on its connection.
    #[inline]
    pub fn of_request(bytes: &[u8], head: &RequestHead) -> Result<Self, HopError> {
        let persistent = |wish: Wish| head.version == Version::Http11 && !wish.close;
        Self::of(bytes, &head.fields, head.version, persistent)
    }

    /// Reads the hop-by-hop fields of a response (RFC 9112, section 9.3).
    #[inline]
    pub fn of_response(bytes: &[u8], head: &ResponseHead) -> Result<Self, HopError> {
        let persistent = |wish: Wish| !wish.close && (head.version == Version::Http11 || wish.keep_alive);
        Self::of(bytes, &head.fields, head.version, persistent)
    }

    /// Whether `field` ends here; `bytes` is the buffer its head was parsed from.
    #[inline]
    pub fn drops(&self, field: &Field, bytes: &[u8]) -> bool {
        match field.known {
            Some(known) => self.strip() & known.bit() != 0,
            None => self.listed_count > 0 && self.lists(field.name.of(bytes), bytes),
        }
    }

    /// Whether `Connection` lists this name, one without a number; for names that configuration protects.
    pub fn lists(&self, name: &[u8], bytes: &[u8]) -> bool {
        self.listed.iter().take(usize::from(self.listed_count)).any(|&place| {
            let option = bytes.get(usize::from(place)..).unwrap_or_default();
            let ends = option.get(name.len()).is_none_or(|&octet| !is_token(octet));
            ends && option.get(..name.len()).is_some_and(|option| option.eq_ignore_ascii_case(name))
        })
    }

    /// The known names to drop, one bit each.
    #[inline]
    pub fn strip(&self) -> u128 {
        u128::from(self.strip)
    }

    #[inline(always)]
    fn of(
        bytes: &[u8],
        fields: &Fields,
        version: Version,
        persistent: impl Fn(Wish) -> bool,
    ) -> Result<Self, HopError> {
        if let Some(wish) = Wish::alone(bytes, fields) {
            return Ok(Self { persistent: persistent(wish), ..Self::default() });
        }
        let (hop, wish) = Self::of_lists(bytes, fields, version)?;
        Ok(Self { persistent: persistent(wish), ..hop })
    }

    #[inline(never)]
    fn of_lists(bytes: &[u8], fields: &Fields, version: Version) -> Result<(Self, Wish), HopError> {
        let (mut hop, mut wish) = (Self::default(), Wish::default());
        for field in fields.all(KnownName::Connection) {
            hop.read_list(bytes, field.value, &mut wish)?;
        }
        // RFC 9110, section 7.8: Upgrade in an HTTP/1.0 message is ignored.
        hop.upgrade &= version == Version::Http11 && fields.has(KnownName::Upgrade);
        hop.te_trailers =
            hop.te_trailers && fields.all(KnownName::Te).any(|field| names_trailers(field.value.of(bytes)));
        Ok((hop, wish))
    }

    fn read_list(&mut self, bytes: &[u8], list: Span, wish: &mut Wish) -> Result<(), HopError> {
        let mut start = list.start as usize;
        for element in list.of(bytes).split(|&octet| octet == b',') {
            let option = element.trim_ascii();
            if !option.is_empty() {
                let leading = element.len() - element.trim_ascii_start().len();
                self.read_option(option, start + leading, wish)?;
            }
            start += element.len() + 1;
        }
        Ok(())
    }

    fn read_option(&mut self, option: &[u8], start: usize, wish: &mut Wish) -> Result<(), HopError> {
        if let Some(known) = KnownName::of(option) {
            if PROTECTED & known.bit() != 0 {
                return Err(HopError::ProtectedOption);
            }
            self.strip |= known.bit() as u64;
            self.upgrade |= known == KnownName::Upgrade;
            self.te_trailers |= known == KnownName::Te;
            wish.keep_alive |= known == KnownName::KeepAlive;
            return Ok(());
        }
        if option.eq_ignore_ascii_case(b"close") {
            wish.close = true;
            return Ok(());
        }
        if !option.iter().all(|&octet| is_token(octet)) {
            return Err(HopError::InvalidOption);
        }
        if is_protected_text(option) {
            return Err(HopError::ProtectedOption);
        }
        let place = self.listed.get_mut(usize::from(self.listed_count)).ok_or(HopError::TooManyOptions)?;
        *place = Place::try_from(start).map_err(|_| HopError::TooManyOptions)?;
        self.listed_count += 1;
        Ok(())
    }
}

impl Wish {
    /// By far the commonest: no `Connection`, or one with one word alone. The field that it names is dropped in any case.
    #[inline(always)]
    fn alone(bytes: &[u8], fields: &Fields) -> Option<Self> {
        let Some(value) = fields.first(KnownName::Connection, bytes) else { return Some(Self::default()) };
        let keep_alive = spells(value, b"keep-alive");
        let alone = fields.repeated() & KnownName::Connection.bit() == 0;
        (alone && (keep_alive || spells(value, b"close"))).then_some(Self { close: !keep_alive, keep_alive })
    }
}

/// Whether `value` is `word`, a lower-case one, in any case.
#[inline(always)]
fn spells<const N: usize>(value: &[u8], word: &[u8; N]) -> bool {
    let Ok(value) = <&[u8; N]>::try_from(value) else { return false };
    let (mut received, mut case, mut wanted) = ([0; 16], [0; 16], [0; 16]);
    received[..N].copy_from_slice(value);
    wanted[..N].copy_from_slice(word);
    for (mask, octet) in case.iter_mut().zip(word) {
        *mask = u8::from(octet.is_ascii_lowercase()) << 5;
    }
    u128::from_le_bytes(received) | u128::from_le_bytes(case) == u128::from_le_bytes(wanted)
}

fn is_protected_text(name: &[u8]) -> bool {
    let own = name.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"tidegate-"));
    own || PROTECTED_TEXTS.iter().any(|text| text.as_bytes().eq_ignore_ascii_case(name))
}

/// Whether a TE value names `trailers`, which takes no parameters.
fn names_trailers(value: &[u8]) -> bool {
    value.split(|&octet| octet == b',').any(|element| element.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Method;
    use crate::http::h1::{HeadScanner, Progress};

    fn request_hop(version: &str, section: &str) -> (Vec<u8>, RequestHead, Result<Hop, HopError>) {
        let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n{section}\r\n").into_bytes();
        let mut head = RequestHead::default();
        let progress = HeadScanner::default().request(&bytes, &mut head, &Default::default());
        assert_eq!(progress, Ok(Progress::Complete));
        let hop = Hop::of_request(&bytes, &head);
        (bytes, head, hop)
    }

    fn kept(section: &str) -> Vec<String> {
        let (bytes, head, hop) = request_hop("1.1", section);
        let hop = hop.unwrap();
        let fields = head.fields.as_slice().iter().filter(|field| !hop.drops(field, &bytes));
        fields.map(|field| String::from_utf8_lossy(field.name.of(&bytes)).into_owned()).collect()
    }

    fn refused(section: &str) -> &'static str {
        request_hop("1.1", section).2.unwrap_err().reason()
    }

    fn response_persists(start: &str) -> bool {
        let bytes = format!("{start}\r\n\r\n").into_bytes();
        let mut head = ResponseHead::default();
        HeadScanner::default().response(&bytes, &mut head, Method::Get, &Default::default()).unwrap();
        Hop::of_response(&bytes, &head).unwrap().persistent
    }

    #[test]
    fn rfc_9110_section_7_6_1_hop_by_hop_fields_are_dropped_listed_or_not() {
        let section = "Proxy-Connection: a\r\nKeep-Alive: b\r\nTE: c\r\nUpgrade: d\r\nTransfer-Encoding: chunked\r\n\
            HTTP2-Settings: e\r\nProxy-Authorization: f\r\nX-Stays: g\r\n";
        assert_eq!(kept(section), ["Host", "X-Stays"]);
        assert_eq!(kept("Connection: close\r\nX-Stays: g\r\n"), ["Host", "X-Stays"]);
    }

    #[test]
    fn rfc_9110_section_7_6_1_a_second_line_of_options_counts_as_well() {
        for first in ["close", "keep-alive"] {
            for lines in [[first, "X-One"], ["X-One", first]] {
                let [one, two] = lines;
                let section = format!("Connection: {one}\r\nX-One: a\r\nX-Stays: g\r\nConnection: {two}\r\n");
                assert_eq!(kept(&section), ["Host", "X-Stays"]);
            }
            let section = format!("Connection: {first}\r\nConnection: close\r\n");
            assert!(!request_hop("1.1", &section).2.unwrap().persistent);
            assert!(!response_persists(&format!("HTTP/1.1 200 OK\r\nConnection: {first}\r\nConnection: close")));
        }
    }

    #[test]
    fn rfc_9110_section_7_6_1_listed_fields_are_dropped_in_any_case() {
        let section = "X-One: a\r\nconnection: x-ONE ,, x-three\t\r\nX-Two: b\r\nConnection: Referer\r\nReferer: c\r\n\
            X-Three: d\r\n";
        assert_eq!(kept(section), ["Host", "X-Two"]);
    }

    #[test]
    fn rfc_9110_section_7_6_1_fields_that_are_not_the_senders_cannot_be_listed() {
        for name in [
            "content-length",
            "Transfer-Encoding",
            "HOST",
            "authorization",
            "Cookie",
            "cache-control",
            "Expires",
            "X-Forwarded-For",
            "via",
            "x-request-id",
            "Tidegate-Partial",
            "connection",
            "traceparent",
        ] {
            assert_eq!(
                refused(&format!("Connection: keep-alive, {name}\r\n")),
                "protected-connection-option",
                "{name}"
            );
        }
    }

    #[test]
    fn a_listed_name_is_neither_its_beginning_nor_what_it_begins() {
        assert_eq!(kept("Connection: x-one\r\nX-On: a\r\nX-One: b\r\nX-One-: c\r\n"), ["Host", "X-On", "X-One-"]);
    }

    #[test]
    fn options_are_tokens_and_bounded() {
        assert_eq!(refused("Connection: a b\r\n"), "invalid-connection-option");
        assert_eq!(refused("Connection: \"close\"\r\n"), "invalid-connection-option");
        let list = |count: usize| (0..count).map(|i| format!("x-{i}")).collect::<Vec<_>>().join(",");
        let (bytes, _, hop) = request_hop("1.1", &format!("Connection: {}\r\n", list(LISTED_NAMES_MAX)));
        assert!(hop.unwrap().lists(b"X-15", &bytes));
        assert_eq!(refused(&format!("Connection: {}\r\n", list(LISTED_NAMES_MAX + 1))), "too-many-connection-options");
    }

    #[test]
    fn rfc_9112_section_9_3_persistence_follows_version_and_options() {
        let persists = |version, section| request_hop(version, section).2.unwrap().persistent;
        assert!(persists("1.1", ""));
        assert!(!persists("1.1", "Connection: Close\r\n"));
        assert!(!persists("1.1", "Connection: keep-alive, close\r\n"));
        assert!(!persists("1.0", "Connection: keep-alive\r\n"));
        assert!(response_persists("HTTP/1.1 200 OK"));
        assert!(!response_persists("HTTP/1.1 200 OK\r\nConnection: close"));
        assert!(!response_persists("HTTP/1.0 200 OK"));
        assert!(response_persists("HTTP/1.0 200 OK\r\nConnection: Keep-Alive"));
    }

    #[test]
    fn rfc_9110_section_7_8_an_upgrade_counts_only_if_listed_and_not_in_http10() {
        let upgrades = |version, section| request_hop(version, section).2.unwrap().upgrade;
        assert!(upgrades("1.1", "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"));
        assert!(!upgrades("1.1", "Upgrade: websocket\r\n"));
        assert!(!upgrades("1.1", "Connection: upgrade\r\n"));
        assert!(!upgrades("1.0", "Connection: upgrade\r\nUpgrade: websocket\r\n"));
    }

    #[test]
    fn rfc_9110_section_10_1_4_trailers_are_wanted_only_if_te_is_listed() {
        let wants = |section| request_hop("1.1", section).2.unwrap().te_trailers;
        assert!(wants("TE: gzip;q=0.5, Trailers\r\nConnection: TE\r\n"));
        assert!(!wants("TE: trailers\r\n"));
        assert!(!wants("TE: gzip\r\nConnection: TE\r\n"));
    }
}
