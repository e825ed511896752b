//! What `run` tells of its start on the terminal.

use std::fmt::Write as _;

use crate::base::Address;
use crate::control::Started;

/// What runs, and what to try.
pub(super) fn of(started: &Started<'_>, activated: &[Address], quickstart: bool) -> String {
    let mut text = report(started, activated);
    if quickstart {
        text.push_str(&to_try(started));
    }
    text
}

/// `activated` are the sockets that came from outside.
fn report(started: &Started<'_>, activated: &[Address]) -> String {
    let (facts, snapshot) = (started.facts, started.snapshot);
    let mut out = format!("tidegate {} is ready\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {name:<12}{value}");
    };
    line("driver", format!("{} ({})", facts.driver, facts.driver_reason));
    line("workers", format!("{} on CPU {}", facts.cpus.len(), list(&facts.cpus)));
    for (name, addresses) in &started.listeners {
        line("listener", format!("{name}: {}", list(addresses)));
    }
    let is_named = |address: &Address| started.listeners.iter().any(|(_, addresses)| addresses.contains(address));
    for address in activated.iter().filter(|address| !is_named(address)) {
        line(
            "unused",
            format!("{address}: a socket of systemd, named by no listener; who connects to it waits in vain"),
        );
    }
    line("admin", started.admin.clone().unwrap_or_else(|| "off".into()));
    line("descriptors", format!("limit raised from {} to {}", facts.descriptors_before, facts.descriptors_max));
    let (generation, upstreams, routes) = (snapshot.generation, snapshot.upstreams.len(), snapshot.routes.len());
    line("config", format!("generation {generation}, {upstreams} upstreams, {routes} routes"));
    out
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// Three lines to paste.
fn to_try(started: &Started<'_>) -> String {
    let ip = |address: &&Address| matches!(address, Address::Ip(_));
    let gateway = started.listeners.iter().flat_map(|(_, addresses)| addresses).find(ip);
    let (Some(gateway), Some(admin)) = (gateway, &started.admin) else { return String::new() };
    format!(
        "\nThis is the quickstart: a gateway in front of a built-in demo upstream. Try\n\n  \
         curl -i http://{gateway}/\n  \
         curl -s http://{gateway}/orders/42 -H 'host: api.localhost'\n  \
         curl -s http://{admin}/status\n\n\
         Then write your own: tidegate run -c gateway.yaml. Ctrl-C drains and ends.\n\n"
    )
}
