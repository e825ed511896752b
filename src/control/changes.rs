//! What a new snapshot changes in the one before, counted object by object.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::config::Config;
use crate::snapshot::Snapshot;

/// Objects of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Delta {
    pub added: usize,
    pub changed: usize,
    pub removed: usize,
    pub unchanged: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Changes {
    pub listeners: Delta,
    pub upstreams: Delta,
    pub routes: Delta,
}

impl Changes {
    /// An object that both snapshots share, or that was compiled to the same, is unchanged.
    pub fn between(before: &Snapshot, after: &Snapshot) -> Self {
        Self {
            listeners: Delta::between(&before.listeners, &after.listeners, |plan| &plan.name, |a, b| a == b),
            upstreams: Delta::between(
                &before.upstreams,
                &after.upstreams,
                |entry| &entry.plan.name,
                |a, b| Arc::ptr_eq(&a.plan, &b.plan),
            ),
            routes: Delta::between(&before.routes, &after.routes, |plan| &plan.name, Arc::ptr_eq),
        }
    }
}

impl Delta {
    fn between<T>(before: &[T], after: &[T], name: fn(&T) -> &Arc<str>, same: impl Fn(&T, &T) -> bool) -> Self {
        let mut known: HashMap<&str, &T, ahash::RandomState> =
            before.iter().map(|object| (&**name(object), object)).collect();
        let mut delta = Self::default();
        for object in after {
            match known.remove(&**name(object)) {
                None => delta.added += 1,
                Some(old) if same(old, object) => delta.unchanged += 1,
                Some(_) => delta.changed += 1,
            }
        }
        delta.removed = known.len();
        delta
    }

    fn is_empty(&self) -> bool {
        self.added + self.changed + self.removed == 0
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("listeners", self.listeners), ("upstreams", self.upstreams), ("routes", self.routes)];
        let mut separator = "";
        for (kind, delta) in kinds.iter().filter(|(_, delta)| !delta.is_empty()) {
            write!(f, "{separator}{kind} +{} ~{} -{} ={}", delta.added, delta.changed, delta.removed, delta.unchanged)?;
            separator = ", ";
        }
        if separator.is_empty() { f.write_str("nothing changed") } else { Ok(()) }
    }
}

/// Keys that only a start reads and that differ.
pub(super) fn needs_restart(before: &Config, after: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    if let (Some(before), Some(after)) = (&before.gateway.value, &after.gateway.value) {
        keys.extend((before.workers != after.workers).then_some("gateway.workers"));
        keys.extend((before.driver != after.driver).then_some("gateway.driver"));
    }
    if let (Some(before), Some(after)) = (&before.admin.value, &after.admin.value) {
        keys.extend((before.bind != after.bind).then_some("admin.bind"));
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(before: &[(&str, u8)], after: &[(&str, u8)]) -> Delta {
        let objects = |list: &[(&str, u8)]| list.iter().map(|(name, value)| (Arc::from(*name), *value)).collect();
        let (before, after): (Vec<(Arc<str>, u8)>, Vec<(Arc<str>, u8)>) = (objects(before), objects(after));
        Delta::between(&before, &after, |object| &object.0, |a, b| a.1 == b.1)
    }

    #[test]
    fn objects_are_compared_by_name() {
        let counted = delta(&[("a", 1), ("b", 1), ("c", 1)], &[("c", 1), ("a", 2), ("d", 1)]);
        assert_eq!(counted, Delta { added: 1, changed: 1, removed: 1, unchanged: 1 });
    }

    #[test]
    fn an_unchanged_configuration_says_so() {
        let same = Changes { routes: delta(&[("a", 1)], &[("a", 1)]), ..Changes::default() };
        assert_eq!(same.to_string(), "nothing changed");
    }

    #[test]
    fn only_kinds_that_changed_are_told() {
        let changes = Changes { routes: delta(&[], &[("a", 1)]), ..Changes::default() };
        assert_eq!(changes.to_string(), "routes +1 ~0 -0 =0");
    }
}
