//! Rows that are written over and over: their old versions leave memory before listings have to pass over many
//! (`docs/decisions/011-rows-written-over.md`).
//!
//! How often is bounded by the clock, whatever clients do: each time makes a small file, with its syncs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::committer::Shared;
use crate::family::Family;

/// So many rows written over are worth a file.
const ROWS_MIN: u64 = 8192;
/// Between two times at least.
const PAUSE: Duration = Duration::from_secs(2);

/// Rows that were written over since their versions were last forgotten.
#[derive(Default)]
pub(crate) struct Rewritten(AtomicU64);

impl Rewritten {
    pub(crate) fn note(&self, rows: u64) {
        self.0.fetch_add(rows, Ordering::Relaxed);
    }
}

/// Forgets them, on the thread of the committer.
pub(crate) struct Versions {
    next: Instant,
}

impl Versions {
    pub(crate) fn new() -> Versions {
        Versions { next: Instant::now() }
    }

    /// Writes the rows in memory out, which leaves one version of each, if many were written over. Does not wait
    /// for it; nor is it asked for while an earlier one is under way, or room is scarce.
    pub(crate) fn tend(&mut self, shared: &Shared) {
        if shared.rewritten.0.load(Ordering::Relaxed) < ROWS_MIN || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + PAUSE;
        let under_way = shared.database.number(Family::Row, "rocksdb.num-immutable-mem-table") > 0;
        if under_way || shared.space.is_scarce() {
            return;
        }
        shared.rewritten.0.store(0, Ordering::Relaxed);
        if let Err(error) = shared.database.flush_soon(Family::Row) {
            // What is wrong with the database shows at the next write.
            tracing::warn!(%error, "rows in memory could not be written out");
        }
    }
}
