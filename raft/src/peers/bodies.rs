//! Message bodies on their way between nodes.
//!
//! Small ones lie in the request that names them. Larger ones go before it in parts, when the receiver says that it
//! lacks them; they are staged in its store as those of a session are, and wait in [`super::arrivals`] for the request.
//! What comes is believed by its hash alone. What a node has brought to a leader it keeps there until it is answered:
//! the leader need not send it back with the entry.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use estafette_storage::{BodyHash, NewBody, Store};
use futures_util::{TryStreamExt, stream};

use super::Hub;
use super::wire::{self, Ask, BodyHead, BodyPart, Done, Refused, Told, Way};
use crate::blocking::blocking;
use crate::codec::Undecodable;
use crate::{Error, GroupId, Lane, NodeId, Unreached};

/// Longest body that lies in the request that names it.
pub(crate) const INLINE_BYTES: u64 = 128 << 10;
/// Bytes of bodies in one request; the others are sent in parts. Well below what a frame holds, and no less than what
/// proposals that are joined bring.
const INLINE_ALL_BYTES: u64 = 8 << 20;
/// Bodies of one request, once it holds so many bytes: few entries name so many, those that bring a mailbox from elsewhere.
const NAMED_MAX: usize = 256;
/// Bodies of one request that are sent in parts at the same time.
const PUSHES: usize = 8;
/// Bytes of one part of a larger one.
pub(crate) const PART_BYTES: u64 = 256 << 10;

/// The bodies of a request to be sent: what the head says of them, and what lies in the tail.
#[derive(Clone, Default)]
pub(crate) struct Outgoing {
    named: HashSet<BodyHash>,
    pub(crate) heads: Vec<BodyHead>,
    pub(crate) tail: Vec<Bytes>,
    pub(crate) bytes: u64,
}

impl Outgoing {
    /// True if it has this one already.
    pub(crate) fn has(&self, hash: &BodyHash) -> bool {
        self.named.contains(hash)
    }

    fn name(&mut self, body: &NewBody, way: Way) {
        self.named.insert(body.hash());
        self.heads.push(BodyHead { hash: body.hash().0, len: body.len(), way });
    }

    /// Adds a body that is in memory or in the store, or the name of an absent one.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn add(&mut self, body: &NewBody) -> Result<(), Error> {
        let len = body.len();
        if body.is_absent() {
            self.name(body, Way::Gone);
            return Ok(());
        }
        if len > INLINE_BYTES || body.is_staged() || self.bytes >= INLINE_ALL_BYTES {
            self.name(body, Way::Before);
            return Ok(());
        }
        let structure = body.structure().cloned();
        let structure_bytes = structure.as_ref().map_or(0, |row| u32::try_from(row.len()).unwrap_or(0));
        let pieces = body.read(0..len)?;
        self.name(body, Way::Inline { structure_bytes });
        self.tail.extend(structure);
        self.tail.extend(pieces);
        self.bytes = self.bytes.saturating_add(len).saturating_add(u64::from(structure_bytes));
        Ok(())
    }

    /// Adds a body that the receiver keeps.
    pub(crate) fn add_kept(&mut self, body: &NewBody) {
        self.name(body, Way::Before);
    }

    /// Adds a body by its name alone: from the store, or as gone; as gone also past as many as a receiver takes in parts.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn add_stored(&mut self, store: &Store, hash: BodyHash) -> Result<(), Error> {
        let is_full = self.bytes >= INLINE_ALL_BYTES && self.heads.len() >= NAMED_MAX;
        match store.body(&hash)? {
            Some(body) if is_full => self.add(&NewBody::expected(&body)),
            Some(body) => self.add(&NewBody::stored(&body)),
            None => self.add(&NewBody::absent(hash, None)),
        }
    }
}

/// What is wrong with the bodies of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Undecodable,
    Missing(Vec<[u8; 32]>),
    Damaged(Vec<[u8; 32]>),
    Storage,
}

impl From<Undecodable> for Trouble {
    fn from(_: Undecodable) -> Trouble {
        Trouble::Undecodable
    }
}

impl Hub {
    /// The bodies that a request brings or names, each ready for a write.
    pub(crate) fn received(
        &self,
        heads: &[BodyHead],
        tail: &mut Bytes,
    ) -> Result<HashMap<BodyHash, NewBody>, Trouble> {
        let mut bodies = HashMap::with_capacity(heads.len());
        let (mut missing, mut damaged) = (Vec::new(), Vec::new());
        for head in heads {
            let hash = BodyHash(head.hash);
            let body = match head.way {
                Way::Inline { structure_bytes } => {
                    let structure = wire::take(tail, u64::from(structure_bytes))?;
                    let body = NewBody::of(vec![wire::take(tail, head.len)?]);
                    if body.hash() != hash {
                        damaged.push(head.hash);
                        continue;
                    }
                    if structure.is_empty() { body } else { body.with_structure(structure) }
                }
                Way::Before => match self.before(hash, head.len) {
                    Ok(Some(body)) => body,
                    Ok(None) => {
                        missing.push(head.hash);
                        continue;
                    }
                    Err(_) => return Err(Trouble::Storage),
                },
                Way::Gone => NewBody::absent(hash, Some(head.len).filter(|len| *len > 0)),
            };
            bodies.insert(hash, body);
        }
        match (damaged.is_empty(), missing.is_empty()) {
            (false, _) => Err(Trouble::Damaged(damaged)),
            (_, false) => Err(Trouble::Missing(missing)),
            _ => Ok(bodies),
        }
    }

    /// A body that was sent in parts, is kept for its leader, or is in the store.
    fn before(&self, hash: BodyHash, len: u64) -> Result<Option<NewBody>, estafette_storage::Error> {
        if let Some(body) = self.arrivals.waiting(&hash).or_else(|| self.lent.find(&hash)) {
            return Ok(Some(body));
        }
        // It may be collected before the write, which then says that it is missing.
        let stored = self.store.body(&hash)?.filter(|body| body.len() == len);
        Ok(stored.map(|body| NewBody::expected(&body)))
    }

    /// Sends a body in parts, for the request that names it.
    ///
    /// # Errors
    /// The peer does not answer, or does not take it; the store cannot read it.
    pub(crate) async fn push(&self, to: NodeId, group: GroupId, body: NewBody) -> Result<(), Unpushed> {
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(|_| Unpushed::Unreadable)?;
        let (transfer, hash, len) = (u64::from_le_bytes(number), body.hash().0, body.len());
        let structure = body.structure().cloned();
        let mut offset = 0;
        loop {
            let end = (offset + PART_BYTES).min(len);
            let last = end == len;
            let from = body.clone();
            let read = blocking(&self.store, move || from.read(offset..end)).await;
            let Ok(Ok(mut pieces)) = read else { return Err(Unpushed::Unreadable) };
            let behind = structure.clone().filter(|_| last);
            let structure_bytes = behind.as_ref().map_or(0, |row| u32::try_from(row.len()).unwrap_or(0));
            pieces.extend(behind);
            let part = Ask::BodyPart(BodyPart { transfer, hash, offset, last, structure_bytes });
            match self.ask::<Done>(to, Lane::Bulk, group, part, pieces).await? {
                Told::Value(()) if last => return Ok(()),
                Told::Value(()) => offset = end,
                Told::Refused(refused) => return Err(Unpushed::Refused(refused)),
            }
        }
    }

    /// Sends those of the bodies that a peer lacks; `source` gives one by its name.
    pub(crate) async fn push_missing(
        &self,
        to: NodeId,
        group: GroupId,
        missing: &[[u8; 32]],
        source: impl Fn(BodyHash) -> Option<NewBody>,
    ) -> Result<(), Unpushed> {
        let bodies = missing.iter().map(|hash| {
            let hash = BodyHash(*hash);
            let stored = || {
                let found = self.store.body(&hash).ok().flatten().ok_or(Unpushed::Unreadable)?;
                Ok(NewBody::stored(&found))
            };
            source(hash).map_or_else(stored, Ok)
        });
        let pushed = stream::iter(bodies.collect::<Vec<_>>());
        pushed.try_for_each_concurrent(PUSHES, |body| self.push(to, group, body)).await
    }

    /// Takes a part of a body that a peer sends; `bytes`: the part, and behind it the structure row if there is one.
    pub(crate) async fn take_part(
        &self,
        from: NodeId,
        part: BodyPart,
        mut bytes: Bytes,
    ) -> Result<(), Refused> {
        let structure_bytes = usize::try_from(part.structure_bytes).map_err(|_| Refused::Unknown)?;
        let structure = bytes.split_off(bytes.len().checked_sub(structure_bytes).ok_or(Refused::Unknown)?);
        let key = (from, part.transfer);
        let mut staging = self.arrivals.take(&self.store, key, part.offset)?;
        let work = move || {
            staging.push(&bytes)?;
            Ok::<_, estafette_storage::Error>(if part.last { Ok(staging.finish()?) } else { Err(staging) })
        };
        match blocking(&self.store, work)
            .await
            .map_err(|_| Refused::Storage)?
            .map_err(|_| Refused::Storage)?
        {
            Err(staging) => self.arrivals.put_back(key, staging),
            Ok(body) if body.hash().0 == part.hash => {
                let body = if structure.is_empty() { body } else { body.with_structure(structure) };
                self.arrivals.arrived(body);
            }
            Ok(_) => return Err(Refused::Because("the body does not fit its hash".into())),
        }
        Ok(())
    }
}

/// Why a body did not get to a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unpushed {
    #[error(transparent)]
    Unreached(#[from] Unreached),
    #[error("the peer does not take it: {0:?}")]
    Refused(Refused),
    #[error("it cannot be read here")]
    Unreadable,
}
