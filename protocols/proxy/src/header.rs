//! From bytes to the addresses of a connection.

use crate::Error;
use crate::field::check_fields;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is taken, in bytes. The addresses need 52; fields are few and short.
pub const HEADER_MAX_BYTES: usize = 4096;
/// What every header begins with; chosen so that no other protocol's client sends it.
pub(crate) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
pub(crate) const FIXED_BYTES: usize = 16;
pub(crate) const VERSION: u8 = 2;
pub(crate) const LOCAL: u8 = 0;
pub(crate) const PROXY: u8 = 1;
pub(crate) const UNSPEC: u8 = 0x00;
pub(crate) const TCP_OVER_IPV4: u8 = 0x11;
pub(crate) const TCP_OVER_IPV6: u8 = 0x21;
pub(crate) const UNIX_STREAM: u8 = 0x31;
/// Two paths.
const UNIX_BYTES: usize = 216;

/// The ends of the connection that the balancer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header.
    Partial {
        /// So many bytes, counted from the first, are part of it for certain: who reads no more than these
        /// reads nothing of what follows.
        wanted_bytes: usize,
    },
    /// A whole header; what follows is the client's.
    Header {
        /// How many bytes it has.
        bytes: usize,
        /// `None`: take those of the connection itself. The balancer speaks for itself (LOCAL, as in its
        /// checks of health), or what it forwards has no IP addresses.
        addresses: Option<Addresses>,
    },
}

/// Looks at the first bytes of a connection.
///
/// # Errors
/// They are no header, or one that cannot be used; more bytes do not change that.
pub fn parse(input: &[u8]) -> Result<Parsed, Error> {
    if input.iter().zip(SIGNATURE).any(|(byte, expected)| *byte != expected) {
        return Err(Error::Signature);
    }
    let command = input.get(12).map(|byte| command(*byte)).transpose()?;
    let transport = input.get(13).map(|byte| transport(command, *byte)).transpose()?;
    let (Some(transport), Some((fixed, _))) = (transport, input.split_first_chunk::<FIXED_BYTES>()) else {
        return Ok(Parsed::Partial { wanted_bytes: FIXED_BYTES });
    };
    let [.., high, low] = *fixed;
    let bytes = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if bytes > HEADER_MAX_BYTES {
        return Err(Error::TooLong(bytes));
    }
    let Some(header) = input.get(..bytes) else { return Ok(Parsed::Partial { wanted_bytes: bytes }) };
    let addresses = match transport {
        Transport::None => None,
        Transport::Ipv4 => Some(ipv4(header)?),
        Transport::Ipv6 => Some(ipv6(header)?),
        Transport::Unix => {
            check_fields(header, FIXED_BYTES + UNIX_BYTES)?;
            None
        }
    };
    Ok(Parsed::Header { bytes, addresses })
}

/// What the addresses are.
#[derive(Clone, Copy)]
enum Transport {
    /// Nothing of the rest is looked at.
    None,
    Ipv4,
    Ipv6,
    Unix,
}

/// Version and command.
fn command(byte: u8) -> Result<u8, Error> {
    match (byte >> 4, byte & 0x0f) {
        (VERSION, command @ (LOCAL | PROXY)) => Ok(command),
        (VERSION, command) => Err(Error::Command(command)),
        (version, _) => Err(Error::Version(version)),
    }
}

fn transport(command: Option<u8>, byte: u8) -> Result<Transport, Error> {
    match byte {
        // Whatever stands there.
        _ if command == Some(LOCAL) => Ok(Transport::None),
        UNSPEC => Ok(Transport::None),
        TCP_OVER_IPV4 => Ok(Transport::Ipv4),
        TCP_OVER_IPV6 => Ok(Transport::Ipv6),
        UNIX_STREAM => Ok(Transport::Unix),
        other => Err(Error::Transport(other)),
    }
}

/// Takes an array off the front.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(Error::TooShort)?;
    *rest = after;
    Ok(*taken)
}

fn ipv4(header: &[u8]) -> Result<Addresses, Error> {
    let mut rest = header.get(FIXED_BYTES..).unwrap_or_default();
    let source = Ipv4Addr::from(take::<4>(&mut rest)?);
    let destination = Ipv4Addr::from(take::<4>(&mut rest)?);
    ends(header, rest, source, destination)
}

fn ipv6(header: &[u8]) -> Result<Addresses, Error> {
    let mut rest = header.get(FIXED_BYTES..).unwrap_or_default();
    let source = Ipv6Addr::from(take::<16>(&mut rest)?);
    let destination = Ipv6Addr::from(take::<16>(&mut rest)?);
    ends(header, rest, source, destination)
}

/// The ports, and the fields behind them.
fn ends<A: Into<std::net::IpAddr>>(
    header: &[u8],
    mut rest: &[u8],
    source: A,
    destination: A,
) -> Result<Addresses, Error> {
    let source_port = u16::from_be_bytes(take(&mut rest)?);
    let destination_port = u16::from_be_bytes(take(&mut rest)?);
    check_fields(header, header.len() - rest.len())?;
    Ok(Addresses {
        source: SocketAddr::new(source.into(), source_port),
        destination: SocketAddr::new(destination.into(), destination_port),
    })
}
