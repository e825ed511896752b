//! Which connections of TLS are passed on, and to whom, by the name they ask for.

use ahash::AHashMap;

use crate::base::UpstreamId;
use crate::route::HostPattern;

/// The names of one listener that are passed on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PassthroughPlan {
    exact: AHashMap<Box<str>, UpstreamId>,
    /// By what stands behind `*.`.
    below: AHashMap<Box<str>, UpstreamId>,
    /// Who gets every other name, and no name.
    rest: Option<UpstreamId>,
}

impl PassthroughPlan {
    /// Adds a name; `false` where it is there already.
    pub fn add(&mut self, pattern: &HostPattern, upstream: UpstreamId) -> bool {
        let before = match pattern {
            HostPattern::Exact(name) => self.exact.insert(name.clone(), upstream),
            HostPattern::Wildcard(base) => self.below.insert(base.clone(), upstream),
        };
        before.is_none()
    }

    /// Sets who gets the rest; `false` where that is said already.
    pub fn add_rest(&mut self, upstream: UpstreamId) -> bool {
        self.rest.replace(upstream).is_none()
    }

    /// Whether every connection is passed on.
    pub fn takes_all(&self) -> bool {
        self.rest.is_some()
    }

    /// Who gets a client that asks for `name`, in lower case: of several patterns the longest decides.
    pub fn upstream(&self, name: Option<&str>) -> Option<UpstreamId> {
        let Some(name) = name else { return self.rest };
        let name = name.strip_suffix('.').unwrap_or(name);
        let parents = name.match_indices('.').filter(|(at, _)| *at > 0).map(|(at, _)| &name[at + 1..]);
        let found = self.exact.get(name).or_else(|| parents.into_iter().find_map(|base| self.below.get(base)));
        found.copied().or(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pattern_decides_and_the_rest_comes_last() {
        let mut plan = PassthroughPlan::default();
        for (number, pattern) in ["a.test", "*.a.test", "*.b.a.test", "*.test"].into_iter().enumerate() {
            assert!(plan.add(&HostPattern::parse(pattern).unwrap(), UpstreamId::at(number)));
        }
        let of = |plan: &PassthroughPlan, name| plan.upstream(name).map(UpstreamId::index);
        for (name, upstream) in [
            ("a.test", Some(0)),
            ("a.test.", Some(0)),
            ("x.a.test", Some(1)),
            ("b.a.test", Some(1)),
            ("x.y.b.a.test", Some(2)),
            ("c.test", Some(3)),
            ("test", None),
            ("other", None),
        ] {
            assert_eq!(of(&plan, Some(name)), upstream, "{name}");
        }
        assert_eq!(of(&plan, None), None);
        assert!(plan.add_rest(UpstreamId::at(4)) && !plan.add_rest(UpstreamId::at(5)));
        assert!(!plan.add(&HostPattern::parse("*.TEST").unwrap(), UpstreamId::at(6)));
        let mut plan = PassthroughPlan::default();
        plan.add_rest(UpstreamId::at(4));
        assert_eq!((of(&plan, Some("other")), of(&plan, None)), (Some(4), Some(4)));
    }
}
