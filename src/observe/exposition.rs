//! The Prometheus text format, version 0.0.4: from tables of metrics and blocks of figures to text.

use std::fmt::Write;

use super::histogram::{BOUNDS, Sum, bound_micros};
use super::{ByReason, Histogram, Reason, Words};

/// The content type of what [`super::Registry::render`] writes.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One metric over blocks of type `B`: its name, what it means, and how its figures are read.
pub(super) struct Spec<B: 'static> {
    pub name: &'static str,
    pub help: &'static str,
    pub read: Read<B>,
}

/// The Prometheus type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// How a metric's figures are read from one block. Blocks of several shards are added up.
pub(super) enum Read<B: 'static> {
    Counter(fn(&B) -> u64),
    Gauge(fn(&B) -> u64),
    /// A gauge whose lowest figure counts, not the sum.
    Lowest(fn(&B) -> u64),
    /// A figure in nanoseconds, written as seconds.
    Nanos {
        kind: Kind,
        of: fn(&B) -> u64,
    },
    /// Always 1: what is to be known is the label's value, of the program's text; nothing where it is not known.
    Info {
        label: &'static str,
        of: fn(&B) -> Option<&str>,
    },
    /// One figure for each word of a closed set.
    Labelled {
        kind: Kind,
        label: &'static str,
        words: &'static [&'static str],
        of: fn(&B, usize) -> u64,
    },
    /// The same as a counter, and only what was counted.
    Counted {
        label: &'static str,
        words: &'static [&'static str],
        of: fn(&B, usize) -> u64,
    },
    /// A counter for each reason that is `shown`.
    Reasons {
        of: fn(&B) -> &ByReason,
        shown: fn(Reason) -> bool,
    },
    /// A counter for each detail word.
    Words(fn(&B) -> &Words),
    Histogram(fn(&B) -> &Histogram),
}

impl<B> Spec<B> {
    pub fn kind(&self) -> Kind {
        match self.read {
            Read::Counter(_) | Read::Counted { .. } | Read::Reasons { .. } | Read::Words(_) => Kind::Counter,
            Read::Gauge(_) | Read::Lowest(_) | Read::Info { .. } => Kind::Gauge,
            Read::Labelled { kind, .. } | Read::Nanos { kind, .. } => kind,
            Read::Histogram(_) => Kind::Histogram,
        }
    }

    /// The label that the metric adds to those of its blocks.
    pub fn label(&self) -> Option<&'static str> {
        match self.read {
            Read::Labelled { label, .. } | Read::Counted { label, .. } | Read::Info { label, .. } => Some(label),
            Read::Reasons { .. } => Some("reason"),
            Read::Words(_) => Some("detail"),
            Read::Histogram(_) => Some("le"),
            Read::Counter(_) | Read::Gauge(_) | Read::Lowest(_) | Read::Nanos { .. } => None,
        }
    }
}

/// The blocks of all shards that count for one set of labels.
pub(super) struct Series<'a, B> {
    /// As they stand between the braces, or empty.
    pub labels: &'a str,
    pub blocks: Vec<&'a B>,
}

impl<B> Series<'_, B> {
    fn total(&self, read: impl Fn(&B) -> u64) -> u64 {
        self.blocks.iter().fold(0, |sum, block| sum.wrapping_add(read(block)))
    }

    /// The sum of each word over the blocks, in order of appearance.
    fn words(&self, of: fn(&B) -> &Words) -> Vec<(&'static str, u64)> {
        let mut totals: Vec<(&'static str, u64)> = Vec::new();
        for block in &self.blocks {
            of(block).each(|word, count| match totals.iter_mut().find(|(name, _)| *name == word) {
                Some((_, total)) => *total += count,
                None => totals.push((word, count)),
            });
        }
        totals
    }
}

/// Whether closed sets of many reasons are written out where they are zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zeros {
    Write,
    Skip,
}

/// Writes every metric of a table, each with all its series together.
pub(super) fn render<B>(specs: &[Spec<B>], series: &[Series<'_, B>], zeros: Zeros, out: &mut String) {
    for spec in specs {
        describe(spec.name, spec.kind(), spec.help, out);
        for one in series {
            render_series(spec, one, zeros, out);
        }
    }
}

fn describe(name: &str, kind: Kind, help: &str, out: &mut String) {
    debug_assert!(!help.contains(['\\', '\n']), "help texts need no escaping");
    for part in ["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind.word(), "\n"] {
        out.push_str(part);
    }
}

fn render_series<B>(spec: &Spec<B>, series: &Series<'_, B>, zeros: Zeros, out: &mut String) {
    let name = spec.name;
    match spec.read {
        Read::Counter(read) | Read::Gauge(read) => {
            sample(name, "", series.labels, None, series.total(read), out);
        }
        Read::Lowest(read) => {
            let lowest = series.blocks.iter().map(|block| read(block)).min().unwrap_or(0);
            sample(name, "", series.labels, None, lowest, out);
        }
        Read::Nanos { of, .. } => {
            name_and_labels(name, "", series.labels, None, out);
            push_seconds(series.total(of), 1_000_000_000, out);
            out.push('\n');
        }
        Read::Info { label, of } => {
            if let Some(value) = series.blocks.first().and_then(|block| of(block)) {
                sample(name, "", series.labels, Some((label, value)), 1, out);
            }
        }
        Read::Labelled { label, words, of, .. } => {
            for (at, word) in words.iter().enumerate() {
                let total = series.total(|block| of(block, at));
                sample(name, "", series.labels, Some((label, word)), total, out);
            }
        }
        Read::Counted { label, words, of } => {
            for (at, word) in words.iter().enumerate() {
                let total = series.total(|block| of(block, at));
                if total > 0 {
                    sample(name, "", series.labels, Some((label, word)), total, out);
                }
            }
        }
        Read::Reasons { of, shown } => {
            for &reason in Reason::ALL.iter().filter(|reason| shown(**reason)) {
                let total = series.total(|block| of(block).value(reason));
                if total > 0 || zeros == Zeros::Write {
                    sample(name, "", series.labels, Some(("reason", reason.word())), total, out);
                }
            }
        }
        Read::Words(of) => {
            for (word, total) in series.words(of) {
                sample(name, "", series.labels, Some(("detail", word)), total, out);
            }
        }
        Read::Histogram(of) => {
            render_histogram(name, series.labels, &Sum::of(series.blocks.iter().map(|block| of(block))), out);
        }
    }
}

/// The buckets, each counting all below it, then the sum and the count.
fn render_histogram(name: &str, labels: &str, sum: &Sum, out: &mut String) {
    let mut cumulative = 0;
    let mut bound = String::new();
    for (bucket, count) in sum.buckets.iter().enumerate() {
        cumulative += count;
        bound.clear();
        match bucket {
            BOUNDS => bound.push_str("+Inf"),
            _ => push_seconds(bound_micros(bucket), 1_000_000, &mut bound),
        }
        sample(name, "_bucket", labels, Some(("le", &bound)), cumulative, out);
    }
    name_and_labels(name, "_sum", labels, None, out);
    push_seconds(sum.micros, 1_000_000, out);
    out.push('\n');
    sample(name, "_count", labels, None, cumulative, out);
}

fn sample(name: &str, suffix: &str, labels: &str, own: Option<(&str, &str)>, value: u64, out: &mut String) {
    name_and_labels(name, suffix, labels, own, out);
    out.push_str(itoa::Buffer::new().format(value));
    out.push('\n');
}

/// Everything before the figure. `own` is of the program's text and needs no escaping.
fn name_and_labels(name: &str, suffix: &str, labels: &str, own: Option<(&str, &str)>, out: &mut String) {
    out.push_str(name);
    out.push_str(suffix);
    if !labels.is_empty() || own.is_some() {
        out.push('{');
        out.push_str(labels);
        if let Some((label, value)) = own {
            let comma = if labels.is_empty() { "" } else { "," };
            for part in [comma, label, "=\"", value, "\""] {
                out.push_str(part);
            }
        }
        out.push('}');
    }
    out.push(' ');
}

/// A time in parts of a second, of which there is a power of ten, as seconds: exactly and without trailing zeros.
fn push_seconds(parts: u64, parts_per_second: u64, out: &mut String) {
    out.push_str(itoa::Buffer::new().format(parts / parts_per_second));
    let fraction = parts % parts_per_second;
    if fraction > 0 {
        let digits = parts_per_second.ilog10() as usize;
        // Writing to a string cannot fail.
        let _ = write!(out, ".{fraction:0digits$}");
        out.truncate(out.trim_end_matches('0').len());
    }
}

/// Appends `label="value"`, the value escaped and cut at a character to at most `bytes_max` octets before escaping.
pub(super) fn push_label(label: &str, value: &str, bytes_max: usize, out: &mut String) {
    let comma = if out.is_empty() { "" } else { "," };
    for part in [comma, label, "=\""] {
        out.push_str(part);
    }
    for character in value[..value.floor_char_boundary(bytes_max)].chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact_and_short() {
        let of = |parts, parts_per_second| {
            let mut out = String::new();
            push_seconds(parts, parts_per_second, &mut out);
            out
        };
        let (seconds, seconds_of_nanos) = (|micros| of(micros, 1_000_000), |nanos| of(nanos, 1_000_000_000));
        assert_eq!([seconds(0), seconds(50), seconds(1_500_000)], ["0", "0.00005", "1.5"]);
        assert_eq!([seconds(20_000_000), seconds(78_643_200)], ["20", "78.6432"]);
        let nanos = [0, 1, 50_000_000, 1_000_000_001, u64::MAX].map(seconds_of_nanos);
        assert_eq!(nanos, ["0", "0.000000001", "0.05", "1.000000001", "18446744073.709551615"]);
    }

    #[test]
    fn label_values_are_escaped_and_cut_at_a_character() {
        let mut out = String::new();
        push_label("route", "a\"b\\c\nd", 64, &mut out);
        push_label("endpoint", "ééé", 3, &mut out);
        assert_eq!(out, r#"route="a\"b\\c\nd",endpoint="é""#);
    }
}
