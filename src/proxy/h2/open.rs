//! What is spoken on a fresh connection: as ALPN says over TLS (RFC 7301), else as the first octets say, where the
//! listener takes HTTP/2 by prior knowledge (RFC 9113, section 3.3).

use std::future::poll_fn;
use std::io;
use std::rc::Rc;

use super::serve::serve;
use crate::http::h2::budget::PREFACE;
use crate::observe::Reason;
use crate::proxy::connection::Connection;
use crate::proxy::downstream::idle_deadline;
use crate::proxy::net::{self, Net, Reader, Writer};
use crate::proxy::passthrough;
use crate::proxy::secured;
use crate::proxy::shard::Shard;
use crate::snapshot::ListenerPlan;

/// Whether anything is to be done before the first request.
pub(in crate::proxy) fn is_opened(listener: &ListenerPlan) -> bool {
    listener.tls.is_some() || listener.passthrough.is_some() || listener.http2.is_some()
}

/// Opens a connection, and serves it where HTTP/2 is spoken; whether requests of HTTP/1 may follow.
pub(in crate::proxy) async fn open<N: Net>(shard: Rc<Shard<N>>, connection: Rc<Connection<N>>) -> bool {
    let Some(speaks_http2) = protocol(&shard, &connection).await else { return false };
    if speaks_http2 {
        // Boxed: larger than all that comes before, and for some connections alone.
        Box::pin(serve(shard, connection)).await;
        return false;
    }
    let http1 = connection.listener.borrow().http1;
    if !http1 {
        connection.ended.set(Reason::VersionUnsupported);
    }
    http1
}

/// Whether the client speaks HTTP/2; nothing where it says nothing that is understood.
async fn protocol<N: Net>(shard: &Rc<Shard<N>>, connection: &Rc<Connection<N>>) -> Option<bool> {
    let passes_on = connection.listener.borrow().passthrough.is_some();
    // Boxed: larger than all that comes behind it, and for some listeners alone.
    if passes_on && !Box::pin(passthrough::is_ours(shard, connection)).await {
        return None;
    }
    if !connection.speaks_tls() {
        return peek(shard, connection).await;
    }
    let accepted = secured::accept(Rc::clone(shard), Rc::clone(connection)).await;
    accepted.then(|| connection.secured.get().is_some_and(|secured| secured.speaks_http2))
}

/// Reads the first octets, which stay with the connection: whether they are the preface of HTTP/2, or nothing where none
/// come.
async fn peek<N: Net>(shard: &Shard<N>, connection: &Connection<N>) -> Option<bool> {
    let mut buffer = connection.ahead.borrow_mut().take().unwrap_or_default();
    loop {
        let seen = buffer.filled().len().min(PREFACE.len());
        let is_preface = buffer.filled()[..seen] == PREFACE[..seen];
        if !is_preface || seen == PREFACE.len() {
            *connection.ahead.borrow_mut() = Some(buffer);
            return Some(is_preface);
        }
        let deadline = || idle_deadline(shard, connection);
        let readable = poll_fn(|cx| connection.reader.borrow_mut().poll_readable(cx, deadline()));
        let mut result = readable.await.map(|()| 1);
        if result.is_ok() {
            let room = if buffer.capacity() == 0 { shard.buffers.small() } else { std::mem::take(&mut buffer) };
            (result, buffer) = net::read(&connection.reader, room, deadline()).await;
        }
        if !matches!(result, Ok(count) if count > 0) {
            shard.buffers.give(buffer);
            let timed_out = result.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
            connection.ended.set(if timed_out { Reason::KeepAliveTimeout } else { Reason::ClientClosed });
            connection.writer.borrow_mut().take_leave();
            return None;
        }
    }
}
