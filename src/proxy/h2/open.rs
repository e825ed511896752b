//! What is spoken on a fresh connection: as ALPN says over TLS (RFC 7301), else as the first octets say, where the
//! listener takes HTTP/2 by prior knowledge (RFC 9113, section 3.3).

use std::io;
use std::rc::Rc;

use crate::base::Buffer;
use crate::http::h2::budget::PREFACE;
use crate::observe::Reason;
use crate::proxy::connection::Connection;
use crate::proxy::net::{self, Net, Writer};
use crate::proxy::secured;
use crate::proxy::shard::Shard;
use crate::snapshot::ListenerPlan;

/// What a fresh connection has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Opening {
    Http1,
    Http2,
    /// It ends.
    Ended,
}

/// Whether anything is to be done before the first request.
pub(in crate::proxy) fn is_opened(listener: &ListenerPlan) -> bool {
    listener.tls.is_some() || listener.http2.is_some()
}

/// Opens a connection.
pub(in crate::proxy) async fn open<N: Net>(shard: Rc<Shard<N>>, connection: Rc<Connection<N>>) -> Opening {
    let listener = connection.listener.borrow().clone();
    let speaks_http2 = if connection.speaks_tls() {
        if !secured::accept(Rc::clone(&shard), Rc::clone(&connection)).await {
            return Opening::Ended;
        }
        connection.secured.get().is_some_and(|secured| secured.speaks_http2)
    } else {
        match peek(&shard, &connection, &listener).await {
            Some(speaks_http2) => speaks_http2,
            None => return Opening::Ended,
        }
    };
    match speaks_http2 {
        true => Opening::Http2,
        false if listener.http1 => Opening::Http1,
        false => {
            connection.ended.set(Reason::VersionUnsupported);
            Opening::Ended
        }
    }
}

/// Reads the first octets, which stay with the connection: whether they are the preface of HTTP/2, or nothing where none
/// come.
async fn peek<N: Net>(shard: &Shard<N>, connection: &Connection<N>, listener: &ListenerPlan) -> Option<bool> {
    let deadline = shard.net.now().plus(listener.timeouts.head);
    let mut buffer = Buffer::default();
    loop {
        let mut result = net::readable(&connection.reader, deadline).await.map(|()| 1);
        if result.is_ok() {
            let room = if buffer.capacity() == 0 { shard.buffers.small() } else { std::mem::take(&mut buffer) };
            (result, buffer) = net::read(&connection.reader, room, deadline).await;
        }
        if !matches!(result, Ok(count) if count > 0) {
            shard.buffers.give(buffer);
            let timed_out = result.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
            connection.ended.set(if timed_out { Reason::KeepAliveTimeout } else { Reason::ClientClosed });
            connection.writer.borrow_mut().take_leave();
            return None;
        }
        let seen = buffer.filled().len().min(PREFACE.len());
        let is_preface = buffer.filled()[..seen] == PREFACE[..seen];
        if !is_preface || seen == PREFACE.len() {
            *connection.ahead.borrow_mut() = Some(buffer);
            return Some(is_preface);
        }
    }
}
