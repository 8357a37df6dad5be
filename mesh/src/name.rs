//! Who is who: clusters, nodes and lanes, and the one name in a certificate that says cluster and node.
//!
//! Pure. A name in a certificate is believed only after the certificate was verified (`tls.rs`).

use std::fmt;

/// What the names in certificates end with. No zone of the Internet: `internal` is reserved for such use.
const ZONE: &str = "estafette.internal";

/// A cluster: random, made once with its authority.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl ClusterId {
    /// One that no other cluster has.
    pub fn random() -> Result<ClusterId, crate::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|e| crate::Error::Identity(format!("no randomness: {e}")))?;
        Ok(ClusterId(id))
    }

    /// Reads what [`Display`](fmt::Display) writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<ClusterId> {
        let is_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if text.len() != 32 || !text.bytes().all(is_hex) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|number| ClusterId(number.to_be_bytes()))
    }
}

/// 32 digits of lower hexadecimal.
impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

/// The number of a node; given once in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(pub u64);

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// What a request must not stand behind: each has connections of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Small, and late is as bad as lost.
    Urgent,
    /// The ordinary.
    Entries,
    /// Large, and may take long.
    Bulk,
}

impl Lane {
    /// All of them.
    pub const ALL: [Lane; 3] = [Lane::Urgent, Lane::Entries, Lane::Bulk];

    /// The name in metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Lane::Urgent => "urgent",
            Lane::Entries => "entries",
            Lane::Bulk => "bulk",
        }
    }
}

/// Whom a certificate of a cluster's authority is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) cluster: ClusterId,
    /// None: the authority itself.
    pub(crate) node: Option<NodeName>,
}

impl Subject {
    pub(crate) fn node(cluster: ClusterId, node: NodeName) -> Subject {
        Subject { cluster, node: Some(node) }
    }

    /// `node-7.<cluster>.estafette.internal`, or `authority.<cluster>.estafette.internal`.
    pub(crate) fn dns_name(&self) -> String {
        match self.node {
            Some(NodeName(number)) => format!("node-{number}.{}.{ZONE}", self.cluster),
            None => format!("authority.{}.{ZONE}", self.cluster),
        }
    }

    /// Reads what [`Subject::dns_name`] writes, and nothing else.
    pub(crate) fn parse(name: &str) -> Option<Subject> {
        let (who, rest) = name.split_once('.')?;
        let (cluster, zone) = rest.split_once('.')?;
        let cluster = ClusterId::parse(cluster).filter(|_| zone == ZONE)?;
        let node = match who.strip_prefix("node-") {
            Some(number) => Some(NodeName(number.parse().ok()?)),
            None if who == "authority" => None,
            None => return None,
        };
        let subject = Subject { cluster, node };
        // One way to write each: no zeros in front, no sign.
        (subject.dns_name() == name).then_some(subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_one_spelling_of_a_name_is_read() {
        let cluster = ClusterId([0xab; 16]);
        let name = Subject::node(cluster, NodeName(7)).dns_name();
        assert_eq!(name, format!("node-7.{}.estafette.internal", "ab".repeat(16)));
        for other in [
            name.replace("node-7", "node-07"),
            name.replace("node-7", "node-+7"),
            name.replace("node-7", "node-"),
            name.replace("node-7", "x.node-7"),
            name.replace("ab", "AB"),
            name.replace("internal", "internal.example"),
            name.replace("node-7.", ""),
        ] {
            assert_eq!(Subject::parse(&other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_name_means_what_was_written(cluster: [u8; 16], number: Option<u64>) {
            let subject = Subject { cluster: ClusterId(cluster), node: number.map(NodeName) };
            prop_assert_eq!(Subject::parse(&subject.dns_name()), Some(subject));
        }
    }
}
