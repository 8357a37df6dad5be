//! SMTP, message submission and LMTP as machines without I/O: codec, server session, client session.
//!
//! - [`codec`] frames first (lines, DATA, BDAT) and alone decides about bare CR or LF; then parses.
//! - [`server`] is a [`estafette_machine::Machine`]: it answers the peer and puts questions to the engine.
//! - [`client`] sends messages to another server, with one outcome per recipient.
//!
//! Nothing here opens a socket, reads a clock or knows what a mailbox is.
#![forbid(unsafe_code)]

pub mod client;
pub mod codec;
mod error;
mod reply;
mod secret;
pub mod server;

pub use error::Error;
pub use reply::{REPLY_LINES_MAX, REPLY_TEXT_MAX, Reply, ReplyClass};
pub use secret::Secret;
