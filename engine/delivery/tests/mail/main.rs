//! Messages through a real node without protocols: accepted, delivered, queued, sent to a relay that
//! plays a part, returned to their senders.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)]

mod accepting;
mod faults;
mod node;
mod notices;
mod relay;
mod security;
mod sending;
