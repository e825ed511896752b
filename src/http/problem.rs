//! Bodies of error answers (RFC 9457), as JSON or as a small page, and the escaping both need.
//!
//! Knows which words there are to say, not which to choose: no internals come here.

/// Every problem type of ours is this and its reason word. The words are stable, each has a page at its address, and
/// they stand in access log and metrics in the same spelling.
pub const TYPE_BASE: &str = "https://tidegate.dev/problems/";
/// The media type of [`Problem::append_json`].
pub const JSON_TYPE: &str = "application/problem+json";
/// The media type of [`Problem::append_html`].
pub const HTML_TYPE: &str = "text/html; charset=utf-8";

/// What an error answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem<'a> {
    /// The reason word, the last part of the type's address.
    pub reason: &'a str,
    /// The same sentence for every occurrence of this type.
    pub title: &'a str,
    pub status: u16,
    /// Public help for this occurrence; never rule names, addresses or causes inside.
    pub detail: Option<&'a str>,
    /// The request id, by which the occurrence is found in the logs.
    pub instance: &'a [u8],
}

impl Problem<'_> {
    /// Appends the problem details object (RFC 9457, section 3).
    pub fn append_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(TYPE_BASE.as_bytes());
        append_json_escaped(self.reason.as_bytes(), out);
        out.extend_from_slice(b"\",\"title\":\"");
        append_json_escaped(self.title.as_bytes(), out);
        out.extend_from_slice(b"\",\"status\":");
        out.extend_from_slice(itoa::Buffer::new().format(self.status).as_bytes());
        if let Some(detail) = self.detail {
            out.extend_from_slice(b",\"detail\":\"");
            append_json_escaped(detail.as_bytes(), out);
            out.push(b'"');
        }
        out.extend_from_slice(b",\"instance\":\"");
        append_json_escaped(self.instance, out);
        out.extend_from_slice(b"\"}\n");
    }

    /// Appends a page that says the same to a person. It loads nothing.
    pub fn append_html(&self, out: &mut Vec<u8>) {
        let mut buffer = itoa::Buffer::new();
        let status = buffer.format(self.status).as_bytes();
        out.extend_from_slice(b"<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>");
        out.extend_from_slice(status);
        out.push(b' ');
        append_html_escaped(self.title.as_bytes(), out);
        out.extend_from_slice(b"</title>\n<h1>");
        out.extend_from_slice(status);
        out.push(b' ');
        append_html_escaped(self.title.as_bytes(), out);
        out.extend_from_slice(b"</h1>\n");
        if let Some(detail) = self.detail {
            out.extend_from_slice(b"<p>");
            append_html_escaped(detail.as_bytes(), out);
            out.extend_from_slice(b"</p>\n");
        }
        out.extend_from_slice(b"<p>Reason: ");
        append_html_escaped(self.reason.as_bytes(), out);
        out.extend_from_slice(b"<br>Request: ");
        append_html_escaped(self.instance, out);
        out.extend_from_slice(b"</p>\n</html>\n");
    }
}

/// What a byte becomes in a JSON string: nothing, a letter behind a backslash, or `\u00xx`.
static JSON_ESCAPES: [u8; 128] = json_escapes();
/// Marks a byte without a short escape.
const UNICODE_ESCAPE: u8 = b'u';

const fn json_escapes() -> [u8; 128] {
    let mut table = [0; 128];
    let mut control = 0;
    while control < b' ' {
        table[control as usize] = UNICODE_ESCAPE;
        control += 1;
    }
    table[0x7f] = UNICODE_ESCAPE; // allowed raw, but it upsets terminals
    table[b'\n' as usize] = b'n';
    table[b'\r' as usize] = b'r';
    table[b'\t' as usize] = b't';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
}

/// Appends `text` as the inside of a JSON string (RFC 8259, section 7). Bytes that are not UTF-8 become U+FFFD.
#[inline]
pub fn append_json_escaped(text: &[u8], out: &mut Vec<u8>) {
    append_escaped(text, out, |byte| JSON_ESCAPES.get(byte as usize).is_some_and(|&escape| escape != 0), json_escape);
}

fn json_escape(byte: u8, out: &mut Vec<u8>) {
    match JSON_ESCAPES[byte as usize & 0x7f] {
        UNICODE_ESCAPE => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&crate::base::hex::digits(u64::from(byte))[14..]);
        }
        letter => out.extend_from_slice(&[b'\\', letter]),
    }
}

/// Appends `text` for use in HTML text and quoted attributes. Bytes that are not UTF-8 become U+FFFD.
pub fn append_html_escaped(text: &[u8], out: &mut Vec<u8>) {
    append_escaped(text, out, |byte| matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\''), html_escape);
}

fn html_escape(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(match byte {
        b'&' => b"&amp;",
        b'<' => b"&lt;",
        b'>' => b"&gt;",
        b'"' => b"&quot;",
        _ => b"&#39;",
    });
}

/// Copies runs of plain bytes and hands each special one, always ASCII, to `escape`.
#[inline]
fn append_escaped(text: &[u8], out: &mut Vec<u8>, special: impl Fn(u8) -> bool + Copy, escape: fn(u8, &mut Vec<u8>)) {
    if text.is_ascii() {
        return append_runs(text, out, special, escape);
    }
    for chunk in text.utf8_chunks() {
        append_runs(chunk.valid().as_bytes(), out, special, escape);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[inline]
fn append_runs(mut text: &[u8], out: &mut Vec<u8>, special: impl Fn(u8) -> bool + Copy, escape: fn(u8, &mut Vec<u8>)) {
    while let Some(at) = text.iter().position(|&byte| special(byte)) {
        out.extend_from_slice(&text[..at]);
        escape(text[at], out);
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PROBLEM: Problem<'_> = Problem {
        reason: "target-escape",
        title: "The request target holds a broken escape",
        status: 400,
        detail: None,
        instance: b"017f22e279b07cc398c4dc0c0c07398f",
    };

    fn text(append: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        append(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_object_holds_type_title_status_and_instance() {
        let json: serde_json::Value = serde_json::from_str(&text(|out| PROBLEM.append_json(out))).unwrap();
        let expected = serde_json::json!({
            "type": "https://tidegate.dev/problems/target-escape",
            "title": "The request target holds a broken escape",
            "status": 400,
            "instance": "017f22e279b07cc398c4dc0c0c07398f",
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_detail_is_written_where_there_is_one() {
        let problem = Problem { detail: Some("Say \"please\""), ..PROBLEM };
        let json: serde_json::Value = serde_json::from_str(&text(|out| problem.append_json(out))).unwrap();
        assert_eq!(json["detail"], "Say \"please\"");
        assert!(text(|out| problem.append_html(out)).contains("<p>Say &quot;please&quot;</p>"));
    }

    #[test]
    fn the_page_says_the_same_and_runs_nothing() {
        let problem = Problem { instance: b"<script>&'", ..PROBLEM };
        let page = text(|out| problem.append_html(out));
        assert!(page.contains("<h1>400 The request target holds a broken escape</h1>"));
        assert!(page.contains("&lt;script&gt;&amp;&#39;") && !page.contains("<script"));
    }

    #[test]
    fn controls_quotes_and_backslashes_are_escaped_in_json() {
        let escaped = text(|out| append_json_escaped(b"a\"b\\c\n\r\t\x00\x1b\x7f", out));
        assert_eq!(escaped, r#"a\"b\\c\n\r\t\u0000\u001b\u007f"#);
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_replaced_and_the_rest_is_kept() {
        assert_eq!(text(|out| append_json_escaped(b"caf\xc3\xa9 \xff\"", out)), "caf\u{e9} \u{fffd}\\\"");
        assert_eq!(text(|out| append_html_escaped(b"\xc3<", out)), "\u{fffd}&lt;");
    }

    proptest! {
        #[test]
        fn any_bytes_become_a_json_string_of_the_same_text(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let json = text(|out| {
                out.push(b'"');
                append_json_escaped(&bytes, out);
                out.push(b'"');
            });
            let read: String = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&bytes));
        }
    }
}
