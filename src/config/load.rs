//! From a [`Source`] to a [`Config`]: reads, merges by top-level key, and types object by object.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::access_log::AccessLog;
use super::admin::Admin;
use super::check::{Check, Report};
use super::finding::{FileId, Finding, Severity, Sources, Span};
use super::gateway::Gateway;
use super::interpolate::World;
use super::listeners::Listener;
use super::routes::Route;
use super::source::{Environment, Source, Text};
use super::suggest::nearest;
use super::tree::{self, Content, Entry, Key, Node};
use super::typing::typed;
use super::upstreams::Upstream;
use crate::base::UnixTime;

/// Every key at the top of a file.
const TOP_LEVEL: [&str; 6] = ["gateway", "listeners", "upstreams", "routes", "admin", "access_log"];
/// Objects of one kind.
const OBJECTS_MAX: usize = 200_000;

/// One named object of the configuration.
#[derive(Clone, Debug)]
pub struct Object<T> {
    /// Unique among the objects of its kind, unless a finding says otherwise.
    pub name: String,
    /// Where in the model: `upstreams.orders`, `routes[3]`.
    pub path: String,
    /// Its key, or for a route its first key. Line 0 if nobody wrote the object and it is the default.
    pub span: Span,
    /// None if a finding forbids to use it.
    pub value: Option<T>,
    /// What could be read of an object without a value: for further findings, and for nothing else.
    pub remnant: Option<Box<T>>,
    pub findings: Vec<Finding>,
}

impl<T: Default> Default for Object<T> {
    fn default() -> Self {
        Self {
            name: String::new(),
            path: String::new(),
            span: Span::default(),
            value: Some(T::default()),
            remnant: None,
            findings: Vec::new(),
        }
    }
}

impl<T> Object<T> {
    /// An error about `key` of this object, for rules that need more than one object.
    pub fn error(&self, code: &'static str, span: Span, key: &str, problem: impl Into<String>) -> Finding {
        let span = if span.line == 0 { self.span } else { span };
        let path = if key.is_empty() { self.path.clone() } else { super::finding::join(&self.path, key) };
        Finding::error(code, span, path, problem)
    }

    /// What there is to judge, usable or not.
    pub fn judged(&self) -> Option<&T> {
        self.value.as_ref().or(self.remnant.as_deref())
    }

    fn refuse(&mut self, finding: Finding) {
        if let Some(value) = self.value.take() {
            self.remnant = Some(Box::new(value));
        }
        self.findings.push(finding);
    }
}

/// A configuration, object by object.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub gateway: Object<Gateway>,
    pub listeners: Vec<Object<Listener>>,
    pub upstreams: Vec<Object<Upstream>>,
    /// In the order of the files and of their lines.
    pub routes: Vec<Object<Route>>,
    pub admin: Object<Admin>,
    pub access_log: Object<AccessLog>,
    /// When it was read, by which certificates are judged.
    pub read_at: UnixTime,
    /// Whether upstreams may stand where nothing could be read, so that a missing one is no finding.
    pub upstreams_lost: bool,
}

/// What [`load`] found.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub config: Config,
    /// What concerns no single object: unreadable files, broken YAML, unknown top-level keys.
    pub findings: Vec<Finding>,
    pub sources: Sources,
    /// Every file, and the folder, whose change may change the configuration.
    pub files: Vec<PathBuf>,
}

impl Config {
    /// Every finding of every object.
    pub fn findings(&self) -> Vec<&Finding> {
        let singles = [&self.gateway.findings, &self.admin.findings, &self.access_log.findings];
        let mut all: Vec<&Finding> = singles.into_iter().flatten().collect();
        all.extend(self.listeners.iter().flat_map(|object| &object.findings));
        all.extend(self.upstreams.iter().flat_map(|object| &object.findings));
        all.extend(self.routes.iter().flat_map(|object| &object.findings));
        all
    }
}

impl Loaded {
    /// Every finding, in the order of files and lines.
    pub fn all_findings(&self) -> Vec<&Finding> {
        let mut all: Vec<&Finding> = self.findings.iter().chain(self.config.findings()).collect();
        all.sort_by(|a, b| a.order(b));
        all
    }

    /// Whether nothing is wrong but what warnings say.
    pub fn is_sound(&self) -> bool {
        self.all_findings().iter().all(|finding| finding.severity == Severity::Warning)
    }

    /// [`Self::all_findings`] for a terminal.
    pub fn render(&self, colour: bool) -> String {
        super::finding::render(&self.all_findings(), &self.sources, colour)
    }
}

/// Reads, merges and types a configuration. Never fails: what is wrong is in the result.
pub fn load(source: &Source, environment: &dyn Environment) -> Loaded {
    let mut loader = Loader { loaded: Loaded::default(), world: World::new(environment), written: HashMap::new() };
    loader.loaded.config.read_at = environment.now();
    loader.loaded.files.extend(source.folder().map(Path::to_owned));
    for text in source.read() {
        loader.file(text);
    }
    let mut loaded = loader.loaded;
    loaded.files.extend(loader.world.files_read);
    refuse_duplicate_names(&mut loaded.config.routes);
    loaded
}

struct Loader<'e> {
    loaded: Loaded,
    world: World<'e>,
    /// Where the objects without a name of their own, and the named ones, stand.
    written: HashMap<String, Span>,
}

impl Loader<'_> {
    fn file(&mut self, text: Text) {
        self.loaded.files.extend(text.path.clone());
        self.world.folder = text.path.as_deref().and_then(Path::parent).map(Path::to_owned).unwrap_or_default();
        let content = match text.content {
            Ok(content) => content,
            Err(reason) => {
                let file = self.loaded.sources.add(text.name, String::new());
                let finding = Finding::error("unreadable-file", Span::of_file(file), "", reason);
                return self.lost(finding.hint("check the path and its permissions"));
            }
        };
        let file = self.loaded.sources.add(text.name, content.clone());
        match parse(&content, file).as_mut() {
            Ok(folded) => self.document(folded, file),
            Err(finding) => self.lost(finding.clone()),
        }
    }

    /// Nothing of this text can be read.
    fn lost(&mut self, finding: Finding) {
        self.loaded.config.upstreams_lost = true;
        self.loaded.findings.push(finding);
    }

    fn document(&mut self, text: &mut Cow<'_, str>, file: FileId) {
        let folded = matches!(text, Cow::Owned(_));
        let mut root = match tree::parse(text, folded, file) {
            Ok(Some(root)) => root,
            Ok(None) => {
                let finding = Finding::error("empty-file", Span::of_file(file), "", "the file holds no configuration");
                self.loaded.findings.push(finding.hint(format!("write one of: {}", TOP_LEVEL.join(", "))));
                return;
            }
            Err(finding) => return self.lost(finding),
        };
        match &mut root.content {
            Content::Mapping(entries) => entries.iter_mut().for_each(|entry| self.top_level(entry)),
            Content::Broken(refusal) => self.lost(refusal.finding("")),
            _ => {
                let finding = Finding::error("wrong-type", root.span, "", "expected a map at the top of the file");
                self.lost(finding.hint(format!("write one of: {}", TOP_LEVEL.join(", "))));
            }
        }
    }

    fn top_level(&mut self, entry: &mut Entry<'_>) {
        let Entry { key, value } = entry;
        let upstreams = nearest(&key.text, TOP_LEVEL) == Some("upstreams");
        if let Content::Broken(refusal) = &value.content {
            self.loaded.config.upstreams_lost |= upstreams;
            return self.loaded.findings.push(refusal.finding(&key.text));
        }
        match &*key.text {
            "gateway" => replace(self.single(key, value), &mut self.loaded.config.gateway),
            "admin" => replace(self.single(key, value), &mut self.loaded.config.admin),
            "access_log" => replace(self.single(key, value), &mut self.loaded.config.access_log),
            "listeners" => {
                let listeners = self.named(key, value);
                self.loaded.config.listeners.extend(listeners);
            }
            "upstreams" => {
                let upstreams = self.named(key, value);
                self.loaded.config.upstreams_lost |= upstreams.is_empty();
                self.loaded.config.upstreams.extend(upstreams);
            }
            "routes" => self.routes(key, value),
            _ => {
                self.loaded.config.upstreams_lost |= upstreams;
                self.loaded.findings.push(unknown_key(key));
            }
        }
    }

    /// An object that there is once. A second one is refused, and where both stand is said.
    fn single<T: DeserializeOwned + Check>(
        &mut self,
        key: &Key<'_>,
        value: &mut Node<'_>,
    ) -> Result<Object<T>, Finding> {
        self.claim(&key.text, key.span)?;
        let mut object = self.object(key.text.to_string(), key.span, key.text.to_string(), value);
        object.name.clear();
        Ok(object)
    }

    /// Notes where something stands, or says where it stood before.
    fn claim(&mut self, path: &str, span: Span) -> Result<(), Finding> {
        match self.written.get(path) {
            Some(first) => Err(Finding::error("duplicate", span, path, format!("`{path}` is written in two files"))
                .hint("keep one of the two")
                .related(*first, "first written here")),
            None => {
                self.written.insert(path.to_owned(), span);
                Ok(())
            }
        }
    }

    fn named<T: DeserializeOwned + Check>(&mut self, key: &Key<'_>, value: &mut Node<'_>) -> Vec<Object<T>> {
        let Content::Mapping(entries) = &mut value.content else {
            self.loaded.findings.push(wrong_container(key, value, "a map of names", "write `name: { … }` below it"));
            return Vec::new();
        };
        if entries.is_empty() || entries.len() > OBJECTS_MAX {
            self.loaded.findings.push(wrong_number(key, entries.len()));
            return Vec::new();
        }
        let mut objects = Vec::with_capacity(entries.len());
        for entry in entries {
            let path = super::finding::join(&key.text, &entry.key.text);
            let claimed = self.claim(&path, entry.key.span);
            let mut object = self.object(entry.key.text.to_string(), entry.key.span, path, &mut entry.value);
            if let Err(finding) = claimed {
                object.refuse(finding);
            }
            if let Err(finding) = check_name(&entry.key, &object.path) {
                object.refuse(finding);
            }
            objects.push(object);
        }
        objects
    }

    fn routes(&mut self, key: &Key<'_>, value: &mut Node<'_>) {
        let Content::Sequence(items) = &mut value.content else {
            self.loaded.findings.push(wrong_container(key, value, "a list", "write `- match: …` below it"));
            return;
        };
        if items.is_empty() || items.len() > OBJECTS_MAX {
            self.loaded.findings.push(wrong_number(key, items.len()));
            return;
        }
        self.loaded.config.routes.reserve(items.len());
        for (index, item) in items.iter_mut().enumerate() {
            let path = format!("routes[{index}]");
            let span = item.span;
            // Paths count within a file, where the reader looks; names count through all files, to be unique.
            let name = written_name(item).unwrap_or_else(|| format!("routes[{}]", self.loaded.config.routes.len()));
            let mut route = self.object(name, span, path, item);
            if route.judged().is_none() {
                route.remnant = only_its_target(item);
            }
            self.loaded.config.routes.push(route);
        }
    }

    fn object<T: DeserializeOwned + Check>(
        &mut self,
        name: String,
        span: Span,
        path: String,
        node: &mut Node<'_>,
    ) -> Object<T> {
        let mut findings = Vec::new();
        self.world.settle(node, &path, &mut findings);
        let mut typed = typed::<T>(node, span, &path, &mut findings);
        if let Some(typed) = &mut typed {
            typed.take_in(&mut self.world);
            typed.check(&mut Report::new(&path, span, &mut findings));
        }
        let refused = findings.iter().any(|finding| finding.severity == Severity::Error);
        let (value, remnant) = if refused { (None, typed.map(Box::new)) } else { (typed, None) };
        Object { name, path, span, value, remnant, findings }
    }
}

/// The text as the parser may see it.
fn parse(content: &str, file: FileId) -> Result<Cow<'_, str>, Finding> {
    tree::fold(content).map_err(|taken| {
        let problem = format!("the file holds the private character U+{:04X}", u32::from(taken));
        Finding::error("yaml-syntax", Span::of_file(file), "", problem).hint("remove it, or write it as an escape")
    })
}

fn replace<T>(object: Result<Object<T>, Finding>, place: &mut Object<T>) {
    match object {
        Ok(object) => *place = object,
        Err(finding) => place.refuse(finding),
    }
}

fn unknown_key(key: &Key<'_>) -> Finding {
    let hint = match nearest(&key.text, TOP_LEVEL) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("allowed here: {}", TOP_LEVEL.join(", ")),
    };
    Finding::error("unknown-key", key.span, key.text.to_string(), format!("unknown key `{}`", key.text)).hint(hint)
}

fn wrong_container(key: &Key<'_>, value: &Node<'_>, expected: &str, hint: &str) -> Finding {
    match &value.content {
        Content::Scalar(scalar) if scalar.plain && matches!(&*scalar.text, "" | "~" | "null") => wrong_number(key, 0),
        _ => Finding::error("wrong-type", key.span, key.text.to_string(), format!("`{}` is {expected}", key.text))
            .hint(hint),
    }
}

fn wrong_number(key: &Key<'_>, number: usize) -> Finding {
    if number == 0 {
        return Finding::error("empty-key", key.span, key.text.to_string(), "this key has no value")
            .hint("give it a value, or remove the key");
    }
    let problem = format!("more than {OBJECTS_MAX} entries");
    Finding::error("too-large", key.span, key.text.to_string(), problem).hint("use several gateways")
}

fn check_name(key: &Key<'_>, path: &str) -> Result<(), Finding> {
    super::shape::Name::parse(&key.text).map(drop).map_err(|message| {
        let (problem, hint) = message.split_once('\n').unwrap_or((&message, ""));
        Finding::error("bad-name", key.span, path, problem).hint(hint)
    })
}

/// The name that stands in a route, found without typing so that a broken route has it too.
fn written_name(node: &Node<'_>) -> Option<String> {
    let Content::Mapping(entries) = &node.content else {
        return None;
    };
    let entry = entries.iter().find(|entry| entry.key.text == "name")?;
    match &entry.value.content {
        Content::Scalar(scalar) if !scalar.text.is_empty() && !scalar.text.contains("${") => {
            Some(scalar.text.to_string())
        }
        _ => None,
    }
}

/// A route of which nothing else could be read: its upstream can still be judged.
fn only_its_target(node: &Node<'_>) -> Option<Box<Route>> {
    let Content::Mapping(entries) = &node.content else {
        return None;
    };
    let entry = entries.iter().find(|entry| entry.key.text == "to")?;
    // What is wrong with it has been told.
    let to = typed(&entry.value, entry.key.span, "", &mut Vec::new())?;
    Some(Box::new(Route { to: Some(to), ..Route::default() }))
}

fn refuse_duplicate_names(routes: &mut [Object<Route>]) {
    let mut first: HashMap<String, Span> = HashMap::with_capacity(routes.len());
    for object in routes {
        // An unnamed route is called after its place, as nothing else can be.
        if object.name.contains('[') {
            continue;
        }
        let span = object.judged().and_then(|route| route.name.as_ref()).map_or(object.span, |name| name.span);
        match first.get(&object.name) {
            Some(first) => {
                let problem = format!("two routes are named `{}`", object.name);
                let finding = object.error("duplicate", span, "name", problem);
                object.refuse(finding.hint("give each its own name").related(*first, "first named here"));
            }
            None => drop(first.insert(object.name.clone(), span)),
        }
    }
}
