//! `routes`: which requests, and what happens to them.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Names, gateway, listener};
use crate::base::RouteId;
use crate::config::{self, Bounded, EncodedSlash, Finding, Object, PathMatch, Route, Spanned, Text, ValueMatch};
use crate::http::header::HeaderName;
use crate::http::websocket::origins::Origins;
use crate::observe::{EscapedText, Registration};
use crate::policy::Policies;
use crate::policy::transform::HeaderEdits;
use crate::route::{
    FieldPredicate, FullRegex, HostPattern, Matcher, PathPattern, PatternError, QueryPredicate, RouteSpec, Template,
    parse_method,
};
use crate::snapshot::{
    Action, CHALLENGES, FixedResponse, Forward, Location, Redirect, RouteLimits, RoutePlan, RouteTimeouts,
    WebsocketPlan,
};
use crate::upstream::RetryPlan;

/// The pattern of a route that names no path.
const ANY_PATH: &str = "/{*rest}";

/// Where the findings of one route go.
struct Report<'r> {
    object: &'r Object<Route>,
    findings: &'r mut Vec<Finding>,
}

impl Report<'_> {
    /// A pattern that is wrong: said once, at its place in the text, `None` from then on.
    fn pattern<T>(&mut self, key: &str, text: &Text, parsed: Result<T, PatternError>) -> Option<T> {
        parsed.map_err(|error| self.refuse(key, text.place_of(error.at), text.secret, error)).ok()
    }

    fn refuse(&mut self, key: &str, span: config::Span, secret: bool, error: PatternError) {
        // Only what is written here is sure to repeat nothing of the text.
        let told = |said: Cow<'static, str>, instead: &'static str| match said {
            Cow::Owned(_) if secret => instead.into(),
            said => said,
        };
        let problem = told(error.problem, "what `${…}` holds cannot stand here");
        let hint = told(error.hint, "see what the variable or the file holds");
        self.findings.push(self.object.error("bad-pattern", span, key, problem).hint(hint));
    }
}

/// What the route matches.
pub(super) fn spec(
    object: &Object<Route>,
    model: &Route,
    id: RouteId,
    findings: &mut Vec<Finding>,
) -> Option<RouteSpec> {
    let report = &mut Report { object, findings };
    let matching = &model.matching;
    let hosts = all(matching.host.iter(), |host| report.pattern("match.host", host, HostPattern::parse(host)));
    let path = path(model, report);
    let methods = all(matching.method.iter(), |method| {
        parse_method(method.as_str())
            .map_err(|error| report.refuse("match.method", method.span, method.secret, error))
            .ok()
    });
    let headers = all(matching.headers.iter(), |(name, value)| {
        let matcher = matcher(value, "match.headers", report)?;
        Some(FieldPredicate { name: HeaderName::parse(name.as_str())?, matcher })
    });
    let queries = all(matching.query.iter(), |(name, value)| {
        let matcher = matcher(value, "match.query", report)?;
        Some(QueryPredicate { name: name.as_str().into(), matcher })
    });
    Some(RouteSpec { id, hosts: hosts?, path: path?, methods: methods?, headers: headers?, queries: queries? })
}

/// Every item compiled, or nothing; all of them are looked at in any case.
fn all<T, U>(items: impl Iterator<Item = T>, compile: impl FnMut(T) -> Option<U>) -> Option<Vec<U>> {
    let compiled: Vec<Option<U>> = items.map(compile).collect();
    compiled.into_iter().collect()
}

fn path(model: &Route, report: &mut Report<'_>) -> Option<PathPattern> {
    let Some(path) = &model.matching.path else { return PathPattern::parse(ANY_PATH).ok() };
    let (text, parsed) = match &path.value {
        PathMatch::Pattern(text) => (text, PathPattern::parse(text)),
        PathMatch::Exact(text) => (text, PathPattern::exact(text)),
        PathMatch::Prefix(text) => (text, PathPattern::prefix(text)),
        PathMatch::Regex(text) => (text, PathPattern::regex(text)),
    };
    report.pattern("match.path", text, parsed)
}

fn matcher(value: &Spanned<ValueMatch>, key: &str, report: &mut Report<'_>) -> Option<Matcher> {
    Some(match &value.value {
        ValueMatch::Exact(text) => Matcher::Exact(text.as_bytes().into()),
        ValueMatch::Regex(text) => Matcher::Regex(report.pattern(key, text, FullRegex::parse(text))?),
        ValueMatch::Present(true) => Matcher::Present,
        ValueMatch::Present(false) => Matcher::Absent,
    })
}

/// What the route does.
pub(super) fn plan(
    object: &Object<Route>,
    model: &Route,
    names: &Names<'_>,
    registration: &mut Registration<'_>,
    findings: &mut Vec<Finding>,
) -> Option<RoutePlan> {
    // A broken path is reported with the match.
    let pattern = path(model, &mut Report { object, findings: &mut Vec::new() });
    let action = action(model, pattern.as_ref(), names, &mut Report { object, findings });
    Some(RoutePlan {
        name: object.name.as_str().into(),
        label: EscapedText::new(&object.name),
        action: action?,
        policies: Policies {
            request_headers: edits(&model.request.headers),
            response_headers: edits(&model.response.headers),
            tells_certificate: model.to.as_ref().is_some_and(|to| to.client_certificate.is_some()),
        },
        limits: limits(&model.limits),
        timeouts: timeouts(&model.timeouts),
        answers_challenges: model.matching.path.as_ref().is_some_and(|path| path.value.is_within(CHALLENGES)),
        grpc_web: model.grpc_web,
        encoded_slash: model.encoded_slash == EncodedSlash::Keep,
        errors: gateway::errors(&model.errors),
        metrics: registration.route(&object.name),
    })
}

/// What else is wrong with a route that cannot be used.
pub(super) fn judge(object: &Object<Route>, names: &Names<'_>, findings: &mut Vec<Finding>) {
    let Some(remnant) = object.remnant.as_deref() else { return };
    let _ = spec(object, remnant, RouteId::at(0), findings);
    // A path that is not there may be what could not be read.
    let written = remnant.matching.path.as_ref();
    let pattern = written.and_then(|_| path(remnant, &mut Report { object, findings: &mut Vec::new() }));
    let _ = action(remnant, pattern.as_ref(), names, &mut Report { object, findings });
}

/// Without a `pattern` the templates, which draw on it, cannot be judged.
fn action(model: &Route, pattern: Option<&PathPattern>, names: &Names<'_>, report: &mut Report<'_>) -> Option<Action> {
    if let Some(to) = &model.to {
        return forward(model, to, pattern, names, report).map(Action::Forward);
    }
    if let Some(model) = &model.redirect {
        return redirect(model, pattern?, report).map(Action::Redirect);
    }
    model.respond.as_ref().map(|model| Action::Respond(respond(model)))
}

fn forward(
    model: &Route,
    to: &config::To,
    pattern: Option<&PathPattern>,
    names: &Names<'_>,
    report: &mut Report<'_>,
) -> Option<Forward> {
    let upstream = names.ids.get(to.upstream.as_str()).copied();
    if upstream.is_none() && !names.lost {
        report.findings.push(unknown_upstream(&to.upstream, names, report.object, "to.upstream"));
    }
    let pattern = pattern?;
    let path = template(to.path.as_ref(), "to.path", pattern, Template::path, report);
    let host = template(to.host.as_ref(), "to.host", pattern, Template::host, report);
    Some(Forward {
        upstream: upstream??,
        path: path?,
        host: host?,
        client_certificate: to.client_certificate.as_ref().map(|wished| wished.value),
        retry: model.retry.map(|retry| RetryPlan { attempts: retry.attempts.get() as u8, non_idempotent: false }),
        upgrade: model.upgrade.iter().map(|protocol| protocol.as_str().to_ascii_lowercase().into()).collect(),
        websocket: websocket(&model.websocket.as_ref().map(|model| model.value.clone()).unwrap_or_default()),
    })
}

fn websocket(model: &config::Websocket) -> WebsocketPlan {
    WebsocketPlan {
        idle: listener::unbounded(model.idle_timeout()),
        lifetime: model.lifetime.map(listener::unbounded),
        origins: Origins::new(model.origins.iter().map(|origin| origin.as_str())),
    }
}

pub(super) fn unknown_upstream<T>(name: &Text, names: &Names<'_>, object: &Object<T>, key: &str) -> Finding {
    let finding = object.error("unknown-reference", name.span, key, format!("there is no upstream `{}`", name.shown()));
    let known = names.ids.keys().copied();
    match names.nearest(name) {
        Some(similar) => finding.hint(format!("did you mean `{similar}`?")),
        None if names.ids.is_empty() => finding.hint("declare it under `upstreams`"),
        None => {
            let mut known: Vec<&str> = known.take(8).collect();
            known.sort_unstable();
            finding.hint(format!("declared are: {}", known.join(", ")))
        }
    }
}

type Compile = fn(&str, &PathPattern) -> Result<Template, PatternError>;

/// The template, if one is written; the outer `None` is a broken one.
fn template(
    text: Option<&Text>,
    key: &str,
    pattern: &PathPattern,
    compile: Compile,
    report: &mut Report<'_>,
) -> Option<Option<Template>> {
    let Some(text) = text else { return Some(None) };
    report.pattern(key, text, compile(text, pattern)).map(Some)
}

fn redirect(model: &config::Redirect, pattern: &PathPattern, report: &mut Report<'_>) -> Option<Redirect> {
    let status = model.status.get();
    if let Some(to) = &model.to {
        let to = report.pattern("redirect.to", to, Template::location(to, pattern))?;
        return Some(Redirect { status, location: Location::To(to) });
    }
    let host = template(model.host.as_ref(), "redirect.host", pattern, Template::host, report);
    let path = template(model.path.as_ref(), "redirect.path", pattern, Template::path, report);
    let scheme = model.scheme.as_ref().map(|scheme| match scheme.value {
        config::Scheme::Http => "http",
        config::Scheme::Https => "https",
    });
    let port = model.port.map(|port| port.get() as u16);
    Some(Redirect { status, location: Location::Parts { scheme, host: host?, port, path: path? } })
}

fn respond(model: &config::Respond) -> FixedResponse {
    let body: Arc<[u8]> = model.body.as_ref().map_or(&b""[..], |body| body.as_bytes()).into();
    let mut headers = Vec::new();
    let content_type = model.content_type.as_ref().map_or("text/plain; charset=utf-8", |value| value.as_str());
    let names_type = model.headers.iter().any(|(name, _)| name.as_str() == "content-type");
    if !names_type && (!body.is_empty() || model.content_type.is_some()) {
        headers.extend(HeaderName::parse("content-type").map(|name| (name, content_type.into())));
    }
    for (name, value) in model.headers.iter() {
        headers.extend(HeaderName::parse(name.as_str()).map(|name| (name, value.as_str().into())));
    }
    FixedResponse { status: model.status.get() as u16, headers, body }
}

/// The edits, if there are any.
fn edits(model: &config::HeaderEdits) -> Option<HeaderEdits> {
    compile_edits(model, |value| value.as_str())
}

/// The same, without the values that must not be shown.
pub fn shown_edits(model: &config::HeaderEdits) -> Option<HeaderEdits> {
    compile_edits(model, |value| if value.secret { config::HIDDEN } else { value.as_str() })
}

/// Names and values were checked when they were read.
fn compile_edits(model: &config::HeaderEdits, text: fn(&Spanned<config::FieldValue>) -> &str) -> Option<HeaderEdits> {
    let mut edits = HeaderEdits::default();
    for name in model.remove.iter() {
        let _ = edits.remove(name.as_str());
    }
    for (name, value) in model.set.iter() {
        let _ = edits.set(name.as_str(), text(value));
    }
    for (name, values) in model.add.iter() {
        for value in values.iter() {
            let _ = edits.add(name.as_str(), text(value));
        }
    }
    (!edits.is_empty()).then_some(edits)
}

fn limits(model: &config::RouteLimits) -> RouteLimits {
    RouteLimits {
        body_bytes: model.body.map(listener::body_bytes),
        body_rate_min: model.body_rate.map(listener::rate),
        body_grace: model.body_rate_after.map(|grace| grace.get()),
        interim_responses: model.interim_responses.map(|count| count.get()),
    }
}

fn timeouts(model: &config::RouteTimeouts) -> RouteTimeouts {
    let bounded = |timeout: Option<Bounded<config::Timeout>>| timeout.map(listener::unbounded);
    RouteTimeouts {
        idle: model.idle.map(|timeout| timeout.get()),
        exchange: model.exchange.map(|timeout| timeout.get()),
        total: bounded(model.total),
        lifetime: bounded(model.lifetime),
    }
}
