//! The reference of everything that can be seen, as Markdown, from the tables the program itself uses.

use std::fmt::Write;

use super::exposition::Spec;
use super::metrics::{CONTROL, ENDPOINT, ROUTE, SHARD, UPSTREAM, WORKER};
use super::{DEFAULT_FIELDS, Field, Reason, certificates};

const INTRODUCTION: &str = "# Observability\n\n\
    Made from the tables of `src/observe/` by the test that compares this page with it.\n\n";

/// Every metric, every field of the access log and every reason. `docs/observability.md` holds it.
pub fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    metrics(&mut out);
    fields(&mut out);
    reasons(&mut out);
    out
}

fn metrics(out: &mut String) {
    out.push_str("## Metrics\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n");
    rows(CONTROL, &[], out);
    for (_, name, help, labels) in certificates::EXPIRIES {
        line(out, &[&format!("`{name}`"), "gauge", &labels.map(|label| format!("`{label}`")).join(", "), help]);
    }
    rows(SHARD, &[], out);
    rows(WORKER, &["shard"], out);
    rows(ROUTE, &["route"], out);
    rows(UPSTREAM, &["upstream"], out);
    rows(ENDPOINT, &["upstream", "endpoint"], out);
    out.push('\n');
}

fn rows<B>(specs: &[Spec<B>], labels: &[&str], out: &mut String) {
    for spec in specs {
        let labels: Vec<_> = labels.iter().copied().chain(spec.label()).map(|label| format!("`{label}`")).collect();
        line(out, &[&format!("`{}`", spec.name), spec.kind().word(), &labels.join(", "), spec.help]);
    }
}

fn fields(out: &mut String) {
    out.push_str("## Fields of the access log\n\n| field | by default | meaning |\n|---|---|---|\n");
    for field in Field::ALL {
        let default = if DEFAULT_FIELDS.contains(field) { "yes" } else { "no" };
        line(out, &[&format!("`{}`", field.word()), default, field.meaning()]);
    }
    out.push('\n');
}

fn reasons(out: &mut String) {
    out.push_str("## Reasons\n\n| reason | status | side | meaning |\n|---|---|---|---|\n");
    for reason in Reason::ALL {
        let status = reason.status().map_or_else(|| "–".to_owned(), |status| status.to_string());
        line(out, &[&format!("`{}`", reason.word()), &status, reason.side().word(), reason.meaning()]);
    }
}

fn line(out: &mut String, cells: &[&str]) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_names_every_metric_field_and_reason() {
        let reference = reference();
        for name in SHARD.iter().map(|spec| spec.name).chain(ROUTE.iter().map(|spec| spec.name)) {
            assert!(reference.contains(&format!("| `{name}` |")), "{name}");
        }
        for word in Field::ALL.iter().map(|f| f.word()).chain(Reason::ALL.iter().map(|r| r.word())) {
            assert!(reference.contains(&format!("| `{word}` |")), "{word}");
        }
    }

    #[test]
    fn every_row_has_four_bars_or_more_and_no_line_break_inside() {
        for row in reference().lines().filter(|line| line.starts_with('|')) {
            assert!(row.ends_with('|') && row.matches('|').count() >= 4, "{row}");
        }
    }
}
