//! A command line: a name and `key=value` words.

use std::net::SocketAddrV4;
use std::str::FromStr;
use std::time::Duration;

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
