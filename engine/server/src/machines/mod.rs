//! What the Raft groups drive: the directory, the traffic counters, the mailboxes and the queue.
//!
//! Thin: each turns the log's bytes into a command of a pure state machine and its outcome into rows.

mod control;
mod traffic;

pub(crate) use control::ControlMachine;
pub(crate) use traffic::{FailureView, Failures, TrafficCommand, TrafficMachine, network};
