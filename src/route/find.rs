//! The lookup: from a request to its route, without an allocation.

use std::sync::Arc;

use regex_automata::util::primitives::NonMaxUsize;

use super::index::Owner;
use super::path::{PARAMETERS_MAX, Shape};
use super::predicate::Workspace;
use super::regex::GROUPS_MAX;
use super::table::{Candidate, NO_NODE, RouteSpec, Slice, Table, Tree};
use crate::base::RouteId;
use crate::base::word::{begins_with, position};
use crate::http::header::Fields;
use crate::http::{Method, Span};

/// What routes are matched against.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The canonical host, lower-case and without a port; empty where the request names none.
    pub host: &'a [u8],
    /// The canonical path.
    pub path: &'a [u8],
    /// What stands behind `?`, as received.
    pub query: Option<&'a [u8]>,
    /// The method, and its text.
    pub known_method: Method,
    pub method: &'a [u8],
    pub fields: &'a Fields,
    /// The buffer that `fields` point into.
    pub bytes: &'a [u8],
}

/// Memory for lookups, one per shard, and what the last one captured.
#[derive(Debug, Default)]
pub struct Scratch {
    captures: Captures,
    work: Workspace,
    table: Option<Arc<()>>,
}

/// The parameters of a matched path, by index, as ranges of it.
#[derive(Debug, Default)]
pub struct Captures {
    spans: [Span; PARAMETERS_MAX],
    count: u8,
    matched: u32,
}

impl Clone for Captures {
    fn clone(&self) -> Self {
        let mut captures = Self::default();
        captures.clone_from(self);
        captures
    }

    /// Copies no more than there is.
    #[inline]
    fn clone_from(&mut self, other: &Self) {
        self.count = other.count;
        self.matched = other.matched;
        for (span, other) in self.spans.iter_mut().zip(&other.spans[..other.len()]) {
            *span = *other;
        }
    }
}

impl Captures {
    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The text of parameter `index` in the path that was matched; empty where an optional group took no part.
    pub fn value<'p>(&self, index: usize, path: &'p [u8]) -> &'p [u8] {
        self.spans[..self.len()].get(index).map_or(&[], |span| span.of(path))
    }

    /// What follows a matched prefix: nothing, or a slash and more. Nothing for other paths.
    pub fn remainder<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        path.get(self.matched as usize..).unwrap_or_default()
    }

    fn push(&mut self, start: usize, end: usize) {
        debug_assert!(self.len() < PARAMETERS_MAX, "patterns are bounded when parsed");
        self.spans[self.len()] = Span::new(start, end);
        self.count += 1;
    }
}

impl Scratch {
    /// What the last successful lookup captured.
    pub fn captures(&self) -> &Captures {
        &self.captures
    }

    /// Makes the memory fit `table`; caches of another table's regexes are forgotten.
    #[inline]
    pub(super) fn adopt(&mut self, table: &Table) {
        if !self.table.as_ref().is_some_and(|known| Arc::ptr_eq(known, &table.identity)) {
            self.change_to(table);
        }
    }

    #[cold]
    fn change_to(&mut self, table: &Table) {
        self.work.caches.reset(table.regexes);
        self.table = Some(Arc::clone(&table.identity));
    }

    pub(super) fn work(&mut self) -> &mut Workspace {
        &mut self.work
    }
}

impl Table {
    /// The route that answers `subject`, if any; its parameters are in `scratch`.
    pub fn find(&self, subject: &Subject<'_>, scratch: &mut Scratch) -> Option<RouteId> {
        scratch.adopt(self);
        scratch.captures.matched = subject.path.len() as u32;
        if subject.path.first() != Some(&b'/') {
            return None;
        }
        let mut lookup = Lookup { table: self, subject, scratch };
        lookup.any_host()
    }
}

struct Lookup<'a> {
    table: &'a Table,
    subject: &'a Subject<'a>,
    scratch: &'a mut Scratch,
}

impl<'a> Lookup<'a> {
    /// Rule 1: the exact host, then wildcards from the longest, then the routes without a host.
    fn any_host(&mut self) -> Option<RouteId> {
        if let Some(tree) = self.table.index.find(Owner::HOSTS, self.subject.host) {
            let found = self.in_tree(tree);
            if found.is_some() {
                return found;
            }
        }
        if self.table.wildcard_labels != 0 {
            let found = self.wildcards();
            if found.is_some() {
                return found;
            }
        }
        self.in_tree(self.table.hostless?)
    }

    /// Tries the name behind each dot, from the left, where some wildcard has as many labels.
    #[inline(never)]
    fn wildcards(&mut self) -> Option<RouteId> {
        let host = self.subject.host;
        let mut labels = memchr::memchr_iter(b'.', host).count();
        for dot in memchr::memchr_iter(b'.', host) {
            let in_use = labels < u128::BITS as usize && self.table.wildcard_labels & (1 << labels) != 0;
            if in_use
                && dot > 0
                && let Some(tree) = self.table.index.find(Owner::WILDCARDS, &host[dot + 1..])
            {
                let found = self.in_tree(tree);
                if found.is_some() {
                    return found;
                }
            }
            labels -= 1;
        }
        None
    }

    /// Rule 2: the exact path, then regexes, then patterns and prefixes.
    fn in_tree(&mut self, tree: u32) -> Option<RouteId> {
        // Whoever captures adds to what is there: of an earlier lookup, or of another tree that did not fit.
        self.scratch.captures.count = 0;
        let table = self.table;
        let Tree { root, has_exact, regexes } = &table.trees[tree as usize];
        if *has_exact && let Some(leaf) = table.index.find(Owner::paths(tree), self.subject.path) {
            let found = self.pick(table.leaves[leaf as usize]);
            if found.is_some() {
                return found;
            }
        }
        if !regexes.is_empty() {
            let found = self.in_regexes(tree);
            if found.is_some() {
                return found;
            }
        }
        self.walk(*root, 1)
    }

    #[inline(never)]
    fn in_regexes(&mut self, tree: u32) -> Option<RouteId> {
        let table = self.table;
        for leaf in &table.trees[tree as usize].regexes {
            let Shape::Regex { regex, groups } = &table.routes[leaf.route as usize].path.shape else { continue };
            if !self.scratch.work.caches.fits(regex, self.subject.path) {
                continue;
            }
            let found = self.pick(leaf.candidates);
            if found.is_some() {
                if !groups.is_empty() {
                    self.scratch.capture_groups(regex, groups, self.subject.path);
                }
                return found;
            }
        }
        None
    }

    /// Follows the segments from `at`, which is behind a slash, or behind the end where the path has ended. Literals
    /// first, then the parameter, then what takes the rest. Goes on in the same call where there is no other way left
    /// to come back for; calls are nested as deep as the deepest pattern at most.
    fn walk(&mut self, mut number: u32, mut at: usize) -> Option<RouteId> {
        let table = self.table;
        let path = self.subject.path;
        loop {
            let node = &table.nodes[number as usize];
            at = if node.tail.length > 0 { follow(node.tail.of(&table.tails), path, at)? } else { at };
            if at > path.len() {
                return self.pick(node.here()).or_else(|| self.pick_prefix(node.prefix(), path.len()));
            }
            let takes_rest = node.rest | node.prefix != 0;
            let end = if node.has_literals || node.parameter != NO_NODE { position(path, at, b'/') } else { at };
            if node.has_literals
                && let Some(child) = table.index.find(Owner::segments(number), &path[at..end])
            {
                if node.parameter == NO_NODE && !takes_rest {
                    (number, at) = (child, end + 1);
                    continue;
                }
                let count = self.scratch.captures.count;
                let found = self.walk(child, end + 1);
                if found.is_some() {
                    return found;
                }
                self.scratch.captures.count = count;
            }
            if node.parameter != NO_NODE && end > at {
                if !takes_rest {
                    self.scratch.captures.push(at, end);
                    (number, at) = (node.parameter, end + 1);
                    continue;
                }
                let found = self.capturing(at, end, |lookup| lookup.walk(node.parameter, end + 1));
                if found.is_some() {
                    return found;
                }
            }
            if node.rest > 0 {
                let found = self.capturing(at, path.len(), |lookup| lookup.pick(node.rest()));
                if found.is_some() {
                    return found;
                }
            }
            return self.pick_prefix(node.prefix(), at - 1);
        }
    }

    /// Runs `attempt` with a captured parameter, which is forgotten if it fails.
    fn capturing(
        &mut self,
        start: usize,
        end: usize,
        attempt: impl FnOnce(&mut Self) -> Option<RouteId>,
    ) -> Option<RouteId> {
        let count = self.scratch.captures.count;
        self.scratch.captures.push(start, end);
        let found = attempt(self);
        if found.is_none() {
            self.scratch.captures.count = count;
        }
        found
    }

    #[inline]
    fn pick_prefix(&mut self, slice: Slice, matched: usize) -> Option<RouteId> {
        let found = self.pick(slice)?;
        self.scratch.captures.matched = matched as u32;
        Some(found)
    }

    /// Rules 3 to 6: the first candidate whose other predicates fit; they stand in order of precedence.
    #[inline]
    fn pick(&mut self, slice: Slice) -> Option<RouteId> {
        let candidates: &'a [Candidate] = slice.of(&self.table.candidates);
        for candidate in candidates {
            if candidate.methods.has(self.subject.known_method) && (candidate.is_plain || self.fits(candidate)) {
                return Some(candidate.id);
            }
        }
        None
    }

    #[inline(never)]
    fn fits(&mut self, candidate: &Candidate) -> bool {
        let route = &self.table.routes[candidate.route as usize];
        let (subject, work) = (self.subject, &mut self.scratch.work);
        route.method_fits(subject.method)
            && route.headers.iter().all(|header| header.fits(subject, work))
            && route.queries.iter().all(|query| query.fits(subject, work))
    }
}

/// Where the next segment begins if `tail`, which begins with a slash, comes first; whole segments only.
#[inline]
fn follow(tail: &[u8], path: &[u8], at: usize) -> Option<usize> {
    if !begins_with(&path[at - 1..], tail) {
        return None;
    }
    let end = at - 1 + tail.len();
    matches!(path.get(end), None | Some(b'/')).then_some(end + 1)
}

impl RouteSpec {
    pub(super) fn method_fits(&self, method: &[u8]) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|known| known.as_bytes() == method)
    }
}

impl Scratch {
    fn capture_groups(&mut self, regex: &super::FullRegex, groups: &[u16], path: &[u8]) {
        let mut slots: [Option<NonMaxUsize>; 2 * GROUPS_MAX] = [None; 2 * GROUPS_MAX];
        self.work.caches.capture(regex, path, &mut slots);
        for &group in groups {
            let bound = |slot: usize| slots.get(slot).copied().flatten().map_or(0, NonMaxUsize::get);
            let at = usize::from(group) * 2;
            self.captures.push(bound(at), bound(at + 1));
        }
    }
}
