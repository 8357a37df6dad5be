//! IMAP: IMAP4rev2 (RFC 9051) and IMAP4rev1 (RFC 3501), seen from the server.
//!
//! [`codec`] knows what stands on the wire and nothing of a session; [`session`] is the machine that
//! answers commands. No sockets, no clock, no threads.
#![forbid(unsafe_code)]

pub mod codec;
pub mod session;
