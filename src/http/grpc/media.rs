//! Media types of gRPC and gRPC-Web.

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// gRPC itself.
    Grpc,
    /// gRPC-Web: trailers are a frame of the content.
    Web,
    /// The same, all of it in base64.
    WebText,
}

/// A media type that begins with `application/grpc`, and what stands behind that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media<'a> {
    pub family: Family,
    /// The format of the messages and parameters, as written: `+proto`, or nothing.
    pub suffix: &'a [u8],
}

const GRPC: &[u8] = b"application/grpc";
const WEB: &[u8] = b"-web";
const TEXT: &[u8] = b"-text";

impl<'a> Media<'a> {
    /// The media type that `value` names, if it is one of gRPC.
    #[inline]
    pub fn of(value: &'a [u8]) -> Option<Self> {
        let rest = after(value, GRPC)?;
        let (family, suffix) = match after(rest, WEB) {
            None => (Family::Grpc, rest),
            Some(rest) => match after(rest, TEXT) {
                None => (Family::Web, rest),
                Some(rest) => (Family::WebText, rest),
            },
        };
        matches!(suffix.first(), None | Some(b'+' | b';' | b' ' | b'\t')).then_some(Self { family, suffix })
    }

    /// Appends it with another family.
    pub fn write_as(self, family: Family, out: &mut Vec<u8>) {
        out.extend_from_slice(GRPC);
        match family {
            Family::Grpc => {}
            Family::Web => out.extend_from_slice(WEB),
            Family::WebText => out.extend_from_slice(&[WEB, TEXT].concat()),
        }
        out.extend_from_slice(self.suffix);
    }
}

fn after<'a>(value: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    let (front, rest) = value.split_at_checked(start.len())?;
    front.eq_ignore_ascii_case(start).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(value: &str) -> Option<Family> {
        Media::of(value.as_bytes()).map(|media| media.family)
    }

    #[test]
    fn families_are_told_apart_by_whole_words() {
        assert_eq!(family("application/grpc"), Some(Family::Grpc));
        assert_eq!(family("Application/gRPC+proto"), Some(Family::Grpc));
        assert_eq!(family("application/grpc; charset=utf-8"), Some(Family::Grpc));
        assert_eq!(family("application/grpc-web+json"), Some(Family::Web));
        assert_eq!(family("application/grpc-web-text+proto"), Some(Family::WebText));
        for other in ["application/grp", "application/grpcx", "application/grpc-web-texts", "application/grpc-webx", ""]
        {
            assert_eq!(family(other), None, "{other}");
        }
    }

    #[test]
    fn the_format_stays_when_the_family_changes() {
        let media = Media::of(b"application/grpc-web-text+thrift;a=b").unwrap();
        let written = |family| {
            let mut out = Vec::new();
            media.write_as(family, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(Family::Grpc), "application/grpc+thrift;a=b");
        assert_eq!(written(Family::Web), "application/grpc-web+thrift;a=b");
        assert_eq!(written(Family::WebText), "application/grpc-web-text+thrift;a=b");
    }
}
