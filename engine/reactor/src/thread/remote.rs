//! How other threads reach a thread of sessions: tasks to be polled, connections to be served, the end.
//!
//! A thread that sleeps is woken by its eventfd, once however many call. The order that makes this right:
//! a caller puts its word down and then looks whether the thread sleeps; the thread says that it will sleep
//! and then looks for words.

use super::bell::Bell;
#[cfg(feature = "loom")]
use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering, fence},
};
use std::os::fd::BorrowedFd;
#[cfg(not(feature = "loom"))]
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering, fence},
};

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
    bell: Bell,
}

impl Remote {
    pub(super) fn new() -> std::io::Result<Remote> {
        let words = Mutex::new(Words::default());
        Ok(Remote { words, sleeping: AtomicBool::new(false), bell: Bell::new()? })
    }

    /// Has a task polled.
    pub(super) fn wake(&self, key: usize) {
        self.words().woken.push(key);
        self.ring();
    }

    /// Runs a job on the thread.
    pub(super) fn run(&self, job: Job) {
        self.words().jobs.push(job);
        self.ring();
    }

    /// Ends the thread's loop.
    pub(super) fn stop(&self) {
        self.words().stop = true;
        self.ring();
    }

    fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.bell.ring();
        }
    }

    fn words(&self) -> MutexGuard<'_, Words> {
        #[cfg(feature = "loom")]
        let words = self.words.lock().unwrap_or_else(|_| unreachable!("no model panics with it"));
        // Each change of the words is whole, so a panic elsewhere leaves nothing half done.
        #[cfg(not(feature = "loom"))]
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        words
    }

    /// Takes all words.
    pub(super) fn take(&self) -> Words {
        std::mem::take(&mut *self.words())
    }

    /// Says that the thread is going to sleep; false when there is something for it to do.
    pub(super) fn may_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let words = self.words();
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
        self.bell.fd()
    }
}

/// All ways in which two callers and the thread can meet.
#[cfg(all(test, feature = "loom"))]
mod tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// Sleeps until so many words have come; a word that is left lying is a deadlock, which loom tells.
    fn hear(remote: &Remote, count: usize) -> Vec<usize> {
        let mut heard = Vec::new();
        while heard.len() < count {
            heard.append(&mut remote.take().woken);
            if heard.len() < count && remote.may_sleep() {
                remote.bell.wait();
            }
            remote.awake();
        }
        heard
    }

    #[test]
    fn no_word_is_slept_over() {
        loom::model(|| {
            let remote = Arc::new(Remote::new().unwrap());
            let callers: Vec<_> = (1..=2)
                .map(|key| {
                    let remote = Arc::clone(&remote);
                    thread::spawn(move || remote.wake(key))
                })
                .collect();
            let mut heard = hear(&remote, 2);
            heard.sort_unstable();
            assert_eq!(heard, [1, 2]);
            callers.into_iter().for_each(|caller| caller.join().unwrap());
        });
    }

    #[test]
    fn a_caller_with_several_words_is_heard_to_the_last() {
        loom::model(|| {
            let remote = Arc::new(Remote::new().unwrap());
            let caller = {
                let remote = Arc::clone(&remote);
                thread::spawn(move || (1..=3).for_each(|key| remote.wake(key)))
            };
            assert_eq!(hear(&remote, 3), [1, 2, 3]);
            caller.join().unwrap();
        });
    }
}
