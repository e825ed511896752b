//! All metrics of the process, by name, over all shards.
//!
//! Blocks of a route, an upstream or an endpoint are found by name when a snapshot is prepared, under a lock that only
//! preparing and scraping take; requests use the handles that the snapshot holds. A name keeps its figures from
//! snapshot to snapshot. What a block costs is paid on its first use, on the shard that uses it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::exposition::{CONTENT_TYPE, Series, Zeros, push_label, render};
use super::metrics::{CONTROL, ENDPOINT, ROUTE, SHARD, UPSTREAM};
use super::{ControlMetrics, EndpointBlock, RouteBlock, ShardMetrics, UpstreamBlock};

/// Route names told apart; further ones are counted as `other`.
pub const ROUTES_MAX: usize = 10_240;
/// Upstream names told apart; further ones are counted as `other`.
pub const UPSTREAMS_MAX: usize = 2_048;
/// Endpoints told apart; further ones are counted as `other`.
pub const ENDPOINTS_MAX: usize = 10_240;
/// A longer label value is cut, so that two long names may share their figures.
pub const LABEL_BYTES_MAX: usize = 256;

/// The name under which the excess is counted.
const OTHER: &str = "other";

/// How many names of each kind are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub routes: usize,
    pub upstreams: usize,
    pub endpoints: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { routes: ROUTES_MAX, upstreams: UPSTREAMS_MAX, endpoints: ENDPOINTS_MAX }
    }
}

/// One block for each shard, each made by its shard when first used.
#[derive(Debug)]
pub struct PerShard<B> {
    blocks: Box<[OnceLock<Box<B>>]>,
}

/// What is counted for one route.
pub type RouteMetrics = PerShard<RouteBlock>;
/// What is counted for one upstream.
pub type UpstreamMetrics = PerShard<UpstreamBlock>;
/// What is counted for one endpoint.
pub type EndpointMetrics = PerShard<EndpointBlock>;

impl<B: Default> PerShard<B> {
    fn new(shards: usize) -> Self {
        Self { blocks: (0..shards).map(|_| OnceLock::new()).collect() }
    }

    /// The block of one shard, to be written by that shard only. Allocates on the first call.
    #[inline]
    pub fn at(&self, shard: usize) -> &B {
        self.blocks[shard].get_or_init(Box::default)
    }

    fn used(&self) -> impl Iterator<Item = &B> {
        self.blocks.iter().filter_map(OnceLock::get).map(Box::as_ref)
    }
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Registry {
    control: ControlMetrics,
    shards: Box<[Arc<ShardMetrics>]>,
    names: Mutex<Names>,
}

#[derive(Debug)]
struct Names {
    routes: Family<RouteBlock>,
    upstreams: Family<UpstreamBlock>,
    endpoints: Family<EndpointBlock>,
}

impl Registry {
    /// Metrics for so many shards.
    pub fn new(shards: usize, bounds: Bounds) -> Self {
        let names = Names {
            routes: Family::new(shards, bounds.routes, &["route"]),
            upstreams: Family::new(shards, bounds.upstreams, &["upstream"]),
            endpoints: Family::new(shards, bounds.endpoints, &["upstream", "endpoint"]),
        };
        Self {
            control: ControlMetrics::default(),
            shards: (0..shards).map(|_| Arc::default()).collect(),
            names: Mutex::new(names),
        }
    }

    /// What the shard of this number counts, to be written by that shard only.
    pub fn shard(&self, number: usize) -> Arc<ShardMetrics> {
        self.shards[number].clone()
    }

    /// What the control side counts.
    pub fn control(&self) -> &ControlMetrics {
        &self.control
    }

    /// Begins to look up the names of a snapshot. Scrapes wait until it is dropped.
    pub fn register(&self) -> Registration<'_> {
        let mut names = self.lock();
        names.routes.swept = false;
        names.upstreams.swept = false;
        names.endpoints.swept = false;
        Registration { names }
    }

    /// Appends everything as Prometheus text, of type [`Self::CONTENT_TYPE`].
    pub fn render(&self, out: &mut String) {
        let names = self.lock();
        let control = Series { labels: "", blocks: vec![&self.control] };
        render(CONTROL, &[control], Zeros::Write, out);
        let shards = Series { labels: "", blocks: self.shards.iter().map(Arc::as_ref).collect() };
        render(SHARD, &[shards], Zeros::Write, out);
        render(ROUTE, &names.routes.series(), Zeros::Skip, out);
        render(UPSTREAM, &names.upstreams.series(), Zeros::Skip, out);
        render(ENDPOINT, &names.endpoints.series(), Zeros::Skip, out);
    }

    /// The content type of what [`Self::render`] writes.
    pub const CONTENT_TYPE: &'static str = CONTENT_TYPE;

    fn lock(&self) -> MutexGuard<'_, Names> {
        // Nothing is left half-done by a panic in between: names are only ever added or forgotten whole.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks up the blocks of a snapshot being prepared. A name that is new is added; where there are too many, names that
/// no snapshot holds any more are forgotten, and what still does not fit is counted as `other`.
#[derive(Debug)]
pub struct Registration<'a> {
    names: MutexGuard<'a, Names>,
}

impl Registration<'_> {
    /// The figures of a route.
    pub fn route(&mut self, name: &str) -> Arc<RouteMetrics> {
        self.names.routes.named(&[name])
    }

    /// The figures of an upstream.
    pub fn upstream(&mut self, name: &str) -> Arc<UpstreamMetrics> {
        self.names.upstreams.named(&[name])
    }

    /// The figures of an endpoint of an upstream.
    pub fn endpoint(&mut self, upstream: &str, endpoint: &str) -> Arc<EndpointMetrics> {
        self.names.endpoints.named(&[upstream, endpoint])
    }
}

/// Blocks of one kind, by the text of their labels.
#[derive(Debug)]
struct Family<B> {
    shards: usize,
    names_max: usize,
    labels: &'static [&'static str],
    named: BTreeMap<Box<str>, Arc<PerShard<B>>>,
    other_labels: String,
    other: Arc<PerShard<B>>,
    /// Whether unused names were forgotten in this registration already.
    swept: bool,
}

impl<B: Default> Family<B> {
    fn new(shards: usize, names_max: usize, labels: &'static [&'static str]) -> Self {
        let other_labels = label_text(labels, &[OTHER; 2][..labels.len()]);
        let other = Arc::new(PerShard::new(shards));
        Self { shards, names_max, labels, named: BTreeMap::new(), other_labels, other, swept: false }
    }

    fn named(&mut self, values: &[&str]) -> Arc<PerShard<B>> {
        let labels = label_text(self.labels, values);
        if labels == self.other_labels {
            return self.other.clone();
        }
        if let Some(known) = self.named.get(labels.as_str()) {
            return known.clone();
        }
        if self.named.len() >= self.names_max && !self.swept {
            self.swept = true;
            self.named.retain(|_, blocks| Arc::strong_count(blocks) > 1);
        }
        if self.named.len() >= self.names_max {
            return self.other.clone();
        }
        let blocks = Arc::new(PerShard::new(self.shards));
        self.named.insert(labels.into(), blocks.clone());
        blocks
    }

    /// What was used so far, in the order of the labels, `other` last.
    fn series(&self) -> Vec<Series<'_, B>> {
        let named = self.named.iter().map(|(labels, blocks)| (labels.as_ref(), blocks));
        let other = std::iter::once((self.other_labels.as_str(), &self.other));
        named
            .chain(other)
            .map(|(labels, blocks)| Series { labels, blocks: blocks.used().collect() })
            .filter(|series| !series.blocks.is_empty())
            .collect()
    }
}

fn label_text(labels: &[&str], values: &[&str]) -> String {
    let mut text = String::new();
    for (label, value) in labels.iter().zip(values) {
        push_label(label, value, LABEL_BYTES_MAX, &mut text);
    }
    text
}
