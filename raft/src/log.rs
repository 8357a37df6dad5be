//! The log of one group in the shared store.
//!
//! Duty: entries, vote and bodies become durable through the committer, each write with the group's mark. Writes of a
//! group reach the committer in the order in which openraft makes them, and it keeps that order.
//! An append does not wait for its sync: the entry is readable from the [`Tail`] at once, and openraft is called back
//! from the committer thread.
//! Must not: apply anything, or write past a failed commit (the store refuses that).

use std::convert::Infallible;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use estafette_storage::{Batch, Direction, Family, Mark, Read, Store};
use futures_util::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::codec;
use crate::error::{Error, Fault};
use crate::gauges::Gauges;
use crate::keys::{self, Meta};
use crate::settings::{READ_BYTES, READ_ENTRIES};
use crate::tail::{Slim, Tail};
use crate::types::{Entry, Joined, LogId, NO_VOTE, Payload, Types, Vote};
use crate::{GroupId, Settings};

/// What all who read or write the log of a group share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) group: GroupId,
    pub(crate) fault: Fault,
    pub(crate) gauges: Gauges,
    pub(crate) compaction: Compaction,
    /// The last entry that was handed to the store.
    appended: watch::Sender<u64>,
    /// The last entry that is written here with its bodies, so that it may be applied.
    pub(crate) written: watch::Sender<u64>,
    /// The last entry whose rows can be read.
    pub(crate) readable: watch::Sender<u64>,
    /// The last entry whose rows somebody waits for on a peer, as far as the leader here was told.
    pub(crate) awaited: watch::Sender<u64>,
    /// How long word of a commit alone waits for entries.
    pub(crate) commit_wait: Duration,
    /// Bytes of rows that the machine lately read which stay in memory.
    pub(crate) recent_bytes: usize,
    /// Held by who writes a snapshot file of the group.
    pub(crate) snapshot_turn: Mutex<()>,
    /// The group is being given up here: no more rows come.
    pub(crate) left: watch::Sender<bool>,
    /// Whether there are peers, who are sent entries with their bodies.
    pub(crate) has_peers: AtomicBool,
    /// The last entry that was here before all was removed; none if that never was.
    pub(crate) had: Option<LogId>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tail: Tail,
    /// Index of the first entry, which may not be there yet. What lies before may still be on disk, but is purged.
    first: u64,
    /// Index of the next entry.
    next: u64,
    vote: Option<Vote>,
}

/// Counts what was appended since the log was last compacted, and wakes who does it.
pub(crate) struct Compaction {
    max_entries: u64,
    max_bytes: u64,
    entries: AtomicU64,
    bytes: AtomicU64,
    pub(crate) due: Notify,
}

impl Compaction {
    fn count(&self, entries: u64, bytes: u64) {
        let entries = self.entries.fetch_add(entries, Ordering::Relaxed).saturating_add(entries);
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if entries >= self.max_entries || bytes >= self.max_bytes {
            self.entries.store(0, Ordering::Relaxed);
            self.bytes.store(0, Ordering::Relaxed);
            self.due.notify_one();
        }
    }
}

/// Held by all that openraft's tasks own. When the last is gone, nothing of the group is under way any more.
#[derive(Clone)]
pub(crate) struct Alive {
    _sender: mpsc::Sender<Infallible>,
}

impl Alive {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Infallible>) {
        let (sender, gone) = mpsc::channel(1);
        (Self { _sender: sender }, gone)
    }
}

/// The log as openraft's core writes it.
pub(crate) struct LogStore {
    shared: Arc<Shared>,
    alive: Alive,
    purged: Option<LogId>,
    last: Option<LogId>,
}

/// The log as it is read, by any number of tasks.
#[derive(Clone)]
pub(crate) struct LogReader {
    // Goes first: who waits for the other may close the store.
    shared: Arc<Shared>,
    _alive: Alive,
}

/// The ends of a log as they are found on disk.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) vote: Option<Vote>,
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
}

impl Found {
    /// Reads the ends of a group's log. A log whose entries were all purged ends where it was purged.
    pub(crate) fn read(store: &Store, group: GroupId) -> Result<Self, Error> {
        let undecodable = |index| move |_| Error::Undecodable { group, index };
        let row = |what| store.read(Family::RaftMeta, &keys::meta(group, what));
        let vote =
            row(Meta::Vote)?.map(|row| codec::decode_vote(&row)).transpose().map_err(undecodable(None))?;
        let purged = row(Meta::Purged)?
            .map(|row| codec::decode_log_id(&row))
            .transpose()
            .map_err(undecodable(None))?;
        let next = next(purged);
        let end = |direction| -> Result<Option<LogId>, Error> {
            let Some(row) = store.scan(Family::RaftLog, keys::entries(group, next, None), direction)?.next()
            else {
                return Ok(None);
            };
            let row = row?;
            let index = keys::index(&row.key).ok_or(Error::Undecodable { group, index: None })?;
            codec::decode_entry_id(index, &row.value).map(Some).map_err(undecodable(Some(index)))
        };
        if let Some(first) = end(Direction::Forward)?
            && first.index != next
        {
            return Err(Error::Hole { group, index: next });
        }
        Ok(Self { vote, purged, last: end(Direction::Backward)?.or(purged) })
    }
}

impl Shared {
    /// The log of a group, and the part of it that openraft's core owns.
    pub(crate) fn open(
        store: &Store,
        group: GroupId,
        settings: &Settings,
        alive: Alive,
    ) -> Result<(Arc<Self>, LogStore), Error> {
        let found = Found::read(store, group)?;
        let had = store.read(Family::RaftMeta, &keys::meta(group, Meta::Had))?;
        let had = had.map(|row| codec::decode_log_id(&row)).transpose();
        let kept = found.last.map_or(0, |id| id.index) - found.purged.map_or(0, |id| id.index);
        let shared = Arc::new(Self {
            store: store.clone(),
            group,
            fault: Fault::default(),
            gauges: Gauges::new(group),
            compaction: Compaction {
                max_entries: settings.compact_entries.max(1),
                max_bytes: settings.compact_bytes.max(1),
                entries: AtomicU64::new(kept.saturating_sub(settings.keep_entries)),
                bytes: AtomicU64::new(0),
                due: Notify::new(),
            },
            appended: watch::Sender::new(found.last.map_or(0, |id| id.index)),
            written: watch::Sender::new(found.last.map_or(0, |id| id.index)),
            readable: watch::Sender::new(0),
            awaited: watch::Sender::new(0),
            commit_wait: Duration::from_millis(settings.commit_wait_ms),
            recent_bytes: settings.recent_bytes,
            snapshot_turn: Mutex::default(),
            left: watch::Sender::new(false),
            has_peers: AtomicBool::new(false),
            had: had.map_err(|_| Error::Undecodable { group, index: None })?,
            state: Mutex::new(State {
                tail: Tail::default(),
                first: next(found.purged),
                next: next(found.last),
                vote: found.vote,
            }),
        });
        let log = LogStore { shared: Arc::clone(&shared), alive, purged: found.purged, last: found.last };
        Ok((shared, log))
    }

    /// True while the log does not go as far as it did before all was removed here.
    pub(crate) fn lacks_what_it_had(&self) -> Result<bool, Error> {
        match self.had {
            None => Ok(false),
            had => Ok(Found::read(&self.store, self.group)?.last < had),
        }
    }

    /// All entries up to `index` are applied.
    pub(crate) fn applied(&self, index: u64) {
        self.state.lock().tail.applied(index);
        self.readable.send_replace(index);
    }

    /// Somebody waits on a peer for the rows of this entry.
    pub(crate) fn awaits(&self, index: u64) {
        self.awaited.send_if_modified(|awaited| {
            let is_news = index > *awaited;
            *awaited = (*awaited).max(index);
            is_news
        });
    }

    /// Waits until the log goes as far as this. What follows it can be appended then.
    pub(crate) async fn appended_to(&self, index: u64) {
        // The sender is a part of this.
        let _ = self.appended.subscribe().wait_for(|appended| *appended >= index).await;
    }

    /// Waits until an entry is written here. A majority may have it before; but what applying it releases must be there by
    /// then, and its bodies must be readable.
    pub(crate) async fn written_to(&self, index: u64) {
        let was_appended = index < self.state.lock().next;
        if was_appended && *self.written.borrow() < index {
            // The sender is a part of this.
            let _ = self.written.subscribe().wait_for(|written| *written >= index).await;
        }
    }

    /// The first entries of a range that are here, as many as are read in one go; none if there are none.
    pub(crate) fn present(&self, from: u64, until: u64) -> Result<Vec<Entry>, Error> {
        let (first, next) = {
            let state = self.state.lock();
            (state.first, state.next)
        };
        let range = from.max(first)..until.min(next).min(from.max(first).saturating_add(READ_ENTRIES));
        if range.is_empty() { Ok(Vec::new()) } else { self.entries(&range, READ_BYTES) }
    }

    pub(crate) fn raise(&self, error: impl Into<Error>) -> io::Error {
        self.fault.raise(error.into())
    }

    /// True if a write that found no room is to be tried again, after a pause.
    pub(crate) fn waits_for_room(&self, result: &Result<(), estafette_storage::Error>) -> bool {
        matches!(result, Err(estafette_storage::Error::Full { .. })) && self.store.waits_for_room()
    }

    /// Entries of `range`, from the store as far as they have left the tail. Stops after `limit` bytes from the store,
    /// but not before the first entry.
    fn entries(&self, range: &Range<u64>, limit: usize) -> Result<Vec<Entry>, Error> {
        let (range, first, in_memory) = {
            let state = self.state.lock();
            let range = range.start.max(state.first)..range.end;
            (range.clone(), state.tail.first(), state.tail.read(&range))
        };
        let until = first.map_or(range.end, |first| first.min(range.end));
        if range.start >= until {
            return Ok(in_memory);
        }
        let mut entries = Vec::new();
        let mut bytes = 0_usize;
        let keys = keys::entries(self.group, range.start, Some(until));
        for row in self.store.scan(Family::RaftLog, keys, Direction::Forward)? {
            let row = row?;
            let index = keys::index(&row.key).unwrap_or_default();
            let expected = entries.last().map(|entry: &Entry| entry.log_id.index.saturating_add(1));
            if let Some(expected) = expected.filter(|expected| *expected != index) {
                return Err(Error::Hole { group: self.group, index: expected });
            }
            let undecodable = |_| Error::Undecodable { group: self.group, index: Some(index) };
            entries.push(codec::decode_entry(index, &row.value).map_err(undecodable)?);
            bytes = bytes.saturating_add(row.value.len());
            if bytes >= limit {
                return Ok(entries);
            }
        }
        let next = entries.last().map(|entry| entry.log_id.index.saturating_add(1));
        if let (Some(next), Some(after)) = (next, in_memory.first())
            && next != after.log_id.index
        {
            return Err(Error::Hole { group: self.group, index: next });
        }
        entries.extend(in_memory);
        Ok(entries)
    }
}

impl LogStore {
    fn reader(&self) -> LogReader {
        LogReader { shared: Arc::clone(&self.shared), _alive: self.alive.clone() }
    }

    /// What the watermark will say once everything handed to the committer so far is durable.
    fn mark(&self) -> Mark {
        let vote = self.shared.state.lock().vote.unwrap_or(NO_VOTE);
        Mark {
            group: self.shared.group.0,
            term: vote.leader_id.term,
            voted_for: vote.leader_id.node_id,
            voted_committed: vote.committed,
            last_index: self.last.map_or(0, |id| id.index),
        }
    }

    /// Hands a batch to the committer and waits until it is durable.
    async fn commit(&self, batch: Batch) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        self.shared.store.commit(batch, vec![self.mark()], move |result| {
            // Nobody waits any more if openraft was shut down.
            let _ = done.send(result);
        });
        let result = wait.await.unwrap_or(Err(estafette_storage::Error::Closed));
        result.map_err(|error| self.shared.raise(error))
    }

    /// Puts an entry and its bodies into the batch and the tail.
    fn add(&self, batch: &mut Batch, tail: &mut Tail, entry: Entry) -> u64 {
        let key = keys::entry(self.shared.group, entry.log_id.index);
        let row = codec::encode_entry(&entry);
        batch.put(Family::RaftLog, key, &row);
        let log_id = entry.log_id;
        let mut kept = Vec::new();
        let payload = match entry.payload {
            Payload::Blank => Slim::Blank,
            Payload::Membership(membership) => Slim::Membership(membership),
            Payload::Normal(Joined { commands, bodies }) => {
                if self.shared.has_peers.load(Ordering::Relaxed) {
                    kept.clone_from(&bodies);
                }
                bodies.into_iter().for_each(|brought| batch.bring_body(brought.body));
                for hash in commands.bodies() {
                    batch.hold_body(hash, &key);
                }
                Slim::Commands(commands)
            }
        };
        tail.push(log_id, payload, kept);
        row.len() as u64
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        Ok(LogState { last_purged_log_id: self.purged, last_log_id: self.last })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.shared.state.lock().vote = Some(*vote);
        #[cfg(feature = "planted")]
        if estafette_storage::planted::is("vote-not-stored") {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.put(Family::RaftMeta, keys::meta(self.shared.group, Meta::Vote), codec::encode_vote(vote));
        self.commit(batch).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = Batch::new();
        let (mut count, mut bytes) = (0_u64, 0_u64);
        {
            let mut state = self.shared.state.lock();
            for entry in entries {
                self.last = Some(entry.log_id);
                count += 1;
                bytes += self.add(&mut batch, &mut state.tail, entry);
            }
            state.next = next(self.last);
        }
        let index = self.last.map_or(0, |id| id.index);
        self.shared.appended.send_replace(index);
        let reader = self.reader();
        let started = std::time::Instant::now();
        self.shared.store.commit(batch, vec![self.mark()], move |result| {
            // All of it, so that it is alive until the end.
            let LogReader { shared, _alive } = reader;
            match result {
                Ok(()) => {
                    shared.state.lock().tail.written(index);
                    shared.written.send_replace(index);
                    shared.gauges.committed(count, bytes, started.elapsed());
                    shared.compaction.count(count, bytes);
                    callback.io_completed(Ok(()));
                }
                Err(error) => {
                    // Nobody needs to wait: whatever is written now fails too.
                    shared.written.send_replace(u64::MAX);
                    callback.io_completed(Err(shared.raise(error)));
                }
            }
            drop(shared);
        });
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let from = next(last_log_id);
        let mut batch = Batch::new();
        let mut at = from;
        let end = next(self.last);
        if from >= end {
            return Ok(());
        }
        while at < end {
            let entries =
                self.shared.entries(&(at..end), READ_BYTES).map_err(|error| self.shared.raise(error))?;
            for entry in &entries {
                if let Payload::Normal(joined) = &entry.payload {
                    let holder = keys::entry(self.shared.group, entry.log_id.index);
                    #[cfg(feature = "planted")]
                    if estafette_storage::planted::is("holds-stay-after-truncation") {
                        continue;
                    }
                    joined.commands.bodies().into_iter().for_each(|hash| batch.release_body(hash, &holder));
                }
            }
            let Some(last) = entries.last() else { break };
            at = last.log_id.index.saturating_add(1);
        }
        batch.delete_range(Family::RaftLog, keys::entries(self.shared.group, from, None));
        {
            let mut state = self.shared.state.lock();
            state.tail.cut(last_log_id.map(|id| id.index));
            state.next = from;
        }
        self.last = last_log_id;
        let last = last_log_id.map_or(0, |id| id.index);
        self.shared.appended.send_replace(last);
        let cut = self.commit(batch).await;
        // Only now: entries that were on their way to the disk before this have told that they are written.
        self.shared.written.send_modify(|written| *written = (*written).min(last));
        cut
    }

    /// Does not wait: the rows that make the entries needless lie before this in the same write-ahead log.
    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let group = self.shared.group;
        let from = self.purged.map_or(0, |id| id.index);
        let mut batch = Batch::new();
        batch.put(Family::RaftMeta, keys::meta(group, Meta::Purged), codec::encode_log_id(&log_id));
        batch.delete_range(Family::RaftLog, keys::entries(group, from, Some(log_id.index.saturating_add(1))));
        self.purged = Some(log_id);
        self.last = self.last.max(Some(log_id));
        {
            let mut state = self.shared.state.lock();
            state.tail.purged(log_id.index);
            state.first = next(self.purged);
            state.next = next(self.last);
        }
        self.shared.appended.send_replace(self.last.map_or(0, |id| id.index));
        let reader = self.reader();
        self.shared.store.commit(batch, vec![self.mark()], move |result| {
            let LogReader { shared, _alive } = reader;
            if let Err(error) = result {
                shared.raise(error);
            }
            drop(shared);
        });
        Ok(())
    }
}

impl RaftLogReader<Types> for LogReader {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.shared.entries(&bounds(&range), usize::MAX).map_err(|error| self.shared.raise(error))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let end = end.min(start.saturating_add(READ_ENTRIES));
        self.shared.entries(&(start..end), READ_BYTES).map_err(|error| self.shared.raise(error))
    }

    /// Entries for the machine: a long log is read piece by piece.
    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let range = bounds(&range);
        let end = range.end.min(self.shared.state.lock().next);
        let left = range.start..end;
        let pieces = Pieces { log: Arc::clone(&self.shared), left, ready: Vec::new().into_iter() };
        futures_util::stream::unfold(
            pieces,
            |mut pieces| async move { pieces.next().map(|item| (item, pieces)) },
        )
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.shared.state.lock().vote)
    }
}

/// A range of entries that is read as it is used.
struct Pieces {
    log: Arc<Shared>,
    left: Range<u64>,
    ready: std::vec::IntoIter<Entry>,
}

impl Pieces {
    fn next(&mut self) -> Option<io::Result<Entry>> {
        if self.ready.len() == 0 && !self.left.is_empty() {
            let piece = self.left.start..self.left.end.min(self.left.start.saturating_add(READ_ENTRIES));
            match self.log.entries(&piece, READ_BYTES) {
                Ok(entries) => {
                    let hole = entries.first().is_none_or(|entry| entry.log_id.index != piece.start);
                    if hole {
                        self.left = 0..0;
                        let error = Error::Hole { group: self.log.group, index: piece.start };
                        return Some(Err(self.log.raise(error)));
                    }
                    self.left.start = self.left.start.saturating_add(entries.len() as u64);
                    self.ready = entries.into_iter();
                }
                Err(error) => {
                    self.left = 0..0;
                    return Some(Err(self.log.raise(error)));
                }
            }
        }
        self.ready.next().map(Ok)
    }
}

/// Index of the entry behind this one.
fn next(last: Option<LogId>) -> u64 {
    last.map_or(0, |id| id.index.saturating_add(1))
}

fn bounds(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}
