//! Files and connections that the system lets the program have open, and who may have how many.
//!
//! Invariant: sessions never take what the store needs. A store that cannot open its next file takes
//! no more mail until a restart, so whoever opens many connections must not bring it there.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files of the store that are open at most, when there is room for them.
const STORE_FILES_MAX: u64 = 1024;
/// Files of the store beside those that it counts, the API, the relay, logs, the runtime.
const OTHERS: u64 = 768;
/// What is assumed when there is no limit.
const UNLIMITED: u64 = 1 << 20;

/// A division of the descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// For sessions.
    pub(crate) sessions: usize,
    /// For tables of the store.
    pub(crate) store_files: i32,
}

impl Descriptors {
    /// Raises the limit to what the system allows, and divides it.
    pub(crate) fn of_system() -> Descriptors {
        let limit = getrlimit(Resource::Nofile);
        let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
        let current = if raised.is_ok() { limit.maximum } else { limit.current };
        Descriptors::divide(current.unwrap_or(UNLIMITED))
    }

    /// Half of what there is stays with the store where it is little.
    fn divide(limit: u64) -> Descriptors {
        let kept = (STORE_FILES_MAX + OTHERS).min(limit / 2);
        let store_files = kept.saturating_sub(OTHERS).max(kept / 4);
        Descriptors {
            sessions: usize::try_from(limit - kept).unwrap_or(usize::MAX),
            store_files: i32::try_from(store_files).unwrap_or(i32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_keeps_its_share() {
        let divided = |limit| {
            let Descriptors { sessions, store_files } = Descriptors::divide(limit);
            (sessions, store_files)
        };
        assert_eq!(divided(524_288), (522_496, 1024));
        assert_eq!(divided(4096), (2304, 1024));
        assert_eq!(divided(1024), (512, 128));
        assert_eq!(divided(256), (128, 32));
        assert_eq!(divided(0), (0, 0));
    }
}
