//! The one thread that syncs: it joins what waits, syncs once for all of it, notes the watermark, and
//! only then tells those who wait.
//!
//! Invariants: batches become durable in the order in which they came; nobody is told before the
//! watermark is written; after the first failure nothing is written any more. Finding no room is no failure:
//! it is found before anything is written, and what waits is then written when there is room.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rocksdb::WriteBatch;

use crate::batch::Batch;
use crate::body::{self, BodyHash, Known};
use crate::collect::{self, Collected};
use crate::database::Database;
use crate::error::Error;
use crate::reclaim::Reclaim;
use crate::space::Space;
use crate::stage::{self, Left, Owned};
use crate::store::now_ms;
use crate::versions::{Rewritten, Versions};
use crate::watermark::{MARKS_MAX, Mark, Watermark, WatermarkFile};

/// Most bytes that wait; a commit that finds more waits for room.
const QUEUE_BYTES: usize = 256 * 1024 * 1024;
/// Most commits that wait.
const QUEUE_COMMITS: usize = 16 * 1024;
/// A write joins no more bytes than this (one larger commit goes alone).
const JOIN_BYTES: usize = 16 * 1024 * 1024;
/// A write joins no more commits than this.
const JOIN_COMMITS: usize = 1024;
/// Bytes that a batch has beside what its commits bring: keys of bodies and the like.
const BATCH_MORE_BYTES: usize = 1024;
/// How long the watermark may stay unsynced.
const WATERMARK_SYNC: Duration = Duration::from_secs(1);
/// Between two looks for room while the disk is full.
const ROOM_PAUSE: Duration = Duration::from_millis(50);
/// Between two looks at the room of the disk while nothing else is to do.
const TEND_PAUSE: Duration = Duration::from_secs(1);

/// Key of the store's own row with the number of the last commit.
pub(crate) const COMMIT_KEY: [u8; 1] = [0x01];

type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

struct Commit {
    batch: Batch,
    marks: Vec<Mark>,
    done: Done,
    bytes: usize,
}

struct Round {
    until_ms: u64,
    limit: usize,
    reply: mpsc::Sender<Result<Collected, Error>>,
}

#[derive(Default)]
struct Queue {
    commits: VecDeque<Commit>,
    rounds: VecDeque<Round>,
    /// Bodies under way that have no owner any more.
    left: Vec<Left>,
    bytes: usize,
    closed: bool,
}

/// What the committer shares with the store.
pub(crate) struct Shared {
    pub(crate) database: Arc<Database>,
    pub(crate) space: Space,
    pub(crate) marks: Mutex<Vec<Mark>>,
    /// Whether commits wait for room.
    pub(crate) waiting: AtomicBool,
    /// Bodies under way that have an owner.
    pub(crate) owned: Owned,
    /// Bytes of them, and how many there may be.
    pub(crate) under_way_bytes: AtomicU64,
    pub(crate) rewritten: Rewritten,
    pub(crate) under_way_max_bytes: u64,
    failed: OnceLock<Arc<str>>,
    queue: Mutex<Queue>,
    filled: Condvar,
    emptied: Condvar,
}

impl Shared {
    pub(crate) fn new(
        database: Arc<Database>,
        space: Space,
        marks: Vec<Mark>,
        under_way_max_bytes: u64,
    ) -> Shared {
        Shared {
            database,
            space,
            marks: Mutex::new(marks),
            waiting: AtomicBool::new(true),
            owned: Owned::default(),
            under_way_bytes: AtomicU64::new(0),
            rewritten: Rewritten::default(),
            under_way_max_bytes,
            failed: OnceLock::new(),
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        }
    }

    /// The error of every write after the first that failed.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.failed.get() {
            Some(reason) => Err(Error::Failed { reason: Arc::clone(reason) }),
            None => Ok(()),
        }
    }

    /// Notes that a write failed; gives the error to tell.
    pub(crate) fn fail(&self, error: &Error) -> Error {
        let reason: Arc<str> = error.to_string().into();
        // A file that RocksDB rewrites in the background is one that it read. A write or a sync that the disk refuses is no
        // damage: a start may help.
        if matches!(error, Error::Damaged { .. }) {
            self.database.findings().rows_damaged(&reason);
        }
        if self.failed.set(Arc::clone(&reason)).is_ok() {
            tracing::error!(%reason, "a write failed, the store takes no more writes");
            metrics::gauge!("estafette_storage_failed").set(1.0);
        }
        Error::Failed { reason }
    }

    /// Writes without a sync.
    ///
    /// # Errors
    /// [`Error::Full`]: nothing of it was written. Any other: it failed, and the store with it.
    pub(crate) fn write_unsynced(&self, batch: WriteBatch) -> Result<(), Error> {
        fail::fail_point!("storage::write", |_| Err(
            self.fail(&Error::Database { reason: "failpoint".into() })
        ));
        self.write(batch)
    }

    fn write(&self, batch: WriteBatch) -> Result<(), Error> {
        self.check()?;
        self.space.make(batch.size_in_bytes())?;
        match self.database.write(batch) {
            Ok(()) => {
                self.space.wrote();
                Ok(())
            }
            Err(error) if is_refused_for_room(&error) => Err(self.space.refused_by_database()),
            Err(error) => Err(self.fail(&error.into())),
        }
    }

    /// Makes durable. Written first, synced then, because RocksDB lets other writes (those of `apply`) pass
    /// during the second, but not during a write that syncs.
    fn sync(&self, batch: WriteBatch) -> Result<(), Error> {
        self.write(batch)?;
        fail::fail_point!("storage::sync", |_| Err(
            self.fail(&Error::Database { reason: "failpoint".into() })
        ));
        #[cfg(feature = "planted")]
        if crate::planted::is("sync-left-out") {
            return Ok(());
        }
        self.database.db().flush_wal(true).map_err(|error| self.fail(&error.into()))
    }

    /// True if a commit that found no room is to be tried again.
    fn waits(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) && !self.queue.lock().closed
    }

    pub(crate) fn submit(&self, batch: Batch, marks: Vec<Mark>, done: Done) {
        #[cfg(feature = "planted")]
        let done = if crate::planted::is("answer-before-write") {
            done(Ok(()));
            Box::new(|_| {})
        } else {
            done
        };
        let bytes = batch.len_bytes();
        let mut queue = self.queue.lock();
        while !queue.closed
            && !queue.commits.is_empty()
            && (queue.bytes + bytes > QUEUE_BYTES || queue.commits.len() >= QUEUE_COMMITS)
        {
            self.emptied.wait(&mut queue);
        }
        if queue.closed {
            drop(queue);
            return done(Err(Error::Closed));
        }
        queue.bytes += bytes;
        queue.commits.push_back(Commit { batch, marks, done, bytes });
        drop(queue);
        self.filled.notify_one();
    }

    pub(crate) fn collect(&self, until_ms: u64, limit: usize) -> Result<Collected, Error> {
        let (reply, answer) = mpsc::channel();
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(Error::Closed);
        }
        queue.rounds.push_back(Round { until_ms, limit, reply });
        drop(queue);
        self.filled.notify_one();
        answer.recv().unwrap_or(Err(Error::Closed))
    }

    /// The last owner of a body under way is gone.
    pub(crate) fn let_go(&self, left: Left) {
        self.queue.lock().left.push(left);
        self.filled.notify_one();
    }

    /// No more is taken; what waits is still written.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }
}

/// What the thread does next.
enum Work {
    Commits(Vec<Commit>),
    Round(Round),
    Left(Vec<Left>),
    Idle,
    End,
}

/// The state of the thread.
pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) file: WatermarkFile,
    pub(crate) watermark: Watermark,
    /// When the watermark was first written since its last sync.
    pub(crate) unsynced_since: Option<Instant>,
    /// Bodies under way that nobody will take, still to be removed.
    pub(crate) left: Vec<Left>,
    pub(crate) reclaim: Reclaim,
    pub(crate) versions: Versions,
}

impl Committer {
    /// The thread's life.
    pub(crate) fn run(mut self) {
        self.remove_left();
        loop {
            match self.next() {
                Work::End => break,
                work => self.turn(work),
            }
        }
        self.end();
    }

    /// What the thread does in one round, by whoever calls. False if nothing was to do.
    pub(crate) fn turn_by_hand(&mut self) -> bool {
        let work = self.take(self.shared.queue.lock());
        let was_idle = matches!(work, Work::Idle);
        self.turn(work);
        !was_idle
    }

    fn turn(&mut self, work: Work) {
        match work {
            Work::Commits(commits) => self.commit(commits),
            Work::Round(round) => {
                let done = self.collect(round.until_ms, round.limit);
                // Whoever asked may have gone.
                let _ = round.reply.send(done);
            }
            Work::Left(left) => self.left.extend(left),
            Work::Idle | Work::End => {}
        }
        self.remove_left();
        self.reclaim.tend(&self.shared);
        self.versions.tend(&self.shared);
        if self.unsynced_since.is_some_and(|since| since.elapsed() >= WATERMARK_SYNC) {
            self.sync_watermark();
        }
    }

    /// The store is closed, and nothing waits.
    pub(crate) fn end(mut self) {
        self.sync_watermark();
        self.reclaim.end(&self.shared.database);
    }

    /// Waits for what is to do next.
    fn next(&self) -> Work {
        let tended = self.shared.space.tend();
        let mut queue = self.shared.queue.lock();
        while queue.commits.is_empty() && queue.rounds.is_empty() && queue.left.is_empty() {
            if queue.closed {
                return Work::End;
            }
            let left = match self.unsynced_since {
                None if tended && self.left.is_empty() && !self.reclaim.is_wanted() => {
                    self.shared.filled.wait(&mut queue);
                    continue;
                }
                None => TEND_PAUSE,
                Some(since) => WATERMARK_SYNC.saturating_sub(since.elapsed()),
            };
            if self.shared.filled.wait_for(&mut queue, left).timed_out() {
                return Work::Idle;
            }
        }
        self.take(queue)
    }

    /// The next of what waits.
    fn take(&self, mut queue: MutexGuard<'_, Queue>) -> Work {
        if !queue.left.is_empty() {
            return Work::Left(std::mem::take(&mut queue.left));
        }
        if let Some(round) = queue.rounds.pop_front() {
            return Work::Round(round);
        }
        let mut joined = Vec::new();
        let mut bytes = 0;
        while let Some(commit) =
            queue.commits.pop_front_if(|c| joined.is_empty() || bytes + c.bytes <= JOIN_BYTES)
        {
            bytes += commit.bytes;
            queue.bytes -= commit.bytes;
            joined.push(commit);
            if joined.len() == JOIN_COMMITS {
                break;
            }
        }
        drop(queue);
        if joined.is_empty() {
            return Work::Idle;
        }
        self.shared.emptied.notify_all();
        Work::Commits(joined)
    }

    fn commit(&mut self, commits: Vec<Commit>) {
        let mut result = self.write(&commits);
        // Nothing was written. Whoever waits here has been promised a place in the order, so nobody overtakes.
        while matches!(result, Err(Error::Full { .. })) && self.shared.waits() {
            self.reclaim.tend(&self.shared);
            thread::sleep(ROOM_PAUSE);
            result = self.write(&commits);
        }
        tell(commits, &result);
    }

    fn write(&mut self, commits: &[Commit]) -> Result<(), Error> {
        self.shared.check()?;
        self.shared.space.make(commits.iter().map(|commit| commit.bytes).sum())?;
        let next = self.joined(commits)?;
        // All of it at once: growing step by step would copy what is there each time.
        let bytes: usize = commits.iter().map(|commit| commit.bytes).sum();
        let mut out = WriteBatch::with_capacity_bytes(bytes + bytes / 8 + BATCH_MORE_BYTES);
        // First in the batch: there the reader of the logs looks for it.
        out.put_cf(self.shared.database.own(), COMMIT_KEY, body::encode_u64(next.commit));
        self.fill(commits, &mut out)?;
        let bytes = out.size_in_bytes();
        self.lower_marks(&next)?;
        let start = Instant::now();
        self.shared.sync(out)?;
        metrics::histogram!("estafette_storage_sync_seconds").record(start.elapsed().as_secs_f64());
        metrics::histogram!("estafette_storage_sync_batch_size").record(commits.len() as f64);
        metrics::counter!("estafette_storage_sync_total").increment(1);
        metrics::counter!("estafette_storage_sync_bytes_total").increment(bytes as u64);
        self.file.write(&next).map_err(|error| self.shared.fail(&error))?;
        self.unsynced_since.get_or_insert(start);
        self.watermark = next;
        *self.shared.marks.lock() = self.watermark.marks.values().copied().collect();
        Ok(())
    }

    /// Entries that are taken back from a log are gone with the sync of these commits, and the watermark must not ask for
    /// them after a power loss: that it asks for fewer is durable before.
    fn lower_marks(&mut self, next: &Watermark) -> Result<(), Error> {
        let Some(lowered) = self.watermark.lowered(next) else { return Ok(()) };
        self.file
            .write(&lowered)
            .and_then(|()| self.file.sync())
            .map_err(|error| self.shared.fail(&error))?;
        self.unsynced_since = None;
        self.watermark = lowered;
        Ok(())
    }

    /// The watermark after these commits.
    fn joined(&self, commits: &[Commit]) -> Result<Watermark, Error> {
        let mut next = self.watermark.clone();
        next.commit += 1;
        for mark in commits.iter().flat_map(|commit| &commit.marks) {
            next.marks.insert(mark.group, *mark);
        }
        if next.marks.len() > MARKS_MAX {
            return Err(Error::Invalid { reason: "more groups than the watermark has room for" });
        }
        Ok(next)
    }

    fn fill(&self, commits: &[Commit], out: &mut WriteBatch) -> Result<(), Error> {
        let database = &self.shared.database;
        let mut written: HashMap<BodyHash, Known> = HashMap::new();
        for new in commits.iter().flat_map(|commit| &commit.batch.bodies) {
            let hash = new.hash();
            let known =
                written.get(&hash).map_or_else(|| Known::find(database, &hash), |known| Ok(*known))?;
            written.insert(hash, new.write(database, out, known)?);
        }
        let now_ms = now_ms();
        for commit in commits {
            commit.batch.write_rows(database, out)?;
            for hash in commit.batch.unnamed() {
                collect::write_candidate(database, out, &hash, now_ms);
            }
        }
        Ok(())
    }

    pub(crate) fn collect(&mut self, until_ms: u64, limit: usize) -> Result<Collected, Error> {
        self.shared.check()?;
        let mut out = WriteBatch::default();
        let owned: HashSet<BodyHash> = self.shared.owned.lock().values().flatten().copied().collect();
        let done = collect::round(&self.shared.database, until_ms, limit, &owned, &mut out)?;
        if !out.is_empty() {
            self.shared.write_unsynced(out)?;
        }
        for (place, bytes) in done.emptied {
            self.shared.database.findings().forget(&place);
            self.reclaim.removed(place, bytes);
        }
        Ok(done.collected)
    }

    /// Removes bodies under way that nobody took. Without room for that it is tried again with the next work, or after
    /// a pause.
    fn remove_left(&mut self) {
        while let Some(left) = self.left.pop() {
            match self.remove(&left) {
                Ok(()) => {}
                Err(Error::Full { .. }) => {
                    self.left.push(left);
                    break;
                }
                // The next start removes it.
                Err(error) => tracing::warn!(%error, "a body that was not finished could not be removed"),
            }
            self.shared.owned.lock().remove(&left.place);
        }
    }

    fn remove(&mut self, left: &Left) -> Result<(), Error> {
        let mut out = WriteBatch::default();
        if !stage::remove(&self.shared.database, &mut out, left)? {
            return Ok(());
        }
        self.shared.write_unsynced(out)?;
        self.shared.database.findings().forget(&left.place);
        match left.bytes() {
            Some(bytes) => self.reclaim.removed(left.place, bytes),
            None => self.reclaim.removed_unknown(left.place),
        }
        Ok(())
    }

    fn sync_watermark(&mut self) {
        if self.unsynced_since.take().is_some()
            && let Err(error) = self.file.sync()
        {
            self.shared.fail(&error);
        }
    }
}

/// True if RocksDB did not begin a write, because its threads had no room for a table or a blob file. It goes on by
/// itself when there is room (its `SstFileManager` looks every five seconds), and all that it has is in the logs.
/// Never true when the log itself, or the manifest, found no room.
fn is_refused_for_room(error: &rocksdb::Error) -> bool {
    let text = error.to_string();
    let names = |what: &str| text.contains(what);
    names("No space left on device")
        && (names(".sst:") || names(".blob:"))
        && !names(".log")
        && !names("MANIFEST")
}

fn tell(commits: Vec<Commit>, result: &Result<(), Error>) {
    for commit in commits {
        let result = result.clone();
        if catch_unwind(AssertUnwindSafe(|| (commit.done)(result))).is_err() {
            tracing::error!("a callback of a commit panicked");
        }
    }
}
