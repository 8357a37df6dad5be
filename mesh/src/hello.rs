//! The hello: which versions a side speaks, who it is, what it wants, and how much it takes at once. Pure.
//!
//! Each side sends one before all else. Both find the same version, the highest that both speak; without one, and
//! when the other side is not who was meant, the connection ends with words that reach both logs.
//!
//! Body: layout (u8, 1), lowest and highest version (u16 each), purpose (u8), cluster (16 bytes), node (u64), then
//! what this side takes: bytes of a body, requests, and bytes under way (u32 each). What follows is of later versions
//! and passed over. The layout itself never changes in what comes before the purpose.

use crate::{ClusterId, Lane, NodeName};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The layout of the body, its first byte.
const LAYOUT: u8 = 1;

/// The versions of the protocol that this program speaks.
pub const VERSIONS: Versions = Versions { lowest: 1, highest: 1 };

/// A range of versions, both ends within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The lowest.
    pub lowest: u16,
    /// The highest.
    pub highest: u16,
}

/// What the connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Requests of one node to another.
    Requests(Lane),
    /// One who has no certificate asks to be let in.
    Join,
    /// Bytes both ways, after one frame each way that says what for.
    Stream,
}

/// What a side takes on a connection; the other keeps to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body, of request or answer.
    pub frame_max_bytes: u32,
    /// Requests under way.
    pub requests_max: u32,
    /// Bytes of requests under way.
    pub under_way_max_bytes: u32,
}

impl Limits {
    /// What two sides both take.
    #[must_use]
    pub fn both(self, other: Limits) -> Limits {
        Limits {
            frame_max_bytes: self.frame_max_bytes.min(other.frame_max_bytes),
            requests_max: self.requests_max.min(other.requests_max),
            under_way_max_bytes: self.under_way_max_bytes.min(other.under_way_max_bytes),
        }
    }
}

/// What each side says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What it speaks.
    pub versions: Versions,
    /// What it wants, or was asked for.
    pub purpose: Purpose,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its number; 0 of one who joins. Only the certificate is believed.
    pub node: NodeName,
    /// What it takes.
    pub limits: Limits,
}

impl Hello {
    /// The body of the frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut body = BytesMut::with_capacity(64);
        body.put_u8(LAYOUT);
        body.put_u16(self.versions.lowest);
        body.put_u16(self.versions.highest);
        body.put_u8(match self.purpose {
            Purpose::Requests(Lane::Urgent) => 0,
            Purpose::Requests(Lane::Entries) => 1,
            Purpose::Requests(Lane::Bulk) => 2,
            Purpose::Join => 3,
            Purpose::Stream => 4,
        });
        body.put_slice(&self.cluster.0);
        body.put_u64(self.node.0);
        body.put_u32(self.limits.frame_max_bytes);
        body.put_u32(self.limits.requests_max);
        body.put_u32(self.limits.under_way_max_bytes);
        body.freeze()
    }

    /// Reads a hello and finds the version to speak, for one who speaks `ours`; or says in words why there is none.
    pub fn decode(mut body: &[u8], ours: Versions) -> Result<(Hello, u16), String> {
        let cut = |_| "the hello ends early".to_owned();
        let layout = body.try_get_u8().map_err(cut)?;
        if layout != LAYOUT {
            return Err(format!("the hello is of layout {layout}, which this node cannot read"));
        }
        let lowest = body.try_get_u16().map_err(cut)?;
        let highest = body.try_get_u16().map_err(cut)?;
        let versions = Versions { lowest, highest };
        // Before the rest, which may be of a version that this side cannot read.
        let version = agree(versions, ours)?;
        let purpose = match body.try_get_u8().map_err(cut)? {
            0 => Purpose::Requests(Lane::Urgent),
            1 => Purpose::Requests(Lane::Entries),
            2 => Purpose::Requests(Lane::Bulk),
            3 => Purpose::Join,
            4 => Purpose::Stream,
            other => return Err(format!("the other side wants what this node does not know ({other})")),
        };
        let mut cluster = [0; 16];
        body.try_copy_to_slice(&mut cluster).map_err(cut)?;
        let node = NodeName(body.try_get_u64().map_err(cut)?);
        let limits = Limits {
            frame_max_bytes: body.try_get_u32().map_err(cut)?,
            requests_max: body.try_get_u32().map_err(cut)?,
            under_way_max_bytes: body.try_get_u32().map_err(cut)?,
        };
        Ok((Hello { versions, purpose, cluster: ClusterId(cluster), node, limits }, version))
    }
}

/// The highest version in both ranges.
fn agree(theirs: Versions, ours: Versions) -> Result<u16, String> {
    let (lowest, highest) = (theirs.lowest.max(ours.lowest), theirs.highest.min(ours.highest));
    if lowest > highest {
        return Err(format!(
            "the other side speaks versions {} to {} of the protocol, this node {} to {}",
            theirs.lowest, theirs.highest, ours.lowest, ours.highest
        ));
    }
    Ok(highest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello() -> Hello {
        Hello {
            versions: Versions { lowest: 1, highest: 3 },
            purpose: Purpose::Requests(Lane::Bulk),
            cluster: ClusterId([7; 16]),
            node: NodeName(5),
            limits: Limits { frame_max_bytes: 1, requests_max: 2, under_way_max_bytes: 3 },
        }
    }

    #[test]
    fn every_purpose_comes_back() {
        let lanes = Lane::ALL.map(Purpose::Requests);
        for purpose in lanes.into_iter().chain([Purpose::Join, Purpose::Stream]) {
            let hello = Hello { purpose, ..hello() };
            assert_eq!(Hello::decode(&hello.encode(), VERSIONS).unwrap().0, hello);
        }
    }

    #[test]
    fn the_highest_common_version_is_taken() {
        let body = hello().encode();
        for (lowest, highest, version) in [(1, 1, 1), (1, 9, 3), (3, 3, 3), (2, 2, 2)] {
            assert_eq!(Hello::decode(&body, Versions { lowest, highest }), Ok((hello(), version)));
        }
        assert_eq!(
            Hello::decode(&body, Versions { lowest: 4, highest: 5 }).unwrap_err(),
            "the other side speaks versions 1 to 3 of the protocol, this node 4 to 5"
        );
    }

    #[test]
    fn a_later_hello_may_say_more_and_a_shorter_one_is_refused() {
        let body = hello().encode();
        let longer = [&body[..], b"more"].concat();
        assert_eq!(Hello::decode(&longer, VERSIONS).unwrap().0, hello());
        for end in 0..body.len() {
            assert_eq!(Hello::decode(&body[..end], VERSIONS).unwrap_err(), "the hello ends early");
        }
        let other = [&[2], &body[1..]].concat();
        assert!(Hello::decode(&other, VERSIONS).unwrap_err().contains("layout 2"));
    }

    proptest! {
        #[test]
        fn any_body_is_a_hello_or_words(body in prop::collection::vec(any::<u8>(), 0..80), plausible: bool) {
            let mut body = body;
            if plausible && body.len() >= 5 {
                body[..5].copy_from_slice(&[1, 0, 0, 0, 9]);
            }
            if let Ok((hello, version)) = Hello::decode(&body, VERSIONS) {
                prop_assert_eq!(version, 1);
                let again = hello.encode();
                prop_assert_eq!(&again[..], &body[..again.len()]);
            }
        }
    }
}
