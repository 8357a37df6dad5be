//! How log entries and the rows about a log look on disk: a version byte, then postcard.
//!
//! Old versions stay readable for ever: a new one gets its own number and its own structures. The structures here are
//! ours and not openraft's, so that its next version cannot change what is on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use estafette_storage::BodyHash;
use serde::{Deserialize, Serialize};

use crate::types::{
    Command, Commands, Entry, Joined, Leader, LogId, Membership, Payload, StoredMembership, Vote,
};

const VERSION: u8 = 1;

/// The bytes are damaged or of a newer version.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Undecodable;

#[derive(Serialize, Deserialize)]
struct EntryRow<'a> {
    term: u64,
    node: u64,
    #[serde(borrow)]
    payload: PayloadRow<'a>,
}

#[derive(Serialize, Deserialize)]
enum PayloadRow<'a> {
    Blank,
    #[serde(borrow)]
    Commands(CommandsRow<'a>),
    Membership(MembershipRow),
}

#[derive(Serialize, Deserialize)]
struct CommandsRow<'a> {
    time_ms: u64,
    seed: [u8; 16],
    #[serde(borrow)]
    list: Vec<CommandRow<'a>>,
}

#[derive(Serialize, Deserialize)]
struct CommandRow<'a> {
    #[serde(borrow, with = "raw")]
    payload: &'a [u8],
    bodies: Vec<[u8; 32]>,
}

/// Bytes in one piece, where serde would take them one by one.
mod raw {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<&'a [u8], D::Error> {
        <&'a [u8]>::deserialize(deserializer)
    }
}

/// Voters, as one set or as two while they change, and all nodes.
#[derive(Serialize, Deserialize)]
struct MembershipRow {
    voters: Vec<BTreeSet<u64>>,
    nodes: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogIdRow {
    term: u64,
    node: u64,
    index: u64,
}

/// What the machine has applied; written with the rows that it describes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Applied {
    pub(crate) log_id: Option<LogId>,
    pub(crate) membership: StoredMembership,
    /// Time of the last entry; the next cannot be before it.
    pub(crate) time_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct AppliedRow {
    log_id: Option<LogIdRow>,
    time_ms: u64,
    membership_log_id: Option<LogIdRow>,
    membership: MembershipRow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoteRow {
    term: u64,
    node: u64,
    committed: bool,
}

pub(crate) fn encode(row: &impl Serialize, capacity: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(capacity + 1);
    bytes.push(VERSION);
    // Fails for sequences of unknown length alone, and there is none in the structures above.
    postcard::to_extend(row, bytes).unwrap_or_default()
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Undecodable> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => match postcard::take_from_bytes(rest) {
            Ok((row, [])) => Ok(row),
            _ => Err(Undecodable),
        },
        _ => Err(Undecodable),
    }
}

/// The row of an entry, without its bodies.
pub(crate) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let (payload, capacity) = match &entry.payload {
        Payload::Blank => (PayloadRow::Blank, 0),
        Payload::Membership(membership) => (PayloadRow::Membership(membership.into()), 64),
        Payload::Normal(joined) => {
            let commands = &joined.commands;
            let list = commands.list.iter().map(CommandRow::from).collect();
            let row = CommandsRow { time_ms: commands.time_ms, seed: commands.seed, list };
            (PayloadRow::Commands(row), commands.bytes())
        }
    };
    let leader = &entry.log_id.leader_id;
    encode(&EntryRow { term: leader.term, node: leader.node_id, payload }, capacity + 32)
}

/// The entry of a row whose key names `index`.
pub(crate) fn decode_entry(index: u64, bytes: &[u8]) -> Result<Entry, Undecodable> {
    let row: EntryRow<'_> = decode(bytes)?;
    let payload = match row.payload {
        PayloadRow::Blank => Payload::Blank,
        PayloadRow::Membership(membership) => Payload::Membership(membership.try_into()?),
        PayloadRow::Commands(commands) => {
            let list = commands.list.iter().map(Command::from).collect();
            let commands = Commands { time_ms: commands.time_ms, seed: commands.seed, list };
            Payload::Normal(Joined { commands: Arc::new(commands), bodies: Vec::new() })
        }
    };
    Ok(Entry { log_id: log_id(row.term, row.node, index), payload })
}

/// The identifier of the entry of a row, without its payload.
pub(crate) fn decode_entry_id(index: u64, bytes: &[u8]) -> Result<LogId, Undecodable> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            let ((term, node), _) = postcard::take_from_bytes::<(u64, u64)>(rest).map_err(|_| Undecodable)?;
            Ok(log_id(term, node, index))
        }
        _ => Err(Undecodable),
    }
}

pub(crate) fn encode_log_id(id: &LogId) -> Vec<u8> {
    encode(&LogIdRow::from(id), 30)
}

pub(crate) fn decode_log_id(bytes: &[u8]) -> Result<LogId, Undecodable> {
    Ok(decode::<LogIdRow>(bytes)?.into())
}

pub(crate) fn encode_vote(vote: &Vote) -> Vec<u8> {
    encode(&VoteRow::from(vote), 24)
}

pub(crate) fn decode_vote(bytes: &[u8]) -> Result<Vote, Undecodable> {
    Ok(decode::<VoteRow>(bytes)?.into())
}

pub(crate) fn encode_applied(applied: &Applied) -> Vec<u8> {
    let row = AppliedRow {
        log_id: applied.log_id.as_ref().map(LogIdRow::from),
        time_ms: applied.time_ms,
        membership_log_id: applied.membership.log_id().as_ref().map(LogIdRow::from),
        membership: applied.membership.membership().into(),
    };
    encode(&row, 96)
}

pub(crate) fn decode_applied(bytes: &[u8]) -> Result<Applied, Undecodable> {
    let row: AppliedRow = decode(bytes)?;
    let membership =
        if row.membership.voters.is_empty() { Membership::default() } else { row.membership.try_into()? };
    Ok(Applied {
        log_id: row.log_id.map(LogId::from),
        membership: StoredMembership::new(row.membership_log_id.map(LogId::from), membership),
        time_ms: row.time_ms,
    })
}

pub(crate) fn encode_node(node: u64) -> Vec<u8> {
    encode(&node, 10)
}

pub(crate) fn decode_node(bytes: &[u8]) -> Result<u64, Undecodable> {
    decode(bytes)
}

pub(crate) fn log_id(term: u64, node: u64, index: u64) -> LogId {
    LogId::new(Leader { term, node_id: node }, index)
}

impl From<&LogId> for LogIdRow {
    fn from(id: &LogId) -> Self {
        Self { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
    }
}

impl From<LogIdRow> for LogId {
    fn from(row: LogIdRow) -> Self {
        log_id(row.term, row.node, row.index)
    }
}

impl From<&Vote> for VoteRow {
    fn from(vote: &Vote) -> Self {
        Self { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
    }
}

impl From<VoteRow> for Vote {
    fn from(row: VoteRow) -> Self {
        Self { leader_id: Leader { term: row.term, node_id: row.node }, committed: row.committed }
    }
}

impl From<&Membership> for MembershipRow {
    fn from(membership: &Membership) -> Self {
        Self {
            voters: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(node, ())| *node).collect(),
        }
    }
}

impl TryFrom<MembershipRow> for Membership {
    type Error = Undecodable;

    fn try_from(row: MembershipRow) -> Result<Self, Undecodable> {
        let nodes: BTreeMap<u64, ()> = row.nodes.into_iter().map(|node| (node, ())).collect();
        Self::new(row.voters, nodes).map_err(|_| Undecodable)
    }
}

impl<'a> From<&'a Command> for CommandRow<'a> {
    fn from(command: &'a Command) -> Self {
        Self { payload: &command.payload, bodies: command.bodies.iter().map(|hash| hash.0).collect() }
    }
}

impl From<&CommandRow<'_>> for Command {
    fn from(row: &CommandRow<'_>) -> Self {
        Self {
            payload: Bytes::copy_from_slice(row.payload),
            bodies: row.bodies.iter().copied().map(BodyHash).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(payload: Payload) -> Entry {
        Entry { log_id: log_id(300, 2, 77), payload }
    }

    fn commands() -> Payload {
        let list = vec![
            Command { payload: Bytes::from_static(b"one"), bodies: vec![BodyHash([9; 32])] },
            Command { payload: Bytes::from(vec![7; 1000]), bodies: vec![] },
        ];
        Payload::Normal(Joined {
            commands: Arc::new(Commands { time_ms: 1 << 40, seed: [3; 16], list }),
            bodies: vec![],
        })
    }

    fn text(entry: &Entry) -> String {
        format!("{:?} {:?}", entry.log_id, entry.payload)
    }

    #[test]
    fn entries_come_back() {
        let joint = Membership::new(
            vec![BTreeSet::from([1]), BTreeSet::from([1, 2])],
            BTreeMap::from([(1, ()), (2, ()), (3, ())]),
        );
        for payload in [Payload::Blank, commands(), Payload::Membership(joint.unwrap())] {
            let before = entry(payload);
            let bytes = encode_entry(&before);
            assert_eq!(text(&before), text(&decode_entry(77, &bytes).unwrap()));
            assert_eq!(before.log_id, decode_entry_id(77, &bytes).unwrap());
        }
    }

    /// What version 1 wrote must be read for ever.
    #[test]
    fn fixture_of_version_1() {
        let bytes =
            [&[1, 5, 1, 1, 0x80, 0xd0, 0xac, 0xf3, 0x0e][..], &[4; 16], &[1, 2, b'h', b'i', 1], &[6; 32]]
                .concat();
        let read = decode_entry(9, &bytes).unwrap();
        assert_eq!(read.log_id, log_id(5, 1, 9));
        let Payload::Normal(joined) = &read.payload else { panic!("not commands") };
        assert_eq!(joined.commands.time_ms, 4_000_000_000);
        assert_eq!(joined.commands.seed, [4; 16]);
        assert_eq!(&joined.commands.list[0].payload[..], b"hi");
        assert_eq!(joined.commands.list[0].bodies, vec![BodyHash([6; 32])]);
        assert_eq!(encode_entry(&read), bytes);
    }

    #[test]
    fn rows_about_a_log_come_back() {
        let vote = Vote::new_committed(7, 3);
        assert_eq!(decode_vote(&encode_vote(&vote)).unwrap(), vote);
        let id = log_id(1, 2, 3);
        assert_eq!(decode_log_id(&encode_log_id(&id)).unwrap(), id);
        let membership = Membership::new(vec![BTreeSet::from([4])], BTreeMap::from([(4, ())])).unwrap();
        let applied = Applied {
            log_id: Some(id),
            membership: StoredMembership::new(Some(id), membership),
            time_ms: 12,
        };
        assert_eq!(decode_applied(&encode_applied(&applied)).unwrap(), applied);
        assert_eq!(decode_applied(&encode_applied(&Applied::default())).unwrap(), Applied::default());
        assert_eq!(decode_node(&encode_node(12)).unwrap(), 12);
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let good = encode_entry(&entry(commands()));
        for cut in 0..good.len() {
            assert!(decode_entry(1, &good[..cut]).is_err(), "cut at {cut}");
        }
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 0x80;
            let _ = decode_entry(1, &bad);
        }
        let mut newer = good;
        newer[0] = 2;
        assert!(decode_entry(1, &newer).is_err());
        // A length that promises far more than there is.
        assert!(
            decode_entry(
                1,
                &[
                    1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
                    0x0f
                ]
            )
            .is_err()
        );
    }
}
