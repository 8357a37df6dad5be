//! How other threads reach a thread of sessions: tasks to be polled, connections to be served, the end.
//!
//! A thread that sleeps is woken by its eventfd, once however many call. The order that makes this right:
//! a caller puts its word down and then looks whether the thread sleeps; the thread says that it will sleep
//! and then looks for words.

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// A job for the thread itself.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// What was left for the thread.
#[derive(Default)]
pub(super) struct Words {
    pub(super) woken: Vec<usize>,
    pub(super) jobs: Vec<Job>,
    pub(super) stop: bool,
}

pub(crate) struct Remote {
    words: Mutex<Words>,
    sleeping: AtomicBool,
    bell: OwnedFd,
}

impl Remote {
    pub(super) fn new() -> std::io::Result<Remote> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Remote { words: Mutex::default(), sleeping: AtomicBool::new(false), bell })
    }

    /// Has a task polled.
    pub(super) fn wake(&self, key: usize) {
        self.words.lock().woken.push(key);
        self.ring();
    }

    /// Runs a job on the thread.
    pub(super) fn run(&self, job: Job) {
        self.words.lock().jobs.push(job);
        self.ring();
    }

    /// Ends the thread's loop.
    pub(super) fn stop(&self) {
        self.words.lock().stop = true;
        self.ring();
    }

    fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            // Never read, so it counts all calls; that it is full after 2^64 of them is no concern.
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// Takes all words.
    pub(super) fn take(&self) -> Words {
        std::mem::take(&mut *self.words.lock())
    }

    /// Says that the thread is going to sleep; false when there is something for it to do.
    pub(super) fn may_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let words = self.words.lock();
        let idle = words.woken.is_empty() && words.jobs.is_empty() && !words.stop;
        drop(words);
        if !idle {
            self.sleeping.store(false, Ordering::SeqCst);
        }
        idle
    }

    /// The thread is awake.
    pub(super) fn awake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    /// What becomes readable, or does so again, whenever the thread is called.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
