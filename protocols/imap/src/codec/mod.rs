//! What stands on the wire: commands in, responses out. Knows no state of a session.
//!
//! - [`framer`] cuts the stream into commands: lines and literals. It alone decides about CR and LF.
//! - [`parse`] makes a [`command::Command`] of a frame.
//! - [`response`] and [`encode`] print what the server says.

pub(crate) mod chars;
pub mod command;
pub mod date;
pub mod fetch;
pub mod flag;
pub mod mailbox;
pub mod rope;
pub mod search;
pub mod sequence;
