//! When certificates end: figures of the snapshot in force, not of a shard.

use super::exposition::push_label;
use super::registry::LABEL_BYTES_MAX;
use crate::base::UnixTime;

/// The name of the metric.
pub(super) const NAME: &str = "tidegate_certificate_expiry_timestamp_seconds";
/// What it means.
pub(super) const HELP: &str = "When a certificate of a listener expires, in seconds since 1970.";
/// Its labels.
pub(super) const LABELS: [&str; 3] = ["listener", "certificate", "name"];

/// One certificate of a listener.
#[derive(Clone, Copy, Debug)]
pub struct CertificateFigure<'a> {
    pub listener: &'a str,
    /// Its place in the listener's list, from 0.
    pub place: usize,
    /// The first name in it.
    pub name: &'a str,
    pub valid_until: UnixTime,
}

/// Appends when each certificate expires, as Prometheus text.
pub fn render_certificates<'a>(figures: impl IntoIterator<Item = CertificateFigure<'a>>, out: &mut String) {
    let mut figures = figures.into_iter().peekable();
    if figures.peek().is_none() {
        return;
    }
    out.push_str(&format!("# HELP {NAME} {HELP}\n# TYPE {NAME} gauge\n"));
    for figure in figures {
        let (mut labels, place) = (String::new(), figure.place.to_string());
        for (label, value) in LABELS.into_iter().zip([figure.listener, &place, figure.name]) {
            push_label(label, value, LABEL_BYTES_MAX, &mut labels);
        }
        out.push_str(&format!("{NAME}{{{labels}}} {}\n", figure.valid_until.as_seconds()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_has_its_line_and_none_have_no_metric() {
        let valid_until = UnixTime::from_nanos(1_800_000_000_000_000_000);
        let figure = CertificateFigure { listener: "public", place: 0, name: "a\"b", valid_until };
        let mut out = String::new();
        render_certificates([], &mut out);
        assert_eq!(out, "");
        render_certificates([figure], &mut out);
        let line = r#"tidegate_certificate_expiry_timestamp_seconds{listener="public",certificate="0",name="a\"b"}"#;
        assert!(out.ends_with(&format!("{line} 1800000000\n")), "{out}");
    }
}
