//! A shard: the mailboxes of its accounts and the queue items that it owns, behind one Raft group.
//!
//! A command in the log is one byte that says for which part it is, then that part's own encoding.

use crate::reach::{Again, Patience, Reach, Wait, Way};
use crate::{Error, queue};
use bytes::Bytes;
use estafette_mailbox::{
    AccountRef, Action, Command, Context as MailboxContext, News, RequestId, Response, Watchers,
};
use estafette_raft::{
    Context, FarGroup, Group, Machine, MachineError, NewBody, NodeId, Proposal, References,
};
use estafette_storage::{BodyHash, Family, Read, Transaction};
use estafette_types::ShardId;
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// The first byte of a command for mailboxes.
const MAILBOX: u8 = 1;
/// The first byte of a command for the queue.
const QUEUE: u8 = 2;
/// The first byte of several commands for mailboxes: one message for many recipients.
const MAILBOXES: u8 = 3;
/// Commands that one entry of several may hold.
pub(crate) const MAILBOXES_MAX: usize = 256;

/// Applies the log of one shard.
pub struct ShardMachine {
    shard: ShardId,
    watchers: Arc<Watchers>,
    wakeup: Arc<queue::Wakeup>,
    news: Vec<News>,
    queue_changed: bool,
}

impl ShardMachine {
    /// For one shard; `watchers` are told of what changed in mailboxes, `wakeup` of new queue items.
    pub fn new(shard: ShardId, watchers: Arc<Watchers>, wakeup: Arc<queue::Wakeup>) -> ShardMachine {
        ShardMachine { shard, watchers, wakeup, news: Vec::new(), queue_changed: false }
    }

    fn mailbox(
        &mut self,
        context: &Context,
        command: &[u8],
        tx: &mut Transaction,
    ) -> Result<Bytes, MachineError> {
        let command = Command::decode(command).map_err(|error| fatal(error.into()))?;
        let context = MailboxContext { shard: self.shard, time_ms: context.time_ms };
        let response = estafette_mailbox::apply(&context, &command, tx, &mut self.news)
            .map_err(|error| fatal(error.into()))?;
        Ok(response.encode().into())
    }
}

fn pack(parts: &[Vec<u8>]) -> Vec<u8> {
    // Plain bytes into memory: this cannot fail, and an empty list would be refused by the reader.
    postcard::to_allocvec(parts).unwrap_or_default()
}

fn unpack(bytes: &[u8]) -> Result<Vec<Vec<u8>>, MachineError> {
    postcard::from_bytes(bytes).map_err(|_| MachineError::BadCommand { version: MAILBOXES })
}

fn fatal(error: Error) -> MachineError {
    match error {
        Error::Storage(error) | Error::Mailbox(estafette_mailbox::Error::Storage(error)) => {
            MachineError::Storage(error)
        }
        Error::Mailbox(estafette_mailbox::Error::Version(version)) => MachineError::BadCommand { version },
        Error::Queue { .. } => MachineError::BadCommand { version: QUEUE },
        Error::Damaged { key, .. } => MachineError::BadRow { family: Family::Queue, key: key.0 },
        _ => MachineError::Inconsistent("rows of mailboxes contradict each other"),
    }
}

impl Machine for ShardMachine {
    fn apply(
        &mut self,
        context: &Context,
        command: &[u8],
        bodies: &[BodyHash],
        tx: &mut Transaction,
    ) -> Result<Bytes, MachineError> {
        match command.split_first() {
            Some((&MAILBOX, command)) => self.mailbox(context, command, tx),
            Some((&MAILBOXES, commands)) => {
                let commands: Vec<Vec<u8>> = unpack(commands)?;
                let mut answers = Vec::with_capacity(commands.len());
                for command in commands {
                    answers.push(self.mailbox(context, &command, tx)?.to_vec());
                }
                Ok(pack(&answers).into())
            }
            Some((&QUEUE, command)) => {
                self.queue_changed = true;
                queue::apply(self.shard, context, command, bodies, tx).map_err(fatal)
            }
            other => Err(MachineError::BadCommand { version: other.map_or(0, |(part, _)| *part) }),
        }
    }

    fn written(&mut self) {
        self.watchers.wake(&mut self.news);
        if std::mem::take(&mut self.queue_changed) {
            self.wakeup.wake(self.shard);
        }
    }

    fn ranges(&self) -> Vec<(Family, Range<Vec<u8>>)> {
        vec![
            (Family::Row, estafette_mailbox::shard_range(self.shard)),
            (Family::Queue, queue::shard_range(self.shard)),
        ]
    }

    fn references(&self) -> Option<References> {
        let shard = self.shard;
        let walk = move |rows: &dyn Read, note: &mut dyn FnMut(BodyHash, u64)| {
            estafette_mailbox::check(rows, shard, note).map_err(|error| fatal(error.into()))?;
            queue::check(rows, shard, note).map_err(fatal)?;
            Ok(())
        };
        Some(References { scope: shard.0, walk: Box::new(walk) })
    }

    fn load(&mut self, _: &dyn Read) -> Result<(), MachineError> {
        self.wakeup.wake(self.shard);
        Ok(())
    }
}

/// The groups of all shards; a cheap handle.
///
/// A shard is here, or elsewhere, or learned: opened here, and read elsewhere until its rows are whole.
#[derive(Clone, Default)]
pub struct Shards {
    known: Arc<RwLock<Known>>,
    patience: Patience,
}

#[derive(Default)]
struct Known {
    here: BTreeMap<ShardId, Reach>,
    learned: BTreeMap<ShardId, Group>,
    far: BTreeMap<ShardId, FarGroup>,
}

impl Shards {
    /// None yet; so long is waited for those that come.
    pub fn new(patience: Patience) -> Shards {
        Shards { known: Arc::default(), patience }
    }

    /// Adds the group of a shard.
    pub fn insert(&self, shard: ShardId, group: Group) {
        self.put(shard, Reach::new(group, self.patience));
    }

    /// Adds a shard by the way to its group.
    pub fn put(&self, shard: ShardId, reach: Reach) {
        let mut known = self.known.write();
        known.learned.remove(&shard);
        known.here.insert(shard, reach);
    }

    /// Adds the group of a shard of which this node has not all yet.
    pub fn learn(&self, shard: ShardId, group: Group) {
        self.known.write().learned.insert(shard, group);
    }

    /// The groups that are learned.
    pub fn learned(&self) -> Vec<(ShardId, Group)> {
        self.known.read().learned.iter().map(|(shard, group)| (*shard, group.clone())).collect()
    }

    /// Says who has a shard: it is used there while it is not here. `far` makes the way when there is none yet.
    pub fn is_at(&self, shard: ShardId, nodes: &[NodeId], far: impl FnOnce() -> FarGroup) {
        self.known.write().far.entry(shard).or_insert_with(far).is_at(nodes);
    }

    /// Takes the group of a shard out: it is elsewhere now.
    pub fn remove(&self, shard: ShardId) {
        let mut known = self.known.write();
        known.here.remove(&shard);
        known.learned.remove(&shard);
    }

    /// True if this node has the rows of a shard.
    pub fn is_here(&self, shard: ShardId) -> bool {
        self.known.read().here.contains_key(&shard)
    }

    /// True if this node has a part in the group of a shard.
    pub fn is_open(&self, shard: ShardId) -> bool {
        let known = self.known.read();
        known.here.contains_key(&shard) || known.learned.contains_key(&shard)
    }

    /// The shards that this node has.
    pub fn all(&self) -> Vec<ShardId> {
        self.known.read().here.keys().copied().collect()
    }

    /// Those and all others of which it is known where they are.
    pub(crate) fn everywhere(&self) -> Vec<ShardId> {
        let known = self.known.read();
        let all: BTreeSet<ShardId> = known.here.keys().chain(known.far.keys()).copied().collect();
        all.into_iter().collect()
    }

    /// The way to the group of a shard that this node has.
    ///
    /// # Errors
    /// [`Error::NoShard`].
    pub fn reach(&self, shard: ShardId) -> Result<Reach, Error> {
        self.known.read().here.get(&shard).cloned().ok_or(Error::NoShard(shard))
    }

    /// The way to the group of a shard, wherever it is.
    fn way(&self, shard: ShardId) -> Result<Way, Error> {
        let known = self.known.read();
        match (known.here.get(&shard), known.far.get(&shard)) {
            (Some(reach), _) => Ok(Way::Here(reach.clone())),
            (None, Some(group)) => Ok(Way::Far(group.clone())),
            (None, None) => Err(Error::NoShard(shard)),
        }
    }

    /// The group of a shard that this node has.
    ///
    /// # Errors
    /// [`Error::NoShard`].
    pub fn group(&self, shard: ShardId) -> Result<Group, Error> {
        self.reach(shard).map(|reach| reach.group().clone())
    }

    /// How long something that begins now may wait, of however many proposals it is made.
    pub(crate) fn wait(&self) -> Wait {
        self.patience.from_now()
    }

    /// The same for what begins in a shard.
    pub(crate) fn wait_in(&self, shard: ShardId) -> Wait {
        self.reach(shard).map_or_else(|_| self.wait(), |reach| reach.wait())
    }

    /// Waits until the rows of a shard here hold all that was told to anybody when it was called.
    ///
    /// # Errors
    /// [`Error::NoShard`]; as [`Reach::fresh`].
    pub async fn fresh(&self, shard: ShardId) -> Result<(), Error> {
        Ok(self.reach(shard)?.fresh().await?)
    }

    /// Carries out a command on the mailboxes of an account: durable and applied here when it answers. What would be
    /// done twice if it were repeated is named, where an answer can be lost on its way from another node.
    ///
    /// # Errors
    /// When the group cannot take it, or it is not known whether it did ([`Error::is_uncertain`]). What the command
    /// did wrong is a [`Response::Refused`].
    pub async fn mailbox(
        &self,
        at: AccountRef,
        action: Action,
        bodies: Vec<NewBody>,
    ) -> Result<Response, Error> {
        let command = self.command(at, action)?;
        self.carry_out(at.shard, &command, bodies, self.wait_in(at.shard)).await
    }

    /// A command, with a name where it needs one.
    pub(crate) fn command(&self, at: AccountRef, action: Action) -> Result<Command, Error> {
        let mut command = Command::new(at.account, action);
        if self.way(at.shard)?.is_shared() && !command.action.is_harmless_again() {
            command.request = random().ok();
        }
        Ok(command)
    }

    pub(crate) async fn carry_out(
        &self,
        shard: ShardId,
        command: &Command,
        bodies: Vec<NewBody>,
        wait: Wait,
    ) -> Result<Response, Error> {
        let again = match command.request.is_some() || command.action.is_harmless_again() {
            true => Again::Harmless,
            false => Again::Harmful,
        };
        let proposal = proposal(MAILBOX, &command.encode(), bodies);
        Ok(Response::decode(&self.propose(shard, proposal, again, wait).await?)?)
    }

    /// Carries out several deliveries that share the bodies, in one entry of the log; one answer for each. Durable and
    /// applied at the leader when it answers: who delivers does not read.
    ///
    /// # Errors
    /// As [`Shards::mailbox`].
    pub(crate) async fn deliveries(
        &self,
        shard: ShardId,
        commands: Vec<Command>,
        bodies: Vec<NewBody>,
        wait: Wait,
    ) -> Result<Vec<Response>, Error> {
        let mut answers = Vec::with_capacity(commands.len());
        for part in commands.chunks(MAILBOXES_MAX) {
            let encoded: Vec<Vec<u8>> = part.iter().map(Command::encode).collect();
            let proposal = proposal(MAILBOXES, &pack(&encoded), bodies.clone());
            let answer = self.propose(shard, proposal, Again::Harmless, wait.until_done()).await?;
            let parts = unpack(&answer).map_err(|_| Error::Queue { what: "an answer" })?;
            for part in parts {
                answers.push(Response::decode(&part)?);
            }
        }
        Ok(answers)
    }

    /// Carries out an encoded command on the queue of a shard. All of them change nothing the second time.
    pub(crate) async fn queue(
        &self,
        shard: ShardId,
        command: &[u8],
        bodies: Vec<NewBody>,
        wait: Wait,
    ) -> Result<Bytes, Error> {
        let proposal = proposal(QUEUE, command, bodies);
        self.propose(shard, proposal, Again::Harmless, wait).await
    }

    async fn propose(
        &self,
        shard: ShardId,
        proposal: Proposal,
        again: Again,
        wait: Wait,
    ) -> Result<Bytes, Error> {
        let way = self.way(shard)?;
        let is_here = matches!(way, Way::Here(_));
        match way.propose_within(proposal.clone(), again, wait).await {
            // It has left this node under way.
            Err(error) if is_here && !self.is_here(shard) && may_repeat(&error, again) => {
                Ok(self.way(shard)?.propose_within(proposal, again, wait).await?)
            }
            outcome => Ok(outcome?),
        }
    }
}

/// Whether something may be proposed once more after an error.
fn may_repeat(error: &estafette_raft::Error, again: Again) -> bool {
    use estafette_raft::Error::{Interrupted, NotLeader, Unavailable};
    match error {
        NotLeader { .. } | Unavailable { .. } => true,
        Interrupted { .. } => again == Again::Harmless,
        _ => false,
    }
}

fn random() -> Result<RequestId, getrandom::Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map(|()| RequestId(id))
}

fn proposal(part: u8, command: &[u8], bodies: Vec<NewBody>) -> Proposal {
    let mut bytes = Vec::with_capacity(1 + command.len());
    bytes.push(part);
    bytes.extend_from_slice(command);
    Proposal { command: bytes.into(), bodies }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What lies in logs: never change these bytes.
    #[test]
    fn commands_of_version_1() {
        assert_eq!((MAILBOX, QUEUE, MAILBOXES), (1, 2, 3));
        let parts = vec![vec![7, 8], Vec::new(), vec![9; 300]];
        let bytes = [&[3, 2, 7, 8, 0, 0xAC, 2][..], &[9; 300]].concat();
        assert_eq!(pack(&parts), bytes);
        assert_eq!(unpack(&bytes).unwrap(), parts);
    }
}
