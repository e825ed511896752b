//! The HTTP/1 codec, strict in both roles (RFC 9112).

mod chunked;
mod encode;
mod error;
mod hop;
mod name;
mod parse;
mod scan;
mod section;
pub(super) mod simd;
#[cfg(test)]
mod tests;

pub use chunked::{
    CHUNK_END, CHUNK_HEADER_BYTES, ChunkedDecoder, LAST_CHUNK, Step, Trailers, write_chunk, write_chunk_header,
    write_trailers,
};
pub use encode::{
    DATE_BYTES, copy_fields, copy_fields_without, write_chunked, write_connection_close, write_content_length,
    write_date, write_field, write_head_end, write_request_line, write_status_line,
};
pub use error::{ChunkError, FieldError, FramingError, RequestError, ResponseError};
pub use hop::{Hop, HopError, LISTED_NAMES_MAX, NOT_IN_TRAILERS};
pub use parse::{CONTENT_LENGTH_MAX, HeadLimits, HeadScanner, METHOD_BYTES_MAX, Progress};
