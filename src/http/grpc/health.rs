//! The messages of `grpc.health.v1.Health`: what a health checker asks, and what it is told.

use std::fmt;

use super::PREFIX_BYTES;

/// The path of the call that asks once.
pub const CHECK_PATH: &str = "/grpc.health.v1.Health/Check";
/// A longer answer is none of this service.
pub const RESPONSE_BYTES_MAX: usize = 4096;
/// A longer name of a service is not asked for.
pub const SERVICE_BYTES_MAX: usize = 1024;

/// The field of either message that matters to us: `service` of the request, `status` of the response.
const FIELD: u64 = 1;

/// What a server says of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// The server does not know, or says something that we do not know.
    Unknown,
    Serving,
    NotServing,
    /// There is no such service; only said to who watches.
    ServiceUnknown,
}

/// Why an answer cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidAnswer {
    /// It is not one message, whole and not compressed.
    Framing,
    /// The message is none of protocol buffers.
    Message,
}

impl InvalidAnswer {
    /// A stable word for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Framing => "health-framing",
            Self::Message => "health-message",
        }
    }
}

impl fmt::Display for InvalidAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for InvalidAnswer {}

/// Appends a `HealthCheckRequest` for `service`, framed; the empty name asks for the server as a whole.
pub fn write_request(service: &str, out: &mut Vec<u8>) {
    debug_assert!(service.len() <= SERVICE_BYTES_MAX, "longer names are refused where they are configured");
    let mut message = Vec::with_capacity(service.len() + 4);
    if !service.is_empty() {
        message.push((FIELD << 3 | 2) as u8);
        write_varint(service.len() as u64, &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(&message);
}

/// Reads the content of an answer: one framed `HealthCheckResponse`.
pub fn read_response(content: &[u8]) -> Result<Serving, InvalidAnswer> {
    let (prefix, message) = content.split_first_chunk::<PREFIX_BYTES>().ok_or(InvalidAnswer::Framing)?;
    let [flag, length @ ..] = *prefix;
    let whole = message.len() as u64 == u64::from(u32::from_be_bytes(length));
    if flag != 0 || !whole || content.len() > RESPONSE_BYTES_MAX {
        return Err(InvalidAnswer::Framing);
    }
    read_message(message).ok_or(InvalidAnswer::Message)
}

/// The status in a message; of several the last counts, and none is zero.
fn read_message(mut message: &[u8]) -> Option<Serving> {
    let mut status = 0;
    while !message.is_empty() {
        let key = read_varint(&mut message)?;
        match (key >> 3, key & 7) {
            (0, _) => return None,
            (FIELD, 0) => status = read_varint(&mut message)?,
            (_, 0) => drop(read_varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 5) => message = message.get(4..)?,
            (_, 2) => {
                let length = usize::try_from(read_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(match status {
        1 => Serving::Serving,
        2 => Serving::NotServing,
        3 => Serving::ServiceUnknown,
        _ => Serving::Unknown,
    })
}

fn write_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number off the front: at most ten octets, and no bits beyond 64.
fn read_varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&octet, rest) = message.split_first()?;
        *message = rest;
        let bits = u64::from(octet & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if octet < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(message: &[u8]) -> Result<Serving, InvalidAnswer> {
        let prefix = (message.len() as u32).to_be_bytes();
        read_response(&[&[0], &prefix[..], message].concat())
    }

    #[test]
    fn a_request_names_its_service_or_none() {
        let written = |service| {
            let mut out = Vec::new();
            write_request(service, &mut out);
            out
        };
        assert_eq!(written(""), [0, 0, 0, 0, 0]);
        assert_eq!(written("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(written(&"a".repeat(300))[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 2]);
    }

    #[test]
    fn a_status_is_read_whatever_stands_around_it() {
        assert_eq!(answer(&[]), Ok(Serving::Unknown));
        let statuses = [0, 1, 2, 3, 4].map(|status| answer(&[8, status]).unwrap());
        use Serving::{NotServing, ServiceUnknown, Unknown};
        assert_eq!(statuses, [Unknown, Serving::Serving, NotServing, ServiceUnknown, Unknown]);
        let around = [0x10, 0x96, 1, 0x1a, 1, b'x', 8, 2, 0x21, 0, 0, 0, 0, 0, 0, 0, 0, 0x2d, 0, 0, 0, 0, 8, 1];
        assert_eq!(answer(&around), Ok(Serving::Serving));
    }

    #[test]
    fn what_is_cut_or_no_message_is_refused() {
        for message in
            [&[8][..], &[8, 0x80], &[0x1a, 5, 1], &[0x21, 0], &[0x0b], &[0, 1], &[8, 255, 255, 255, 255, 255]]
        {
            assert_eq!(answer(message), Err(InvalidAnswer::Message), "{message:?}");
        }
        let long = [&[8][..], &[0xff; 9], &[2]].concat();
        assert_eq!(answer(&long), Err(InvalidAnswer::Message), "more than 64 bits");
        for content in [&[][..], &[0, 0, 0, 0], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 1], &[0, 0, 0, 0, 0, 8]] {
            assert_eq!(read_response(content), Err(InvalidAnswer::Framing), "{content:?}");
        }
        assert_eq!(answer(&vec![0x10; RESPONSE_BYTES_MAX]), Err(InvalidAnswer::Framing));
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_written(number in any::<u64>()) {
            let mut out = Vec::new();
            write_varint(number, &mut out);
            prop_assert_eq!(read_varint(&mut &out[..]), Some(number));
        }

        #[test]
        fn no_message_is_too_odd(message in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = answer(&message);
        }
    }
}
