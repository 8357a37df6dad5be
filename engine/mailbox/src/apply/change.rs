//! Messages changed and removed: Store, Expunge, and what Move takes away.

use super::{Bodies, Open, Stop, Work};
use crate::block::{self, blocks};
use crate::command::{FlagChange, Refusal, Response};
use crate::flags::{Flags, KeywordSet, SystemFlags};
use crate::key::{Kind, parse};
use crate::read::{self, Message, damaged};
use crate::rows::MessageRow;
use estafette_types::{MailboxId, ModSeq, UidSet};

/// The most expunges that a mailbox records; past it the oldest are forgotten.
pub const EXPUNGE_ROWS_MAX: u32 = 4096;
/// How many are forgotten at once.
const EXPUNGE_ROWS_TRIMMED: usize = 64;

impl Work<'_> {
    pub(super) fn store(
        &mut self,
        mailbox: MailboxId,
        uids: &UidSet,
        change: FlagChange,
        flags: &Flags,
        unchanged_since: Option<ModSeq>,
    ) -> Result<Response, Stop> {
        let mut open = self.open(mailbox)?;
        let messages = self.pick(&open, uids)?;
        let keywords = match change {
            FlagChange::Remove if flags.keywords.is_empty() => KeywordSet::default(),
            FlagChange::Remove => self.keyword_table(&mut open)?.known(&flags.keywords),
            FlagChange::Add | FlagChange::Replace => {
                let (set, room) = self.number_keywords(&mut open, &flags.keywords)?;
                if !room {
                    return Err(Refusal::TooManyKeywords.into());
                }
                set
            }
        };
        let (mut changed, mut modified) = (Vec::new(), Vec::new());
        let modseq = open.next_modseq();
        #[cfg(feature = "planted")]
        let modseq = if estafette_storage::planted::is("modseq-stands") {
            open.row.highest_modseq = ModSeq(modseq.0.saturating_sub(1));
            open.row.highest_modseq
        } else {
            modseq
        };
        for Message { uid, row } in messages {
            if unchanged_since.is_some_and(|since| row.modseq > since) {
                modified.push(uid);
                continue;
            }
            let (system, keywords) = changed_flags(&row, change, flags.system, keywords);
            if (system, keywords) != (row.flags, row.keywords) {
                self.rewrite(&mut open, uid, &row, MessageRow { modseq, flags: system, keywords, ..row });
                changed.push(uid);
            }
        }
        let modified = modified.into_iter().collect();
        if changed.is_empty() {
            let modseq = ModSeq(modseq.0.saturating_sub(1));
            return Ok(Response::Stored { modseq, changed: UidSet::new(), modified });
        }
        self.close(open);
        Ok(Response::Stored { modseq, changed: changed.into_iter().collect(), modified })
    }

    fn rewrite(&mut self, open: &mut Open, uid: estafette_types::Uid, old: &MessageRow, new: MessageRow) {
        self.tx.rewrites_row();
        self.put(open.at.message(uid), new.encode());
        if old.is_changed() {
            self.remove_row(open.at.change(old.modseq, uid));
        }
        self.put(open.at.change(new.modseq, uid), vec![1]);
        let was = |flag| old.flags.has(flag);
        let is = |flag| new.flags.has(flag);
        match (was(SystemFlags::SEEN), is(SystemFlags::SEEN)) {
            (false, true) => open.row.unseen = open.row.unseen.saturating_sub(1),
            (true, false) => open.row.unseen = open.row.unseen.saturating_add(1),
            _ => {}
        }
        match (was(SystemFlags::DELETED), is(SystemFlags::DELETED)) {
            (false, true) => {
                open.row.deleted = open.row.deleted.saturating_add(1);
                self.put(open.at.deleted(uid), vec![1]);
            }
            (true, false) => {
                open.row.deleted = open.row.deleted.saturating_sub(1);
                self.remove_row(open.at.deleted(uid));
            }
            _ => {}
        }
    }

    pub(super) fn expunge(
        &mut self,
        mailbox: MailboxId,
        uids: &UidSet,
        only_deleted: bool,
    ) -> Result<Response, Stop> {
        let mut open = self.open(mailbox)?;
        let mut messages = self.pick(&open, uids)?;
        messages.retain(|message| !only_deleted || message.row.flags.has(SystemFlags::DELETED));
        let gone = messages.iter().map(|message| message.uid).collect();
        if messages.is_empty() {
            return Ok(Response::Expunged { modseq: open.row.highest_modseq, uids: gone });
        }
        self.take_out(&mut open, &messages, Bodies::Counted)?;
        let modseq = open.row.highest_modseq;
        self.close(open);
        Ok(Response::Expunged { modseq, uids: gone })
    }

    /// Removes messages and records it under a new ModSeq.
    pub(super) fn take_out(
        &mut self,
        open: &mut Open,
        messages: &[Message],
        bodies: Bodies,
    ) -> Result<(), Stop> {
        let modseq = open.next_modseq();
        for Message { uid, row } in messages {
            self.remove_row(open.at.message(*uid));
            if row.is_changed() {
                self.remove_row(open.at.change(row.modseq, *uid));
            }
            if row.flags.has(SystemFlags::DELETED) {
                self.remove_row(open.at.deleted(*uid));
            }
            #[cfg(feature = "planted")]
            let bodies =
                if estafette_storage::planted::is("reference-stays") { Bodies::Kept } else { bodies };
            if bodies == Bodies::Counted {
                self.tx.add_body_ref(row.body, self.at.shard.0, -1);
            }
            self.count_out(open, row);
        }
        let gone: UidSet = messages.iter().map(|message| message.uid).collect();
        for block in blocks(&gone) {
            let left = block::read(&*self.tx, open.at, block)?.difference(&gone);
            if left.is_empty() {
                self.remove_row(open.at.block(block));
            } else {
                self.put(open.at.block(block), block::encode(block, &left));
            }
        }
        self.put(open.at.expunged(modseq), read::encode_expunged(&gone));
        open.row.expunged_modseq = modseq;
        open.row.expunge_rows = open.row.expunge_rows.saturating_add(1);
        self.trim_expunged(open)
    }

    fn count_out(&mut self, open: &mut Open, row: &MessageRow) {
        open.row.exists = open.row.exists.saturating_sub(1);
        open.row.bytes = open.row.bytes.saturating_sub(row.size);
        open.row.unseen = open.row.unseen.saturating_sub(u32::from(!row.flags.has(SystemFlags::SEEN)));
        open.row.deleted = open.row.deleted.saturating_sub(u32::from(row.flags.has(SystemFlags::DELETED)));
        self.account.messages = self.account.messages.saturating_sub(1);
        self.account.bytes = self.account.bytes.saturating_sub(row.size);
    }

    /// Forgets the oldest expunges once there are too many, and writes down up to when.
    fn trim_expunged(&mut self, open: &mut Open) -> Result<(), Stop> {
        if open.row.expunge_rows <= EXPUNGE_ROWS_MAX {
            return Ok(());
        }
        let oldest = read::scan(&*self.tx, open.at.kind_range(Kind::Expunged))?.take(EXPUNGE_ROWS_TRIMMED);
        let keys = oldest.map(|row| row.map(|row| row.key)).collect::<Result<Vec<_>, _>>()?;
        for key in keys {
            open.row.expunge_floor = parse(&key)?.modseq().ok_or_else(|| damaged(Kind::Expunged, &key))?;
            open.row.expunge_rows = open.row.expunge_rows.saturating_sub(1);
            self.remove_row(key.to_vec());
        }
        Ok(())
    }
}

fn changed_flags(
    row: &MessageRow,
    change: FlagChange,
    system: SystemFlags,
    keywords: KeywordSet,
) -> (SystemFlags, KeywordSet) {
    match change {
        FlagChange::Add => (row.flags.with(system), row.keywords.with(keywords)),
        FlagChange::Remove => (row.flags.without(system), row.keywords.without(keywords)),
        FlagChange::Replace => (system, keywords),
    }
}
