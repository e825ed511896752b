//! The HTTP/1 codec, strict in both roles (RFC 9112).
