//! The client's side: sends messages to an SMTP or LMTP server, one outcome per recipient.
//!
//! [`Client::step`] takes what happened and gives what is to be done; it does no I/O. For each
//! message given there is exactly one [`ClientAction::Finished`], whatever goes wrong.

mod config;
mod extensions;
mod outgoing;
mod sending;
mod session;

#[cfg(test)]
mod tests;

pub use config::{ClientConfig, ClientTimes, Login, TlsPolicy};
pub use extensions::Extensions;
pub use outgoing::{Looked, Looking, Outcome, Outgoing};
pub use session::{Client, ClientAction, Event, Failure, Stage};
