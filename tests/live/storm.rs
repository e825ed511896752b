//! Everything at once: load, reloads of a large configuration, dying origins, and a tunnel that must not notice.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::stage::{ADMIN, Gateway, Nginx, Origin, figure};
use crate::tunnel;

const ROUTES: usize = 10_000;
const RELOAD_EVERY: Duration = Duration::from_secs(1);
/// How long an origin serves and how long it is dead.
const ORIGIN_PHASE: Duration = Duration::from_secs(1);
/// As the issue asks; a debug build shows its own figure.
const RELOAD_UNDER_LOAD_MAX: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Tally {
    over: AtomicBool,
    requests: AtomicU64,
    echoes: AtomicU64,
    kills: AtomicU64,
    reloads: Mutex<Vec<Duration>>,
    errors: Mutex<Vec<String>>,
}

impl Tally {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    fn error(&self, text: String) {
        self.errors.lock().unwrap().push(text);
    }
}

/// Ten thousand routes, all of which change with every version, before the ones that are asked.
fn config(version: u64, origins: &[Nginx], tunnel: &Origin) -> String {
    let endpoints = origins.iter().map(|origin| format!("\"{}\"", origin.address)).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "listeners:\n  public: {{ bind: \"127.0.0.1:0\" }}\nupstreams:\n  three: {{ endpoints: [{endpoints}], mark_down: \
         {{ failures: 1, for: 1s }} }}\n  sockets: {{ endpoints: \"{}\" }}\n{ADMIN}access_log: off\nroutes:\n",
        tunnel.address
    );
    for number in 0..ROUTES {
        let _ = writeln!(text, "  - {{ match: {{ path: \"/tenant{number}/v{version}/{{id}}\" }}, to: three }}");
    }
    text.push_str("  - { name: sockets, match: { path: /socket }, to: sockets, upgrade: websocket }\n");
    text.push_str("  - { name: all, match: { path: \"/{*rest}\" }, to: three }\n");
    text
}

fn ask(gateway: &Gateway, tally: &Tally) {
    let mut client = gateway.client();
    while tally.goes_on() {
        match client.try_get("/") {
            Ok(answer) if answer.status == 200 && !answer.closes() => {
                tally.requests.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => {
                tally.error(format!("status {}, closes: {}, {}", answer.status, answer.closes(), answer.text()));
                client = gateway.client();
            }
            Err(error) => {
                tally.error(format!("a connection ended: {error}"));
                client = gateway.client();
            }
        }
    }
}

fn hold_tunnel(gateway: &Gateway, tally: &Tally) {
    let mut tunnel = tunnel::open(gateway);
    while tally.goes_on() {
        if !tunnel::echoes(&mut tunnel, b"still there?") {
            return tally.error("the tunnel ended".into());
        }
        tally.echoes.fetch_add(1, Ordering::SeqCst);
        sleep(Duration::from_millis(20));
    }
}

fn reload(gateway: &Gateway, tally: &Tally, text: impl Fn(u64) -> String) {
    let mut version = 1;
    while tally.goes_on() {
        let begin = Instant::now();
        version += 1;
        gateway.write(&text(version));
        let asked = Instant::now();
        let answer = gateway.call("POST", "/config/reload");
        tally.reloads.lock().unwrap().push(asked.elapsed());
        if answer.status != 200 {
            tally.error(format!("a reload: {} {}", answer.status, answer.text()));
        }
        pause(tally, RELOAD_EVERY.saturating_sub(begin.elapsed()));
    }
}

fn kill_in_turn(origins: &mut [Nginx], tally: &Tally) {
    let count = origins.len();
    for turn in (0..count).cycle() {
        pause(tally, ORIGIN_PHASE);
        if !tally.goes_on() {
            return;
        }
        origins[turn].fall();
        tally.kills.fetch_add(1, Ordering::SeqCst);
        pause(tally, ORIGIN_PHASE);
        if !origins[turn].rise() {
            tally.error("an origin does not start again".into());
        }
    }
}

/// Sleeps in small steps, so that the end is not missed.
fn pause(tally: &Tally, time: Duration) {
    let end = Instant::now() + time;
    while tally.goes_on() && Instant::now() < end {
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_storm_of_reloads_and_dying_origins_disturbs_nobody() {
    let (seconds, connections) = (figure("TIDEGATE_LIVE_SECONDS", 5), figure("TIDEGATE_LIVE_CONNECTIONS", 50));
    let mut origins = [Nginx::start(), Nginx::start(), Nginx::start()];
    let socket = Origin::start();
    let templates = [config(0, &origins, &socket), config(1, &origins, &socket)];
    let gateway = Gateway::start(&templates[0]);
    let tally = Tally::default();
    thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| ask(&gateway, &tally));
        }
        scope.spawn(|| hold_tunnel(&gateway, &tally));
        scope.spawn(|| reload(&gateway, &tally, |version| templates[version as usize % 2].clone()));
        scope.spawn(|| kill_in_turn(&mut origins, &tally));
        sleep(Duration::from_secs(seconds));
        tally.over.store(true, Ordering::SeqCst);
    });
    report(&tally, seconds, connections);
}

fn report(tally: &Tally, seconds: u64, connections: u64) {
    let (reloads, errors) = (tally.reloads.lock().unwrap(), tally.errors.lock().unwrap());
    let slowest = reloads.iter().max().copied().unwrap_or_default();
    println!(
        "storm: {seconds} s, {connections} connections, {ROUTES} routes\n  requests        {}\n  reloads         {}\n  \
         slowest reload  {} ms\n  origins killed  {}\n  tunnel echoes   {}\n  errors          {}",
        tally.requests.load(Ordering::SeqCst),
        reloads.len(),
        slowest.as_millis(),
        tally.kills.load(Ordering::SeqCst),
        tally.echoes.load(Ordering::SeqCst),
        errors.len()
    );
    assert!(errors.is_empty(), "{:#?}", &errors[..errors.len().min(20)]);
    assert!(tally.requests.load(Ordering::SeqCst) > connections && reloads.len() > 1);
    assert!(cfg!(debug_assertions) || slowest < RELOAD_UNDER_LOAD_MAX, "{slowest:?} for a reload under load");
}
