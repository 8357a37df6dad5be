//! Threads of sessions: each with its own sockets, tasks and timers; sessions never move.
//!
//! A thread runs what is ready, then sleeps until a socket, a timer or another thread has something for it.
//! What sessions wait for beyond their sockets (Raft, hashing, files) runs elsewhere and comes back through
//! wakers. Every thread is within the context of the tokio runtime that was given to it, so that what it
//! polls can spawn there.
//!
//! Must not: block, or hold a borrow of its parts while a task is polled.

mod bell;
#[allow(unsafe_code)]
mod epoll;
mod remote;
mod socket;
mod sockets;
mod tasks;
mod timers;
#[allow(unsafe_code)]
mod uring;

pub(crate) use socket::{Listening, Socket};
pub(crate) use sockets::BULK_BYTES;
pub(crate) use tasks::poll_once;

use crate::Error;
use crate::io::{Io, explain};
use parking_lot::Mutex;
use remote::Remote;
use sockets::Sockets;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tasks::Tasks;
use timers::Timers;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// All that belongs to one thread.
pub(crate) struct Core {
    tasks: Tasks,
    timers: RefCell<Timers>,
    sockets: RefCell<Sockets>,
    remote: Arc<Remote>,
    stopping: Cell<bool>,
}

/// Has a task of this very thread polled; false when it is another's.
fn wake_here(remote: &Arc<Remote>, key: usize) -> bool {
    let wake = |core: &Rc<Core>| {
        let here = Arc::ptr_eq(&core.remote, remote);
        if here {
            core.tasks.push(key);
        }
        here
    };
    CURRENT.try_with(|current| current.borrow().as_ref().is_some_and(wake)).unwrap_or(false)
}

/// How long a ring is waited for that others hold still, and the pause between two tries.
const RINGS_GO_WAIT: Duration = Duration::from_secs(1);
const RINGS_GO_PAUSE: Duration = Duration::from_millis(50);

/// Tries whether threads with so many connections each could work by io_uring here.
pub(crate) fn probe(connections: u32) -> std::io::Result<()> {
    uring::probe()?;
    open(Io::Uring, &Remote::new()?, connections).map(drop)
}

/// The sockets of a thread. The kernel counts the rings of a process that was killed for a moment longer, so that the next
/// one may find no room under the limit of locked memory: this waits that moment. Blocks.
fn open(io: Io, remote: &Remote, connections: u32) -> std::io::Result<Sockets> {
    let end = Instant::now() + RINGS_GO_WAIT;
    loop {
        match Sockets::open(io, remote.bell(), connections) {
            Err(error) if error.kind() == ErrorKind::OutOfMemory && Instant::now() < end => {
                std::thread::sleep(RINGS_GO_PAUSE);
            }
            opened => return opened,
        }
    }
}

/// The threads.
pub struct Threads {
    remotes: Vec<Arc<Remote>>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Starts so many threads that move bytes in this way, with places for so many connections each (of
    /// io_uring; epoll takes what the limit of open files leaves). What is polled on them may spawn on the runtime.
    ///
    /// # Errors
    /// [`Error::Io`] when the kernel gives no ring or no epoll, [`Error::Thread`].
    pub fn start(
        count: usize,
        io: Io,
        connections: u32,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Threads, Error> {
        let mut threads = Threads { remotes: Vec::new(), handles: Mutex::default() };
        for number in 0..count.max(1) {
            let remote = Arc::new(Remote::new().map_err(Error::Thread)?);
            let (runtime, own) = (runtime.clone(), Arc::clone(&remote));
            let (opened, outcome) = std::sync::mpsc::sync_channel(1);
            let run = move || {
                let _context = runtime.enter();
                match open(io, &own, connections) {
                    Ok(sockets) => {
                        let _ = opened.send(Ok(()));
                        let core = Core::new(Arc::clone(&own), sockets);
                        let ended = catch_unwind(AssertUnwindSafe(|| core.run()));
                        if !matches!(ended, Ok(Ok(()))) {
                            // What its sessions wait for never comes, and the kernel may hold its memory.
                            tracing::error!(?ended, "a thread of sessions failed; the program cannot go on");
                            std::process::abort();
                        }
                    }
                    Err(error) => _ = opened.send(Err(error)),
                }
            };
            let handle = std::thread::Builder::new()
                .name(format!("sessions-{number}"))
                .spawn(run)
                .map_err(Error::Thread)?;
            let opened = outcome.recv().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()));
            opened.map_err(|error| match io {
                Io::Uring => Error::Io(explain(&error)),
                Io::Epoll => Error::Io(format!("no epoll ({error})")),
            })?;
            threads.remotes.push(remote);
            threads.handles.lock().push(handle);
        }
        Ok(threads)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.remotes.len()
    }

    /// Makes a task on one of the threads.
    pub(crate) fn spawn<F: Future<Output = ()> + 'static>(
        &self,
        thread: usize,
        make: impl FnOnce() -> F + Send + 'static,
    ) {
        if let Some(remote) = self.remotes.get(thread % self.remotes.len().max(1)) {
            remote.run(Box::new(move || {
                let core = Core::current();
                core.spawn(make());
            }));
        }
    }

    /// Tells the sessions of all threads that the program stops.
    pub(crate) fn tell_stopping(&self) {
        for remote in &self.remotes {
            remote.run(Box::new(|| {
                let core = Core::current();
                core.stopping.set(true);
                core.tasks.wake_all();
            }));
        }
    }
}

impl Drop for Threads {
    /// Ends the threads; what still runs on them is dropped.
    fn drop(&mut self) {
        self.remotes.iter().for_each(|remote| remote.stop());
        for handle in self.handles.lock().drain(..) {
            let _ = handle.join();
        }
    }
}

impl Core {
    fn new(remote: Arc<Remote>, sockets: Sockets) -> Rc<Core> {
        let core = Rc::new(Core {
            tasks: Tasks::new(Arc::clone(&remote)),
            timers: RefCell::default(),
            sockets: RefCell::new(sockets),
            remote,
            stopping: Cell::new(false),
        });
        CURRENT.with(|current| *current.borrow_mut() = Some(Rc::clone(&core)));
        core
    }

    /// That of this thread. Panics elsewhere: only what runs on such a thread may call it.
    pub(crate) fn current() -> Rc<Core> {
        CURRENT
            .with(|current| current.borrow().clone())
            .unwrap_or_else(|| unreachable!("not a thread of sessions"))
    }

    /// Adds a task to this thread.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.tasks.spawn(Box::pin(work));
    }

    /// The program stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// What a future yields, or `None` when the program stops first.
    pub(crate) async fn unless_stopping<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        // Every task of the thread is polled when the program stops.
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Pending if self.is_stopping() => Poll::Ready(None),
            polled => polled.map(Some),
        })
        .await
    }

    fn run(&self) -> std::io::Result<()> {
        loop {
            let words = self.remote.take();
            if words.stop {
                break;
            }
            words.jobs.into_iter().for_each(|job| job());
            words.woken.into_iter().for_each(|key| self.tasks.push(key));
            self.tasks.run();
            let longest = self.longest_sleep();
            self.sockets.borrow_mut().wait(longest)?;
            self.timers.borrow_mut().expire(Instant::now());
        }
        self.tasks.clear();
        CURRENT.with(|current| *current.borrow_mut() = None);
        Ok(())
    }

    /// How long the sockets may be waited for.
    fn longest_sleep(&self) -> Option<Duration> {
        if self.tasks.is_ready() || !self.remote.may_sleep() {
            return Some(Duration::ZERO);
        }
        let next = self.timers.borrow().next();
        next.map(|time| time.saturating_duration_since(Instant::now()))
    }
}

/// A moment that can be waited for, and moved.
pub(crate) struct Timer {
    core: Rc<Core>,
    key: usize,
}

impl Timer {
    pub(crate) fn new() -> Timer {
        let core = Core::current();
        let key = core.timers.borrow_mut().add();
        Timer { core, key }
    }

    /// Sets it to a time from now, or ends it.
    pub(crate) fn set(&mut self, after: Option<Duration>) {
        let deadline = after.and_then(|after| Instant::now().checked_add(after));
        self.core.timers.borrow_mut().set(self.key, deadline);
    }

    /// Resolves when its time has come; never when it is not set.
    pub(crate) async fn come(&mut self) {
        poll_fn(|context| {
            let come = self.core.timers.borrow_mut().poll(self.key, Instant::now(), context.waker());
            if come { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.core.timers.borrow_mut().remove(self.key);
    }
}

/// What a future yields, or `None` when it took too long. A timer is made only when it has to wait.
pub(crate) async fn within<F: Future>(longest: Duration, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut timer: Option<Timer> = None;
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        let timer = timer.get_or_insert_with(|| {
            let mut timer = Timer::new();
            timer.set(Some(longest));
            timer
        });
        let come = timer.core.timers.borrow_mut().poll(timer.key, Instant::now(), context.waker());
        if come { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}
