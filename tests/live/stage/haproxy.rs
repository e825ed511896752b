//! HAProxy as the load balancer in front: it passes connections on as they are, and says whose they are.

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::process::Process;
use super::{PATIENCE, holds_within};

/// Another process may take the port that we found free.
const STARTS_MAX: usize = 5;

pub struct Haproxy {
    _process: Process,
    _folder: TempDir,
    pub address: String,
}

impl Haproxy {
    /// Forwards connections to `server`, with these words behind its address.
    pub fn start(server: &str, words: &str) -> Self {
        for _ in 0..STARTS_MAX {
            let folder = TempDir::new().unwrap();
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
            let config = format!(
                "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\nlisten edge\n  bind \
                 {address}\n  server gateway {server} {words}\n"
            );
            let path = folder.path().join("haproxy.cfg");
            std::fs::write(&path, config).unwrap();
            let mut command = Command::new("/usr/sbin/haproxy");
            command.arg("-db").arg("-f").arg(path);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut process = Process::spawn(&mut command);
            let mut ended = false;
            holds_within(PATIENCE, || {
                ended = process.end_within(Duration::ZERO).is_some();
                ended || TcpStream::connect(&address).is_ok()
            });
            if !ended {
                return Self { _process: process, _folder: folder, address };
            }
        }
        panic!("HAProxy does not start; is /usr/sbin/haproxy installed?");
    }
}
