//! The PROXY header at the front of a client's connection: received, believed or refused, before anything else is read.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::connection::{Connection, IpText};
use super::downstream::DRAIN_IDLE_MAX;
use super::net::{self, Net, Reader, Writer};
use super::shard::Shard;
use crate::base::{Address, Buffer, Timestamp};
use crate::http::proxy_protocol::{Claims, Endpoints, Header, Progress, UNIQUE_ID_BYTES_MAX, parse};
use crate::observe::{Escaped, Introduction, Reason, Record};

/// A connection whose header is not complete by then is closed. The specification asks for three seconds at least.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);

/// Words for the log and the metrics, beside those of the parser.
const UNTRUSTED: &str = "untrusted-peer";
const LATE: &str = "timeout";
const CUT: &str = "closed";

/// By whom a connection was introduced.
#[derive(Debug)]
pub(super) struct Introduced {
    /// The IP address of the load balancer as text; empty for Unix sockets.
    pub by: IpText,
    /// What its header has claimed besides.
    pub claims: Introduction,
}

/// What was said: by whom, and where the client's connection comes from and goes to, where that is not the socket's own.
pub(super) type Said = (Introduced, Option<(Address, Address)>);

/// Receives the header, and keeps what came behind it for whoever reads next. Nothing where there is none to believe: then
/// the connection is to be closed, and nobody is told but the operator.
pub(super) async fn receive<N: Net>(shard: Rc<Shard<N>>, connection: Rc<Connection<N>>) -> Option<Said> {
    let listener = connection.listener.borrow().clone();
    if !listener.is_introduced_by(&connection.peer) {
        return refuse(&shard, &connection, UNTRUSTED);
    }
    let until = shard.net.now().plus(HEADER_DEADLINE);
    let mut buffer = Buffer::default();
    let refused = loop {
        match read_more(&shard, &connection, &mut buffer, until).await {
            Ok(true) => {}
            // A health check of the load balancer's may say nothing at all.
            Ok(false) if buffer.filled().is_empty() => break None,
            Ok(false) => break Some(CUT),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => break Some(LATE),
            Err(_) if buffer.filled().is_empty() => break None,
            Err(_) => break Some(CUT),
        }
        match parse(buffer.filled()) {
            Ok(Progress::Partial) => {}
            Ok(Progress::Complete(header)) => {
                let (said, length) = (said(&connection, &header), header.length);
                buffer.consume(length);
                keep(&shard, &connection, buffer);
                shard.metrics.proxy_headers.increment();
                return Some(said);
            }
            Err(malformed) => break Some(malformed.word()),
        }
    };
    shard.buffers.give(buffer);
    if let Some(word) = refused {
        return refuse(&shard, &connection, word);
    }
    connection.ended.set(Reason::ClientClosed);
    None
}

/// Waits without a buffer, then reads into one; `false` at the end of the stream.
async fn read_more<N: Net>(
    shard: &Shard<N>,
    connection: &Connection<N>,
    buffer: &mut Buffer,
    until: Timestamp,
) -> io::Result<bool> {
    // Asked for at every poll: a drain wakes whoever waits.
    let deadline = || match shard.is_draining() {
        true => until.min(connection.idle_since.get().plus(DRAIN_IDLE_MAX)),
        false => until,
    };
    poll_fn(|cx| connection.reader.borrow_mut().poll_readable(cx, deadline())).await?;
    let room = if buffer.capacity() == 0 { shard.buffers.small() } else { std::mem::take(buffer) };
    let (result, filled) = net::read(&connection.reader, room, until).await;
    *buffer = filled;
    result.map(|count| count > 0)
}

/// Keeps what came behind the header.
fn keep<N: Net>(shard: &Shard<N>, connection: &Connection<N>, buffer: Buffer) {
    // The time of what follows runs from here.
    connection.idle_since.set(shard.net.now());
    if buffer.filled().is_empty() {
        shard.buffers.give(buffer);
    } else {
        *connection.ahead.borrow_mut() = Some(buffer);
    }
}

fn said<N: Net>(connection: &Connection<N>, header: &Header<'_>) -> Said {
    let endpoints = match &header.endpoints {
        Endpoints::Inet { source, destination } => Some((Address::Ip(*source), Address::Ip(*destination))),
        Endpoints::Unix { source, destination } => Some((unix(source), unix(destination))),
        Endpoints::Local | Endpoints::Unknown => None,
    };
    (Introduced { by: connection.peer_text, claims: claims(&header.claims) }, endpoints)
}

/// Nothing connects to it, so that a path that is no text may lose something.
fn unix(path: &[u8]) -> Address {
    Address::Unix(std::path::Path::new(&*String::from_utf8_lossy(path)).into())
}

fn claims(claims: &Claims<'_>) -> Introduction {
    let version = claims.ssl.and_then(|ssl| ssl.version).unwrap_or_default();
    let id = claims.unique_id.unwrap_or_default();
    let text = std::str::from_utf8(id).ok().filter(|text| !text.contains(char::is_control)).map(str::to_owned);
    let id = text.unwrap_or_else(|| hexadecimal(id));
    Introduction::new(claims.authority.unwrap_or_default(), &String::from_utf8_lossy(version), &id)
}

fn hexadecimal(octets: &[u8]) -> String {
    debug_assert!(octets.len() <= UNIQUE_ID_BYTES_MAX, "the parser refuses longer ones");
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Counts and logs why the connection is closed. Nothing is sent: who speaks out of turn learns nothing of us.
#[cold]
fn refuse<N: Net>(shard: &Shard<N>, connection: &Connection<N>, word: &'static str) -> Option<Said> {
    shard.metrics.proxy_header_failures.increment(word);
    connection.ended.set(Reason::ProxyHeader);
    connection.writer.borrow_mut().abort();
    let adopted = shard.adopted();
    let format = adopted.snapshot.log_format.as_ref()?;
    let (listener, now) = (connection.listener.borrow(), shard.net.now());
    let peer = Escaped::plain(connection.peer_text.as_bytes());
    let record = Record {
        time: shard.net.unix_time(),
        listener: listener.label.as_escaped(),
        client: peer,
        peer,
        reason: Reason::ProxyHeader,
        detail: word,
        ..Record::default()
    };
    shard.log_apart(format, &record, now);
    None
}
