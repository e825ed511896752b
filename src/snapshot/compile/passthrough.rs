//! `tls.passthrough`: names become upstreams.

use super::Names;
use super::route::unknown_upstream;
use crate::config::{Config, Finding, Listener, Object, Text};
use crate::route::HostPattern;
use crate::snapshot::passthrough::PassthroughPlan;

/// Every name and none.
const ALL: &str = "*";

/// Which names the listener passes on; nothing where it passes none.
pub(super) fn compile(
    config: &Config,
    object: &Object<Listener>,
    model: &Listener,
    names: &Names<'_>,
    findings: &mut Vec<Finding>,
) -> Option<PassthroughPlan> {
    let tls = model.tls.as_ref()?;
    let mut plan = PassthroughPlan::default();
    for (at, entry) in tls.passthrough.iter().enumerate() {
        let key = |part: &str| format!("tls.passthrough[{at}].{part}");
        let id = names.ids.get(entry.to.as_str()).copied();
        if id.is_none() && !names.lost {
            findings.push(unknown_upstream(&entry.to, names, object, &key("to")));
        }
        findings.extend(speaks_tls(config, object, &entry.to, &key("to")));
        for name in entry.sni.iter() {
            // One that cannot be used has said why; the other names are looked at all the same.
            let upstream = id.flatten().unwrap_or(crate::base::UpstreamId::at(0));
            let added = match name.as_str() {
                ALL => Ok(plan.add_rest(upstream)),
                text => HostPattern::parse(text).map(|pattern| plan.add(&pattern, upstream)),
            };
            match added {
                Ok(true) => {}
                Ok(false) => {
                    let finding = object.error("duplicate", name.span, &key("sni"), "this name is passed on already");
                    findings.push(finding.hint("name each once; a name and `*.` with it are two"));
                }
                Err(_) => {
                    let finding = object.error("bad-pattern", name.span, &key("sni"), "this is no name to ask for");
                    findings.push(finding.hint("write `db.example.com`, `\"*.example.com\"` or `\"*\"`"));
                }
            }
        }
    }
    if let Some(certificate) = tls.certificates.iter().next().filter(|_| plan.takes_all()) {
        let problem = "every connection is passed on, so that no certificate is ever shown";
        let path = crate::config::join(&object.path, "tls.certificates");
        findings.push(
            Finding::warning("without-effect", certificate.span, path, problem)
                .hint("remove the certificates, or `*` from `passthrough`"),
        );
    }
    (!tls.passthrough.is_empty()).then_some(plan)
}

/// What is passed on is TLS already.
fn speaks_tls(config: &Config, object: &Object<Listener>, name: &Text, key: &str) -> Option<Finding> {
    let upstream = config.upstreams.iter().find(|other| other.name == name.as_str())?;
    upstream.value.as_ref()?.tls.as_ref()?;
    let finding = object.error("conflict", name.span, key, "the upstream would be spoken to by TLS within TLS");
    Some(finding.hint("pass on to an upstream without `tls`: the client's own TLS goes through"))
}
