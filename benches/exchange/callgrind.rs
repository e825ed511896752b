//! Counts the instructions of an exchange: this binary under valgrind, twice, with one and with two times the
//! exchanges. The difference is free of everything that happens once.
//!
//! What stands for the kernel and the peers behind it, the end of a read or a write in this bench's world, is left out:
//! it is none of the gateway's.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Functions shown.
const FUNCTIONS_MAX: usize = 45;

/// The functions in which nothing is counted: they must not be inlined.
const PEERS: [&str; 2] = ["*world::Half*::poll_read", "*world::Half*::poll_write"];

/// Instructions of one exchange, and the report of where they go.
pub struct Count {
    pub per_exchange: f64,
    pub functions: String,
}

/// Counts over `exchanges` exchanges.
pub fn count(exchanges: u64, mode: &str) -> Result<Count, Box<dyn Error>> {
    let folder = std::env::temp_dir();
    let (once, twice) = (folder.join("tidegate-callgrind.1"), folder.join("tidegate-callgrind.2"));
    let first = run(exchanges, mode, &once)?;
    let second = run(2 * exchanges, mode, &twice)?;
    let per_exchange = (second - first) as f64 / exchanges as f64;
    Ok(Count { per_exchange, functions: functions(&twice, 2 * exchanges)? })
}

/// Instructions of a whole run.
fn run(exchanges: u64, mode: &str, out: &Path) -> Result<u64, Box<dyn Error>> {
    let status = Command::new("valgrind")
        .args(["-q", "--tool=callgrind", "--dump-instr=no", "--separate-threads=no"])
        .args(PEERS.map(|function| format!("--toggle-collect={function}")))
        .arg("--collect-atstart=yes")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["--exchanges", &exchanges.to_string(), mode])
        .status()?;
    if !status.success() {
        return Err(format!("valgrind ended with {status}").into());
    }
    let text = std::fs::read_to_string(out)?;
    let summary = text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    Ok(summary.ok_or("callgrind wrote no summary")?.trim().parse()?)
}

/// The dearest functions: instructions of their own, and with all they call, per exchange.
fn functions(out: &PathBuf, exchanges: u64) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    for (title, inclusive) in [("their own", "no"), ("with what they call", "yes")] {
        let shown = Command::new("callgrind_annotate")
            .args(["--auto=no", "--threshold=100", &format!("--inclusive={inclusive}")])
            .arg(out)
            .output()?;
        text.push_str(&format!("\ninstructions per exchange, {title}:\n"));
        let lines = String::from_utf8_lossy(&shown.stdout).into_owned();
        let functions = lines.lines().filter_map(|line| function(line, exchanges));
        functions.take(FUNCTIONS_MAX).for_each(|line| text.push_str(&line));
    }
    Ok(text)
}

/// `1,234,567 (12.34%)  file.rs:function [object]` as instructions per exchange.
fn function(line: &str, exchanges: u64) -> Option<String> {
    let (count, rest) = line.trim_start().split_once(' ')?;
    let count: u64 = count.replace(',', "").parse().ok()?;
    let name = rest.rsplit_once(')').map_or(rest, |_| rest.split_once(')').map_or(rest, |(_, name)| name)).trim();
    if name.starts_with("PROGRAM TOTALS") {
        return None;
    }
    let name = name.rsplit_once(" [").map_or(name, |(name, _)| name);
    let name: String = name.chars().take(150).collect();
    Some(format!("{:>8.1}  {name}\n", count as f64 / exchanges as f64))
}
