//! The tasks of one thread: a future for each session, and the order in which they are polled.
//!
//! Wakers may be used from any thread; the futures never leave theirs. A task that was woken several times
//! is polled once. A waker of a task that has ended does nothing but poll who has its place now. A task that
//! panics ends alone.

use super::remote::Remote;
use slab::Slab;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

pub(super) type Work = Pin<Box<dyn Future<Output = ()>>>;

/// The tasks.
pub(super) struct Tasks {
    slots: RefCell<Slab<Slot>>,
    /// Those to be polled; filled by wakers that are used on this thread.
    ready: RefCell<VecDeque<usize>>,
    remote: Arc<Remote>,
}

struct Slot {
    /// `None` while it is being polled.
    work: Option<Work>,
    waker: Waker,
    state: Arc<Ringer>,
}

/// What a waker holds.
struct Ringer {
    key: usize,
    /// It stands in a list already.
    scheduled: AtomicBool,
    remote: Arc<Remote>,
}

impl Wake for Ringer {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.scheduled.swap(true, Ordering::AcqRel) && !super::wake_here(&self.remote, self.key) {
            self.remote.wake(self.key);
        }
    }
}

impl Tasks {
    pub(super) fn new(remote: Arc<Remote>) -> Tasks {
        Tasks { slots: RefCell::default(), ready: RefCell::default(), remote }
    }

    /// Adds a task; it is polled in the next round.
    pub(super) fn spawn(&self, work: Work) {
        let mut slots = self.slots.borrow_mut();
        let place = slots.vacant_entry();
        let key = place.key();
        let state =
            Arc::new(Ringer { key, scheduled: AtomicBool::new(true), remote: Arc::clone(&self.remote) });
        place.insert(Slot { work: Some(work), waker: Waker::from(Arc::clone(&state)), state });
        self.ready.borrow_mut().push_back(key);
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    pub(super) fn push(&self, key: usize) {
        self.ready.borrow_mut().push_back(key);
    }

    /// Wakes all.
    pub(super) fn wake_all(&self) {
        let wakers: Vec<Waker> = self.slots.borrow().iter().map(|(_, slot)| slot.waker.clone()).collect();
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// Polls what is ready now; what becomes ready meanwhile waits for the next round, so that the sockets
    /// get their turn.
    pub(super) fn run(&self) {
        let count = self.ready.borrow().len();
        for _ in 0..count {
            let Some(key) = self.ready.borrow_mut().pop_front() else { return };
            self.poll(key);
        }
    }

    fn poll(&self, key: usize) {
        let taken = {
            let mut slots = self.slots.borrow_mut();
            slots.get_mut(key).and_then(|slot| {
                // From here on a wake counts anew.
                slot.state.scheduled.store(false, Ordering::Release);
                Some((slot.work.take()?, slot.waker.clone()))
            })
        };
        let Some((mut work, waker)) = taken else { return };
        let mut context = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut context)));
        if !matches!(polled, Ok(Poll::Pending)) {
            // Dropped before its place is free: what it holds may use the thread.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
            self.slots.borrow_mut().try_remove(key);
        } else if let Some(slot) = self.slots.borrow_mut().get_mut(key) {
            slot.work = Some(work);
        }
    }

    /// Drops all that is left.
    pub(super) fn clear(&self) {
        let slots = std::mem::take(&mut *self.slots.borrow_mut());
        drop(slots);
        self.ready.borrow_mut().clear();
    }
}

/// Polls a future a single time; `None` when it is not ready.
pub(crate) async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}
