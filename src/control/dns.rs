//! Host names of endpoints: resolved before a snapshot is compiled and again as their records expire.
//!
//! A name that cannot be resolved keeps its last good answer. As long as answers differ from what is in force, each
//! look-up asks for a recompilation, which is adopted like any other change. What a refused configuration wants takes
//! nothing away from the one in force.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::tell::tell;
use crate::config::{Config, EndpointAddress};
use crate::snapshot::compile::Resolved;

/// How long one look-up may take; a snapshot waits no longer for a name it does not know.
const LOOKUP_MAX: Duration = Duration::from_secs(5);
/// Look-ups under way at once.
const LOOKUPS_AT_ONCE_MAX: usize = 32;
/// Addresses of one name that are kept.
const ADDRESSES_MAX: usize = 64;

/// How often a name is looked up: by the life of its records, within these bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refresh {
    pub min: Duration,
    pub max: Duration,
}

/// The names of a configuration. A name in several upstreams is refreshed for the most impatient of them.
pub(super) fn names_of(config: &Config) -> BTreeMap<String, Refresh> {
    let mut names = BTreeMap::new();
    for upstream in config.upstreams.iter().filter_map(|object| object.value.as_ref()) {
        let refresh = Refresh { min: upstream.dns.refresh_min.get(), max: upstream.dns.refresh_max.get() };
        for endpoint in upstream.endpoints.iter() {
            let EndpointAddress::Name { host, .. } = &endpoint.address.value else { continue };
            let known = names.entry(host.clone()).or_insert(refresh);
            known.min = known.min.min(refresh.min);
            known.max = known.max.min(refresh.max);
        }
    }
    names
}

/// What an answer brought: addresses, and how long they hold.
pub(super) type Answer = Result<(Vec<IpAddr>, Duration), String>;

/// What is known of each name, and when it is due again.
#[derive(Debug)]
pub(super) struct Table<T> {
    names: BTreeMap<String, Entry<T>>,
    /// What the names of the configuration in force stand for there.
    in_force: Resolved,
}

#[derive(Debug)]
struct Entry<T> {
    refresh: Refresh,
    /// In order, so that a mere rotation is no change; empty while nothing is known.
    addresses: Vec<IpAddr>,
    due: T,
    failing: bool,
}

impl<T: Copy + Ord + std::ops::Add<Duration, Output = T>> Table<T> {
    pub fn new() -> Self {
        Self { names: BTreeMap::new(), in_force: Resolved::new() }
    }

    /// Keeps these names and those in force, and forgets all others; new ones are due at once.
    pub fn want(&mut self, wanted: &BTreeMap<String, Refresh>, now: T) {
        self.names.retain(|name, _| wanted.contains_key(name) || self.in_force.contains_key(name));
        for (name, refresh) in wanted {
            let fresh = || Entry { refresh: *refresh, addresses: Vec::new(), due: now, failing: false };
            self.names.entry(name.clone()).or_insert_with(fresh).refresh = *refresh;
        }
    }

    /// The names to look up now.
    pub fn due(&self, now: T) -> Vec<String> {
        self.names.iter().filter(|(_, entry)| entry.due <= now).map(|(name, _)| name.clone()).collect()
    }

    /// When the next look-up is due.
    pub fn next_due(&self) -> Option<T> {
        self.names.values().map(|entry| entry.due).min()
    }

    /// Remembers that a configuration with these names, compiled with `resolved`, is in force.
    pub fn adopted(&mut self, names: &BTreeMap<String, Refresh>, resolved: &Resolved, now: T) {
        let known = |name: &String| (name.clone(), resolved.get(name).cloned().unwrap_or_default());
        self.in_force = names.keys().map(known).collect();
        self.want(names, now);
    }

    /// Whether a name in force stands for other addresses by now.
    pub fn is_stale(&self) -> bool {
        let differs =
            |(name, used): (&String, &Vec<IpAddr>)| self.names.get(name).is_some_and(|entry| entry.addresses != *used);
        self.in_force.iter().any(differs)
    }

    /// Takes an answer.
    pub fn answered(&mut self, name: &str, answer: Answer, now: T) {
        let Some(entry) = self.names.get_mut(name) else { return };
        match answer {
            Ok((mut addresses, lives)) if !addresses.is_empty() => {
                addresses.sort_unstable();
                addresses.dedup();
                addresses.truncate(ADDRESSES_MAX);
                entry.due = now + lives.clamp(entry.refresh.min, entry.refresh.max);
                entry.failing = false;
                entry.addresses = addresses;
            }
            answer => {
                entry.due = now + entry.refresh.min.max(Duration::from_millis(1));
                if !std::mem::replace(&mut entry.failing, true) {
                    let reason = answer.err().unwrap_or_else(|| "no addresses".into());
                    let kept = if entry.addresses.is_empty() { "it has no endpoints" } else { "the last answer holds" };
                    tell(&format!("`{name}` cannot be resolved: {reason}; {kept}"));
                }
            }
        }
    }

    /// The addresses of every name, as a compilation wants them.
    pub fn resolved(&self) -> Resolved {
        self.names.iter().map(|(name, entry)| (name.clone(), entry.addresses.clone())).collect()
    }
}

/// The resolver and what it found.
pub(super) struct Dns {
    /// None where the system gives no configuration: then only addresses and the hosts file work.
    resolver: Option<TokioResolver>,
    table: Mutex<Table<Instant>>,
    wanted: Notify,
}

impl Dns {
    pub fn new() -> Arc<Self> {
        let resolver = build().inspect_err(|error| tell(&format!("host names cannot be resolved: {error}"))).ok();
        Arc::new(Self { resolver, table: Mutex::new(Table::new()), wanted: Notify::new() })
    }

    /// The addresses of the names of a configuration; unknown ones are looked up first. To be followed by
    /// [`Self::adopted`] or [`Self::refused`].
    pub async fn resolve(&self, names: &BTreeMap<String, Refresh>) -> Resolved {
        self.table().want(names, Instant::now());
        self.look_up_due().await;
        self.table().resolved()
    }

    /// What is known now.
    pub fn known(&self) -> Resolved {
        self.table().resolved()
    }

    /// Remembers that a configuration with these names, compiled with `resolved`, is in force.
    pub fn adopted(&self, names: &BTreeMap<String, Refresh>, resolved: &Resolved) {
        self.table().adopted(names, resolved, Instant::now());
        self.wanted.notify_one();
    }

    /// Forgets what only a configuration wanted that was refused.
    pub fn refused(&self, names_in_force: &BTreeMap<String, Refresh>) {
        self.table().want(names_in_force, Instant::now());
        self.wanted.notify_one();
    }

    /// Looks names up as they are due, for ever; calls `changed` when one in force stands for other addresses.
    pub async fn refresh(self: Arc<Self>, changed: impl Fn()) {
        loop {
            let due = self.table().next_due();
            tokio::select! {
                () = self.wanted.notified() => {}
                () = sleep(due) => self.look_up_due().await,
            }
            if self.table().is_stale() {
                changed();
            }
        }
    }

    /// Looks up all that is due.
    async fn look_up_due(&self) {
        let mut waiting = self.table().due(Instant::now()).into_iter();
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < LOOKUPS_AT_ONCE_MAX
                && let Some(name) = waiting.next()
            {
                let resolver = self.resolver.clone();
                under_way.spawn(async move { (look_up(resolver, &name).await, name) });
            }
            let Some(done) = under_way.join_next().await else { return };
            if let Ok((answer, name)) = done {
                self.table().answered(&name, answer, Instant::now());
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table<Instant>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

fn build() -> Result<TokioResolver, String> {
    let provider = TokioRuntimeProvider::default;
    // Without /etc/resolv.conf there is nobody to ask, but the hosts file still answers.
    let builder = TokioResolver::builder_tokio()
        .unwrap_or_else(|_| TokioResolver::builder_with_config(ResolverConfig::default(), provider()));
    let mut builder = builder;
    let options = builder.options_mut();
    // Both families at once would send half of the traffic to addresses that many networks cannot reach.
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    // The table is the cache; a second one would serve answers beyond `refresh_max`.
    options.cache_size = 0;
    builder.build().map_err(|error| error.to_string())
}

async fn look_up(resolver: Option<TokioResolver>, name: &str) -> Answer {
    let resolver = resolver.ok_or("there is no resolver")?;
    let answer = timeout(LOOKUP_MAX, resolver.lookup_ip(name)).await;
    let found = answer.map_err(|_| format!("no answer within {LOOKUP_MAX:?}"))?.map_err(|error| error.to_string())?;
    let lives = found.valid_until().saturating_duration_since(std::time::Instant::now());
    Ok((found.iter().collect(), lives))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EmptyEnvironment, Source, load};

    const REFRESH: Refresh = Refresh { min: Duration::from_secs(5), max: Duration::from_secs(300) };

    fn table() -> Table<Duration> {
        let mut table = Table::new();
        table.want(&names(&["a"]), Duration::ZERO);
        table
    }

    fn names(names: &[&str]) -> BTreeMap<String, Refresh> {
        names.iter().map(|name| ((*name).to_owned(), REFRESH)).collect()
    }

    /// One whose name is in force with all that is known of it.
    fn table_in_force(answers: &[&str]) -> Table<Duration> {
        let mut table = table();
        table.answered("a", answer(answers, 60), Duration::ZERO);
        let resolved = table.resolved();
        table.adopted(&names(&["a"]), &resolved, Duration::ZERO);
        table
    }

    fn answer(addresses: &[&str], seconds: u64) -> Answer {
        Ok((addresses.iter().map(|a| a.parse().unwrap()).collect(), Duration::from_secs(seconds)))
    }

    #[test]
    fn a_new_name_is_due_at_once_and_then_when_its_records_expire() {
        let mut table = table();
        assert_eq!(table.due(Duration::ZERO), ["a"]);
        table.answered("a", answer(&["10.0.0.1"], 60), Duration::ZERO);
        assert_eq!(table.next_due(), Some(Duration::from_secs(60)));
    }

    #[test]
    fn the_time_between_look_ups_has_bounds() {
        let mut table = table();
        for (lives, due) in [(0, 5), (86_400, 300)] {
            table.answered("a", answer(&["10.0.0.1"], lives), Duration::ZERO);
            assert_eq!(table.next_due(), Some(Duration::from_secs(due)));
        }
    }

    #[test]
    fn a_failure_keeps_the_last_good_answer_and_tries_again_soon() {
        let mut table = table_in_force(&["10.0.0.1"]);
        for bad in [Err("refused".to_owned()), answer(&[], 60)] {
            table.answered("a", bad, Duration::from_secs(60));
            assert!(!table.is_stale());
            assert_eq!(table.resolved()["a"], ["10.0.0.1".parse::<IpAddr>().unwrap()]);
            assert_eq!(table.next_due(), Some(Duration::from_secs(65)));
        }
    }

    #[test]
    fn a_mere_rotation_is_no_change() {
        let mut table = table_in_force(&["10.0.0.1", "10.0.0.2"]);
        table.answered("a", answer(&["10.0.0.2", "10.0.0.1"], 60), Duration::ZERO);
        assert!(!table.is_stale());
        table.answered("a", answer(&["10.0.0.2"], 60), Duration::ZERO);
        assert!(table.is_stale());
    }

    #[test]
    fn a_change_asks_to_be_adopted_until_it_is() {
        let mut table = table_in_force(&["10.0.0.1"]);
        for _ in 0..2 {
            table.answered("a", answer(&["10.0.0.2"], 60), Duration::ZERO);
            assert!(table.is_stale(), "the same answer again does not hide that it is not in force");
        }
        let resolved = table.resolved();
        table.adopted(&names(&["a"]), &resolved, Duration::ZERO);
        assert!(!table.is_stale());
    }

    #[test]
    fn a_configuration_that_is_only_read_takes_no_name_from_the_one_in_force() {
        let mut table = table_in_force(&["10.0.0.1"]);
        table.want(&names(&["b"]), Duration::ZERO);
        assert_eq!(table.due(Duration::from_secs(60)), ["a", "b"]);
        assert_eq!(table.resolved()["a"], ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        table.want(&names(&["a"]), Duration::ZERO);
        assert_eq!(table.due(Duration::from_secs(60)), ["a"], "what was refused is forgotten");
    }

    #[test]
    fn names_nobody_uses_any_more_are_forgotten() {
        let mut table = table_in_force(&["10.0.0.1"]);
        table.adopted(&BTreeMap::new(), &Resolved::new(), Duration::ZERO);
        assert_eq!(table.next_due(), None);
        table.answered("a", answer(&["10.0.0.2"], 60), Duration::ZERO);
        assert!(!table.is_stale() && table.resolved().is_empty());
    }

    #[test]
    fn the_names_of_a_configuration_carry_their_shortest_bounds() {
        let text = "upstreams:\n  a: { endpoints: [\"h.test:1\", \"10.0.0.1:1\"], dns: { refresh_max: 60s } }\n  \
                    b: { endpoints: [\"h.test:2\"], dns: { refresh_min: 1s } }\n";
        let loaded = load(&Source::text("t.yaml", text), &EmptyEnvironment);
        let shortest = Refresh { min: Duration::from_secs(1), max: Duration::from_secs(60) };
        assert_eq!(names_of(&loaded.config), BTreeMap::from([("h.test".to_owned(), shortest)]));
    }
}
