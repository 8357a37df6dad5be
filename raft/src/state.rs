//! Drives the machine of one group: entries in, rows and answers out.
//!
//! Invariant: what a round of entries changes, what it releases, and the record of how far it got lie in one
//! transaction. It is written without a sync: after a crash the log replays what is missing, from the record on.
//! Answers are sent after the transaction is written and the machine has published it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use estafette_storage::{Batch, Family, Read, Recent, Transaction, View};
use futures_util::{Stream, TryStreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder, Snapshot};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::blocking::{GivenUp, blocking};
use crate::codec::{self, Applied};
use crate::error::Error;
use crate::keys::{self, Meta};
use crate::log::{Alive, Shared};
use crate::settings::{ROOM_PAUSE, ROUND_BYTES, ROUND_COMMANDS};
use crate::snapshot::{self, Ranges};
use crate::types::{Answers, Commands, Entry, LogId, Payload, SnapshotMeta, StoredMembership, Types};
use crate::{Context, Machine, MachineError};

/// See the head of this module. Owned by openraft's worker for the group.
pub(crate) struct StateMachine {
    shared: Arc<Shared>,
    /// In a lock that is never waited for: openraft wants the whole to be `Sync`.
    machine: Mutex<Box<dyn Machine>>,
    applied: Applied,
    /// Nobody else writes the rows of the machine.
    recent: Recent,
    snapshots: PathBuf,
    // Goes last: who waits for it may close the store.
    alive: Alive,
}

/// The state of a group at one index.
#[derive(Clone)]
pub(crate) struct Rows {
    pub(crate) view: View,
    pub(crate) applied: Applied,
    pub(crate) ranges: Ranges,
}

/// Where the content of a snapshot is.
pub(crate) enum Source {
    /// In the store, as it was: a file is only made of it when a peer or an operator asks.
    Rows(Rows),
    /// In a file that was received.
    File(PathBuf),
}

/// Entries that are applied in one transaction.
struct Round {
    tx: Transaction,
    started: Instant,
    commands: usize,
    bytes: usize,
    last: Option<LogId>,
    answers: Vec<(ApplyResponder<Types>, Answers)>,
}

impl Round {
    fn new(shared: &Shared, recent: &Recent) -> Self {
        Self {
            tx: shared.store.transaction_over(recent),
            started: Instant::now(),
            commands: 0,
            bytes: 0,
            last: None,
            answers: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.commands >= ROUND_COMMANDS || self.bytes >= ROUND_BYTES
    }
}

impl StateMachine {
    /// The machine, loaded from the rows of the store. Ends an installation of a snapshot that was cut short.
    pub(crate) fn open(
        shared: Arc<Shared>,
        machine: Box<dyn Machine>,
        snapshots: PathBuf,
        alive: Alive,
    ) -> Result<Self, Error> {
        let recent = Recent::new(machine.ranges(), shared.recent_bytes);
        let (machine, applied) = (Mutex::new(machine), Applied::default());
        let mut state = Self { shared, machine, applied, recent, snapshots, alive };
        let key = keys::meta(state.shared.group, Meta::Installing);
        if let Some(name) = state.shared.store.read(Family::RaftMeta, &key)? {
            let name = String::from_utf8_lossy(&name).into_owned();
            tracing::warn!(group = %state.shared.group, snapshot = name, "installing a snapshot once more");
            let path = state.snapshots.join(name);
            let reader = snapshot::Reader::open(&path, state.shared.group)?;
            let applied = reader.applied.clone();
            let machine = state.machine.get_mut();
            snapshot::replace_rows(&state.shared, reader, &machine.ranges())?;
            snapshot::replace_references(&state.shared, machine.references())?;
            state.shared.store.apply_batch(snapshot::installed(state.shared.group, &applied))?;
        }
        state.load()?;
        Ok(state)
    }

    fn load(&mut self) -> Result<(), Error> {
        self.recent.clear();
        let view = self.shared.store.view();
        let group = self.shared.group;
        self.applied = match view.read(Family::RaftMeta, &keys::meta(group, Meta::Applied))? {
            Some(row) => {
                codec::decode_applied(&row).map_err(|_| Error::Undecodable { group, index: None })?
            }
            None => Applied::default(),
        };
        self.guard(0, |machine| machine.load(&view))?;
        self.shared.readable.send_replace(self.applied.log_id.map_or(0, |id| id.index));
        Ok(())
    }

    /// The state as it is now, at the last index applied.
    pub(crate) fn rows(&mut self) -> Rows {
        let ranges = self.machine.get_mut().ranges();
        Rows { view: self.shared.store.view(), applied: self.applied.clone(), ranges }
    }

    pub(crate) fn references(&mut self) -> Option<crate::References> {
        self.machine.get_mut().references()
    }

    /// Runs the machine; a panic of it is its error.
    fn guard<T>(
        &mut self,
        index: u64,
        step: impl FnOnce(&mut dyn Machine) -> Result<T, MachineError>,
    ) -> Result<T, Error> {
        let machine = self.machine.get_mut();
        let result =
            catch_unwind(AssertUnwindSafe(|| step(&mut **machine))).unwrap_or(Err(MachineError::Panicked));
        result.map_err(|cause| match cause {
            MachineError::Storage(error) => error.into(),
            cause => Error::Machine { group: self.shared.group, index, cause: Arc::new(cause) },
        })
    }

    fn apply_entry(&mut self, round: &mut Round, entry: Entry) -> Result<Answers, Error> {
        let answers = match entry.payload {
            Payload::Blank => Answers::default(),
            Payload::Membership(membership) => {
                self.applied.membership = StoredMembership::new(Some(entry.log_id), membership);
                Answers::default()
            }
            Payload::Normal(joined) => self.apply_commands(round, entry.log_id.index, &joined.commands)?,
        };
        round.last = Some(entry.log_id);
        self.applied.log_id = round.last;
        Ok(answers)
    }

    fn apply_commands(
        &mut self,
        round: &mut Round,
        index: u64,
        commands: &Commands,
    ) -> Result<Answers, Error> {
        // A new leader's clock may be behind that of the one before.
        self.applied.time_ms = self.applied.time_ms.max(commands.time_ms);
        let time_ms = self.applied.time_ms;
        #[cfg(feature = "planted")]
        let time_ms = planted_time_ms().unwrap_or(time_ms);
        let mut answers: Vec<Bytes> = Vec::with_capacity(commands.list.len());
        let tx = &mut round.tx;
        self.guard(index, |machine| {
            for (ordinal, command) in (0_u32..).zip(&commands.list) {
                let context = Context::new(time_ms, index, ordinal, commands.seed);
                answers.push(machine.apply(&context, &command.payload, &command.bodies, tx)?);
            }
            Ok(())
        })?;
        let holder = keys::entry(self.shared.group, index);
        commands.bodies().into_iter().for_each(|hash| round.tx.release_body(hash, &holder));
        round.commands += commands.list.len();
        round.bytes += commands.bytes();
        Ok(Answers(answers))
    }

    /// Writes the round, lets the machine publish it, and answers. Waits for room on the disk.
    async fn finish(&mut self, mut round: Round) -> Result<(), Error> {
        let Some(last) = round.last else { return Ok(()) };
        let key = keys::meta(self.shared.group, Meta::Applied);
        #[cfg(feature = "planted")]
        let key = if estafette_storage::planted::is("applied-not-noted") && last.index % 8 != 0 {
            keys::meta(self.shared.group, Meta::Durable)
        } else {
            key
        };
        round.tx.put(Family::RaftMeta, key, codec::encode_applied(&self.applied));
        let mut written = self.shared.store.try_apply(&round.tx);
        while self.shared.waits_for_room(&written) {
            tokio::time::sleep(ROOM_PAUSE).await;
            written = self.shared.store.try_apply(&round.tx);
        }
        written?;
        self.guard(last.index, |machine| {
            machine.written();
            Ok(())
        })?;
        for (responder, answers) in round.answers {
            responder.send(answers);
        }
        self.shared.applied(last.index);
        self.shared.gauges.applied(last.index, round.commands, round.started.elapsed());
        Ok(())
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.applied.log_id, last_membership: self.applied.membership.clone() }
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = Source;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied.log_id, self.applied.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        // The proposer goes first: what it may append now is synced while this is applied.
        tokio::task::yield_now().await;
        let mut round = Round::new(&self.shared, &self.recent);
        while let Some((entry, responder)) = entries.try_next().await? {
            self.shared.written_to(entry.log_id.index).await;
            let answers = self.apply_entry(&mut round, entry).map_err(|error| self.shared.raise(error))?;
            if let Some(responder) = responder {
                round.answers.push((responder, answers));
            }
            if round.is_full() {
                let full = std::mem::replace(&mut round, Round::new(&self.shared, &self.recent));
                self.finish(full).await.map_err(|error| self.shared.raise(error))?;
            }
        }
        self.finish(round).await.map_err(|error| self.shared.raise(error))
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            shared: Arc::clone(&self.shared),
            meta: self.meta(),
            rows: self.rows(),
            _alive: self.alive.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, source: Source) -> io::Result<()> {
        // The rows of this very node: what is in the store is the snapshot.
        let Source::File(path) = source else { return Ok(()) };
        let result = self.install(meta, path).await;
        result.map_err(|error| self.shared.raise(error))
    }

    /// The rows as they are now. They are at least as new as the last snapshot that was built.
    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<Snapshot<crate::types::Leader, u64, (), Source>>> {
        if self.applied.log_id.is_none() {
            return Ok(None);
        }
        Ok(Some(Snapshot { meta: self.meta(), snapshot: Source::Rows(self.rows()) }))
    }
}

impl StateMachine {
    async fn install(&mut self, meta: &SnapshotMeta, path: PathBuf) -> Result<(), Error> {
        let group = self.shared.group;
        let interrupted = |_: GivenUp| Error::Interrupted { group };
        let folder = self.snapshots.clone();
        let last = meta.last_log_id;
        let adopt = move || snapshot::adopt(&folder, group, &path, last.as_ref());
        let reader = blocking(&self.shared.store, adopt).await.map_err(interrupted)??;
        let applied = reader.applied.clone();
        let name = reader.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut begin = Batch::new();
        begin.put(Family::RaftMeta, keys::meta(group, Meta::Installing), name);
        self.release_skipped(&applied, &mut begin)?;
        durable(&self.shared, begin).await?;
        let machine = self.machine.get_mut();
        let (ranges, references) = (machine.ranges(), machine.references());
        let shared = Arc::clone(&self.shared);
        let work = move || {
            snapshot::replace_rows(&shared, reader, &ranges)?;
            snapshot::replace_references(&shared, references)
        };
        blocking(&self.shared.store, work).await.map_err(interrupted)??;
        durable(&self.shared, snapshot::installed(group, &applied)).await?;
        self.load()
    }
}

impl StateMachine {
    /// Entries that lie between what was applied and the snapshot never will be: their bodies are held no more.
    fn release_skipped(&self, snapshot: &Applied, batch: &mut Batch) -> Result<(), Error> {
        let group = self.shared.group;
        let after = |id: Option<LogId>| id.map_or(0, |id| id.index.saturating_add(1));
        let (mut at, end) = (after(self.applied.log_id), after(snapshot.log_id));
        while at < end {
            let entries = self.shared.present(at, end)?;
            let Some(last) = entries.last() else { break };
            at = last.log_id.index.saturating_add(1);
            for entry in &entries {
                if let Payload::Normal(joined) = &entry.payload {
                    let holder = keys::entry(group, entry.log_id.index);
                    joined.commands.bodies().into_iter().for_each(|hash| batch.release_body(hash, &holder));
                }
            }
        }
        Ok(())
    }
}

/// Writes a batch with a sync and waits for it.
pub(crate) async fn durable(shared: &Shared, batch: Batch) -> Result<(), Error> {
    let (done, wait) = oneshot::channel();
    shared.store.commit(batch, Vec::new(), move |result| {
        let _ = done.send(result);
    });
    wait.await.unwrap_or(Err(estafette_storage::Error::Closed)).map_err(Error::from)
}

/// Makes the applied rows durable, so that the log before them can go. Writes no rows anywhere: they are in the store.
pub(crate) struct Builder {
    shared: Arc<Shared>,
    meta: SnapshotMeta,
    rows: Rows,
    _alive: Alive,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Source;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<crate::types::Leader, u64, (), Source>> {
        let mut batch = Batch::new();
        if let Some(log_id) = &self.meta.last_log_id {
            // The sync of this write covers all writes before it: they are in the same write-ahead log.
            let key = keys::meta(self.shared.group, Meta::Durable);
            batch.put(Family::RaftMeta, key, codec::encode_log_id(log_id));
            durable(&self.shared, batch).await.map_err(|error| self.shared.raise(error))?;
        }
        Ok(Snapshot { meta: self.meta.clone(), snapshot: Source::Rows(self.rows.clone()) })
    }
}

/// The clock of this very node, where it must not be asked.
#[cfg(feature = "planted")]
fn planted_time_ms() -> Option<u64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    estafette_storage::planted::is("local-clock").then(|| u64::try_from(now.as_millis()).unwrap_or(0))
}
