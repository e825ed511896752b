//! Trailers as gRPC-Web has them: the last frame of the content.

/// Marks the frame that holds trailers.
pub const TRAILERS_FLAG: u8 = 0x80;

/// Appends a frame with these fields, their names in lower case.
pub fn write_trailers_frame<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[TRAILERS_FLAG, 0, 0, 0, 0]);
    for (name, value) in fields {
        out.extend(name.iter().map(u8::to_ascii_lowercase));
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    // A trailer section is bounded far below 4 GiB.
    let length = (out.len() - start - super::PREFIX_BYTES) as u32;
    out[start + 1..start + super::PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_holds_a_block_of_fields_and_its_length() {
        let mut out = b"before".to_vec();
        let fields = [(&b"Grpc-Status"[..], &b"0"[..]), (b"x-a", b"b c")];
        write_trailers_frame(fields.into_iter(), &mut out);
        assert_eq!(out, b"before\x80\0\0\0\x1agrpc-status: 0\r\nx-a: b c\r\n".as_slice());
    }
}
