//! When certificates end: figures of the snapshot in force, not of a shard.

use std::borrow::Cow;

use super::exposition::push_label;
use super::registry::LABEL_BYTES_MAX;
use crate::base::UnixTime;

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiring {
    /// A certificate that clients are shown.
    OfListener,
    /// A list of certificates of clients that were revoked.
    RevocationList,
    /// A certificate that endpoints are shown.
    OfUpstream,
}

/// A metric: whose figures, its name, what it means, its labels.
pub(super) type Expiry = (Expiring, &'static str, &'static str, [&'static str; 3]);

/// The metrics, in their order.
pub(super) const EXPIRIES: &[Expiry] = &[
    (
        Expiring::OfListener,
        "tidegate_certificate_expiry_timestamp_seconds",
        "When a certificate of a listener expires, in seconds since 1970.",
        ["listener", "certificate", "name"],
    ),
    (
        Expiring::RevocationList,
        "tidegate_crl_expiry_timestamp_seconds",
        "When a revocation list of a listener expires, in seconds since 1970.",
        ["listener", "crl", "issuer"],
    ),
    (
        Expiring::OfUpstream,
        "tidegate_upstream_certificate_expiry_timestamp_seconds",
        "When a certificate that an upstream is shown expires, in seconds since 1970.",
        ["upstream", "certificate", "name"],
    ),
];

/// One thing that ends.
#[derive(Clone, Debug)]
pub struct ExpiryFigure<'a> {
    pub kind: Expiring,
    /// The listener or the upstream.
    pub owner: &'a str,
    /// Its place in the owner's list, from 0.
    pub place: usize,
    /// The first name in it, or who has issued it.
    pub name: Cow<'a, str>,
    pub valid_until: UnixTime,
}

/// Appends when each of them ends, as Prometheus text.
pub fn render_expiries<'a>(figures: impl Iterator<Item = ExpiryFigure<'a>> + Clone, out: &mut String) {
    for (kind, name, help, labels) in EXPIRIES {
        let mut figures = figures.clone().filter(|figure| figure.kind == *kind).peekable();
        if figures.peek().is_none() {
            continue;
        }
        out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for figure in figures {
            let (mut text, place) = (String::new(), figure.place.to_string());
            for (label, value) in labels.iter().zip([figure.owner, &place, &figure.name]) {
                push_label(label, value, LABEL_BYTES_MAX, &mut text);
            }
            out.push_str(&format!("{name}{{{text}}} {}\n", figure.valid_until.as_seconds()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_has_its_line_and_none_have_no_metric() {
        let valid_until = UnixTime::from_nanos(1_800_000_000_000_000_000);
        let figure = |kind| ExpiryFigure { kind, owner: "public", place: 0, name: "a\"b".into(), valid_until };
        let mut out = String::new();
        render_expiries([].into_iter(), &mut out);
        assert_eq!(out, "");
        render_expiries([Expiring::RevocationList, Expiring::OfListener].map(figure).into_iter(), &mut out);
        let list = r#"tidegate_crl_expiry_timestamp_seconds{listener="public",crl="0",issuer="a\"b"}"#;
        assert!(out.ends_with(&format!("{list} 1800000000\n")), "{out}");
        let line = r#"tidegate_certificate_expiry_timestamp_seconds{listener="public",certificate="0",name="a\"b"}"#;
        assert!(out.contains(&format!("gauge\n{line} 1800000000\n# HELP")), "{out}");
    }
}
