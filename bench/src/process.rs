//! What the processes of a server use: CPU seconds, memory, bytes written.

use crate::error::BenchError;
use serde::{Deserialize, Serialize};
use std::fs;
use std::time::{Duration, Instant};

/// The kernel's unit of CPU time; 100 a second on all Linux systems that programs see.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a tree of processes has used since its start.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// CPU time in user and kernel space, children that have ended included.
    pub cpu_seconds: f64,
    /// Bytes that were sent to the disk.
    pub written_bytes: u64,
}

impl Usage {
    /// What came since an earlier reading.
    pub(crate) fn since(self, earlier: Usage) -> Usage {
        Usage {
            cpu_seconds: self.cpu_seconds - earlier.cpu_seconds,
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
        }
    }
}

/// Reads what servers use while a load runs, without what its preparation cost them.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Meter {
    /// The first processes of the server; their children count too.
    #[arg(long, value_delimiter = ',')]
    pub(crate) pids: Vec<u32>,
}

/// The longest that a server is waited for until it has finished what a load has left it to do.
const REST_MAX: Duration = Duration::from_secs(30);
/// A server rests when it uses next to nothing for this long.
const REST: Duration = Duration::from_millis(500);
/// CPU seconds that are next to nothing.
const REST_CPU_SECONDS: f64 = 0.015;

impl Meter {
    /// What they have used once they rest: what a server puts off (compaction, indexes) belongs to the load
    /// that caused it, and not to the next.
    pub(crate) async fn read_at_rest(&self) -> Usage {
        let began = Instant::now();
        let mut last = self.read();
        while !self.pids.is_empty() && began.elapsed() < REST_MAX {
            tokio::time::sleep(REST).await;
            let now = self.read();
            if now.since(last).cpu_seconds < REST_CPU_SECONDS {
                return now;
            }
            last = now;
        }
        last
    }

    /// What they have used up to now.
    pub(crate) fn read(&self) -> Usage {
        self.pids.iter().copied().map(usage).fold(Usage::default(), |sum, one| Usage {
            cpu_seconds: sum.cpu_seconds + one.cpu_seconds,
            written_bytes: sum.written_bytes + one.written_bytes,
        })
    }
}

/// A process and all below it that live.
fn tree(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut parents: Vec<(u32, u32)> = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = stat(child).and_then(|fields| fields.get(1)?.parse().ok()) {
            parents.push((child, parent));
        }
    }
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        at += 1;
    }
    found
}

/// The fields of `/proc/PID/stat` after the name: state, parent, …
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// Reads what a process and those below it have used.
fn usage(pid: u32) -> Usage {
    let mut total = Usage::default();
    for pid in tree(pid) {
        let fields = stat(pid).unwrap_or_default();
        // utime, stime, cutime, cstime: fields 14 to 17 of the whole line.
        let ticks: f64 = fields.iter().skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum();
        total.cpu_seconds += ticks / TICKS_PER_SECOND;
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        total.written_bytes += written.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0);
    }
    total
}

/// The proportional set size of a process and those below it, in KiB.
pub(crate) fn memory_kib(pid: u32) -> Result<u64, BenchError> {
    let mut total = 0;
    for pid in tree(pid) {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        total +=
            pss.and_then(|kib| kib.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(total)
}
