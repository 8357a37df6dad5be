//! How records lie in rows: keys, versions, and the two small traits by which rows are written and read.
//!
//! Key: [`SPACE`], the kind's byte, the identifier (big endian, or a name). Value: a version byte, then
//! postcard. Kinds are in the order in which they are loaded: what is named comes before what names it.
//! Those of the cluster came later and lie behind the audit.

use crate::audit::AuditEntry;
use crate::cluster::{Cluster, ClusterNode, FormerNode, JoinToken, Move, Placement};
use crate::encoding::{decode, encode};
use crate::error::Error;
use crate::model::{Account, Alias, AliasId, Counters, HostedDomain, Plan, PlanId, Prefix, Settings};
use estafette_raft::NodeId;
use estafette_types::{AccountId, Domain, DomainId, ShardId};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The first byte of every key of the directory within its family.
const SPACE: u8 = b'd';
/// The version of all rows that are written now.
const ROW_VERSION: u8 = 1;

/// Where rows are written to: the transaction of a log entry.
pub trait Rows {
    /// Writes a row.
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Error>;
    /// Removes a row.
    fn delete(&mut self, key: Vec<u8>) -> Result<(), Error>;
    /// Removes all rows of a range.
    fn delete_range(&mut self, range: Range<Vec<u8>>) -> Result<(), Error>;
}

/// What looks at rows, key and value; says whether to go on.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, Error> + 'a;

/// Where rows are read from.
pub trait RowSource {
    /// Calls `visit` for the rows of the range, in the order of keys or backwards, until it says `false`.
    fn scan(&self, range: Range<Vec<u8>>, backwards: bool, visit: &mut Visit<'_>) -> Result<(), Error>;
}

/// The range of keys that holds the whole directory, the audit with it.
pub fn key_range() -> Range<Vec<u8>> {
    vec![SPACE]..vec![SPACE + 1]
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Counters = 1,
    Settings = 2,
    Shards = 3,
    Plan = 4,
    Prefix = 5,
    Domain = 6,
    DomainAlias = 7,
    Account = 8,
    Alias = 9,
    Audit = 10,
    Cluster = 11,
    Node = 12,
    FormerNode = 13,
    JoinToken = 14,
    Placement = 15,
    Move = 16,
    LastShard = 17,
    MoveRate = 18,
    LastMove = 19,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        use Kind::*;
        let mail = [Counters, Settings, Shards, Plan, Prefix, Domain, DomainAlias, Account, Alias, Audit];
        let cluster = [Cluster, Node, FormerNode, JoinToken, Placement, Move, LastShard, MoveRate, LastMove];
        mail.into_iter().chain(cluster).find(|kind| *kind as u8 == byte)
    }

    fn key(self, rest: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(2 + rest.len());
        key.push(SPACE);
        key.push(self as u8);
        key.extend_from_slice(rest);
        key
    }
}

/// A record to be written, or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Counters(Counters),
    Settings(Settings),
    Shards(Vec<ShardId>),
    Plan(Plan),
    Prefix(Prefix),
    Domain(HostedDomain),
    DomainAlias(DomainAlias),
    Account(Account),
    Alias(Alias),
    Cluster(Cluster),
    Node(ClusterNode),
    FormerNode(FormerNode),
    JoinToken(JoinToken),
    Placement(Placement),
    Move(Move),
    /// The highest number that a shard ever had.
    LastShard(ShardId),
    /// In KiB per second.
    MoveRate(u32),
    /// The name of the last move that began.
    LastMove(u64),
}

/// Another name of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DomainAlias {
    pub(crate) name: Domain,
    pub(crate) domain: DomainId,
}

/// A record to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordName {
    Plan(PlanId),
    Domain(DomainId),
    DomainAlias(Domain),
    Account(AccountId),
    Alias(AliasId),
    Node(NodeId),
    JoinToken([u8; 32]),
    Placement(ShardId),
    Move(AccountId),
}

impl RecordName {
    pub(crate) fn key(&self) -> Vec<u8> {
        match self {
            RecordName::Plan(id) => Kind::Plan.key(&id.0.to_be_bytes()),
            RecordName::Domain(id) => Kind::Domain.key(&id.0.to_be_bytes()),
            RecordName::DomainAlias(name) => Kind::DomainAlias.key(name.as_str().as_bytes()),
            RecordName::Account(id) => Kind::Account.key(&id.0.to_be_bytes()),
            RecordName::Alias(id) => Kind::Alias.key(&id.0.to_be_bytes()),
            RecordName::Node(id) => Kind::Node.key(&id.0.to_be_bytes()),
            RecordName::JoinToken(secret_hash) => Kind::JoinToken.key(secret_hash),
            RecordName::Placement(shard) => Kind::Placement.key(&shard.0.to_be_bytes()),
            RecordName::Move(account) => Kind::Move.key(&account.0.to_be_bytes()),
        }
    }
}

impl Record {
    /// Key and value.
    pub(crate) fn row(&self) -> Result<(Vec<u8>, Vec<u8>), Error> {
        Ok(match self {
            Record::Counters(r) => (Kind::Counters.key(&[]), encode(ROW_VERSION, "the row of counters", r)?),
            Record::Settings(r) => (Kind::Settings.key(&[]), encode(ROW_VERSION, "the row of settings", r)?),
            Record::Shards(r) => (Kind::Shards.key(&[]), encode(ROW_VERSION, "the row of shards", r)?),
            Record::Plan(r) => (RecordName::Plan(r.id).key(), encode(ROW_VERSION, "a plan", r)?),
            Record::Prefix(r) => (Kind::Prefix.key(r.name.as_bytes()), encode(ROW_VERSION, "a prefix", r)?),
            Record::Domain(r) => (RecordName::Domain(r.id).key(), encode(ROW_VERSION, "a domain", r)?),
            Record::DomainAlias(r) => {
                let key = RecordName::DomainAlias(r.name.clone()).key();
                (key, encode(ROW_VERSION, "a domain alias", r)?)
            }
            Record::Account(r) => (RecordName::Account(r.id).key(), encode(ROW_VERSION, "an account", r)?),
            Record::Alias(r) => (RecordName::Alias(r.id).key(), encode(ROW_VERSION, "an alias", r)?),
            Record::Cluster(r) => (Kind::Cluster.key(&[]), encode(ROW_VERSION, "the row of the cluster", r)?),
            Record::Node(r) => (RecordName::Node(r.id).key(), encode(ROW_VERSION, "a node", r)?),
            Record::FormerNode(r) => {
                (Kind::FormerNode.key(&r.id.0.to_be_bytes()), encode(ROW_VERSION, "a former node", r)?)
            }
            Record::JoinToken(r) => {
                (RecordName::JoinToken(r.secret_hash).key(), encode(ROW_VERSION, "a join token", r)?)
            }
            Record::Placement(r) => {
                (RecordName::Placement(r.shard).key(), encode(ROW_VERSION, "a placement", r)?)
            }
            Record::Move(r) => (RecordName::Move(r.account).key(), encode(ROW_VERSION, "a move", r)?),
            Record::LastShard(r) => (Kind::LastShard.key(&[]), encode(ROW_VERSION, "the last shard", r)?),
            Record::MoveRate(r) => (Kind::MoveRate.key(&[]), encode(ROW_VERSION, "the rate of moves", r)?),
            Record::LastMove(r) => (Kind::LastMove.key(&[]), encode(ROW_VERSION, "the last move", r)?),
        })
    }

    /// `None` for a row of the audit, which is not kept in memory.
    pub(crate) fn read(key: &[u8], value: &[u8]) -> Result<Option<Record>, Error> {
        let kind = match key {
            [SPACE, kind, ..] => Kind::of(*kind),
            _ => None,
        };
        let row = |reason| Error::Row { key: key.to_vec(), reason };
        let kind = kind.ok_or_else(|| row(None))?;
        Record::of_kind(kind, value).map_err(|error| row(Some(Box::new(error))))
    }

    fn of_kind(kind: Kind, value: &[u8]) -> Result<Option<Record>, Error> {
        Ok(Some(match kind {
            Kind::Counters => Record::Counters(decode(ROW_VERSION, "the row of counters", value)?),
            Kind::Settings => Record::Settings(decode(ROW_VERSION, "the row of settings", value)?),
            Kind::Shards => Record::Shards(decode(ROW_VERSION, "the row of shards", value)?),
            Kind::Plan => Record::Plan(decode(ROW_VERSION, "a plan", value)?),
            Kind::Prefix => Record::Prefix(decode(ROW_VERSION, "a prefix", value)?),
            Kind::Domain => Record::Domain(decode(ROW_VERSION, "a domain", value)?),
            Kind::DomainAlias => Record::DomainAlias(decode(ROW_VERSION, "a domain alias", value)?),
            Kind::Account => Record::Account(decode(ROW_VERSION, "an account", value)?),
            Kind::Alias => Record::Alias(decode(ROW_VERSION, "an alias", value)?),
            Kind::Audit => return Ok(None),
            Kind::Cluster => Record::Cluster(decode(ROW_VERSION, "the row of the cluster", value)?),
            Kind::Node => Record::Node(decode(ROW_VERSION, "a node", value)?),
            Kind::FormerNode => Record::FormerNode(decode(ROW_VERSION, "a former node", value)?),
            Kind::JoinToken => Record::JoinToken(decode(ROW_VERSION, "a join token", value)?),
            Kind::Placement => Record::Placement(decode(ROW_VERSION, "a placement", value)?),
            Kind::Move => Record::Move(decode(ROW_VERSION, "a move", value)?),
            Kind::LastShard => Record::LastShard(decode(ROW_VERSION, "the last shard", value)?),
            Kind::MoveRate => Record::MoveRate(decode(ROW_VERSION, "the rate of moves", value)?),
            Kind::LastMove => Record::LastMove(decode(ROW_VERSION, "the last move", value)?),
        }))
    }
}

/// The ranges of all rows but the audit's, which lies between them.
pub(crate) fn record_ranges() -> [Range<Vec<u8>>; 2] {
    [vec![SPACE]..Kind::Audit.key(&[]), audit_end()..key_range().end]
}

fn audit_end() -> Vec<u8> {
    vec![SPACE, Kind::Audit as u8 + 1]
}

fn audit_key(time_ms: u64, sequence: u64) -> Vec<u8> {
    let mut rest = time_ms.to_be_bytes().to_vec();
    rest.extend_from_slice(&sequence.to_be_bytes());
    Kind::Audit.key(&rest)
}

/// Audit rows from a time on, before a place (time and sequence).
pub(crate) fn audit_range(from_ms: u64, before: Option<(u64, u64)>) -> Range<Vec<u8>> {
    let end = match before {
        Some((time_ms, sequence)) => audit_key(time_ms, sequence),
        None => audit_end(),
    };
    audit_key(from_ms, 0)..end
}

pub(crate) fn audit_row(entry: &AuditEntry) -> Result<(Vec<u8>, Vec<u8>), Error> {
    Ok((audit_key(entry.time_ms, entry.sequence), encode(ROW_VERSION, "an audit entry", entry)?))
}

pub(crate) fn read_audit(value: &[u8]) -> Result<AuditEntry, Error> {
    decode(ROW_VERSION, "an audit entry", value)
}
