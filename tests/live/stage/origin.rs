//! An origin that does as the path says, a thread per connection.
//!
//! `/slow` answers after a moment, `/hang` never; an upgrade becomes an echo; everything else answers with the head that
//! arrived.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

pub const SLOW: Duration = Duration::from_millis(200);
/// RFC 6455, section 1.3.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub struct Origin {
    pub address: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: AtomicUsize,
    hanging: AtomicUsize,
    cancelled: AtomicUsize,
}

impl Origin {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, seen) = (listener.local_addr().unwrap().to_string(), Arc::new(Seen::default()));
        let shared = Arc::clone(&seen);
        // Ends with the process of the test.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &seen));
            }
        });
        Self { address, seen }
    }

    /// Requests read so far.
    pub fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }

    /// Requests for `/hang` that wait now or have waited.
    pub fn hanging(&self) -> usize {
        self.seen.hanging.load(Ordering::SeqCst)
    }

    /// Of these, the ones whose connection ended.
    pub fn cancelled(&self) -> usize {
        self.seen.cancelled.load(Ordering::SeqCst)
    }
}

fn serve(stream: TcpStream, seen: &Seen) {
    let _ = stream.set_nodelay(true);
    let Ok(mut out) = stream.try_clone() else { return };
    let mut stream = BufReader::new(stream);
    while let Some(head) = read_head(&mut stream) {
        seen.requests.fetch_add(1, Ordering::SeqCst);
        let path = head.split(' ').nth(1).unwrap_or("").to_owned();
        if path == "/hang" {
            seen.hanging.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read_to_end(&mut Vec::new());
            seen.cancelled.fetch_add(1, Ordering::SeqCst);
            return;
        }
        if path == "/slow" {
            thread::sleep(SLOW);
        }
        if head.to_ascii_lowercase().contains("\r\nupgrade: websocket") {
            return echo(&mut stream, &mut out);
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        if out.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The next head, its body consumed.
fn read_head(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
        let line = head[start..].trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    std::io::copy(&mut stream.take(length), &mut std::io::sink()).ok()?;
    Some(head)
}

fn echo(stream: &mut BufReader<TcpStream>, out: &mut TcpStream) {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: \
         {ACCEPT}\r\n\r\n"
    );
    if out.write_all(head.as_bytes()).is_ok() {
        let _ = std::io::copy(stream, out);
    }
}
