//! Networks of IP addresses, as settings name them: `192.0.2.0/24`, `2001:db8::/32`, or one address.
//!
//! An IPv4 address that an IPv6 socket shows as `::ffff:192.0.2.1` is the IPv4 address. So `::/0` holds all of
//! IPv6 and nothing of IPv4.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network: what has the first bits in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    /// The bits behind the prefix are zero.
    address: IpAddr,
    prefix_bits: u32,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither an address nor one with a length.
    #[error("'{0}' is no network; write '192.0.2.0/24', '2001:db8::/32', or one address")]
    Form(String),
    /// Bits are set behind the prefix.
    #[error("'{given}' names an address within a network; the network is '{network}'")]
    Host {
        /// As written.
        given: String,
        /// What it would be.
        network: Network,
    },
}

impl Network {
    /// Reads one.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn parse(text: &str) -> Result<Network, NetworkError> {
        let form = || NetworkError::Form(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| form())?;
        let width = width(written);
        let prefix_bits = match length {
            None => width,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() <= 3 => {
                digits.parse().ok().filter(|bits| *bits <= width).ok_or_else(form)?
            }
            Some(_) => return Err(form()),
        };
        // Some of IPv4, written as IPv6.
        let (address, prefix_bits) = match written.to_canonical() {
            four @ IpAddr::V4(_) if written.is_ipv6() => {
                if prefix_bits < 96 {
                    return Err(form());
                }
                (four, prefix_bits - 96)
            }
            address => (address, prefix_bits),
        };
        let network = Network { address: masked(address, prefix_bits), prefix_bits };
        if network.address != address {
            return Err(NetworkError::Host { given: text.to_owned(), network });
        }
        Ok(network)
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix_bits) == self.address
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first bits alone.
fn masked(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0);
            IpAddr::V4((u32::from(four) & mask).into())
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
            IpAddr::V6((u128::from(six) & mask).into())
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;
    fn from_str(text: &str) -> Result<Network, NetworkError> {
        Network::parse(text)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;
    fn try_from(text: String) -> Result<Network, NetworkError> {
        Network::parse(&text)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.to_string()
    }
}

/// Some networks, perhaps none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// Whether an address is in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Whether there is none, so that no address is in them.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Networks {
        Networks(networks.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::parse(text).unwrap()
    }

    fn holds(text: &str, address: &str) -> bool {
        network(text).contains(address.parse().unwrap())
    }

    #[test]
    fn networks_hold_their_addresses() {
        assert!(holds("192.0.2.0/24", "192.0.2.255") && !holds("192.0.2.0/24", "192.0.3.0"));
        assert!(holds("192.0.2.128/25", "192.0.2.128") && !holds("192.0.2.128/25", "192.0.2.127"));
        assert!(holds("192.0.2.1", "192.0.2.1") && !holds("192.0.2.1", "192.0.2.2"));
        assert!(holds("0.0.0.0/0", "255.255.255.255") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("2001:db8::/32", "2001:db8:ffff::1") && !holds("2001:db8::/32", "2001:db9::"));
        assert!(holds("2001:db8::1", "2001:db8::1") && !holds("2001:db8::1", "2001:db8::"));
        assert!(holds("::/0", "2001:db8::1") && !holds("::/0", "192.0.2.1"));
    }

    #[test]
    fn ipv4_seen_through_ipv6_is_ipv4() {
        assert!(holds("192.0.2.0/24", "::ffff:192.0.2.9") && !holds("::/0", "::ffff:192.0.2.9"));
        assert_eq!(network("::ffff:192.0.2.0/120"), network("192.0.2.0/24"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1/32"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/",
            "192.0.2.0/",
            "192.0.2.0/33",
            "192.0.2.0/+8",
            "192.0.2/24",
            "192.0.2.0/24/8",
            "*",
            "::/129",
            "2001:db8::/0032",
            "::ffff:192.0.2.0/95",
            "192.0.2.0 /24",
            "mail.example.org",
        ] {
            assert_eq!(Network::parse(text), Err(NetworkError::Form(text.to_owned())), "{text}");
        }
        let said = Network::parse("192.0.2.1/24").unwrap_err().to_string();
        assert_eq!(said, "'192.0.2.1/24' names an address within a network; the network is '192.0.2.0/24'");
    }

    #[test]
    fn what_is_said_is_read_again() {
        for text in ["192.0.2.0/24", "192.0.2.1/32", "0.0.0.0/0", "2001:db8::/32", "::/0", "::1/128"] {
            assert_eq!(network(text).to_string(), text);
        }
    }

    #[test]
    fn several_hold_what_one_of_them_holds() {
        let networks: Networks = ["192.0.2.0/24", "::1"].map(network).into_iter().collect();
        assert!(networks.contain("::1".parse().unwrap()) && networks.contain("192.0.2.4".parse().unwrap()));
        assert!(!networks.contain("127.0.0.1".parse().unwrap()) && !networks.is_empty());
        assert!(Networks::default().is_empty() && !Networks::default().contain("::1".parse().unwrap()));
    }
}
