//! Files and connections that the system lets the program have open, and who may have how many.
//!
//! Invariant: sessions never take what the store needs. A store that cannot open its next file takes
//! no more mail until a restart, so whoever opens many connections must not bring it there.

use estafette_reactor::Io;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// By how much the places of the threads exceed the sessions: the kernel divides connections by chance, and every
/// listener waits for some.
const SLACK: usize = 256;

/// Files of the store that are open at most, when there is room for them.
const STORE_FILES_MAX: u64 = 1024;
/// Files of the store beside those that it counts, the API, the relay, logs, the runtime.
const OTHERS: u64 = 768;
/// Direct descriptors that the kernel gives one ring at most; fewer if fewer files may be open.
const DIRECT_MAX: u64 = 1 << 20;
/// Files of a session that is handed from one node to another, on both of them together: each may be either.
const STREAM_FILES: usize = 3;
/// Such sessions of each direction at most.
const STREAMS_MAX: usize = 50_000;
/// And at least, out of the files that nobody has counted.
const STREAMS_MIN: usize = 64;
/// What is assumed when there is no limit.
const UNLIMITED: u64 = 1 << 20;

/// A division of the descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// For sessions.
    pub(crate) sessions: usize,
    /// For tables of the store.
    pub(crate) store_files: i32,
    /// Direct descriptors of one ring, which are counted apart from files.
    direct: usize,
}

/// How many sessions there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// On all threads together.
    pub(crate) sessions: usize,
    /// Connections of one thread, where it has to be said beforehand.
    pub(crate) connections: u32,
    /// Sessions that are handed to other nodes, and as many that come from them.
    pub(crate) streams: usize,
}

impl Descriptors {
    /// Raises the limit to what the system allows, and divides it.
    pub(crate) fn of_system() -> Descriptors {
        let limit = getrlimit(Resource::Nofile);
        let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
        let current = if raised.is_ok() { limit.maximum } else { limit.current };
        Descriptors::divide(current.unwrap_or(UNLIMITED))
    }

    /// How many of the sessions that are wanted have places on so many threads. `joined`: there are other nodes.
    pub(crate) fn places(self, io: Io, threads: usize, wanted: usize, joined: bool) -> Places {
        let for_streams = if joined { self.sessions / 4 } else { 0 };
        let (sessions, connections) = match io {
            Io::Epoll => (wanted.min(self.sessions - for_streams), 0),
            Io::Uring => {
                let share = wanted.div_ceil(threads);
                let each = self.direct.min(share.saturating_add(share / 4).saturating_add(SLACK));
                // A tenth is kept for chance: a full thread lets connections wait.
                (wanted.min((each - each / 10).saturating_mul(threads)), each)
            }
        };
        let left = match io {
            Io::Epoll => self.sessions - sessions,
            Io::Uring => self.sessions,
        };
        // A node that founds a cluster while it runs has few.
        let streams = STREAMS_MAX.min(left / STREAM_FILES).max(STREAMS_MIN);
        Places { sessions, connections: u32::try_from(connections).unwrap_or(u32::MAX), streams }
    }

    /// Half of what there is stays with the store where it is little.
    fn divide(limit: u64) -> Descriptors {
        let kept = (STORE_FILES_MAX + OTHERS).min(limit / 2);
        let store_files = kept.saturating_sub(OTHERS).max(kept / 4);
        Descriptors {
            sessions: usize::try_from(limit - kept).unwrap_or(usize::MAX),
            store_files: i32::try_from(store_files).unwrap_or(i32::MAX),
            direct: usize::try_from(limit.min(DIRECT_MAX)).unwrap_or(usize::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_keeps_its_share() {
        let divided = |limit| {
            let Descriptors { sessions, store_files, .. } = Descriptors::divide(limit);
            (sessions, store_files)
        };
        assert_eq!(divided(524_288), (522_496, 1024));
        assert_eq!(divided(4096), (2304, 1024));
        assert_eq!(divided(1024), (512, 128));
        assert_eq!(divided(256), (128, 32));
        assert_eq!(divided(0), (0, 0));
    }

    #[test]
    fn direct_descriptors_get_round_the_limit_of_files() {
        let places = |io, limit, threads, wanted| {
            let places = Descriptors::divide(limit).places(io, threads, wanted, false);
            (places.sessions, places.connections)
        };
        assert_eq!(places(Io::Epoll, 20_000, 2, 100_000), (18_208, 0));
        assert_eq!(places(Io::Uring, 20_000, 2, 100_000), (36_000, 20_000));
        assert_eq!(places(Io::Uring, 20_000, 3, 50_000), (50_000, 20_000));
        assert_eq!(places(Io::Uring, 1 << 20, 2, 1_000), (1_000, 881));
    }

    #[test]
    fn sessions_of_a_cluster_leave_files_for_the_ways_between_nodes() {
        let places = |io, limit, joined| {
            let Places { sessions, streams, .. } = Descriptors::divide(limit).places(io, 2, 100_000, joined);
            (sessions, streams)
        };
        assert_eq!(places(Io::Epoll, 20_000, false), (18_208, STREAMS_MIN));
        assert_eq!(places(Io::Epoll, 20_000, true), (13_656, 1517));
        assert_eq!(places(Io::Uring, 20_000, true), (36_000, 6069));
        assert_eq!(places(Io::Epoll, 524_288, true), (100_000, STREAMS_MAX));
    }
}
