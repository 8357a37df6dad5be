//! The structure of a message, as IMAP needs it: where each part lies, what it is, its envelope.
//!
//! Duty: one pure scan over the bytes of a message (in chunks, never copied together) that is linear
//! in their number whatever they hold; the envelope; header fields; decoded text for searching; a
//! versioned encoding of all this for a cache. Total: every sequence of bytes has a structure.
//! Must not: do I/O, recurse without a bound, change a byte of the message, decide what is shown.
//!
//! The rules of thumb where the RFCs are silent (broken boundaries, missing types, odd addresses)
//! follow what Dovecot shows its clients, so that a mailbox looks the same after a move.
#![forbid(unsafe_code)]

mod envelope;
mod part;

pub use envelope::{Envelope, EnvelopeAddress};
pub use part::{Disposition, HeaderBlock, Kind, Parameter, Part, PartRef, Structure};
