//! What stands on the wire: commands in, responses out. Knows no state of a session.
//!
//! - [`framer`] cuts the stream into commands: lines and literals. It alone decides about CR and LF.
//! - [`parse`] makes a [`command::Command`] of a frame.
//! - [`response`] has what the server says, as values; [`encode`] prints it.
//! - [`boundary`] finds the places between responses that somebody else has printed.

pub mod boundary;
pub(crate) mod chars;
pub mod command;
pub mod date;
pub mod encode;
pub mod fault;
pub mod fetch;
pub mod fetch_encode;
pub mod flag;
pub mod framer;
pub mod mailbox;
pub mod parse;
pub mod pattern;
pub mod response;
pub mod rope;
pub mod search;
pub mod sequence;
mod structure;
pub mod utf7;

/// How names and strings are written in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Plain IMAP4rev1: names in modified UTF-7, quoted strings in ASCII.
    #[default]
    Ascii,
    /// After `ENABLE IMAP4rev2` or `ENABLE UTF8=ACCEPT`: names and quoted strings in UTF-8.
    Utf8,
}
