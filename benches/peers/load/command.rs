//! A command line: a name and `key=value` words.

use std::net::SocketAddrV4;
use std::str::FromStr;
use std::time::Duration;

use crate::client::Work;
use crate::transport::Security;

pub struct Command<'a> {
    pub name: &'a str,
    words: Vec<(&'a str, &'a str)>,
}

impl<'a> Command<'a> {
    pub fn parse(line: &'a str) -> Result<Self, String> {
        let mut parts = line.split_whitespace();
        let name = parts.next().ok_or("an empty command")?;
        let words = parts.map(|word| word.split_once('=').ok_or(format!("no '=' in {word:?}")));
        Ok(Self { name, words: words.collect::<Result<_, _>>()? })
    }

    fn find(&self, key: &str) -> Option<&'a str> {
        self.words.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// The value of `key`, or `default` if it is absent.
    pub fn value<T: FromStr>(&self, key: &str, default: T) -> Result<T, String> {
        self.find(key).map_or(Ok(default), |text| text.parse().map_err(|_| format!("{key}={text} is no such value")))
    }

    pub fn target(&self) -> Result<SocketAddrV4, String> {
        let text = self.find("target").ok_or("target=ADDRESS:PORT is missing")?;
        text.parse().map_err(|_| format!("target={text} is no IPv4 address with a port"))
    }

    /// What the connections do: `tls=LEAF.pem`, `streams=16` for HTTP/2, `requests_per_connection=10`.
    pub fn work(&self) -> Result<Work, String> {
        let streams = Some(self.value("streams", 0)?).filter(|&streams| streams > 0);
        // Connections may be used without limit when the command says 0.
        let requests_per_connection = match self.value("requests_per_connection", 0)? {
            0 => u32::MAX,
            limited => limited,
        };
        let handshakes = match self.find("handshakes") {
            None => None,
            Some("full") => Some(false),
            Some("resumed") => Some(true),
            Some(other) => return Err(format!("handshakes={other} is neither full nor resumed")),
        };
        let protocol: &[u8] = if streams.is_some() { b"h2" } else { b"http/1.1" };
        let security = self.find("tls").map(|leaf| Security::new(leaf, protocol, handshakes == Some(true)));
        Ok(Work { requests_per_connection, streams, security: security.transpose()?, handshakes })
    }

    pub fn seconds(&self, key: &str, default: f64) -> Result<Duration, String> {
        Duration::try_from_secs_f64(self.value(key, default)?).map_err(|error| format!("{key}: {error}"))
    }

    /// The processes whose CPU time is wanted.
    pub fn pids(&self) -> Result<Vec<i32>, String> {
        let text = self.find("pids").unwrap_or_default();
        text.split(',')
            .filter(|pid| !pid.is_empty())
            .map(|pid| pid.parse().map_err(|_| format!("pid {pid:?}")))
            .collect()
    }
}
