//! What the processes of a server use: CPU seconds, memory, bytes written.

use crate::disk::Disk;
use crate::error::BenchError;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The kernel's unit of CPU time; 100 a second on all Linux systems that programs see.
const TICKS_PER_SECOND: f64 = 100.0;

/// Lets this process, and those that it starts, hold as many connections as the machine allows.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, a load of many sessions says so when it runs out.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// What a tree of processes has used since its start.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// CPU time in user and kernel space, children that have ended included.
    pub(crate) cpu_seconds: f64,
    /// Bytes that the processes wrote to files; not what the file system writes for itself.
    pub(crate) written_bytes: u64,
    /// Bytes that the disk was given, by whomever; 0 where no disk is watched.
    pub(crate) disk_bytes: u64,
    /// Flushes of the disk, likewise.
    pub(crate) flushes: u64,
}

impl Usage {
    /// What came since an earlier reading.
    pub(crate) fn since(self, earlier: Usage) -> Usage {
        Usage {
            cpu_seconds: self.cpu_seconds - earlier.cpu_seconds,
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
            disk_bytes: self.disk_bytes.saturating_sub(earlier.disk_bytes),
            flushes: self.flushes.saturating_sub(earlier.flushes),
        }
    }
}

/// Reads what servers use while a load runs, without what its preparation cost them.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Meter {
    /// The first processes of the server; their children count too.
    #[arg(long, value_delimiter = ',')]
    pub(crate) pids: Vec<u32>,
    /// A folder on the server's disk, to count what the disk is given.
    #[arg(long)]
    pub(crate) disk: Option<PathBuf>,
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
    pub(crate) async fn read_at_rest(&self) -> Result<Usage, BenchError> {
        let began = Instant::now();
        let mut last = self.processes();
        while !self.pids.is_empty() && began.elapsed() < REST_MAX {
            tokio::time::sleep(REST).await;
            let now = self.processes();
            let rests = now.since(last).cpu_seconds < REST_CPU_SECONDS;
            last = now;
            if rests {
                break;
            }
        }
        let Some(disk) = self.disk.as_deref().map(Disk::of).transpose()?.flatten() else { return Ok(last) };
        // Our own sync must not count as a flush of the load before it; its bytes do belong to that.
        let flushes = disk.written()?.flushes;
        disk.sync()?;
        let written = disk.written()?;
        OWN_FLUSHES.fetch_add(written.flushes - flushes, Ordering::Relaxed);
        let flushes = written.flushes.saturating_sub(OWN_FLUSHES.load(Ordering::Relaxed));
        Ok(Usage { disk_bytes: written.bytes, flushes, ..last })
    }

    /// What the processes have used up to now.
    fn processes(&self) -> Usage {
        self.pids.iter().copied().map(usage).fold(Usage::default(), |sum, one| Usage {
            cpu_seconds: sum.cpu_seconds + one.cpu_seconds,
            written_bytes: sum.written_bytes + one.written_bytes,
            ..sum
        })
    }

    /// The proportional set size of all, in KiB.
    pub(crate) fn memory_kib(&self) -> Result<u64, BenchError> {
        let total = self.pids.iter().flat_map(|pid| tree(*pid)).filter_map(pss_kib).sum();
        if total == 0 {
            Err(BenchError::Unknown { what: "process", name: format!("{:?}", self.pids) })
        } else {
            Ok(total)
        }
    }
}

/// Flushes of the disk that the meter caused itself.
static OWN_FLUSHES: AtomicU64 = AtomicU64::new(0);

/// A process and all below it that live.
fn tree(pid: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = stat(child).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(child);
        }
    }
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(parent) = found.get(at) {
        found.extend(children.remove(parent).unwrap_or_default());
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
pub(crate) fn usage(pid: u32) -> Usage {
    let mut total = Usage::default();
    for pid in tree(pid) {
        let fields = stat(pid).unwrap_or_default();
        // utime, stime, cutime, cstime: fields 14 to 17 of the whole line.
        let ticks: f64 = fields.iter().skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum();
        total.cpu_seconds += ticks / TICKS_PER_SECOND;
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        total.written_bytes += number_after(&io, "write_bytes:").unwrap_or(0);
    }
    total
}

/// The proportional set size of one process, in KiB.
pub(crate) fn pss_kib(pid: u32) -> Option<u64> {
    number_after(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss:")
}

/// The resident set size of one process, in KiB.
pub(crate) fn rss_kib(pid: u32) -> Option<u64> {
    number_after(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")
}

/// The number in the line that begins with this name.
pub(crate) fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_on_processes_are_understood() {
        let text = "Rss:  12 kB\nPss:                4321 kB\nPss_Dirty:  1 kB\n";
        assert_eq!(number_after(text, "Pss:"), Some(4321));
        assert_eq!(number_after("rchar: 1\nwrite_bytes: 99\n", "write_bytes:"), Some(99));
        assert_eq!(number_after(text, "Swap:"), None);
        let ours = std::process::id();
        assert!(tree(ours).contains(&ours) && pss_kib(ours).is_some_and(|kib| kib > 0));
        assert!(rss_kib(ours) >= pss_kib(ours));
    }
}
