//! All metrics of the process, by name, over all shards.
//!
//! Blocks of a route, an upstream or an endpoint are found by name when a snapshot is prepared, under a lock that only
//! preparing and scraping take; requests use the handles that the snapshot holds. A name keeps its figures from
//! snapshot to snapshot. What a block costs is paid on its first use, on the shard that uses it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::exposition::{CONTENT_TYPE, Series, Zeros, push_label, render};
use super::metrics::{CONTROL, ENDPOINT, ROUTE, SHARD, UPSTREAM, WORKER};
use super::{ControlMetrics, EndpointBlock, RouteBlock, ShardMetrics, UpstreamBlock, WorkerMetrics};

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

    /// The block of one shard, if it was ever used.
    pub fn used_at(&self, shard: usize) -> Option<&B> {
        self.blocks[shard].get().map(Box::as_ref)
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
    workers: Box<[Arc<WorkerMetrics>]>,
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
            workers: (0..shards).map(|_| Arc::default()).collect(),
            names: Mutex::new(names),
        }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// What the shard of this number counts, to be written by that shard only.
    pub fn shard(&self, number: usize) -> Arc<ShardMetrics> {
        self.shards[number].clone()
    }

    /// What the worker of this number counts, to be written by that worker only.
    pub fn worker(&self, number: usize) -> Arc<WorkerMetrics> {
        self.workers[number].clone()
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
        let labels: Vec<_> = (0..self.workers.len()).map(|number| format!("shard=\"{number}\"")).collect();
        let workers = labels.iter().zip(&self.workers);
        let workers: Vec<_> = workers.map(|(labels, block)| Series { labels, blocks: vec![block.as_ref()] }).collect();
        render(WORKER, &workers, Zeros::Write, out);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Reason;
    use std::collections::{HashMap, HashSet};

    fn render(registry: &Registry) -> String {
        let mut out = String::new();
        registry.render(&mut out);
        out
    }

    fn small() -> Registry {
        Registry::new(2, Bounds { routes: 2, upstreams: 2, endpoints: 2 })
    }

    /// The value of a sample by its whole left side.
    fn value(text: &str, sample: &str) -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
    }

    /// Checks the text against the rules of the format and returns every sample by its left side.
    fn check(text: &str) -> HashMap<String, f64> {
        let (mut metric, mut kind, mut seen) = (String::new(), String::new(), HashSet::new());
        let mut samples = HashMap::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                metric = help.split(' ').next().expect("a name").to_owned();
                assert!(seen.insert(metric.clone()), "{metric} stands together");
                assert!(metric.starts_with("tidegate_"));
            } else if let Some(named) = line.strip_prefix("# TYPE ") {
                kind = named.strip_prefix(metric.as_str()).expect("type follows help").trim().to_owned();
                assert_eq!(kind == "counter", metric.ends_with("_total"), "{metric}");
            } else {
                let (left, figure) = line.rsplit_once(' ').expect("a sample and its figure");
                let name = left.split('{').next().expect("a name");
                let suffix = name.strip_prefix(metric.as_str()).expect("samples follow their type");
                let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(suffixes.contains(&suffix), "{left}");
                check_labels(&left[name.len()..]);
                let figure: f64 = figure.parse().expect("a number");
                assert_eq!(samples.insert(left.to_owned(), figure), None, "{left} stands once");
            }
        }
        samples
    }

    /// `{name="value",…}` with only the three known escapes.
    fn check_labels(text: &str) {
        let Some(mut rest) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
            return assert!(text.is_empty(), "{text}");
        };
        while !rest.is_empty() {
            let (name, value) = rest.split_once("=\"").expect("a label");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            let mut characters = value.char_indices();
            let end = loop {
                match characters.next().expect("a closing quote") {
                    (_, '\\') => assert!(matches!(characters.next(), Some((_, '\\' | '"' | 'n')))),
                    (at, '"') => break at,
                    (_, character) => assert_ne!(character, '\n'),
                }
            };
            rest = value[end + 1..].strip_prefix(',').unwrap_or(&value[end + 1..]);
        }
    }

    fn busy() -> Registry {
        let registry = Registry::new(2, Bounds::default());
        let mut names = registry.register();
        let (route, upstream) = (names.route("a\"b\\c\nd"), names.upstream("orders"));
        let endpoint = names.endpoint("orders", "10.0.0.11:8080");
        drop(names);
        for (shard, status) in [(0, 200), (1, 503)] {
            registry.shard(shard).finish(Reason::Ok, 100, 200);
            registry.shard(shard).malformed_requests.increment("bare-cr");
            route.at(shard).finish(status, 120, 100, 200);
            upstream.at(shard).first_byte(70);
            endpoint.at(shard).answered(status);
            endpoint.at(shard).failed(Reason::ConnectRefused);
        }
        registry
    }

    #[test]
    fn the_text_keeps_the_rules_of_the_format() {
        let samples = check(&render(&busy()));
        assert!(samples.len() > 200);
    }

    #[test]
    fn shards_are_added_up() {
        let text = render(&busy());
        assert_eq!(value(&text, "tidegate_exchanges_total{reason=\"ok\"}"), Some(2.0));
        assert_eq!(value(&text, "tidegate_malformed_requests_total{detail=\"bare-cr\"}"), Some(2.0));
        let route = r#"route="a\"b\\c\nd""#;
        assert_eq!(value(&text, &format!("tidegate_requests_total{{{route},status=\"2xx\"}}")), Some(1.0));
        assert_eq!(value(&text, &format!("tidegate_requests_total{{{route},status=\"5xx\"}}")), Some(1.0));
        let endpoint = r#"tidegate_endpoint_failures_total{upstream="orders",endpoint="10.0.0.11:8080""#;
        assert_eq!(value(&text, &format!("{endpoint},reason=\"connect-refused\"}}")), Some(2.0));
    }

    #[test]
    fn buckets_are_cumulative_and_end_at_the_count() {
        let text = render(&busy());
        let bucket = |le: &str| {
            let sample = format!("tidegate_upstream_first_byte_seconds_bucket{{upstream=\"orders\",le=\"{le}\"}}");
            value(&text, &sample).expect("every bound is written")
        };
        assert_eq!([bucket("0.00005"), bucket("0.000075"), bucket("0.0001"), bucket("+Inf")], [0.0, 2.0, 2.0, 2.0]);
        assert_eq!(value(&text, "tidegate_upstream_first_byte_seconds_count{upstream=\"orders\"}"), Some(2.0));
        assert_eq!(value(&text, "tidegate_upstream_first_byte_seconds_sum{upstream=\"orders\"}"), Some(0.00014));
    }

    #[test]
    fn the_generation_is_that_of_the_shard_furthest_behind() {
        let registry = small();
        registry.shard(0).generation.set(7);
        registry.shard(1).generation.set(6);
        assert_eq!(value(&render(&registry), "tidegate_snapshot_generation"), Some(6.0));
    }

    #[test]
    fn workers_are_told_apart() {
        let registry = small();
        registry.worker(1).operations.add(3);
        let text = render(&registry);
        assert_eq!(value(&text, r#"tidegate_shard_operations_total{shard="0"}"#), Some(0.0));
        assert_eq!(value(&text, r#"tidegate_shard_operations_total{shard="1"}"#), Some(3.0));
    }

    #[test]
    fn a_name_keeps_its_figures_from_snapshot_to_snapshot() {
        let registry = small();
        registry.register().route("a").at(0).finish(200, 1, 0, 0);
        registry.register().route("a").at(0).finish(200, 1, 0, 0);
        assert_eq!(value(&render(&registry), r#"tidegate_requests_total{route="a",status="2xx"}"#), Some(2.0));
    }

    #[test]
    fn a_name_that_was_not_used_is_not_written() {
        let registry = small();
        let _route = registry.register().route("quiet");
        assert!(!render(&registry).contains("quiet"));
    }

    #[test]
    fn the_excess_is_counted_as_other() {
        let registry = small();
        let mut names = registry.register();
        let held: Vec<_> = ["a", "b", "c", "d"].map(|name| names.route(name)).into();
        drop(names);
        held.iter().for_each(|route| route.at(0).finish(204, 1, 0, 0));
        let text = render(&registry);
        assert_eq!(value(&text, r#"tidegate_requests_total{route="other",status="2xx"}"#), Some(2.0));
        assert_eq!(value(&text, r#"tidegate_requests_total{route="b",status="2xx"}"#), Some(1.0));
    }

    #[test]
    fn times_are_written_in_seconds_and_the_driver_once_it_is_known() {
        let registry = small();
        assert!(!render(&registry).contains("tidegate_driver_info{"));
        registry.worker(1).lag_nanos.add(1_250_000_000);
        registry.worker(1).lag_nanos_max.raise(50_000_000);
        registry.control().driver.get_or_init(|| "epoll".to_owned());
        let samples = check(&render(&registry));
        assert_eq!(samples["tidegate_shard_lag_seconds_total{shard=\"1\"}"], 1.25);
        assert_eq!(samples["tidegate_shard_lag_max_seconds{shard=\"1\"}"], 0.05);
        assert_eq!(samples["tidegate_driver_info{driver=\"epoll\"}"], 1.0);
    }

    #[test]
    fn names_that_no_snapshot_holds_make_room_for_new_ones() {
        let registry = small();
        let held = registry.register().route("kept");
        held.at(0).finish(200, 1, 0, 0);
        registry.register().route("gone").at(0).finish(200, 1, 0, 0);
        registry.register().route("new").at(0).finish(200, 1, 0, 0);
        let text = render(&registry);
        assert!(text.contains("\"kept\"") && text.contains("\"new\"") && !text.contains("\"gone\""));
    }

    #[test]
    fn a_million_label_values_take_bounded_memory_and_a_bounded_scrape() {
        let bounds = Bounds { routes: 100, ..Bounds::default() };
        let registry = Registry::new(1, bounds);
        let mut names = registry.register();
        let held: Vec<_> = (0..bounds.routes).map(|n| names.route(&format!("held-{n}"))).collect();
        held.iter().for_each(|route| route.at(0).finish(200, 1, 0, 0));
        for n in 0..1_000_000 {
            names.route(&format!("route-{n}")).at(0).finish(200, 1, 0, 0);
        }
        assert_eq!(names.names.routes.named.len(), bounds.routes);
        drop(names);
        let text = render(&registry);
        assert_eq!(value(&text, r#"tidegate_requests_total{route="other",status="2xx"}"#), Some(1_000_000.0));
        assert!(text.len() < 1024 * 1024, "{}", text.len());
    }

    #[test]
    fn an_unused_route_costs_little() {
        assert!(size_of::<OnceLock<Box<RouteBlock>>>() <= 16, "per shard");
        assert!(size_of::<RouteBlock>() <= 512, "once used");
    }
}
