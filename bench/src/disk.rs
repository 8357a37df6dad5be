//! What the disk below a folder was given, bytes and flushes; and how long it takes to sync.
//!
//! The kernel counts for the whole device, so others that write to it meanwhile are counted too. Bytes count when
//! they reach the device, thus [`Disk::sync`] belongs before each reading.

use crate::error::BenchError;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The kernel's unit in these counters, whatever the device's own.
const SECTOR_BYTES: u64 = 512;

/// What a disk has been given since the machine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bytes written.
    pub(crate) bytes: u64,
    /// Flushes: what fsync and fdatasync come to; several that wait together are one.
    pub(crate) flushes: u64,
}

/// The disk of a folder.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    counters: PathBuf,
}

impl Disk {
    /// The disk that this folder lies on; `None` where the kernel counts nothing for it.
    pub(crate) fn of(folder: &Path) -> Result<Option<Disk>, BenchError> {
        let device = fs::metadata(folder)?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let Ok(node) = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")) else { return Ok(None) };
        // Flushes are counted for whole disks alone.
        let whole = if node.join("partition").exists() { node.parent().unwrap_or(&node) } else { &node };
        Ok(Some(Disk { folder: folder.to_owned(), counters: whole.join("stat") }))
    }

    /// Waits until all that was written to the file system is on the disk.
    pub(crate) fn sync(&self) -> Result<(), BenchError> {
        let folder = File::open(&self.folder)?;
        rustix::fs::syncfs(&folder).map_err(|error| BenchError::Io(error.into()))
    }

    /// What it was given up to now.
    pub(crate) fn written(&self) -> Result<Written, BenchError> {
        Ok(parse(&fs::read_to_string(&self.counters)?))
    }
}

/// How long each of so many syncs of a new file takes that grows by so many bytes before each, as a log does. The file
/// is removed again.
pub(crate) fn sync_times(path: &Path, bytes: usize, count: usize) -> Result<Vec<Duration>, BenchError> {
    let mut file = File::create_new(path)?;
    let block = vec![b'x'; bytes];
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    drop(file);
    fs::remove_file(path)?;
    Ok(times)
}

/// The fields of `/sys/block/*/stat` (Documentation/block/stat.rst): sectors written is the 7th, flushes the 16th.
fn parse(text: &str) -> Written {
    let field = |index| text.split_whitespace().nth(index).and_then(|field| field.parse().ok()).unwrap_or(0);
    Written { bytes: field(6) * SECTOR_BYTES, flushes: field(15) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counters_are_understood() {
        let line = "28055 4992 2121002 10807 5036 42862 2536664 6744 0 4148 17839 3663 38 384296 277 254 9";
        assert_eq!(parse(line), Written { bytes: 2_536_664 * 512, flushes: 254 });
        assert_eq!(parse("1 2 3"), Written::default());
    }

    #[test]
    fn every_sync_is_timed_and_nothing_is_left() {
        let path = std::env::temp_dir().join(format!("estafette-bench-sync-{}", std::process::id()));
        assert_eq!(sync_times(&path, 100, 3).unwrap().len(), 3);
        assert!(!path.exists());
    }
}
