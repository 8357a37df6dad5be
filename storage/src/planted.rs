//! Bugs that a harness has to find: `estafette-chaos sim --planted NAME`. Compiled with the feature `planted` alone, which no
//! release has.

use std::sync::OnceLock;

/// The variable that names the bug.
const VARIABLE: &str = "ESTAFETTE_PLANTED";

/// All that there are.
pub const NAMES: [&str; 14] = [
    "answer-before-write",
    "applied-not-noted",
    "body-not-sent",
    "delivery-forgotten",
    "fresh-does-not-ask",
    "holds-stay-after-truncation",
    "local-clock",
    "local-uids",
    "modseq-stands",
    "recent-outlives-snapshot",
    "reference-stays",
    "snapshot-without-queue",
    "sync-left-out",
    "vote-not-stored",
];

/// Whether this bug is planted.
#[must_use]
pub fn is(name: &str) -> bool {
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();
    PLANTED.get_or_init(|| std::env::var(VARIABLE).ok()).as_deref() == Some(name)
}
