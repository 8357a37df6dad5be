//! What the Raft groups drive: the directory, the traffic counters, the mailboxes and the queue.
//!
//! Thin: each turns the log's bytes into a command of a pure state machine and its outcome into rows.

mod control;
mod shard;
mod traffic;

pub(crate) use control::ControlMachine;
pub(crate) use shard::{Part, ShardMachine};
pub(crate) use traffic::{Failures, FailureView, TrafficCommand, TrafficMachine};
