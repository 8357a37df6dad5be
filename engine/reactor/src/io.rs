//! Which way bytes move: by io_uring where the kernel lets us, by epoll elsewhere.

use crate::Error;
use crate::thread::{Threads, probe};

/// A way to move bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// `io_uring`: Linux 6.13 or newer, unless it is forbidden.
    Uring,
    /// epoll: everywhere.
    Epoll,
}

impl Io {
    /// The word for it in settings and the ready file.
    pub fn name(self) -> &'static str {
        match self {
            Io::Uring => "uring",
            Io::Epoll => "epoll",
        }
    }
}

/// Which way is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// io_uring if it works here.
    #[default]
    Auto,
    /// This one or none.
    Only(Io),
}

/// A way that works here, and why it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The way.
    pub io: Io,
    /// A sentence for the log.
    pub reason: String,
}

impl Wanted {
    /// Tries what is wanted, by making a ring as the threads will, with places for so many connections.
    ///
    /// # Errors
    /// [`Error::Io`] when io_uring is wanted alone and does not work here.
    pub fn choose(self, connections: u32) -> Result<Choice, Error> {
        let choice = |io, reason: String| Ok(Choice { io, reason });
        match self {
            Wanted::Only(Io::Epoll) => choice(Io::Epoll, "the settings ask for epoll".to_owned()),
            Wanted::Only(Io::Uring) => match probe(connections) {
                Ok(()) => choice(Io::Uring, "the settings ask for io_uring".to_owned()),
                Err(why) => Err(Error::Io(explain(&why))),
            },
            Wanted::Auto => match probe(connections) {
                Ok(()) => choice(Io::Uring, "io_uring works here".to_owned()),
                Err(why) => choice(Io::Epoll, explain(&why)),
            },
        }
    }

    /// Starts so many threads in the way that is wanted, each with the places for connections that this way has. Where it is
    /// left open, they work by epoll unless all of them get a ring: the limit of locked memory counts those of other
    /// programs too, so one that was tried says little about the next. Blocks, for some seconds where that limit is reached.
    ///
    /// # Errors
    /// [`Error::Io`] as in [`Wanted::choose`], and when the kernel gives no ring or no epoll; [`Error::Thread`].
    pub fn start(
        self,
        count: usize,
        connections: impl Fn(Io) -> u32,
        runtime: &tokio::runtime::Handle,
    ) -> Result<(Threads, Choice), Error> {
        let choice = self.choose(connections(Io::Uring))?;
        match Threads::start(count, choice.io, connections(choice.io), runtime) {
            Err(Error::Io(reason)) if self == Wanted::Auto && choice.io == Io::Uring => {
                let threads = Threads::start(count, Io::Epoll, connections(Io::Epoll), runtime)?;
                Ok((
                    threads,
                    Choice { io: Io::Epoll, reason: format!("not every thread gets a ring: {reason}") },
                ))
            }
            started => Ok((started?, choice)),
        }
    }
}

/// Why there is no io_uring, for people.
pub(crate) fn explain(why: &std::io::Error) -> String {
    let told = match why.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "it is forbidden here (by seccomp, as in many containers, or by kernel.io_uring_disabled)"
        }
        std::io::ErrorKind::OutOfMemory => "the limit of locked memory is too low for it",
        std::io::ErrorKind::Unsupported => "the kernel has none, or lacks a part of it",
        std::io::ErrorKind::InvalidInput => "the kernel is older than Linux 6.13",
        _ => "it does not work here",
    };
    format!("no io_uring: {told} ({why})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoll_is_always_to_be_had_and_every_choice_has_its_reason() {
        let epoll = Wanted::Only(Io::Epoll).choose(1).unwrap();
        assert_eq!((epoll.io, epoll.io.name()), (Io::Epoll, "epoll"));
        let auto = Wanted::Auto.choose(1).unwrap();
        assert!(!auto.reason.is_empty());
        assert_eq!(auto.io == Io::Uring, Wanted::Only(Io::Uring).choose(1).is_ok());
    }

    #[test]
    fn what_forbids_it_is_told() {
        let forbidden = explain(&std::io::Error::from_raw_os_error(libc::EPERM));
        assert!(forbidden.contains("seccomp"), "{forbidden}");
        let missing = explain(&std::io::Error::from_raw_os_error(libc::ENOSYS));
        assert!(missing.contains("has none"), "{missing}");
    }
}
