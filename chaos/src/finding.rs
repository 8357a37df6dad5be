//! What a node did wrong.

use crate::oracle::Violation;
use serde::Serialize;

/// One breach of the rules, of the mail's or of the node's behaviour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub(crate) enum Finding {
    #[error("{0}")]
    Mail(Violation),
    #[error("the node did not start again {after}: {log}")]
    NoStart { after: &'static str, log: String },
    #[error("the node was not ready after {seconds} s {after}: {log}")]
    SlowStart { after: &'static str, seconds: u64, log: String },
    #[error("the node ended by itself ({status}): {log}")]
    Ended { status: String, log: String },
    #[error("the node ended with {status} when it was told to stop: {log}")]
    BadEnd { status: String, log: String },
    #[error("the node did not end within {seconds} s of SIGTERM")]
    SlowEnd { seconds: u64 },
    #[error("a damaged folder ({what}) was refused without saying what is lost: {log}")]
    UnclearRefusal { what: String, log: String },
    #[error("a damaged folder ({what}) was refused once and taken at the second start")]
    RefusedOnce { what: String },
    #[error("deliveries or removals were acknowledged after syncs had begun to fail: {count}")]
    AcknowledgedUnsynced { count: u64 },
    #[error("the log says nothing of {of}: {log}")]
    SilentLog { of: &'static str, log: String },
    #[error("{page} says nothing of {of}: {text}")]
    SilentPage { page: &'static str, of: &'static str, text: String },
    #[error(
        "with the disk full, {count} messages were acknowledged at the end and {refused} refused with 452"
    )]
    FullDiskTaken { count: u64, refused: u64 },
    #[error("with the disk full, no message could be removed: {log}")]
    FullDiskNoRemoval { log: String },
    #[error("no message was taken {after}; the last answers: {answers}")]
    NoService { after: &'static str, answers: String },
    #[error("{command}: {output}")]
    Command { command: String, output: String },
    #[error("the nodes did not come together within {seconds} s of healing; the last status: {status}")]
    NotSettled { seconds: u64, status: String },
    #[error("node {node} joined, and votes in no group of a shard; the last status: {status}")]
    NoShare { node: usize, status: String },
    #[error("the node with the identifier {id} was told to leave, and has not; the last status: {status}")]
    NotLeft { id: u64, status: String },
    #[error("replicas of a group are not equal: {said}")]
    Unequal { said: String },
    #[error("nothing was taken and found for account {account} within {seconds} s of healing")]
    NoServiceAgain { account: usize, seconds: u64 },
    #[error("node {node}: {found}")]
    OfNode { node: usize, found: Box<Finding> },
    #[error("`check` finds faults in a folder that should be whole: {output}")]
    CheckFaults { output: String },
    #[error(
        "`check` finds nothing in a damaged folder ({what}) of which {unreadable} messages or mailboxes cannot be read"
    )]
    CheckBlind { what: String, unreadable: u64 },
}

impl Finding {
    /// True if mail was lost, doubled or damaged.
    pub(crate) fn is_mail(&self) -> bool {
        match self {
            Finding::Mail(_) => true,
            Finding::OfNode { found, .. } => found.is_mail(),
            _ => false,
        }
    }
}
