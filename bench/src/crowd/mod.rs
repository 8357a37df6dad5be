//! What many clients at once do to Estafette: a soak in which sessions end in every state, crowds that watch,
//! and crowds that mean harm.
//!
//! Unlike the loads, these start the server themselves: they count what it holds.

mod counts;
mod memory;
mod node;
mod script;
mod soak;
mod source;
mod wire;

pub(crate) use soak::Soak;
