//! The PROXY protocol, version 2: what a balancer says of a connection before the client's first byte.
//!
//! A header is 12 bytes of signature, a byte with version and command, one with address family and
//! transport, the length of the rest (two bytes, as all numbers in network order), the addresses, then
//! type-length-value fields. [`parse`] looks at what has come so far, as often as one likes: it keeps
//! nothing, and what it once said of some bytes it says of all that begin with them.
//!
//! Only a connection over a stream is described here: datagrams are an error. Must not: decide who may send
//! a header. From anybody else, anything could be told with it.
#![forbid(unsafe_code)]

mod field;
mod header;
mod write;

#[cfg(test)]
mod tests;

pub use header::{Addresses, HEADER_MAX_BYTES, Parsed, parse};
pub use write::header;

/// Why bytes are no header that could be used; the connection must be closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// They are something else, or version 1.
    #[error("the connection does not begin with a PROXY protocol header of version 2")]
    Signature,
    /// The signature of version 2, then another version.
    #[error("version {0} of the PROXY protocol is not known")]
    Version(u8),
    /// Neither LOCAL nor PROXY.
    #[error("command {0} of the PROXY protocol is not known")]
    Command(u8),
    /// A family or transport that is not known, or datagrams.
    #[error("family and transport {0:#04x} do not describe a stream")]
    Transport(u8),
    /// Longer than [`HEADER_MAX_BYTES`].
    #[error("a PROXY protocol header of {0} bytes is too long")]
    TooLong(usize),
    /// The addresses do not fit into the length that it says.
    #[error("a PROXY protocol header is shorter than its addresses")]
    TooShort,
    /// A field does not fit into the length.
    #[error("a field of the PROXY protocol header runs past its end")]
    Field,
    /// The checksum is not that of the header, or there are two.
    #[error("the checksum of the PROXY protocol header is wrong")]
    Checksum,
}
