//! Nodes on loopback, as the program runs them, and those who should not be let in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod calls;
mod ends;
mod hostile;
mod joining;
mod refusals;
mod streams;
mod versions;
mod world;
