//! `grpc-message`: text in percent-encoding.

use crate::base::hex;

/// Appends `text` so that every octet but the printable ones of ASCII, and `%` among those, is escaped.
pub fn write_message(text: &str, out: &mut Vec<u8>) {
    for octet in text.bytes() {
        match octet {
            b' '..=b'~' if octet != b'%' => out.push(octet),
            _ => {
                out.push(b'%');
                out.extend(hex::digits(u64::from(octet))[14..].iter().map(u8::to_ascii_uppercase));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_printable_ascii_goes_as_it_is() {
        let mut out = Vec::new();
        write_message("No route: 100% \u{e9}\n~", &mut out);
        assert_eq!(out, b"No route: 100%25 %C3%A9%0A~");
    }
}
