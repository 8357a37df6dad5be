//! Room on the disk: how much is free, and whether a write may begin.
//!
//! A write begins only if its bytes and [`MARGIN_BYTES`] are free. Otherwise it is refused with
//! [`Error::Full`] before anything of it is written, and may be tried again. When that has gone on for
//! [`PATIENCE`], parts of the [`Reserve`] are given up for it: not at once, because what has just taken
//! the last byte of the disk would take them too.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::Error;
use crate::options::BLOB_FILE_BYTES;
use crate::reserve::{Reserve, SLICE_BYTES};

/// How long an answer is good for, unless a write hangs on it.
const CHECK_EVERY: Duration = Duration::from_millis(10);
/// With so much more than is needed, an answer that is a moment old is good for a write too: nobody fills that
/// up within [`CHECK_EVERY`].
const PLENTY_BYTES: u64 = 1 << 30;
/// How often it is tried to fill the reserve up.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// Free beside the bytes of a write: RocksDB allocates as much at once for a log of most families.
const MARGIN_BYTES: u64 = 20 * 1024 * 1024;
/// Free beside the bytes of a write on a disk that has been full for some time.
const TIGHT_BYTES: u64 = 2 * 1024 * 1024;
/// How long the disk has to be full before what is kept back is used.
const PATIENCE: Duration = Duration::from_millis(500);
/// With less than this at the start, the reserve is given up: opening makes files of the logs.
const START_BYTES: u64 = 128 * 1024 * 1024;
/// How long the store counts as full after a write found no room.
const SHORT_FOR: Duration = Duration::from_secs(1);
/// The least `min_free_bytes` for a node that keeps mail.
///
/// What is under way when the room falls below it needs: the log entries (8 MiB for each group, or one
/// message), tables and blobs made of the memory of all families (64 MiB), and the next log (35 MiB).
/// A half of it again is kept back from other programs. docs/decisions/005-full-disk.md has measurements.
pub const MIN_FREE_BYTES_MIN: u64 = 128 * 1024 * 1024;

/// Free bytes of the file system that a folder lies on, and what is kept back of them.
pub(crate) struct Space {
    dir: PathBuf,
    min_free_bytes: u64,
    reserve: Mutex<Reserve>,
    start: Instant,
    free_bytes: AtomicU64,
    // Milliseconds after `start`:
    /// of the next question,
    next_ms: AtomicU64,
    /// of the next look at the reserve,
    tend_ms: AtomicU64,
    /// of the last write that found no room; 0 if there was one since that found it,
    short_ms: AtomicU64,
    /// and since when the disk is full; 0 if it is not.
    full_ms: AtomicU64,
}

impl Space {
    /// `min_free_bytes` of 0 turns all of this off.
    pub(crate) fn of(dir: &Path, min_free_bytes: u64) -> Result<Space, Error> {
        let space = Space {
            dir: dir.to_owned(),
            min_free_bytes,
            reserve: Mutex::new(Reserve::open(dir, min_free_bytes)?),
            start: Instant::now(),
            free_bytes: AtomicU64::new(u64::MAX),
            next_ms: AtomicU64::new(0),
            tend_ms: AtomicU64::new(0),
            short_ms: AtomicU64::new(0),
            full_ms: AtomicU64::new(0),
        };
        if space.ask() < START_BYTES {
            space.release_all();
        }
        Ok(space)
    }

    /// Bytes free for us, a moment old. A question that fails leaves the answer as it was.
    pub(crate) fn free_bytes(&self) -> u64 {
        if self.is_due(&self.next_ms, CHECK_EVERY) {
            self.ask()
        } else {
            self.free_bytes.load(Ordering::Relaxed)
        }
    }

    /// Bytes that are kept back from other programs.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        self.reserve.lock().bytes()
    }

    /// True while no new mail should be taken.
    pub(crate) fn is_short(&self) -> bool {
        let short_ms = self.short_ms.load(Ordering::Relaxed);
        let refused = short_ms > 0 && self.now_ms().saturating_sub(short_ms) < ms(SHORT_FOR);
        refused || self.free_bytes() < self.min_free_bytes
    }

    /// True if there is so little room that what can be given back should be: long before mail is refused.
    pub(crate) fn is_scarce(&self) -> bool {
        self.min_free_bytes > 0 && (self.free_bytes() / 2 < self.min_free_bytes || self.is_short())
    }

    /// Room for what can wait: beyond what is kept free, or, of little, enough to get more by it.
    pub(crate) fn spare_bytes(&self) -> u64 {
        let free_bytes = self.free_bytes();
        match free_bytes.saturating_sub(self.min_free_bytes) {
            0 if free_bytes >= 3 * BLOB_FILE_BYTES => BLOB_FILE_BYTES,
            spare_bytes => spare_bytes,
        }
    }

    /// Sees to it that a write of so many bytes finds room.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub(crate) fn make(&self, bytes: usize) -> Result<(), Error> {
        fail::fail_point!("storage::room", |_| Err(self.refuse(0, MARGIN_BYTES)));
        if self.min_free_bytes == 0 {
            return Ok(());
        }
        let bytes = bytes as u64;
        let needed_bytes = bytes.saturating_add(MARGIN_BYTES);
        if self.free_bytes() >= needed_bytes.saturating_add(PLENTY_BYTES) {
            return Ok(());
        }
        let mut free_bytes = self.ask();
        if free_bytes >= needed_bytes {
            return Ok(());
        }
        if !self.is_patience_over() {
            return Err(self.refuse(free_bytes, needed_bytes));
        }
        let needed_bytes = bytes.saturating_add(TIGHT_BYTES);
        while free_bytes < needed_bytes {
            if !self.reserve.lock().release() {
                return Err(self.refuse(free_bytes, needed_bytes));
            }
            tracing::warn!(free_bytes, "the disk is full; room that was kept back is used");
            free_bytes = self.ask();
        }
        Ok(())
    }

    /// RocksDB had no room for its files and takes no writes until it has some: it gets all there is.
    pub(crate) fn refused_by_database(&self) -> Error {
        let free_bytes = self.ask();
        if free_bytes < MARGIN_BYTES + TIGHT_BYTES + SLICE_BYTES && self.is_patience_over() {
            self.release_all();
        }
        self.refuse(free_bytes, MARGIN_BYTES)
    }

    /// True if the disk, which is full, has been so for some time.
    fn is_patience_over(&self) -> bool {
        let now_ms = self.now_ms().max(1);
        let first = self.full_ms.compare_exchange(0, now_ms, Ordering::Relaxed, Ordering::Relaxed);
        first.is_err_and(|since_ms| now_ms.saturating_sub(since_ms) >= ms(PATIENCE))
    }

    /// A write went through.
    pub(crate) fn wrote(&self) {
        if self.full_ms.load(Ordering::Relaxed) > 0 && self.free_bytes.load(Ordering::Relaxed) >= MARGIN_BYTES
        {
            self.full_ms.store(0, Ordering::Relaxed);
        }
        if self.short_ms.load(Ordering::Relaxed) > 0 && self.short_ms.swap(0, Ordering::Relaxed) > 0 {
            tracing::info!("the disk has room again, writes go on");
        }
    }

    /// Why nothing more is taken, where [`Space::is_short`] says so.
    pub(crate) fn full(&self) -> Error {
        let free_bytes = self.free_bytes.load(Ordering::Relaxed);
        Error::Full { free_bytes, needed_bytes: self.min_free_bytes }
    }

    /// Fills the reserve up if there is room to spare, now and then. True if it needs no more of that.
    pub(crate) fn tend(&self) -> bool {
        let mut reserve = self.reserve.lock();
        if !reserve.is_whole() && self.is_due(&self.tend_ms, TEND_EVERY) {
            reserve.refill(self.ask().saturating_sub(self.min_free_bytes));
        }
        reserve.is_whole()
    }

    fn release_all(&self) {
        let mut reserve = self.reserve.lock();
        let kept = reserve.bytes();
        while reserve.release() {}
        if kept > 0 {
            tracing::warn!(bytes = kept, "the disk is full; all room that was kept back is used");
        }
    }

    fn refuse(&self, free_bytes: u64, needed_bytes: u64) -> Error {
        let before = self.short_ms.swap(self.now_ms().max(1), Ordering::Relaxed);
        if before == 0 {
            tracing::warn!(free_bytes, needed_bytes, dir = %self.dir.display(), "no room on the disk: writes wait for it");
        }
        Error::Full { free_bytes, needed_bytes }
    }

    fn ask(&self) -> u64 {
        match rustix::fs::statvfs(&self.dir) {
            Ok(stat) => self.free_bytes.store(stat.f_bavail.saturating_mul(stat.f_frsize), Ordering::Relaxed),
            Err(error) => {
                tracing::warn!(%error, dir = %self.dir.display(), "cannot ask for the free room of the disk")
            }
        }
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// True once in so long.
    fn is_due(&self, next_ms: &AtomicU64, every: Duration) -> bool {
        let now_ms = self.now_ms();
        let due = now_ms >= next_ms.load(Ordering::Relaxed);
        if due {
            next_ms.store(now_ms.saturating_add(ms(every)), Ordering::Relaxed);
        }
        due
    }

    fn now_ms(&self) -> u64 {
        ms(self.start.elapsed())
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
