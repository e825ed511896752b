//! Why a request got its route and others did not: the rules of precedence spelt out route by route.
//!
//! [`Table::find`] walks an index; this compares every route with every rule. It is what `explain` prints, and what
//! the index is tested against.

use std::cmp::Reverse;

use super::find::{Scratch, Subject};
use super::path::{End, Segment, Shape};
use super::table::{RouteSpec, Table, specificity};
use super::{HostPattern, Matcher};
use crate::base::RouteId;

/// The answer to "why this route?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub matched: Option<RouteId>,
    /// The routes that came closest, closest first.
    pub near: Vec<NearMiss>,
}

/// A route that did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    pub route: RouteId,
    pub reason: Reason,
    /// The reason for people.
    pub text: String,
}

/// Why a route did not answer: its first predicate that does not fit, or the rule by which it lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Host,
    /// The path differs at this segment, counted from 1; at 0 for a regex.
    Path {
        segment: usize,
    },
    Method,
    /// The header predicate at this position of the route's list.
    Header {
        index: usize,
    },
    /// The query predicate at this position of the route's list.
    Query {
        index: usize,
    },
    /// Everything fits, but another route wins.
    Lost {
        to: RouteId,
        rule: Rule,
    },
}

/// A rule of precedence, in the order they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    Host,
    Path,
    Method,
    Headers,
    Queries,
    Order,
}

impl Table {
    /// The route that answers `subject`, and at most `limit` others with the reason why they do not.
    pub fn explain(&self, subject: &Subject<'_>, limit: usize) -> Explanation {
        let mut scratch = self.scratch();
        let checks: Vec<_> = self.routes.iter().map(|route| first_misfit(route, subject, &mut scratch)).collect();
        let fits = |order: usize| checks[order].is_none();
        let standings = (0..self.routes.len()).filter(|&order| fits(order)).map(|order| self.standing(order, subject));
        let winner = standings.min();
        let mut near: Vec<(Closeness, NearMiss)> = Vec::new();
        for (order, route) in self.routes.iter().enumerate() {
            let reason = match (checks[order], &winner) {
                (Some(reason), _) => reason,
                (None, Some(winner)) if winner.order != order => self.lost(order, winner, subject),
                (None, _) => continue,
            };
            let closeness = closeness(reason, route, subject, &mut scratch);
            near.push((closeness, NearMiss { route: route.id, reason, text: reason.text(route) }));
        }
        near.sort_by_key(|(closeness, _)| *closeness);
        near.truncate(limit);
        let matched = winner.map(|winner| self.routes[winner.order].id);
        Explanation { matched, near: near.into_iter().map(|(_, miss)| miss).collect() }
    }

    fn lost(&self, order: usize, winner: &Standing, subject: &Subject<'_>) -> Reason {
        let rule = winner.wins_by(&self.standing(order, subject));
        Reason::Lost { to: self.routes[winner.order].id, rule }
    }

    /// Where the route, all of whose predicates fit, stands among such routes.
    fn standing(&self, order: usize, subject: &Subject<'_>) -> Standing {
        let route = &self.routes[order];
        let host =
            route.hosts.iter().filter(|host| host.fits(subject.host)).min_by_key(|host| HostRank::of(Some(host)));
        Standing { host: HostRank::of(host), path: self.path_rank(route, host), specificity: specificity(route), order }
    }

    fn path_rank(&self, route: &RouteSpec, host: Option<&HostPattern>) -> PathRank {
        match &route.path.shape {
            _ if route.path.is_exact() => PathRank::Exact,
            Shape::Segments { segments, end } => PathRank::Steps(steps(segments, *end)),
            Shape::Regex { .. } => {
                let same_host = |other: &RouteSpec| match host {
                    Some(host) => other.hosts.contains(host),
                    None => other.hosts.is_empty(),
                };
                let first =
                    self.routes.iter().position(|other| other.path.shape == route.path.shape && same_host(other));
                PathRank::Regex(first.unwrap_or_default())
            }
        }
    }
}

/// A fitting route's place in the order of precedence: the smallest wins.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    host: HostRank,
    path: PathRank,
    specificity: (bool, Reverse<usize>, Reverse<usize>),
    order: usize,
}

impl Standing {
    /// The first rule that tells the two apart.
    fn wins_by(&self, other: &Self) -> Rule {
        let (methods, headers, queries) = self.specificity;
        let rules = [
            (self.host != other.host, Rule::Host),
            (self.path != other.path, Rule::Path),
            (methods != other.specificity.0, Rule::Method),
            (headers != other.specificity.1, Rule::Headers),
            (queries != other.specificity.2, Rule::Queries),
        ];
        rules.into_iter().find(|(differs, _)| *differs).map_or(Rule::Order, |(_, rule)| rule)
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HostRank {
    Exact,
    Wildcard(Reverse<usize>),
    None,
}

impl HostRank {
    fn of(host: Option<&HostPattern>) -> Self {
        match host {
            Some(HostPattern::Exact(_)) => Self::Exact,
            Some(HostPattern::Wildcard(base)) => Self::Wildcard(Reverse(base.len())),
            None => Self::None,
        }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Exact,
    /// Position of the first route with the same host and regex.
    Regex(usize),
    Steps(Vec<Step>),
}

/// A step of a pattern that fits: its text is the path's, so only the kind matters.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Literal,
    Parameter,
    Here,
    Rest,
    Prefix,
}

fn steps(segments: &[Segment], end: End) -> Vec<Step> {
    let last = match end {
        End::Here => Step::Here,
        End::Rest => Step::Rest,
        End::Prefix => Step::Prefix,
    };
    let kinds = segments.iter().map(|segment| match segment {
        Segment::Literal(_) => Step::Literal,
        Segment::Parameter => Step::Parameter,
    });
    kinds.chain([last]).collect()
}

/// The first predicate that does not fit, in the order a request is looked at.
fn first_misfit(route: &RouteSpec, subject: &Subject<'_>, scratch: &mut Scratch) -> Option<Reason> {
    if !route.hosts.is_empty() && !route.hosts.iter().any(|host| host.fits(subject.host)) {
        return Some(Reason::Host);
    }
    if let Some(segment) = path_misfit(route, subject, scratch) {
        return Some(Reason::Path { segment });
    }
    if !route.method_fits(subject.method) {
        return Some(Reason::Method);
    }
    let work = scratch.work();
    if let Some(index) = route.headers.iter().position(|header| !header.fits(subject, work)) {
        return Some(Reason::Header { index });
    }
    route.queries.iter().position(|query| !query.fits(subject, work)).map(|index| Reason::Query { index })
}

fn path_misfit(route: &RouteSpec, subject: &Subject<'_>, scratch: &mut Scratch) -> Option<usize> {
    if subject.path.first() != Some(&b'/') {
        return Some(1);
    }
    route.path.differs(subject.path, |regex| scratch.work().caches.fits(regex, subject.path))
}

/// How close a route came; the smallest is the closest.
type Closeness = (u8, Reverse<usize>);

fn closeness(reason: Reason, route: &RouteSpec, subject: &Subject<'_>, scratch: &mut Scratch) -> Closeness {
    match reason {
        Reason::Lost { .. } => (0, Reverse(0)),
        Reason::Query { index } => (1, Reverse(index)),
        Reason::Header { index } => (2, Reverse(index)),
        Reason::Method => (3, Reverse(0)),
        // The right path under another host is nearer than another path.
        Reason::Host if path_misfit(route, subject, scratch).is_none() => (4, Reverse(0)),
        Reason::Path { segment } => (5, Reverse(segment)),
        Reason::Host => (6, Reverse(0)),
    }
}

impl Reason {
    fn text(self, route: &RouteSpec) -> String {
        match self {
            Self::Host => format!("the host is not {}", or(&route.hosts)),
            Self::Path { segment: 0 } => format!("the path does not match {}", route.path),
            Self::Path { segment } => format!("the path differs from {} at segment {segment}", route.path),
            Self::Method => format!("the method is not {}", or(&route.methods)),
            Self::Header { index } => {
                let predicate = &route.headers[index];
                misfit("header", predicate.name.text(), &predicate.matcher)
            }
            Self::Query { index } => {
                let predicate = &route.queries[index];
                misfit("query parameter", &predicate.name, &predicate.matcher)
            }
            Self::Lost { rule, .. } => format!("it fits, but another route wins: {rule}"),
        }
    }
}

fn misfit(kind: &str, name: &str, matcher: &Matcher) -> String {
    format!("{kind} `{name}` is not {matcher}")
}

fn or<T: std::fmt::Display>(list: &[T]) -> String {
    list.iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" or ")
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Host => "its host is more specific",
            Self::Path => "its path is more specific",
            Self::Method => "it names methods",
            Self::Headers => "it has more header predicates",
            Self::Queries => "it has more query predicates",
            Self::Order => "it was declared first",
        })
    }
}
