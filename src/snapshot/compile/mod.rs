//! Compiles a configuration, object by object, into a snapshot.
//!
//! Each object yields its plan and its own findings; whether a broken one refuses the whole change is decided at one
//! place, in [`Compiled::adoptable`]. What has not changed since the snapshot before is shared with it.

mod client_auth;
mod gateway;
mod listener;
mod passthrough;
mod route;
#[cfg(test)]
mod tests;
mod tls;
mod upstream;

pub use route::shown_edits;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ahash::AHashMap;

use super::{Action, RoutePlan, Snapshot, UpstreamEntry};
use crate::base::{RouteId, UpstreamId};
use crate::config::{AccessLog, Config, Finding, LogTarget, Object, Severity, Text, nearest};
use crate::observe::{Field, FieldProblem, LineFormat, Registry};
use crate::route::{RouteSpec, Table};
use crate::upstream::Speaks;

/// What a host name of an endpoint resolves to, as far as is known.
pub type Resolved = BTreeMap<String, Vec<IpAddr>>;

/// What a compilation needs beside the configuration.
pub struct World<'w> {
    /// The snapshot in force.
    pub previous: Option<&'w Snapshot>,
    pub registry: &'w Registry,
    pub resolved: &'w Resolved,
    /// Names this process in `Via` where the operator chose no name.
    pub via_seed: u32,
}

/// What a compilation brought.
pub struct Compiled {
    pub snapshot: Snapshot,
    /// What only shows when the objects are put together; the objects' own findings stand with them.
    pub findings: Vec<Finding>,
}

impl Compiled {
    /// Whether the snapshot may be adopted: any error refuses the whole change.
    pub fn adoptable(&self, config: &Config) -> bool {
        let is_error = |finding: &Finding| finding.severity == Severity::Error;
        !self.findings.iter().any(is_error) && !config.findings().into_iter().any(is_error)
    }
}

/// Compiles what can be compiled; a broken object is left out and has said why.
pub fn compile(config: &Arc<Config>, world: &World<'_>) -> Compiled {
    let mut findings = Vec::new();
    let gateway = gateway::compile(&config.gateway, world);
    let mut of_upstreams = Vec::new();
    let upstreams = upstream::compile_all(config, world, &mut of_upstreams);
    let names = Names::of(config, &upstreams);
    let listeners = listener::compile_all(config, &names, world, &mut findings);
    findings.append(&mut of_upstreams);
    let (routes, specs) = compile_routes(config, world, &names, &mut findings);
    let table = Table::build(specs);
    report_shadowed(config, &routes, &table, &mut findings);
    client_auth::judge_forwarding(config, &mut findings);
    report_unspoken(config, &routes, &upstreams, &mut findings);
    let log_format = log_format(&config.access_log, &mut findings);
    let generation = world.previous.map_or(1, |previous| previous.generation + 1);
    let snapshot =
        Snapshot { generation, gateway, listeners, upstreams, routes, table, log_format, config: config.clone() };
    Compiled { snapshot, findings }
}

/// Names compared to say what was probably meant: else the work is the product of what is unknown and what is declared.
const COMPARISONS_MAX: usize = 200_000;

/// The upstreams that routes may name.
struct Names<'n> {
    /// Without an id those that cannot be used and have said why.
    ids: AHashMap<&'n str, Option<UpstreamId>>,
    /// Whether others may stand where nothing could be read.
    lost: bool,
    /// Comparisons left for "did you mean".
    comparisons: Cell<usize>,
}

impl<'n> Names<'n> {
    fn of(config: &'n Config, upstreams: &'n [UpstreamEntry]) -> Self {
        let declared = config.upstreams.iter().map(|object| (object.name.as_str(), None));
        let usable = upstreams.iter().enumerate().map(|(at, entry)| (&*entry.plan.name, Some(UpstreamId::at(at))));
        let comparisons = Cell::new(COMPARISONS_MAX);
        Self { ids: declared.chain(usable).collect(), lost: config.upstreams_lost, comparisons }
    }

    /// The upstream that was probably meant.
    fn nearest(&self, name: &Text) -> Option<&'n str> {
        // What came from outside is not described by what it resembles.
        let left = self.comparisons.get().checked_sub(self.ids.len()).filter(|_| !name.secret)?;
        self.comparisons.set(left);
        nearest(name, self.ids.keys().copied())
    }
}

fn compile_routes(
    config: &Config,
    world: &World<'_>,
    names: &Names<'_>,
    findings: &mut Vec<Finding>,
) -> (Vec<Arc<RoutePlan>>, Vec<RouteSpec>) {
    let before = world.previous.map(Before::of);
    let mut registration = world.registry.register();
    let mut routes = Vec::with_capacity(config.routes.len());
    let mut specs = Vec::with_capacity(config.routes.len());
    for object in &config.routes {
        let Some(model) = &object.value else {
            route::judge(object, names, findings);
            continue;
        };
        let id = RouteId::at(routes.len());
        let unchanged = before.as_ref().and_then(|before| before.same(&object.name, model, names));
        let mut own = Vec::new();
        let plan = match unchanged {
            Some(plan) => Some(plan),
            None => route::plan(object, model, names, &mut registration, &mut own).map(Arc::new),
        };
        let spec = route::spec(object, model, id, &mut own);
        findings.append(&mut own);
        if let (Some(plan), Some(spec)) = (plan, spec) {
            routes.push(plan);
            specs.push(spec);
        }
    }
    (routes, specs)
}

/// The routes of the snapshot in force, by name.
struct Before<'b> {
    routes: AHashMap<&'b str, (&'b crate::config::Route, &'b Arc<RoutePlan>)>,
    upstreams: Vec<&'b str>,
}

impl<'b> Before<'b> {
    fn of(snapshot: &'b Snapshot) -> Self {
        let models: AHashMap<&str, &crate::config::Route> = snapshot
            .config
            .routes
            .iter()
            .filter_map(|object| Some((object.name.as_str(), object.value.as_ref()?)))
            .collect();
        let pair = |plan: &'b Arc<RoutePlan>| Some((&*plan.name, (*models.get(&*plan.name)?, plan)));
        Self {
            routes: snapshot.routes.iter().filter_map(pair).collect(),
            upstreams: snapshot.upstreams.iter().map(|entry| &*entry.plan.name).collect(),
        }
    }

    /// The plan of an unchanged route whose upstream has kept its place.
    fn same(&self, name: &str, model: &crate::config::Route, names: &Names<'_>) -> Option<Arc<RoutePlan>> {
        let (before, plan) = self.routes.get(name)?;
        let kept = match &plan.action {
            super::Action::Forward(forward) => {
                let upstream = self.upstreams.get(forward.upstream.index())?;
                names.ids.get(upstream) == Some(&Some(forward.upstream))
            }
            _ => true,
        };
        (kept && *before == model).then(|| Arc::clone(plan))
    }
}

/// A route that can never be reached is a mistake, though not one that harms: both are named.
fn report_shadowed(config: &Config, routes: &[Arc<RoutePlan>], table: &Table, findings: &mut Vec<Finding>) {
    let by_name: AHashMap<&str, &Object<crate::config::Route>> = if table.shadowed().is_empty() {
        AHashMap::new()
    } else {
        config.routes.iter().map(|o| (o.name.as_str(), o)).collect()
    };
    for pair in table.shadowed() {
        let (earlier, later) = (&*routes[pair.earlier.index()].name, &*routes[pair.later.index()].name);
        let (Some(first), Some(second)) = (by_name.get(earlier), by_name.get(later)) else { continue };
        let problem = format!("route `{later}` is never reached: `{earlier}` matches the same requests");
        findings.push(
            Finding::warning("shadowed-route", second.span, second.path.clone(), problem)
                .hint("remove one of the two, or let them differ in a predicate")
                .related(first.span, "the route that answers"),
        );
    }
}

/// A bridge to gRPC leads nowhere where the upstream does not speak HTTP/2.
fn report_unspoken(
    config: &Config,
    routes: &[Arc<RoutePlan>],
    upstreams: &[UpstreamEntry],
    findings: &mut Vec<Finding>,
) {
    for route in routes.iter().filter(|route| route.grpc_web) {
        let Action::Forward(forward) = &route.action else { continue };
        let upstream = &upstreams[forward.upstream.index()].plan;
        if upstream.speaks != Speaks::Http1 {
            continue;
        }
        if let Some(object) = config.routes.iter().find(|object| *object.name == *route.name) {
            let problem = format!("calls of gRPC need HTTP/2, which the upstream `{}` does not speak", upstream.name);
            let hint = "write `protocol: h2` on the upstream, or remove the key";
            findings.push(object.error("needs-http2", object.span, "grpc_web", problem).hint(hint));
        }
    }
}

fn log_format(object: &Object<AccessLog>, findings: &mut Vec<Finding>) -> Option<Arc<LineFormat>> {
    let model = object.judged()?;
    if matches!(model.to.value, LogTarget::Off) {
        return None;
    }
    let Some(fields) = &model.fields else { return Some(Arc::default()) };
    let names: Vec<&str> = fields.iter().map(|field| field.as_str()).collect();
    match LineFormat::compile(&names) {
        Ok(format) => Some(Arc::new(format)),
        Err(errors) => {
            findings.extend(errors.iter().map(|error| field_finding(object, &fields[error.index], error.problem)));
            None
        }
    }
}

fn field_finding(object: &Object<AccessLog>, name: &Text, problem: FieldProblem) -> Finding {
    let finding = object.error("unknown-field", name.span, "fields", format!("`{}`: {problem}", name.shown()));
    let known = || Field::ALL.iter().map(|field| field.word());
    let similar = if name.secret { None } else { nearest(name, known()) };
    match (problem, similar) {
        (FieldProblem::Repeated, _) => finding.hint("remove one of the two"),
        (FieldProblem::Unknown, Some(similar)) => finding.hint(format!("did you mean `{similar}`?")),
        (FieldProblem::Unknown, None) => {
            finding.hint(format!("possible are: {}", known().collect::<Vec<_>>().join(", ")))
        }
    }
}
