//! Receiving a request head: reads until it is complete, or until it is clear what is wrong with it.

use std::io;

use super::connection::Connection;
use super::exchange::Memory;
use super::failure::Failure;
use super::net::{self, Net};
use super::shard::Shard;
use crate::base::{Buffer, Timestamp};
use crate::http::h1::{HeadLimits, Progress};
use crate::observe::Reason;
use crate::snapshot::ListenerPlan;

/// What came of waiting for a head.
pub(super) enum Received {
    /// A head, parsed into the memory.
    Head,
    /// The peer closed, or was silent, between two requests: nothing to answer.
    Nothing,
    /// Not a request we serve.
    Refused(Failure),
    /// The peer failed in the middle of a head: nobody is left to answer.
    Lost(Reason),
}

/// Reads one head into `buffer`, which may hold its beginning already.
pub(super) async fn receive<N: Net>(
    shard: &Shard<N>,
    connection: &Connection<N>,
    listener: &ListenerPlan,
    buffer: &mut Buffer,
    memory: &mut Memory,
    started: Timestamp,
) -> Received {
    let limits = limits(listener);
    let deadline = started.plus(listener.timeouts.head);
    // While the answer before was on its way, a wait for what is in the buffer was followed by a wait for more.
    let mut watched = !buffer.filled().is_empty();
    loop {
        if !buffer.filled().is_empty() {
            match memory.scanner.request(buffer.filled(), &mut memory.request, &limits) {
                Ok(Progress::Complete) => return Received::Head,
                Ok(Progress::Partial) => {}
                Err(error) => return Received::Refused(Failure::malformed(error.status(), error.reason())),
            }
        }
        if buffer.room() == 0 {
            *buffer = grown(shard, std::mem::take(buffer));
        }
        if std::mem::take(&mut watched)
            && let Err(error) = net::readable(&connection.reader, deadline).await
        {
            return lost(&error, buffer);
        }
        let (result, returned) = net::read(&connection.reader, std::mem::take(buffer), deadline).await;
        *buffer = returned;
        match result {
            Ok(0) if buffer.filled().is_empty() => return Received::Nothing,
            Ok(0) => return Received::Lost(Reason::ClientClosed),
            Ok(_) => {}
            Err(error) => return lost(&error, buffer),
        }
    }
}

fn lost(error: &io::Error, buffer: &Buffer) -> Received {
    match error.kind() {
        // Most clients of TLS close without a word, which between two messages harms nobody.
        io::ErrorKind::TimedOut | io::ErrorKind::UnexpectedEof if buffer.filled().is_empty() => Received::Nothing,
        io::ErrorKind::TimedOut => Received::Refused(Failure::of(Reason::HeadTimeout)),
        _ => Received::Lost(Reason::ClientClosed),
    }
}

/// Moves a head that does not fit a small buffer into a large one, which every head fits.
pub(super) fn grown<N: Net>(shard: &Shard<N>, buffer: Buffer) -> Buffer {
    let mut larger = shard.buffers.large();
    larger.vec().extend_from_slice(buffer.filled());
    shard.buffers.give(buffer);
    larger
}

/// The bounds of a head on this listener.
pub(super) fn limits(listener: &ListenerPlan) -> HeadLimits {
    HeadLimits {
        head_bytes_max: listener.limits.head_bytes as usize,
        field_bytes_max: listener.limits.field_bytes as usize,
        fields_max: listener.limits.fields as usize,
        target_bytes_max: listener.limits.target_bytes as usize,
        http10_without_host: listener.default_host.is_some(),
    }
}
