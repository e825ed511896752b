//! What is wrong with a configuration, where, and what to do about it.
//!
//! A [`Finding`] knows its place by [`Span`]; the names and texts of the files are in [`Sources`], so that rendering
//! needs both. A finding never holds a value that came from `${…}`: whoever builds one asks [`super::Spanned::shown`].

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str};
use serde::Serialize;

/// Source lines longer than this are not shown, only named.
const LINE_BYTES_SHOWN_MAX: usize = 4 * 1024;

/// Findings of one look that are shown: of more, errors before warnings. How many more there are is said.
const FINDINGS_SHOWN_MAX: usize = 100;
/// A longer text of a finding, such as one that quotes a value, is cut.
const TEXT_BYTES_SHOWN_MAX: usize = 2 * 1024;

/// A file of the configuration: an index into [`Sources`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub(super) u16);

/// A place in a file. Lines and columns count from one, columns in characters; line 0 means the file as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub file: FileId,
    pub line: u32,
    pub column: u32,
    pub end_line: u32,
    /// The column after the last character.
    pub end_column: u32,
}

impl Span {
    /// The file as a whole.
    pub fn of_file(file: FileId) -> Self {
        Self { file, ..Self::default() }
    }
}

/// The files a configuration came from, with their text as it was read.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
}

#[derive(Clone, Debug)]
struct SourceFile {
    name: String,
    text: String,
    line_starts: Vec<usize>,
}

impl Sources {
    /// Adds a file. Beyond 65,535 files they share the last id; `Source` refuses long before.
    pub fn add(&mut self, name: String, text: String) -> FileId {
        let id = u16::try_from(self.files.len()).unwrap_or(u16::MAX);
        let line_starts =
            std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1)).collect();
        self.files.push(SourceFile { name, text, line_starts });
        FileId(id)
    }

    pub fn name(&self, file: FileId) -> &str {
        self.files.get(usize::from(file.0)).map_or("", |file| &file.name)
    }

    pub fn text(&self, file: FileId) -> &str {
        self.files.get(usize::from(file.0)).map_or("", |file| &file.text)
    }

    /// One line without its line break.
    fn line(&self, file: FileId, line: u32) -> Option<&str> {
        let file = self.files.get(usize::from(file.0))?;
        let index = (line as usize).checked_sub(1)?;
        let start = *file.line_starts.get(index)?;
        let end = file.line_starts.get(index + 1).map_or(file.text.len(), |next| next - 1);
        Some(file.text.get(start..end)?.trim_end_matches('\r'))
    }
}

/// How bad a finding is: an error refuses the change, a warning does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    Warning,
}

/// A second place that explains the first, as "first written here".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    pub span: Span,
    pub message: String,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// A stable word for scripts, such as `unknown-key`.
    pub code: &'static str,
    pub span: Span,
    /// Where in the model, such as `routes[3].to.upstream`.
    pub path: String,
    pub problem: String,
    pub hint: Option<String>,
    pub related: Vec<Related>,
}

impl Finding {
    pub fn error(code: &'static str, span: Span, path: impl Into<String>, problem: impl Into<String>) -> Self {
        let (path, problem) = (path.into(), problem.into());
        Self { severity: Severity::Error, code, span, path, problem, hint: None, related: Vec::new() }
    }

    pub fn warning(code: &'static str, span: Span, path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, path, problem) }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Points at a second place.
    #[must_use]
    pub fn related(mut self, span: Span, message: impl Into<String>) -> Self {
        self.related.push(Related { span, message: message.into() });
        self
    }

    /// The order of findings in every output: by file, then by place.
    pub fn order(&self, other: &Self) -> Ordering {
        self.span.cmp(&other.span)
    }
}

/// Renders findings for a terminal: the source line, a caret, and the hint, one block per finding. Control characters
/// from keys and values are made visible. At most `FINDINGS_SHOWN_MAX` are written, and how many more there are.
pub fn render(findings: &[&Finding], sources: &Sources, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let mut out = String::new();
    for finding in selection(findings) {
        out.push_str(&renderer.render(&[group(finding, sources)]));
        out.push_str("\n\n");
    }
    if let more @ 1.. = findings.len().saturating_sub(FINDINGS_SHOWN_MAX) {
        // Writing to a String cannot fail.
        let _ = write!(out, "{more} more of {} findings are not shown\n\n", findings.len());
    }
    out
}

/// Those that are shown, in their order.
fn selection<'a>(findings: &[&'a Finding]) -> Vec<&'a Finding> {
    let is_error = |finding: &&Finding| finding.severity == Severity::Error;
    let errors = findings.iter().copied().filter(is_error).count();
    let (mut errors_left, mut warnings_left) = (FINDINGS_SHOWN_MAX, FINDINGS_SHOWN_MAX.saturating_sub(errors));
    let has_place = |finding: &&Finding| {
        let left = if is_error(finding) { &mut errors_left } else { &mut warnings_left };
        let place = *left > 0;
        *left = left.saturating_sub(1);
        place
    };
    findings.iter().copied().filter(has_place).collect()
}

/// A text as it is shown.
fn cut(text: &str) -> Cow<'_, str> {
    match text.floor_char_boundary(TEXT_BYTES_SHOWN_MAX) {
        end if end < text.len() => Cow::Owned(format!("{}…", &text[..end])),
        _ => Cow::Borrowed(text),
    }
}

fn group<'a>(finding: &'a Finding, sources: &'a Sources) -> Group<'a> {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group =
        Group::with_title(level.primary_title(normalize_untrusted_str(&cut(&finding.problem))).id(finding.code));
    group = place(group, finding.span, &finding.path, AnnotationKind::Primary, sources);
    for related in &finding.related {
        group = place(group, related.span, &related.message, AnnotationKind::Context, sources);
    }
    match &finding.hint {
        Some(hint) => group.element(Level::HELP.message(normalize_untrusted_str(&cut(hint)))),
        None => group,
    }
}

fn place<'a>(group: Group<'a>, span: Span, label: &'a str, kind: AnnotationKind, sources: &'a Sources) -> Group<'a> {
    let name = sources.name(span.file);
    match sources.line(span.file, span.line).filter(|line| line.len() <= LINE_BYTES_SHOWN_MAX) {
        Some(line) => {
            let caret = kind.span(bytes_in_line(line, span)).label(normalize_untrusted_str(&cut(label)));
            group.element(Snippet::source(line).line_start(span.line as usize).path(name).annotation(caret))
        }
        None if span.line == 0 => group.element(Origin::path(name)),
        None => group.element(Origin::path(name).line(span.line as usize).char_column(span.column as usize)),
    }
}

/// The bytes of `line` under the caret; a span over several lines is cut at the end of the first.
fn bytes_in_line(line: &str, span: Span) -> std::ops::Range<usize> {
    let offset = |column: u32| {
        let skip = (column as usize).saturating_sub(1);
        line.char_indices().nth(skip).map_or(line.len(), |(at, _)| at)
    };
    let start = offset(span.column);
    let end = if span.end_line > span.line { line.len() } else { offset(span.end_column) };
    let one_more = line[start..].chars().next().map_or(start, |c| start + c.len_utf8());
    start..end.max(one_more)
}

#[derive(Serialize)]
struct Shown<'a> {
    severity: Severity,
    code: &'static str,
    file: &'a str,
    line: u32,
    column: u32,
    end_line: u32,
    end_column: u32,
    path: Cow<'a, str>,
    problem: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related: Vec<ShownRelated<'a>>,
}

#[derive(Serialize)]
struct ShownRelated<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    message: Cow<'a, str>,
}

/// The findings as a JSON array, for `--format json`; at most `FINDINGS_SHOWN_MAX`.
pub fn to_json(findings: &[&Finding], sources: &Sources) -> serde_json::Value {
    let shown: Vec<Shown<'_>> = selection(findings).into_iter().map(|finding| shown(finding, sources)).collect();
    serde_json::to_value(shown).unwrap_or(serde_json::Value::Null)
}

fn shown<'a>(finding: &'a Finding, sources: &'a Sources) -> Shown<'a> {
    let related = finding.related.iter().map(|related| ShownRelated {
        file: sources.name(related.span.file),
        line: related.span.line,
        column: related.span.column,
        message: cut(&related.message),
    });
    Shown {
        severity: finding.severity,
        code: finding.code,
        file: sources.name(finding.span.file),
        line: finding.span.line,
        column: finding.span.column,
        end_line: finding.span.end_line,
        end_column: finding.span.end_column,
        path: cut(&finding.path),
        problem: cut(&finding.problem),
        hint: finding.hint.as_deref().map(cut),
        related: related.collect(),
    }
}

/// Appends `key` to a model path: `routes[3]` and `to` give `routes[3].to`.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        return key.to_owned();
    }
    let mut joined = String::with_capacity(path.len() + 1 + key.len());
    // Writing to a String cannot fail.
    let _ = if key.starts_with('[') { write!(joined, "{path}{key}") } else { write!(joined, "{path}.{key}") };
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> (Sources, FileId) {
        let mut sources = Sources::default();
        let file = sources.add("gate.yaml".into(), "routes:\n  - tö: { upstreem: x }\n".into());
        (sources, file)
    }

    #[test]
    fn a_finding_shows_its_line_a_caret_and_the_hint() {
        let (sources, file) = sources();
        let span = Span { file, line: 2, column: 11, end_line: 2, end_column: 19 };
        let finding = Finding::error("unknown-key", span, "routes[0].to.upstreem", "unknown key `upstreem`")
            .hint("did you mean `upstream`?");
        let text = render(&[&finding], &sources, false);
        assert_eq!(
            text,
            "error[unknown-key]: unknown key `upstreem`\n \
             --> gate.yaml:2:11\n  \
             |\n\
             2 |   - tö: { upstreem: x }\n  \
             |           ^^^^^^^^ routes[0].to.upstreem\n  \
             |\n  \
             = help: did you mean `upstream`?\n\n"
        );
    }

    #[test]
    fn of_many_findings_errors_are_shown_first_and_the_rest_is_counted() {
        let (sources, file) = sources();
        let span = Span::of_file(file);
        let warnings = (0..FINDINGS_SHOWN_MAX).map(|n| Finding::warning("w", span, "", format!("warning {n}.")));
        let errors = (0..2).map(|n| Finding::error("e", span, "", format!("error {n}.")));
        let findings: Vec<Finding> = warnings.chain(errors).collect();
        let findings: Vec<&Finding> = findings.iter().collect();
        let text = render(&findings, &sources, false);
        assert!(text.ends_with("2 more of 102 findings are not shown\n\n"), "{text}");
        assert!(["warning 97.", "error 0.", "error 1."].iter().all(|shown| text.contains(shown)), "{text}");
        assert!(!text.contains("warning 98."), "{text}");
        let json = to_json(&findings, &sources);
        assert_eq!(json.as_array().map(Vec::len), Some(FINDINGS_SHOWN_MAX));
        assert_eq!(json[FINDINGS_SHOWN_MAX - 1]["problem"], "error 1.");
        let fitting = render(&findings[2..], &sources, false);
        assert!(fitting.contains("warning 2.") && !fitting.contains("not shown"), "{fitting}");
    }

    #[test]
    fn a_long_text_of_a_finding_is_cut() {
        let (sources, file) = sources();
        let long = "é".repeat(1 << 20);
        let finding =
            Finding::error("e", Span::of_file(file), &*long, &*long).hint(&*long).related(Span::default(), &*long);
        assert!(render(&[&finding], &sources, false).len() < 20 * TEXT_BYTES_SHOWN_MAX);
        let json = to_json(&[&finding], &sources);
        assert!(json.to_string().len() < 20 * TEXT_BYTES_SHOWN_MAX);
        assert_eq!(json[0]["problem"].as_str().map(str::len), Some(TEXT_BYTES_SHOWN_MAX + "…".len()));
    }

    #[test]
    fn a_finding_about_a_whole_file_names_it() {
        let (sources, file) = sources();
        let finding = Finding::error("unreadable-file", Span::of_file(file), "", "cannot be read");
        assert!(render(&[&finding], &sources, false).contains("--> gate.yaml"));
    }

    #[test]
    fn the_json_form_names_file_line_and_column() {
        let (sources, file) = sources();
        let span = Span { file, line: 2, column: 11, end_line: 2, end_column: 19 };
        let finding = Finding::warning("w", span, "a.b", "p");
        let json = to_json(&[&finding], &sources);
        assert_eq!(json[0]["file"], "gate.yaml");
        assert_eq!(json[0]["line"], 2);
        assert_eq!(json[0]["column"], 11);
        assert_eq!(json[0]["severity"], "warning");
    }

    #[test]
    fn a_span_past_the_end_of_its_line_does_not_panic() {
        let (sources, file) = sources();
        for column in [0, 1, 30, u32::MAX] {
            let span = Span { file, line: 2, column, end_line: 9, end_column: 0 };
            render(&[&Finding::error("x", span, "", "p")], &sources, false);
        }
    }

    #[test]
    fn paths_join_keys_with_dots_and_indices_without() {
        assert_eq!(join("", "routes"), "routes");
        assert_eq!(join("routes", "[3]"), "routes[3]");
        assert_eq!(join("routes[3]", "to"), "routes[3].to");
    }
}
