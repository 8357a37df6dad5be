//! Settings and limits of the groups of a node.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of a [`crate::Node`]. Every one has a default but the folder for snapshots.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder for snapshot files; made when it is first needed.
    pub snapshots: PathBuf,
    /// Most commands that are joined into one log entry.
    pub max_entry_commands: usize,
    /// Most bytes, bodies included, that are joined into one log entry; a larger proposal goes alone.
    pub max_entry_bytes: usize,
    /// Most bytes of one command, without bodies.
    pub max_command_bytes: usize,
    /// Entries of one group that may be under way at once, from the append until they are committed.
    pub entries_in_flight: usize,
    /// Entries of one group that may be under way at once, from the append until their callers are answered.
    pub entries_unanswered: usize,
    /// Milliseconds that a small entry waits at most for callers who are about to be answered to come again; 0: none.
    /// At most [`COMPANY_WAIT_MS_MAX`], and none while several entries may be on their way to the commit.
    pub company_wait_ms: u64,
    /// Milliseconds that word of a commit alone waits at most for entries that take it along to a peer; 0: none. It does
    /// not wait where a peer has a reader for what was committed.
    pub commit_wait_ms: u64,
    /// Proposals of one group that may wait to be joined; further callers wait for room.
    pub queue: usize,
    /// The log is compacted after this many entries.
    pub compact_entries: u64,
    /// The log is compacted after this many bytes of entries, bodies not counted.
    pub compact_bytes: u64,
    /// Entries that stay in the log after it was compacted, for replicas that lag a little.
    pub keep_entries: u64,
    /// Bytes of rows that stay in memory for each group, of those that applying entries reads again and again; 0: none.
    pub recent_bytes: usize,
    /// Milliseconds between heartbeats of a group with several voters. A sole voter sends none and has no timer.
    pub heartbeat_ms: u64,
    /// Milliseconds that a proposal waits for a leader who takes it.
    pub propose_wait_ms: u64,
    /// Milliseconds that a reader waits for what is committed elsewhere.
    pub fresh_wait_ms: u64,
    /// Go on although the log or the vote is behind what had been acknowledged. For an operator who has no copy.
    pub accept_loss: bool,
}

impl Settings {
    /// The defaults.
    #[must_use]
    pub fn new(snapshots: impl Into<PathBuf>) -> Self {
        Self {
            snapshots: snapshots.into(),
            max_entry_commands: 256,
            max_entry_bytes: 8 << 20,
            max_command_bytes: 16 << 20,
            entries_in_flight: 1,
            entries_unanswered: 8,
            company_wait_ms: 1,
            commit_wait_ms: 2,
            queue: 4096,
            compact_entries: 50_000,
            compact_bytes: 256 << 20,
            keep_entries: 1_000,
            recent_bytes: 1 << 20,
            heartbeat_ms: 500,
            propose_wait_ms: 8_000,
            fresh_wait_ms: 2_000,
            accept_loss: false,
        }
    }
}

/// The most that [`Settings::company_wait_ms`] may say: far below the patience of any client.
pub const COMPANY_WAIT_MS_MAX: u64 = 1_000;
/// The most that [`Settings::commit_wait_ms`] should say: well within what a reader waits for what is committed.
pub const COMMIT_WAIT_MS_MAX: u64 = 100;
/// Bytes of entries that are read from disk in one go while applying or sending.
pub(crate) const READ_BYTES: usize = 4 << 20;
/// Entries that are read from disk in one go while applying or sending.
pub(crate) const READ_ENTRIES: u64 = 256;
/// Commands that are applied in one transaction.
pub(crate) const ROUND_COMMANDS: usize = 1024;
/// Bytes of commands that are applied in one transaction.
pub(crate) const ROUND_BYTES: usize = 16 << 20;
/// Bytes of written entries that stay in memory until they are applied.
pub(crate) const TAIL_BYTES: usize = 64 << 20;
/// Bytes of a proposal without bodies that is taken although the disk is nearly full: to remove mail, for one, with a
/// list of messages that may be long.
pub(crate) const SMALL_BYTES: usize = 1 << 20;
/// Between two looks for room while the disk is full.
pub(crate) const ROOM_PAUSE: Duration = Duration::from_millis(50);
