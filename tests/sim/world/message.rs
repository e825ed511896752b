//! HTTP/1 messages as a test sees them. A reader of its own, so that no test believes the code it tests.

use super::peer::{find, text};

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Request line or status line.
    pub start: String,
    /// In the order and the spelling received.
    pub fields: Vec<(String, String)>,
    /// The head as received.
    pub head: String,
    pub content: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Whether the message was received to its end.
    pub complete: bool,
}

/// When a message has no content whatever its fields say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBody {
    Always,
    /// A response whose status has none; others run to the close unless framed.
    ByStatus,
    /// A request.
    UnlessFramed,
}

impl Message {
    /// The values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field that is there at most once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} is there twice: {}", self.head);
        all.first().copied()
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        self.start.get(9..12).and_then(|digits| digits.parse().ok()).expect("a status line")
    }

    /// The content as text.
    pub fn text(&self) -> String {
        text(&self.content)
    }

    /// The content as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.content).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// Reads one message from the front of `all`, and how many octets it takes; none if it is not all there.
pub fn parse(all: &[u8], no_body: NoBody, ended: bool) -> Option<(Message, usize)> {
    let end = find(all, b"\r\n\r\n")? + 4;
    let head = text(&all[..end]);
    let mut lines = head[..head.len() - 4].split("\r\n");
    let start = lines.next()?.to_owned();
    let fields: Vec<_> = lines.map(field).collect();
    let message = Message { start, fields, head, content: Vec::new(), trailers: Vec::new(), complete: true };
    content(message, &all[end..], no_body, ended).map(|(message, used)| (message, end + used))
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a field: {line:?}"));
    (name.to_owned(), value.trim().to_owned())
}

fn content(mut message: Message, rest: &[u8], no_body: NoBody, ended: bool) -> Option<(Message, usize)> {
    let none = match no_body {
        NoBody::Always => true,
        NoBody::ByStatus => matches!(message.status(), 100..=199 | 204 | 304),
        NoBody::UnlessFramed => {
            message.field("content-length").is_none() && message.all("transfer-encoding").is_empty()
        }
    };
    if none {
        return Some((message, 0));
    }
    if !message.all("transfer-encoding").is_empty() {
        return chunked(message, rest, ended);
    }
    let length = message.field("content-length").map(|length| length.parse::<usize>().expect("a length"));
    let missing = length.is_none_or(|length| length > rest.len());
    if missing && !ended {
        return None;
    }
    let used = length.unwrap_or(rest.len()).min(rest.len());
    message.complete = length.is_none_or(|length| length == used);
    message.content = rest[..used].to_vec();
    Some((message, used))
}

fn chunked(mut message: Message, rest: &[u8], ended: bool) -> Option<(Message, usize)> {
    let mut at = 0;
    loop {
        let Some(line) = find(&rest[at..], b"\r\n") else { return cut(message, rest, ended) };
        let size = text(&rest[at..at + line]);
        let size = usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("not a chunk size: {size:?}"));
        at += line + 2;
        if size == 0 {
            return trailers(message, rest, at, ended);
        }
        if rest.len() < at + size + 2 {
            message.content.extend_from_slice(&rest[at..rest.len().min(at + size)]);
            return cut(message, rest, ended);
        }
        message.content.extend_from_slice(&rest[at..at + size]);
        assert_eq!(&rest[at + size..at + size + 2], b"\r\n", "a chunk ends with a line end");
        at += size + 2;
    }
}

fn trailers(mut message: Message, rest: &[u8], mut at: usize, ended: bool) -> Option<(Message, usize)> {
    loop {
        let Some(line) = find(&rest[at..], b"\r\n") else { return cut(message, rest, ended) };
        let text = text(&rest[at..at + line]);
        at += line + 2;
        if text.is_empty() {
            return Some((message, at));
        }
        message.trailers.push(field(&text));
    }
}

fn cut(mut message: Message, rest: &[u8], ended: bool) -> Option<(Message, usize)> {
    message.complete = false;
    ended.then_some((message, rest.len()))
}
