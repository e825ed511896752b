//! What systemd is told, and the sockets that it gives.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use crate::stage::{ADMIN, Client, Gateway, PATIENCE};

/// Makes descriptor 0 the first that systemd gives, and becomes the gateway.
const ACTIVATE: &str = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";

fn config(bind: &str) -> String {
    format!(
        "listeners:\n  public: {{ bind: \"{bind}\" }}\nroutes:\n  - {{ match: {{ path: \"/\" }}, respond: {{ status: 200, \
         body: hello }} }}\n{ADMIN}"
    )
}

fn hear(socket: &UnixDatagram) -> String {
    let mut text = [0; 512];
    let length = socket.recv(&mut text).expect("systemd is told nothing");
    String::from_utf8_lossy(&text[..length]).into_owned()
}

#[test]
fn systemd_hears_of_readiness_and_of_the_end() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut gateway = Gateway::start_by(&config("127.0.0.1:0"), |binary| {
        let mut command = Command::new(binary);
        command.env("NOTIFY_SOCKET", &path);
        command
    });
    assert!(hear(&socket).contains("READY=1"));
    gateway.signal("TERM");
    assert!(hear(&socket).contains("STOPPING=1"));
    assert_eq!(gateway.end().code(), Some(0));
}

#[test]
fn a_socket_of_systemd_is_used_and_stays_open_after_the_end() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let mut gateway = Gateway::start_by(&config(&address), given(socket.try_clone().unwrap().into()));
    assert_eq!(gateway.address(), address);
    for _ in 0..20 {
        assert_eq!(gateway.get("/").text(), "hello");
    }
    gateway.signal("TERM");
    assert_eq!(gateway.end().code(), Some(0));
    assert!(Client::try_connect(&address).is_ok(), "the socket queues for the next process");
}

/// What becomes of a gateway that is given `descriptor`.
fn given(descriptor: OwnedFd) -> impl FnOnce(&str) -> Command {
    move |binary| {
        let mut command = Command::new("sh");
        command.stdin(descriptor).args(["-c", ACTIVATE, binary]);
        command
    }
}

#[test]
fn a_socket_that_no_listener_names_is_told() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let gateway = Gateway::start_by(&config("127.0.0.1:0"), given(socket.into()));
    assert!(gateway.told().contains(&format!("unused      {address}: ")), "{}", gateway.told());
    assert_ne!(gateway.address(), address);
}

#[test]
fn a_descriptor_that_is_no_listening_socket_ends_the_start_by_name() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
    let output = Gateway::refused_by(&config("127.0.0.1:0"), given(connected.into()));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("descriptor 3 of socket activation") && told.contains("ListenStream="), "{told}");
}
