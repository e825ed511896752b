//! Which route answers a request.
//!
//! A route matches when all of its predicates do: host, path, method, header fields, query parameters. All matching
//! routes compete, across hosts and kinds of paths, and the most specific wins; a more specific host or path whose
//! other predicates do not fit is no match and hides nothing. The rules of precedence, first difference decides:
//!
//! 1. **Host**: exact, then the longest wildcard (`*.example.com` stands for one or more labels), then no host.
//! 2. **Path**: exact text, then a regex (order of first declaration of its text), then patterns and prefixes, compared
//!    segment by segment from the left: literal, `{param}`, the pattern's end, `{*rest}`, the prefix's end. So what is
//!    longer wins: `/v1/{id}` over `/v1/{*rest}`, that over prefix `/v1`, that over `/{*rest}`.
//! 3. **Method**: a route that names methods over one that does not. GET does not imply HEAD.
//! 4. **Header predicates**: more of them.
//! 5. **Query predicates**: more of them.
//! 6. **Order** of declaration.
//!
//! What a path matches (always the canonical path, see [`Subject`]):
//!
//! - `/a/{id}`: `{id}` is exactly one segment that is not empty. A trailing slash is significant: `/a/b` is not `/a/b/`.
//! - `/a/{*rest}`: everything behind `/a/`, also nothing (`/a/`), but not `/a` itself. `/{*rest}` is the catch-all.
//!   Beside `/a/{id}`, it gets `/a/` and `/a/b/c`, and `/a/b` only where the other's predicates do not fit.
//! - prefix `/a`: `/a` and everything behind `/a/`, never `/ab`. Its own trailing slash means nothing; `/` is everything.
//! - regex: the whole path, in time linear in its length; named groups are parameters.
//!
//! **What a lookup costs.** One hash for the host and one for each wildcard length in use, one hash for the whole path,
//! one hash per segment at which ways part, whatever the number of routes. Routes that share host and path are tried one after another,
//! and so are the regexes of a host. Where a literal and a `{param}` both fit, the walk tries both in turn; it visits
//! a node of the host's tree at most once, because the way to a node fixes which segment each step took. The bound is
//! thus the smaller of the tree's nodes and two to the number of segments, never a product of path and table.
//!
//! This module knows no configuration file: `snapshot` compiles one into [`RouteSpec`]s.

mod build;
mod canonical;
mod error;
mod explain;
mod find;
mod host;
mod index;
mod path;
mod predicate;
mod query;
mod regex;
mod table;
mod template;

pub use error::PatternError;
pub use explain::{Explanation, NearMiss, Reason, Rule};
pub use find::{Captures, Scratch, Subject};
pub use host::HostPattern;
pub use path::{PARAMETERS_MAX, PathPattern, SEGMENTS_MAX};
pub use predicate::{FieldPredicate, Matcher, QueryPredicate, parse_method};
pub use regex::FullRegex;
pub use table::{RouteSpec, SHADOWED_MAX, Shadowed, Table};
pub use template::{RenderError, Template};

#[cfg(test)]
mod tests;
