//! Predicates beside host and path: method, header fields, query parameters.

use super::PatternError;
use super::find::Subject;
use super::query;
use super::regex::{Caches, FullRegex};
use crate::http::Method;
use crate::http::header::HeaderName;

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// These octets; case matters.
    Exact(Box<[u8]>),
    /// The whole value matches.
    Regex(FullRegex),
    /// There is a value, even an empty one.
    Present,
    /// There is none.
    Absent,
}

/// A predicate over one header field; of a repeated field any line may fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPredicate {
    pub name: HeaderName,
    pub matcher: Matcher,
}

/// A predicate over one query parameter, compared decoded; of a repeated parameter any occurrence may fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryPredicate {
    /// The decoded name.
    pub name: Box<str>,
    pub matcher: Matcher,
}

/// A method as a predicate names it: a token, compared with case (RFC 9110, section 9.1).
pub fn parse_method(text: &str) -> Result<Box<str>, PatternError> {
    if HeaderName::parse(text).is_none() {
        return Err(PatternError::new(0, "not a method", "a method is one word like `GET`"));
    }
    let upper = text.to_ascii_uppercase();
    if upper != text && Method::of(upper.as_bytes()) != Method::Other {
        return Err(PatternError::new(0, "methods are compared with case", format!("write `{upper}`")));
    }
    Ok(text.into())
}

/// The working memory of regex predicates.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    pub(super) caches: Caches,
    decoded: Vec<u8>,
}

impl FieldPredicate {
    pub(super) fn fits(&self, subject: &Subject<'_>, work: &mut Workspace) -> bool {
        let mut lines = subject.fields.named(&self.name, subject.bytes).map(|field| field.value.of(subject.bytes));
        match &self.matcher {
            Matcher::Exact(wanted) => lines.any(|value| value == &**wanted),
            Matcher::Regex(regex) => lines.any(|value| work.caches.fits(regex, value)),
            Matcher::Present => lines.next().is_some(),
            Matcher::Absent => lines.next().is_none(),
        }
    }

    /// Text that equal predicates share and others do not.
    pub(super) fn key(&self) -> String {
        self.matcher.key(self.name.text())
    }
}

impl QueryPredicate {
    pub(super) fn fits(&self, subject: &Subject<'_>, work: &mut Workspace) -> bool {
        let pairs = query::pairs(subject.query.unwrap_or_default());
        let mut values = pairs.filter(|(name, _)| query::equals(name, self.name.as_bytes())).map(|(_, value)| value);
        match &self.matcher {
            Matcher::Exact(wanted) => values.any(|value| query::equals(value, wanted)),
            Matcher::Regex(regex) => values.any(|value| work.fits_decoded(regex, value)),
            Matcher::Present => values.next().is_some(),
            Matcher::Absent => values.next().is_none(),
        }
    }

    /// Text that equal predicates share and others do not.
    pub(super) fn key(&self) -> String {
        self.matcher.key(&self.name)
    }
}

impl Workspace {
    fn fits_decoded(&mut self, regex: &FullRegex, raw: &[u8]) -> bool {
        self.decoded.clear();
        self.decoded.extend(query::decoded(raw));
        self.caches.fits(regex, &self.decoded)
    }
}

impl Matcher {
    fn key(&self, name: &str) -> String {
        match self {
            Self::Exact(value) => format!("{name:?} = {value:?}"),
            Self::Regex(regex) => format!("{name:?} ~ {:?}", regex.text()),
            Self::Present => format!("{name:?} present"),
            Self::Absent => format!("{name:?} absent"),
        }
    }

    pub(super) fn regex_mut(&mut self) -> Option<&mut FullRegex> {
        match self {
            Self::Regex(regex) => Some(regex),
            _ => None,
        }
    }
}

impl std::fmt::Display for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(value) => write!(f, "exactly `{}`", value.escape_ascii()),
            Self::Regex(regex) => write!(f, "a match of `{}`", regex.text()),
            Self::Present => f.write_str("present"),
            Self::Absent => f.write_str("absent"),
        }
    }
}

/// The methods a route names, as a set of bits; custom ones share a bit and are compared by text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MethodSet(u16);

impl MethodSet {
    /// The set of a route that names none: all.
    pub(super) const ANY: Self = Self(u16::MAX);

    pub(super) fn of(methods: &[Box<str>]) -> Self {
        if methods.is_empty() {
            return Self::ANY;
        }
        Self(methods.iter().fold(0, |set, method| set | Self::bit(Method::of(method.as_bytes()))))
    }

    /// Whether `method` is in the set, or, for [`Method::Other`], may be.
    #[inline]
    pub(super) fn has(self, method: Method) -> bool {
        self.0 & Self::bit(method) != 0
    }

    #[inline]
    fn bit(method: Method) -> u16 {
        1 << method as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_in_lower_case_is_a_mistake_unless_it_is_a_custom_one() {
        assert_eq!(parse_method("get").expect_err("lower case").hint, "write `GET`");
        assert_eq!(parse_method("purge").as_deref(), Ok("purge"));
        assert!(parse_method("GET POST").is_err());
    }
}
