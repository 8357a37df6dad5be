//! Messages through a real node without protocols: accepted, delivered, queued, sent to a relay that
//! plays a part, returned to their senders.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)]

mod accepting;
mod claims;
mod faults;
mod node;
mod notices;
mod relay;
mod repeated;
mod security;
mod sending;
