//! Giving room back. A file of bodies goes when nothing in it is wanted any more and no table lists it; RocksDB sees that
//! when it rewrites tables. It would also move bodies that are still wanted out of its oldest files whenever it does so,
//! which in a store of large bodies and small tables is up to half of the store for every few hundred megabytes of new
//! mail. So that is off, and this is what is done in its place, on a thread of its own:
//!
//! - [`Job::Forget`]: where room is scarce, tables are rewritten that list what was removed, and whole files go. RocksDB
//!   does that by itself when enough else is written, and a full disk would keep that from coming.
//! - [`Job::Move`]: when a good part of all files is not wanted any more, bodies are moved out of some of the oldest. In
//!   the long run some two and a half bytes are written for each that it gives back, however large the store is; where
//!   room is scarce, nine.
//!
//! Neither begins without room for the tables that it writes. Nothing is moved while a body is known to be damaged: RocksDB
//! reads what it moves, and takes what it cannot read for a reason to stop all writes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::body::Place;
use crate::committer::Shared;
use crate::database::Database;
use crate::family::Family;
use crate::key::prefix_range;
use crate::options::BLOB_FILE_BYTES;

/// Removed bytes for which tables are rewritten: a file of bodies.
const FORGET_BYTES: u64 = BLOB_FILE_BYTES;
/// Places that are remembered one by one; more are looked for among all.
const PLACES_MAX: usize = 64;
/// From one job to the next, so that clients which give up large messages over and over cannot keep the disk busy.
const EVERY: Duration = Duration::from_secs(10);
/// From one look at the files to the next.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of a hundred bytes in files so many may be unwanted, and where room is scarce.
const UNWANTED_MAX: u64 = 30;
const UNWANTED_SCARCE_MAX: u64 = 10;
/// Files out of which bodies are moved in one job: these bytes of them, or a few times what the tables have, which are
/// rewritten for it.
const MOVE_BYTES: u64 = 2 << 30;
const MOVE_TABLES: u64 = 4;
/// Tables are rewritten in parts of about this size, as far as RocksDB lets us: it takes the newest ones whole.
const PART_BYTES: u64 = 128 * 1024 * 1024;
/// The most that RocksDB rewrites at once (`max_compaction_bytes`), and what it writes out of memory first.
const TABLES_AT_ONCE_BYTES: u64 = 1 << 30;
const MEMORY_BYTES: u64 = 64 * 1024 * 1024;
/// With more states of the files in use than this, somebody reads for long, and nothing would go.
const VERSIONS_MAX: u64 = 8;

/// What was removed and may still be on the disk, and who gives its room back.
pub(crate) struct Reclaim {
    removed_bytes: u64,
    places: Vec<Place>,
    everywhere: bool,
    next: Instant,
    /// Tells whether it did all of its job.
    thread: Option<JoinHandle<bool>>,
    ended: Arc<AtomicBool>,
}

impl Reclaim {
    /// What was removed before the last start is not known: enough, anywhere.
    pub(crate) fn new() -> Reclaim {
        let (places, next, ended) = (Vec::new(), Instant::now(), Arc::default());
        Reclaim { removed_bytes: FORGET_BYTES, places, everywhere: true, next, thread: None, ended }
    }

    /// So much was removed from a place.
    pub(crate) fn removed(&mut self, place: Place, bytes: u64) {
        self.removed_bytes = self.removed_bytes.saturating_add(bytes);
        self.everywhere |= self.places.len() == PLACES_MAX;
        if !self.everywhere {
            self.places.push(place);
        }
    }

    /// How much was removed from a place is not known: enough.
    pub(crate) fn removed_unknown(&mut self, place: Place) {
        self.removed(place, FORGET_BYTES);
    }

    /// Enough was removed to be given back when room becomes scarce.
    pub(crate) fn is_wanted(&self) -> bool {
        self.removed_bytes >= FORGET_BYTES
    }

    /// Begins to give room back, if that is due.
    pub(crate) fn tend(&mut self, shared: &Shared) {
        let busy = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        if busy || Instant::now() < self.next {
            return;
        }
        if self.thread.take().is_some_and(|thread| !thread.join().unwrap_or(false)) {
            // All of it again, some time.
            (self.removed_bytes, self.everywhere) = (self.removed_bytes.max(FORGET_BYTES), true);
        }
        self.next = Instant::now() + LOOK_EVERY;
        let scarce = shared.space.is_scarce();
        let bodies = Bodies::of(&shared.database);
        let spare_bytes = shared.space.spare_bytes().saturating_sub(bodies.room_for_tables());
        let job = if self.is_wanted() && scarce && shared.space.free_bytes() > bodies.room_for_tables() {
            tracing::info!(bytes = self.removed_bytes, "room of removed messages is given back");
            Job::Forget(self.take_ranges(&bodies))
        } else if shared.database.findings().damaged_count() == 0
            && let Some(share) = bodies.share_to_move(spare_bytes, scarce)
        {
            tracing::info!(share, "messages are moved out of files that are wanted in part");
            Job::Move { share, parts: bodies.parts() }
        } else {
            return;
        };
        self.next = Instant::now() + EVERY;
        let (database, ended) = (Arc::clone(&shared.database), Arc::clone(&self.ended));
        let work = move || job.run(&database, &ended);
        self.thread = thread::Builder::new().name("reclaim".into()).spawn(work).ok();
    }

    /// What was removed, as ranges of keys; it is forgotten here.
    fn take_ranges(&mut self, bodies: &Bodies) -> Vec<Range<Vec<u8>>> {
        let places = std::mem::take(&mut self.places);
        self.removed_bytes = 0;
        if std::mem::take(&mut self.everywhere) {
            bodies.parts()
        } else {
            places.iter().map(|place| prefix_range(&place.0)).collect()
        }
    }

    /// The store is closed: what is under way is given up.
    pub(crate) fn end(mut self, database: &Database) {
        self.ended.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return };
        if !thread.is_finished() {
            database.db().cancel_all_background_work(false);
        }
        let _ = thread.join();
    }
}

/// What is done to give room back.
pub(crate) enum Job {
    /// Rewrites the tables of these keys as far as something was removed from them.
    Forget(Vec<Range<Vec<u8>>>),
    /// Moves bodies out of this share of the files, the oldest; by parts of the keys.
    Move { share: f64, parts: Vec<Range<Vec<u8>>> },
}

impl Job {
    /// False if it is not all done.
    pub(crate) fn run(self, database: &Database, ended: &AtomicBool) -> bool {
        let faults = || database.number(Family::Blob, "rocksdb.background-errors");
        let before = faults();
        // Of what is only in memory nothing is known to tables. It fails where RocksDB has no room and waits for some.
        let written = database.flush(Family::Blob);
        if let Err(error) = &written {
            tracing::warn!(%error, "room of removed messages cannot be given back now");
        }
        written.is_ok() && self.rewrite(database, ended) && faults() == before
    }

    fn rewrite(self, database: &Database, ended: &AtomicBool) -> bool {
        let (moving, parts) = match &self {
            Job::Forget(ranges) => (None, ranges),
            Job::Move { share, parts } => (Some(*share), parts),
        };
        if let Some(share) = moving
            && let Err(error) = database.set_moving(Some(share))
        {
            tracing::warn!(%error, "bodies could not be moved together");
            // It may be on nevertheless.
            let _ = database.set_moving(None);
            return false;
        }
        for part in parts.iter().take_while(|_| !ended.load(Ordering::Relaxed)) {
            database.compact(Family::Blob, part, moving.is_some());
        }
        if moving.is_some()
            && let Err(error) = database.set_moving(None)
        {
            // The setting holds, but the file of settings could not be written.
            tracing::debug!(%error, "the store's settings were not written down");
        }
        !ended.load(Ordering::Relaxed)
    }
}

/// The files of bodies, and the tables that list them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bodies {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Bytes of these that no table lists any more.
    pub(crate) unwanted_bytes: u64,
    pub(crate) table_bytes: u64,
    /// States of these in use.
    pub(crate) versions: u64,
}

impl Bodies {
    pub(crate) fn of(database: &Database) -> Bodies {
        let number = |property| database.number(Family::Blob, property);
        Bodies {
            files: number("rocksdb.num-blob-files"),
            bytes: number("rocksdb.live-blob-file-size"),
            unwanted_bytes: number("rocksdb.live-blob-file-garbage-size"),
            table_bytes: number("rocksdb.live-sst-files-size"),
            versions: number("rocksdb.num-live-versions"),
        }
    }

    /// What has to be free to rewrite tables: the old ones go only afterwards.
    pub(crate) fn room_for_tables(&self) -> u64 {
        self.table_bytes.min(TABLES_AT_ONCE_BYTES) + MEMORY_BYTES
    }

    /// Out of which share of the files bodies are to be moved now, with so much room to do it in.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn share_to_move(&self, spare_bytes: u64, scarce: bool) -> Option<f64> {
        let most = if scarce { UNWANTED_SCARCE_MAX } else { UNWANTED_MAX };
        let few = self.unwanted_bytes < 2 * BLOB_FILE_BYTES || self.versions > VERSIONS_MAX;
        if few || self.unwanted_bytes / most < self.bytes / 100 {
            return None;
        }
        let each = (self.bytes / self.files.max(1)).max(1);
        let wanted = MOVE_BYTES.max(MOVE_TABLES.saturating_mul(self.table_bytes)).min(spare_bytes) / each;
        // A half more: RocksDB takes the whole files of the share.
        (wanted > 0)
            .then(|| (wanted.min(self.files) as f64 + 0.5) / self.files as f64)
            .map(|share| share.min(1.0))
    }

    /// The keys in parts, so that no rewriting of tables is a long one.
    pub(crate) fn parts(&self) -> Vec<Range<Vec<u8>>> {
        let parts = (self.table_bytes / PART_BYTES + 1).min(256);
        let edge = |part: u64| vec![u8::try_from(part * 256 / parts).unwrap_or(u8::MAX)];
        let end = |part: u64| if part == parts { Vec::new() } else { edge(part) };
        (0..parts).map(|part| edge(part)..end(part + 1)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn bodies_are_moved_only_for_a_good_part_of_all_files() {
        let bodies = |unwanted_bytes| Bodies {
            files: 1600,
            bytes: 100 * GIB,
            unwanted_bytes,
            table_bytes: GIB / 10,
            versions: 1,
        };
        let share = |unwanted_gib, spare, scarce| bodies(unwanted_gib * GIB).share_to_move(spare, scarce);
        assert_eq!(share(29, u64::MAX, false), None);
        // 2 GiB of the oldest: 32 files.
        assert_eq!(share(31, u64::MAX, false), Some(32.5 / 1600.0));
        assert_eq!(share(11, GIB, true), Some(16.5 / 1600.0));
        assert_eq!(share(31, 0, false), None, "there is no room for it");
        let small =
            Bodies { files: 3, bytes: 150 << 20, unwanted_bytes: 140 << 20, table_bytes: 1, versions: 1 };
        assert_eq!(small.share_to_move(u64::MAX, false), Some(1.0));
        let read = Bodies { versions: VERSIONS_MAX + 1, ..small };
        assert_eq!(read.share_to_move(u64::MAX, false), None, "nothing would go");
    }

    #[test]
    fn the_parts_are_all_keys() {
        for table_bytes in [0, 3 * PART_BYTES, 1000 * PART_BYTES] {
            let bodies = Bodies { files: 1, bytes: 1, unwanted_bytes: 0, table_bytes, versions: 1 };
            let parts = bodies.parts();
            assert_eq!(
                (parts[0].start.as_slice(), parts[parts.len() - 1].end.as_slice()),
                (&[0][..], &[][..])
            );
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }
}
