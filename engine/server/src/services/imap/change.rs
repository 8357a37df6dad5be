//! Messages added, altered, copied and removed. What is too much for one command is split.

use super::convert;
use super::moment::{Moment, Stop, is_elsewhere};
use super::{BYTES_AT_ONCE, ImapService, aside};
use bytes::Bytes;
use estafette_delivery::Intake;
use estafette_imap::codec::command::{Mailbox, StoreAction};
use estafette_imap::codec::date::DateTime;
use estafette_imap::session::ask::Failure;
use estafette_imap::session::{Answer, Flags};
use estafette_machine::Deposit;
use estafette_mailbox::{Action, MailboxRef, NewMessage, Response, WORK_MAX, read};
use estafette_raft::NewBody;
use estafette_types::{MailboxId, ModSeq, Uid, UidSet, UidValidity};
use std::sync::Arc;

/// Messages of one command.
pub(super) const WORK: u32 = 2048;
const _: () = assert!(WORK as usize <= WORK_MAX);

/// What was kept of a message that is still coming.
fn intake(deposit: Deposit) -> Result<Intake, Stop> {
    deposit.open::<Intake>().map(|intake| *intake).ok_or(Stop::Told(Failure::Internal))
}

fn not_kept(error: estafette_delivery::Error) -> Stop {
    match error.is_disk_full() {
        true => Stop::Told(Failure::Unavailable),
        false => Stop::Failed(error.into()),
    }
}

impl ImapService {
    /// Writes part of a message into the store.
    pub(super) async fn part(
        &self,
        deposit: Option<Deposit>,
        size: u64,
        pieces: Vec<Bytes>,
    ) -> Result<Answer, Stop> {
        if !self.engine.takes_mail() {
            return Err(Failure::Unavailable.into());
        }
        let mut intake = match deposit {
            Some(deposit) => intake(deposit)?,
            None => {
                self.room_for(size)?;
                Intake::new(&self.engine.store).map_err(not_kept)?
            }
        };
        let work = move || intake.push(&pieces).map(|()| intake).map_err(not_kept);
        Ok(Answer::Kept(Deposit::new(aside(work).await?)))
    }

    /// Refuses a large message for which the account has no room now, so that it does not lie in the store until it is
    /// collected. What counts is decided where it is applied.
    fn room_for(&self, size: u64) -> Result<(), Stop> {
        let Some(quota) = self.quota_bytes()? else { return Ok(()) };
        let (used, _) = read::usage(&self.engine.store, self.account()?)?;
        if used.saturating_add(size) > quota { Err(Failure::OverQuota.into()) } else { Ok(()) }
    }

    pub(super) async fn append(
        &self,
        name: &Mailbox,
        flags: &Flags,
        date: Option<DateTime>,
        deposit: Option<Deposit>,
        pieces: Vec<Bytes>,
    ) -> Result<Answer, Stop> {
        let (at, _) = self.target(name).await?;
        if !self.engine.takes_mail() {
            return Err(Failure::Unavailable.into());
        }
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        let body = match deposit.map(intake).transpose()? {
            Some(mut intake) => {
                aside(move || {
                    intake.push(&pieces).map_err(not_kept)?;
                    intake.finish().map_err(not_kept)
                })
                .await?
            }
            None if bytes as u64 > BYTES_AT_ONCE => aside(move || Ok(NewBody::of(pieces))).await?,
            None => NewBody::of(pieces),
        };
        if body.is_staged() {
            self.room_for(body.len())?;
        }
        // Keywords that the mailbox has no room for are left out.
        let (flags, _) = convert::flags(flags);
        let internal_date_ms = date.map(convert::date_ms);
        let message = NewMessage { flags, internal_date_ms, size: body.len(), body: body.hash() };
        let quota = self.quota_bytes()?;
        let action = Action::Append { mailbox: at.mailbox, messages: vec![message], quota };
        match self.change_with(action, vec![body]).await? {
            Response::Appended { uid_validity, uids } => {
                let uid = uids.first().ok_or(Stop::Told(Failure::Internal))?;
                Ok(Answer::Appended { uid_validity, uid })
            }
            _ => Err(Failure::Internal.into()),
        }
    }

    pub(super) async fn store(
        &mut self,
        mailbox: MailboxId,
        mut uids: UidSet,
        how: StoreAction,
        flags: &Flags,
        unchanged_since: Option<ModSeq>,
    ) -> Result<Answer, Stop> {
        let (flags, whole) = convert::flags(flags);
        if !whole && how != StoreAction::Remove {
            return Err(Failure::Limit.into());
        }
        let (mut modified, mut own_modseq, asked) = (UidSet::new(), None, uids.clone());
        while !uids.is_empty() {
            let action = Action::Store {
                mailbox,
                uids: uids.split_off_first(WORK),
                change: convert::flag_change(how),
                flags: flags.clone(),
                unchanged_since,
            };
            let response = self.change(action).await.map_err(gone)?;
            let Response::Stored { modseq, changed, modified: more } = response else {
                return Err(Failure::Internal.into());
            };
            // Of several moments none is the session's only one: all of it is told by the news then.
            let alone = own_modseq.is_none() && asked.len() <= WORK;
            own_modseq = Some(modseq).filter(|_| alone && !changed.is_empty());
            modified = modified.union(&more);
        }
        // Where the command was carried out.
        let at = self.mailbox(mailbox)?;
        let modseq = self.opened(at)?.reached(at.shard)?;
        let there: Vec<Uid> = asked.difference(&modified).iter().collect();
        let engine = Arc::clone(&self.engine);
        let rows = read::messages_of(&engine.store, at, &there)?;
        if rows.len() < there.len() && is_elsewhere(&engine.store, at.owner())? {
            return Err(Stop::Moved);
        }
        let keywords = self.opened(at)?.keywords(&engine.store, at, &rows)?;
        let messages = rows.iter().map(|row| keywords.changed(row)).collect();
        Ok(Answer::Stored { messages, modified, own_modseq, modseq })
    }

    pub(super) async fn copy(
        &self,
        mailbox: MailboxId,
        uids: &UidSet,
        to: &Mailbox,
        remove: bool,
    ) -> Result<Answer, Stop> {
        let from = self.mailbox(mailbox)?;
        self.target(to).await?;
        let (target, mut rest, modseq) = self.plan_copy(from, uids, to, remove)?;
        let mut copied = Copied { target, source: UidSet::new(), new: UidSet::new(), modseq };
        while !rest.is_empty() {
            let uids = rest.split_off_first(WORK);
            let quota = self.quota_bytes()?;
            let action = match remove {
                true => Action::Move { from: mailbox, to: target.0.mailbox, uids },
                false => Action::Copy { from: mailbox, to: target.0.mailbox, uids, quota },
            };
            match self.change(action).await {
                Ok(Response::Copied { from, to, source_modseq, .. }) => {
                    copied.source = copied.source.union(&from);
                    copied.new = copied.new.union(&to);
                    copied.modseq = source_modseq;
                }
                // What has been moved is told; copies are taken back (RFC 9051 §6.4.7).
                Err(stop) if remove && !copied.source.is_empty() => {
                    tracing::warn!(?stop, "only some of the messages could be moved");
                    break;
                }
                Err(stop) => {
                    self.take_back(target.0.mailbox, copied.new).await?;
                    return Err(stop);
                }
                Ok(_) => return Err(Failure::Internal.into()),
            }
        }
        Ok(copied.answer())
    }

    /// The mailbox to copy to, the messages that there are, and the moment; refuses what the quota
    /// does not allow before anything is copied.
    fn plan_copy(
        &self,
        from: MailboxRef,
        uids: &UidSet,
        to: &Mailbox,
        remove: bool,
    ) -> Result<((MailboxRef, UidValidity), UidSet, ModSeq), Stop> {
        let moment = Moment::of(&self.engine);
        let row = moment.mailbox(from)?;
        let (to, target) = moment.named(from.owner(), to)?;
        let there = uids.intersection(&*moment.uids(from, &row)?);
        if let (false, true, Some(quota)) = (remove, there.len() > WORK, self.quota_bytes()?) {
            let (used, _) = read::usage(&moment.view, from.owner())?;
            if used.saturating_add(moment.size_of(from, &there, quota)?) > quota {
                return Err(Failure::OverQuota.into());
            }
        }
        Ok(((to, target.uid_validity), there, row.highest_modseq))
    }

    async fn take_back(&self, mailbox: MailboxId, mut uids: UidSet) -> Result<(), Stop> {
        while !uids.is_empty() {
            let uids = uids.split_off_first(WORK);
            self.change(Action::Expunge { mailbox, uids, only_deleted: false }).await?;
        }
        Ok(())
    }

    pub(super) async fn expunge(&self, mailbox: MailboxId, uids: &UidSet) -> Result<Answer, Stop> {
        let at = self.mailbox(mailbox)?;
        let (mut rest, mut modseq) = {
            let moment = Moment::of(&self.engine);
            let row = moment.mailbox(at)?;
            let deleted = if row.deleted > 0 { read::deleted(&moment.view, at)? } else { UidSet::new() };
            (deleted.intersection(uids), row.highest_modseq)
        };
        let mut gone_now = UidSet::new();
        while !rest.is_empty() {
            let uids = rest.split_off_first(WORK);
            let action = Action::Expunge { mailbox, uids, only_deleted: true };
            match self.change(action).await.map_err(gone)? {
                Response::Expunged { modseq: now, uids } => {
                    gone_now = gone_now.union(&uids);
                    modseq = now;
                }
                _ => return Err(Failure::Internal.into()),
            }
        }
        Ok(Answer::Expunged { uids: gone_now, modseq })
    }
}

/// What has been copied so far.
struct Copied {
    target: (MailboxRef, UidValidity),
    source: UidSet,
    new: UidSet,
    modseq: ModSeq,
}

impl Copied {
    fn answer(self) -> Answer {
        let Copied { target: (_, uid_validity), source, new, modseq } = self;
        Answer::Copied { uid_validity, source, target: new, modseq }
    }
}

/// The mailbox that a command without a target lacks is the selected one.
fn gone(stop: Stop) -> Stop {
    match stop {
        Stop::Told(Failure::NonExistent) => Stop::Told(Failure::MailboxGone),
        other => other,
    }
}

impl Moment<'_> {
    /// The bytes of messages together; counted no further than `enough`.
    pub(super) fn size_of(&self, at: MailboxRef, uids: &UidSet, enough: u64) -> Result<u64, Stop> {
        let (mut rest, mut sum) = (uids.clone(), 0_u64);
        while !rest.is_empty() && sum <= enough {
            let some: Vec<Uid> = rest.split_off_first(WORK).iter().collect();
            let messages = read::messages_of(&self.view, at, &some)?;
            sum = messages.iter().fold(sum, |sum, message| sum.saturating_add(message.row.size));
        }
        Ok(sum)
    }
}
