//! Reviews the source as text: what the house agreed on and no compiler checks. A complaint says where and what to do.
//!
//! An exception needs a reason, and must still be needed.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use tidegate::config::{self, Environment, Source};
use tidegate::observe;
use tidegate::snapshot::Draft;

/// The end of a screen, and of a function.
const FUNCTION_LINES_MAX: usize = 70;

/// Every module of `src/` and its rank: one may name only those of a lower rank.
const RANKS: &[(&str, u8)] = &[
    ("base", 0),
    ("http", 1),
    ("config", 1),
    ("context", 2),
    ("expression", 2),
    ("route", 3),
    ("policy", 3),
    ("cache", 3),
    ("upstream", 3),
    ("aggregate", 3),
    ("observe", 3),
    ("snapshot", 4),
    ("proxy", 5),
    ("runtime", 6),
    ("control", 6),
    ("cli", 7),
    ("lib", 8),
    ("main", 8),
];

/// Crates, and the only modules that name them.
const CONFINED: &[(&str, &[&str])] = &[
    ("monoio", &["runtime"]),
    ("io_uring", &["runtime"]),
    ("socket2", &["runtime"]),
    ("libc", &["runtime"]),
    ("tokio::sync", &["runtime", "control"]),
    ("tokio::io", &["proxy", "control"]),
    ("tokio", &["control"]),
    ("h2", &["http", "proxy"]),
    ("bytes", &["http", "proxy"]),
    ("axum", &["control"]),
    ("notify", &["control"]),
    ("hickory_resolver", &["control"]),
    ("sd_notify", &["control"]),
    ("clap", &["cli"]),
    ("granit_parser", &["config"]),
    ("annotate_snippets", &["config"]),
    ("schemars", &["config"]),
    ("httparse", &["http"]),
    ("mimalloc", &["main"]),
    ("rustls", &["snapshot", "proxy"]),
    ("webpki", &["snapshot"]),
    ("rustls_native_certs", &["config"]),
    ("zeroize", &["config", "snapshot"]),
];

/// A place where a rule does not hold, and why.
struct Exception {
    /// A file, or a folder and all in it.
    path: &'static str,
    #[expect(dead_code, reason = "for who reads it")]
    reason: &'static str,
}

const fn except(path: &'static str, reason: &'static str) -> Exception {
    Exception { path, reason }
}

const LONG_FUNCTIONS: &[Exception] = &[];

const UNSAFE: &[Exception] = &[
    except("src/runtime", "the ring takes memory by address"),
    except("src/main.rs", "the allocator's library is C"),
    except("src/http/h1/simd.rs", "a function made for a processor feature is unsafe to call"),
    except("benches/exchange/allocations.rs", "a global allocator is unsafe by its trait"),
    except("benches/peers/load/sys.rs", "the load generator calls the kernel itself"),
    except("tests/sim/world/count.rs", "a global allocator is unsafe by its trait"),
    except("benches/exchange/allocations.rs", "a global allocator is unsafe by its trait"),
];

const CLOCKS: &[Exception] = &[
    except("src/runtime/clock.rs", "the one clock of the data plane"),
    except("src/config/source.rs", "certificates are judged by the machine's clock"),
    except("src/control/bounded.rs", "a silent admin client is cut off"),
    except("src/control/dns.rs", "answers live by the resolver's own clock"),
    except("src/control/watch.rs", "changes of files are waited out"),
];

const UNWRAPS: &[Exception] = &[];

const STDERR: &[Exception] = &[
    except("src/cli/mod.rs", "it speaks to the operator"),
    except("src/control/tell.rs", "it speaks to the operator"),
    except("src/control/log_writer.rs", "lines may go there"),
    except("src/runtime/worker.rs", "a shard that dies says so"),
];

const EPRINTS: &[Exception] = &[];

const STDOUT: &[Exception] = &[];

/// What may stand beside the folders and dot-files.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "benches",
    "fuzz",
    "tests",
    "config",
    "docs",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
];

/// One file: as it is, without comments and strings, and of that only what is shipped. Line numbers agree.
struct Reviewed {
    path: String,
    text: String,
    code: String,
    shipped: String,
}

impl Reviewed {
    /// The module of `src/` that it belongs to.
    fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").expect("only files of src have a module");
        below.split(['/', '.']).next().unwrap_or(below)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files that belong to the repository, by path.
fn tracked() -> Vec<String> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let mut paths = match listed {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            String::from_utf8(output.stdout).unwrap().split_terminator('\0').map(str::to_owned).collect()
        }
        _ => walk(root()),
    };
    paths.retain(|path: &String| root().join(path).is_file());
    paths.sort();
    paths
}

/// Every file below a folder, but for what is built and found.
fn walk(folder: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_file() {
            paths.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
        } else if !matches!(name, ".git" | "target" | "findings") {
            paths.extend(walk(&path));
        }
    }
    paths
}

/// The Rust files below a folder, or all.
fn rust(prefix: &str) -> impl Iterator<Item = &'static Reviewed> {
    static ALL: LazyLock<Vec<Reviewed>> = LazyLock::new(|| {
        let paths = tracked().into_iter().filter(|path| path.ends_with(".rs"));
        paths.map(review).collect()
    });
    ALL.iter().filter(move |file| file.path.starts_with(prefix))
}

fn review(path: String) -> Reviewed {
    let text = fs::read_to_string(root().join(&path)).unwrap();
    let code = without_prose(&text);
    let shipped = if path.ends_with("/tests.rs") { blank(&code) } else { without_tests(&code) };
    Reviewed { path, text, code, shipped }
}

fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
}

/// Blanks comments and the contents of literals; lines stay where they are.
fn without_prose(text: &str) -> String {
    static PROSE: LazyLock<Regex> = LazyLock::new(prose);
    PROSE.replace_all(text, |found: &Captures<'_>| blank(&found[0])).into_owned()
}

/// Matches comments and literals.
fn prose() -> Regex {
    let comments = [r"//[^\n]*", r"(?s:/\*.*?\*/)"].map(str::to_owned);
    let raw = [2, 1, 0].map(|hashes| format!(r#"\bb?r{0}"(?s:.*?)"{0}"#, "#".repeat(hashes)));
    let quoted = [r#"b?"(?s:\\.|[^"\\])*""#, r"b?'(?:\\[^\n]{1,9}?|[^'\\\n])'"].map(str::to_owned);
    expression(&[&comments[..], &raw, &quoted].concat().join("|"))
}

/// A regular expression whose words are of ASCII, which makes it quick.
fn expression(text: &str) -> Regex {
    Regex::new(&text.replace(r"\b", r"(?-u:\b)")).expect("a valid expression")
}

/// Blanks every item under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut shipped = code.to_owned();
    for (start, attribute) in code.match_indices("#[cfg(test)]") {
        let end = item_end(code, start + attribute.len());
        shipped.replace_range(start..end, &blank(&code[start..end]));
    }
    shipped
}

/// Where the item behind `from` ends: its closing brace, or a semicolon before any brace.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    let mut brackets = 0_usize;
    for (at, c) in code[from..].char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if depth == 0 && brackets == 0 => return from + at + 1,
            '{' => depth += 1,
            '}' if depth <= 1 => return from + at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn line_at(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The lines on which an expression is found.
fn lines(code: &str, pattern: &Regex) -> Vec<usize> {
    pattern.find_iter(code).map(|found| line_at(code, found.start())).collect()
}

fn excepts(exception: &Exception, path: &str) -> bool {
    path.strip_prefix(exception.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What was found outside of the exceptions, and the exceptions without a finding.
fn outside(exceptions: &[Exception], found: Vec<(String, usize, String)>) -> Vec<String> {
    let unneeded = exceptions.iter().filter(|exception| !found.iter().any(|(path, ..)| excepts(exception, path)));
    let unneeded = unneeded.map(|exception| format!("{}: an exception that nothing needs: remove it", exception.path));
    let found = found.iter().filter(|(path, ..)| !exceptions.iter().any(|exception| excepts(exception, path)));
    found.map(|(path, line, advice)| format!("{path}:{line}: {advice}")).chain(unneeded.collect::<Vec<_>>()).collect()
}

/// Every place in the shipped code of `src/`.
fn places(pattern: &str, advice: &str) -> Vec<(String, usize, String)> {
    let (pattern, mut found) = (expression(pattern), Vec::new());
    for file in rust("src/") {
        found.extend(lines(&file.shipped, &pattern).into_iter().map(|line| (file.path.clone(), line, advice.into())));
    }
    found
}

#[track_caller]
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn rank(module: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

/// The modules that a file names by `crate::`, with the line.
fn uses(code: &str) -> Vec<(usize, String)> {
    static PATH: LazyLock<Regex> = LazyLock::new(|| expression(r"\bcrate::(?:([a-z_0-9]+)|\{([^;]*)\};)"));
    let mut uses = Vec::new();
    for found in PATH.captures_iter(code) {
        let line = line_at(code, found.get(0).expect("the whole").start());
        match (found.get(1), found.get(2)) {
            (Some(module), _) => uses.push((line, module.as_str().to_owned())),
            (_, Some(list)) => uses.extend(first_segments(list.as_str()).into_iter().map(|module| (line, module))),
            _ => {}
        }
    }
    uses
}

/// The first segment of every entry of a list, whatever is nested in it.
fn first_segments(list: &str) -> Vec<String> {
    let (mut depth, mut segments, mut entry) = (0, Vec::new(), String::new());
    for c in list.chars().chain([',']) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => segments.push(std::mem::take(&mut entry)),
            _ if depth == 0 => entry.push(c),
            _ => {}
        }
    }
    let first = |entry: String| entry.trim().split("::").next().unwrap_or_default().to_owned();
    segments.into_iter().map(first).filter(|segment| !segment.is_empty()).collect()
}

#[test]
fn a_module_names_only_modules_of_lower_rank() {
    let mut complaints = Vec::new();
    for file in rust("src/") {
        let module = file.module();
        let Some(own) = rank(module) else {
            complaints.push(format!("{}:1: `{module}` has no rank: add it to RANKS", file.path));
            continue;
        };
        for (line, used) in uses(&file.code) {
            let Some(other) = rank(&used) else { continue };
            if used != module && other >= own {
                complaints.push(format!(
                    "{}:{line}: `{module}` (rank {own}) names `{used}` (rank {other}): move what both need to a lower \
                     layer, or let `proxy` or `cli` bring them together",
                    file.path
                ));
            }
        }
    }
    none(&complaints);
}

#[test]
fn a_crate_is_named_only_where_it_is_confined() {
    let names: Vec<&str> = CONFINED.iter().map(|(name, _)| *name).collect();
    // Of two names that begin alike the longer stands first. `control::notify` is something else than `notify`.
    let path = expression(&format!(r"(?:^|[^:a-z_0-9]|[^:a-z_0-9]::)({})(?:::|;|\s+as\b)", names.join("|")));
    let mut complaints = Vec::new();
    for file in rust("src/") {
        for found in path.captures_iter(&file.code).filter_map(|found| found.get(1)) {
            let (name, modules) = CONFINED.iter().find(|(name, _)| *name == found.as_str()).expect("one of them");
            if !modules.contains(&file.module()) {
                let (line, place) = (line_at(&file.code, found.start()), modules.join("` or `"));
                complaints.push(format!("{}:{line}: `{name}` belongs to `{place}`: hide it there", file.path));
            }
        }
    }
    none(&complaints);
}

/// The functions of a file: line of the head, and how many lines.
fn functions(code: &str) -> Vec<(usize, usize)> {
    let mut code = code.to_owned();
    for (start, _) in code.clone().match_indices("macro_rules!") {
        let end = item_end(&code, start);
        let blanked = blank(&code[start..end]);
        code.replace_range(start..end, &blanked);
    }
    static HEAD: LazyLock<Regex> = LazyLock::new(|| expression(r"\bfn\s+[a-z_0-9]+\s*[<(]"));
    HEAD.find_iter(&code)
        .map(|found| {
            let first = line_at(&code, found.start());
            (first, line_at(&code, item_end(&code, found.start()) - 1) - first + 1)
        })
        .collect()
}

#[test]
fn a_function_fits_on_a_screen() {
    let mut found = Vec::new();
    for file in rust("") {
        for (line, length) in functions(&file.code).into_iter().filter(|(_, length)| *length > FUNCTION_LINES_MAX) {
            let advice =
                format!("a function of {length} lines, {FUNCTION_LINES_MAX} are allowed: give its parts names");
            found.push((file.path.clone(), line, advice));
        }
    }
    none(&outside(LONG_FUNCTIONS, found));
}

#[test]
fn unsafe_code_lives_in_the_runtime() {
    let (keyword, mut found) = (expression(r"\bunsafe\b\s*(\{|fn|impl|extern)"), Vec::new());
    for file in rust("") {
        let advice = "`unsafe` outside of `src/runtime`: move it there, behind a safe function";
        let places = lines(&file.code, &keyword).into_iter();
        found.extend(places.map(|line| (file.path.clone(), line, advice.to_owned())));
    }
    none(&outside(UNSAFE, found));
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let (block, mut complaints) = (expression(r"\bunsafe\b\s*(\{|impl)"), Vec::new());
    for file in rust("") {
        let text: Vec<&str> = file.text.lines().collect();
        for line in lines(&file.code, &block) {
            if !is_justified(&text, line - 1) {
                complaints.push(format!("{}:{line}: an `unsafe` without `// SAFETY:`: write above why", file.path));
            }
        }
    }
    none(&complaints);
}

/// Whether the comment above the statement at `line` argues for it.
fn is_justified(text: &[&str], line: usize) -> bool {
    let is_end = |line: &str| line.is_empty() || line.ends_with([';', '}']) && !line.starts_with("//");
    let above = text[..line].iter().rev().map(|line| line.trim()).take_while(|line| !is_end(line));
    text[line].contains("SAFETY:") || above.take(8).any(|line| line.contains("// SAFETY:"))
}

#[test]
fn only_the_shells_read_a_clock() {
    let advice = "a clock is read: take `now` as an argument";
    none(&outside(CLOCKS, places(r"\b(Instant|SystemTime)::now\b", advice)));
}

#[test]
fn shipped_code_does_not_unwrap() {
    let advice = "`unwrap` in shipped code: return an error, or `expect` with the reason why it cannot fail";
    none(&outside(UNWRAPS, places(r"\.unwrap\(\)", advice)));
}

#[test]
fn nothing_is_left_unfinished() {
    none(&outside(&[], places(r"\b(todo|unimplemented|dbg)!", "left from writing: finish it")));
}

#[test]
fn only_who_speaks_to_the_operator_prints() {
    let mut complaints =
        outside(STDERR, places(r"\bstderr\(\)", "written to standard error: count it, or let `control::tell` say it"));
    complaints.extend(outside(
        EPRINTS,
        places(r"\beprint(ln)?!", "a closed standard error would panic, a full one wait: `control::tell`, `cli::show`"),
    ));
    complaints.extend(outside(
        STDOUT,
        places(r"\bprint(ln)?!", "a closed standard output would panic: write as `cli::print` does"),
    ));
    none(&complaints);
}

#[test]
fn every_file_begins_with_what_it_is() {
    let silent = rust("src/").filter(|file| !file.text.starts_with("//!"));
    none(&silent.map(|file| format!("{}:1: say in `//!` what this is", file.path)).collect::<Vec<_>>());
}

/// Words that have no business here, put together so that this file does not hold them.
fn foreign_words() -> [String; 7] {
    let joined = |parts: [&str; 2]| parts.concat();
    [
        joined(["/wor", "k/"]),
        joined(["/tmp", "/h"]),
        joined(["crates", ".io"]),
        joined(["pypi", ".org"]),
        joined(["npm", "js"]),
        joined(["cla", "ude"]),
        joined(["chat", "gpt"]),
    ]
}

#[test]
fn nothing_names_the_place_it_was_written_in() {
    let words = foreign_words();
    let mut complaints = Vec::new();
    // The lock files name their registry; that is what they are for.
    for path in tracked().into_iter().filter(|path| !path.ends_with("Cargo.lock")) {
        let text = String::from_utf8_lossy(&fs::read(root().join(&path)).unwrap()).to_lowercase();
        for (line, text) in text.lines().enumerate() {
            for word in words.iter().filter(|word| text.contains(*word)) {
                complaints.push(format!("{path}:{}: `{word}` has no business here: remove it", line + 1));
            }
        }
    }
    none(&complaints);
}

#[test]
fn the_top_level_holds_only_what_was_agreed() {
    let mut complaints = Vec::new();
    for path in tracked() {
        let top = path.split('/').next().unwrap_or(&path);
        if !top.starts_with('.') && !TOP_LEVEL.contains(&top) {
            complaints.push(format!("{path}:1: `{top}` is no agreed entry of the top level: move it into a folder"));
        }
    }
    none(&complaints);
}

/// What the examples take from outside is there.
struct Examples;

impl Environment for Examples {
    fn variable(&self, name: &str) -> Option<String> {
        // Only secrets come without a default in the examples.
        name.ends_with("TOKEN").then(|| "a-value-that-is-long-enough".into())
    }

    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        static PAIR: LazyLock<(String, String)> = LazyLock::new(|| {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(["www.example.com".to_owned()]).unwrap();
            (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
        });
        let text = match path.extension().and_then(|extension| extension.to_str()) {
            Some("pem") => &PAIR.0,
            Some("key") => &PAIR.1,
            _ => "a-value-that-is-long-enough",
        };
        Ok(text.as_bytes().to_vec())
    }
}

#[test]
fn every_example_configuration_compiles_without_findings() {
    let examples = tracked().into_iter().filter(|path| path.starts_with("config/") && path.ends_with(".yaml"));
    let drafts = examples.map(|path| Draft::alone(&Source::Path(root().join(path)), &Examples));
    let unsound: Vec<String> =
        drafts.filter(|draft| !draft.findings.is_empty()).map(|draft| draft.render(false)).collect();
    none(&unsound);
}

/// Complains if a page does not hold what the code says, once there are pages.
fn in_step(page: &str, generated: &str, same: impl Fn(&str, &str) -> bool) {
    if !root().join("docs").is_dir() {
        return;
    }
    let written = fs::read_to_string(root().join(page)).unwrap_or_default();
    if same(&written, generated) {
        return;
    }
    let differs = written.lines().zip(generated.lines()).position(|(written, generated)| written != generated);
    let line = differs.unwrap_or(written.lines().count().min(generated.lines().count())) + 1;
    // For who has to write the page anew.
    let fresh = std::env::temp_dir().join(page.replace('/', "-"));
    fs::write(&fresh, generated).unwrap();
    none(&[format!("{page}:{line}: not what the code says: replace it by {}", fresh.display())]);
}

#[test]
fn the_configuration_page_is_in_step_with_the_model() {
    in_step("docs/configuration.md", &config::reference(), |written, generated| written == generated);
}

#[test]
fn the_observability_page_is_in_step_with_the_tables() {
    in_step("docs/observability.md", &observe::reference(), |written, generated| written == generated);
}

#[test]
fn every_dependency_has_a_line_in_the_decisions() {
    let page = "docs/decisions/dependencies.md";
    let Ok(decisions) = fs::read_to_string(root().join(page)) else { return };
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut complaints = Vec::new();
    let mut section = "";
    for (line, text) in manifest.lines().enumerate() {
        if text.starts_with('[') {
            section = text;
        } else if let (true, Some((name, _))) = (section.ends_with("dependencies]"), text.split_once(" = ")) {
            let word = expression(&format!(r"(^|[^\w-]){name}($|[^\w-])"));
            if !word.is_match(&decisions) {
                complaints.push(format!("Cargo.toml:{}: `{name}` has no line in {page}: say why", line + 1));
            }
        }
    }
    none(&complaints);
}

#[test]
fn the_review_sees_what_it_looks_for() {
    let code = without_prose(
        "fn a() {\n    let s = \"unsafe { }\"; // .unwrap()\n    let c = '{';\n}\n#[cfg(test)]\nmod t {\n}\n",
    );
    assert!(!code.contains("unsafe") && !code.contains("unwrap"), "{code}");
    assert_eq!(functions(&code), [(1, 4)]);
    assert!(!without_tests(&code).contains("mod"));
    assert_eq!(uses("use crate::{base::{Slot, Wheel}, http};"), [(1, "base".into()), (1, "http".into())]);
    assert_eq!(uses("\nlet a = crate::proxy::run();"), [(2, "proxy".into())]);
    assert!(is_justified(&["// SAFETY: it is", "let a = f(", "unsafe { g() }"], 2));
    assert!(!is_justified(&["// SAFETY: it is", "f();", "unsafe { g() }"], 2));
}
