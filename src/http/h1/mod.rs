//! The HTTP/1 codec, strict in both roles (RFC 9112).

mod error;
mod name;
mod parse;
mod scan;
mod section;

pub use error::{ChunkError, FieldError, FramingError, RequestError, ResponseError};
pub use parse::{CONTENT_LENGTH_MAX, HeadLimits, HeadScanner, METHOD_BYTES_MAX, Progress};
