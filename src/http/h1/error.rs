//! Why a message was refused. Each error has a stable word for logs; requests also have the status they earn.

use std::fmt;

/// A fault in a header or trailer section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldError {
    BareCr,
    BareLf,
    ObsFold,
    SpaceBeforeFirstField,
    SpaceBeforeColon,
    MissingColon,
    InvalidName,
    ControlInValue,
    HeadTooLarge,
    FieldTooLarge,
    TooManyFields,
}

impl FieldError {
    /// A stable word for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BareCr => "bare-cr",
            Self::BareLf => "bare-lf",
            Self::ObsFold => "obs-fold",
            Self::SpaceBeforeFirstField => "space-before-first-field",
            Self::SpaceBeforeColon => "space-before-colon",
            Self::MissingColon => "missing-colon",
            Self::InvalidName => "invalid-field-name",
            Self::ControlInValue => "control-in-field-value",
            Self::HeadTooLarge => "head-too-large",
            Self::FieldTooLarge => "field-too-large",
            Self::TooManyFields => "too-many-fields",
        }
    }

    /// Whether the section is refused for its size alone.
    pub fn is_limit(self) -> bool {
        matches!(self, Self::HeadTooLarge | Self::FieldTooLarge | Self::TooManyFields)
    }
}

/// A fault in what delimits the content (RFC 9112, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingError {
    InvalidContentLength,
    DuplicateContentLength,
    LengthAndCoding,
    CodingInHttp10,
    /// Anything but exactly `chunked`, a second line included.
    UnsupportedCoding,
}

impl FramingError {
    /// A stable word for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::InvalidContentLength => "invalid-content-length",
            Self::DuplicateContentLength => "duplicate-content-length",
            Self::LengthAndCoding => "content-length-with-transfer-encoding",
            Self::CodingInHttp10 => "transfer-encoding-in-http10",
            Self::UnsupportedCoding => "unsupported-transfer-encoding",
        }
    }
}

/// Why a request head was refused; the connection is closed after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    Field(FieldError),
    Framing(FramingError),
    InvalidRequestLine,
    InvalidMethod,
    MethodTooLong,
    InvalidTarget,
    TargetTooLong,
    UnsupportedVersion,
    /// The HTTP/2 connection preface where only HTTP/1 is spoken.
    Http2Preface,
    MissingHost,
    DuplicateHost,
}

impl RequestError {
    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Field(error) if error.is_limit() => 431,
            Self::TargetTooLong => 414,
            Self::MethodTooLong | Self::Framing(FramingError::UnsupportedCoding) => 501,
            Self::UnsupportedVersion | Self::Http2Preface => 505,
            _ => 400,
        }
    }

    /// A stable word for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Field(error) => error.reason(),
            Self::Framing(error) => error.reason(),
            Self::InvalidRequestLine => "invalid-request-line",
            Self::InvalidMethod => "invalid-method",
            Self::MethodTooLong => "method-too-long",
            Self::InvalidTarget => "invalid-target",
            Self::TargetTooLong => "target-too-long",
            Self::UnsupportedVersion => "unsupported-version",
            Self::Http2Preface => "http2-preface",
            Self::MissingHost => "missing-host",
            Self::DuplicateHost => "duplicate-host",
        }
    }
}

/// Why a response head was refused: a 502 for the client, and the end of the connection it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    Field(FieldError),
    Framing(FramingError),
    InvalidStatusLine,
    InvalidStatus,
    UnsupportedVersion,
}

impl ResponseError {
    /// A stable word for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Field(error) => error.reason(),
            Self::Framing(error) => error.reason(),
            Self::InvalidStatusLine => "invalid-status-line",
            Self::InvalidStatus => "invalid-status",
            Self::UnsupportedVersion => "unsupported-version",
        }
    }
}

/// Why chunked content was refused (RFC 9112, section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    InvalidSize,
    SizeTooLarge,
    InvalidExtension,
    ExtensionsTooLong,
    InvalidLineEnd,
    Trailer(FieldError),
}

impl ChunkError {
    /// A stable word for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::InvalidSize => "invalid-chunk-size",
            Self::SizeTooLarge => "chunk-size-too-large",
            Self::InvalidExtension => "invalid-chunk-extension",
            Self::ExtensionsTooLong => "chunk-extensions-too-long",
            Self::InvalidLineEnd => "invalid-chunk-line-end",
            Self::Trailer(error) => error.reason(),
        }
    }

    /// The status for a request whose content this is, if it can still be answered.
    pub fn status(self) -> u16 {
        match self {
            Self::Trailer(error) if error.is_limit() => 431,
            _ => 400,
        }
    }
}

macro_rules! say_the_reason {
    ($($error:ty),*) => {$(
        impl fmt::Display for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.reason())
            }
        }

        impl std::error::Error for $error {}
    )*};
}

say_the_reason!(FieldError, FramingError, RequestError, ResponseError, ChunkError);

impl From<FieldError> for RequestError {
    fn from(error: FieldError) -> Self {
        Self::Field(error)
    }
}

impl From<FramingError> for RequestError {
    fn from(error: FramingError) -> Self {
        Self::Framing(error)
    }
}

impl From<FieldError> for ResponseError {
    fn from(error: FieldError) -> Self {
        Self::Field(error)
    }
}

impl From<FramingError> for ResponseError {
    fn from(error: FramingError) -> Self {
        Self::Framing(error)
    }
}

impl From<FieldError> for ChunkError {
    fn from(error: FieldError) -> Self {
        Self::Trailer(error)
    }
}
