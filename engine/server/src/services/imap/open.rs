//! The selected mailbox: opening it, and what happens in it afterwards.

use super::convert;
use super::moment::{Moment, Stop};
use super::{ImapService, convert::Keywords, convert::special_use};
use crate::engine::Engine;
use estafette_imap::codec::command::Mailbox;
use estafette_imap::session::Answer;
use estafette_imap::session::ask::{Changed, Changes, Failure, Selected};
use estafette_mailbox::{AccountRef, KEYWORDS_MAX, Listener, MailboxRef, MailboxRow, Topic, Watch, read};
use estafette_storage::{BodyHash, Store};
use estafette_types::{MailboxId, ModSeq, Uid, UidSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// News of no more moments than this are read on the thread of the session.
const MOMENTS_AT_ONCE: u32 = 4;

/// A mailbox that is watched for a session.
pub(super) struct Opened {
    at: MailboxRef,
    /// The newest moment that the session has heard of.
    latest: ModSeq,
    bell: Arc<Bell>,
    _watch: Watch,
    /// What was read of it last.
    known: Option<Known>,
    /// The message that was read last: it can be read to its end though it is expunged meanwhile.
    pub(super) last_read: Option<(Uid, BodyHash)>,
}

/// What a mailbox says of itself, read when `changes` was its number of changes. It is never newer than
/// a view that is taken after it was found to be true, and older only by what has not been told yet.
#[derive(Clone)]
pub(super) struct Known {
    changes: u64,
    pub(super) highest_modseq: ModSeq,
    pub(super) keywords: Arc<Keywords>,
}

/// Wakes a session, and counts the changes.
#[derive(Default)]
struct Bell {
    rings: Notify,
    changes: AtomicU64,
}

impl Listener for Bell {
    fn changed(&self, _: u64, _: Topic) {
        self.changes.fetch_add(1, Ordering::Release);
        self.rings.notify_one();
    }
}

impl Opened {
    #[cfg(test)]
    pub(super) fn mailbox(&self) -> MailboxId {
        self.at.mailbox
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
            self.bell.rings.notified().await;
            // What cannot be read is told by the question that comes of it.
            if !self.is_as_told(store).unwrap_or(false) {
                return;
            }
        }
    }

    /// What the mailbox says of itself; read anew only when it has changed since.
    fn known(&mut self, engine: &Engine) -> Result<Known, Stop> {
        let changes = self.bell.changes.load(Ordering::Acquire);
        if let Some(known) = self.known.as_ref().filter(|known| known.changes == changes) {
            return Ok(known.clone());
        }
        let moment = Moment::of(engine);
        let row = moment.mailbox(self.at)?;
        let keywords = Arc::new(moment.keywords(self.at)?);
        let known = Known { changes, highest_modseq: row.highest_modseq, keywords };
        self.known = Some(known.clone());
        Ok(known)
    }

    fn is_as_told(&self, store: &Store) -> Result<bool, estafette_mailbox::Error> {
        let row = read::mailbox(store, self.at)?;
        Ok(row.is_some_and(|row| row.highest_modseq <= self.latest))
    }
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
        let latest = selected.highest_modseq;
        self.opened =
            Some(Box::new(Opened { at, latest, bell, _watch: watch, known: None, last_read: None }));
        Ok(Answer::Selected(Box::new(selected)))
    }

    /// What the selected mailbox says of itself.
    pub(super) fn known(&mut self, at: MailboxRef) -> Result<Known, Stop> {
        let opened = self.opened.as_mut().filter(|opened| opened.at == at);
        opened.ok_or(Stop::Told(Failure::Internal))?.known(&self.engine)
    }

    /// What has happened in the selected mailbox.
    pub(super) async fn news(
        &mut self,
        mailbox: MailboxId,
        since: ModSeq,
        known: Arc<UidSet>,
        limit: u32,
    ) -> Result<Answer, Stop> {
        let at = self.mailbox(mailbox)?;
        let now = self.known(at)?;
        let moments = now.highest_modseq.0.saturating_sub(since.0);
        if moments == 0 {
            return Ok(Answer::Changed(Changes { through: since, ..Changes::default() }));
        }
        let heavy = moments > u64::from(MOMENTS_AT_ONCE);
        self.read(heavy, move |moment| moment.changes(at, since, &known, limit)).await
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

    /// What has happened since a moment, and what of it is still to be told. Messages that are gone and new
    /// are told by the difference to what the session knows, so it does not matter for how long expunges
    /// are recorded.
    fn changes(&self, at: MailboxRef, since: ModSeq, known: &UidSet, limit: u32) -> Result<Answer, Stop> {
        let row = self.mailbox(at)?;
        if row.highest_modseq <= since {
            return Ok(Answer::Changed(Changes { through: since, ..Changes::default() }));
        }
        let uids = self.uids(at, &row)?;
        let found = read::changes_after(&self.view, at, since, usize::try_from(limit).unwrap_or(usize::MAX))?;
        let more = found.through.is_some();
        let through = found.through.unwrap_or(row.highest_modseq);
        let mut moments = found.changed;
        moments.retain(|(_, uid)| known.contains(*uid));
        let changed = self.changed(at, moments)?;
        let vanished = if row.expunged_modseq > since { known.difference(&uids) } else { UidSet::new() };
        let arrived = match known.last() {
            _ if more => UidSet::new(),
            Some(last) => uids.after(last),
            None => UidSet::clone(&uids),
        };
        Ok(Answer::Changed(Changes { changed, vanished, arrived, through, more }))
    }

    /// The flags of messages, in the order of moments. Those that have changed again are told then.
    fn changed(&self, at: MailboxRef, mut moments: Vec<(ModSeq, Uid)>) -> Result<Vec<Changed>, Stop> {
        moments.sort_unstable_by_key(|(_, uid)| *uid);
        let wanted: Vec<Uid> = moments.iter().map(|(_, uid)| *uid).collect();
        let rows = read::messages_of(&self.view, at, &wanted)?;
        let keywords = self.keywords(at)?;
        let mut changed: Vec<Changed> = rows.iter().map(|row| keywords.changed(row)).collect();
        changed.retain(|one| {
            let noted = moments.binary_search_by_key(&one.uid, |(_, uid)| *uid).ok();
            noted.and_then(|index| moments.get(index)).is_some_and(|(modseq, _)| *modseq == one.modseq)
        });
        changed.sort_by_key(|one| one.modseq);
        Ok(changed)
    }
}

/// The first message without `\Seen`, where the counters tell it; else nothing is said (RFC 3501 §7.1).
fn first_unseen(row: &MailboxRow, uids: &UidSet) -> Option<Uid> {
    uids.first().filter(|_| row.unseen == row.exists)
}
