//! What the gateway tells of its work.

use std::io::BufRead;

use crate::stage::{Gateway, Origin, forwarding_with, run, wait_until};

#[test]
fn the_access_log_is_reopened_after_a_rename() {
    let origin = Origin::start();
    let folder = tempfile::TempDir::new().unwrap();
    let (log, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let more = format!("access_log: {{ to: {{ file: \"{}\" }} }}\n", log.display());
    let gateway = Gateway::start(&forwarding_with(&[&origin.address], &more));
    let lines = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(gateway.get("/first").status, 200);
    wait_until("the first line is written", || lines(&log).contains("/first"));
    std::fs::rename(&log, &old).unwrap();
    gateway.signal("USR1");
    wait_until("the file is opened again", || log.exists());
    assert_eq!(gateway.get("/second").status, 200);
    wait_until("the second line is written", || lines(&log).contains("/second"));
    assert!(!lines(&old).contains("/second"));
    let line: serde_json::Value = serde_json::from_str(lines(&log).lines().last().unwrap()).unwrap();
    assert_eq!(line["status"], 200);
    assert_eq!(line["route"], "all");
}

#[test]
fn a_log_that_fails_and_an_operator_who_hangs_up_end_no_thread() {
    let origin = Origin::start();
    let folder = tempfile::TempDir::new().unwrap();
    let log = folder.path().join("access.log");
    let to =
        |path: &str| forwarding_with(&[&origin.address], &format!("access_log: {{ to: {{ file: \"{path}\" }} }}\n"));
    let gateway = Gateway::start_unheard(&to("/dev/full"));
    assert_eq!(gateway.get("/first").status, 200);
    let errors = || gateway.metrics()["tidegate_log_write_errors_total"];
    wait_until("the failure is counted, again and again", || errors() > 1.0);
    for (generation, path) in [(2, "/dev/full"), (3, log.to_str().unwrap())] {
        gateway.write(&to(path));
        assert_eq!(gateway.call("POST", "/config/reload").status, 200);
        wait_until("the change is adopted", || gateway.generation() >= generation);
    }
    wait_until("the line is written", || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("/first")));
}

#[test]
fn a_named_pipe_that_nobody_reads_yet_holds_neither_the_start_nor_the_end() {
    let origin = Origin::start();
    let folder = tempfile::TempDir::new().unwrap();
    let pipe = folder.path().join("pipe");
    run(std::process::Command::new("mkfifo").arg(&pipe));
    let more = format!("access_log: {{ to: {{ file: \"{}\" }} }}\n", pipe.display());
    let mut gateway = Gateway::start(&forwarding_with(&[&origin.address], &more));
    assert_eq!(gateway.get("/first").status, 200);
    gateway.signal("USR1");
    let written = || gateway.metrics()["tidegate_log_written_bytes_total"];
    wait_until("the pipe keeps the line", || written() > 0.0);
    let mut line = String::new();
    std::io::BufReader::new(std::fs::File::open(&pipe).unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("/first"), "{line}");
    gateway.signal("TERM");
    assert_eq!(gateway.end().code(), Some(0));
}

#[test]
fn the_counters_add_up_with_the_requests_made() {
    let origin = Origin::start();
    let gateway = Gateway::start(&forwarding_with(&[&origin.address], ""));
    let mut clients: Vec<_> = (0..4).map(|_| gateway.client()).collect();
    for _ in 0..25 {
        assert!(clients.iter_mut().all(|client| client.get("/").status == 200));
    }
    drop(clients);
    let sum = |name: &str| {
        let metrics = gateway.metrics();
        let of_name = metrics.iter().filter(|(sample, _)| sample.split('{').next() == Some(name));
        of_name.map(|(_, value)| value).sum::<f64>()
    };
    wait_until("every connection is closed", || sum("tidegate_connections_open") == 0.0);
    for name in [
        "tidegate_requests_received_total",
        "tidegate_exchanges_total",
        "tidegate_requests_total",
        "tidegate_request_duration_seconds_count",
        "tidegate_endpoint_responses_total",
    ] {
        assert_eq!(sum(name), 100.0, "{name}");
    }
    assert_eq!(sum("tidegate_connections_accepted_total"), 4.0);
    assert_eq!(origin.requests(), 100);
}

#[test]
fn what_is_held_shows_in_the_gauges_and_leaves_them() {
    let origin = Origin::start();
    let gateway = Gateway::start(&forwarding_with(&[&origin.address], ""));
    let sum = |name: &str| {
        let metrics = gateway.metrics();
        let of_name = metrics.iter().filter(|(sample, _)| sample.split('{').next() == Some(name));
        of_name.map(|(_, value)| value).sum::<f64>()
    };
    let mut waiting = gateway.client();
    waiting.send(b"GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
    wait_until("the exchange is under way", || sum("tidegate_exchanges_in_flight") == 1.0);
    wait_until("its attempt is", || sum("tidegate_endpoint_attempts_in_flight") == 1.0);
    assert_eq!(gateway.get("/").status, 200);
    wait_until("both connections are seen", || sum("tidegate_upstream_connections_open") == 2.0);
    wait_until("one is idle", || sum("tidegate_upstream_connections_idle") == 1.0);
    drop(waiting);
    wait_until("nothing is under way", || sum("tidegate_exchanges_in_flight") == 0.0);
    wait_until("the idle one is left", || sum("tidegate_upstream_connections_open") == 1.0);
    assert_eq!(sum("tidegate_endpoint_attempts_in_flight"), 0.0);
    assert!(sum("tidegate_shard_operations_total") >= 8.0 && sum("tidegate_shard_accepted_total") == 2.0);
}
