//! What the Raft groups drive: the traffic counters (directory and shards have theirs in their crates).
//!
//! Thin: each turns the log's bytes into a command of a pure state machine and its outcome into rows.

mod traffic;

pub(crate) use traffic::{FailureView, Failures, TrafficCommand, TrafficMachine, network};
