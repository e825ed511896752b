//! The routing table: what the operator declared, compiled for [`Table::find`].

use std::cmp::Reverse;
use std::sync::Arc;

use super::build;
use super::find::Scratch;
use super::index::Index;
use super::predicate::MethodSet;
use super::{FieldPredicate, HostPattern, PathPattern, QueryPredicate};
use crate::base::RouteId;

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

/// A route that some host's requests never reach, because earlier ones with the same predicates take them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shadowed {
    /// The one that takes the first of its methods.
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
    /// The tails of the nodes.
    pub(super) tails: Vec<u8>,
    /// What [`super::index::Owner::paths`] lead to.
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
    /// Sorted.
    pub(super) shadowed: Vec<Shadowed>,
}

/// The routes of one host.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: u32,
    pub(super) has_exact: bool,
    /// In order of declaration.
    pub(super) regexes: Vec<RegexLeaf>,
}

#[derive(Debug)]
pub(super) struct RegexLeaf {
    /// The first route with this regex.
    pub(super) route: u32,
    pub(super) candidates: Slice,
}

/// A place between two segments of a path where ways part or end. What all its ways share before that, it has swallowed.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(super) struct Node {
    /// Literal segments, each behind its slash, that must follow before anything else counts: a range of
    /// [`Table::tails`].
    pub(super) tail: Slice,
    /// Where its candidates begin: first those of patterns that end here, then those whose `{*rest}` begins here, then
    /// those of prefixes that end here.
    pub(super) candidates: u32,
    pub(super) here: u32,
    pub(super) rest: u32,
    pub(super) prefix: u32,
    /// Where `{param}` leads, or [`NO_NODE`].
    pub(super) parameter: u32,
    pub(super) has_literals: bool,
}

const _: () = assert!(size_of::<Node>() == 32, "two nodes to a cache line");

pub(super) const NO_NODE: u32 = u32::MAX;

/// A range of some vector of the table.
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
    pub fn build(routes: Vec<RouteSpec>) -> Self {
        build::table(routes)
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
}

impl Slice {
    #[inline]
    pub(super) fn of<T>(self, all: &[T]) -> &[T] {
        &all[self.start as usize..(self.start + self.length) as usize]
    }
}

impl Node {
    #[inline]
    pub(super) fn here(&self) -> Slice {
        Slice { start: self.candidates, length: self.here }
    }

    #[inline]
    pub(super) fn rest(&self) -> Slice {
        Slice { start: self.candidates + self.here, length: self.rest }
    }

    #[inline]
    pub(super) fn prefix(&self) -> Slice {
        Slice { start: self.candidates + self.here + self.rest, length: self.prefix }
    }
}

/// The rules of precedence behind host and path, except for the order of declaration; the smallest wins.
pub(super) fn specificity(route: &RouteSpec) -> (bool, Reverse<usize>, Reverse<usize>) {
    (route.methods.is_empty(), Reverse(route.headers.len()), Reverse(route.queries.len()))
}
