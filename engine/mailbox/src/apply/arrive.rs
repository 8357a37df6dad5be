//! Messages that come into a mailbox: Deliver, Append, Import, and the copies of Copy and Move.

use super::delivery::FOR_EVER;
use super::{Bodies, Open, Stop, Work};
use crate::block::{self, blocks, span};
use crate::command::{DeliveryId, Imported, NewMessage, Refusal, Response, Target, WORK_MAX};
use crate::flags::{KeywordSet, SystemFlags};
use crate::key::Kind;
use crate::name::MailboxName;
use crate::read::Message;
use crate::rows::{Delivered, MessageRow};
use estafette_storage::BodyHash;
use estafette_types::{EmailId, MailboxId, Uid, UidSet};

/// A message on its way in.
pub(super) struct Arriving {
    flags: SystemFlags,
    keywords: KeywordSet,
    internal_date_ms: i64,
    size: u64,
    body: BodyHash,
    email: EmailId,
}

impl Work<'_> {
    pub(super) fn deliver(
        &mut self,
        id: DeliveryId,
        target: &Target,
        message: &NewMessage,
        quota: Option<u64>,
    ) -> Result<Response, Stop> {
        if let Some(before) = self.delivered(id)? {
            return Ok(Response::Duplicate(before));
        }
        self.check_quota(message.size, quota)?;
        let mailbox = self.target(target)?;
        let mut open = self.open(mailbox)?;
        let arriving = self.arriving(&mut open, message)?;
        let delivered = self.add_one(&mut open, &arriving)?;
        self.close(open);
        self.remember(id, delivered);
        Ok(Response::Delivered(delivered))
    }

    pub(super) fn append(
        &mut self,
        mailbox: MailboxId,
        messages: &[NewMessage],
        quota: Option<u64>,
    ) -> Result<Response, Stop> {
        check_count(messages.len())?;
        let mut open = self.open(mailbox)?;
        self.check_quota(total(messages), quota)?;
        let arriving: Vec<Arriving> =
            messages.iter().map(|message| self.arriving(&mut open, message)).collect::<Result<_, _>>()?;
        let uid_validity = open.row.uid_validity;
        if arriving.is_empty() {
            return Ok(Response::Appended { uid_validity, uids: UidSet::new() });
        }
        let uids = self.add(&mut open, &arriving, Bodies::Counted)?;
        self.close(open);
        Ok(Response::Appended { uid_validity, uids })
    }

    pub(super) fn import(
        &mut self,
        name: &MailboxName,
        messages: &[(DeliveryId, NewMessage)],
        quota: Option<u64>,
    ) -> Result<Response, Stop> {
        check_count(messages.len())?;
        let mailbox = self.mailbox_or_create(name)?;
        let mut open = self.open(mailbox)?;
        let mut imported = Vec::with_capacity(messages.len());
        for (id, message) in messages {
            if let Some(delivered) = self.delivered_in(FOR_EVER, *id)? {
                imported.push(Imported { delivered, duplicate: true });
                continue;
            }
            self.check_quota(message.size, quota)?;
            let arriving = self.arriving(&mut open, message)?;
            let delivered = self.add_one(&mut open, &arriving)?;
            self.remember_in(FOR_EVER, *id, delivered);
            imported.push(Imported { delivered, duplicate: false });
        }
        if imported.iter().any(|one| !one.duplicate) {
            self.close(open);
        }
        Ok(Response::Imported(imported))
    }

    pub(super) fn copy(
        &mut self,
        from: MailboxId,
        to: MailboxId,
        uids: &UidSet,
        quota: Option<u64>,
    ) -> Result<Response, Stop> {
        self.transfer(from, to, uids, |work, messages| {
            work.check_quota(messages.iter().fold(0, |sum, one| sum.saturating_add(one.row.size)), quota)?;
            Ok(Bodies::Counted)
        })
    }

    pub(super) fn move_(&mut self, from: MailboxId, to: MailboxId, uids: &UidSet) -> Result<Response, Stop> {
        self.transfer(from, to, uids, |_, _| Ok(Bodies::Kept))
    }

    /// Copies messages; when their bodies are kept rather than counted again, the originals go.
    fn transfer(
        &mut self,
        from: MailboxId,
        to: MailboxId,
        uids: &UidSet,
        check: impl FnOnce(&Self, &[Message]) -> Result<Bodies, Stop>,
    ) -> Result<Response, Stop> {
        let mut source = self.open(from)?;
        let mut other = if from == to { None } else { Some(self.open(to)?) };
        let uid_validity = other.as_ref().unwrap_or(&source).row.uid_validity;
        let messages = self.pick(&source, uids)?;
        let bodies = check(self, &messages)?;
        let from: UidSet = messages.iter().map(|message| message.uid).collect();
        let mut to = UidSet::new();
        if !messages.is_empty() {
            let arriving = self.copies(&mut source, other.as_mut(), &messages)?;
            to = self.add(other.as_mut().unwrap_or(&mut source), &arriving, bodies)?;
            if bodies == Bodies::Kept {
                self.take_out(&mut source, &messages, Bodies::Kept)?;
            }
        }
        let source_modseq = source.row.highest_modseq;
        if !from.is_empty() {
            if bodies == Bodies::Kept || other.is_none() {
                self.close(source);
            }
            if let Some(other) = other {
                self.close(other);
            }
        }
        Ok(Response::Copied { uid_validity, from, to, source_modseq })
    }

    /// Copies of messages, with the numbers that their keywords have in the mailbox they go to. Those
    /// that have no room there are left out.
    fn copies(
        &self,
        source: &mut Open,
        mut other: Option<&mut Open>,
        messages: &[Message],
    ) -> Result<Vec<Arriving>, Stop> {
        let mut copies = Vec::with_capacity(messages.len());
        for Message { row, .. } in messages {
            let keywords = match &mut other {
                Some(other) if !row.keywords.is_empty() => {
                    let names: Vec<_> = self.keyword_table(source)?.names(row.keywords).cloned().collect();
                    self.number_keywords(other, &names)?.0
                }
                _ => row.keywords,
            };
            copies.push(Arriving {
                flags: row.flags,
                keywords,
                internal_date_ms: row.internal_date_ms,
                size: row.size,
                body: row.body,
                email: row.email,
            });
        }
        Ok(copies)
    }

    /// Where a delivery goes. An account that has no room for another mailbox takes it in INBOX.
    fn target(&mut self, target: &Target) -> Result<MailboxId, Stop> {
        let found = match target {
            Target::Inbox => return self.inbox(),
            Target::Use(special_use) => self.mailbox_for(*special_use),
            Target::Name { name, create: true } => self.mailbox_or_create(name),
            Target::Name { name, create: false } => match self.mailbox_named(name)? {
                Some(mailbox) => Ok(mailbox),
                None => self.inbox(),
            },
        };
        match found {
            Err(Stop::Refused(Refusal::TooManyMailboxes)) => self.inbox(),
            other => other,
        }
    }

    fn check_quota(&self, more: u64, quota: Option<u64>) -> Result<(), Stop> {
        let after = self.account.bytes.saturating_add(more);
        if quota.is_some_and(|quota| after > quota) { Err(Refusal::OverQuota.into()) } else { Ok(()) }
    }

    /// Numbers a new message and its keywords. Keywords that have no room are left out: mail does not fail
    /// for them.
    fn arriving(&mut self, open: &mut Open, message: &NewMessage) -> Result<Arriving, Stop> {
        let now = i64::try_from(self.context.time_ms).unwrap_or(i64::MAX);
        let email = self.account.next_email;
        self.account.next_email = EmailId(email.0.saturating_add(1));
        Ok(Arriving {
            flags: message.flags.system,
            keywords: self.number_keywords(open, &message.flags.keywords)?.0,
            internal_date_ms: message.internal_date_ms.unwrap_or(now),
            size: message.size,
            body: message.body,
            email,
        })
    }

    fn add_one(&mut self, open: &mut Open, arriving: &Arriving) -> Result<Delivered, Stop> {
        let uids = self.add(open, std::slice::from_ref(arriving), Bodies::Counted)?;
        let uid = uids.first().ok_or(Refusal::MailboxFull)?;
        let (mailbox, uid_validity) = (open.at.mailbox, open.row.uid_validity);
        Ok(Delivered { mailbox, uid_validity, uid, email: arriving.email })
    }

    /// Adds messages under the next UIDs, all with one new ModSeq.
    pub(super) fn add(
        &mut self,
        open: &mut Open,
        messages: &[Arriving],
        bodies: Bodies,
    ) -> Result<UidSet, Stop> {
        let count = u32::try_from(messages.len()).map_err(|_| Refusal::TooMuch)?;
        let first = open.row.uid_next;
        #[cfg(feature = "planted")]
        let first = planted_uid(first);
        let next = first.value().checked_add(count).and_then(Uid::new).ok_or(Refusal::MailboxFull)?;
        let modseq = open.next_modseq();
        for (uid, message) in (first.value()..).filter_map(Uid::new).zip(messages) {
            let row = MessageRow {
                arrival: modseq,
                modseq,
                flags: message.flags,
                keywords: message.keywords,
                internal_date_ms: message.internal_date_ms,
                save_date_ms: self.context.time_ms,
                size: message.size,
                body: message.body,
                email: message.email,
            };
            self.put(open.at.message(uid), row.encode());
            if message.flags.has(SystemFlags::DELETED) {
                self.put(open.at.key(Kind::Deleted, &uid.value().to_be_bytes()), vec![1]);
            }
            if bodies == Bodies::Counted {
                self.tx.add_body_ref(message.body, self.at.shard.0, 1);
            }
            self.count_in(open, &row);
        }
        let last = Uid::new(next.value() - 1).unwrap_or(first);
        let uids = if count == 0 { UidSet::new() } else { UidSet::range(first, last) };
        for block in blocks(&uids) {
            let before = block::read(&*self.tx, open.at, block)?;
            let after = before.union(&uids.intersection(&span(block)));
            self.put(open.at.block(block), block::encode(block, &after));
        }
        open.row.uid_next = next;
        Ok(uids)
    }

    fn count_in(&mut self, open: &mut Open, row: &MessageRow) {
        open.row.exists = open.row.exists.saturating_add(1);
        open.row.bytes = open.row.bytes.saturating_add(row.size);
        open.row.unseen += u32::from(!row.flags.has(SystemFlags::SEEN));
        open.row.deleted += u32::from(row.flags.has(SystemFlags::DELETED));
        self.account.messages = self.account.messages.saturating_add(1);
        self.account.bytes = self.account.bytes.saturating_add(row.size);
    }
}

fn check_count(messages: usize) -> Result<(), Stop> {
    if messages > WORK_MAX { Err(Refusal::TooMuch.into()) } else { Ok(()) }
}

fn total(messages: &[NewMessage]) -> u64 {
    messages.iter().fold(0, |sum, message| sum.saturating_add(message.size))
}

/// UIDs that a node makes up by itself.
#[cfg(feature = "planted")]
fn planted_uid(uid: Uid) -> Uid {
    use std::sync::atomic::{AtomicU32, Ordering};
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    if !estafette_storage::planted::is("local-uids") {
        return uid;
    }
    Uid::new(uid.value() + GIVEN.fetch_add(1, Ordering::Relaxed) % 2).unwrap_or(uid)
}
