//! The front end: listeners, TLS, timers and limits, and the drivers that run protocol sessions.
//!
//! A session is a [`estafette_machine::Machine`]; a [`Service`] answers its questions; a
//! [`Protocol`] makes both for each connection. None of them knows the driver, so a further driver
//! is one more module beside [`driver`]. Nothing here knows a protocol or mail.
//!
//! The only crate with unsafe code: in `thread/uring` and `thread/epoll`, what the kernel reads or writes by address.
#![deny(clippy::undocumented_unsafe_blocks)]

mod adopter;
mod balancer;
mod driver;
mod error;
mod gate;
mod io;
mod listener;
mod meters;
mod protocol;
mod relay;
mod stream;
mod thread;
pub mod tls;

pub use adopter::Adopter;
pub use error::Error;
pub use gate::{Gate, GateLimits, Pass};
pub use io::{Choice, Io, Wanted};
pub use listener::{Listener, bind, serve};
pub use protocol::{Duplex, Elsewhere, Limits, Parted, Parting, Peer, Protocol, Refusal, Service, SessionId};
pub use thread::Threads;
