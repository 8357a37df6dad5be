//! openraft's request for entries, cut into pieces that each fit into one message to a peer, with the bodies that they name.
//!
//! A piece is packed when it is about to be sent, so that memory is bounded by the pieces under way.

use bytes::Bytes;
use estafette_storage::NewBody;
use openraft::raft::AppendEntriesRequest;

use super::Hub;
use super::bodies::Outgoing;
use super::wire::Append;
use crate::NodeId;
use crate::codec::{self, LogIdRow, VoteRow};
use crate::error::Error;
use crate::types::{Brought, Entry, Joined, LogId, Payload, Types};

/// Bytes of entries and bodies in one piece, but for an entry that is larger alone.
const PIECE_BYTES: u64 = 2 << 20;

/// Entries as they are sent.
pub(crate) struct Piece {
    pub(crate) append: Append,
    pub(crate) tail: Vec<Bytes>,
    /// What the peer must have before it.
    pub(crate) prev: Option<LogId>,
    /// What the peer has after it.
    pub(crate) last: Option<LogId>,
    /// The bodies that were not put into it, as far as they are in memory.
    pub(crate) large: Vec<NewBody>,
}

/// A request and how much of it was packed.
pub(crate) struct Pieces {
    rpc: AppendEntriesRequest<Types>,
    packed: usize,
    ended: bool,
    follows: bool,
}

impl Pieces {
    /// `follows`: what the peer must have before it is on its way.
    pub(crate) fn new(rpc: AppendEntriesRequest<Types>, follows: bool) -> Pieces {
        Pieces { rpc, packed: 0, ended: false, follows }
    }

    /// True if another request was sent before this one.
    pub(crate) fn follows(&self) -> bool {
        self.follows
    }

    /// Up to where all is committed, as the request says.
    pub(crate) fn commit(&self) -> u64 {
        self.rpc.leader_commit.map_or(0, |commit| commit.index)
    }

    /// True if there is nothing more to pack.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// The next piece for a peer; a request without entries is one.
    ///
    /// # Errors
    /// The store's, for a body that is read from there.
    pub(crate) fn next(&mut self, hub: &Hub, to: NodeId) -> Option<Result<Piece, Error>> {
        if self.ended {
            return None;
        }
        let left = self.rpc.entries.get(self.packed..).unwrap_or_default();
        let before = self.packed.checked_sub(1).and_then(|last| self.rpc.entries.get(last));
        let prev = before.map_or(self.rpc.prev_log_id, |entry| Some(entry.log_id));
        let piece = pack((hub, to), &self.rpc, prev, left, self.follows || before.is_some());
        match &piece {
            Ok(piece) => {
                self.packed += piece.append.entries.len();
                self.ended = self.packed >= self.rpc.entries.len();
            }
            Err(_) => self.ended = true,
        }
        Some(piece)
    }
}

/// The first of these entries, at least one if there is any.
fn pack(
    (hub, to): (&Hub, NodeId),
    rpc: &AppendEntriesRequest<Types>,
    prev: Option<LogId>,
    left: &[Entry],
    follows: bool,
) -> Result<Piece, Error> {
    let (mut entries, mut last) = (Vec::with_capacity(left.len()), prev);
    let (mut rows, mut bodies, mut large) = (Vec::new(), Outgoing::default(), Vec::new());
    let mut bytes = 0_u64;
    for entry in left {
        let row = codec::encode_entry(entry);
        entries.push((entry.log_id.index, u32::try_from(row.len()).unwrap_or(u32::MAX)));
        last = Some(entry.log_id);
        bytes += row.len() as u64;
        rows.push(Bytes::from(row));
        if let Payload::Normal(joined) = &entry.payload {
            pack_bodies((hub, to), joined, &mut bodies, &mut large)?;
        }
        if bytes + bodies.bytes >= PIECE_BYTES {
            break;
        }
    }
    let append = Append {
        vote: VoteRow::from(&rpc.vote),
        prev: prev.as_ref().map(LogIdRow::from),
        follows,
        commit: rpc.leader_commit.as_ref().map(LogIdRow::from),
        entries,
        bodies: bodies.heads,
    };
    rows.append(&mut bodies.tail);
    Ok(Piece { append, tail: rows, prev, last, large })
}

fn pack_bodies(
    (hub, to): (&Hub, NodeId),
    joined: &Joined,
    bodies: &mut Outgoing,
    large: &mut Vec<NewBody>,
) -> Result<(), Error> {
    for hash in joined.commands.bodies() {
        if bodies.has(&hash) {
            continue;
        }
        #[cfg(feature = "planted")]
        if estafette_storage::planted::is("body-not-sent") {
            bodies.add(&NewBody::absent(hash, None))?;
            continue;
        }
        match joined.bodies.iter().find(|brought| brought.body.hash() == hash) {
            Some(Brought { body, by }) => {
                if *by == Some(to) && (body.is_expected() || !body.is_absent()) {
                    bodies.add_kept(body);
                } else if body.is_expected() {
                    // This node has it; the peer may not.
                    bodies.add_stored(&hub.store, hash)?;
                } else {
                    bodies.add(body)?;
                }
                if !body.is_absent() {
                    large.push(body.clone());
                }
            }
            None => bodies.add_stored(&hub.store, hash)?,
        }
    }
    Ok(())
}
