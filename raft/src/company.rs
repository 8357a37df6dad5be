//! When the next entry begins: at once, or when there is company.
//!
//! An entry costs the same for itself (a sync, and threads that wake each other) whatever it holds. Who proposes again as
//! soon as he is answered, a session under load, finds the next entry begun, so that callers split into small groups
//! that take turns. So while an entry would hold few commands, it waits for those who are about to be answered.
//!
//! Who was alone in the entry before waits for nobody, and where there are many nobody waits. A wait that is in vain,
//! since nobody came again, makes the next ones rarer. Whatever happens, it ends after
//! [`crate::Settings::company_wait_ms`].

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::time::Duration;

use tokio::sync::Notify;

/// So many commands in an entry are company enough: what an entry costs by itself is little beside them.
const ENOUGH: usize = 8;
/// Entries without a wait after the most waits in vain: 2 to this power.
const SKIPS_LOG2_MAX: u32 = 8;

/// Where callers tell that there is company.
#[derive(Debug)]
pub(crate) struct Company {
    /// How many the proposer waits for; [`Company::NONE`] while it does not.
    wanted: AtomicUsize,
    there: Notify,
}

impl Default for Company {
    fn default() -> Self {
        Self { wanted: AtomicUsize::new(Self::NONE), there: Notify::new() }
    }
}

impl Company {
    const NONE: usize = usize::MAX;

    /// A caller stands in the queue now, as one of so many.
    pub(crate) fn arrived(&self, waiting: impl FnOnce() -> usize) {
        // Either this sees what is wanted, or who wants it sees the queue.
        fence(Ordering::SeqCst);
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted != Self::NONE && waiting() >= wanted {
            self.there.notify_one();
        }
    }

    /// Waits until the queue holds so many; false when the time ended before.
    pub(crate) async fn wait(&self, wanted: usize, within: Duration, waiting: impl Fn() -> usize) -> bool {
        self.wanted.store(wanted, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let enough = async {
            while waiting() < wanted {
                self.there.notified().await;
            }
        };
        let came = tokio::time::timeout(within, enough).await.is_ok();
        self.wanted.store(Self::NONE, Ordering::Relaxed);
        came
    }
}

/// Whether a wait is worth it, learnt from those before.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    in_vain: u32,
    skips: u32,
}

impl Patience {
    /// How many to wait for, when so many are answered about now and so many more are there; none when it is not worth
    /// it. At most so many can come together.
    pub(crate) fn wanted(&mut self, answered: usize, waiting: usize, most: usize) -> Option<usize> {
        let all = answered.saturating_add(waiting);
        // One who does not come again does not keep the others.
        let wanted = all.saturating_sub(all / 4).min(most).min(ENOUGH);
        if wanted < 2 || wanted <= waiting {
            return None;
        }
        if self.skips > 0 {
            self.skips -= 1;
            return None;
        }
        Some(wanted)
    }

    /// How a wait ended.
    pub(crate) fn waited(&mut self, came: bool) {
        if came {
            self.in_vain = 0;
        } else {
            self.in_vain = (self.in_vain + 1).min(SKIPS_LOG2_MAX);
            self.skips = 1 << self.in_vain;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn who_is_alone_waits_for_nobody() {
        assert_eq!(Patience::default().wanted(1, 0, 256), None);
        assert_eq!(Patience::default().wanted(0, 1, 256), None);
    }

    #[test]
    fn two_small_groups_become_one() {
        let mut patience = Patience::default();
        assert_eq!(patience.wanted(5, 5, 256), Some(8));
        assert_eq!(patience.wanted(3, 1, 256), Some(3));
        assert_eq!(patience.wanted(1, 1, 256), Some(2));
        // Never for more than can come together.
        assert_eq!(patience.wanted(5, 0, 3), Some(3));
    }

    #[test]
    fn where_there_are_many_nobody_waits() {
        let mut patience = Patience::default();
        assert_eq!(patience.wanted(1, 20, 256), None);
        assert_eq!(patience.wanted(10, ENOUGH, 256), None);
        assert_eq!(patience.wanted(3, 3, 3), None);
    }

    #[test]
    fn waits_in_vain_become_rare_and_end_with_company() {
        let mut patience = Patience::default();
        let mut waits = 0;
        for _ in 0..10_000 {
            if patience.wanted(5, 5, 256).is_some() {
                waits += 1;
                patience.waited(false);
            }
        }
        assert!((20..60).contains(&waits), "{waits}");
        patience.skips = 0;
        patience.waited(true);
        assert_eq!(patience.wanted(5, 5, 256), Some(8));
        patience.waited(false);
        assert_eq!((patience.in_vain, patience.skips), (1, 2));
    }

    #[tokio::test]
    async fn company_ends_the_wait() {
        let (company, queue) = (Arc::new(Company::default()), Arc::new(AtomicUsize::new(1)));
        let count = {
            let queue = Arc::clone(&queue);
            move || queue.load(Ordering::Relaxed)
        };
        let callers = {
            let (company, queue) = (Arc::clone(&company), Arc::clone(&queue));
            tokio::spawn(async move {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                    let waiting = queue.fetch_add(1, Ordering::Relaxed) + 1;
                    company.arrived(|| waiting);
                }
            })
        };
        assert!(company.wait(4, Duration::from_secs(60), &count).await);
        callers.await.unwrap();
        assert!(!company.wait(5, Duration::from_millis(1), &count).await);
    }
}
