//! Holds every row of a shard against the others: counters, blocks, indexes, names, usage.
//!
//! Reads all rows of the shard once in order and keeps little more than the UIDs of one mailbox.
//! What is wrong is reported, never mended.

mod account;
mod mailbox;

use crate::error::{Error, HexKey};
use crate::key::{AccountRef, MailboxRef, Parsed, shard_range};
use crate::read;
use account::AccountCheck;
use estafette_storage::{BodyHash, Read};
use estafette_types::ShardId;

/// The most problems that a report spells out.
pub const PROBLEMS_MAX: usize = 1000;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The row, or the account or mailbox as the beginning of their keys.
    pub key: HexKey,
    /// What is wrong.
    pub what: String,
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Accounts that are in use.
    pub accounts: u64,
    /// Their mailboxes.
    pub mailboxes: u64,
    /// Their messages.
    pub messages: u64,
    /// Bytes of their messages.
    pub bytes: u64,
    /// Rows read.
    pub rows: u64,
    /// The first [`PROBLEMS_MAX`] problems.
    pub problems: Vec<Problem>,
    /// All problems.
    pub problem_count: u64,
}

impl Report {
    pub(crate) fn problem(&mut self, key: &[u8], what: impl Into<String>) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { key: HexKey(key.to_vec()), what: what.into() });
        }
    }

    /// Reports when two numbers that must agree do not.
    pub(crate) fn equal(&mut self, key: &[u8], what: &str, stored: u64, counted: u64) {
        if stored != counted {
            self.problem(key, format!("{what}: {stored} is stored, {counted} were counted"));
        }
    }
}

/// Checks all rows of a shard in one view. Each body is named to `reference` once for every row that
/// refers to it, for the count of references to be held against ([`estafette_storage::Store::verify`]).
///
/// # Errors
/// Only when the store cannot be read; what is wrong with the rows is in the report.
pub fn check<R: Read + ?Sized>(
    rows: &R,
    shard: ShardId,
    reference: &mut dyn FnMut(BodyHash, u64),
) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut current: Option<AccountCheck> = None;
    for row in read::scan(rows, shard_range(shard))? {
        let row = row?;
        report.rows += 1;
        let Some(parsed) = Parsed::of(&row.key) else {
            report.problem(&row.key, "the key is not known");
            continue;
        };
        if current.as_ref().is_none_or(|check| check.at() != parsed.at.owner()) {
            if let Some(done) = current.take() {
                done.finish(&mut report);
            }
            current = Some(AccountCheck::new(parsed.at.owner()));
        }
        if let Some(check) = &mut current {
            check.row(rows, &row.key, parsed, &row.value, &mut report, reference)?;
        }
    }
    if let Some(done) = current {
        done.finish(&mut report);
    }
    Ok(report)
}

/// Bytes and messages of an account, counted anew from its messages, as [`read::usage`] tells them.
pub fn recount<R: Read + ?Sized>(rows: &R, at: AccountRef) -> Result<(u64, u64), Error> {
    let (mut bytes, mut messages) = (0u64, 0u64);
    for (_, name) in read::names(rows, at)? {
        let Some(mailbox) = name.mailbox.map(|id| at.mailbox(id)) else { continue };
        for message in read::messages(rows, mailbox, estafette_types::Uid::MIN..=estafette_types::Uid::MAX)? {
            bytes = bytes.saturating_add(message?.row.size);
            messages += 1;
        }
    }
    Ok((bytes, messages))
}

fn prefix(at: MailboxRef) -> Vec<u8> {
    at.range().start
}
