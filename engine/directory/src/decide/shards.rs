//! Shards: which there are, where they are to be, and accounts on their way from one to another.
//!
//! The number of a shard is never given out twice: something of an old one may still lie on a node.

use super::cluster::REPLICAS_MAX;
use super::{Draft, check_range};
use crate::Account;
use crate::cluster::{Move, NodeState, Placement};
use crate::command::Reply;
use crate::placement::SHARDS_MAX;
use crate::refusal::Refusal;
use crate::rows::{Record, RecordName};
use crate::tables::Directory;
use estafette_raft::NodeId;
use estafette_types::{AccountId, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// The highest rate of moves: past any disk.
const MOVE_RATE_MAX_KIB: u32 = 16 * 1024 * 1024;
/// Accounts on their way at most.
const MOVES_MAX: usize = 1_000;

impl Draft<'_> {
    pub(super) fn set_shards(&mut self, shards: &[ShardId]) -> Result<Reply, Refusal> {
        check_count(shards.len())?;
        let mut shards = shards.to_vec();
        shards.sort_unstable();
        shards.dedup();
        for (shard, accounts) in self.directory.shards_in_use() {
            if !shards.contains(&shard) {
                return Err(Refusal::ShardInUse { shard: shard.0, accounts });
            }
        }
        if let Some(zero) = shards.iter().find(|shard| shard.0 == 0) {
            return Err(Refusal::UnknownShard { shard: zero.0 });
        }
        for shard in self.directory.cluster.placements.keys().filter(|shard| !shards.contains(shard)) {
            self.remove(RecordName::Placement(*shard));
        }
        self.put_shards(shards);
        Ok(Reply::Done)
    }

    /// Each new shard begins on one active node, those with the fewest replicas first.
    pub(super) fn add_shards(&mut self, total: u32) -> Result<Reply, Refusal> {
        let total = total as usize;
        check_count(total)?;
        let before = self.directory.shards();
        let mut loads = self.directory.active_loads();
        let mut last = self.directory.last_shard();
        let mut added = Vec::new();
        for _ in before.len()..total {
            last = ShardId(last.0.checked_add(1).ok_or(Refusal::Exhausted)?);
            added.push(last);
            if let Some((node, load)) = loads.iter_mut().min_by_key(|(node, load)| (**load, **node)) {
                *load += 1;
                let placement = Placement { shard: last, replicas: vec![*node], begun: false };
                self.put(Record::Placement(placement));
            }
        }
        if !added.is_empty() {
            self.put_shards([before, &added].concat());
        }
        Ok(Reply::Shards(added))
    }

    /// The shards from now on, in order.
    fn put_shards(&mut self, shards: Vec<ShardId>) {
        self.notes.changed("shards", Some(words(self.directory.shards())), Some(words(&shards)));
        let last = shards.last().copied().max(Some(self.directory.last_shard()));
        if let Some(last) = last.filter(|last| self.directory.cluster.last_shard != Some(*last)) {
            self.put(Record::LastShard(last));
        }
        self.put(Record::Shards(shards));
    }

    pub(super) fn place_shard(&mut self, shard: ShardId, replicas: &[NodeId]) -> Result<Reply, Refusal> {
        self.directory.need_shard(shard)?;
        if replicas.is_empty() {
            return Err(Refusal::NoReplicas);
        }
        // One more while another is about to go.
        if replicas.len() > usize::from(REPLICAS_MAX) + 1 {
            return Err(Refusal::TooMany { field: "replicas".to_owned(), max: REPLICAS_MAX.into() });
        }
        let before = self.directory.placement(shard);
        let mut seen = BTreeSet::new();
        for id in replicas {
            let node = self.directory.need_node(*id)?;
            if !seen.insert(*id) {
                return Err(Refusal::NodeTwice { node: id.0 });
            }
            if node.state == NodeState::Dead && !before.contains(id) {
                return Err(Refusal::NodeDead { node: id.0 });
            }
        }
        self.notes.object = format!("shard {shard}");
        self.notes.changed("replicas", Some(words(&before)), Some(words(replicas)));
        self.put(Record::Placement(Placement { shard, replicas: replicas.to_vec(), begun: true }));
        Ok(Reply::Done)
    }

    pub(super) fn assign_shard(&mut self, id: AccountId, shard: ShardId) -> Result<Reply, Refusal> {
        self.directory.need_mailbox(id)?;
        self.directory.need_shard(shard)?;
        if let Some(moving) = self.directory.move_of(id) {
            return Err(Refusal::AccountMoving { shard: moving.to.0 });
        }
        self.put_in_shard(id, shard)
    }

    fn put_in_shard(&mut self, id: AccountId, shard: ShardId) -> Result<Reply, Refusal> {
        let account = self.edit(id)?;
        self.notes.changed("shard", account.shard, Some(shard));
        self.put(Record::Account(Account { shard: Some(shard), ..account }));
        Ok(Reply::Done)
    }

    pub(super) fn begin_move(&mut self, id: AccountId, to: ShardId) -> Result<Reply, Refusal> {
        let (account, _) = self.directory.need_mailbox(id)?;
        let from = account.shard.ok_or(Refusal::NoMailbox)?;
        self.directory.need_shard(to)?;
        self.notes.object = account.username.to_string();
        match self.directory.move_of(id) {
            Some(moving) if moving.to != to => Err(Refusal::AccountMoving { shard: moving.to.0 }),
            None if from != to => {
                if self.directory.cluster.moves.len() >= MOVES_MAX {
                    return Err(Refusal::TooMany { field: "moves".to_owned(), max: MOVES_MAX as u64 });
                }
                self.notes.changed("moving-to", None, Some(to));
                self.put_move(Move { account: id, from, to, begun_ms: 0 });
                Ok(Reply::Done)
            }
            _ => Ok(Reply::Done),
        }
    }

    /// Under a name that no move ever had: a late command of another one is told apart by it.
    fn put_move(&mut self, moving: Move) {
        let begun_ms = self.directory.next_move(self.time_ms);
        self.put(Record::LastMove(begun_ms));
        self.put(Record::Move(Move { begun_ms, ..moving }));
    }

    pub(super) fn finish_move(&mut self, moving: Move) -> Result<Reply, Refusal> {
        if self.is_under_way(moving, moving.to)? {
            self.remove(RecordName::Move(moving.account));
            self.put_in_shard(moving.account, moving.to)?;
        }
        Ok(Reply::Done)
    }

    pub(super) fn abandon_move(&mut self, moving: Move) -> Result<Reply, Refusal> {
        if self.is_under_way(moving, moving.from)? {
            self.remove(RecordName::Move(moving.account));
            self.notes.changed("moving-to", Some(moving.to), None);
        }
        Ok(Reply::Done)
    }

    pub(super) fn postpone_move(&mut self, moving: Move) -> Result<Reply, Refusal> {
        let account = self.directory.need_account(moving.account)?;
        self.notes.object = account.username.to_string();
        match self.directory.move_of(moving.account) {
            Some(current) if *current == moving => {
                self.put_move(moving);
                Ok(Reply::Done)
            }
            _ => Err(Refusal::NotMoving),
        }
    }

    pub(super) fn set_move_rate(&mut self, kib_per_second: u32) -> Result<Reply, Refusal> {
        check_range("move-rate", kib_per_second.into(), 1, MOVE_RATE_MAX_KIB.into())?;
        self.notes.changed("move-rate", Some(self.directory.move_rate_kib()), Some(kib_per_second));
        self.put(Record::MoveRate(kib_per_second));
        Ok(Reply::Done)
    }

    /// Whether there is something to do; `false` when the move has ended as is wanted: the account is in
    /// the shard `end` and not on its way. Refuses what ended otherwise, and another move than this one.
    fn is_under_way(&mut self, moving: Move, end: ShardId) -> Result<bool, Refusal> {
        let account = self.directory.need_account(moving.account)?;
        self.notes.object = account.username.to_string();
        match self.directory.move_of(moving.account) {
            Some(current) if *current == moving => Ok(true),
            None if account.shard == Some(end) => Ok(false),
            _ => Err(Refusal::NotMoving),
        }
    }
}

impl Directory {
    /// Shards that accounts are in or on their way to, and how many.
    fn shards_in_use(&self) -> BTreeMap<ShardId, u64> {
        let mut used = self.shard_load.clone();
        for moving in self.moves() {
            *used.entry(moving.to).or_default() += 1;
        }
        used
    }

    /// How many replicas each active node is to have.
    fn active_loads(&self) -> BTreeMap<NodeId, usize> {
        let active = self.nodes().filter(|node| node.state == NodeState::Active);
        let mut loads: BTreeMap<NodeId, usize> = active.map(|node| (node.id, 0)).collect();
        for node in self.placements().into_values().flatten() {
            if let Some(load) = loads.get_mut(&node) {
                *load += 1;
            }
        }
        loads
    }
}

fn check_count(shards: usize) -> Result<(), Refusal> {
    if shards > SHARDS_MAX {
        return Err(Refusal::TooMany { field: "shards".to_owned(), max: SHARDS_MAX as u64 });
    }
    Ok(())
}

fn words<T: ToString>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
