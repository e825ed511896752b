//! Why a stream to an upstream broke, as an error of its halves: the kind says what it means for the exchange, the word
//! says it to the log.
//!
//! `ConnectionRefused` means that the request was not processed and may be made again, whatever it is (RFC 9113, section
//! 8.7); `InvalidData` that the response breaks the rules; `InvalidInput` that HTTP/2 cannot say this request.

use std::{fmt, io};

use h2::Reason as Code;

/// The word for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Broken(&'static str);

impl Broken {
    /// The response, or the connection, broke the rules.
    pub fn malformed(word: &'static str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Self(word))
    }

    /// The upstream, or we for it, gave the request up.
    pub fn reset(word: &'static str) -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionReset, Self(word))
    }

    /// What `error` has to say, if it is one of these.
    pub fn word_of(error: &io::Error) -> &'static str {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()).map_or("", |broken| broken.0)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Broken {}

/// A code of RFC 9113, section 7, as a word.
pub(super) fn code_word(code: Code) -> &'static str {
    match code {
        Code::NO_ERROR => "no-error",
        Code::PROTOCOL_ERROR => "protocol-error",
        Code::INTERNAL_ERROR => "internal-error",
        Code::FLOW_CONTROL_ERROR => "flow-control-error",
        Code::SETTINGS_TIMEOUT => "settings-timeout",
        Code::STREAM_CLOSED => "stream-closed",
        Code::FRAME_SIZE_ERROR => "frame-size-error",
        Code::REFUSED_STREAM => "refused-stream",
        Code::CANCEL => "cancel",
        Code::COMPRESSION_ERROR => "compression-error",
        Code::CONNECT_ERROR => "connect-error",
        Code::ENHANCE_YOUR_CALM => "enhance-your-calm",
        Code::INADEQUATE_SECURITY => "inadequate-security",
        Code::HTTP_1_1_REQUIRED => "http-1-1-required",
        _ => "unknown-code",
    }
}
