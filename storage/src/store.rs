//! The store: opening, reading, writing, health.

use std::fmt;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rocksdb::{FlushOptions, ReadOptions, Snapshot, WriteBatch};
use self_cell::self_cell;

use crate::batch::Batch;
use crate::body::{Body, BodyHash};
use crate::collect::{self, Collected};
use crate::committer::{Committer, Shared};
use crate::database::Database;
use crate::error::Error;
use crate::family::Family;
use crate::open;
use crate::read::{Cursor, Direction, Pinned, Read, Scan};
use crate::reclaim::Reclaim;
use crate::space::Space;
use crate::stage::Staging;
use crate::transaction::Transaction;
use crate::verify::{self, Progress, Report};
use crate::versions::Versions;
use crate::watermark::Mark;

/// How a store is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of the cache of blocks that all families share.
    pub cache_bytes: usize,
    /// Free bytes of the disk under which the store is [`Health::Full`]; a half of it again is kept back from other
    /// programs. At least [`crate::MIN_FREE_BYTES_MIN`] for a node that keeps mail; 0 turns off all care for room.
    pub min_free_bytes: u64,
    /// Bytes of all large messages that are being written while they come; past it the next are [`Error::Busy`].
    pub under_way_max_bytes: u64,
    /// How long a body is kept after its last name went.
    pub collect_after: Duration,
    /// Threads that flush and compact.
    pub background_jobs: i32,
    /// Files that RocksDB keeps open; -1 for all.
    pub open_files: i32,
    /// Open a store that ends before its last acknowledged commit, instead of refusing it with
    /// [`Error::Behind`]. For a member of a cluster that then catches up as a learner: see [`Store::behind`].
    pub accept_behind: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            cache_bytes: 256 * 1024 * 1024,
            min_free_bytes: 256 * 1024 * 1024,
            under_way_max_bytes: 16 * 1024 * 1024 * 1024,
            collect_after: Duration::from_secs(3600),
            background_jobs: 2,
            open_files: 1024,
            accept_behind: false,
        }
    }
}

/// How the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Reads and writes.
    Good,
    /// The disk is nearly full, or a write waits for room: take no new mail. Deletes go on.
    Full,
    /// A write failed: reads go on, no write is taken until the program is started again.
    Failed,
}

/// How far a store ends before what was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Number of the last acknowledged commit.
    pub expected: u64,
    /// Number of the last commit found.
    pub found: u64,
}

/// A node's store. Cheap to clone. The last clone that goes waits for what was handed to [`Store::commit`].
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    dir: PathBuf,
    settings: Settings,
    behind: Option<Behind>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens the data folder, or makes it.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::NewerFormat`], [`Error::Damaged`], [`Error::Behind`], [`Error::Io`].
    pub fn open(dir: &Path, settings: Settings) -> Result<Store, Error> {
        let opened = open::open(dir, &settings)?;
        let marks = opened.watermark.marks.values().copied().collect();
        let database = Arc::new(opened.database);
        let shared = Arc::new(Shared::new(database, opened.space, marks, settings.under_way_max_bytes));
        metrics::gauge!("estafette_storage_failed").set(0.0);
        let committer = Committer {
            shared: Arc::clone(&shared),
            file: opened.file,
            watermark: opened.watermark,
            unsynced_since: None,
            left: opened.left,
            reclaim: Reclaim::new(),
            versions: Versions::new(),
        };
        let thread = thread::Builder::new()
            .name("committer".into())
            .spawn(move || committer.run())
            .map_err(|e| Error::io(dir, e))?;
        let thread = Mutex::new(Some(thread));
        Ok(Store(Arc::new(Inner { shared, dir: dir.to_owned(), settings, behind: opened.behind, thread })))
    }

    /// A snapshot: later writes are not seen through it.
    #[must_use]
    pub fn view(&self) -> View {
        let snapshot = ViewCell::new(Arc::clone(&self.0.shared.database), |database| {
            let snapshot = database.db().snapshot();
            let mut options = ReadOptions::default();
            options.set_snapshot(&snapshot);
            Seen { options, snapshot }
        });
        View(Arc::new(snapshot))
    }

    /// A transaction: reads see the store and its own writes.
    #[must_use]
    pub fn transaction(&self) -> Transaction {
        Transaction::new(self.clone())
    }

    /// Writes a transaction at once, without a sync: it is durable with the next commit.
    ///
    /// # Errors
    /// [`Error::Full`] if there is no room; nothing was written. [`Error::Failed`] if this or an earlier write failed.
    pub fn apply(&self, transaction: Transaction) -> Result<(), Error> {
        self.try_apply(&transaction)
    }

    /// The same; the transaction is kept, so that it can be applied again after [`Error::Full`].
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn try_apply(&self, transaction: &Transaction) -> Result<(), Error> {
        if transaction.is_empty() {
            return self.0.shared.check();
        }
        let batch = transaction.to_write(self.database(), now_ms())?;
        self.0.shared.rewritten.note(transaction.rewritten());
        self.0.shared.write_unsynced(batch)
    }

    /// The same for a plain batch. It must not bring bodies: those are for [`Store::commit`].
    ///
    /// # Errors
    /// As [`Store::apply`]; [`Error::Invalid`] if it brings bodies.
    pub fn apply_batch(&self, batch: Batch) -> Result<(), Error> {
        if batch.brings_bodies() {
            return Err(Error::Invalid { reason: "bodies are stored by commit alone" });
        }
        let mut out = WriteBatch::default();
        batch.write_rows(self.database(), &mut out)?;
        for hash in batch.unnamed() {
            collect::write_candidate(self.database(), &mut out, &hash, now_ms());
        }
        self.0.shared.write_unsynced(out)
    }

    /// Makes a batch durable. It is joined with what else waits; then the marks go into the watermark,
    /// then `done` is called on the committer thread, where it must be quick. Waits while too much waits.
    ///
    /// Whoever cares for room asks [`Store::health`] before. Here nothing is refused for it: a batch that finds none,
    /// though what was kept back has been used, waits for it, and all behind it ([`Health::Full`]). [`Error::Full`] is
    /// told only when the store is closed meanwhile or [`Store::set_waiting`] says so.
    pub fn commit(
        &self,
        batch: Batch,
        marks: Vec<Mark>,
        done: impl FnOnce(Result<(), Error>) + Send + 'static,
    ) {
        self.0.shared.submit(batch, marks, Box::new(done));
    }

    /// Whether commits wait for room on a full disk (at first they do), or are told [`Error::Full`] instead: for the
    /// end of a program.
    pub fn set_waiting(&self, waiting: bool) {
        self.0.shared.waiting.store(waiting, Ordering::Relaxed);
    }

    /// What was last set.
    #[must_use]
    pub fn waits_for_room(&self) -> bool {
        self.0.shared.waiting.load(Ordering::Relaxed)
    }

    /// What the watermark says: the last acknowledged index and vote of every group. Compare them with
    /// the logs when they are opened.
    #[must_use]
    pub fn marks(&self) -> Vec<Mark> {
        self.0.shared.marks.lock().clone()
    }

    /// `Some` if the store was opened although it ends before its last acknowledged commit
    /// (`settings.accept_behind`). Nothing in it may then be taken for all that was acknowledged.
    #[must_use]
    pub fn behind(&self) -> Option<Behind> {
        self.0.behind
    }

    /// A body, if it is there.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn body(&self, hash: &BodyHash) -> Result<Option<Body>, Error> {
        Body::find(&self.0.shared.database, hash)
    }

    /// A body that a row names, with the length that the row tells: spares looking for it. If it is not
    /// there after all, reading it is [`Error::Damaged`].
    #[must_use]
    pub fn body_of(&self, hash: BodyHash, len: u64) -> Body {
        Body::named(&self.0.shared.database, hash, len)
    }

    /// Begins a body that is written while it comes.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn stage(&self) -> Result<Staging, Error> {
        Staging::new(Arc::clone(&self.0.shared))
    }

    /// The same at a known place.
    #[cfg(test)]
    pub(crate) fn stage_at(&self, place: [u8; 32]) -> Staging {
        Staging::at(place, Arc::clone(&self.0.shared))
    }

    /// How the store is. Cheap.
    #[must_use]
    pub fn health(&self) -> Health {
        if self.0.shared.check().is_err() {
            Health::Failed
        } else if self.0.shared.space.is_short() {
            Health::Full
        } else {
            Health::Good
        }
    }

    /// One round of removing bodies that nothing names; looks at up to `limit` candidates. Blocks.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Failed`], [`Error::Damaged`].
    pub fn collect(&self, limit: usize) -> Result<Collected, Error> {
        let grace_ms = u64::try_from(self.0.settings.collect_after.as_millis()).unwrap_or(u64::MAX);
        self.0.shared.collect(now_ms().saturating_sub(grace_ms), limit)
    }

    /// Writes all that is in memory into files, so that the write-ahead log becomes short. Blocks.
    ///
    /// # Errors
    /// [`Error::Failed`] if this or an earlier write failed.
    pub fn flush(&self) -> Result<(), Error> {
        self.0.shared.check()?;
        let database = self.database();
        let handles: Vec<_> =
            Family::ALL.into_iter().map(|f| database.handle(f)).chain([database.own()]).collect();
        let flushed = database.db().flush_cfs_opt(&handles, &FlushOptions::default());
        flushed.map_err(|error| self.0.shared.fail(&error.into()))
    }

    /// [`View::verify`] of the store as it is now.
    ///
    /// # Errors
    /// As there.
    pub fn verify(
        &self,
        references: impl IntoIterator<Item = Result<(u32, BodyHash), Error>>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Report, Error> {
        self.view().verify(references, progress)
    }

    /// Makes bodies candidates for collection: those that [`View::verify`] found and nothing names.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn release_unnamed(&self, hashes: &[BodyHash]) -> Result<(), Error> {
        let mut out = WriteBatch::default();
        for hash in hashes {
            collect::write_candidate(self.database(), &mut out, hash, now_ms());
        }
        self.0.shared.write_unsynced(out)
    }

    /// The data folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.0.shared.database
    }

    /// Number of the last commit that the database holds.
    #[cfg(test)]
    pub(crate) fn read_commit(&self) -> u64 {
        open::last_commit(self.database()).unwrap_or(0)
    }

    pub(crate) fn space(&self) -> &Space {
        &self.0.shared.space
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.0.dir.display())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close();
        let thread = self.thread.lock().take();
        // A callback may own the last clone; the committer cannot wait for itself.
        if let Some(thread) = thread.filter(|t| t.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}

impl Read for Store {
    fn read(&self, family: Family, key: &[u8]) -> Result<Option<Pinned>, Error> {
        Pinned::find(self.database(), family, key, None)
    }

    fn read_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Pinned>>, Error> {
        Pinned::find_many(self.database(), family, keys, &ReadOptions::default())
    }

    fn scan(&self, family: Family, range: Range<Vec<u8>>, direction: Direction) -> Result<Scan<'_>, Error> {
        Ok(Scan::disk(Cursor::new(self.database(), family, range, direction, None)))
    }
}

/// A snapshot and the options that read through it.
struct Seen<'a> {
    options: ReadOptions,
    snapshot: Snapshot<'a>,
}

self_cell!(
    struct ViewCell {
        owner: Arc<Database>,
        #[covariant]
        dependent: Seen,
    }
);

/// The store as it was at one moment. Cheap to clone. Keeps old rows from being removed: let it go soon.
#[derive(Clone)]
pub struct View(Arc<ViewCell>);

impl Read for View {
    fn read(&self, family: Family, key: &[u8]) -> Result<Option<Pinned>, Error> {
        Pinned::find(self.0.borrow_owner(), family, key, Some(&self.0.borrow_dependent().options))
    }

    fn read_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Pinned>>, Error> {
        Pinned::find_many(self.0.borrow_owner(), family, keys, &self.0.borrow_dependent().options)
    }

    fn scan(&self, family: Family, range: Range<Vec<u8>>, direction: Direction) -> Result<Scan<'_>, Error> {
        let snapshot = &self.0.borrow_dependent().snapshot;
        Ok(Scan::disk(Cursor::new(self.0.borrow_owner(), family, range, direction, Some(snapshot))))
    }
}

impl View {
    /// A body, if it is there now: bodies do not change, so they are read past the snapshot.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn body(&self, hash: &BodyHash) -> Result<Option<Body>, Error> {
        Body::find(self.0.borrow_owner(), hash)
    }

    /// As [`Store::body_of`].
    #[must_use]
    pub fn body_of(&self, hash: BodyHash, len: u64) -> Body {
        Body::named(self.0.borrow_owner(), hash, len)
    }
}

impl View {
    /// Reads all that is stored of bodies and compares it with their hashes and with the references that
    /// the rows of the same view make: `references` yields a shard and a hash for each of them, in any
    /// order. Costs 36 bytes of memory for a reference.
    ///
    /// # Errors
    /// Errors of `references`, and of reading the tables that list the bodies; what is wrong with a
    /// single body is in the report.
    pub fn verify(
        &self,
        references: impl IntoIterator<Item = Result<(u32, BodyHash), Error>>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Report, Error> {
        verify::verify(self.0.borrow_owner(), &self.0.borrow_dependent().snapshot, references, progress)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({})", self.0.borrow_dependent().snapshot.sequence_number())
    }
}

/// The folder's lock, held until the last reader of the database is gone.
pub(crate) type FolderLock = Arc<File>;

/// Wall-clock time, for the grace period alone.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Makes a folder and all above it.
pub(crate) fn make_dir(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))
}
