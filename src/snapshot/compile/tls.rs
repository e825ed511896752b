//! `tls` of listeners and upstreams: files become certificates, keys and trust, and what is wrong with them is said.

use std::sync::Arc;
use std::time::Duration;

use super::World;
use crate::base::UnixTime;
use crate::config::{Certificate, Finding, Listener, ListenerTls, Object, PemFile, TlsVersion, Upstream, UpstreamTls};
use crate::snapshot::tls::{ClientTls, Identity, Problem, ServerSettings, ServerTls, Trust};

/// A certificate that ends sooner is worth a word.
const EXPIRY_NOTICE: Duration = Duration::from_secs(14 * 24 * 3600);

/// How a listener speaks TLS; that of the snapshot before where nothing has changed.
pub(super) fn server(
    object: &Object<Listener>,
    model: &ListenerTls,
    world: &World<'_>,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> Option<Arc<ServerTls>> {
    let before = world.previous.and_then(|previous| {
        let listener = previous.listener_named(&object.name)?;
        let model = previous.config.listeners.iter().find(|other| other.name == object.name)?;
        Some((model.value.as_ref()?.tls.as_ref()?, listener.tls.as_ref()?))
    });
    let tls = match before {
        Some((same, tls)) if same == model => Arc::clone(tls),
        before => Arc::new(anew(object, model, before.map(|(_, tls)| &**tls), findings)?),
    };
    for (certificate, identity) in model.certificates.iter().zip(tls.identities()) {
        findings.extend(judged(object, certificate, identity, now));
    }
    Some(tls)
}

fn anew(
    object: &Object<Listener>,
    model: &ListenerTls,
    previous: Option<&ServerTls>,
    findings: &mut Vec<Finding>,
) -> Option<ServerTls> {
    let mut identities = Vec::with_capacity(model.certificates.0.len());
    for (at, certificate) in model.certificates.iter().enumerate() {
        match Identity::parse(certificate.chain.bytes(), certificate.key.bytes()) {
            Ok(identity) => identities.push(identity),
            Err(problem) => findings.push(broken(object, at, certificate, problem)),
        }
    }
    if identities.len() < model.certificates.0.len() {
        return None;
    }
    for (at, identity) in identities.iter().enumerate() {
        findings.extend(unreachable(object, model, at, identity));
    }
    let settings = ServerSettings { newest_only: model.oldest() == TlsVersion::V13, strict_sni: model.strict_sni };
    let tls = ServerTls::new(identities, settings, previous);
    tls.inspect_err(|error| {
        let problem = format!("TLS cannot be set up: {error}");
        findings.push(object.error("tls", object.span, "tls", problem));
    })
    .ok()
}

fn broken(object: &Object<Listener>, at: usize, certificate: &Certificate, problem: Problem) -> Finding {
    let (part, file) =
        if problem.is_about_the_key() { ("key", &certificate.key) } else { ("chain", &certificate.chain) };
    let key = format!("tls.certificates[{at}].{part}");
    object.error(problem.code(), file.path.span, &key, said(file, problem)).hint(problem.hint())
}

fn said(file: &PemFile, problem: Problem) -> String {
    format!("{}: {problem}", file.path.shown())
}

/// A certificate without a name is never shown, unless it is the default.
fn unreachable(object: &Object<Listener>, model: &ListenerTls, at: usize, identity: &Identity) -> Option<Finding> {
    if !identity.name().is_empty() || (at == 0 && !model.strict_sni) {
        return None;
    }
    let chain = &model.certificates.0[at].chain;
    let problem = format!("{}: the certificate has no DNS name, so that no client ever gets it", chain.path.shown());
    Some(
        warning(object, chain, "nameless-certificate", problem)
            .hint("names belong into subjectAltName; or put it first"),
    )
}

fn warning(object: &Object<Listener>, chain: &PemFile, code: &'static str, problem: String) -> Finding {
    Finding::warning(code, chain.path.span, crate::config::join(&object.path, "tls.certificates"), problem)
}

/// A word about a certificate whose time is over, near its end, or yet to come.
fn judged(object: &Object<Listener>, certificate: &Certificate, identity: &Identity, now: UnixTime) -> Option<Finding> {
    let (chain, hint) = (&certificate.chain, "have it renewed; a changed file is taken up without a restart");
    let path = chain.path.shown();
    let days = |until: UnixTime| until.as_seconds().saturating_sub(now.as_seconds()) / (24 * 3600);
    let (code, problem) = if now >= identity.valid_until {
        ("certificate-expired", format!("{path}: the certificate has expired; clients refuse it"))
    } else if now.plus(EXPIRY_NOTICE) >= identity.valid_until {
        let left = days(identity.valid_until);
        ("certificate-expires", format!("{path}: the certificate expires in {left} days"))
    } else if now < identity.valid_from && now > UnixTime::default() {
        ("certificate-not-yet-valid", format!("{path}: the certificate is not valid yet; clients refuse it"))
    } else {
        return None;
    };
    Some(warning(object, chain, code, problem).hint(hint))
}

/// How an upstream is spoken to; that of the snapshot before where nothing has changed.
pub(super) fn client(
    object: &Object<Upstream>,
    model: &UpstreamTls,
    world: &World<'_>,
    findings: &mut Vec<Finding>,
) -> Option<Arc<ClientTls>> {
    let before = world.previous.and_then(|previous| {
        let entry = previous.upstream_named(&object.name)?;
        let model = previous.config.upstreams.iter().find(|other| other.name == object.name)?;
        Some((model.value.as_ref()?.tls.as_ref()?, entry.tls.as_ref()?))
    });
    if let Some((same, tls)) = before
        && same == model
    {
        return Some(Arc::clone(tls));
    }
    let trust = match (&model.ca, &model.roots) {
        (_, _) if !model.verify => Trust::Anybody,
        (Some(ca), _) => Trust::Authorities(ca.bytes()),
        (None, roots) => Trust::Roots(roots.as_deref().unwrap_or_default()),
    };
    match (ClientTls::new(&trust), &model.ca) {
        (Ok(tls), _) => Some(Arc::new(tls)),
        (Err(problem), Some(ca)) => {
            let finding = object.error(problem.code(), ca.path.span, "tls.ca", said(ca, problem));
            findings.push(finding.hint("it must hold the certificates of authorities, as PEM"));
            None
        }
        (Err(problem), None) => {
            findings.push(object.error(problem.code(), object.span, "tls", problem.to_string()));
            None
        }
    }
}
