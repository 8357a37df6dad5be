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

mod address;
mod body;
mod codec;
mod content;
mod cursor;
mod envelope;
mod fields;
mod gather;
mod part;
mod scan;
mod text;
mod words;

pub use body::{Decoded, decode_body, decode_text};
pub use codec::DecodeError;
pub use envelope::{Envelope, EnvelopeAddress};
pub use fields::{Field, Fields, Select, field_values, fields, select_fields, unfolded};
pub use part::{Disposition, HeaderBlock, Kind, PRINTED_MAX_BYTES, Parameter, Part, PartRef, Structure};
pub use scan::Scanner;
pub use words::decode_words;

/// Parts that a structure has at most; what comes after belongs to the last of them.
pub const PARTS_MAX: usize = 10_000;
/// How deep parts stand in one another at most; what would be deeper is shown as one part of type
/// `application/octet-stream`.
pub const NESTING_MAX: usize = 100;
/// How much of a boundary is compared (RFC 2046 §5.1.1 allows 70 characters).
pub const BOUNDARY_MAX_BYTES: usize = 80;
/// How much of one header field is read.
pub const FIELD_MAX_BYTES: usize = 256 * 1024;
/// Parameters of a field that are kept.
pub const PARAMETERS_MAX: usize = 1000;
/// Addresses of a field that are kept.
pub const ADDRESSES_MAX: usize = 10_000;
/// Bytes of field values that a structure keeps in all; fields past it are passed over.
pub const VALUES_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Up to this size, the header block of the message is kept with its structure.
pub const HEADER_KEPT_MAX_BYTES: usize = 64 * 1024;
