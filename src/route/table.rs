//! The routing table: what the operator declared, compiled for [`Table::find`].

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::find::Scratch;
use super::index::{Index, Owner};
use super::path::{End, Segment, Shape};
use super::predicate::MethodSet;
use super::regex::{Alphabet, FullRegex};
use super::{FieldPredicate, HostPattern, PathPattern, QueryPredicate};
use crate::base::RouteId;
use crate::http::Method;

/// Pairs of routes reported as shadowed at most: enough to see what is wrong.
pub const SHADOWED_MAX: usize = 100;

/// One route's predicates. A route without hosts matches every host, one without methods every method.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    pub id: RouteId,
    pub hosts: Vec<HostPattern>,
    pub path: PathPattern,
    pub methods: Vec<Box<str>>,
    pub headers: Vec<FieldPredicate>,
    pub queries: Vec<QueryPredicate>,
}

/// A route that some host's requests never reach, because an earlier one has the same predicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shadowed {
    pub earlier: RouteId,
    pub later: RouteId,
}

/// All routes, compiled; immutable and shared by the shards, each of which brings its own [`Scratch`].
#[derive(Debug)]
pub struct Table {
    /// In order of declaration.
    pub(super) routes: Vec<RouteSpec>,
    pub(super) index: Index,
    pub(super) trees: Vec<Tree>,
    pub(super) nodes: Vec<Node>,
    /// What [`Owner::paths`] lead to.
    pub(super) leaves: Vec<Slice>,
    pub(super) candidates: Vec<Candidate>,
    /// The tree of the routes without a host.
    pub(super) hostless: Option<u32>,
    /// Bit n is set when some wildcard has n labels to the right of `*.`.
    pub(super) wildcard_labels: u128,
    /// How many distinct regexes there are: the caches of a scratch.
    pub(super) regexes: usize,
    /// Tells this table from others, for scratches that were used with another.
    pub(super) identity: Arc<()>,
    shadowed: Vec<Shadowed>,
}

/// The routes of one host.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: u32,
    pub(super) has_exact: bool,
    /// In order of declaration; `route` is one with the regex.
    pub(super) regexes: Vec<RegexLeaf>,
}

#[derive(Debug)]
pub(super) struct RegexLeaf {
    pub(super) route: u32,
    pub(super) candidates: Slice,
}

/// A place between two segments of a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// Patterns that end here.
    pub(super) here: Slice,
    /// `{*rest}` begins here.
    pub(super) rest: Slice,
    /// Prefixes that end here.
    pub(super) prefix: Slice,
    /// Where `{param}` leads, or [`NO_NODE`].
    pub(super) parameter: u32,
    pub(super) has_literals: bool,
}

pub(super) const NO_NODE: u32 = u32::MAX;

/// A range of [`Table::candidates`], best first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slice {
    pub(super) start: u32,
    pub(super) length: u32,
}

/// A route whose host and path fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Its position in [`Table::routes`].
    pub(super) route: u32,
    pub(super) id: RouteId,
    pub(super) methods: MethodSet,
    /// Whether the set of methods is all there is to check.
    pub(super) is_plain: bool,
}

impl Table {
    /// Compiles routes in order of declaration.
    pub fn build(mut routes: Vec<RouteSpec>) -> Self {
        let regexes = settle_regexes(&mut routes);
        let mut builder = Builder { routes: &routes, ..Builder::default() };
        for order in 0..routes.len() {
            builder.add(order as u32);
        }
        let lists = std::mem::take(&mut builder.lists);
        let (candidates, slices, shadowed) = flatten(&routes, lists);
        let mut table = Self {
            index: builder.index,
            trees: builder.trees,
            nodes: builder.nodes,
            leaves: builder.leaves,
            candidates,
            hostless: builder.hostless,
            wildcard_labels: builder.wildcard_labels,
            regexes,
            identity: Arc::new(()),
            shadowed,
            routes,
        };
        table.resolve(&slices);
        table
    }

    /// Memory for lookups in this table. It may be used with others, at the price of a reset.
    pub fn scratch(&self) -> Scratch {
        let mut scratch = Scratch::default();
        scratch.adopt(self);
        scratch
    }

    /// Routes that can never match for at least one of their hosts, with the earlier ones that take their place. Sorted,
    /// at most [`SHADOWED_MAX`].
    pub fn shadowed(&self) -> &[Shadowed] {
        &self.shadowed
    }

    /// The predicates of all routes, in order of declaration.
    pub fn routes(&self) -> &[RouteSpec] {
        &self.routes
    }

    /// Turns numbers of lists into ranges of candidates.
    fn resolve(&mut self, slices: &[Slice]) {
        let place = |slice: &mut Slice| {
            if slice.length > 0 {
                *slice = slices[slice.start as usize];
            }
        };
        for node in &mut self.nodes {
            place(&mut node.here);
            place(&mut node.rest);
            place(&mut node.prefix);
        }
        self.leaves.iter_mut().for_each(place);
        self.trees.iter_mut().flat_map(|tree| &mut tree.regexes).for_each(|leaf| place(&mut leaf.candidates));
    }
}

/// Gives each distinct regex one cache, and returns how many there are.
fn settle_regexes(routes: &mut [RouteSpec]) -> usize {
    let mut known: HashMap<(Alphabet, Box<str>), FullRegex> = HashMap::new();
    let mut settle = |regex: &mut FullRegex| {
        let (alphabet, text) = regex.key();
        let key = (alphabet, Box::from(text));
        let next = known.len() as u32;
        match known.get(&key) {
            Some(first) => *regex = first.clone(),
            None => {
                regex.settle(next);
                known.insert(key, regex.clone());
            }
        }
    };
    for route in routes {
        if let Shape::Regex { regex, .. } = &mut route.path.shape {
            settle(regex);
        }
        route.headers.iter_mut().filter_map(|header| header.matcher.regex_mut()).for_each(&mut settle);
        route.queries.iter_mut().filter_map(|query| query.matcher.regex_mut()).for_each(&mut settle);
    }
    known.len()
}

/// A table in the making. Its slices hold the number of a list and length 1 until [`Table::resolve`].
#[derive(Default)]
struct Builder<'a> {
    routes: &'a [RouteSpec],
    index: Index,
    trees: Vec<Tree>,
    nodes: Vec<Node>,
    leaves: Vec<Slice>,
    /// Routes that share host and path, in order of declaration.
    lists: Vec<Vec<u32>>,
    hostless: Option<u32>,
    wildcard_labels: u128,
}

impl Builder<'_> {
    fn add(&mut self, order: u32) {
        let route = &self.routes[order as usize];
        if route.hosts.is_empty() {
            let tree = self.hostless_tree();
            self.add_path(tree, order);
        }
        for host in &route.hosts {
            let tree = self.tree_of(host);
            self.add_path(tree, order);
        }
    }

    fn hostless_tree(&mut self) -> u32 {
        if let Some(tree) = self.hostless {
            return tree;
        }
        let tree = self.new_tree();
        self.hostless = Some(tree);
        tree
    }

    fn tree_of(&mut self, host: &HostPattern) -> u32 {
        let (owner, name) = match host {
            HostPattern::Exact(name) => (Owner::HOSTS, name),
            HostPattern::Wildcard(base) => (Owner::WILDCARDS, base),
        };
        if owner == Owner::WILDCARDS {
            let labels = 1 + name.bytes().filter(|&octet| octet == b'.').count();
            self.wildcard_labels |= 1 << labels;
        }
        let next = self.trees.len() as u32;
        let tree = self.index.find_or_insert(owner, name.as_bytes(), next);
        if tree == next {
            self.new_tree();
        }
        tree
    }

    fn new_tree(&mut self) -> u32 {
        let root = self.new_node();
        self.trees.push(Tree { root, has_exact: false, regexes: Vec::new() });
        self.trees.len() as u32 - 1
    }

    fn new_node(&mut self) -> u32 {
        let none = Slice::default();
        self.nodes.push(Node { here: none, rest: none, prefix: none, parameter: NO_NODE, has_literals: false });
        self.nodes.len() as u32 - 1
    }

    fn add_path(&mut self, tree: u32, order: u32) {
        let path = &self.routes[order as usize].path;
        match &path.shape {
            Shape::Regex { regex, .. } => self.add_regex(tree, regex, order),
            Shape::Segments { .. } if path.is_exact() => self.add_exact(tree, path.text(), order),
            Shape::Segments { segments, end } => self.add_segments(tree, segments, *end, order),
        }
    }

    fn add_exact(&mut self, tree: u32, path: &str, order: u32) {
        self.trees[tree as usize].has_exact = true;
        let next = self.leaves.len() as u32;
        let leaf = self.index.find_or_insert(Owner::paths(tree), path.as_bytes(), next);
        if leaf == next {
            self.leaves.push(Slice::default());
        }
        append(&mut self.lists, &mut self.leaves[leaf as usize], order);
    }

    /// Regexes with the same text are one path.
    fn add_regex(&mut self, tree: u32, regex: &FullRegex, order: u32) {
        let routes = self.routes;
        let regexes = &mut self.trees[tree as usize].regexes;
        let same = |leaf: &RegexLeaf| match &routes[leaf.route as usize].path.shape {
            Shape::Regex { regex: known, .. } => known.slot() == regex.slot(),
            Shape::Segments { .. } => false,
        };
        let at = regexes.iter().position(same).unwrap_or_else(|| {
            regexes.push(RegexLeaf { route: order, candidates: Slice::default() });
            regexes.len() - 1
        });
        append(&mut self.lists, &mut regexes[at].candidates, order);
    }

    fn add_segments(&mut self, tree: u32, segments: &[Segment], end: End, order: u32) {
        let mut node = self.trees[tree as usize].root;
        for segment in segments {
            node = match segment {
                Segment::Literal(text) => self.literal_child(node, text),
                Segment::Parameter => self.parameter_child(node),
            };
        }
        let node = &mut self.nodes[node as usize];
        let slice = match end {
            End::Here => &mut node.here,
            End::Rest => &mut node.rest,
            End::Prefix => &mut node.prefix,
        };
        append(&mut self.lists, slice, order);
    }

    fn literal_child(&mut self, node: u32, text: &str) -> u32 {
        self.nodes[node as usize].has_literals = true;
        let next = self.nodes.len() as u32;
        let child = self.index.find_or_insert(Owner::segments(node), text.as_bytes(), next);
        if child == next {
            self.new_node();
        }
        child
    }

    fn parameter_child(&mut self, node: u32) -> u32 {
        if self.nodes[node as usize].parameter == NO_NODE {
            let child = self.new_node();
            self.nodes[node as usize].parameter = child;
        }
        self.nodes[node as usize].parameter
    }
}

/// Appends a route to the list of `slice`, unless it is there already (a host named twice).
fn append(lists: &mut Vec<Vec<u32>>, slice: &mut Slice, order: u32) {
    if slice.length == 0 {
        *slice = Slice { start: lists.len() as u32, length: 1 };
        lists.push(vec![order]);
        return;
    }
    let list = &mut lists[slice.start as usize];
    if list.last() != Some(&order) {
        list.push(order);
    }
}

/// Sorts every list by precedence and lays them out one behind the other.
fn flatten(routes: &[RouteSpec], lists: Vec<Vec<u32>>) -> (Vec<Candidate>, Vec<Slice>, Vec<Shadowed>) {
    let mut candidates = Vec::with_capacity(lists.iter().map(Vec::len).sum());
    let mut slices = Vec::with_capacity(lists.len());
    let mut shadowed = Vec::new();
    for mut list in lists {
        find_shadowed(routes, &list, &mut shadowed);
        list.sort_by_key(|&order| specificity(&routes[order as usize]));
        slices.push(Slice { start: candidates.len() as u32, length: list.len() as u32 });
        candidates.extend(list.into_iter().map(|order| candidate(order, &routes[order as usize])));
    }
    shadowed.sort_unstable();
    shadowed.dedup();
    (candidates, slices, shadowed)
}

/// The rules of precedence behind host and path, except for the order of declaration; the smallest wins.
pub(super) fn specificity(route: &RouteSpec) -> (bool, Reverse<usize>, Reverse<usize>) {
    (route.methods.is_empty(), Reverse(route.headers.len()), Reverse(route.queries.len()))
}

fn candidate(order: u32, route: &RouteSpec) -> Candidate {
    let custom = route.methods.iter().any(|method| Method::of(method.as_bytes()) == Method::Other);
    Candidate {
        route: order,
        id: route.id,
        methods: MethodSet::of(&route.methods),
        is_plain: !custom && route.headers.is_empty() && route.queries.is_empty(),
    }
}

/// Finds the routes of one host and path that others leave nothing: each of their methods, with the same header and
/// query predicates, was named before.
fn find_shadowed(routes: &[RouteSpec], list: &[u32], shadowed: &mut Vec<Shadowed>) {
    if list.len() < 2 {
        return;
    }
    let mut claimed: HashMap<(Arc<str>, Option<&str>), RouteId> = HashMap::new();
    for route in list.iter().map(|&order| &routes[order as usize]) {
        let others: Arc<str> = predicates_key(route).into();
        let methods: Vec<Option<&str>> = match route.methods.as_slice() {
            [] => vec![None],
            methods => methods.iter().map(|method| Some(&**method)).collect(),
        };
        let claims = methods.iter().map(|method| claimed.get(&(others.clone(), *method)).copied());
        let taken: Option<Vec<RouteId>> = claims.collect();
        match taken.as_deref() {
            Some([earlier, ..]) if shadowed.len() < SHADOWED_MAX => {
                shadowed.push(Shadowed { earlier: *earlier, later: route.id });
            }
            _ => {}
        }
        for method in methods {
            claimed.entry((others.clone(), method)).or_insert(route.id);
        }
    }
}

/// Text that routes with the same header and query predicates share, in whatever order they name them.
fn predicates_key(route: &RouteSpec) -> String {
    let mut headers: Vec<String> = route.headers.iter().map(FieldPredicate::key).collect();
    let mut queries: Vec<String> = route.queries.iter().map(QueryPredicate::key).collect();
    headers.sort_unstable();
    queries.sort_unstable();
    format!("{headers:?} {queries:?}")
}
