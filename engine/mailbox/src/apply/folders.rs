//! Names of mailboxes: Create, Delete, Rename, Subscribe, uses.
//!
//! Invariant: every level above a name exists, as a mailbox or as a placeholder.

use super::purge::purge_mailbox;
use super::{Stop, Work};
use crate::command::{MAILBOXES_MAX, Refusal, Response, SUBSCRIPTIONS_MAX, WORK_MAX};
use crate::key::{Kind, MailboxRef, after};
use crate::name::{MailboxName, SEPARATOR};
use crate::read;
use crate::rows::{MailboxRow, NameRow, SpecialUse};
use crate::watch::News;
use estafette_types::{MailboxId, UidValidity};
use std::num::NonZeroU32;

/// [`WORK_MAX`] as a number of UIDs.
const WORK_MAX_UIDS: u32 = 2048;
const _: () = assert!(WORK_MAX_UIDS as usize == WORK_MAX);

impl Work<'_> {
    /// INBOX, Drafts, Sent, Junk, Trash; all subscribed.
    pub(super) fn create_usual_mailboxes(&mut self) {
        self.new_mailbox(&MailboxName::inbox(), None);
        self.set_subscribed(&MailboxName::inbox(), true);
        for special_use in [SpecialUse::Drafts, SpecialUse::Sent, SpecialUse::Junk, SpecialUse::Trash] {
            if let Ok(name) = MailboxName::parse(special_use.default_name()) {
                self.new_mailbox(&name, Some(special_use));
                self.set_subscribed(&name, true);
            }
        }
    }

    pub(super) fn create(
        &mut self,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
    ) -> Result<Response, Stop> {
        if self.name_row(name)?.is_some_and(|row| row.mailbox.is_some()) {
            return Err(Refusal::Exists.into());
        }
        self.check_use_free(special_use)?;
        let (at, row) = self.make(name, special_use)?;
        Ok(Response::Created { mailbox: at.mailbox, uid_validity: row.uid_validity })
    }

    pub(super) fn delete(&mut self, name: &MailboxName) -> Result<Response, Stop> {
        if name.is_inbox() {
            return Err(Refusal::Inbox.into());
        }
        let row = self.name_row(name)?.ok_or(Refusal::NoMailbox)?;
        let has_children = self.has_children(name)?;
        let Some(id) = row.mailbox else {
            if has_children {
                return Err(Refusal::HasChildren.into());
            }
            self.remove_name(name);
            return Ok(Response::Purged { more: false });
        };
        let open = self.open(id)?;
        self.account.bytes = self.account.bytes.saturating_sub(open.row.bytes);
        self.account.messages = self.account.messages.saturating_sub(u64::from(open.row.exists));
        if has_children {
            self.put_name(name, NameRow { mailbox: None, special_use: None });
        } else {
            self.remove_name(name);
        }
        self.remove_row(open.at.key(Kind::Mailbox, &[]));
        self.tell(News::of_mailbox(open.at, News::GONE));
        let done = purge_mailbox(self.tx, open.at, WORK_MAX)?.is_some();
        if !done {
            self.put(self.at.key(Kind::Doomed, &id.0.to_be_bytes()), vec![1]);
        }
        Ok(Response::Purged { more: !done })
    }

    pub(super) fn rename(&mut self, from: &MailboxName, to: &MailboxName) -> Result<Response, Stop> {
        let row = self.name_row(from)?.ok_or(Refusal::NoMailbox)?;
        if self.name_row(to)?.is_some() {
            return Err(Refusal::Exists.into());
        }
        if from.is_inbox() {
            return self.rename_inbox(row, to);
        }
        if to.is_below(from) {
            return Err(Refusal::BadName.into());
        }
        self.make_parents(to)?;
        let family = read::names(&*self.tx, self.at)?;
        for (name, row) in family {
            if name != *from && !name.is_below(from) {
                continue;
            }
            let new = name.moved(from, to).map_err(|_| Refusal::BadName)?;
            self.remove_name(&name);
            self.put_name(&new, row);
            self.account.mailboxes = self.account.mailboxes.saturating_add(1);
            if self.is_subscribed(&name)? {
                self.set_subscribed(&name, false);
                self.set_subscribed(&new, true);
            }
        }
        Ok(Response::Done)
    }

    /// The messages go to a new mailbox; INBOX stays, so who looks at it sees them expunged.
    fn rename_inbox(&mut self, row: NameRow, to: &MailboxName) -> Result<Response, Stop> {
        let from = row.mailbox.ok_or(Refusal::NoMailbox)?;
        let (new, _) = self.make(to, None)?;
        let mut rest = read::uids(&*self.tx, self.at.mailbox(from))?;
        self.move_(from, new.mailbox, &rest.split_off_first(WORK_MAX_UIDS))?;
        if rest.is_empty() {
            return Ok(Response::Done);
        }
        Ok(Response::Moving { from, to: new.mailbox, rest })
    }

    pub(super) fn subscribe(&mut self, name: &MailboxName, subscribed: bool) -> Result<Response, Stop> {
        if subscribed == self.is_subscribed(name)? {
            return Ok(Response::Done);
        }
        if subscribed {
            let range = self.at.kind_range(Kind::Subscription);
            if read::scan(&*self.tx, range)?.take(SUBSCRIPTIONS_MAX).count() == SUBSCRIPTIONS_MAX {
                return Err(Refusal::TooManyMailboxes.into());
            }
        }
        self.set_subscribed(name, subscribed);
        Ok(Response::Done)
    }

    pub(super) fn set_special_use(
        &mut self,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
    ) -> Result<Response, Stop> {
        let row = self.name_row(name)?.filter(|row| row.mailbox.is_some()).ok_or(Refusal::NoMailbox)?;
        if row.special_use == special_use {
            return Ok(Response::Done);
        }
        if name.is_inbox() {
            return Err(Refusal::Inbox.into());
        }
        self.check_use_free(special_use)?;
        self.put_name(name, NameRow { special_use, ..row });
        Ok(Response::Done)
    }

    /// INBOX, which always exists.
    pub(super) fn inbox(&mut self) -> Result<MailboxId, Stop> {
        Ok(self.mailbox_named(&MailboxName::inbox())?.ok_or(Refusal::NoMailbox)?)
    }

    /// The mailbox of a name; `None` also for a placeholder.
    pub(super) fn mailbox_named(&self, name: &MailboxName) -> Result<Option<MailboxId>, Stop> {
        Ok(self.name_row(name)?.and_then(|row| row.mailbox))
    }

    /// The mailbox of a name, created and subscribed when there is none.
    pub(super) fn mailbox_or_create(&mut self, name: &MailboxName) -> Result<MailboxId, Stop> {
        if let Some(found) = self.mailbox_named(name)? {
            return Ok(found);
        }
        let (at, _) = self.make(name, None)?;
        self.set_subscribed(name, true);
        Ok(at.mailbox)
    }

    /// The mailbox for a use; when there is none, that of the use's usual name, which is then for it.
    pub(super) fn mailbox_for(&mut self, special_use: SpecialUse) -> Result<MailboxId, Stop> {
        let names = read::names(&*self.tx, self.at)?;
        let found = names.iter().find(|(_, row)| row.special_use == Some(special_use));
        if let Some(id) = found.and_then(|(_, row)| row.mailbox) {
            return Ok(id);
        }
        let name = MailboxName::parse(special_use.default_name()).map_err(|_| Refusal::BadName)?;
        let id = self.mailbox_or_create(&name)?;
        if self.name_row(&name)?.is_some_and(|row| row.special_use.is_none()) {
            self.put_name(&name, NameRow { mailbox: Some(id), special_use: Some(special_use) });
        }
        Ok(id)
    }

    /// Creates the mailbox of a name that is free or a placeholder, and the levels above it.
    fn make(
        &mut self,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
    ) -> Result<(MailboxRef, MailboxRow), Stop> {
        self.make_parents(name)?;
        self.check_room()?;
        if self.name_row(name)?.is_some() {
            self.remove_name(name);
        }
        Ok(self.new_mailbox(name, special_use))
    }

    fn make_parents(&mut self, name: &MailboxName) -> Result<(), Stop> {
        let parents = std::iter::successors(name.parent(), MailboxName::parent).collect::<Vec<_>>();
        for parent in parents.into_iter().rev() {
            if self.name_row(&parent)?.is_none() {
                self.check_room()?;
                self.new_mailbox(&parent, None);
            }
        }
        Ok(())
    }

    /// A new, empty mailbox under a name that is not in use.
    fn new_mailbox(
        &mut self,
        name: &MailboxName,
        special_use: Option<SpecialUse>,
    ) -> (MailboxRef, MailboxRow) {
        let id = self.account.next_mailbox;
        self.account.next_mailbox = MailboxId(id.0.saturating_add(1));
        let seconds = u32::try_from(self.context.time_ms / 1000).unwrap_or(u32::MAX);
        let validity = seconds.max(self.account.last_uid_validity.saturating_add(1));
        self.account.last_uid_validity = validity;
        let validity = UidValidity(NonZeroU32::new(validity).unwrap_or(NonZeroU32::MIN));
        let (at, row) = (self.at.mailbox(id), MailboxRow::new(validity, self.context.time_ms));
        self.put(at.key(Kind::Mailbox, &[]), row.encode());
        self.put_name(name, NameRow { mailbox: Some(id), special_use });
        self.account.mailboxes = self.account.mailboxes.saturating_add(1);
        (at, row)
    }

    fn check_room(&self) -> Result<(), Stop> {
        let full = self.account.mailboxes >= MAILBOXES_MAX || self.account.next_mailbox.0 == u32::MAX;
        if full { Err(Refusal::TooManyMailboxes.into()) } else { Ok(()) }
    }

    fn check_use_free(&self, special_use: Option<SpecialUse>) -> Result<(), Stop> {
        if special_use.is_none() {
            return Ok(());
        }
        let names = read::names(&*self.tx, self.at)?;
        let taken = names.iter().any(|(_, row)| row.special_use == special_use);
        if taken { Err(Refusal::UseTaken.into()) } else { Ok(()) }
    }

    fn has_children(&self, name: &MailboxName) -> Result<bool, Stop> {
        let start = self.at.key(Kind::Name, format!("{name}{SEPARATOR}").as_bytes());
        Ok(read::scan(&*self.tx, start.clone()..after(start))?.next().transpose()?.is_some())
    }

    fn name_row(&self, name: &MailboxName) -> Result<Option<NameRow>, Stop> {
        Ok(read::name(&*self.tx, self.at, name)?)
    }

    fn put_name(&mut self, name: &MailboxName, row: NameRow) {
        self.put(self.at.key(Kind::Name, name.as_str().as_bytes()), row.encode());
        self.tell(News::of_names(self.at));
    }

    fn remove_name(&mut self, name: &MailboxName) {
        self.remove_row(self.at.key(Kind::Name, name.as_str().as_bytes()));
        self.account.mailboxes = self.account.mailboxes.saturating_sub(1);
        self.tell(News::of_names(self.at));
    }

    fn is_subscribed(&self, name: &MailboxName) -> Result<bool, Stop> {
        let key = self.at.key(Kind::Subscription, name.as_str().as_bytes());
        Ok(read::row(&*self.tx, Kind::Subscription, key, |_| Some(()))?.is_some())
    }

    fn set_subscribed(&mut self, name: &MailboxName, subscribed: bool) {
        let key = self.at.key(Kind::Subscription, name.as_str().as_bytes());
        if subscribed {
            self.put(key, vec![1]);
        } else {
            self.remove_row(key);
        }
        self.tell(News::of_names(self.at));
    }
}
