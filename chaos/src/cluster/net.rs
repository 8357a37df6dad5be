//! The network of a cluster: a namespace for each node, a bridge in the harness's own, and what is cut.
//!
//! All of it lies within the harness's namespaces ([`super::enter`]). What a node sends to others goes to
//! their proxies ([`super::proxy`]) and what it answers goes back through them; both addresses of a pair are
//! cut together, in the namespace of the sender. Clients speak to nodes directly and are never cut off.

use super::enter::{tool, tool_with};
use crate::error::ChaosError;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// A node by its number, from 1 on; 0 is the harness.
pub(crate) type Number = usize;

/// Most nodes of a cluster: their addresses have room for no more.
pub(crate) const NODES_MAX: usize = 40;

/// The last byte of addresses: a node's own, that of the proxy in front of it, and that from which its
/// requests come out of proxies.
const OWN: usize = 10;
const FRONT: usize = 100;
const BEHIND: usize = 200;

fn address(base: usize, number: Number) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, u8::try_from(base + number.min(NODES_MAX)).unwrap_or(0))
}

/// Where a node lives.
pub(crate) fn own(number: Number) -> Ipv4Addr {
    address(OWN, number)
}

/// Where others reach its mesh.
pub(crate) fn front(number: Number) -> Ipv4Addr {
    address(FRONT, number)
}

/// Where its requests come from when they have gone through a proxy.
pub(crate) fn behind(number: Number) -> Ipv4Addr {
    address(BEHIND, number)
}

/// Which node lives there.
pub(crate) fn number_of(address: Ipv4Addr) -> Number {
    let [.., last] = address.octets();
    usize::from(last).checked_sub(OWN).filter(|number| *number <= NODES_MAX).unwrap_or(0)
}

/// The namespace of a node, as a file.
pub(crate) fn namespace(number: Number) -> PathBuf {
    PathBuf::from(format!("/run/netns/n{number}"))
}

/// What becomes of packets from one node to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) cut: bool,
    /// Of a hundred packets, so many are lost.
    pub(crate) lost_percent: u8,
}

/// The network. It ends with the namespaces.
#[derive(Debug)]
pub(crate) struct Net {
    nodes: usize,
    /// By sender and receiver.
    ways: Mutex<Vec<Vec<Way>>>,
}

impl Net {
    /// Builds namespaces, interfaces and addresses for so many nodes.
    pub(crate) fn build(nodes: usize) -> Result<Net, ChaosError> {
        let nodes = nodes.min(NODES_MAX);
        // Names of namespaces are files here; those of the machine are not ours.
        tool("mkdir", &["-p", "/run/netns"])?;
        tool("mount", &["-t", "tmpfs", "tmpfs", "/run/netns"])?;
        let mut hub = String::from("link set lo up\nlink add hub type bridge\nlink set hub up\n");
        let _ = writeln!(hub, "addr add {}/24 dev hub", own(0));
        for number in 1..=nodes {
            let _ = writeln!(hub, "addr add {}/24 dev hub", front(number));
            let _ = writeln!(hub, "addr add {}/24 dev hub", behind(number));
            let _ = writeln!(hub, "netns add n{number}");
            let _ = writeln!(hub, "link add v{number} type veth peer name eth0 netns n{number}");
            let _ = writeln!(hub, "link set v{number} master hub up");
        }
        tool_with("ip", &["-batch", "-"], &hub)?;
        for number in 1..=nodes {
            let within = format!("link set lo up\naddr add {}/24 dev eth0\nlink set eth0 up\n", own(number));
            tool_with("ip", &["-n", &format!("n{number}"), "-batch", "-"], &within)?;
        }
        Ok(Net { nodes, ways: Mutex::new(vec![vec![Way::default(); nodes + 1]; nodes + 1]) })
    }

    /// Changes what becomes of packets from one node to another.
    pub(crate) fn change(
        &self,
        from: Number,
        to: Number,
        change: impl FnOnce(&mut Way),
    ) -> Result<(), ChaosError> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(of_sender) = ways.get_mut(from) else { return Ok(()) };
        if let Some(way) = of_sender.get_mut(to) {
            change(way);
        }
        apply(from, of_sender)
    }

    /// Cuts a node off from all others, or joins it to them again.
    pub(crate) fn isolate(&self, node: Number, cut: bool) -> Result<(), ChaosError> {
        for other in self.others(node) {
            self.change(node, other, |way| way.cut = cut)?;
            self.change(other, node, |way| way.cut = cut)?;
        }
        Ok(())
    }

    /// All nodes but one.
    pub(crate) fn others(&self, node: Number) -> impl Iterator<Item = Number> + use<> {
        (1..=self.nodes).filter(move |other| *other != node)
    }

    /// Nothing is cut or lost any more.
    pub(crate) fn heal(&self) -> Result<(), ChaosError> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        for (from, of_sender) in ways.iter_mut().enumerate().skip(1) {
            of_sender.fill(Way::default());
            apply(from, of_sender)?;
        }
        Ok(())
    }
}

/// Puts one sender's rules in place, all at once.
fn apply(from: Number, ways: &[Way]) -> Result<(), ChaosError> {
    let namespace = format!("--net={}", namespace(from).display());
    tool_with("nsenter", &[&namespace, "--", "nft", "-f", "-"], &rules(ways)).map(|_| ())
}

fn rules(ways: &[Way]) -> String {
    let mut rules = String::from("table ip chaos {}\ndelete table ip chaos\n");
    rules.push_str("table ip chaos {\nchain out {\ntype filter hook output priority 0;\n");
    for (to, way) in ways.iter().enumerate().skip(1) {
        let addresses = format!("ip daddr {{ {}, {} }}", front(to), behind(to));
        if way.cut {
            let _ = writeln!(rules, "{addresses} drop");
        } else if way.lost_percent > 0 {
            let _ = writeln!(rules, "{addresses} numgen random mod 100 < {} drop", way.lost_percent);
        }
    }
    rules.push_str("}\n}\n");
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_their_node() {
        for number in 0..=NODES_MAX {
            assert_eq!(number_of(own(number)), number);
        }
        assert_eq!(number_of(front(1)), 0);
    }

    #[test]
    fn both_addresses_of_a_pair_are_cut() {
        let cut = Way { cut: true, lost_percent: 5 };
        let rules = rules(&[Way::default(), Way::default(), cut, Way { cut: false, lost_percent: 7 }]);
        assert!(rules.contains("ip daddr { 10.77.0.102, 10.77.0.202 } drop\n"), "{rules}");
        assert!(rules.contains("{ 10.77.0.103, 10.77.0.203 } numgen random mod 100 < 7 drop\n"), "{rules}");
        assert!(!rules.contains("10.77.0.101"), "{rules}");
    }
}
