//! Holds the rows of a shard's queue against each other: items, due times, counters.
//!
//! What is wrong is reported, never mended.

use super::apply::EMPTY_ROW;
use super::key::{self, Parsed, shard_range};
use super::read::{ClaimRow, Counters};
use super::{Item, ItemId};
use crate::Error;
use estafette_mailbox::{HexKey, Problem};
use estafette_storage::{BodyHash, Direction, Family, Read};
use estafette_types::ShardId;
use std::collections::BTreeMap;

/// The most problems that a report spells out.
pub const PROBLEMS_MAX: usize = 1000;

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Items.
    pub items: u64,
    /// Recipients that wait.
    pub recipients: u64,
    /// Bytes of the items' messages.
    pub bytes: u64,
    /// Rows read.
    pub rows: u64,
    /// The first [`PROBLEMS_MAX`] problems.
    pub problems: Vec<Problem>,
    /// All problems.
    pub problem_count: u64,
}

impl Report {
    fn problem(&mut self, key: &[u8], what: impl Into<String>) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { key: HexKey(key.to_vec()), what: what.into() });
        }
    }
}

/// Checks all rows of a shard's queue in one view. Each body is named to `reference` once for every item
/// that refers to it. Keeps 24 bytes of memory for an item.
///
/// # Errors
/// Only when the store cannot be read; what is wrong with the rows is in the report.
pub fn check<R: Read + ?Sized>(
    rows: &R,
    shard: ShardId,
    reference: &mut dyn FnMut(BodyHash, u64),
) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut stored = Counters::default();
    let mut counted = Counters::default();
    // Items come before due times: what is left over at the end has no due row.
    let mut due: BTreeMap<ItemId, u64> = BTreeMap::new();
    for row in rows.scan(Family::Queue, shard_range(shard), Direction::Forward)? {
        let row = row?;
        report.rows += 1;
        match Parsed::of(&row.key) {
            None => report.problem(&row.key, "the key is not known"),
            Some(Parsed::Counters) => match Counters::decode(&row.value) {
                Some(counters) => stored = counters,
                None => report.problem(&row.key, "the counters row cannot be read"),
            },
            Some(Parsed::Item(id)) => match Item::decode(&row.value) {
                Some(item) => {
                    if item.is_settled() {
                        report.problem(&row.key, "nothing is left to be done for the item, but it is there");
                    }
                    reference(item.body, item.size);
                    counted.add(Some(&item));
                    due.insert(id, item.due_ms());
                }
                None => report.problem(&row.key, "the item row cannot be read"),
            },
            Some(Parsed::Due { time_ms, id }) => {
                if due.remove(&id) != Some(time_ms) {
                    report.problem(&row.key, "the due time is not that of an item");
                }
                empty(&mut report, &row.key, &row.value);
            }
            Some(Parsed::Claim(id)) => {
                if ClaimRow::decode(&row.value).is_none() {
                    report.problem(&row.key, "the claim row cannot be read");
                }
                if rows.read(Family::Queue, &key::item(shard, id))?.is_none() {
                    report.problem(&row.key, "a claim to an item that is not there");
                }
            }
            Some(Parsed::Known { period }) => {
                if period > stored.period || period.saturating_add(1) < stored.period {
                    report.problem(&row.key, "the known item lies in a period that should not be there");
                }
                empty(&mut report, &row.key, &row.value);
            }
        }
    }
    for id in due.into_keys() {
        report.problem(&key::item(shard, id), "the item has no due time");
    }
    let equal =
        (stored.items, stored.recipients, stored.bytes) == (counted.items, counted.recipients, counted.bytes);
    if !equal {
        report.problem(&key::counters(shard), format!("{stored:?} are stored, {counted:?} were counted"));
    }
    (report.items, report.recipients, report.bytes) = (counted.items, counted.recipients, counted.bytes);
    Ok(report)
}

fn empty(report: &mut Report, key: &[u8], value: &[u8]) {
    if value != EMPTY_ROW {
        report.problem(key, "the row cannot be read");
    }
}
