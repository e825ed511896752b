//! Which pages may open a WebSocket: browsers send cookies along and do not ask first, so that a page from elsewhere acts
//! for whoever is looking at it (RFC 6455, section 10.2).

/// A list of origins; an empty one allows every page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<Allowed>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Allowed {
    Exact(Box<str>),
    /// Every host below one: what stands before the name, and the name with its dot and port.
    Below(Box<str>, Box<str>),
}

impl Origins {
    /// Origins as browsers write them (RFC 6454, section 6.2), `*.` in front of a host for every name below it.
    pub fn new<'o>(origins: impl Iterator<Item = &'o str>) -> Self {
        Self(origins.map(Allowed::new).collect())
    }

    /// Whether a request with these values of `Origin` may go on: without one, no page is behind it.
    pub fn allow<'a>(&self, mut values: impl Iterator<Item = &'a [u8]>) -> bool {
        if self.0.is_empty() {
            return true;
        }
        match (values.next(), values.next()) {
            (None, _) => true,
            (Some(origin), None) => self.0.iter().any(|allowed| allowed.is(origin)),
            (Some(_), Some(_)) => false,
        }
    }
}

impl Allowed {
    fn new(origin: &str) -> Self {
        match origin.split_once("://*") {
            Some((scheme, below)) => Self::Below(format!("{scheme}://").into(), below.into()),
            None => Self::Exact(origin.into()),
        }
    }

    fn is(&self, origin: &[u8]) -> bool {
        match self {
            Self::Exact(allowed) => origin.eq_ignore_ascii_case(allowed.as_bytes()),
            Self::Below(scheme, below) => {
                let Some(name) = origin.len().checked_sub(scheme.len() + below.len()) else { return false };
                let (front, rest) = origin.split_at(scheme.len());
                let (name, end) = rest.split_at(name);
                let is_name = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._".contains(octet);
                front.eq_ignore_ascii_case(scheme.as_bytes())
                    && end.eq_ignore_ascii_case(below.as_bytes())
                    && !name.is_empty()
                    && name.iter().all(is_name)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(list: &[&str], origin: &str) -> bool {
        Origins::new(list.iter().copied()).allow([origin.as_bytes()].into_iter())
    }

    #[test]
    fn an_origin_is_allowed_as_it_is_written_whatever_its_case() {
        let list = ["https://app.example.com", "http://localhost:3000"];
        assert!(allow(&list, "https://app.example.com") && allow(&list, "HTTPS://App.example.com"));
        assert!(allow(&list, "http://localhost:3000"));
        for other in ["http://app.example.com", "https://example.com", "https://app.example.com:8443", "null", ""] {
            assert!(!allow(&list, other), "{other}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_names_below_and_not_for_the_name_or_what_ends_like_it() {
        let list = ["https://*.example.com"];
        assert!(allow(&list, "https://a.example.com") && allow(&list, "https://b.a.example.com"));
        for other in [
            "https://example.com",
            "https://.example.com",
            "https://evilexample.com",
            "http://a.example.com",
            "https://evil.org/.example.com",
            "https://evil.org:1.example.com",
            "https://a.example.com:8443",
        ] {
            assert!(!allow(&list, other), "{other}");
        }
        assert!(allow(&["https://*.example.com:8443"], "https://a.example.com:8443"));
    }

    #[test]
    fn without_a_list_or_without_an_origin_nothing_is_refused_and_two_origins_are() {
        assert!(allow(&[], "https://evil.org"));
        let list = Origins::new(["https://a"].into_iter());
        assert!(list.allow(std::iter::empty()));
        assert!(!list.allow([&b"https://a"[..], b"https://a"].into_iter()));
    }
}
