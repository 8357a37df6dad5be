//! openraft's own tests of a log store and a state machine.

use std::io;
use std::path::PathBuf;

use futures_util::Stream;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, Snapshot, StorageError};

use super::GROUP;
use crate::counter::{self, Counter};
use crate::log::{Alive, LogStore, Shared};
use crate::snapshot;
use crate::state::{Builder, Source, StateMachine};
use crate::types::{Leader, LogId, SnapshotMeta, StoredMembership, Types};

/// The state machine of a peer: what another one sends it comes as a file.
struct Peer {
    state: StateMachine,
    folder: PathBuf,
}

impl RaftStateMachine<Types> for Peer {
    type SnapshotData = Source;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.state.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        self.state.apply(entries).await
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.state.get_snapshot_builder().await
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, source: Source) -> io::Result<()> {
        let Source::Rows(rows) = source else { panic!("a file where rows were made") };
        let path = snapshot::write(&self.folder.join("received"), GROUP, &rows)?;
        self.state.install_snapshot(meta, Source::File(path)).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<Leader, u64, (), Source>>> {
        self.state.get_current_snapshot().await
    }
}

struct Builds;

impl StoreBuilder<Types, LogStore, Peer, tempfile::TempDir> for Builds {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, Peer), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let (store, settings) = (counter::store(dir.path()), counter::settings(dir.path()));
        let (shared, log) = Shared::open(&store, GROUP, &settings, Alive::new().0).unwrap();
        let machine = Box::new(Counter::new(7));
        let state = StateMachine::open(shared, machine, settings.snapshots, Alive::new().0).unwrap();
        let folder = dir.path().to_owned();
        Ok((dir, log, Peer { state, folder }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openraft_is_content() {
    Suite::test_all(Builds).await.unwrap();
}
