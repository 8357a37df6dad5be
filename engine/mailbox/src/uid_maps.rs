//! The UIDs of open mailboxes.

use crate::block::{self, block_of};
use crate::by_mailbox::{ByMailbox, Derived, Since};
use crate::error::Error;
use crate::key::MailboxRef;
use estafette_storage::Read;
use estafette_types::{Uid, UidSet};

/// Bytes that the maps of a node may take, unless it is set otherwise.
pub const UID_MAPS_BYTES: u64 = 64 << 20;

/// A bounded cache of the UIDs of mailboxes.
pub type UidMaps = ByMailbox<UidSet>;

impl Derived for UidSet {
    const BYTES: u64 = UID_MAPS_BYTES;

    fn whole<R: Read + ?Sized>(rows: &R, at: MailboxRef) -> Result<UidSet, Error> {
        block::read_from(rows, at, 0)
    }

    fn after<R: Read + ?Sized>(&self, rows: &R, at: MailboxRef, since: &Since) -> Result<UidSet, Error> {
        let uids = if since.gone.is_empty() { self.clone() } else { self.difference(&since.gone) };
        let Some(from) = since.from else { return Ok(uids) };
        let new = block::read_from(rows, at, block_of(from))?;
        Ok(uids.union(&new.intersection(&UidSet::range(from, Uid::MAX))))
    }

    fn bytes(&self) -> u64 {
        self.heap_bytes() as u64
    }
}
