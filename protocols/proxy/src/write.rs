//! From addresses to bytes: for what connects as a balancer does, loads and tests above all.

use crate::field::{CRC32C, checksum};
use crate::header::{Addresses, LOCAL, PROXY, SIGNATURE, TCP_OVER_IPV4, TCP_OVER_IPV6, UNSPEC, VERSION};
use std::net::{IpAddr, Ipv6Addr};

/// A header with a checksum: PROXY, or LOCAL without addresses. When only one end is IPv4, both are written as IPv6.
pub fn header(addresses: Option<&Addresses>) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let (command, transport, described) = match addresses {
        None => (LOCAL, UNSPEC, Vec::new()),
        Some(addresses) => described(addresses),
    };
    let length = u8::try_from(described.len() + 7).unwrap_or(u8::MAX);
    header.extend([VERSION << 4 | command, transport, 0, length]);
    header.extend(described);
    header.extend([CRC32C, 0, 4]);
    let sum = checksum(&header, header.len());
    header.extend(sum.to_be_bytes());
    header
}

fn described(Addresses { source, destination }: &Addresses) -> (u8, u8, Vec<u8>) {
    let mut bytes = Vec::new();
    let transport = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            TCP_OVER_IPV4
        }
        (source, destination) => {
            bytes.extend(six(source).octets());
            bytes.extend(six(destination).octets());
            TCP_OVER_IPV6
        }
    };
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    (PROXY, transport, bytes)
}

fn six(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    }
}
