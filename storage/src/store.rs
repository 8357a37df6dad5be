//! The store: opening, reading, writing, health.

use std::fmt;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rocksdb::{FlushOptions, ReadOptions, WriteBatch};

use crate::batch::Batch;
use crate::collect::{self, Collected};
use crate::committer::{Committer, Shared};
use crate::database::Database;
use crate::error::Error;
use crate::family::Family;
use crate::open;
use crate::read::{Cursor, Direction, Pinned, Read, Scan};
use crate::recent::Recent;
use crate::reclaim::Reclaim;
use crate::space::Space;
use crate::transaction::Transaction;
use crate::versions::Versions;
use crate::view::View;
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
    /// Who syncs.
    pub committing: Committing,
}

/// Who makes commits durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Committing {
    /// A thread of the store's own.
    #[default]
    Thread,
    /// Who calls [`Store::turn`]: for a simulation, which has only one thread. [`Store::commit`] must not be made to wait
    /// by more than may wait.
    ByHand,
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
            committing: Committing::Thread,
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
    /// Where it has one.
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Where commits are made by hand.
    committer: Mutex<Option<Committer>>,
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
        let (mut thread, mut by_hand) = (None, None);
        match settings.committing {
            Committing::ByHand => by_hand = Some(committer),
            Committing::Thread => {
                let named = thread::Builder::new().name("committer".into());
                thread = Some(named.spawn(move || committer.run()).map_err(|e| Error::io(dir, e))?);
            }
        }
        let (thread, committer, dir) = (Mutex::new(thread), Mutex::new(by_hand), dir.to_owned());
        Ok(Store(Arc::new(Inner { shared, dir, settings, behind: opened.behind, thread, committer })))
    }

    /// A snapshot: later writes are not seen through it.
    #[must_use]
    pub fn view(&self) -> View {
        View::of(self.database())
    }

    /// A transaction: reads see the store and its own writes.
    #[must_use]
    pub fn transaction(&self) -> Transaction {
        Transaction::new(self.clone(), None)
    }

    /// The same for one who alone writes the rows of some ranges, by such transactions, one after the other.
    #[must_use]
    pub fn transaction_over(&self, recent: &Recent) -> Transaction {
        Transaction::new(self.clone(), Some(recent.clone()))
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
        self.0.shared.write_unsynced(batch)?;
        transaction.written();
        Ok(())
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

    /// Does what the committer thread would do next, where there is none ([`Committing::ByHand`]). False if nothing waited.
    /// Callbacks of commits are called here; they must not call this.
    pub fn turn(&self) -> bool {
        self.0.committer.lock().as_mut().is_some_and(Committer::turn_by_hand)
    }

    /// Whether it has no thread of its own: [`Store::turn`] makes its commits.
    #[must_use]
    pub fn is_by_hand(&self) -> bool {
        self.0.settings.committing == Committing::ByHand
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

    /// Why the database itself is damaged, if that was seen since the store was opened: rows that cannot be read, files that
    /// RocksDB could not rewrite. Nothing here mends it, and what is not met is not told: the data has to be made anew from
    /// elsewhere. Damaged bodies are not meant ([`Store::damaged`]). Cheap.
    #[must_use]
    pub fn damage(&self) -> Option<Arc<str>> {
        self.database().findings().rows_reason()
    }

    /// A round of collecting, on the committer's thread, or here where commits are made by hand.
    pub(crate) fn collect_until(&self, until_ms: u64, limit: usize) -> Result<Collected, Error> {
        match self.0.committer.lock().as_mut() {
            Some(committer) => committer.collect(until_ms, limit),
            None => self.0.shared.collect(until_ms, limit),
        }
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

    pub(crate) fn commit_and_wait(&self, batch: Batch) -> Result<(), Error> {
        let (tell, told) = mpsc::channel();
        self.commit(batch, Vec::new(), move |result| {
            // Whoever waits does not go before it is told.
            let _ = tell.send(result);
        });
        // Where there is no thread that would do it.
        while self.turn() {}
        told.recv().unwrap_or(Err(Error::Closed))
    }

    /// The data folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// A write that failed, for tests.
    #[cfg(test)]
    pub(crate) fn fail(&self, error: &Error) {
        self.0.shared.fail(error);
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
        if let Some(mut committer) = self.committer.lock().take() {
            while committer.turn_by_hand() {}
            committer.end();
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
