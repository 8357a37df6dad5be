//! The UIDs of open mailboxes, shared by all sessions that look at them.
//!
//! A map is known by UIDNEXT and the ModSeq of the last expunge: while both stand still, so do the
//! UIDs. When they have moved, only what came and what was expunged is read, not the mailbox.

use crate::block::{self, block_of};
use crate::error::Error;
use crate::key::MailboxRef;
use crate::read::{Vanished, vanished_since};
use crate::rows::MailboxRow;
use estafette_storage::Read;
use estafette_types::{ModSeq, Uid, UidSet};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Bytes that the maps of a node may take, unless it is set otherwise.
pub const UID_MAPS_BYTES: u64 = 64 << 20;
/// Bytes of a map beside its runs, and of a run (counted, not measured).
const MAP_BYTES: u64 = 128;
const RUN_BYTES: u64 = 12;

#[derive(Clone, Debug)]
struct Known {
    uid_next: Uid,
    expunged_modseq: ModSeq,
    uids: Arc<UidSet>,
}

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<MailboxRef, Known> for Bytes {
    fn weight(&self, _: &MailboxRef, known: &Known) -> u64 {
        MAP_BYTES + RUN_BYTES * known.uids.runs().len() as u64
    }
}

/// A bounded cache of the UIDs of mailboxes.
#[derive(Debug)]
pub struct UidMaps {
    cache: Cache<MailboxRef, Known, Bytes>,
}

impl Default for UidMaps {
    fn default() -> UidMaps {
        UidMaps::new(UID_MAPS_BYTES)
    }
}

impl UidMaps {
    /// An empty cache of at most so many bytes.
    pub fn new(bytes: u64) -> UidMaps {
        let items = usize::try_from(bytes / (MAP_BYTES + RUN_BYTES)).unwrap_or(usize::MAX);
        UidMaps { cache: Cache::with_weighter(items, bytes, Bytes) }
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// The UIDs of a mailbox in the view that `row` was read from.
    pub fn read<R: Read + ?Sized>(
        &self,
        rows: &R,
        at: MailboxRef,
        row: &MailboxRow,
    ) -> Result<Arc<UidSet>, Error> {
        let known = self.cache.get(&at);
        let uids = match &known {
            Some(known) if known.uid_next == row.uid_next && known.expunged_modseq == row.expunged_modseq => {
                return Ok(Arc::clone(&known.uids));
            }
            Some(known) => match advance(rows, at, known, row)? {
                Some(uids) => uids,
                // An old view: what is known is newer and stays.
                None if known.uid_next > row.uid_next || known.expunged_modseq > row.expunged_modseq => {
                    return Ok(Arc::new(block::read_from(rows, at, 0)?));
                }
                None => block::read_from(rows, at, 0)?,
            },
            None => block::read_from(rows, at, 0)?,
        };
        let uids = Arc::new(uids);
        let known =
            Known { uid_next: row.uid_next, expunged_modseq: row.expunged_modseq, uids: Arc::clone(&uids) };
        self.cache.insert(at, known);
        Ok(uids)
    }

    /// Forgets everything: the rows were replaced.
    pub fn clear(&self) {
        self.cache.clear();
    }
}

/// The map after what has happened since. `None`: it has to be read anew.
fn advance<R: Read + ?Sized>(
    rows: &R,
    at: MailboxRef,
    known: &Known,
    row: &MailboxRow,
) -> Result<Option<UidSet>, Error> {
    if row.uid_next < known.uid_next || row.expunged_modseq < known.expunged_modseq {
        return Ok(None);
    }
    let mut uids = match vanished_since(rows, at, row, known.expunged_modseq)? {
        Vanished::Unknown => return Ok(None),
        Vanished::Uids(gone) if gone.is_empty() => UidSet::clone(&known.uids),
        Vanished::Uids(gone) => known.uids.difference(&gone),
    };
    if row.uid_next > known.uid_next {
        let new = block::read_from(rows, at, block_of(known.uid_next))?;
        let new = new.intersection(&UidSet::range(known.uid_next, Uid::MAX));
        uids = uids.union(&new);
    }
    Ok(Some(uids))
}
