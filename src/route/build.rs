//! Compiles routes into a [`Table`]: first a plain tree per host, which grows route by route, then the compact form that
//! lookups walk.

use std::collections::HashMap;
use std::sync::Arc;

use super::index::{Index, Owner};
use super::path::{End, Segment, Shape};
use super::predicate::MethodSet;
use super::regex::{Alphabet, FullRegex};
use super::table::{
    Candidate, NO_NODE, Node, RegexLeaf, RouteSpec, SHADOWED_MAX, Shadowed, Slice, Table, Tree, specificity,
};
use super::{FieldPredicate, HostPattern, QueryPredicate};
use crate::base::RouteId;
use crate::http::Method;

/// Compiles routes in order of declaration.
pub(super) fn table(mut routes: Vec<RouteSpec>) -> Table {
    let regexes = settle_regexes(&mut routes);
    let mut nursery = Nursery { routes: &routes, ..Nursery::default() };
    for order in 0..routes.len() {
        nursery.add(order as u32);
    }
    let mut compaction = Compaction::new(&routes, &nursery.sprouts);
    compaction.index = std::mem::take(&mut nursery.index);
    let leaves = nursery.leaves.iter().map(|list| compaction.place(list)).collect();
    let trees = nursery.trees.iter().map(|seedling| compaction.tree(seedling)).collect();
    let Compaction { index, nodes, tails, candidates, mut shadowed, .. } = compaction;
    shadowed.sort_unstable();
    shadowed.dedup();
    let Nursery { hostless, wildcard_labels, .. } = nursery;
    let identity = Arc::new(());
    Table {
        index,
        trees,
        nodes,
        tails,
        leaves,
        candidates,
        hostless,
        wildcard_labels,
        regexes,
        identity,
        shadowed,
        routes,
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

/// Routes that share host and path, in order of declaration.
type List = Vec<u32>;

/// The trees while routes are added.
#[derive(Default)]
struct Nursery<'a> {
    routes: &'a [RouteSpec],
    /// Hosts and exact paths.
    index: Index,
    /// Literal segments below sprouts.
    segments: Index,
    trees: Vec<Seedling>,
    sprouts: Vec<Sprout<'a>>,
    leaves: Vec<List>,
    hostless: Option<u32>,
    wildcard_labels: u128,
}

struct Seedling {
    root: u32,
    has_exact: bool,
    regexes: Vec<List>,
}

/// A place between two segments.
#[derive(Default)]
struct Sprout<'a> {
    literals: Vec<(&'a str, u32)>,
    parameter: Option<u32>,
    here: List,
    rest: List,
    prefix: List,
}

impl<'a> Nursery<'a> {
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
        let root = self.new_sprout();
        self.trees.push(Seedling { root, has_exact: false, regexes: Vec::new() });
        self.trees.len() as u32 - 1
    }

    fn new_sprout(&mut self) -> u32 {
        self.sprouts.push(Sprout::default());
        self.sprouts.len() as u32 - 1
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
            self.leaves.push(List::new());
        }
        append(&mut self.leaves[leaf as usize], order);
    }

    /// Regexes with the same text are one path.
    fn add_regex(&mut self, tree: u32, regex: &FullRegex, order: u32) {
        let routes = self.routes;
        let same = |list: &&mut List| match &routes[list[0] as usize].path.shape {
            Shape::Regex { regex: known, .. } => known.slot() == regex.slot(),
            Shape::Segments { .. } => false,
        };
        let regexes = &mut self.trees[tree as usize].regexes;
        match regexes.iter_mut().find(same) {
            Some(list) => append(list, order),
            None => regexes.push(vec![order]),
        }
    }

    fn add_segments(&mut self, tree: u32, segments: &'a [Segment], end: End, order: u32) {
        let mut place = self.trees[tree as usize].root;
        for segment in segments {
            place = match segment {
                Segment::Literal(text) => self.literal_child(place, text),
                Segment::Parameter => self.parameter_child(place),
            };
        }
        let sprout = &mut self.sprouts[place as usize];
        let list = match end {
            End::Here => &mut sprout.here,
            End::Rest => &mut sprout.rest,
            End::Prefix => &mut sprout.prefix,
        };
        append(list, order);
    }

    fn literal_child(&mut self, place: u32, text: &'a str) -> u32 {
        let next = self.sprouts.len() as u32;
        let child = self.segments.find_or_insert(Owner::segments(place), text.as_bytes(), next);
        if child == next {
            self.new_sprout();
            self.sprouts[place as usize].literals.push((text, child));
        }
        child
    }

    fn parameter_child(&mut self, place: u32) -> u32 {
        if let Some(child) = self.sprouts[place as usize].parameter {
            return child;
        }
        let child = self.new_sprout();
        self.sprouts[place as usize].parameter = Some(child);
        child
    }
}

/// Appends a route unless it is there already: a host may be named twice.
fn append(list: &mut List, order: u32) {
    if list.last() != Some(&order) {
        list.push(order);
    }
}

/// The compact form in the making.
struct Compaction<'a> {
    routes: &'a [RouteSpec],
    sprouts: &'a [Sprout<'a>],
    index: Index,
    nodes: Vec<Node>,
    tails: Vec<u8>,
    candidates: Vec<Candidate>,
    shadowed: Vec<Shadowed>,
}

impl<'a> Compaction<'a> {
    fn new(routes: &'a [RouteSpec], sprouts: &'a [Sprout<'a>]) -> Self {
        Self {
            routes,
            sprouts,
            index: Index::default(),
            nodes: Vec::new(),
            tails: Vec::new(),
            candidates: Vec::with_capacity(routes.len()),
            shadowed: Vec::new(),
        }
    }

    fn tree(&mut self, seedling: &Seedling) -> Tree {
        let leaf = |list: &List| RegexLeaf { route: list[0], candidates: self.place(list) };
        let regexes = seedling.regexes.iter().map(leaf).collect();
        Tree { root: self.node(seedling.root), has_exact: seedling.has_exact, regexes }
    }

    /// Lays down a sprout and all below it; as deep as the deepest pattern at most.
    fn node(&mut self, sprout: u32) -> u32 {
        let start = self.tails.len() as u32;
        let sprout = self.swallow(sprout);
        let tail = Slice { start, length: self.tails.len() as u32 - start };
        let here = self.place(&sprout.here);
        let (rest, prefix) = (self.place(&sprout.rest), self.place(&sprout.prefix));
        let number = self.nodes.len() as u32;
        self.nodes.push(Node {
            tail,
            candidates: here.start,
            here: here.length,
            rest: rest.length,
            prefix: prefix.length,
            parameter: NO_NODE,
            has_literals: !sprout.literals.is_empty(),
        });
        for &(text, child) in &sprout.literals {
            let child = self.node(child);
            self.index.find_or_insert(Owner::segments(number), text.as_bytes(), child);
        }
        if let Some(child) = sprout.parameter {
            self.nodes[number as usize].parameter = self.node(child);
        }
        number
    }

    /// Follows literals as long as there is only one way, writes them down as a tail and returns where they lead.
    fn swallow(&mut self, sprout: u32) -> &'a Sprout<'a> {
        let mut sprout = &self.sprouts[sprout as usize];
        while let Some((text, child)) = sprout.only_way() {
            self.tails.push(b'/');
            self.tails.extend_from_slice(text.as_bytes());
            sprout = &self.sprouts[child as usize];
        }
        sprout
    }

    /// Lays down the routes of one host and path, best first.
    fn place(&mut self, list: &[u32]) -> Slice {
        find_shadowed(self.routes, list, &mut self.shadowed);
        let start = self.candidates.len();
        self.candidates.extend(list.iter().map(|&order| candidate(order, &self.routes[order as usize])));
        self.candidates[start..].sort_by_key(|candidate| specificity(&self.routes[candidate.route as usize]));
        Slice { start: start as u32, length: list.len() as u32 }
    }
}

impl<'a> Sprout<'a> {
    fn only_way(&self) -> Option<(&'a str, u32)> {
        let ends = !self.here.is_empty() || !self.rest.is_empty() || !self.prefix.is_empty();
        match self.literals.as_slice() {
            [only] if !ends && self.parameter.is_none() => Some(*only),
            _ => None,
        }
    }
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
