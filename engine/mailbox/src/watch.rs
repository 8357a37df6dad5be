//! Waking those who wait for changes: IDLE, NOTIFY, open pages.
//!
//! A watcher costs its listener, a token and its place in a list: nothing is buffered here. What
//! changed is for the woken session to read, by the ModSeq that it knows. It is told how far the mailbox
//! has come, so that it need not read when it knows that already. Called after the rows were written, so
//! a woken session sees the change.

use crate::key::{AccountRef, MailboxRef};
use estafette_types::{AccountId, MailboxId, ModSeq, ShardId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Locks that the registry is spread over.
const STRIPES: usize = 64;

/// What can change. An account that moves to another shard is watched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Messages of a mailbox: new, expunged, other flags. Also the deletion of the mailbox.
    Mailbox(AccountId, MailboxId),
    /// Names, subscriptions and uses of the mailboxes of an account.
    Mailboxes(AccountId),
}

impl Topic {
    fn account(&self) -> AccountId {
        match self {
            Topic::Mailbox(account, _) | Topic::Mailboxes(account) => *account,
        }
    }
}

/// A change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct News {
    /// Of what.
    pub topic: Topic,
    /// How far a mailbox has come: its HIGHESTMODSEQ, or [`News::GONE`]. Without meaning for names.
    pub modseq: ModSeq,
    /// The shard in which it has come so far.
    pub shard: ShardId,
}

impl News {
    /// Past all that a mailbox reaches: it was deleted.
    pub const GONE: ModSeq = ModSeq(u64::MAX);

    pub(crate) fn of_mailbox(at: MailboxRef, modseq: ModSeq) -> News {
        News { topic: Topic::Mailbox(at.account, at.mailbox), modseq, shard: at.shard }
    }

    pub(crate) fn of_names(at: AccountRef) -> News {
        News { topic: Topic::Mailboxes(at.account), modseq: ModSeq(0), shard: at.shard }
    }
}

/// Who is woken. One for each thread of sessions is enough: the token says which session.
pub trait Listener: Send + Sync {
    /// Something changed. Must return quickly and may be called from any thread; several changes may be
    /// told as one, by the last of them.
    fn changed(&self, token: u64, news: News);
    /// The account may be on other nodes alone. Must return quickly, too.
    fn gone(&self, _token: u64) {}
}

#[derive(Debug, Default)]
struct Stripe(Mutex<HashMap<Topic, Vec<Entry>>>);

struct Entry {
    number: u64,
    token: u64,
    listener: Arc<dyn Listener>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry({}, {})", self.number, self.token)
    }
}

/// The registry of all that is watched.
#[derive(Debug)]
pub struct Watchers {
    stripes: Vec<Stripe>,
    hasher: RandomState,
    next: std::sync::atomic::AtomicU64,
}

impl Default for Watchers {
    fn default() -> Watchers {
        let stripes = (0..STRIPES).map(|_| Stripe::default()).collect();
        Watchers { stripes, hasher: RandomState::new(), next: std::sync::atomic::AtomicU64::new(0) }
    }
}

impl Watchers {
    /// Wakes `listener` with `token` at each change of `topic`, until the answer is dropped.
    #[must_use = "it is watched until this is dropped"]
    pub fn watch(self: &Arc<Self>, topic: Topic, listener: Arc<dyn Listener>, token: u64) -> Watch {
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if let Some(stripe) = self.stripe(topic) {
            stripe.0.lock().entry(topic).or_default().push(Entry { number, token, listener });
        }
        Watch { watchers: Arc::clone(self), topic, number }
    }

    /// Tells all who watch these, once for each topic, and empties the list.
    pub fn wake(&self, news: &mut Vec<News>) {
        news.sort_unstable();
        // Of each topic the last stays.
        news.reverse();
        news.dedup_by_key(|news| news.topic);
        for news in news.drain(..) {
            let Some(stripe) = self.stripe(news.topic) else { continue };
            if let Some(entries) = stripe.0.lock().get(&news.topic) {
                entries.iter().for_each(|entry| entry.listener.changed(entry.token, news));
            }
        }
    }

    /// Tells all who watch an account of which this holds that it is on other nodes. Looks through all that is watched.
    pub fn tell_gone(&self, is_gone: impl Fn(AccountId) -> bool) {
        for stripe in &self.stripes {
            let topics = stripe.0.lock();
            let gone = topics.iter().filter(|(topic, _)| is_gone(topic.account()));
            gone.flat_map(|(_, entries)| entries).for_each(|entry| entry.listener.gone(entry.token));
        }
    }

    /// How many watches there are, for metrics.
    pub fn count(&self) -> usize {
        self.stripes.iter().map(|stripe| stripe.0.lock().values().map(Vec::len).sum::<usize>()).sum()
    }

    fn stripe(&self, topic: Topic) -> Option<&Stripe> {
        let hash = self.hasher.hash_one(topic).to_le_bytes()[0];
        self.stripes.get(usize::from(hash) % STRIPES)
    }
}

/// Ends the watching when it is dropped.
#[derive(Debug)]
pub struct Watch {
    watchers: Arc<Watchers>,
    topic: Topic,
    number: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some(stripe) = self.watchers.stripe(self.topic) else { return };
        let mut topics = stripe.0.lock();
        if let Some(entries) = topics.get_mut(&self.topic) {
            entries.retain(|entry| entry.number != self.number);
            if entries.is_empty() {
                topics.remove(&self.topic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<(u64, u64)>>);

    impl Listener for Heard {
        fn changed(&self, token: u64, news: News) {
            self.0.lock().push((token, news.modseq.0));
        }
    }

    #[test]
    fn those_who_watch_are_woken_until_they_stop() {
        let watchers = Arc::new(Watchers::default());
        let heard = Arc::new(Heard::default());
        let account = AccountRef { shard: ShardId(1), account: AccountId(1) };
        let (one, two) = (account.mailbox(MailboxId(1)), account.mailbox(MailboxId(2)));
        let first = watchers.watch(Topic::Mailbox(one.account, one.mailbox), heard.clone(), 7);
        let _second = watchers.watch(Topic::Mailbox(one.account, one.mailbox), heard.clone(), 8);
        let _third = watchers.watch(Topic::Mailbox(two.account, two.mailbox), heard.clone(), 9);
        let at = |modseq| News::of_mailbox(one, ModSeq(modseq));
        watchers.wake(&mut vec![at(4), at(5), at(3)]);
        drop(first);
        watchers.wake(&mut vec![at(6), News::of_names(account)]);
        assert_eq!(*heard.0.lock(), [(7, 5), (8, 5), (8, 6)]);
        assert_eq!(watchers.count(), 2);
    }
}
