//! Listening sockets: bound once per worker and address, shared where the kernel cannot share them for us.
//!
//! Every worker binds a TCP address for itself (SO_REUSEPORT), so that the kernel spreads connections and no worker
//! waits for another. A Unix path can be bound only once, and an activated socket was bound by somebody else: those are
//! bound once per process and duplicated. Listening sockets never block; who accepts waits for readiness first.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};

use crate::base::Address;

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A listening address could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}")]
pub struct BindError {
    pub address: Address,
    #[source]
    pub cause: io::Error,
}

/// A listening socket of one worker.
pub(super) struct Bound {
    pub socket: Socket,
    /// Where it really listens: a port that was left to the kernel is filled in.
    pub local: Address,
    claim: Arc<Claim>,
}

impl Bound {
    /// Refuses new clients, as far as nobody else listens on this socket; the handshakes under way may finish.
    pub(super) fn refuse_newcomers(&self) {
        if self.claim.shared.is_none() {
            // Best effort: without the filter a client may be reset in the instant before the socket closes.
            let _ = self.socket.attach_filter(&DROP_FIRST_SEGMENTS);
        }
    }
}

/// Drops every segment with SYN and without ACK: its client tries again, and by then the socket is closed.
static DROP_FIRST_SEGMENTS: [SockFilter; 5] = {
    const TCP_FLAGS_OFFSET: u32 = 13;
    const SYN_AND_ACK: u32 = 0x12;
    const SYN: u32 = 0x02;
    [
        SockFilter::new((libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16, 0, 0, TCP_FLAGS_OFFSET),
        SockFilter::new((libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16, 0, 0, SYN_AND_ACK),
        SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, 1, SYN),
        SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0),
        SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, u32::MAX),
    ]
};

/// This process's hold on an address, for as long as any worker listens on it.
struct Claim {
    local: Address,
    /// The one socket to duplicate, where each worker cannot bind its own.
    shared: Option<Socket>,
    /// The socket file to remove in the end: path, device and inode.
    file: Option<(PathBuf, u64, u64)>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(path) = self.own_file() {
            let _ = fs::remove_file(path);
        }
    }
}

type Key = (Address, bool);

/// All listening addresses of this process. Workers ask it while they prepare a snapshot, and hold its lock no longer
/// than a bind takes.
#[derive(Default)]
pub struct SocketStore {
    claims: Mutex<HashMap<Key, Weak<Claim>>>,
    /// Sockets that came from outside; kept for good.
    activated: Vec<Arc<Claim>>,
}

impl SocketStore {
    /// A store that listens on `activated` sockets (from socket activation, already listening) where a listener names
    /// their address.
    pub fn new(activated: Vec<OwnedFd>) -> io::Result<Self> {
        let take = |fd: OwnedFd| {
            let number = fd.as_raw_fd();
            let claim = Claim::activated(Socket::from(fd)).map(Arc::new);
            claim.map_err(|error| {
                io::Error::new(error.kind(), format!("descriptor {number} of socket activation: {error}"))
            })
        };
        Ok(Self { claims: Mutex::default(), activated: activated.into_iter().map(take).collect::<io::Result<_>>()? })
    }

    /// The addresses of the sockets that came from outside.
    pub fn activated(&self) -> impl Iterator<Item = &Address> {
        self.activated.iter().map(|claim| &claim.local)
    }

    /// Where this process listens for `address`: the same, but for a port that was left to the kernel.
    pub fn local(&self, address: &Address, ipv6_only: bool) -> Option<Address> {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (address.clone(), ipv6_only && matches!(address, Address::Ip(_)));
        let claim = claims.get(&key).and_then(Weak::upgrade)?;
        Some(claim.local.clone())
    }

    /// A listening socket on `address` for one worker; that of a path has these permissions.
    pub(super) fn open(&self, address: &Address, ipv6_only: bool, mode: Option<u32>) -> Result<Bound, BindError> {
        self.try_open(address, ipv6_only, mode).map_err(|cause| BindError { address: address.clone(), cause })
    }

    /// Changes the permissions of a path that is ours, as far as we may.
    pub(super) fn permit(&self, address: &Address, mode: u32) {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = claims.get(&(address.clone(), false)).and_then(Weak::upgrade);
        if let Some(path) = claim.as_ref().and_then(|claim| claim.own_file()) {
            // Whoever removed the file, or took it from us, has decided who may connect.
            let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode));
        }
    }

    fn try_open(&self, address: &Address, ipv6_only: bool, mode: Option<u32>) -> io::Result<Bound> {
        if let Some(claim) = self.activated.iter().find(|claim| claim.local == *address) {
            return claim.join(ipv6_only);
        }
        let key = (address.clone(), ipv6_only && matches!(address, Address::Ip(_)));
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(claim) = claims.get(&key).and_then(Weak::upgrade) {
            return claim.join(ipv6_only);
        }
        let bound = match address {
            Address::Ip(address) => {
                // A changed address may overlap with the one it replaces; then the port is known to be ours.
                let ours = claims.values().filter_map(Weak::upgrade).any(|claim| claim.has_port(address.port()));
                bind_first(*address, ipv6_only, ours)?
            }
            Address::Unix(path) => bind_unix(path, mode)?,
        };
        claims.retain(|_, claim| claim.strong_count() > 0);
        claims.insert(key, Arc::downgrade(&bound.claim));
        Ok(bound)
    }
}

impl Claim {
    fn activated(socket: Socket) -> io::Result<Self> {
        if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
            let problem = "it is no listening stream socket; the unit must have ListenStream= and Accept=no";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        socket.set_nonblocking(true)?;
        let local = address_of(&socket.local_addr()?)?;
        if matches!(local, Address::Ip(_)) {
            socket.set_tcp_nodelay(true)?;
        }
        Ok(Self { local, shared: Some(socket), file: None })
    }

    /// The path of the socket file that this process has made, if it is still there.
    fn own_file(&self) -> Option<&Path> {
        let (path, device, inode) = self.file.as_ref()?;
        let found = fs::symlink_metadata(path).ok()?;
        ((found.dev(), found.ino()) == (*device, *inode)).then_some(path)
    }

    fn has_port(&self, port: u16) -> bool {
        matches!(self.local, Address::Ip(local) if local.port() == port)
    }

    /// A further worker's socket on a claimed address.
    fn join(self: &Arc<Self>, ipv6_only: bool) -> io::Result<Bound> {
        let socket = match (&self.shared, &self.local) {
            (Some(shared), _) => shared.try_clone()?,
            (None, Address::Ip(address)) => listen_ip(*address, ipv6_only)?,
            (None, Address::Unix(_)) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Bound { socket, local: self.local.clone(), claim: Arc::clone(self) })
    }
}

/// The first socket of this process on an address. SO_REUSEPORT would quietly share it with another process of the same
/// user, so a port that is not ours already is first bound without.
fn bind_first(address: SocketAddr, ipv6_only: bool, port_is_ours: bool) -> io::Result<Bound> {
    if !port_is_ours {
        let alone = new_ip(address, ipv6_only)?;
        alone.bind(&address.into())?;
    }
    let socket = listen_ip(address, ipv6_only)?;
    let local = address_of(&socket.local_addr()?)?;
    let claim = Arc::new(Claim { local: local.clone(), shared: None, file: None });
    Ok(Bound { socket, local, claim })
}

fn listen_ip(address: SocketAddr, ipv6_only: bool) -> io::Result<Socket> {
    let socket = new_ip(address, ipv6_only)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn new_ip(address: SocketAddr, ipv6_only: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(ipv6_only)?;
    }
    Ok(socket)
}

fn bind_unix(path: &Path, mode: Option<u32>) -> io::Result<Bound> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    if let Some(mode) = mode {
        // Before it listens nobody can connect.
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    socket.listen(BACKLOG)?;
    let local = Address::Unix(Arc::from(path));
    let file = fs::symlink_metadata(path).ok().map(|found| (path.to_path_buf(), found.dev(), found.ino()));
    let claim = Arc::new(Claim { local: local.clone(), shared: Some(socket.try_clone()?), file });
    Ok(Bound { socket, local, claim })
}

/// Removes a socket file that nobody listens on any more; anything else at the path stays, and fails the bind.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path exists and is no socket")),
        Err(_) => return Ok(()),
    }
    // Not the standard library's connect: it waits where somebody listens and accepts nothing.
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on the path")),
    }
}

/// A socket's address as we name it: IPv4 clients of a dual-stack socket are IPv4 addresses.
pub(super) fn address_of(address: &SockAddr) -> io::Result<Address> {
    if let Some(ip) = address.as_socket() {
        return Ok(Address::Ip(SocketAddr::new(ip.ip().to_canonical(), ip.port())));
    }
    if address.is_unix() {
        let path = address.as_pathname().unwrap_or(Path::new(""));
        return Ok(Address::Unix(Arc::from(path)));
    }
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn any_port() -> Address {
        Address::Ip("127.0.0.1:0".parse().unwrap())
    }

    #[test]
    fn a_socket_file_has_the_permissions_that_were_asked_for_and_later_those_of_a_reload() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let (store, address) = (SocketStore::default(), Address::Unix(path.as_path().into()));
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let _bound = store.open(&address, false, Some(0o620)).unwrap();
        assert_eq!(mode(), 0o620);
        store.permit(&address, 0o660);
        assert_eq!(mode(), 0o660);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "of somebody else").unwrap();
        let theirs = mode();
        store.permit(&address, 0o600);
        assert_eq!(mode(), theirs);
    }

    #[test]
    fn workers_of_one_process_share_an_address() {
        let store = SocketStore::default();
        let first = store.open(&any_port(), false, None).unwrap();
        let second = store.open(&any_port(), false, None).unwrap();
        assert_eq!(first.local, second.local);
    }

    #[test]
    fn an_address_of_another_process_is_refused_by_name() {
        let other = SocketStore::default();
        let taken = other.open(&any_port(), false, None).unwrap();
        let error = SocketStore::default().open(&taken.local, false, None).map(drop).unwrap_err();
        assert_eq!(error.cause.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("cannot listen on {}: ", taken.local)), "{error}");
    }

    #[test]
    fn an_address_may_overlap_with_the_one_it_replaces() {
        let store = SocketStore::default();
        let wide = store.open(&Address::Ip("0.0.0.0:0".parse().unwrap()), false, None).unwrap();
        let Address::Ip(wide) = wide.local else { unreachable!("it is an IP socket") };
        let narrow = Address::Ip(SocketAddr::from(([127, 0, 0, 1], wide.port())));
        assert_eq!(store.open(&narrow, false, None).unwrap().local, narrow);
    }

    #[test]
    fn accepted_sockets_send_at_once() {
        let bound = SocketStore::default().open(&any_port(), false, None).unwrap();
        let Address::Ip(address) = bound.local else { unreachable!("it is an IP socket") };
        let _client = std::net::TcpStream::connect(address).unwrap();
        assert!(bound.socket.accept().unwrap().0.tcp_nodelay().unwrap());
    }

    #[test]
    fn a_dual_stack_address_names_its_ipv4_clients_as_such() {
        let bound = SocketStore::default().open(&Address::Ip("[::]:0".parse().unwrap()), false, None).unwrap();
        let Address::Ip(address) = bound.local else { unreachable!("it is an IP socket") };
        let client = std::net::TcpStream::connect(("127.0.0.1", address.port())).unwrap();
        let (_, peer) = bound.socket.accept().unwrap();
        assert_eq!(address_of(&peer).unwrap(), Address::Ip(client.local_addr().unwrap()));
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_removed_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let store = SocketStore::default();
        let address = Address::Unix(Arc::from(path.as_path()));
        let sockets = [store.open(&address, false, None).unwrap(), store.open(&address, false, None).unwrap()];
        UnixStream::connect(&path).unwrap();
        drop(sockets);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_file_of_a_successor_is_left_alone_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let ours = SocketStore::default().open(&Address::Unix(Arc::from(path.as_path())), false, None).unwrap();
        fs::rename(&path, folder.path().join("old")).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
    }

    #[test]
    fn a_socket_file_whose_owner_accepts_nothing_is_taken_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _clients = fill_queue(&path);
        let error = SocketStore::default().open(&Address::Unix(Arc::from(path.as_path())), false, None).map(drop);
        assert_eq!(error.unwrap_err().cause.kind(), io::ErrorKind::AddrInUse);
    }

    /// A listening socket at `path` whose queue is full.
    fn fill_queue(path: &Path) -> Vec<Socket> {
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let mut sockets = vec![listener];
        loop {
            let client = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
            let outcome = client.connect(&SockAddr::unix(path).unwrap());
            sockets.push(client);
            if outcome.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                return sockets;
            }
        }
    }

    #[test]
    fn a_living_socket_file_and_a_plain_file_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (living, plain) = (folder.path().join("living"), folder.path().join("plain"));
        let _listener = UnixListener::bind(&living).unwrap();
        fs::write(&plain, b"precious").unwrap();
        let store = SocketStore::default();
        for path in [&living, &plain] {
            assert!(store.open(&Address::Unix(Arc::from(path.as_path())), false, None).is_err());
            assert!(path.exists());
        }
    }

    #[test]
    fn a_descriptor_that_nobody_can_connect_to_is_refused_by_number() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = fs::File::open("/dev/null").unwrap();
        for descriptor in [OwnedFd::from(connected), datagrams.into(), file.into()] {
            let number = descriptor.as_raw_fd();
            let error = SocketStore::new(vec![descriptor]).map(drop).unwrap_err();
            assert!(error.to_string().starts_with(&format!("descriptor {number} of socket activation: ")), "{error}");
        }
    }

    #[test]
    fn an_activated_socket_serves_its_address() {
        let activated = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let local = Address::Ip(activated.local_addr().unwrap());
        let store = SocketStore::new(vec![activated.into()]).unwrap();
        assert_eq!(store.open(&local, false, None).unwrap().local, local);
    }
}
