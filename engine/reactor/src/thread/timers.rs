//! Deadlines of the tasks of one thread.
//!
//! Most deadlines are moved on and on and never come: moving one to later only writes it down, and the heap
//! is put right when the old time comes. A timer belongs to its [`Timer`] and goes with it.

use slab::Slab;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::Waker;
use std::time::Instant;

/// The heap may hold so many that have gone before it is looked through.
const STALE_MIN: usize = 1024;

#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    entries: Slab<Entry>,
    next: u64,
}

struct Entry {
    deadline: Option<Instant>,
    /// When the heap has it, if it does, and under which number.
    queued: Option<(Instant, u64)>,
    waker: Option<Waker>,
}

impl Timers {
    /// A timer that is not set.
    pub(super) fn add(&mut self) -> usize {
        self.entries.insert(Entry { deadline: None, queued: None, waker: None })
    }

    pub(super) fn remove(&mut self, key: usize) {
        self.entries.try_remove(key);
        // The heap forgets those that have gone when they are most of it.
        if self.heap.len() > STALE_MIN + 2 * self.entries.len() {
            let entries = &self.entries;
            self.heap.retain(|Reverse((time, key, number))| {
                entries.get(*key).is_some_and(|entry| entry.queued == Some((*time, *number)))
            });
        }
    }

    /// Sets or ends it.
    pub(super) fn set(&mut self, key: usize, deadline: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.deadline = deadline;
        let Some(deadline) = deadline else { return };
        if entry.queued.is_none_or(|(queued, _)| deadline < queued) {
            self.next = self.next.wrapping_add(1);
            entry.queued = Some((deadline, self.next));
            self.heap.push(Reverse((deadline, key, self.next)));
        }
    }

    /// True when the deadline has come; else the waker is called when it does.
    pub(super) fn poll(&mut self, key: usize, now: Instant, waker: &Waker) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        let come = entry.deadline.is_some_and(|deadline| deadline <= now);
        if !come && !entry.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            entry.waker = Some(waker.clone());
        }
        come
    }

    /// Calls the wakers of what has come due.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(Reverse((time, key, number))) = self.heap.peek().copied() {
            if time > now {
                return;
            }
            self.heap.pop();
            let Some(entry) = self.entries.get_mut(key) else { continue };
            if entry.queued != Some((time, number)) {
                continue;
            }
            entry.queued = None;
            match entry.deadline {
                Some(deadline) if deadline > now => self.set(key, Some(deadline)),
                Some(_) => entry.waker.iter().for_each(Waker::wake_by_ref),
                None => {}
            }
        }
    }

    /// When the next may come due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((time, _, _))| *time)
    }
}
