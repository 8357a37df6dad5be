//! What the fuzz targets share: chance taken from the input, memory watched, sessions driven.
//!
//! A target must be deterministic: everything it does follows from the bytes that it is given.

pub mod dice;
pub mod driver;
pub mod memory;
pub mod wire;

pub use dice::{Dice, head};
pub use driver::{Driver, End, Engine, Pace, play, play_wildly};
pub use memory::bounded;
