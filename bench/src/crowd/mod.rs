//! What many clients at once do to Estafette: a soak in which sessions end in every state, crowds that watch,
//! and crowds that mean harm.
//!
//! Unlike the loads, these start the server themselves: they count what it holds.

mod counts;
mod good;
mod harm;
mod held;
mod memory;
mod node;
mod script;
mod soak;
mod source;
mod watch;
mod watcher;
mod wire;
mod worker;

pub(crate) use harm::Crowd;
pub(crate) use soak::Soak;
pub(crate) use watch::Watch;
pub(crate) use worker::Work;
