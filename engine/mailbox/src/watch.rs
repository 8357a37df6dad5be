//! Waking those who wait for changes: IDLE, NOTIFY, open pages.
//!
//! A watcher costs its listener, a token and its place in a list: nothing is buffered here. What
//! changed is for the woken session to read, by the ModSeq that it knows. Called after the rows were
//! written, so a woken session sees the change.

use crate::key::{AccountRef, MailboxRef};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Locks that the registry is spread over.
const STRIPES: usize = 64;

/// What can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Messages of a mailbox: new, expunged, other flags. Also the deletion of the mailbox.
    Mailbox(MailboxRef),
    /// Names, subscriptions and uses of the mailboxes of an account.
    Mailboxes(AccountRef),
}

/// Who is woken. One for each thread of sessions is enough: the token says which session.
pub trait Listener: Send + Sync {
    /// Something changed. Must return quickly and may be called from any thread; several changes may be
    /// told as one.
    fn changed(&self, token: u64, topic: Topic);
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
    pub fn wake(&self, topics: &mut Vec<Topic>) {
        topics.sort_unstable();
        topics.dedup();
        for topic in topics.drain(..) {
            let Some(stripe) = self.stripe(topic) else { continue };
            if let Some(entries) = stripe.0.lock().get(&topic) {
                entries.iter().for_each(|entry| entry.listener.changed(entry.token, topic));
            }
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
    use estafette_types::{AccountId, MailboxId, ShardId};

    #[derive(Default)]
    struct Heard(Mutex<Vec<u64>>);

    impl Listener for Heard {
        fn changed(&self, token: u64, _: Topic) {
            self.0.lock().push(token);
        }
    }

    #[test]
    fn those_who_watch_are_woken_until_they_stop() {
        let watchers = Arc::new(Watchers::default());
        let heard = Arc::new(Heard::default());
        let account = AccountRef { shard: ShardId(1), account: AccountId(1) };
        let (one, two) =
            (Topic::Mailbox(account.mailbox(MailboxId(1))), Topic::Mailbox(account.mailbox(MailboxId(2))));
        let first = watchers.watch(one, heard.clone(), 7);
        let _second = watchers.watch(one, heard.clone(), 8);
        let _third = watchers.watch(two, heard.clone(), 9);
        watchers.wake(&mut vec![one, one]);
        drop(first);
        watchers.wake(&mut vec![one, Topic::Mailboxes(account)]);
        assert_eq!(*heard.0.lock(), [7, 8, 8]);
        assert_eq!(watchers.count(), 2);
    }
}
