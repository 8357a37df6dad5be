//! Commands of the log into rows. Deterministic: only the command, the time of the log and rows decide.
//!
//! - An item is in the queue as long as a recipient waits or a notice is owed.
//! - Its identifier is remembered for [`KNOWN_MS`] to twice that long after it left, so that a repeated
//!   proposal adds nothing.
//! - It holds one reference to its body.
//! - A claim stands beside an item, and goes when its attempt ends or the item leaves.

use super::command::{Answer, AttemptResult, Command};
use super::read::{self, ClaimRow, Counters};
use super::{Item, ItemId, LastReply, NoticeKind, State, key};
use crate::Error;
use bytes::Bytes;
use estafette_raft::Context;
use estafette_storage::{BodyHash, Family, Read, Transaction};
use estafette_types::ShardId;

/// How long an item that has left is remembered at least, in ms by the time of the log.
pub const KNOWN_MS: u64 = 7 * 24 * 3600 * 1000;
/// The value of rows that have none.
pub(super) const EMPTY_ROW: [u8; 1] = [1];

/// Applies a command of the log.
pub(crate) fn apply(
    shard: ShardId,
    context: &Context,
    command: &[u8],
    bodies: &[BodyHash],
    tx: &mut Transaction,
) -> Result<Bytes, Error> {
    let mut work = Work { shard, time_ms: context.time_ms, index: context.index, tx };
    let answer = match Command::decode(command)? {
        Command::Enqueue { id, item } => work.enqueue(id, *item, bodies)?,
        Command::Attempted { id, attempt, next_ms, replies, results } => {
            work.change(id, |item, time_ms| {
                item.attempts = item.attempts.max(attempt);
                item.next_ms = next_ms;
                attempted(item, time_ms, &replies, &results);
            })?
        }
        Command::Told { id, kind, places } => work.change(id, |item, _| told(item, kind, &places))?,
        // Whatever the time is, in the log or by a clock.
        Command::RetryNow { id } => work.change(id, |item, _| item.next_ms = 0)?,
        Command::Remove { id, notice } => work.change(id, |item, time_ms| give_up(item, time_ms, notice))?,
        Command::Claim { node, token, items } => work.claim(node, token, &items)?,
        Command::Release { items } => work.release(&items)?,
        Command::Reported { id, token, ends, attempt, next_ms, replies, mut results } => {
            let held = read::claim(work.tx, shard, id)?.is_some_and(|claim| claim.token == token);
            if held && ends {
                work.tx.delete(Family::Queue, key::claim(shard, id));
            }
            if !held {
                // Another node works on it. But what was delivered must not be sent again.
                results.retain(|result| result.state.is_delivered());
            }
            work.change(id, |item, time_ms| {
                if held {
                    item.attempts = item.attempts.max(attempt);
                    item.next_ms = next_ms;
                }
                attempted(item, time_ms, &replies, &results);
            })?
        }
    };
    Ok(answer.encode().into())
}

struct Work<'a> {
    shard: ShardId,
    time_ms: u64,
    index: u64,
    tx: &'a mut Transaction,
}

impl Work<'_> {
    fn enqueue(&mut self, id: ItemId, mut item: Item, bodies: &[BodyHash]) -> Result<Answer, Error> {
        if read::item(self.tx, self.shard, id)?.is_some() || self.is_known(id)? {
            return Ok(Answer::Known);
        }
        if item.is_settled() || !bodies.contains(&item.body) {
            return Ok(Answer::Refused);
        }
        item.created_ms = self.time_ms;
        // The log's time may be ahead of all clocks for long: it never goes back, and one that led may have been wrong.
        let given_ms = if item.next_ms == 0 { self.time_ms } else { item.next_ms };
        item.next_ms = given_ms.min(self.time_ms);
        self.tx.add_body_ref(item.body, self.shard.0, 1);
        self.replace(id, None, Some(&item))?;
        Ok(Answer::Added)
    }

    fn change(&mut self, id: ItemId, change: impl FnOnce(&mut Item, u64)) -> Result<Answer, Error> {
        let Some(before) = read::item(self.tx, self.shard, id)? else { return Ok(Answer::Gone) };
        let mut item = before.clone();
        change(&mut item, self.time_ms);
        if item.is_settled() {
            self.tx.add_body_ref(item.body, self.shard.0, -1);
            self.replace(id, Some(&before), None)?;
            self.remember(id)?;
            if read::claim(self.tx, self.shard, id)?.is_some() {
                self.tx.delete(Family::Queue, key::claim(self.shard, id));
            }
        } else {
            self.replace(id, Some(&before), Some(&item))?;
        }
        Ok(Answer::Changed)
    }

    fn claim(&mut self, node: u64, token: u64, items: &[(ItemId, Option<u64>)]) -> Result<Answer, Error> {
        for (id, over) in items {
            let is_there = self.tx.read(Family::Queue, &key::item(self.shard, *id))?.is_some();
            let granted = match read::claim(self.tx, self.shard, *id)? {
                None => over.is_none(),
                Some(before) => before.token == token || *over == Some(before.index),
            };
            if is_there && granted {
                let claim = ClaimRow { node, token, index: self.index };
                self.tx.put(Family::Queue, key::claim(self.shard, *id), claim.encode());
            }
        }
        Ok(Answer::Changed)
    }

    fn release(&mut self, items: &[(ItemId, u64)]) -> Result<Answer, Error> {
        for (id, token) in items {
            if read::claim(self.tx, self.shard, *id)?.is_some_and(|claim| claim.token == *token) {
                self.tx.delete(Family::Queue, key::claim(self.shard, *id));
            }
        }
        Ok(Answer::Changed)
    }

    /// The item, its due row and the counters.
    fn replace(&mut self, id: ItemId, before: Option<&Item>, after: Option<&Item>) -> Result<(), Error> {
        let (old, new) = (before.map(Item::due_ms), after.map(Item::due_ms));
        if old != new {
            if let Some(time_ms) = old {
                self.tx.delete(Family::Queue, key::due(self.shard, time_ms, id));
            }
            if let Some(time_ms) = new {
                self.tx.put(Family::Queue, key::due(self.shard, time_ms, id), EMPTY_ROW);
            }
        }
        let row = key::item(self.shard, id);
        match after {
            Some(item) => self.tx.put(Family::Queue, row, item.encode()),
            None => self.tx.delete(Family::Queue, row),
        }
        let mut counters = read::counters(self.tx, self.shard)?;
        counters.subtract(before);
        counters.add(after);
        self.put_counters(&counters);
        Ok(())
    }

    fn put_counters(&mut self, counters: &Counters) {
        self.tx.put(Family::Queue, key::counters(self.shard), counters.encode());
    }

    fn is_known(&self, id: ItemId) -> Result<bool, Error> {
        let newest = read::counters(self.tx, self.shard)?.period.max(period_of(self.time_ms));
        for period in [newest, newest.saturating_sub(1)] {
            if self.tx.read(Family::Queue, &key::known(self.shard, period, id))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Remembers an item that has left; forgets those of the period before the last.
    fn remember(&mut self, id: ItemId) -> Result<(), Error> {
        let mut counters = read::counters(self.tx, self.shard)?;
        let newest = period_of(self.time_ms);
        if newest > counters.period {
            self.tx.delete_range(Family::Queue, key::known_before(self.shard, newest.saturating_sub(1)));
            counters.period = newest;
            self.put_counters(&counters);
        }
        self.tx.put(Family::Queue, key::known(self.shard, counters.period, id), EMPTY_ROW);
        Ok(())
    }
}

/// The period that a time lies in.
fn period_of(time_ms: u64) -> u32 {
    u32::try_from(time_ms / KNOWN_MS).unwrap_or(u32::MAX)
}

/// Results for recipients that wait; what is decided stays.
fn attempted(item: &mut Item, time_ms: u64, replies: &[LastReply], results: &[AttemptResult]) {
    for result in results {
        let place = usize::try_from(result.place).unwrap_or(usize::MAX);
        let Some(recipient) = item.recipients.get(place).filter(|recipient| recipient.is_pending()) else {
            continue;
        };
        let owed = item.owed(recipient, result.state);
        let reply = usize::try_from(result.reply).ok().and_then(|reply| replies.get(reply)).cloned();
        if let Some(recipient) = item.recipients.get_mut(place) {
            recipient.state = result.state;
            recipient.owed = owed;
            recipient.last = reply;
            recipient.last_ms = time_ms;
        }
    }
}

fn told(item: &mut Item, kind: NoticeKind, places: &[u32]) {
    if kind == NoticeKind::Delay {
        item.delay_told = true;
        return;
    }
    for place in places {
        let recipient = usize::try_from(*place).ok().and_then(|place| item.recipients.get_mut(place));
        if let Some(recipient) = recipient.filter(|recipient| recipient.owed == Some(kind)) {
            recipient.owed = None;
        }
    }
}

fn give_up(item: &mut Item, time_ms: u64, notice: bool) {
    let reply = LastReply::own(550, (5, 7, 0), "removed from the queue by an operator");
    let results: Vec<AttemptResult> =
        item.pending().map(|(place, _)| AttemptResult { place, state: State::Failed, reply: 0 }).collect();
    attempted(item, time_ms, &[reply], &results);
    if !notice {
        for recipient in &mut item.recipients {
            recipient.owed = None;
        }
    }
}
