//! What nodes say to each other about groups, as bytes.
//!
//! A request: version (u8) ‖ head length (u32 BE) ‖ head (postcard) ‖ tail. The tail has the bytes that the head
//! announces, so that bodies are copied on neither side. An answer: version (u8) ‖ postcard.
//!
//! Must not: decide anything. What does not decode is the peer's fault, never a panic.

use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};

use crate::Order;
use crate::codec::{LogIdRow, Undecodable, VoteRow};

/// Version of requests and answers. A node of the next version must still read this one.
const VERSION: u8 = 1;

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The group it is about.
    pub(crate) group: u32,
    pub(crate) ask: Ask,
}

/// What is asked. New kinds go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Log entries; in the tail their rows and the bodies that are inline. → [`Appended`]
    Append(Append),
    /// A vote, or whether one would be given. → [`Voted`]
    Vote { pre: bool, vote: VoteRow, last: Option<LogIdRow>, transfer: bool },
    /// To become the leader in the place of the one that asks. → [`Done`]
    Lead { from: VoteRow, to: u64, last: Option<LogIdRow> },
    /// A proposal for the leader; in the tail the command and the bodies that are inline. `reads`: who proposes goes on to
    /// read its rows. → [`Proposed`]
    Propose { command_bytes: u32, bodies: Vec<BodyHead>, reads: bool },
    /// Up to where everything is committed. → [`Told<u64>`]
    Index,
    /// How the group stands at its leader. → [`Told<crate::Status>`]
    Status,
    /// A change of the members, for the leader. → [`Done`]
    Members(Order),
    /// A part of a large body, in the tail. → [`Done`]
    BodyPart(BodyPart),
    /// Bytes of a body. → [`Told<Option<BodyBytes>>`]
    BodyRead { hash: [u8; 32], offset: u64, bytes_max: u32 },
    /// A part of a snapshot file, in the tail; the last one installs it. → [`Told<Option<VoteRow>>`]
    SnapshotPart(SnapshotPart),
    /// Whether no body is missing on the node. → [`Told<bool>`]
    Whole,
    /// The checksum of the node's replica. → [`Told<crate::Checksum>`]
    Checksum,
    /// Bodies, those of them that are small and there. → [`Told<Vec<SmallBody>>`]
    BodiesRead { hashes: Vec<[u8; 32]> },
}

/// See [`Ask::Append`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Append {
    pub(crate) vote: VoteRow,
    pub(crate) prev: Option<LogIdRow>,
    /// `prev` is on its way: worth waiting for.
    pub(crate) follows: bool,
    pub(crate) commit: Option<LogIdRow>,
    /// Index and bytes of the row of each entry.
    pub(crate) entries: Vec<(u64, u32)>,
    pub(crate) bodies: Vec<BodyHead>,
}

/// A body that a request names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BodyHead {
    pub(crate) hash: [u8; 32],
    pub(crate) len: u64,
    pub(crate) way: Way,
}

/// How a body comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Way {
    /// In the tail, behind so many bytes of its structure row (0: it has none).
    Inline { structure_bytes: u32 },
    /// It is there already, was sent in parts, or is kept by who brought it with a proposal.
    Before,
    /// It does not come along: the receiver fetches it, if it does not have it. Who asks may not have it any more either, where
    /// nothing names it but old entries.
    Gone,
}

/// See [`Ask::BodyPart`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BodyPart {
    /// Chosen by chance, for all parts of one sending.
    pub(crate) transfer: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) offset: u64,
    pub(crate) last: bool,
    /// Bytes of the structure row behind the part, with the last one; 0: none.
    pub(crate) structure_bytes: u32,
}

/// See [`Ask::SnapshotPart`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotPart {
    /// Chosen by chance, for all parts of one sending.
    pub(crate) transfer: u64,
    pub(crate) offset: u64,
    pub(crate) last: bool,
    /// Of the leader that sends it.
    pub(crate) vote: VoteRow,
}

/// The answer to entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Appended {
    Success,
    Conflict,
    HigherVote(VoteRow),
    /// These bodies are not here: send them in parts, then all of it again.
    Missing(Vec<[u8; 32]>),
    /// These bodies came with other bytes than their names say.
    Damaged(Vec<[u8; 32]>),
    Refused(Refused),
}

/// The answer to a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Voted {
    Answer { vote: VoteRow, granted: bool, last: Option<LogIdRow> },
    Refused(Refused),
}

/// The answer to a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Proposed {
    /// Applied at this index, with this answer of the machine.
    Applied {
        index: u64,
        #[serde(with = "serde_bytes")]
        answer: Vec<u8>,
    },
    Missing(Vec<[u8; 32]>),
    Damaged(Vec<[u8; 32]>),
    /// Nothing was proposed: the disk of the leader is nearly full.
    Full,
    /// It may take effect or not.
    Interrupted,
    Refused(Refused),
}

/// An answer without or with a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Told<T> {
    Value(T),
    Refused(Refused),
}

pub(crate) type Done = Told<()>;

/// Why a request was not carried out. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refused {
    /// This node does not lead, but perhaps that one.
    NotLeader(Option<u64>),
    /// The group is not open here, or closing.
    Closed,
    /// The group stopped here.
    Stopped,
    /// The request makes no sense to this version.
    Unknown,
    /// The store has no room or refuses.
    Storage,
    /// For other reasons, in words.
    Because(String),
}

/// A part of a body. Its bytes go in one piece, where serde would take them one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BodyBytes {
    pub(crate) len: u64,
    #[serde(with = "serde_bytes")]
    pub(crate) structure: Option<Vec<u8>>,
    #[serde(with = "serde_bytes")]
    pub(crate) bytes: Vec<u8>,
}

/// A whole body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SmallBody {
    #[serde(with = "serde_bytes")]
    pub(crate) structure: Option<Vec<u8>>,
    #[serde(with = "serde_bytes")]
    pub(crate) bytes: Vec<u8>,
}

/// The pieces of a request: its head, then what the caller puts behind it.
pub(crate) fn request(request: &Request, tail: impl IntoIterator<Item = Bytes>) -> Vec<Bytes> {
    let head = postcard::to_allocvec(request).unwrap_or_default();
    let mut front = Vec::with_capacity(5 + head.len());
    front.push(VERSION);
    front.extend_from_slice(&u32::try_from(head.len()).unwrap_or(0).to_be_bytes());
    front.extend_from_slice(&head);
    std::iter::once(Bytes::from(front)).chain(tail).collect()
}

/// The head of a request, and its tail.
pub(crate) fn read_request(mut bytes: Bytes) -> Result<(Request, Bytes), Undecodable> {
    let (version, length) = bytes
        .split_first_chunk::<5>()
        .map(|(front, _)| {
            let [version, a, b, c, d] = *front;
            (version, u32::from_be_bytes([a, b, c, d]))
        })
        .ok_or(Undecodable)?;
    if version != VERSION {
        return Err(Undecodable);
    }
    bytes.advance(5);
    let length = usize::try_from(length).map_err(|_| Undecodable)?;
    if length > bytes.len() {
        return Err(Undecodable);
    }
    let head = bytes.split_to(length);
    Ok((postcard::from_bytes(&head).map_err(|_| Undecodable)?, bytes))
}

/// An answer.
pub(crate) fn answer(answer: &impl Serialize) -> Bytes {
    // Plain values into memory: this cannot fail, and an empty answer would be refused by the reader.
    postcard::to_extend(answer, vec![VERSION]).unwrap_or_default().into()
}

/// Reads an answer.
pub(crate) fn read_answer<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, Undecodable> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| Undecodable),
        _ => Err(Undecodable),
    }
}

/// Takes `bytes` from the front of a tail.
pub(crate) fn take(tail: &mut Bytes, bytes: u64) -> Result<Bytes, Undecodable> {
    let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= tail.len()).ok_or(Undecodable)?;
    Ok(tail.split_to(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::log_id;
    use crate::types::Vote;
    use crate::{GroupId, MemberStatus, NodeId, Status};

    #[test]
    fn requests_and_answers_come_back() {
        let asked = Request {
            group: 17,
            ask: Ask::Propose {
                command_bytes: 3,
                bodies: vec![BodyHead { hash: [7; 32], len: 4, way: Way::Inline { structure_bytes: 0 } }],
                reads: true,
            },
        };
        let pieces = request(&asked, [Bytes::from_static(b"abc"), Bytes::from_static(b"body")]);
        let (read, mut tail) = read_request(pieces.concat().into()).unwrap();
        assert_eq!(read, asked);
        assert_eq!(take(&mut tail, 3).unwrap(), "abc");
        assert_eq!(take(&mut tail, 4).unwrap(), "body");
        assert_eq!(take(&mut tail, 1), Err(Undecodable));
        let told = Proposed::Applied { index: 9, answer: vec![1] };
        assert_eq!(read_answer::<Proposed>(&answer(&told)).unwrap(), told);
    }

    /// What version 1 says must be understood for as long as nodes of that version may be neighbours.
    #[test]
    fn fixture_of_version_1() {
        let asked = Request { group: 16, ask: Ask::Index };
        assert_eq!(request(&asked, []).concat(), [1, 0, 0, 0, 2, 16, 4]);
        let body = BodyHead { hash: [7; 32], len: 4, way: Way::Before };
        let ask = Ask::Propose { command_bytes: 3, bodies: vec![body.clone()], reads: true };
        let named = [&[1][..], &[7; 32], &[4, 1]].concat();
        let proposed = [&[1, 0, 0, 0, 39, 16, 3, 3][..], &named, &[1]].concat();
        assert_eq!(request(&Request { group: 16, ask }, []).concat(), proposed);
        let id = || Some(LogIdRow::from(&log_id(1, 2, 9)));
        let vote = VoteRow::from(&Vote::new_committed(1, 2));
        let (prev, commit) = (id(), id());
        let append =
            Append { vote, prev, follows: true, commit, entries: vec![(10, 300)], bodies: vec![body] };
        let appended = [&[16, 0, 1, 2, 1, 1, 1, 2, 9, 1, 1, 1, 2, 9, 1, 10, 0xac, 2][..], &named].concat();
        let bytes = request(&Request { group: 16, ask: Ask::Append(append) }, []).concat();
        assert_eq!(bytes[5..], appended);
        let hashes = vec![[7; 32]];
        let bytes = request(&Request { group: 16, ask: Ask::BodiesRead { hashes } }, []).concat();
        assert_eq!(bytes[5..], [&[16, 12, 1][..], &[7; 32]].concat());
        assert_eq!(answer(&Told::Value(300_u64)), &[1, 0, 0xac, 2][..]);
        assert_eq!(answer(&Done::Refused(Refused::NotLeader(Some(2)))), &[1, 1, 0, 1, 2][..]);
    }

    #[test]
    fn fixture_of_a_status_with_and_without_what_came_later() {
        let status = Status {
            group: GroupId::shard(0),
            leader: Some(NodeId(1)),
            leads: true,
            term: 2,
            last: Some(9),
            applied: Some(9),
            snapshot: None,
            purged: None,
            voters: 1,
            members: vec![MemberStatus { node: NodeId(1), votes: true, has: Some(9) }],
            quorum_ms: None,
            running: true,
            joint: true,
        };
        let bytes = [1, 0, 16, 1, 1, 1, 2, 1, 9, 1, 9, 0, 0, 1, 1, 1, 1, 1, 9, 0, 1, 1];
        assert_eq!(answer(&Told::Value(status.clone())), &bytes[..]);
        let earlier = read_answer::<Told<Status>>(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(earlier, Told::Value(Status { joint: false, ..status }));
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let whole = request(&Request { group: 1, ask: Ask::Members(Order::LeadBy(NodeId(3))) }, []).concat();
        for cut in 0..whole.len() {
            assert!(read_request(Bytes::copy_from_slice(&whole[..cut])).is_err(), "cut at {cut}");
        }
        let mut newer = whole;
        newer[0] = 9;
        assert!(read_request(newer.into()).is_err());
        assert!(read_answer::<Appended>(&[]).is_err());
        assert!(read_answer::<Appended>(&[1, 99]).is_err());
    }
}
