//! Reading the queue of a shard, by a store, a view or a transaction. Never waits for writers.

use super::key::{self, Kind, Parsed};
use super::{Item, ItemId};
use crate::Error;
use estafette_mailbox::HexKey;
use estafette_storage::{Direction, Family, Read};
use estafette_types::ShardId;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;

/// What is in the queue of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Items.
    pub items: u64,
    /// Recipients that wait.
    pub recipients: u64,
    /// Bytes of the items' messages.
    pub bytes: u64,
    /// The period of the newest item that is remembered.
    pub(crate) period: u32,
}

impl Counters {
    pub(super) fn add(&mut self, item: Option<&Item>) {
        let Some(item) = item else { return };
        self.items = self.items.saturating_add(1);
        self.recipients = self.recipients.saturating_add(item.pending().count() as u64);
        self.bytes = self.bytes.saturating_add(item.size);
    }

    pub(super) fn subtract(&mut self, item: Option<&Item>) {
        let Some(item) = item else { return };
        self.items = self.items.saturating_sub(1);
        self.recipients = self.recipients.saturating_sub(item.pending().count() as u64);
        self.bytes = self.bytes.saturating_sub(item.size);
    }

    /// Adds what is in another shard.
    pub fn add_all(&mut self, other: &Counters) {
        self.items = self.items.saturating_add(other.items);
        self.recipients = self.recipients.saturating_add(other.recipients);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        super::encode(VERSION, self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Counters> {
        super::decode(VERSION, bytes)
    }
}

pub(super) fn damaged(kind: Kind, key: &[u8]) -> Error {
    Error::Damaged { what: kind.name(), key: HexKey(key.to_vec()) }
}

/// An item, if it is there.
///
/// # Errors
/// The store's; a damaged row.
pub fn item<R: Read + ?Sized>(rows: &R, shard: ShardId, id: ItemId) -> Result<Option<Item>, Error> {
    let key = key::item(shard, id);
    match rows.read(Family::Queue, &key)? {
        None => Ok(None),
        Some(value) => Item::decode(&value).map(Some).ok_or_else(|| damaged(Kind::Item, &key)),
    }
}

/// Who works on an item: a row beside it, for as long as an attempt takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRow {
    /// The node.
    pub node: u64,
    /// By which the node knows it; random.
    pub token: u64,
    /// Index in the log of its entry, or that of its last renewal.
    pub index: u64,
}

impl ClaimRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        super::encode(VERSION, self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<ClaimRow> {
        super::decode(VERSION, bytes)
    }
}

/// Who works on an item, if anybody does.
///
/// # Errors
/// As [`item`].
pub fn claim<R: Read + ?Sized>(rows: &R, shard: ShardId, id: ItemId) -> Result<Option<ClaimRow>, Error> {
    let key = key::claim(shard, id);
    match rows.read(Family::Queue, &key)? {
        None => Ok(None),
        Some(value) => ClaimRow::decode(&value).map(Some).ok_or_else(|| damaged(Kind::Claim, &key)),
    }
}

/// What is in the queue of a shard.
///
/// # Errors
/// As [`item`].
pub fn counters<R: Read + ?Sized>(rows: &R, shard: ShardId) -> Result<Counters, Error> {
    let key = key::counters(shard);
    match rows.read(Family::Queue, &key)? {
        None => Ok(Counters::default()),
        Some(value) => Counters::decode(&value).ok_or_else(|| damaged(Kind::Counters, &key)),
    }
}

/// Up to `limit` items in the order of their names, from the one after `after`.
///
/// # Errors
/// As [`item`].
pub fn list<R: Read + ?Sized>(
    rows: &R,
    shard: ShardId,
    after: Option<ItemId>,
    limit: usize,
) -> Result<Vec<(ItemId, Item)>, Error> {
    let mut range = key::kind_range(shard, Kind::Item);
    if let Some(after) = after {
        range.start = key::item(shard, after);
        range.start.push(0);
    }
    let mut found = Vec::new();
    for row in rows.scan(Family::Queue, range, Direction::Forward)?.take(limit) {
        let row = row?;
        match (Parsed::of(&row.key), Item::decode(&row.value)) {
            (Some(Parsed::Item(id)), Some(item)) => found.push((id, item)),
            _ => return Err(damaged(Kind::Item, &row.key)),
        }
    }
    Ok(found)
}

/// Items with something to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Since when, ms since 1970, and which; the most urgent first.
    pub items: Vec<(u64, ItemId)>,
    /// When there is next something to be done for another, ms since 1970.
    pub next_ms: Option<u64>,
}

/// Up to `limit` items with something to be done at this time.
///
/// # Errors
/// As [`item`].
pub fn due<R: Read + ?Sized>(rows: &R, shard: ShardId, now_ms: u64, limit: usize) -> Result<Due, Error> {
    let mut found = Vec::new();
    let range = key::kind_range(shard, Kind::Due);
    for row in rows.scan(Family::Queue, range, Direction::Forward)? {
        let row = row?;
        let Some(Parsed::Due { time_ms, id }) = Parsed::of(&row.key) else {
            return Err(damaged(Kind::Due, &row.key));
        };
        if time_ms > now_ms {
            return Ok(Due { items: found, next_ms: Some(time_ms) });
        }
        if found.len() == limit {
            break;
        }
        found.push((time_ms, id));
    }
    Ok(Due { items: found, next_ms: next_after(rows, shard, now_ms)? })
}

/// Up to `limit` items, due or not, with something to be done behind a time (ms since 1970) and identifier; in this order.
///
/// # Errors
/// As [`item`].
pub(crate) fn due_after<R: Read + ?Sized>(
    rows: &R,
    shard: ShardId,
    (time_ms, id): (u64, ItemId),
    limit: usize,
) -> Result<Vec<(u64, ItemId)>, Error> {
    let mut range = key::due_from(shard, time_ms);
    range.start = key::due(shard, time_ms, id);
    range.start.push(0);
    let mut found = Vec::new();
    for row in rows.scan(Family::Queue, range, Direction::Forward)?.take(limit) {
        let row = row?;
        match Parsed::of(&row.key) {
            Some(Parsed::Due { time_ms, id }) => found.push((time_ms, id)),
            _ => return Err(damaged(Kind::Due, &row.key)),
        }
    }
    Ok(found)
}

fn next_after<R: Read + ?Sized>(rows: &R, shard: ShardId, now_ms: u64) -> Result<Option<u64>, Error> {
    let range = key::due_from(shard, now_ms.saturating_add(1));
    let Some(row) = rows.scan(Family::Queue, range, Direction::Forward)?.next() else { return Ok(None) };
    let row = row?;
    match Parsed::of(&row.key) {
        Some(Parsed::Due { time_ms, .. }) => Ok(Some(time_ms)),
        _ => Err(damaged(Kind::Due, &row.key)),
    }
}
