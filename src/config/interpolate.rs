//! `${VAR}`, `${VAR:-default}` and `${file:path}` in every string value; `$${` is a literal `${`.
//!
//! This runs on one object's tree, after parsing and before typing, and hands over everything that parsing had refused
//! inside that object. A value that came from outside is marked secret here and stays so.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::finding::{Finding, join};
use super::source::Environment;
use super::tree::{Content, Node, Refusal, Scalar};
use super::typing::OBJECT_FINDINGS_MAX;

/// What one value may become; the sum over a file is bounded by its size times this, and by the files it names.
const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// References in one configuration, so that a small file cannot become a large one.
const REFERENCES_MAX: usize = 100_000;
/// Bytes that references may bring in altogether.
const RESOLVED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The world that references of one file are resolved in.
pub(super) struct World<'e> {
    pub environment: &'e dyn Environment,
    /// The folder of the configuration file, which paths are relative to.
    pub folder: PathBuf,
    /// Every file that was read, for the watcher.
    pub files_read: BTreeSet<PathBuf>,
    budget: Budget,
    /// The authorities this system trusts, once somebody wanted them.
    roots: Option<Arc<[Vec<u8>]>>,
}

#[derive(Clone, Copy)]
struct Budget {
    references: usize,
    bytes: usize,
}

/// Why a reference has no value.
struct Unresolved {
    code: &'static str,
    problem: String,
    hint: String,
}

impl<'e> World<'e> {
    pub fn new(environment: &'e dyn Environment) -> Self {
        let budget = Budget { references: REFERENCES_MAX, bytes: RESOLVED_BYTES_MAX };
        Self { environment, folder: PathBuf::new(), files_read: BTreeSet::new(), budget, roots: None }
    }

    /// Resolves every reference below `node` and reports whatever is refused in it, up to `OBJECT_FINDINGS_MAX`.
    pub fn settle(&mut self, node: &mut Node<'_>, path: &str, findings: &mut Vec<Finding>) {
        if let Content::Scalar(scalar) = &mut node.content
            && let Err(Unresolved { code, problem, hint }) = self.resolve_scalar(scalar)
        {
            let refusal = Refusal { code, span: node.span, problem, hint: hint.into(), related: None };
            node.content = Content::Broken(Box::new(refusal));
        }
        match &mut node.content {
            Content::Scalar(_) => {}
            Content::Sequence(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    if may_concern(item) {
                        self.settle(item, &join(path, &format!("[{index}]")), findings);
                    }
                }
            }
            Content::Mapping(entries) => {
                for entry in entries.iter_mut().filter(|entry| may_concern(&entry.value)) {
                    self.settle(&mut entry.value, &join(path, &entry.key.text), findings);
                }
            }
            Content::Broken(refusal) if findings.len() < OBJECT_FINDINGS_MAX => findings.push(refusal.finding(path)),
            Content::Broken(_) => {}
        }
    }

    /// What a file named by a value holds.
    pub fn include(&mut self, path: &str) -> Result<Vec<u8>, String> {
        let full = self.folder.join(Path::new(path));
        let read = self.environment.file(&full);
        self.files_read.insert(full);
        let bytes = read.map_err(|error| error.to_string())?;
        self.charge_bytes(bytes.len(), 0).map_err(|unresolved| unresolved.problem)?;
        Ok(bytes)
    }

    /// The authorities this system trusts.
    pub fn trust_roots(&mut self) -> Arc<[Vec<u8>]> {
        let environment = self.environment;
        Arc::clone(self.roots.get_or_insert_with(|| environment.trust_roots().into()))
    }

    fn resolve_scalar(&mut self, scalar: &mut Scalar<'_>) -> Result<(), Unresolved> {
        if !scalar.text.contains("${") {
            return Ok(());
        }
        let (text, secret) = self.resolve(&scalar.text)?;
        scalar.text = Cow::Owned(text);
        scalar.secret = secret;
        Ok(())
    }

    /// The text with its references resolved, and whether there were any.
    fn resolve(&mut self, text: &str) -> Result<(String, bool), Unresolved> {
        let (mut out, mut rest, mut secret) = (String::new(), text, false);
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                out.push_str(&rest[..at - 1]);
                out.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let Some(end) = rest[at..].find('}') else {
                return Err(syntax("`${` has no closing brace"));
            };
            self.charge()?;
            let value = self.reference(&rest[at + 2..at + end])?;
            self.charge_bytes(value.len(), out.len())?;
            out.push_str(&value);
            rest = &rest[at + end + 1..];
            secret = true;
        }
        out.push_str(rest);
        Ok((out, secret))
    }

    fn charge(&mut self) -> Result<(), Unresolved> {
        let spent = || too_large(format!("the configuration holds more than {REFERENCES_MAX} references"));
        self.budget.references = self.budget.references.checked_sub(1).ok_or_else(spent)?;
        Ok(())
    }

    fn charge_bytes(&mut self, bytes: usize, before: usize) -> Result<(), Unresolved> {
        if before + bytes > VALUE_BYTES_MAX {
            return Err(too_large(format!("the value is larger than {VALUE_BYTES_MAX} bytes")));
        }
        let spent = || too_large(format!("references bring in more than {RESOLVED_BYTES_MAX} bytes"));
        self.budget.bytes = self.budget.bytes.checked_sub(bytes).ok_or_else(spent)?;
        Ok(())
    }

    fn reference(&mut self, inside: &str) -> Result<String, Unresolved> {
        if inside.contains("${") {
            return Err(syntax("a reference inside a reference is not supported"));
        }
        if let Some(path) = inside.strip_prefix("file:") {
            return self.file(path.trim());
        }
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_variable_name(name) {
            return Err(syntax("this is not a variable name"));
        }
        let value = self.environment.variable(name);
        match (value, default) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(_)) if !value.is_empty() => Ok(value),
            (_, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(Unresolved {
                code: "unset-variable",
                problem: format!("the environment variable {name} is not set"),
                hint: format!("set it, or write `${{{name}:-default}}`"),
            }),
        }
    }

    fn file(&mut self, path: &str) -> Result<String, Unresolved> {
        if path.is_empty() {
            return Err(syntax("`${file:}` names no file"));
        }
        let full = self.folder.join(Path::new(path));
        let unreadable = |reason: String| Unresolved {
            code: "unreadable-file",
            problem: format!("the file {path} cannot be read: {reason}"),
            hint: format!("the path is relative to the configuration file: {}", full.display()),
        };
        let read = self.environment.file(&full);
        self.files_read.insert(full.clone());
        let bytes = read.map_err(|error| unreadable(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8 text".into()))?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }
}

/// Most scalars need nothing; for those no path is built.
fn may_concern(node: &Node<'_>) -> bool {
    match &node.content {
        Content::Scalar(scalar) => scalar.text.contains("${"),
        Content::Sequence(items) => !items.is_empty(),
        Content::Mapping(entries) => !entries.is_empty(),
        Content::Broken(_) => true,
    }
}

fn is_variable_name(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    plain && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

fn syntax(problem: &str) -> Unresolved {
    let hint = "write `${NAME}`, `${NAME:-default}` or `${file:path}`; `$${` is a literal `${`";
    Unresolved { code: "bad-reference", problem: problem.into(), hint: hint.into() }
}

fn too_large(problem: String) -> Unresolved {
    Unresolved { code: "too-large", problem, hint: "refer to smaller or fewer values".into() }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    struct Fixed;

    impl Environment for Fixed {
        fn variable(&self, name: &str) -> Option<String> {
            match name {
                "A" => Some("alpha".into()),
                "EMPTY" => Some(String::new()),
                "NESTED" => Some("${A}".into()),
                _ => None,
            }
        }

        fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
            match path.to_str() {
                Some("conf/token") => Ok(b"s3cret\n".to_vec()),
                Some("conf/binary") => Ok(vec![0xff]),
                Some("conf/big") => Ok(vec![b'x'; VALUE_BYTES_MAX + 1]),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
    }

    fn resolve(text: &str) -> Result<(String, bool), &'static str> {
        let mut world = World::new(&Fixed);
        world.folder = "conf".into();
        world.resolve(text).map_err(|unresolved| unresolved.code)
    }

    #[test]
    fn variables_defaults_and_files_are_resolved_and_secret() {
        for (text, value) in [
            ("${A}", "alpha"),
            ("x-${A}-${A}", "x-alpha-alpha"),
            ("${B:-beta}", "beta"),
            ("${B:-}", ""),
            ("${EMPTY:-beta}", "beta"),
            ("${EMPTY}", ""),
            ("${B:-a:-b}", "a:-b"),
            ("Bearer ${file:token}", "Bearer s3cret"),
        ] {
            assert_eq!(resolve(text), Ok((value.to_owned(), true)), "{text}");
        }
    }

    #[test]
    fn a_doubled_dollar_is_a_literal_and_not_secret() {
        assert_eq!(resolve("$${A}"), Ok(("${A}".to_owned(), false)));
        assert_eq!(resolve("$$${A}"), Ok(("$${A}".to_owned(), false)));
        assert_eq!(resolve("$${A} ${A}"), Ok(("${A} alpha".to_owned(), true)));
        assert_eq!(resolve("$A {A} $"), Ok(("$A {A} $".to_owned(), false)));
    }

    #[test]
    fn what_a_variable_holds_is_not_resolved_again() {
        assert_eq!(resolve("${NESTED}"), Ok(("${A}".to_owned(), true)));
    }

    #[test]
    fn references_are_bounded_in_number_and_in_bytes() {
        for (references, bytes) in [(2, 1000), (1000, 10)] {
            let mut world = World::new(&Fixed);
            world.budget = Budget { references, bytes };
            assert!(world.resolve("${A} ${A}").is_ok());
            assert_eq!(world.resolve("${A}").map_err(|unresolved| unresolved.code), Err("too-large"));
        }
    }

    #[test]
    fn what_cannot_be_resolved_says_which_way() {
        for (text, code) in [
            ("${B}", "unset-variable"),
            ("${file:none}", "unreadable-file"),
            ("${file:binary}", "unreadable-file"),
            ("${file:big}", "too-large"),
            ("${file:}", "bad-reference"),
            ("${A", "bad-reference"),
            ("${}", "bad-reference"),
            ("${1A}", "bad-reference"),
            ("${A B}", "bad-reference"),
            ("${B:-${A}}", "bad-reference"),
        ] {
            assert_eq!(resolve(text), Err(code), "{text}");
        }
    }
}
