//! The server's side: [`Session`] is a [`estafette_machine::Machine`]; [`Ask`] and [`Answer`] are its
//! talk with the engine.
//!
//! One file per group of verbs; `verb` holds the table. After an answer the driver has to call
//! `received` again while input is left, even when nothing new came: replies may wait for it.

mod ask;
mod auth;
mod config;
mod hello;
mod housekeeping;
mod mail;
mod message;
mod phase;
mod session;
mod verb;

#[cfg(test)]
mod tests;

pub use ask::{Answer, Ask, Delivery, Identity, Mechanism, Part, Peer};
pub use config::{AUTH_LINE_MAX, Kind, Limits, PART_BYTES, ServerConfig, Times, TlsMode};
pub use session::Session;
