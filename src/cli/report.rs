//! What `run` tells: the start on the terminal, and the workers' figures among the metrics.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::base::Address;
use crate::control::Started;
use crate::runtime::WorkerStats;

/// Tells, on standard error, what runs and what to try.
pub(super) fn print(started: &Started<'_>, quickstart: bool) {
    let mut text = report(started);
    if quickstart {
        text.push_str(&to_try(started));
    }
    eprint!("{text}");
}

fn report(started: &Started<'_>) -> String {
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

type Figure = (&'static str, &'static str, &'static str, fn(&WorkerStats) -> u64);

const FIGURES: [Figure; 8] = [
    ("tidegate_shard_accepted_total", "counter", "Connections accepted by the worker.", |s| s.accepted.value()),
    ("tidegate_shard_accept_errors_total", "counter", "Accepts that failed.", |s| s.accept_errors.value()),
    ("tidegate_shard_accept_shed_total", "counter", "Connections closed at once: out of descriptors.", |s| {
        s.accept_shed.value()
    }),
    ("tidegate_shard_accept_pauses_total", "counter", "Times a listener was at its most connections.", |s| {
        s.accept_pauses.value()
    }),
    ("tidegate_shard_task_panics_total", "counter", "Tasks that ended in a panic.", |s| s.panics.value()),
    ("tidegate_shard_deadlines_total", "counter", "IO operations that their deadline ended.", |s| {
        s.deadlines_passed.value()
    }),
    ("tidegate_shard_ticks_total", "counter", "Turns of the deadline wheel.", |s| s.ticks.value()),
    ("tidegate_shard_lag_nanoseconds_total", "counter", "Time by which those turns were late.", |s| {
        s.lag_nanos.value()
    }),
];

/// Appends the workers' figures as Prometheus text.
pub(super) fn figures(driver: &str, stats: &[Arc<WorkerStats>], out: &mut String) {
    out.push_str("# HELP tidegate_driver_info Always 1; how workers talk to the kernel is the label.\n");
    let _ = write!(out, "# TYPE tidegate_driver_info gauge\ntidegate_driver_info{{driver=\"{driver}\"}} 1\n");
    for (name, kind, help, value) in FIGURES {
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (number, stats) in stats.iter().enumerate() {
            let _ = writeln!(out, "{name}{{shard=\"{number}\"}} {}", value(stats));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_prometheus_text_with_one_sample_per_shard() {
        let mut out = String::new();
        figures("epoll", &[Arc::default(), Arc::default()], &mut out);
        assert!(out.contains("\ntidegate_driver_info{driver=\"epoll\"} 1\n"));
        assert!(out.contains("\ntidegate_shard_accepted_total{shard=\"1\"} 0\n"));
        assert_eq!(out.lines().filter(|line| !line.starts_with('#')).count(), 1 + 2 * FIGURES.len());
    }
}
