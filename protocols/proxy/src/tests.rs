//! Headers by hand, and properties of all.

use crate::header::{LOCAL, PROXY, SIGNATURE, TCP_OVER_IPV4, TCP_OVER_IPV6, UNIX_STREAM, UNSPEC};
use crate::{Addresses, Error, HEADER_MAX_BYTES, Parsed, header, parse};
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};

/// A header from its parts, with the length that belongs to them.
fn build(command: u8, transport: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([0x20 | command, transport]);
    bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    bytes.extend(rest);
    bytes
}

fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    bytes.extend(value);
    bytes
}

fn ends(source: &str, destination: &str) -> Addresses {
    Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn whole(bytes: &[u8], addresses: Option<Addresses>) {
    assert_eq!(parse(bytes), Ok(Parsed::Header { bytes: bytes.len(), addresses }));
}

/// From 192.0.2.7 port 51234 to 198.51.100.25 port 993.
const FOUR: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 25, 0xc8, 0x22, 0x03, 0xe1];

#[test]
fn tcp_over_ipv4_byte_by_byte() {
    let mut bytes = vec![0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
    bytes.extend([0x21, 0x11, 0x00, 0x0c]);
    bytes.extend(FOUR);
    let addresses = Some(ends("192.0.2.7:51234", "198.51.100.25:993"));
    whole(&bytes, addresses);
    for end in 0..bytes.len() {
        let wanted_bytes = if end < 16 { 16 } else { 28 };
        assert_eq!(parse(&bytes[..end]), Ok(Parsed::Partial { wanted_bytes }), "{end}");
    }
    bytes.extend(b"A1 NOOP\r\n");
    assert_eq!(parse(&bytes), Ok(Parsed::Header { bytes: 28, addresses }), "what follows is the client's");
}

#[test]
fn tcp_over_ipv6() {
    let (source, destination) = ("[2001:db8::7]:51234", "[2001:db8:1::25]:25");
    let addresses = ends(source, destination);
    let octets = |end: SocketAddr| match end.ip() {
        IpAddr::V6(six) => six.octets(),
        IpAddr::V4(_) => panic!(),
    };
    let mut rest = octets(addresses.source).to_vec();
    rest.extend(octets(addresses.destination));
    rest.extend([0xc8, 0x22, 0, 25]);
    whole(&build(PROXY, TCP_OVER_IPV6, &rest), Some(addresses));
    assert_eq!(parse(&build(PROXY, TCP_OVER_IPV6, &rest[..35])), Err(Error::TooShort));
}

#[test]
fn a_balancer_that_speaks_for_itself_or_knows_no_address() {
    whole(&build(LOCAL, UNSPEC, &[]), None);
    whole(&build(LOCAL, TCP_OVER_IPV4, &FOUR), None);
    whole(&build(LOCAL, 0xff, b"whatever stands there"), None);
    whole(&build(PROXY, UNSPEC, &[]), None);
    whole(&build(PROXY, UNSPEC, b"whatever stands there"), None);
    whole(&build(PROXY, UNIX_STREAM, &[b'/'; 216]), None);
    assert_eq!(parse(&build(PROXY, UNIX_STREAM, &[b'/'; 215])), Err(Error::TooShort));
}

#[test]
fn what_is_no_header_is_found_at_the_first_byte_that_shows_it() {
    for text in ["PROXY TCP4 192.0.2.7 198.51.100.25 51234 993\r\n", "EHLO x\r\n", "\r\n\r\nx", "\u{16}\u{3}"]
    {
        let end = text.bytes().zip(SIGNATURE).position(|(byte, expected)| byte != expected).unwrap();
        assert!(matches!(parse(&text.as_bytes()[..end]), Ok(Parsed::Partial { .. })), "{text:?}");
        assert_eq!(parse(&text.as_bytes()[..=end]), Err(Error::Signature), "{text:?}");
    }
    let with = |more: &[u8]| parse(&[&SIGNATURE[..], more].concat());
    assert_eq!(with(&[0x11]), Err(Error::Version(1)));
    assert_eq!(with(&[0x31]), Err(Error::Version(3)));
    assert_eq!(with(&[0x22]), Err(Error::Command(2)));
    for transport in [0x10, 0x12, 0x22, 0x32, 0x01, 0x41, 0xff] {
        assert_eq!(with(&[0x21, transport]), Err(Error::Transport(transport)));
    }
    assert_eq!(with(&[0x21, 0x11, 0xff, 0xff]), Err(Error::TooLong(65_551)));
    assert_eq!(with(&[0x20, 0x00, 0x0f, 0xf1]), Err(Error::TooLong(HEADER_MAX_BYTES + 1)));
    assert!(matches!(
        with(&[0x20, 0x00, 0x0f, 0xf0]),
        Ok(Parsed::Partial { wanted_bytes: HEADER_MAX_BYTES })
    ));
    assert_eq!(parse(&build(PROXY, TCP_OVER_IPV4, &FOUR[..11])), Err(Error::TooShort));
}

#[test]
fn fields_are_stepped_over_and_must_fit() {
    let addresses = Some(ends("192.0.2.7:51234", "198.51.100.25:993"));
    let with = |fields: &[u8]| build(PROXY, TCP_OVER_IPV4, &[&FOUR[..], fields].concat());
    // The name that the client asked for, padding, a type of a vendor.
    let fields = [field(0x02, b"mail.example.org"), field(0x04, &[0; 9]), field(0xea, &[1, 2])].concat();
    whole(&with(&fields), addresses);
    assert_eq!(parse(&with(&fields[..fields.len() - 1])), Err(Error::Field));
    for rest in [&[0x04][..], &[0x04, 0], &[0x04, 0, 1], &[0x04, 0xff, 0xff, 1]] {
        assert_eq!(parse(&with(rest)), Err(Error::Field), "{rest:?}");
    }
    let unix = [vec![b'/'; 216], field(0x04, &[])].concat();
    whole(&build(PROXY, UNIX_STREAM, &unix), None);
    assert_eq!(parse(&build(PROXY, UNIX_STREAM, &[&unix[..], &[4, 0]].concat())), Err(Error::Field));
}

/// Of "123456789", by which the sums of the world are told apart.
#[test]
fn the_sum_is_castagnolis() {
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
}

/// CRC-32C bit by bit, to hold the crate's against.
fn slow_sum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
        }
    }
    !sum
}

#[test]
fn a_checksum_is_checked_wherever_it_stands() {
    let addresses = Some(ends("192.0.2.7:51234", "198.51.100.25:993"));
    for (before, after) in [(&[][..], &[][..]), (&[0xea, 0, 1, 7], &[]), (&[], &[0x04, 0, 2, 0, 0])] {
        let rest = [&FOUR[..], before, &[0x03, 0, 4, 0, 0, 0, 0], after].concat();
        let mut bytes = build(PROXY, TCP_OVER_IPV4, &rest);
        let at = bytes.len() - after.len() - 4;
        assert_eq!(parse(&bytes), Err(Error::Checksum));
        let sum = slow_sum(&bytes).to_be_bytes();
        bytes[at..at + 4].copy_from_slice(&sum);
        whole(&bytes, addresses);
        bytes[16] ^= 1;
        assert_eq!(parse(&bytes), Err(Error::Checksum));
    }
    for wrong in [field(3, &[]), field(3, &[0; 3]), field(3, &[0; 5])] {
        let bytes = build(PROXY, TCP_OVER_IPV4, &[&FOUR[..], &wrong].concat());
        assert_eq!(parse(&bytes), Err(Error::Checksum), "{wrong:?}");
    }
}

/// Two sums cannot both be right.
#[test]
fn a_second_checksum_is_refused() {
    let mut bytes = header(Some(&ends("192.0.2.7:1", "192.0.2.8:2")));
    bytes.extend(field(3, &[0; 4]));
    bytes[15] += 7;
    let at = 16 + 12 + 3;
    let mut zeroed = bytes.clone();
    zeroed[at..at + 4].fill(0);
    bytes[at..at + 4].copy_from_slice(&slow_sum(&zeroed).to_be_bytes());
    assert_eq!(parse(&bytes), Err(Error::Checksum));
}

#[test]
fn ends_of_two_families_are_written_as_ipv6() {
    let bytes = header(Some(&ends("192.0.2.7:1", "[2001:db8::1]:2")));
    whole(&bytes, Some(ends("[::ffff:192.0.2.7]:1", "[2001:db8::1]:2")));
    whole(&header(None), None);
}

fn end() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(address, port)| SocketAddr::new(address, port))
}

fn same_family() -> impl Strategy<Value = Addresses> {
    (end(), end())
        .prop_filter("of one family", |(source, destination)| source.is_ipv4() == destination.is_ipv4())
        .prop_map(|(source, destination)| Addresses { source, destination })
}

proptest! {
    #[test]
    fn what_is_written_is_read(addresses in proptest::option::of(same_family()), after: Vec<u8>) {
        let mut bytes = header(addresses.as_ref());
        let length = bytes.len();
        bytes.extend(after);
        prop_assert_eq!(parse(&bytes), Ok(Parsed::Header { bytes: length, addresses }));
    }

    /// A byte that was changed on the way gives no other address: at worst none, or a wait for more.
    #[test]
    fn a_changed_byte_gives_no_other_address(addresses in same_family(), at: prop::sample::Index, by in 1u8..) {
        let mut bytes = header(Some(&addresses));
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        if let Ok(Parsed::Header { addresses: Some(other), .. }) = parse(&bytes) {
            prop_assert_eq!(other, addresses);
        }
    }

    /// What is said of some bytes is said of all that begin with them.
    #[test]
    fn more_bytes_change_nothing(
        transport in prop::sample::select(vec![UNSPEC, TCP_OVER_IPV4, TCP_OVER_IPV6, UNIX_STREAM, 0x12]),
        command in 0u8..3,
        rest in proptest::collection::vec(any::<u8>(), 0..300),
        cut: prop::sample::Index,
    ) {
        let bytes = build(command, transport, &rest);
        let part = &bytes[..cut.index(bytes.len())];
        match parse(part) {
            Ok(Parsed::Partial { wanted_bytes }) => {
                prop_assert!(wanted_bytes > part.len());
                prop_assert!(wanted_bytes <= bytes.len());
            }
            early => prop_assert_eq!(early, parse(&bytes)),
        }
    }

    #[test]
    fn any_bytes_are_judged(bytes: Vec<u8>) {
        let _ = parse(&bytes);
        let _ = parse(&[&SIGNATURE[..], &bytes].concat());
    }
}
