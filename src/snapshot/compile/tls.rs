//! `tls` of listeners and upstreams: files become certificates, keys and trust, and what is wrong with them is said.

use std::sync::Arc;
use std::time::Duration;

use super::{World, client_auth};
use crate::base::UnixTime;
use crate::config::{
    Certificate, Finding, HttpVersion, Listener, ListenerTls, Object, PemFile, TlsVersion, Upstream, UpstreamProtocol,
    UpstreamTls,
};
use crate::snapshot::ocsp::OcspProblem;
use crate::snapshot::tls::{ClientTls, HTTP_1_1, HTTP_2, Identity, Problem, ServerSettings, ServerTls, Trust};

/// A certificate that ends sooner is worth a word.
const EXPIRY_NOTICE: Duration = Duration::from_secs(14 * 24 * 3600);

/// How a listener speaks TLS; that of the snapshot before where nothing has changed.
pub(super) fn server(
    object: &Object<Listener>,
    (listener, model): (&Listener, &ListenerTls),
    world: &World<'_>,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> Option<Arc<ServerTls>> {
    let settings = ServerSettings {
        newest_only: model.oldest() == TlsVersion::V13,
        strict_sni: model.strict_sni,
        http1: listener.speaks(HttpVersion::Http1),
        http2: listener.speaks(HttpVersion::H2),
    };
    let before = world.previous.and_then(|previous| {
        let listener = previous.listener_named(&object.name)?;
        let model = previous.config.listeners.iter().find(|other| other.name == object.name)?;
        Some((model.value.as_ref()?.tls.as_ref()?, listener.tls.as_ref()?))
    });
    let tls = match before {
        Some((same, tls)) if same == model && tls.settings() == settings => Arc::clone(tls),
        before => Arc::new(anew(object, model, settings, before.map(|(model, tls)| (model, &**tls)), findings)?),
    };
    if let (Some(model), Some(clients)) = (&model.client_certificates, tls.clients()) {
        findings.extend(client_auth::judged(object, model, clients, now));
    }
    for (certificate, identity) in model.certificates.iter().zip(tls.identities()) {
        findings.extend(judged((&object.path, "tls.certificates", "clients"), certificate, identity, now));
        findings.extend(judged_staple(object, certificate, identity, now));
    }
    Some(tls)
}

fn anew(
    object: &Object<Listener>,
    model: &ListenerTls,
    settings: ServerSettings,
    previous: Option<(&ListenerTls, &ServerTls)>,
    findings: &mut Vec<Finding>,
) -> Option<ServerTls> {
    let clients = match (&model.client_certificates, previous) {
        (None, _) => Some(None),
        // Shared, so that tickets stay good.
        (wanted, Some((before, tls))) if *wanted == before.client_certificates => Some(tls.clients().cloned()),
        (Some(wanted), _) => client_auth::compile(object, wanted, findings).map(Some),
    };
    let mut identities = Vec::with_capacity(model.certificates.0.len());
    for (at, certificate) in model.certificates.iter().enumerate() {
        match Identity::parse(certificate.chain.bytes(), certificate.key.bytes()) {
            Ok(mut identity) => {
                findings.extend(stapled(object, at, certificate, &mut identity));
                identities.push(identity);
            }
            Err(problem) => {
                findings.push(broken(object, &format!("tls.certificates[{at}]"), certificate, problem));
            }
        }
    }
    if identities.len() < model.certificates.0.len() {
        return None;
    }
    for (at, identity) in identities.iter().enumerate() {
        findings.extend(unreachable(object, model, at, identity));
    }
    let tls = ServerTls::new(identities, settings, clients?, previous.map(|(_, tls)| tls));
    tls.inspect_err(|error| {
        let problem = format!("TLS cannot be set up: {error}");
        findings.push(object.error("tls", object.span, "tls", problem));
    })
    .ok()
}

/// Has an OCSP response shown. One that is none refuses the change; one that is not fit to be shown is only left out, since
/// the certificate may have been renewed before it.
fn stapled(
    object: &Object<Listener>,
    at: usize,
    certificate: &Certificate,
    identity: &mut Identity,
) -> Option<Finding> {
    let ocsp = certificate.ocsp.as_ref()?;
    let problem = identity.staple(ocsp.bytes()).err()?;
    let (key, said) = (format!("tls.certificates[{at}].ocsp"), format!("{}: {problem}", ocsp.path.shown()));
    if problem == OcspProblem::Malformed {
        let hint = "it must be DER; look at it with `openssl ocsp -resp_text -noverify -respin`";
        return Some(object.error(problem.code(), ocsp.path.span, &key, said).hint(hint));
    }
    let said = format!("{said}; it is not shown");
    let finding = Finding::warning(problem.code(), ocsp.path.span, crate::config::join(&object.path, &key), said);
    Some(finding.hint("fetch a current one for this certificate; a changed file is taken up by itself"))
}

/// A word about an OCSP response that does not hold now, or is missed.
fn judged_staple(
    object: &Object<Listener>,
    certificate: &Certificate,
    identity: &Identity,
    now: UnixTime,
) -> Option<Finding> {
    let place = (&*object.path, "tls.certificates");
    let hint = "fetch a current one for this certificate; a changed file is taken up by itself";
    match (identity.stapled(), &certificate.ocsp) {
        // Without a clock nothing is early.
        (Some((from, until)), Some(ocsp)) if now >= until || (now < from && now > UnixTime::default()) => {
            let state = if now < from { "does not hold yet" } else { "has expired" };
            let problem = format!("{}: the OCSP response {state}; it is not shown", ocsp.path.shown());
            Some(warning(place, ocsp, "ocsp-expired", problem).hint(hint))
        }
        (None, None) if identity.must_staple => {
            let problem =
                format!("{}: clients demand an OCSP response with this certificate", certificate.chain.path.shown());
            Some(warning(place, &certificate.chain, "ocsp-missing", problem).hint("name its file in `ocsp`"))
        }
        _ => None,
    }
}

fn broken<T>(object: &Object<T>, at: &str, certificate: &Certificate, problem: Problem) -> Finding {
    let (part, file) =
        if problem.is_about_the_key() { ("key", &certificate.key) } else { ("chain", &certificate.chain) };
    let key = format!("{at}.{part}");
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
        warning((&object.path, "tls.certificates"), chain, "nameless-certificate", problem)
            .hint("names belong into subjectAltName; or put it first"),
    )
}

fn warning((path, key): (&str, &str), chain: &PemFile, code: &'static str, problem: String) -> Finding {
    Finding::warning(code, chain.path.span, crate::config::join(path, key), problem)
}

/// A word about a certificate whose time is over, near its end, or yet to come; it stands at this place, and these peers
/// look at it.
fn judged(
    (path, key, peers): (&str, &str, &str),
    certificate: &Certificate,
    identity: &Identity,
    now: UnixTime,
) -> Option<Finding> {
    let (chain, hint) = (&certificate.chain, "have it renewed; a changed file is taken up without a restart");
    let file = chain.path.shown();
    let days = |until: UnixTime| until.as_seconds().saturating_sub(now.as_seconds()) / (24 * 3600);
    let (code, problem) = if now >= identity.valid_until {
        ("certificate-expired", format!("{file}: the certificate has expired; {peers} refuse it"))
    } else if now.plus(EXPIRY_NOTICE) >= identity.valid_until {
        let left = days(identity.valid_until);
        ("certificate-expires", format!("{file}: the certificate expires in {left} days"))
    } else if now < identity.valid_from && now > UnixTime::default() {
        ("certificate-not-yet-valid", format!("{file}: the certificate is not valid yet; {peers} refuse it"))
    } else {
        return None;
    };
    Some(warning((path, key), chain, code, problem).hint(hint))
}

/// How an upstream is spoken to; that of the snapshot before where nothing has changed.
pub(super) fn client(
    object: &Object<Upstream>,
    model: &UpstreamTls,
    world: &World<'_>,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> Option<Arc<ClientTls>> {
    let before = world.previous.and_then(|previous| {
        let entry = previous.upstream_named(&object.name)?;
        let model = previous.config.upstreams.iter().find(|other| other.name == object.name)?;
        Some((model.value.as_ref()?, entry.tls.as_ref()?))
    });
    let protocol = object.value.as_ref().map_or_else(UpstreamProtocol::default, |upstream| upstream.protocol);
    let tls = match before {
        Some((same, tls)) if same.tls.as_ref() == Some(model) && same.protocol == protocol => Arc::clone(tls),
        _ => Arc::new(client_anew(object, model, findings)?.offering(offered(protocol))),
    };
    if let (Some(certificate), Some(identity)) = (&model.certificate, tls.identity()) {
        findings.extend(judged((&object.path, "tls.certificate", "endpoints"), certificate, identity, now));
    }
    Some(tls)
}

fn client_anew(object: &Object<Upstream>, model: &UpstreamTls, findings: &mut Vec<Finding>) -> Option<ClientTls> {
    let identity = model.certificate.as_ref().map(|certificate| {
        let parsed = Identity::parse(certificate.chain.bytes(), certificate.key.bytes());
        parsed.map_err(|problem| findings.push(broken(object, "tls.certificate", certificate, problem))).ok()
    });
    // A broken one is told.
    let identity = identity.map_or(Some(None), |identity| identity.map(Some));
    let pins = model.pins.iter().map(|pin| *pin.digest()).collect();
    let trust = match (&model.ca, &model.roots) {
        (_, _) if !model.verify => Trust::Anybody,
        (Some(ca), _) => Trust::Authorities(ca.bytes()),
        (None, roots) => Trust::Roots(roots.as_deref().unwrap_or_default()),
    };
    match (ClientTls::new(&trust, pins, identity?), &model.ca) {
        (Ok(tls), _) => Some(tls),
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

/// What is offered by ALPN.
fn offered(protocol: UpstreamProtocol) -> &'static [&'static [u8]] {
    match protocol {
        UpstreamProtocol::Http1 => &[HTTP_1_1],
        UpstreamProtocol::H2 => &[HTTP_2],
        UpstreamProtocol::Auto => &[HTTP_2, HTTP_1_1],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io;
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, Source};
    use crate::snapshot::Draft;

    /// Noon of 2026-11-24.
    const NOW_SECONDS: u64 = 1_795_521_600;

    #[derive(Default)]
    struct Files(HashMap<String, Vec<u8>>);

    impl Environment for Files {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }

        fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
            let text = path.to_str().and_then(|path| self.0.get(path));
            text.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn now(&self) -> UnixTime {
            UnixTime::from_nanos(NOW_SECONDS * 1_000_000_000)
        }
    }

    /// A pair for these names under this stem, valid through a day of November 2026, or until a day of December.
    fn pair(files: &mut Files, stem: &str, names: &[&str], until: (i32, u8, u8)) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        files.0.insert(format!("{stem}.pem"), params.self_signed(&key).unwrap().pem().into());
        files.0.insert(format!("{stem}.key"), key.serialize_pem().into());
    }

    fn files() -> Files {
        let mut files = Files::default();
        pair(&mut files, "good", &["a.test"], (2027, 11, 24));
        pair(&mut files, "other", &["b.test"], (2027, 11, 24));
        pair(&mut files, "old", &["c.test"], (2026, 11, 1));
        pair(&mut files, "soon", &["d.test"], (2026, 12, 1));
        pair(&mut files, "nameless", &[], (2027, 11, 24));
        files.0.insert("text.pem".into(), "no certificate".into());
        list(&mut files, "fresh", 12);
        list(&mut files, "stale", 11);
        files
    }

    fn draft(text: &str) -> Draft {
        let rest = "routes: [{ match: { path: / }, respond: { status: 200 } }]\n";
        Draft::alone(&Source::text("gate.yaml", format!("{text}\n{rest}")), &files())
    }

    /// `severity code path`, one per finding.
    fn findings(text: &str) -> Vec<String> {
        let draft = draft(text);
        let shown = draft.render(false);
        assert!(draft.findings.iter().all(|finding| finding.hint.is_some()), "{shown}");
        assert!(!shown.contains("PRIVATE KEY-----\n"), "{shown}");
        let short = |f: &Finding| format!("{:?} {} {}", f.severity, f.code, f.path);
        draft.findings.iter().map(short).collect()
    }

    fn listener(tls: &str) -> Vec<String> {
        findings(&format!("listeners: {{ public: {{ bind: \"127.0.0.1:1\", tls: {{ {tls} }} }} }}"))
    }

    fn upstream(tls: &str) -> Vec<String> {
        upstream_at("a:1", tls)
    }

    fn upstream_at(endpoint: &str, tls: &str) -> Vec<String> {
        upstream_with(&format!("{endpoint:?}, tls: {{ {tls} }}"))
    }

    fn upstream_with(endpoints: &str) -> Vec<String> {
        let listener = "listeners: { public: { bind: \"127.0.0.1:1\" } }";
        findings(&format!("{listener}\nupstreams: {{ app: {{ endpoints: {endpoints} }} }}"))
    }

    #[test]
    fn nobody_is_asked_for_a_certificate_by_what_is_passed_on() {
        let tls = "tls: { passthrough: { sni: a.test, to: app }, client_certificates: { ca: good.pem } }";
        let found = findings(&format!(
            "listeners: {{ public: {{ bind: \"127.0.0.1:1\", {tls} }} }}\nupstreams: {{ app: {{ endpoints: \"a:1\" }} }}"
        ));
        assert_eq!(found, ["Warning without-effect listeners.public.tls.passthrough"]);
    }

    #[test]
    fn a_sound_listener_has_no_findings() {
        assert_eq!(listener("certificates: { chain: good.pem, key: good.key }"), [""; 0]);
        let all =
            "certificates: [{ chain: good.pem, key: good.key }], minimum: \"1.3\", policy: modern, strict_sni: true";
        assert_eq!(listener(all), [""; 0]);
    }

    #[test]
    fn what_browsers_are_told_must_be_possible() {
        let pair = "certificates: { chain: good.pem, key: good.key }";
        for sound in ["365d", "0s", "{ max_age: 365d, subdomains: true, preload: true }"] {
            assert_eq!(listener(&format!("{pair}, hsts: {sound}")), [""; 0]);
        }
        for (unsound, found) in [
            ("{ max_age: 365d, preload: true }", "Error conflict listeners.public.tls.hsts.preload"),
            ("{ max_age: 30d, subdomains: true, preload: true }", "Error conflict listeners.public.tls.hsts.preload"),
            ("forever", "Error bad-value listeners.public.tls.hsts"),
            ("4000d", "Error bad-value listeners.public.tls.hsts"),
            ("{ subdomains: true }", "Error missing-key listeners.public.tls.hsts"),
        ] {
            assert_eq!(listener(&format!("{pair}, hsts: {unsound}")), [found], "{unsound}");
        }
        let both =
            "bind: \"127.0.0.1:1\", redirect_to_https: 443, tls: { certificates: { chain: good.pem, key: good.key } }";
        let found = findings(&format!("listeners: {{ public: {{ {both} }} }}"));
        assert_eq!(found, ["Error conflict listeners.public.redirect_to_https"]);
    }

    /// A revocation list by an authority named `clients`, due anew on the first of a month of 2026; and that authority.
    fn list(files: &mut Files, stem: &str, month: u8) {
        use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair, SerialNumber};
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "clients");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign, rcgen::KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let list = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(2026, month, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        files.0.insert(format!("{stem}.pem"), authority.pem().into());
        files.0.insert(format!("{stem}.crl"), list.signed_by(&authority).unwrap().pem().unwrap().into());
    }

    fn clients(more: &str) -> Vec<String> {
        listener(&format!("certificates: {{ chain: good.pem, key: good.key }}, client_certificates: {{ {more} }}"))
    }

    #[test]
    fn who_asks_for_certificates_must_know_whom_to_believe() {
        const PATH: &str = "listeners.public.tls.client_certificates";
        for sound in ["ca: fresh.pem", "ca: [fresh.pem, good.pem], mode: optional", "ca: fresh.pem, crl: fresh.crl"] {
            assert_eq!(clients(sound), [""; 0], "{sound}");
        }
        for (unsound, found) in [
            ("mode: optional", format!("Error missing-key {PATH}")),
            ("ca: none.pem", format!("Error unreadable-file {PATH}.ca[0]")),
            ("ca: [fresh.pem, text.pem]", format!("Error no-certificate {PATH}.ca[1]")),
            ("ca: fresh.pem, crl: good.pem", format!("Error no-revocation-list {PATH}.crl[0]")),
            ("ca: fresh.pem, mode: perhaps", format!("Error unknown-word {PATH}.mode")),
            ("ca: old.pem", format!("Warning authority-expired {PATH}.ca")),
            ("ca: stale.pem, crl: stale.crl", format!("Warning crl-expired {PATH}.crl")),
            ("ca: [fresh.pem, good.pem], crl: fresh.crl", format!("Warning authority-without-crl {PATH}.crl")),
            ("ca: fresh.pem, expired_crl: accept", format!("Warning without-effect {PATH}.expired_crl")),
        ] {
            let shown = clients(unsound).join("; ");
            assert!(shown.starts_with(&found), "{unsound}: {shown}");
        }
    }

    #[test]
    fn a_route_that_hands_on_what_nobody_asks_for_is_worth_a_word() {
        let rest = "routes: [{ match: { path: / }, to: { upstream: app, client_certificate: leaf } }]\n";
        let upstreams = "upstreams: { app: { endpoints: \"a:1\" } }";
        let plain = "listeners: { public: { bind: \"127.0.0.1:1\" } }";
        let tls = "listeners: { public: { bind: \"127.0.0.1:1\", tls: { certificates: { chain: good.pem, key: good.key }, \
                   client_certificates: { ca: fresh.pem } } } }";
        let found = |listeners: &str| {
            let draft = Draft::alone(&Source::text("gate.yaml", format!("{listeners}\n{upstreams}\n{rest}")), &files());
            draft.findings.iter().map(|f| format!("{:?} {} {}", f.severity, f.code, f.path)).collect::<Vec<_>>()
        };
        assert_eq!(found(plain), ["Warning without-effect routes[0].to.client_certificate"]);
        assert_eq!(found(tls), [""; 0]);
    }

    #[test]
    fn every_broken_file_is_told_at_once() {
        let found = listener(
            "certificates: [{ chain: none.pem, key: good.key }, { chain: good.pem, key: none.key }], policy: modern, \
             minimum: 1.2",
        );
        assert_eq!(
            found,
            [
                "Error conflict listeners.public.tls.minimum",
                "Error unreadable-file listeners.public.tls.certificates[0].chain",
                "Error unreadable-file listeners.public.tls.certificates[1].key",
            ]
        );
        let found = listener(
            "certificates: [{ chain: text.pem, key: good.key }, { chain: good.pem, key: text.pem }, { chain: other.pem, \
             key: good.key }]",
        );
        assert_eq!(
            found,
            [
                "Error no-certificate listeners.public.tls.certificates[0].chain",
                "Error no-private-key listeners.public.tls.certificates[1].key",
                "Error key-mismatch listeners.public.tls.certificates[2].key",
            ]
        );
        assert_eq!(listener("certificates: []").len(), 1);
    }

    #[test]
    fn a_certificate_at_its_end_is_worth_a_warning() {
        let found = listener("certificates: [{ chain: old.pem, key: old.key }, { chain: soon.pem, key: soon.key }]");
        assert_eq!(
            found,
            [
                "Warning certificate-expired listeners.public.tls.certificates",
                "Warning certificate-expires listeners.public.tls.certificates",
            ]
        );
    }

    #[test]
    fn a_certificate_without_a_name_may_only_be_the_first() {
        assert_eq!(listener("certificates: { chain: nameless.pem, key: nameless.key }"), [""; 0]);
        let second =
            listener("certificates: [{ chain: good.pem, key: good.key }, { chain: nameless.pem, key: nameless.key }]");
        assert_eq!(second, ["Warning nameless-certificate listeners.public.tls.certificates"]);
    }

    #[test]
    fn an_upstream_must_know_whom_to_trust() {
        assert_eq!(upstream("ca: good.pem"), [""; 0]);
        assert_eq!(upstream("ca: text.pem"), ["Error no-certificate upstreams.app.tls.ca"]);
        assert_eq!(upstream("ca: none.pem"), ["Error unreadable-file upstreams.app.tls.ca"]);
        assert_eq!(upstream("verify: false"), ["Warning unverified upstreams.app.tls.verify"]);
        assert_eq!(
            upstream("verify: false, ca: good.pem"),
            ["Warning unverified upstreams.app.tls.verify", "Error conflict upstreams.app.tls.ca"]
        );
        assert_eq!(upstream("ca: good.pem, server_name: \"a b\""), ["Error bad-value upstreams.app.tls.server_name"]);
        // These files know of no system.
        assert_eq!(upstream("verify: true"), ["Error no-trust-roots upstreams.app.tls"]);
        assert_eq!(upstream_with("\"a:1\", tls: on"), ["Error no-trust-roots upstreams.app.tls"]);
        assert_eq!(upstream_with("\"a:1\", tls: yes"), ["Error bad-value upstreams.app.tls"]);
        assert_eq!(upstream_at("unix:/run/a", "ca: good.pem"), ["Error no-server-name upstreams.app.tls"]);
    }

    #[test]
    fn an_ocsp_response_must_be_one_and_hold() {
        use crate::snapshot::ocsp::tests::response;
        let feature = rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]);
        let found = |extensions: &[&rcgen::CustomExtension], ocsp: Option<&[u8]>| {
            let (mut files, key) = (files(), rcgen::KeyPair::generate().unwrap());
            let mut params = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
            params.serial_number = Some(rcgen::SerialNumber::from_slice(&[7]));
            params.custom_extensions = extensions.iter().map(|&extension| extension.clone()).collect();
            files.0.insert("x.pem".into(), params.self_signed(&key).unwrap().pem().into());
            files.0.insert("x.key".into(), key.serialize_pem().into());
            files.0.insert("x.der".into(), ocsp.unwrap_or_default().into());
            let named = if ocsp.is_some() { ", ocsp: x.der" } else { "" };
            let pair = format!("{{ chain: x.pem, key: x.key{named} }}");
            let text = format!("listeners: {{ public: {{ bind: \"127.0.0.1:1\", tls: {{ certificates: {pair} }} }} }}");
            let rest = "routes: [{ match: { path: / }, respond: { status: 200 } }]\n";
            let draft = Draft::alone(&Source::text("gate.yaml", format!("{text}\n{rest}")), &files);
            draft.findings.iter().map(|f| format!("{:?} {}", f.severity, f.code)).collect::<Vec<_>>().join(", ")
        };
        let (from, until) = ("20260101000000Z", Some("20270101000000Z"));
        let sound = response(&[7], 0x80, from, until);
        assert_eq!((found(&[], Some(&sound)), found(&[&feature], Some(&sound))), (String::new(), String::new()));
        assert_eq!(found(&[&feature], None), "Warning ocsp-missing");
        assert_eq!(found(&[], Some(b"text")), "Error bad-ocsp-response");
        assert_eq!(found(&[], Some(&response(&[8], 0x80, from, until))), "Warning ocsp-other-certificate");
        assert_eq!(found(&[], Some(&response(&[7], 0xa1, from, until))), "Warning ocsp-revoked");
        assert_eq!(found(&[], Some(&response(&[7], 0x80, from, Some(from)))), "Warning ocsp-expired");
        assert_eq!(found(&[], Some(&response(&[7], 0x80, "20261224000000Z", until))), "Warning ocsp-expired");
    }

    #[test]
    fn what_an_upstream_is_shown_and_must_have_is_checked() {
        let pin = "sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        assert_eq!(
            upstream(&format!("ca: good.pem, certificate: {{ chain: good.pem, key: good.key }}, pins: {pin}")),
            [""; 0]
        );
        assert_eq!(upstream(&format!("verify: false, pins: [{pin}]")), [""; 0]);
        for (more, found) in [
            (
                "certificate: { chain: good.pem, key: other.key }",
                "Error key-mismatch upstreams.app.tls.certificate.key",
            ),
            (
                "certificate: { chain: none.pem, key: good.key }",
                "Error unreadable-file upstreams.app.tls.certificate.chain",
            ),
            (
                "certificate: { chain: old.pem, key: old.key }",
                "Warning certificate-expired upstreams.app.tls.certificate",
            ),
            ("pins: sha256/short", "Error bad-value upstreams.app.tls.pins"),
        ] {
            assert_eq!(upstream(&format!("ca: good.pem, {more}")), [found], "{more}");
        }
    }

    #[test]
    fn what_was_asked_for_is_never_plain_text_instead() {
        let broken = "listeners: { public: { bind: \"127.0.0.1:1\", tls: { certificates: { chain: other.pem, key: \
                      good.key } } } }";
        let draft = draft(broken);
        assert!(!draft.is_sound() && draft.snapshot.listeners.is_empty());
    }
}
