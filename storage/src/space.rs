//! How much room the disk has, asked at most once a second.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long an answer is good for.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Free bytes of the file system that a folder lies on.
pub(crate) struct Space {
    dir: PathBuf,
    start: Instant,
    /// Milliseconds after `start` of the next question.
    next_ms: AtomicU64,
    free_bytes: AtomicU64,
}

impl Space {
    pub(crate) fn of(dir: &Path) -> Space {
        Space {
            dir: dir.to_owned(),
            start: Instant::now(),
            next_ms: AtomicU64::new(0),
            free_bytes: AtomicU64::new(u64::MAX),
        }
    }

    /// Bytes free for us, up to a second old. A question that fails leaves the answer as it was.
    pub(crate) fn free_bytes(&self) -> u64 {
        let now_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now_ms >= self.next_ms.load(Ordering::Relaxed) {
            let wait_ms = u64::try_from(CHECK_EVERY.as_millis()).unwrap_or(u64::MAX);
            self.next_ms.store(now_ms.saturating_add(wait_ms), Ordering::Relaxed);
            match rustix::fs::statvfs(&self.dir) {
                Ok(stat) => {
                    self.free_bytes.store(stat.f_bavail.saturating_mul(stat.f_frsize), Ordering::Relaxed)
                }
                Err(error) => {
                    tracing::warn!(%error, dir = %self.dir.display(), "cannot ask for the free room of the disk")
                }
            }
        }
        self.free_bytes.load(Ordering::Relaxed)
    }
}
