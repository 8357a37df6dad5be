//! POP3 as a server without I/O: RFC 1939, with CAPA (RFC 2449), STLS (RFC 2595), SASL (RFC 5034),
//! response codes (RFC 3206) and UTF8 (RFC 6856).
//!
//! Duty: the grammar, the states and the answers of a session; the engine is asked for everything
//! else. Any number of sessions may have one maildrop open: each works on a snapshot taken at its
//! login, DELE marks are its own, and QUIT deletes by UID, so that deleting twice does no harm and a
//! message that is gone meanwhile is answered with `-ERR`.
//! Must not: do I/O, hold a message in memory beyond the range that is being sent, lock anything.
//!
//! A message is sent to the bit when its lines end in CRLF; a bare LF in it is sent as CRLF and a
//! last line without an end gets one, as the protocol cannot carry them. An internationalized message
//! gets a header in ASCII for a client that has not said UTF8 (`surrogate.rs`). The sizes that LIST and
//! STAT tell are those of the stored bytes.
#![forbid(unsafe_code)]

mod ask;
mod command;
mod config;
mod maildrop;
mod session;
mod stuffing;
mod surrogate;

pub use ask::{Answer, Ask, Failure, Mechanism, Refusal, Secret, Snapshot};
pub use command::Error;
pub use config::Config;
pub use session::Session;
