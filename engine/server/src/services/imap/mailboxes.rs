//! Names of mailboxes, their counts, and the account's quota.

use super::change::WORK;
use super::convert;
use super::moment::{Moment, Stop, existing_name, is_elsewhere, new_name};
use super::{ImapService, convert::special_use};
use crate::replies;
use estafette_imap::codec::command::Mailbox;
use estafette_imap::codec::flag::SpecialUse;
use estafette_imap::session::Answer;
use estafette_imap::session::ask::{Counts, Failure, MailboxInfo, Quota};
use estafette_mailbox::{AccountRef, Action, MailboxName, MailboxRef, MailboxRow, NameRow, Response, read};
use estafette_raft::NewBody;
use estafette_types::{MailboxId, Uid};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Stands for a name that only has others below it: no mailbox has this number.
const PLACEHOLDER: MailboxId = MailboxId(0);
/// Messages with `\Deleted` whose sizes are read at once.
const SIZES_AT_ONCE: usize = 1024;

impl Moment<'_> {
    /// All mailboxes, and the subscribed names that are none.
    pub(super) fn mailboxes(
        &self,
        at: AccountRef,
        counts: bool,
        deleted_bytes: bool,
    ) -> Result<Answer, Stop> {
        let mut subscribed: BTreeSet<MailboxName> =
            read::subscriptions(&self.view, at)?.into_iter().collect();
        let mut list = Vec::new();
        let names = read::names(&self.view, at)?;
        if names.is_empty() && is_elsewhere(&self.view, at)? {
            return Err(Stop::Moved);
        }
        for (name, row) in names {
            let subscribed = subscribed.remove(&name);
            // A name that is too long for IMAP came in by another way; nobody here can use it.
            let Some(name) = convert::name(&name) else { continue };
            let counts = match row.mailbox.filter(|_| counts) {
                Some(id) => Some(self.counts_of(at.mailbox(id), deleted_bytes)?),
                None => None,
            };
            list.push(info(name, &row, subscribed, counts));
        }
        list.extend(subscribed.iter().filter_map(convert::name).map(|name| MailboxInfo {
            id: None,
            name,
            special_use: Vec::new(),
            subscribed: true,
            no_select: false,
            counts: None,
        }));
        list.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Answer::Mailboxes(list))
    }

    pub(super) fn status(&self, at: AccountRef, name: &Mailbox, deleted_bytes: bool) -> Result<Answer, Stop> {
        let (at, row) = self.named(at, name)?;
        Ok(Answer::Status(at.mailbox, self.counts(at, &row, deleted_bytes)?))
    }

    fn counts_of(&self, at: MailboxRef, deleted_bytes: bool) -> Result<Counts, Stop> {
        let row = self.mailbox(at)?;
        self.counts(at, &row, deleted_bytes)
    }

    fn counts(&self, at: MailboxRef, row: &MailboxRow, deleted_bytes: bool) -> Result<Counts, Stop> {
        Ok(Counts {
            messages: row.exists,
            unseen: row.unseen,
            deleted: row.deleted,
            size_bytes: row.bytes,
            deleted_bytes: if deleted_bytes { self.deleted_bytes(at, row)? } else { 0 },
            uid_next: row.uid_next,
            uid_validity: row.uid_validity,
            highest_modseq: row.highest_modseq,
        })
    }

    /// The bytes of the messages with `\Deleted`.
    fn deleted_bytes(&self, at: MailboxRef, row: &MailboxRow) -> Result<u64, Stop> {
        match row.deleted {
            0 => return Ok(0),
            all if all == row.exists => return Ok(row.bytes),
            _ => {}
        }
        let deleted: Vec<Uid> = read::deleted(&self.view, at)?.iter().collect();
        let mut sum = 0_u64;
        for some in deleted.chunks(SIZES_AT_ONCE) {
            let messages = read::messages_of(&self.view, at, some)?;
            sum = messages.iter().fold(sum, |sum, message| sum.saturating_add(message.row.size));
        }
        Ok(sum)
    }
}

fn info(name: Mailbox, row: &NameRow, subscribed: bool, counts: Option<Counts>) -> MailboxInfo {
    MailboxInfo {
        id: Some(row.mailbox.unwrap_or(PLACEHOLDER)),
        name,
        special_use: row.special_use.and_then(special_use).into_iter().collect(),
        subscribed,
        no_select: row.mailbox.is_none(),
        counts,
    }
}

impl ImapService {
    /// Carries out a command in the account.
    pub(super) async fn change(&self, action: Action) -> Result<Response, Stop> {
        self.change_with(action, Vec::new()).await
    }

    /// The same with the bodies that it names.
    pub(super) async fn change_with(&self, action: Action, bodies: Vec<NewBody>) -> Result<Response, Stop> {
        let heard = self.opened.as_ref().map(|opened| opened.heard());
        let (at, response) = self.engine.mailbox(self.account()?, action, bodies).await?;
        if at != self.account()? {
            self.is_at(at, heard)?;
        }
        match response {
            Response::Refused(refusal) => Err(replies::of_refusal(refusal).into()),
            response => Ok(response),
        }
    }

    pub(super) async fn create(&self, name: &Mailbox, wanted: &[SpecialUse]) -> Result<Answer, Stop> {
        let special_use = convert::wanted_use(wanted)?;
        match self.change(Action::Create { name: new_name(name)?, special_use }).await? {
            Response::Created { mailbox, .. } => Ok(Answer::Created(mailbox)),
            _ => Err(Failure::Internal.into()),
        }
    }

    /// What is left of a large mailbox goes after the answer.
    pub(super) async fn delete(&self, name: &Mailbox) -> Result<Answer, Stop> {
        let response = self.change(Action::Delete { name: existing_name(name)? }).await?;
        if response == (Response::Purged { more: true }) {
            let (engine, at) = (Arc::clone(&self.engine), self.account()?);
            tokio::spawn(async move {
                if let Err(error) = engine.homes().purge(at).await {
                    tracing::warn!(%error, "messages of a deleted mailbox are left for the next purge");
                }
            });
        }
        Ok(Answer::Done)
    }

    /// Of a large INBOX, the messages follow in several steps.
    pub(super) async fn rename(&self, from: &Mailbox, to: &Mailbox) -> Result<Answer, Stop> {
        let action = Action::Rename { from: existing_name(from)?, to: new_name(to)? };
        if let Response::Moving { from, to, mut rest } = self.change(action).await? {
            while !rest.is_empty() {
                self.change(Action::Move { from, to, uids: rest.split_off_first(WORK) }).await?;
            }
        }
        Ok(Answer::Done)
    }

    pub(super) async fn subscribe(&self, name: &Mailbox, subscribed: bool) -> Result<Answer, Stop> {
        self.change(Action::Subscribe { name: new_name(name)?, subscribed }).await?;
        Ok(Answer::Done)
    }

    /// The most bytes that the account may hold; `None` without a limit.
    pub(super) fn quota_bytes(&self) -> Result<Option<u64>, Stop> {
        let account = self.account()?.account;
        Ok(self.engine.directory.read().account(account).and_then(|account| account.quota_bytes))
    }

    pub(super) async fn quota(&self, of_mailbox: Option<&Mailbox>) -> Result<Answer, Stop> {
        let (at, moment) = (self.fresh().await?, Moment::of(&self.engine));
        if let Some(name) = of_mailbox {
            let known = read::name(&moment.view, at, &existing_name(name)?)?;
            known.ok_or(Stop::Told(Failure::NonExistent))?;
        }
        let Some(row) = read::account(&moment.view, at)? else {
            return Err(moment.missing(at, Failure::Unavailable)?);
        };
        let limit_bytes = self.quota_bytes()?;
        let (used_bytes, used_messages) = (row.bytes, row.messages);
        Ok(Answer::Quota(Quota { used_bytes, limit_bytes, used_messages, limit_messages: None }))
    }
}
