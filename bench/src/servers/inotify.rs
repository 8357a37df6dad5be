//! The kernel's limit of watchers: Dovecot watches the mailbox of each session in IDLE, and cannot put one to sleep
//! that it has no watcher for. Its operators raise the limit; Estafette needs none.

use std::path::Path;

const LIMIT: &str = "/proc/sys/fs/inotify/max_user_instances";
/// More than the idle sessions of any comparison.
const WANTED: u64 = 65_536;

/// The limit is raised for as long as this lives.
pub(crate) struct InotifyLimit {
    before: Option<String>,
}

impl InotifyLimit {
    /// Raises it, when it is lower and may be raised.
    pub(crate) fn raise() -> InotifyLimit {
        let path = Path::new(LIMIT);
        let before = std::fs::read_to_string(path).ok();
        let before = before.filter(|text| text.trim().parse::<u64>().is_ok_and(|limit| limit < WANTED));
        let raised = before.is_some() && std::fs::write(path, WANTED.to_string()).is_ok();
        InotifyLimit { before: before.filter(|_| raised) }
    }
}

impl Drop for InotifyLimit {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = std::fs::write(LIMIT, before);
        }
    }
}
