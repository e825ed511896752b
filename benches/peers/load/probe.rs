//! What the scheduler says at one instant: CPU times, switches, and the machine's own counters.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::sys;

pub struct Sample {
    at: Instant,
    proxy_cpu_ns: u64,
    load_idle: Duration,
    involuntary_switches: u64,
    /// The `cpu` lines of `/proc/stat`, as they are.
    machine: String,
}

impl Sample {
    /// A process that has ended counts as zero, and the difference then shows it.
    pub fn take(pids: &[i32], load_idle: Duration) -> Self {
        Self {
            at: Instant::now(),
            proxy_cpu_ns: pids.iter().map(|&pid| sys::process_cpu_ns(pid).unwrap_or(0)).sum(),
            load_idle,
            involuntary_switches: pids.iter().map(|&pid| involuntary_switches(pid)).sum(),
            machine: machine(),
        }
    }

    /// The fields of a JSON object that describe the time from `self` to `end`.
    pub fn until(&self, end: &Self) -> String {
        let mut text = String::new();
        let wall = (end.at - self.at).as_nanos();
        let proxy = end.proxy_cpu_ns as i64 - self.proxy_cpu_ns as i64;
        // What is not idle is work, as this process has its CPU to itself and never sleeps while it measures.
        let work = wall.saturating_sub((end.load_idle - self.load_idle).as_nanos());
        let switches = end.involuntary_switches as i64 - self.involuntary_switches as i64;
        let _ = write!(
            text,
            "\"wall_ns\":{wall},\"proxy_cpu_ns\":{proxy},\"load_work_ns\":{work},\"involuntary_switches\":{switches},\
             \"machine\":[{:?},{:?}]",
            self.machine, end.machine
        );
        text
    }
}

fn machine() -> String {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    text.lines().take_while(|line| line.starts_with("cpu")).collect::<Vec<_>>().join("|")
}

fn involuntary_switches(pid: i32) -> u64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let status = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok());
    status.map(|text| field(&text, "nonvoluntary_ctxt_switches:")).sum()
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}
