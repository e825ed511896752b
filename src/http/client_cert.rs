//! `Client-Cert` and `Client-Cert-Chain` (RFC 9440): a client's certificate, told to who did not see the handshake.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const LEAF: &[u8] = b"client-cert: ";
const CHAIN: &[u8] = b"client-cert-chain: ";
/// Octets encoded at once; three become four.
const STEP_BYTES: usize = 768;

/// How long the fields of these certificates are, line ends included: the client's own, then those it sent along.
pub fn fields_bytes<D: AsRef<[u8]>>(leaf: &[u8], others: &[D]) -> usize {
    // Two colons, and a comma and a space or the end of the line.
    let item = |der: &[u8]| 4 * der.len().div_ceil(3) + 4;
    let chain = if others.is_empty() { 0 } else { CHAIN.len() };
    LEAF.len() + item(leaf) + chain + others.iter().map(|other| item(other.as_ref())).sum::<usize>()
}

/// Appends the client's own certificate, and those it sent along where there are any (RFC 9440, sections 2.2 and 2.3).
pub fn append_fields<D: AsRef<[u8]>>(leaf: &[u8], others: &[D], out: &mut Vec<u8>) {
    out.extend_from_slice(LEAF);
    append_item(leaf, out);
    out.extend_from_slice(b"\r\n");
    let mut before: &[u8] = CHAIN;
    for other in others {
        out.extend_from_slice(before);
        append_item(other.as_ref(), out);
        before = b", ";
    }
    if !others.is_empty() {
        out.extend_from_slice(b"\r\n");
    }
}

/// A byte sequence (RFC 9651, section 3.3.5).
fn append_item(der: &[u8], out: &mut Vec<u8>) {
    out.push(b':');
    let mut text = [0; STEP_BYTES / 3 * 4];
    for step in der.chunks(STEP_BYTES) {
        // The text of a step fits.
        let length = STANDARD.encode_slice(step, &mut text).unwrap_or_default();
        out.extend_from_slice(&text[..length]);
    }
    out.push(b':');
}

/// Whether a `Vary` of an upstream names one of these fields, which no client has sent.
pub fn is_varied_by(mut vary: &[u8]) -> bool {
    loop {
        let end = memchr::memchr(b',', vary).unwrap_or(vary.len());
        let member = vary[..end].trim_ascii();
        if member.eq_ignore_ascii_case(b"client-cert") || member.eq_ignore_ascii_case(b"client-cert-chain") {
            return true;
        }
        let Some(rest) = vary.get(end + 1..) else { return false };
        vary = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(leaf: &[u8], others: &[&[u8]]) -> String {
        let mut out = Vec::new();
        append_fields(leaf, others, &mut out);
        assert_eq!(out.len(), fields_bytes(leaf, others));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_certificate_is_a_byte_sequence() {
        assert_eq!(fields(b"leaf", &[]), "client-cert: :bGVhZg==:\r\n");
        let both = "client-cert: :bGVhZg==:\r\nclient-cert-chain: :b25l:, :dHdv:\r\n";
        assert_eq!(fields(b"leaf", &[b"one", b"two"]), both);
    }

    #[test]
    fn a_long_certificate_is_encoded_as_one() {
        let long: Vec<u8> = (0..5_000_u32).map(|at| (at * 7) as u8).collect();
        let expected = STANDARD.encode_slice(&long, &mut [0; 8_000]).unwrap();
        let text = fields(&long, &[]);
        assert_eq!(text.len(), expected + "client-cert: ::\r\n".len());
        let mut back = vec![0; long.len() + 3];
        let inner = text.trim_end().trim_start_matches("client-cert: ").trim_matches(':');
        let length = STANDARD.decode_slice(inner, &mut back).unwrap();
        assert!(back[..length] == long);
    }

    #[test]
    fn a_vary_is_found_among_others() {
        for vary in ["Client-Cert", "accept, client-cert-chain", "accept ,\tCLIENT-CERT , x"] {
            assert!(is_varied_by(vary.as_bytes()), "{vary}");
        }
        for vary in ["", "*", "accept", "x-client-cert", "client-cert-x,,"] {
            assert!(!is_varied_by(vary.as_bytes()), "{vary}");
        }
    }
}
