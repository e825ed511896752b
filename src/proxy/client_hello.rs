//! The first word of a TLS client, as far as it is sent in the clear: the name it asks for (RFC 6066, section 3).
//!
//! Read without a key and without an answer, so that a connection can be passed on untouched. The message may come in any
//! number of records, and these in any pieces.

/// Octets of a record before its content (RFC 8446, section 5.1).
const RECORD_HEAD_BYTES: usize = 5;
const RECORD_CONTENT_BYTES_MAX: usize = 16 * 1024;
const HANDSHAKE_RECORD: u8 = 22;
/// Every version that writes its records this way.
const MAJOR_VERSION: u8 = 3;
/// Octets of a handshake message before its content: a type and 24 bits of length (section 4).
const MESSAGE_HEAD_BYTES: usize = 4;
const CLIENT_HELLO: u8 = 1;
const RANDOM_BYTES: usize = 32;
const SESSION_ID_BYTES_MAX: usize = 32;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// Extensions of one message; real ones have about twenty.
const EXTENSIONS_MAX: usize = 128;
/// RFC 1035, section 2.3.4.
const NAME_BYTES_MAX: usize = 253;

/// Octets of a hello without its records' heads; the largest real ones, with keys of several kinds, have some 4 KiB.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

/// How far a hello was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// What there is may be the beginning of one.
    Partial,
    /// It is complete: the name asked for, in lower case, if it asks for one.
    Complete(Option<Box<str>>),
}

/// Why this is no hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It does not begin like TLS.
    NotTls,
    /// It is longer than we wait for.
    TooLarge,
    /// It breaks the rules of its form.
    Malformed,
}

/// Reads a hello piece by piece, each octet once.
#[derive(Debug, Default)]
pub struct Reader {
    head: [u8; RECORD_HEAD_BYTES],
    /// Octets of the record's head that have come.
    head_length: usize,
    /// Octets of the record that are still to come.
    left: usize,
    message: Vec<u8>,
}

impl Reader {
    /// Reads the octets behind those of before. What follows the hello is left alone.
    pub fn read(&mut self, mut octets: &[u8]) -> Result<Progress, Unreadable> {
        while let Some((&first, behind)) = octets.split_first() {
            if self.left == 0 {
                octets = behind;
                self.begin_record(first)?;
                continue;
            }
            let (content, rest) = octets.split_at(octets.len().min(self.left));
            self.message.extend_from_slice(content);
            self.left -= content.len();
            octets = rest;
            if let Some(hello) = complete(&self.message)? {
                return server_name(hello).map(Progress::Complete);
            }
        }
        Ok(Progress::Partial)
    }

    /// Takes an octet of a record's head.
    fn begin_record(&mut self, octet: u8) -> Result<(), Unreadable> {
        let at = self.head_length;
        let begins = [HANDSHAKE_RECORD, MAJOR_VERSION];
        if begins.get(at).is_some_and(|expected| *expected != octet) {
            return Err(Unreadable::NotTls);
        }
        self.head[at] = octet;
        self.head_length = (at + 1) % RECORD_HEAD_BYTES;
        if self.head_length > 0 {
            return Ok(());
        }
        self.left = usize::from(u16::from_be_bytes([self.head[3], self.head[4]]));
        // "Implementations MUST NOT send zero-length fragments of Handshake types" (section 5.1).
        if (1..=RECORD_CONTENT_BYTES_MAX).contains(&self.left) { Ok(()) } else { Err(Unreadable::Malformed) }
    }
}

/// The content of the message, once it is whole.
fn complete(message: &[u8]) -> Result<Option<&[u8]>, Unreadable> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(Unreadable::Malformed);
    }
    let Some((head, content)) = message.split_at_checked(MESSAGE_HEAD_BYTES) else { return Ok(None) };
    let length = usize::from(head[1]) << 16 | usize::from(head[2]) << 8 | usize::from(head[3]);
    if length > HELLO_BYTES_MAX {
        return Err(Unreadable::TooLarge);
    }
    Ok(content.get(..length))
}

/// Takes one thing after the other off the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(Unreadable::Malformed)?;
        self.0 = rest;
        Ok(front)
    }

    fn number(&mut self, octets: usize) -> Result<usize, Unreadable> {
        Ok(self.take(octets)?.iter().fold(0, |number, octet| number << 8 | usize::from(*octet)))
    }

    /// What stands behind its own length, which has so many octets.
    fn vector(&mut self, octets: usize) -> Result<Self, Unreadable> {
        let length = self.number(octets)?;
        self.take(length).map(Self)
    }

    fn end(&self) -> Result<(), Unreadable> {
        if self.0.is_empty() { Ok(()) } else { Err(Unreadable::Malformed) }
    }
}

/// The name in a whole hello (RFC 8446, section 4.1.2).
fn server_name(hello: &[u8]) -> Result<Option<Box<str>>, Unreadable> {
    let mut fields = Fields(hello);
    fields.take(2 + RANDOM_BYTES)?;
    let (session, suites, compressions) = (fields.vector(1)?, fields.vector(2)?, fields.vector(1)?);
    let sound = session.0.len() <= SESSION_ID_BYTES_MAX && suites.0.len() >= 2 && suites.0.len() % 2 == 0;
    if !sound || compressions.0.is_empty() {
        return Err(Unreadable::Malformed);
    }
    if fields.0.is_empty() {
        // TLS 1.2 may have no extensions at all.
        return Ok(None);
    }
    let mut extensions = fields.vector(2)?;
    fields.end()?;
    let (mut name, mut count) = (None, 0);
    while !extensions.0.is_empty() {
        count += 1;
        let kind = extensions.number(2)?;
        let content = extensions.vector(2)?;
        if kind == usize::from(SERVER_NAME) {
            // "There MUST NOT be more than one extension of the same type" (section 4.2).
            let again = name.replace(host_name(content)?).is_some();
            if again {
                return Err(Unreadable::Malformed);
            }
        }
        if count > EXTENSIONS_MAX {
            return Err(Unreadable::TooLarge);
        }
    }
    Ok(name)
}

/// The one name in the list (RFC 6066, section 3).
fn host_name(mut content: Fields<'_>) -> Result<Box<str>, Unreadable> {
    let mut list = content.vector(2)?;
    content.end()?;
    let kind = list.number(1)?;
    let name = list.vector(2)?.0;
    list.end()?;
    let sound = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(octet));
    let text = std::str::from_utf8(name).ok().filter(|_| sound && kind == usize::from(HOST_NAME));
    text.map(|text| text.to_ascii_lowercase().into()).ok_or(Unreadable::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::server::Acceptor;

    /// A hello of the library's client, with these names and protocols.
    fn hello(name: &'static str) -> Vec<u8> {
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.unwrap().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut client = rustls::ClientConnection::new(config.into(), name.try_into().unwrap()).unwrap();
        let mut out = Vec::new();
        client.write_tls(&mut out).unwrap();
        out
    }

    /// The same message in records of these sizes, over and over.
    fn in_records(hello: &[u8], sizes: &[usize]) -> Vec<u8> {
        let (mut message, mut out) = (&hello[RECORD_HEAD_BYTES..], Vec::new());
        for size in sizes.iter().cycle() {
            let (piece, rest) = message.split_at(message.len().min(*size));
            out.extend([22, 3, 1]);
            out.extend((piece.len() as u16).to_be_bytes());
            out.extend(piece);
            message = rest;
            if message.is_empty() {
                return out;
            }
        }
        out
    }

    fn read(bytes: &[u8]) -> Result<Progress, Unreadable> {
        Reader::default().read(bytes)
    }

    fn named(name: &str) -> Result<Progress, Unreadable> {
        Ok(Progress::Complete(Some(name.into())))
    }

    #[test]
    fn the_name_is_found_however_the_hello_is_cut() {
        let hello = hello("Www.Example.COM");
        for sizes in [&[usize::MAX][..], &[1], &[3, 100], &[1000, 1]] {
            let records = in_records(&hello, sizes);
            assert_eq!(read(&records), named("www.example.com"), "{sizes:?}");
            for cut in 0..records.len() {
                let mut reader = Reader::default();
                assert_eq!(reader.read(&records[..cut]), Ok(Progress::Partial), "{cut} octets of {sizes:?}");
                assert_eq!(reader.read(&records[cut..]), named("www.example.com"), "{cut} octets of {sizes:?} before");
            }
            assert_eq!(read(&[&records[..], b"what follows"].concat()), named("www.example.com"));
        }
    }

    #[test]
    fn an_address_is_no_name() {
        assert_eq!(read(&hello("192.0.2.1")), Ok(Progress::Complete(None)));
    }

    #[test]
    fn what_is_no_hello_is_refused_as_soon_as_it_shows() {
        let hello = hello("a.test");
        let changed = |at: usize, octet: u8| {
            let mut changed = hello.clone();
            changed[at] = octet;
            read(&changed)
        };
        assert_eq!(read(b"G"), Err(Unreadable::NotTls));
        assert_eq!(read(b"\x16\x02"), Err(Unreadable::NotTls));
        assert_eq!(read(b"\x16\x03\x01\0\0"), Err(Unreadable::Malformed), "an empty record");
        assert_eq!(read(b"\x16\x03\x01\x40\x01"), Err(Unreadable::Malformed), "a record too long");
        assert_eq!(read(b"\x16\x03\x01\0\x04\x01\0\x40\x01"), Err(Unreadable::TooLarge));
        assert_eq!(changed(5, 2), Err(Unreadable::Malformed), "a server's hello");
        assert_eq!(changed(8, hello[8] - 1), Err(Unreadable::Malformed), "a message cut short");
        assert_eq!(changed(43, 33), Err(Unreadable::Malformed), "a long session id");
        let at = hello.windows(6).position(|window| window == b"a.test").unwrap();
        assert_eq!(changed(at, b' '), Err(Unreadable::Malformed), "no name");
        assert_eq!(changed(at - 3, 1), Err(Unreadable::Malformed), "a name of another kind");
        assert_eq!(changed(at - 1, 5), Err(Unreadable::Malformed), "something behind the name");
    }

    proptest! {
        #[test]
        fn whatever_the_library_reads_is_read_the_same(
            at in 0usize..2000, octet in any::<u8>(), cut in 0usize..2000, whole in any::<bool>(),
        ) {
            let mut bytes = hello("a.example.com");
            if let Some(place) = bytes.get_mut(at) {
                *place = octet;
            }
            if !whole {
                bytes.truncate(cut);
            }
            let ours = read(&bytes);
            let mut acceptor = Acceptor::default();
            let taken = acceptor.read_tls(&mut &bytes[..]).and(Ok(()));
            if let (Ok(()), Ok(Some(accepted))) = (taken, acceptor.accept()) {
                let theirs = accepted.client_hello().server_name().map(|name| name.to_ascii_lowercase().into());
                // What it finds unfit for a name it takes for none.
                prop_assert!(ours == Ok(Progress::Complete(theirs.clone())) || theirs.is_none(), "{:?}", ours);
            }
        }
    }
}
