//! nginx as the origin: one process that a test may kill and start again.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::process::Process;
use super::{PATIENCE, holds_within};

/// Another process may take the port that we found free.
const STARTS_MAX: usize = 5;

pub struct Nginx {
    process: Option<Process>,
    folder: TempDir,
    pub address: String,
    /// The files of its certificate and key, where it speaks TLS.
    tls: Option<(PathBuf, PathBuf)>,
    /// Whether it takes PROXY headers, and answers with what they say.
    told: bool,
    /// What else its listener is: `http2`, which in plain text is all that it speaks then.
    speaks: &'static str,
}

impl Nginx {
    pub fn start() -> Self {
        Self::start_by(None, "", false)
    }

    /// The same over TLS, with this certificate and key.
    pub fn start_tls(chain: PathBuf, key: PathBuf) -> Self {
        Self::start_by(Some((chain, key)), "", false)
    }

    /// The same by HTTP/2, over TLS where a certificate and its key are given.
    pub fn start_http2(tls: Option<(PathBuf, PathBuf)>) -> Self {
        Self::start_by(tls, " http2", false)
    }

    /// One that wants a PROXY header on every connection, and answers with the client and the destination in it.
    pub fn start_told(tls: Option<(PathBuf, PathBuf)>) -> Self {
        Self::start_by(tls, "", true)
    }

    fn start_by(tls: Option<(PathBuf, PathBuf)>, speaks: &'static str, told: bool) -> Self {
        for _ in 0..STARTS_MAX {
            let (folder, address) = (TempDir::new().unwrap(), free_address());
            let mut nginx = Self { process: None, folder, address, tls: tls.clone(), speaks, told };
            std::fs::create_dir(nginx.root()).unwrap();
            std::fs::write(nginx.folder.path().join("nginx.conf"), nginx.config()).unwrap();
            if nginx.rise() {
                return nginx;
            }
        }
        panic!("nginx does not start; is /usr/sbin/nginx installed?");
    }

    /// The folder of its files.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("origin.sock")
    }

    /// Starts it again on the same addresses; whether it then answers.
    pub fn rise(&mut self) -> bool {
        let _ = std::fs::remove_file(self.socket());
        let path = self.folder.path();
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-p").arg(path).arg("-c").arg(path.join("nginx.conf")).arg("-e").arg(path.join("error.log"));
        let mut process = Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        let mut ended = false;
        holds_within(PATIENCE, || {
            ended = process.end_within(std::time::Duration::ZERO).is_some();
            ended || TcpStream::connect(&self.address).is_ok()
        });
        self.process = Some(process);
        !ended
    }

    /// Ends it in the middle of whatever it does.
    pub fn fall(&mut self) {
        self.process = None;
    }

    fn config(&self) -> String {
        let (path, address, speaks) = (self.folder.path(), &self.address, self.speaks);
        let (ssl, certificate) = match &self.tls {
            Some((chain, key)) => {
                (" ssl", format!(" ssl_certificate {}; ssl_certificate_key {};", chain.display(), key.display()))
            }
            None => ("", String::new()),
        };
        let (told, answer) = match self.told {
            true => (" proxy_protocol", "$proxy_protocol_addr $proxy_protocol_server_addr:$proxy_protocol_server_port"),
            false => ("", "hello from nginx"),
        };
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String = temporary.iter().map(|name| temp_path(path, name)).collect();
        format!(
            "daemon off; master_process off; pid {path}/pid;\nevents {{ worker_connections 4096; }}\nhttp {{\n  \
             access_log off; client_max_body_size 0; keepalive_requests 100000000; keepalive_timeout 300s;\n{temporary}  \
             server {{\n    listen {address}{ssl}{speaks}{told} backlog=4096;{certificate} listen unix:{path}/origin.sock{told};\n    root {path}/files;\n    \
             location / {{ return 200 \"{answer}\\n\"; }}\n    location /files/ {{ alias {path}/files/; \
             dav_methods PUT; }}\n  }}\n}}\n",
            path = path.display(),
        )
    }
}

fn temp_path(folder: &Path, name: &str) -> String {
    format!("  {name}_temp_path {}/{name};\n", folder.display())
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
