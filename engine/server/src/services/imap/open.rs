//! The selected mailbox: opening it, and what happens in it afterwards.

use super::convert;
use super::moment::{Moment, Stop, keywords_after};
use super::{ImapService, convert::Keywords, convert::special_use};
use estafette_imap::codec::command::Mailbox;
use estafette_imap::session::Answer;
use estafette_imap::session::ask::{Changed, Changes, Failure, Selected};
use estafette_mailbox::read::Message;
use estafette_mailbox::{
    AccountRef, KEYWORDS_MAX, Listener, MailboxRef, MailboxRow, News, Topic, Watch, read,
};
use estafette_storage::Store;
use estafette_types::{MailboxId, ModSeq, ShardId, Uid, UidSet};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// News of no more moments than this are read on the thread of the session.
const MOMENTS_AT_ONCE: u32 = 4;

/// A mailbox that is watched for a session.
pub(super) struct Opened {
    mailbox: MailboxId,
    /// The newest moment that the session has heard of.
    latest: ModSeq,
    bell: Arc<Bell>,
    _watch: Watch,
    /// The keywords when they were read last. Each keeps its number, so they are out of date only for
    /// messages with a number that is not among them.
    keywords: Option<Arc<Keywords>>,
}

/// Wakes a session, and knows how far its mailbox has come.
struct Bell {
    rings: Notify,
    reached: Mutex<Reached>,
    /// The account may have left this node.
    left: AtomicBool,
}

/// How far a mailbox has come, and the shard where it did.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Reached {
    modseq: ModSeq,
    shard: ShardId,
}

impl Bell {
    fn reached(&self, modseq: ModSeq, shard: ShardId) {
        let mut reached = self.reached.lock();
        if modseq > reached.modseq {
            *reached = Reached { modseq, shard };
        }
    }
}

impl Listener for Bell {
    fn changed(&self, _: u64, news: News) {
        self.reached(news.modseq, news.shard);
        self.rings.notify_one();
    }

    fn gone(&self, _: u64) {
        self.left.store(true, Ordering::Release);
        self.rings.notify_one();
    }
}

impl Opened {
    #[cfg(test)]
    pub(super) fn mailbox(&self) -> MailboxId {
        self.mailbox
    }

    /// What has been heard of the mailbox.
    pub(super) fn heard(&self) -> Reached {
        *self.bell.reached.lock()
    }

    /// All that was heard of the mailbox can be read in this shard, unless more was heard since.
    pub(super) fn is_in(&self, shard: ShardId, heard: Reached) {
        let mut reached = self.bell.reached.lock();
        if *reached == heard {
            reached.shard = shard;
        }
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

    /// Resolves when something has changed of which the session has not heard: not by its own changes. Likewise, once, when
    /// the mailbox may be on other nodes alone: whether it is, is found with the next question.
    pub(super) async fn changed(&self) {
        loop {
            self.bell.rings.notified().await;
            if self.bell.left.swap(false, Ordering::AcqRel) || self.bell.reached.lock().modseq > self.latest {
                return;
            }
        }
    }

    /// How far the mailbox has come. All that is read afterwards in this shard is at least as new; and what is newer is
    /// told with the next news.
    pub(super) fn reached(&self, shard: ShardId) -> Result<ModSeq, Stop> {
        let reached = *self.bell.reached.lock();
        match reached.modseq {
            News::GONE => Err(Failure::MailboxGone.into()),
            // The rows that the account has moved to are here before the directory says so.
            _ if reached.shard != shard => Err(Stop::Moved),
            modseq => Ok(modseq),
        }
    }

    /// The keywords that messages have, which have just been read.
    pub(super) fn keywords(
        &mut self,
        store: &Store,
        at: MailboxRef,
        of: &[Message],
    ) -> Result<Arc<Keywords>, Stop> {
        let known = self.keywords.as_ref().filter(|known| of.iter().all(|row| known.names_all(row)));
        if let Some(known) = known {
            return Ok(Arc::clone(known));
        }
        let all = Arc::new(keywords_after(store, at)?);
        self.keywords = Some(Arc::clone(&all));
        Ok(all)
    }
}

impl ImapService {
    /// Watches first and looks then, so that no change is missed between the two.
    pub(super) async fn select(&mut self, name: &Mailbox) -> Result<Answer, Stop> {
        self.opened = None;
        let account = self.fresh().await?;
        let (at, _) = Moment::of(&self.engine).named(account, name)?;
        let reached = Mutex::new(Reached { modseq: ModSeq(0), shard: at.shard });
        let bell = Arc::new(Bell { rings: Notify::new(), reached, left: AtomicBool::new(false) });
        let listener: Arc<dyn Listener> = Arc::clone(&bell) as _;
        let watch = self.engine.watchers.watch(Topic::Mailbox(at.account, at.mailbox), listener, 0);
        let selected = Moment::of(&self.engine).select(account, at, name)?;
        let latest = selected.highest_modseq;
        bell.reached(latest, at.shard);
        let mailbox = at.mailbox;
        self.opened = Some(Box::new(Opened { mailbox, latest, bell, _watch: watch, keywords: None }));
        Ok(Answer::Selected(Box::new(selected)))
    }

    /// The selected mailbox.
    pub(super) fn opened(&mut self, at: MailboxRef) -> Result<&mut Opened, Stop> {
        let opened = self.opened.as_deref_mut().filter(|opened| opened.mailbox == at.mailbox);
        opened.ok_or(Stop::Told(Failure::Internal))
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
        let reached = self.opened(at)?.reached(at.shard)?;
        let moments = reached.0.saturating_sub(since.0);
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
