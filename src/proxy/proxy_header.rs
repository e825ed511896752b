//! The PROXY header in front of a connection to an endpoint: for whom it is opened.
//!
//! It names the client whose request needed the connection, so that the connection is of no use to another client: two
//! requests may share it only where they would have written the same header.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};

use super::exchange::Exchange;
use super::failure::Failure;
use super::net::{Net, Patience, Writer};
use super::shard::Shard;
use crate::base::{Address, Timestamp};
use crate::http::proxy_protocol::{Endpoints, Version, Written, write};
use crate::observe::Reason;

/// The header for the client of this exchange.
pub(super) fn of<N: Net>(x: &Exchange<'_, N>, version: Version) -> Written {
    let (peer, local) = (&x.connection.peer, &x.connection.local);
    write(version, &x.cx.client.map_or(Endpoints::Unknown, |client| endpoints(client, peer, local)))
}

/// Between `client`, who may have come through others to `peer`, and where that one has connected to.
pub(super) fn endpoints(client: IpAddr, peer: &Address, local: &Address) -> Endpoints<'static> {
    let source = match peer {
        Address::Ip(peer) if peer.ip().to_canonical() == client => *peer,
        // Of one whom others have named the port is not known.
        _ => SocketAddr::new(client, 0),
    };
    let destination = match local {
        Address::Ip(local) => *local,
        Address::Unix(_) => SocketAddr::new(unspecified(client), 0),
    };
    Endpoints::Inet { source, destination }
}

/// The address of nobody, in the family of another.
fn unspecified(other: IpAddr) -> IpAddr {
    match other {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Sends it as the first octets of a fresh connection.
pub(super) async fn send<N: Net>(
    shard: &Shard<N>,
    writer: &mut N::Writer,
    header: &[u8],
    until: Timestamp,
) -> Result<(), Failure> {
    let mut buffer = shard.buffers.small();
    buffer.vec().extend_from_slice(header);
    let patience = Patience { idle: until.since(shard.net.now()), until };
    writer.begin_write(buffer, 0, patience);
    let (result, buffer) = poll_fn(|cx| writer.poll_write(cx)).await;
    shard.buffers.give(buffer);
    result.map_err(|error| match error.kind() {
        std::io::ErrorKind::TimedOut => Failure::of(Reason::ConnectTimeout).detail("proxy-header"),
        _ => Failure::of(Reason::ConnectFailed).detail("proxy-header"),
    })
}
