//! RocksDB itself: opened with our options, its families by name.
//!
//! Nothing here knows of commits, bodies or transactions; it only carries what was found out about bodies and rows.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rocksdb::{
    BottommostLevelCompaction, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB, FlushOptions,
    ReadOptions, WriteBatch,
};
use self_cell::self_cell;

use crate::error::Error;
use crate::family::Family;
use crate::findings::Findings;
use crate::options;

/// The open database and the lock of its folder; the lock goes after the database.
pub(crate) struct Opened {
    pub(crate) db: DB,
    past_cache: ReadOptions,
    findings: Findings,
    _lock: Arc<File>,
}

/// Handles of the families, in the order of [`Family::ALL`], and of the store's own rows.
pub(crate) struct Handles<'a> {
    families: [Option<&'a ColumnFamily>; Family::ALL.len()],
    own: &'a ColumnFamily,
}

self_cell!(
    pub(crate) struct Database {
        owner: Opened,
        #[covariant]
        dependent: Handles,
    }
);

impl Database {
    /// Opens or creates the database in `dir`.
    pub(crate) fn open_at(
        dir: &Path,
        lock: Arc<File>,
        tuning: &options::Tuning<'_>,
    ) -> Result<Database, Error> {
        let database = tuning.database();
        let db =
            DB::open_cf_descriptors(&database, dir, descriptors(tuning)).map_err(|e| open_error(dir, e))?;
        Database::with_handles(db, lock)
    }

    /// Opens the database without changing anything on disk.
    pub(crate) fn look_at(
        dir: &Path,
        lock: Arc<File>,
        tuning: &options::Tuning<'_>,
    ) -> Result<Database, Error> {
        let database = tuning.database();
        let db = DB::open_cf_descriptors_read_only(&database, dir, descriptors(tuning), false)
            .map_err(|e| open_error(dir, e))?;
        Database::with_handles(db, lock)
    }

    fn with_handles(db: DB, lock: Arc<File>) -> Result<Database, Error> {
        let mut past_cache = ReadOptions::default();
        past_cache.fill_cache(false);
        // As it is by default, for tables and files of bodies: here all depends on it.
        past_cache.set_verify_checksums(true);
        let findings = Findings::new();
        Database::try_new(Opened { db, past_cache, findings, _lock: lock }, |opened| {
            let missing = |name: &str| Error::damaged("database", format!("column family {name} is missing"));
            let own = opened.db.cf_handle(OWN).ok_or_else(|| missing(OWN))?;
            let mut families = [None; Family::ALL.len()];
            for (place, family) in families.iter_mut().zip(Family::ALL) {
                *place = Some(opened.db.cf_handle(family.name()).ok_or_else(|| missing(family.name()))?);
            }
            Ok(Handles { families, own })
        })
    }

    pub(crate) fn db(&self) -> &DB {
        &self.borrow_owner().db
    }

    /// Reads that leave the cache to others.
    pub(crate) fn past_cache(&self) -> &ReadOptions {
        &self.borrow_owner().past_cache
    }

    /// What this run of the program found out about bodies.
    pub(crate) fn findings(&self) -> &Findings {
        &self.borrow_owner().findings
    }

    pub(crate) fn handle(&self, family: Family) -> &ColumnFamily {
        let handles = self.borrow_dependent();
        // Every place is filled by `with_handles`; the fallback only spares a panic.
        handles.families.get(family.index()).copied().flatten().unwrap_or(handles.own)
    }

    /// The store's own rows: the number of the last commit, candidates for collection.
    pub(crate) fn own(&self) -> &ColumnFamily {
        self.borrow_dependent().own
    }

    /// Rewrites the tables of this range as far as something was removed from it, or all of them.
    pub(crate) fn compact(&self, family: Family, range: &Range<Vec<u8>>, all: bool) {
        let mut options = CompactOptions::default();
        // Others go on meanwhile.
        options.set_exclusive_manual_compaction(false);
        if all {
            options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        }
        let (start, end) = (Some(&range.start), Some(&range.end).filter(|end| !end.is_empty()));
        self.db().compact_range_cf_opt(self.handle(family), start, end, &options);
    }

    /// Has what a family has in memory written into files, without waiting for it.
    pub(crate) fn flush_soon(&self, family: Family) -> Result<(), rocksdb::Error> {
        let mut options = FlushOptions::default();
        options.set_wait(false);
        self.db().flush_cf_opt(self.handle(family), &options)
    }

    /// Writes what a family has in memory into files.
    pub(crate) fn flush(&self, family: Family) -> Result<(), rocksdb::Error> {
        self.db().flush_cf(self.handle(family))
    }

    /// Whether bodies are moved out of a share of their files, the oldest, when tables that list them are rewritten.
    pub(crate) fn set_moving(&self, share: Option<f64>) -> Result<(), rocksdb::Error> {
        let (moving, share) = (share.is_some().to_string(), share.unwrap_or(0.0).to_string());
        let options = [
            ("enable_blob_garbage_collection", moving.as_str()),
            ("blob_garbage_collection_age_cutoff", share.as_str()),
        ];
        self.db().set_options_cf(self.handle(Family::Blob), &options)
    }

    /// A number that RocksDB knows of a family; 0 if it does not.
    pub(crate) fn number(&self, family: Family, property: &str) -> u64 {
        self.db().property_int_value_cf(self.handle(family), property).ok().flatten().unwrap_or(0)
    }

    /// The error of a read from a family. That a table is damaged is noted: one that lists bodies too, for RocksDB cannot
    /// rewrite it any more. Bodies in files of their own have notes of their own, and can be mended.
    pub(crate) fn read_error(&self, family: Family, error: rocksdb::Error) -> Error {
        let error = Error::from(error);
        if error.is_damage() && (family != Family::Blob || error.names_table()) {
            self.findings().rows_damaged(&format!("{}: {error}", family.name()));
        }
        error
    }

    /// Writes into the log, without a sync.
    pub(crate) fn write(&self, batch: WriteBatch) -> Result<(), rocksdb::Error> {
        self.db().write(batch)
    }
}

/// RocksDB's default family, which must exist in any case.
pub(crate) const OWN: &str = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;

fn descriptors(tuning: &options::Tuning<'_>) -> Vec<ColumnFamilyDescriptor> {
    let own = ColumnFamilyDescriptor::new(OWN, tuning.family(None));
    let families =
        Family::ALL.into_iter().map(|f| ColumnFamilyDescriptor::new(f.name(), tuning.family(Some(f))));
    std::iter::once(own).chain(families).collect()
}

fn open_error(dir: &Path, error: rocksdb::Error) -> Error {
    let text = error.to_string();
    if text.contains("lock file") || text.contains("lock hold") || text.contains("/LOCK:") {
        return Error::Locked { dir: dir.to_owned() };
    }
    match Error::from(error) {
        Error::Damaged { reason, .. } => Error::damaged(dir.display().to_string(), reason),
        other => other,
    }
}
