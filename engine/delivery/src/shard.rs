//! A shard: the mailboxes of its accounts and the queue items that it owns, behind one Raft group.
//!
//! A command in the log is one byte that says for which part it is, then that part's own encoding.

use crate::{Error, queue};
use bytes::Bytes;
use estafette_mailbox::{AccountRef, Action, Command, Context as MailboxContext, News, Response, Watchers};
use estafette_raft::{Context, Group, Machine, MachineError, NewBody, Proposal};
use estafette_storage::{BodyHash, Family, Read, Transaction};
use estafette_types::ShardId;
use parking_lot::RwLock;
use std::collections::BTreeMap;
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

    fn load(&mut self, _: &dyn Read) -> Result<(), MachineError> {
        self.wakeup.wake(self.shard);
        Ok(())
    }
}

/// The groups of all shards; a cheap handle.
#[derive(Clone, Default)]
pub struct Shards(Arc<RwLock<BTreeMap<ShardId, Group>>>);

impl Shards {
    /// Adds the group of a shard.
    pub fn insert(&self, shard: ShardId, group: Group) {
        self.0.write().insert(shard, group);
    }

    /// The shards that there are.
    pub fn all(&self) -> Vec<ShardId> {
        self.0.read().keys().copied().collect()
    }

    /// The group of a shard.
    ///
    /// # Errors
    /// [`Error::NoShard`].
    pub fn group(&self, shard: ShardId) -> Result<Group, Error> {
        self.0.read().get(&shard).cloned().ok_or(Error::NoShard(shard))
    }

    /// Carries out a command on the mailboxes of an account: durable and applied when it answers.
    ///
    /// # Errors
    /// When the group cannot take it. What the command did wrong is a [`Response::Refused`].
    pub async fn mailbox(
        &self,
        at: AccountRef,
        action: Action,
        bodies: Vec<NewBody>,
    ) -> Result<Response, Error> {
        let command = Command { account: at.account, action };
        let answer = self.propose(at.shard, MAILBOX, &command.encode(), bodies).await?;
        Ok(Response::decode(&answer)?)
    }

    /// Carries out several commands that share the bodies, in one entry of the log; one answer for each.
    ///
    /// # Errors
    /// As [`Shards::mailbox`].
    pub async fn mailboxes(
        &self,
        shard: ShardId,
        commands: Vec<Command>,
        bodies: Vec<NewBody>,
    ) -> Result<Vec<Response>, Error> {
        let mut answers = Vec::with_capacity(commands.len());
        for part in commands.chunks(MAILBOXES_MAX) {
            let encoded: Vec<Vec<u8>> = part.iter().map(Command::encode).collect();
            let answer = self.propose(shard, MAILBOXES, &pack(&encoded), bodies.clone()).await?;
            let parts = unpack(&answer).map_err(|_| Error::Queue { what: "an answer" })?;
            for part in parts {
                answers.push(Response::decode(&part)?);
            }
        }
        Ok(answers)
    }

    /// Carries out an encoded command on the queue of a shard.
    pub(crate) async fn queue(
        &self,
        shard: ShardId,
        command: &[u8],
        bodies: Vec<NewBody>,
    ) -> Result<Bytes, Error> {
        self.propose(shard, QUEUE, command, bodies).await
    }

    async fn propose(
        &self,
        shard: ShardId,
        part: u8,
        command: &[u8],
        bodies: Vec<NewBody>,
    ) -> Result<Bytes, Error> {
        let mut bytes = Vec::with_capacity(1 + command.len());
        bytes.push(part);
        bytes.extend_from_slice(command);
        Ok(self.group(shard)?.propose(Proposal { command: bytes.into(), bodies }).await?)
    }
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
