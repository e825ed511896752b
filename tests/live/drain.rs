//! The orderly end under load: whoever was let in is answered.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::stage::{Client, Gateway, Origin, forwarding, wait_until};

const CONNECTIONS: usize = 50;
/// How long the load runs before the end begins.
const LOAD: Duration = Duration::from_millis(700);

#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    refused: AtomicUsize,
    unexpected: std::sync::Mutex<Vec<String>>,
}

/// Asks again and again, over a new connection where the old one was announced to close, until a connect is refused.
fn ask(address: &str, tally: &Tally, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        let mut client = match Client::try_connect(address) {
            Ok(client) => client,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                tally.refused.fetch_add(1, Ordering::SeqCst);
                return;
            }
            Err(error) => return tally.unexpected.lock().unwrap().push(format!("connect: {error}")),
        };
        let mut on_connection = 0;
        loop {
            match client.try_get("/") {
                Ok(answer) if answer.status == 200 && !answer.closes() => {}
                Ok(answer) if answer.status == 200 => break,
                Ok(answer) => return tally.unexpected.lock().unwrap().push(format!("status {}", answer.status)),
                Err(error) => {
                    let text = format!("request {on_connection} of a connection: {error}");
                    return tally.unexpected.lock().unwrap().push(text);
                }
            }
            on_connection += 1;
            tally.answered.fetch_add(1, Ordering::SeqCst);
        }
        tally.answered.fetch_add(1, Ordering::SeqCst);
    }
}

fn drain_under_load(begin: impl FnOnce(&Gateway)) {
    let origin = Origin::start();
    let mut gateway = Gateway::start(&forwarding(&[&origin.address]));
    let (tally, over, address) = (Tally::default(), AtomicBool::new(false), gateway.address().to_owned());
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| ask(&address, &tally, &over));
        }
        thread::sleep(LOAD);
        begin(&gateway);
        let end = gateway.end();
        wait_until("every client is done", || {
            let unexpected = tally.unexpected.lock().unwrap().len();
            tally.refused.load(Ordering::SeqCst) + unexpected == CONNECTIONS
        });
        over.store(true, Ordering::SeqCst);
        assert_eq!(end.code(), Some(0));
    });
    let (answered, unexpected) = (tally.answered.load(Ordering::SeqCst), tally.unexpected.into_inner().unwrap());
    println!("drain under load: {answered} answered, {} unexpected", unexpected.len());
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    assert!(answered > CONNECTIONS, "{answered}");
}

#[test]
fn a_signal_under_load_leaves_no_request_unanswered() {
    drain_under_load(|gateway| gateway.signal("TERM"));
}

#[test]
fn a_call_to_drain_under_load_leaves_no_request_unanswered() {
    drain_under_load(|gateway| assert_eq!(gateway.call("POST", "/drain").status, 202));
}

#[test]
fn a_slow_answer_is_waited_for() {
    let origin = Origin::start();
    let mut gateway = Gateway::start(&forwarding(&[&origin.address]));
    let mut client = gateway.client();
    client.send(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    wait_until("the origin has the request", || origin.requests() == 1);
    gateway.signal("TERM");
    let answer = client.response().unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.closes() && client.ends());
    assert_eq!(gateway.end().code(), Some(0));
}
