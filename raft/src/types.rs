//! How openraft sees our groups. Nothing of this leaves the crate.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use estafette_storage::BodyHash;
use openraft::raft::ClientWriteResult;
use openraft::raft::responder::Responder;
use openraft::{OptionalSend, RaftTypeConfig};
use tokio::sync::OwnedSemaphorePermit;

use crate::state::StateMachine;
use crate::{NewBody, NodeId};

pub(crate) type Leader = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
pub(crate) type LogId = openraft::LogId<Leader>;
pub(crate) type Vote = openraft::Vote<Leader>;
pub(crate) type Payload = openraft::EntryPayload<Joined, u64, ()>;
pub(crate) type Entry = openraft::Entry<Leader, Payload>;
pub(crate) type Membership = openraft::Membership<u64, ()>;
pub(crate) type StoredMembership = openraft::StoredMembership<Leader, u64, ()>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<Leader, u64, ()>;
pub(crate) type Raft = openraft::Raft<Types, StateMachine>;

/// Less than every vote that is cast.
pub(crate) const NO_VOTE: Vote = Vote { leader_id: Leader { term: 0, node_id: 0 }, committed: false };

/// The types that openraft is instantiated with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

impl RaftTypeConfig for Types {
    type D = Joined;
    type R = Answers;
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    type LeaderId = Leader;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = crate::runtime::Runtime;
    type Responder<T>
        = Callback<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// Commands that were joined into one entry, and the bodies that go into the store beside it.
///
/// An entry that was read back from the log has no bodies: those are in the store.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    pub(crate) commands: Arc<Commands>,
    pub(crate) bodies: Vec<Brought>,
}

/// A body of an entry that is not in the store yet.
#[derive(Clone, Debug)]
pub(crate) struct Brought {
    pub(crate) body: NewBody,
    /// The peer that brought it with its proposal, and keeps it until that is answered: it need not be sent back.
    pub(crate) by: Option<NodeId>,
}

/// What an entry keeps in the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Commands {
    pub(crate) time_ms: u64,
    pub(crate) seed: [u8; 16],
    pub(crate) list: Vec<Command>,
}

/// One command with the bodies that it names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) payload: Bytes,
    pub(crate) bodies: Vec<BodyHash>,
}

impl Commands {
    /// Bytes that the entry keeps in memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.list.iter().map(|command| command.payload.len() + command.bodies.len() * 32 + 64).sum()
    }

    /// The bodies that the entry names, each once.
    pub(crate) fn bodies(&self) -> Vec<BodyHash> {
        let mut all: Vec<BodyHash> = self.list.iter().flat_map(|command| &command.bodies).copied().collect();
        if all.len() > 1 {
            all.sort_unstable_by_key(|hash| hash.0);
            all.dedup();
        }
        all
    }
}

impl fmt::Display for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands", self.commands.list.len())
    }
}

/// The machine's answers to the commands of an entry, in their order.
#[derive(Debug, Default)]
pub(crate) struct Answers(pub(crate) Vec<Bytes>);

/// Called by openraft when an entry is committed, and when it is applied or was not taken.
pub(crate) struct Callback<T> {
    /// Given back at the commit, so that the next entry can be synced while this one is applied.
    pub(crate) append: Option<OwnedSemaphorePermit>,
    /// Given back when the answers are out.
    pub(crate) whole: OwnedSemaphorePermit,
    pub(crate) done: Box<dyn FnOnce(T) + Send>,
}

impl<T: OptionalSend + 'static> Responder<Types, T> for Callback<T> {
    fn on_commit(&mut self, _: LogId) {
        self.append = None;
    }

    fn on_complete(self, result: T) {
        (self.done)(result);
        drop(self.whole);
    }
}

/// What openraft tells about a proposed entry.
pub(crate) type Outcome = ClientWriteResult<Types>;
