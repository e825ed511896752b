//! `client_certificates` of a listener: files become trust, and what is wrong with them is said.

use std::sync::Arc;

use crate::base::UnixTime;
use crate::config::{
    ClientCertificateMode, ClientCertificates, Config, ExpiredCrl, Finding, Listener, Object, OneOrMany, PemFile,
};
use crate::snapshot::client_auth::{self, Authority, ClientAuth, Strictness};
use crate::snapshot::tls::Problem;

const CA: &str = "tls.client_certificates.ca";
const CRL: &str = "tls.client_certificates.crl";

/// What a listener demands of clients; nothing where a file is broken, which is told.
pub(super) fn compile(
    object: &Object<Listener>,
    model: &ClientCertificates,
    findings: &mut Vec<Finding>,
) -> Option<Arc<ClientAuth>> {
    let authorities = all(object, CA, &model.ca, client_auth::authorities, findings);
    let lists = all(object, CRL, &model.crl, client_auth::revocation_lists, findings);
    let strictness = Strictness {
        required: model.mode == ClientCertificateMode::Required,
        expired_lists: model.expired_crl == ExpiredCrl::Accept,
    };
    let clients = ClientAuth::new(authorities?, lists?, strictness).map_err(|problem| {
        let (key, files) = if problem == Problem::BadRevocationList { (CRL, &model.crl) } else { (CA, &model.ca) };
        let span = files.iter().next().map_or(object.span, |file| file.path.span);
        findings.push(object.error(problem.code(), span, key, problem.to_string()).hint(problem.hint()));
    });
    clients.ok().map(Arc::new)
}

/// What all files hold, or nothing where one is broken; all of them are looked at in any case.
fn all<T>(
    object: &Object<Listener>,
    key: &str,
    files: &OneOrMany<PemFile>,
    read: impl Fn(&[u8]) -> Result<Vec<T>, Problem>,
    findings: &mut Vec<Finding>,
) -> Option<Vec<T>> {
    let mut whole = Vec::new();
    let mut sound = true;
    for (at, file) in files.iter().enumerate() {
        match read(file.bytes()) {
            Ok(mut items) => whole.append(&mut items),
            Err(problem) => {
                let said = format!("{}: {problem}", file.path.shown());
                let finding = object.error(problem.code(), file.path.span, &format!("{key}[{at}]"), said);
                findings.push(finding.hint(problem.hint()));
                sound = false;
            }
        }
    }
    sound.then_some(whole)
}

/// A word about what refuses clients who have done nothing wrong.
pub(super) fn judged(
    object: &Object<Listener>,
    model: &ClientCertificates,
    clients: &ClientAuth,
    now: UnixTime,
) -> Vec<Finding> {
    let place = |files: &OneOrMany<PemFile>| files.iter().next().map_or(object.span, |file| file.path.span);
    let word = |code, (key, files), problem: String, hint: &str| {
        Finding::warning(code, place(files), crate::config::join(&object.path, key), problem).hint(hint)
    };
    let ended = |authority: &&Authority| now >= authority.valid_until;
    let expired = clients.authorities.iter().filter(ended).map(|authority| {
        let problem = format!("the certificate of the authority `{}` has expired", authority.name());
        word("authority-expired", (CA, &model.ca), problem, "name its successor, too, and have clients renew theirs")
    });
    let stale = clients.revocation_lists.iter().filter(ended).map(|list| {
        let refused = match model.expired_crl {
            ExpiredCrl::Refuse => "; every client of it is refused",
            ExpiredCrl::Accept => "",
        };
        let problem = format!("the revocation list of `{}` has expired{refused}", list.name());
        word("crl-expired", (CRL, &model.crl), problem, "fetch the current one; a changed file is taken up by itself")
    });
    let unlisted = clients.without_list().map(|authority| {
        let problem = format!("no revocation list is of `{}`; every client of it is refused", authority.name());
        word("authority-without-crl", (CRL, &model.crl), problem, "name its list as well, or no list at all")
    });
    expired.chain(stale).chain(unlisted).collect()
}

/// Routes that hand on what no listener asks for.
pub(super) fn judge_forwarding(config: &Config, findings: &mut Vec<Finding>) {
    let asks = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.client_certificates.is_some());
    if config.listeners.iter().any(|object| object.value.as_ref().is_none_or(asks)) {
        return;
    }
    for object in &config.routes {
        let Some(to) = object.value.as_ref().and_then(|route| route.to.as_ref()) else { continue };
        if let Some(span) = to.client_certificate.as_ref().map(|wished| wished.span) {
            let path = crate::config::join(&object.path, "to.client_certificate");
            let finding = Finding::warning("without-effect", span, path, "no listener asks clients for a certificate");
            findings
                .push(finding.hint("add `tls: { client_certificates: { ca: … } }` to a listener, or remove the key"));
        }
    }
}
