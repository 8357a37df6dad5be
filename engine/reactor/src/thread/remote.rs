//! How other threads reach a thread of sessions: tasks to be polled, connections to be served, the end.
//!
//! A thread that sleeps is woken by its bell, once however many call. What makes this right: whether it sleeps
//! stands beside the words, under their lock. It says so only where there is no word, and the next word ends it.

use super::bell::Bell;
#[cfg(feature = "loom")]
use loom::sync::{Mutex, MutexGuard};
use std::os::fd::BorrowedFd;
#[cfg(not(feature = "loom"))]
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A job for the thread itself.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// What was left for the thread.
#[derive(Default)]
pub(super) struct Words {
    pub(super) woken: Vec<usize>,
    pub(super) jobs: Vec<Job>,
    pub(super) stop: bool,
    sleeping: bool,
}

pub(crate) struct Remote {
    words: Mutex<Words>,
    bell: Bell,
}

impl Remote {
    pub(super) fn new() -> std::io::Result<Remote> {
        Ok(Remote { words: Mutex::new(Words::default()), bell: Bell::new()? })
    }

    /// Has a task polled.
    pub(super) fn wake(&self, key: usize) {
        self.say(|words| words.woken.push(key));
    }

    /// Runs a job on the thread.
    pub(super) fn run(&self, job: Job) {
        self.say(|words| words.jobs.push(job));
    }

    /// Ends the thread's loop.
    pub(super) fn stop(&self) {
        self.say(|words| words.stop = true);
    }

    fn say(&self, word: impl FnOnce(&mut Words)) {
        let mut words = self.words();
        word(&mut words);
        let sleeping = std::mem::take(&mut words.sleeping);
        drop(words);
        if sleeping {
            self.bell.ring();
        }
    }

    /// Takes all words; the thread is awake.
    pub(super) fn take(&self) -> Words {
        std::mem::take(&mut *self.words())
    }

    /// Says that the thread is going to sleep; false when there is something for it to do.
    pub(super) fn may_sleep(&self) -> bool {
        let mut words = self.words();
        words.sleeping = words.woken.is_empty() && words.jobs.is_empty() && !words.stop;
        words.sleeping
    }

    /// What becomes readable, or does so again, whenever the thread is called.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.fd()
    }

    #[cfg(not(feature = "loom"))]
    fn words(&self) -> MutexGuard<'_, Words> {
        // Each change of the words is whole, so a panic elsewhere leaves nothing half done.
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "loom")]
    fn words(&self) -> MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(|_| unreachable!("no model panics with it"))
    }
}

/// All ways in which callers and the thread can meet.
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
