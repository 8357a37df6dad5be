//! What ends the sleep of a thread: an eventfd, or a model of one.

#[cfg(not(feature = "loom"))]
pub(super) use real::Bell;

#[cfg(feature = "loom")]
pub(super) use model::Bell;

#[cfg(not(feature = "loom"))]
mod real {
    use rustix::event::{EventfdFlags, eventfd};
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    /// An eventfd that is never read: every ring is news to who watches it.
    pub(crate) struct Bell(OwnedFd);

    impl Bell {
        pub(crate) fn new() -> std::io::Result<Bell> {
            Ok(Bell(eventfd(0, EventfdFlags::CLOEXEC)?))
        }

        /// It counts all calls; that it is full after 2^64 of them is no concern.
        pub(crate) fn ring(&self) {
            let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        }

        pub(crate) fn fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
}

#[cfg(feature = "loom")]
mod model {
    use loom::sync::Notify;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    /// Remembers that it was rung, as an eventfd does.
    pub(crate) struct Bell {
        rung: Notify,
        fd: OwnedFd,
    }

    impl Bell {
        pub(crate) fn new() -> std::io::Result<Bell> {
            let fd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
            Ok(Bell { rung: Notify::new(), fd })
        }

        pub(crate) fn ring(&self) {
            self.rung.notify();
        }

        pub(crate) fn wait(&self) {
            self.rung.wait();
        }

        pub(crate) fn fd(&self) -> BorrowedFd<'_> {
            self.fd.as_fd()
        }
    }
}
