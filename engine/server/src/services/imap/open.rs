//! The selected mailbox: opening it, and what happens in it afterwards.

use super::convert;
use super::moment::{Moment, Stop};
use super::{ImapService, convert::special_use};
use estafette_imap::codec::command::Mailbox;
use estafette_imap::session::Answer;
use estafette_imap::session::ask::{Changes, Failure, Selected};
use estafette_mailbox::{
    AccountRef, KEYWORDS_MAX, Listener, MailboxName, MailboxRef, MailboxRow, Topic, Watch, read,
};
use estafette_storage::{BodyHash, Store};
use estafette_types::{ModSeq, Uid, UidSet};
use std::sync::Arc;
use tokio::sync::Notify;

/// Messages whose rows are read at once.
const ROWS_AT_ONCE: usize = 1024;

/// A mailbox that is watched for a session.
pub(super) struct Opened {
    at: MailboxRef,
    is_inbox: bool,
    /// The newest moment that the session has heard of.
    latest: ModSeq,
    bell: Arc<Bell>,
    _watch: Watch,
    /// The message that was read last: it can be read to its end though it is expunged meanwhile.
    pub(super) last_read: Option<(Uid, BodyHash)>,
}

/// Wakes a session.
#[derive(Default)]
struct Bell(Notify);

impl Listener for Bell {
    fn changed(&self, _: u64, _: Topic) {
        self.0.notify_one();
    }
}

impl Opened {
    #[cfg(test)]
    pub(super) fn mailbox(&self) -> estafette_types::MailboxId {
        self.at.mailbox
    }

    /// True when it was selected by the name of INBOX.
    pub(super) fn is_inbox(&self) -> bool {
        self.is_inbox
    }

    /// Takes down what an answer says of the mailbox.
    pub(super) fn told(&mut self, answer: &Answer) {
        let modseq = match answer {
            Answer::Selected(selected) => selected.highest_modseq,
            Answer::Changed(changes) => changes.through,
            Answer::Fetched { modseq, .. }
            | Answer::Stored { modseq, .. }
            | Answer::Copied { modseq, .. }
            | Answer::Expunged { modseq, .. }
            | Answer::Found { modseq, .. } => *modseq,
            _ => return,
        };
        self.latest = self.latest.max(modseq);
    }

    /// Resolves when something has changed of which the session has not heard: not by its own changes.
    pub(super) async fn changed(&self, store: &Store) {
        loop {
            self.bell.0.notified().await;
            // What cannot be read is told by the question that comes of it.
            if !self.is_as_told(store).unwrap_or(false) {
                return;
            }
        }
    }

    fn is_as_told(&self, store: &Store) -> Result<bool, estafette_mailbox::Error> {
        let row = read::mailbox(store, self.at)?;
        Ok(row.is_some_and(|row| row.highest_modseq <= self.latest)
            && (!self.is_inbox || inbox_is(store, self.at)?))
    }
}

/// False when INBOX has been renamed since: it is another mailbox now.
fn inbox_is<R: estafette_storage::Read>(rows: &R, at: MailboxRef) -> Result<bool, estafette_mailbox::Error> {
    let row = read::name(rows, at.owner(), &MailboxName::inbox())?;
    Ok(row.and_then(|row| row.mailbox) == Some(at.mailbox))
}

impl ImapService {
    /// Watches first and looks then, so that no change is missed between the two.
    pub(super) fn select(&mut self, name: &Mailbox) -> Result<Answer, Stop> {
        self.opened = None;
        let account = self.account()?;
        let (at, _) = Moment::of(&self.engine).named(account, name)?;
        let bell = Arc::new(Bell::default());
        let listener: Arc<dyn Listener> = Arc::clone(&bell) as _;
        let watch = self.engine.watchers.watch(Topic::Mailbox(at), listener, 0);
        let selected = Moment::of(&self.engine).select(account, at, name)?;
        let is_inbox = selected.name.is_inbox();
        let latest = selected.highest_modseq;
        self.opened = Some(Box::new(Opened { at, is_inbox, latest, bell, _watch: watch, last_read: None }));
        Ok(Answer::Selected(Box::new(selected)))
    }
}

impl Moment<'_> {
    fn select(&self, account: AccountRef, at: MailboxRef, name: &Mailbox) -> Result<Selected, Stop> {
        let canonical = super::moment::existing_name(name)?;
        let behind =
            read::name(&self.view, account, &canonical)?.filter(|row| row.mailbox == Some(at.mailbox));
        // Renamed or deleted within the last microseconds.
        let behind = behind.ok_or(Stop::Told(Failure::NonExistent))?;
        let row = self.mailbox(at)?;
        let uids = self.uids(at, &row)?;
        let keywords = self.keywords(at)?.all();
        Ok(Selected {
            id: at.mailbox,
            name: convert::name(&canonical).ok_or(Stop::Told(Failure::NonExistent))?,
            uid_validity: row.uid_validity,
            uid_next: row.uid_next,
            highest_modseq: row.highest_modseq,
            first_unseen: first_unseen(&row, &uids),
            uids,
            keywords_grow: keywords.len() < KEYWORDS_MAX,
            keywords,
            read_only: false,
            special_use: behind.special_use.and_then(special_use).into_iter().collect(),
        })
    }

    /// How many moments the mailbox is ahead of one.
    pub(super) fn moments_since(&self, at: MailboxRef, since: ModSeq) -> Result<u64, Stop> {
        Ok(self.mailbox(at)?.highest_modseq.0.saturating_sub(since.0))
    }

    /// What has happened since a moment. Messages that are gone and new are told by the difference to
    /// what the session knows, so it does not matter for how long expunges are recorded.
    pub(super) fn changes(
        &self,
        at: MailboxRef,
        is_inbox: bool,
        since: ModSeq,
        known: &UidSet,
        limit: u32,
    ) -> Result<Answer, Stop> {
        let row = self.mailbox(at)?;
        if is_inbox && !inbox_is(&self.view, at)? {
            return Err(Failure::MailboxGone.into());
        }
        if row.highest_modseq <= since {
            return Ok(Answer::Changed(Changes { through: since, ..Changes::default() }));
        }
        let uids = self.uids(at, &row)?;
        let vanished = if row.expunged_modseq > since { known.difference(&uids) } else { UidSet::new() };
        let touched = read::changed_since(&self.view, at, &uids, since)?.intersection(known);
        let (mut touched, more) = self.first_touched(at, &touched, limit)?;
        // Asked for in the order of UIDs, told in the order of moments.
        let through = touched.last().filter(|_| more).map_or(row.highest_modseq, |(modseq, _)| *modseq);
        touched.sort_unstable_by_key(|(_, uid)| *uid);
        let wanted: Vec<Uid> = touched.iter().map(|(_, uid)| *uid).collect();
        let keywords = self.keywords(at)?;
        let rows = read::messages_of(&self.view, at, &wanted)?;
        let mut changed: Vec<_> = rows.iter().map(|row| keywords.changed(row)).collect();
        changed.sort_by_key(|one| one.modseq);
        let new = known.last().map_or_else(|| UidSet::clone(&uids), |last| uids.after(last));
        let arrived = if more { UidSet::new() } else { new };
        Ok(Answer::Changed(Changes { changed, vanished, arrived, through, more }))
    }

    /// The messages that were changed first, no more than `limit` of them, but a moment whole; and
    /// whether there are more.
    fn first_touched(
        &self,
        at: MailboxRef,
        touched: &UidSet,
        limit: u32,
    ) -> Result<(Vec<(ModSeq, Uid)>, bool), Stop> {
        let uids: Vec<Uid> = touched.iter().collect();
        let mut moments = Vec::with_capacity(uids.len());
        for some in uids.chunks(ROWS_AT_ONCE) {
            let rows = read::messages_of(&self.view, at, some)?;
            moments.extend(rows.iter().map(|message| (message.row.modseq, message.uid)));
        }
        moments.sort_unstable();
        let over =
            usize::try_from(limit).ok().and_then(|limit| moments.get(limit)).map(|(modseq, _)| *modseq);
        let Some((over, first)) = over.zip(moments.first().map(|(modseq, _)| *modseq)) else {
            return Ok((moments, false));
        };
        let last = if over == first { first } else { ModSeq(over.0.saturating_sub(1)) };
        let count = moments.partition_point(|(modseq, _)| *modseq <= last);
        let more = count < moments.len();
        moments.truncate(count);
        Ok((moments, more))
    }
}

/// The first message without `\Seen`, where the counters tell it; else nothing is said (RFC 3501 §7.1).
fn first_unseen(row: &MailboxRow, uids: &UidSet) -> Option<Uid> {
    uids.first().filter(|_| row.unseen == row.exists)
}
