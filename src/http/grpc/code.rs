//! What a call ends with: one of seventeen codes.

/// A status code of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    Ok,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl Code {
    /// Every code, in the order of its number.
    pub const ALL: &'static [Self] = &[
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code that `grpc-status` names. What is no number of a code, and what is not written as a server writes it, is
    /// read as unknown, as clients do.
    pub fn of_text(text: &[u8]) -> Self {
        let number = match *text {
            [digit @ b'0'..=b'9'] => digit - b'0',
            [b'1', digit @ b'0'..=b'6'] => 10 + digit - b'0',
            _ => return Self::Unknown,
        };
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Unknown)
    }

    /// What a client reads from an answer that is none of gRPC.
    pub fn of_http(status: u16) -> Self {
        match status {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// Its number.
    #[inline]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its number as `grpc-status` has it.
    pub fn text(self) -> &'static str {
        const TEXTS: [&str; 17] =
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
        TEXTS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_it_is_written() {
        assert_eq!(Code::ALL.len(), 17);
        for (number, code) in Code::ALL.iter().enumerate() {
            assert_eq!(usize::from(code.number()), number);
            assert_eq!(code.text(), number.to_string());
            assert_eq!(Code::of_text(code.text().as_bytes()), *code);
        }
    }

    #[test]
    fn what_names_no_code_is_unknown() {
        for text in ["", "17", "99", "-1", "x", "00", "0x", "1 ", "016", "256", "265"] {
            assert_eq!(Code::of_text(text.as_bytes()), Code::Unknown, "{text}");
        }
    }

    #[test]
    fn an_answer_that_is_none_of_grpc_is_read_as_clients_do() {
        let read = [400, 401, 403, 404, 429, 502, 503, 504, 200, 418, 500].map(|status| Code::of_http(status).number());
        assert_eq!(read, [13, 16, 7, 12, 14, 14, 14, 14, 2, 2, 2]);
    }
}
