//! One mailbox: its rows come in the order of their kinds.

use super::{Report, prefix};
use crate::block;
use crate::error::Error;
use crate::flags::{KeywordTable, SystemFlags};
use crate::key::{Kind, MailboxRef, Parsed};
use crate::read::{self, decode_expunged};
use crate::rows::{MailboxRow, MessageRow};
use estafette_storage::{BodyHash, Read};
use estafette_types::{ModSeq, Uid, UidSet};

/// What was counted in a mailbox so far.
pub(super) struct MailboxCheck {
    pub(super) at: MailboxRef,
    pub(super) row: Option<MailboxRow>,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) last_email: u64,
    keywords: usize,
    blocks: UidSet,
    unseen: u64,
    with_deleted: u64,
    changed: u64,
    last_arrival: ModSeq,
    last_expunged: ModSeq,
    changes: u64,
    expunges: u64,
    deleted: u64,
}

impl MailboxCheck {
    pub(super) fn new(at: MailboxRef) -> MailboxCheck {
        MailboxCheck {
            at,
            row: None,
            messages: 0,
            bytes: 0,
            last_email: 0,
            keywords: 0,
            blocks: UidSet::new(),
            unseen: 0,
            with_deleted: 0,
            changed: 0,
            last_arrival: ModSeq(0),
            last_expunged: ModSeq(0),
            changes: 0,
            expunges: 0,
            deleted: 0,
        }
    }

    pub(super) fn row<R: Read + ?Sized>(
        &mut self,
        rows: &R,
        key: &[u8],
        parsed: Parsed<'_>,
        value: &[u8],
        report: &mut Report,
        reference: &mut dyn FnMut(BodyHash, u64),
    ) -> Result<(), Error> {
        let read = match parsed.kind {
            Kind::Mailbox => MailboxRow::decode(value).map(|row| self.row = Some(row)),
            Kind::Keywords => KeywordTable::decode(value).map(|table| self.keywords = table.all().len()),
            Kind::Block => self.block(key, parsed, value, report),
            Kind::Message => self.message(key, parsed, value, report, reference),
            Kind::Change => self.change(rows, key, parsed, report)?,
            Kind::Expunged => self.expunged(key, parsed, value, report),
            Kind::Deleted => self.deleted(rows, key, parsed, report)?,
            _ => None,
        };
        if read.is_none() {
            report.problem(key, format!("the {} row cannot be read", parsed.kind.name()));
        }
        Ok(())
    }

    fn block(&mut self, key: &[u8], parsed: Parsed<'_>, value: &[u8], report: &mut Report) -> Option<()> {
        let uids = block::decode(parsed.number()?, value)?;
        if uids.is_empty() {
            report.problem(key, "an empty block has a row");
        }
        self.blocks = self.blocks.union(&uids);
        Some(())
    }

    fn message(
        &mut self,
        key: &[u8],
        parsed: Parsed<'_>,
        value: &[u8],
        report: &mut Report,
        reference: &mut dyn FnMut(BodyHash, u64),
    ) -> Option<()> {
        let (uid, message) = (parsed.uid()?, MessageRow::decode(value)?);
        reference(message.body, message.size);
        self.messages += 1;
        self.bytes = self.bytes.saturating_add(message.size);
        self.unseen += u64::from(!message.flags.has(SystemFlags::SEEN));
        self.with_deleted += u64::from(message.flags.has(SystemFlags::DELETED));
        self.changed += u64::from(message.is_changed());
        self.last_email = self.last_email.max(message.email.0);
        if !self.blocks.contains(uid) {
            report.problem(key, "the UID is in no block");
        }
        if message.arrival < self.last_arrival {
            report.problem(key, "a message with a lower UID arrived later");
        }
        self.last_arrival = message.arrival;
        if message.keywords.ids().any(|id| usize::from(id) >= self.keywords) {
            report.problem(key, "the mailbox does not know a keyword of the message");
        }
        if let Some(row) = &self.row {
            if message.modseq > row.highest_modseq {
                report.problem(key, "the ModSeq is above HIGHESTMODSEQ");
            }
            if uid >= row.uid_next {
                report.problem(key, "the UID is not below UIDNEXT");
            }
        }
        Some(())
    }

    fn change<R: Read + ?Sized>(
        &mut self,
        rows: &R,
        key: &[u8],
        parsed: Parsed<'_>,
        report: &mut Report,
    ) -> Result<Option<()>, Error> {
        let Some((modseq, uid)) = parsed.change() else { return Ok(None) };
        self.changes += 1;
        match message(rows, self.at, uid)? {
            Some(message) if message.modseq == modseq && message.is_changed() => {}
            Some(_) => report.problem(key, "the message has another ModSeq"),
            None => report.problem(key, "the changed message does not exist"),
        }
        Ok(Some(()))
    }

    fn deleted<R: Read + ?Sized>(
        &mut self,
        rows: &R,
        key: &[u8],
        parsed: Parsed<'_>,
        report: &mut Report,
    ) -> Result<Option<()>, Error> {
        let Some(uid) = parsed.uid() else { return Ok(None) };
        self.deleted += 1;
        if !message(rows, self.at, uid)?.is_some_and(|row| row.flags.has(SystemFlags::DELETED)) {
            report.problem(key, "there is no such message with \\Deleted");
        }
        Ok(Some(()))
    }

    fn expunged(&mut self, key: &[u8], parsed: Parsed<'_>, value: &[u8], report: &mut Report) -> Option<()> {
        let (modseq, uids) = (parsed.modseq()?, decode_expunged(value)?);
        self.expunges += 1;
        self.last_expunged = modseq;
        if !uids.intersection(&self.blocks).is_empty() {
            report.problem(key, "an expunged UID exists");
        }
        if self.row.is_some_and(|row| modseq <= row.expunge_floor) {
            report.problem(key, "the expunge was to be forgotten");
        }
        Some(())
    }

    /// Compares what was counted. `named`: the mailbox is in use, not being removed.
    pub(super) fn finish(&self, named: bool, report: &mut Report) {
        let key = prefix(self.at);
        let Some(row) = &self.row else {
            if named {
                report.problem(&key, "the mailbox has no row of its own");
            }
            return;
        };
        if !named {
            report.problem(&key, "no name leads to the mailbox");
        }
        report.equal(&key, "UIDs in blocks", u64::from(self.blocks.len()), self.messages);
        report.equal(&key, "EXISTS", u64::from(row.exists), self.messages);
        report.equal(&key, "bytes", row.bytes, self.bytes);
        report.equal(&key, "UNSEEN", u64::from(row.unseen), self.unseen);
        report.equal(&key, "DELETED", u64::from(row.deleted), self.with_deleted);
        report.equal(&key, "rows of changes", self.changes, self.changed);
        report.equal(&key, "rows of \\Deleted", self.deleted, self.with_deleted);
        report.equal(&key, "recorded expunges", u64::from(row.expunge_rows), self.expunges);
        report.equal(&key, "ModSeq of the last expunge", row.expunged_modseq.0, self.last_expunged.0);
        if row.expunged_modseq > row.highest_modseq {
            report.problem(&key, "the last expunge is above HIGHESTMODSEQ");
        }
    }
}

/// A message, `None` too when it cannot be read: that is told at its own row.
fn message<R: Read + ?Sized>(rows: &R, at: MailboxRef, uid: Uid) -> Result<Option<MessageRow>, Error> {
    match read::message(rows, at, uid) {
        Err(Error::Damaged { .. }) => Ok(None),
        other => other,
    }
}
