//! What is worked out of the rows of a mailbox and kept in memory, shared by all sessions that look at it.
//!
//! It is known by UIDNEXT and the ModSeq of the last expunge: while both stand still, so does it. When they
//! have moved, only what came and what was expunged is read, not the mailbox.

use crate::error::Error;
use crate::key::MailboxRef;
use crate::read::{Vanished, vanished_since};
use crate::rows::MailboxRow;
use estafette_storage::Read;
use estafette_types::{ModSeq, Uid, UidSet};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use std::fmt;
use std::sync::Arc;

/// Bytes of an entry beside what it holds (counted, not measured).
const ENTRY_BYTES: u64 = 128;
/// Bytes of a usual entry, for the first size of the cache's table.
const USUAL_BYTES: u64 = ENTRY_BYTES + 12;
/// Bytes of a part of the cache that has its own lock: what is larger is not kept.
const PART_BYTES: u64 = 8 << 20;
/// The most parts.
const PARTS_MAX: usize = 64;

/// What can be worked out of a mailbox, and brought forward without reading all of it again.
pub trait Derived: Sized {
    /// Bytes that all of a node may take, unless it is set otherwise.
    const BYTES: u64;

    /// Read as a whole.
    ///
    /// # Errors
    /// When the rows cannot be read.
    fn whole<R: Read + ?Sized>(rows: &R, at: MailboxRef) -> Result<Self, Error>;

    /// The same after what has happened since.
    ///
    /// # Errors
    /// When the rows cannot be read.
    fn after<R: Read + ?Sized>(&self, rows: &R, at: MailboxRef, since: &Since) -> Result<Self, Error>;

    /// Bytes of memory that it takes, about.
    fn bytes(&self) -> u64;
}

/// What has happened to a mailbox since something was worked out of it.
#[derive(Clone, Debug)]
pub struct Since {
    /// Messages that are there no more.
    pub gone: UidSet,
    /// The lowest UID that those may have which came; `None` when none came.
    pub from: Option<Uid>,
}

#[derive(Debug)]
struct Known<T> {
    uid_next: Uid,
    expunged_modseq: ModSeq,
    it: Arc<T>,
}

impl<T> Clone for Known<T> {
    fn clone(&self) -> Self {
        Known { uid_next: self.uid_next, expunged_modseq: self.expunged_modseq, it: Arc::clone(&self.it) }
    }
}

#[derive(Clone, Debug)]
struct Bytes;

impl<T: Derived> Weighter<MailboxRef, Known<T>> for Bytes {
    fn weight(&self, _: &MailboxRef, known: &Known<T>) -> u64 {
        ENTRY_BYTES + known.it.bytes()
    }
}

/// A bounded cache of what is worked out of mailboxes.
pub struct ByMailbox<T> {
    cache: Cache<MailboxRef, Known<T>, Bytes>,
}

impl<T: Derived> fmt::Debug for ByMailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByMailbox").field("mailboxes", &self.cache.len()).finish_non_exhaustive()
    }
}

impl<T: Derived> Default for ByMailbox<T> {
    fn default() -> ByMailbox<T> {
        ByMailbox::new(T::BYTES)
    }
}

impl<T: Derived> ByMailbox<T> {
    /// An empty cache of at most so many bytes.
    pub fn new(bytes: u64) -> ByMailbox<T> {
        let items = usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX);
        let parts = usize::try_from(bytes / PART_BYTES).unwrap_or(usize::MAX).clamp(1, PARTS_MAX);
        let mut options = OptionsBuilder::new();
        options.estimated_items_capacity(items).weight_capacity(bytes).shards(parts);
        let cache = match options.build() {
            Ok(options) => Cache::with_options(
                options,
                Bytes,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            Err(_) => Cache::with_weighter(items, bytes, Bytes),
        };
        ByMailbox { cache }
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// That of a mailbox in the view that `row` was read from.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn read<R: Read + ?Sized>(
        &self,
        rows: &R,
        at: MailboxRef,
        row: &MailboxRow,
    ) -> Result<Arc<T>, Error> {
        let known = self.cache.get(&at);
        let found = match &known {
            Some(known) if known.uid_next == row.uid_next && known.expunged_modseq == row.expunged_modseq => {
                return Ok(Arc::clone(&known.it));
            }
            // An old view: what is known is newer and stays.
            Some(known) if known.uid_next > row.uid_next || known.expunged_modseq > row.expunged_modseq => {
                return Ok(Arc::new(T::whole(rows, at)?));
            }
            Some(known) => advance(rows, at, known, row)?,
            None => T::whole(rows, at)?,
        };
        let it = Arc::new(found);
        let known =
            Known { uid_next: row.uid_next, expunged_modseq: row.expunged_modseq, it: Arc::clone(&it) };
        self.cache.insert(at, known);
        Ok(it)
    }

    /// Forgets everything: the rows were replaced.
    pub fn clear(&self) {
        self.cache.clear();
    }
}

/// What is known after what has happened since.
fn advance<R: Read + ?Sized, T: Derived>(
    rows: &R,
    at: MailboxRef,
    known: &Known<T>,
    row: &MailboxRow,
) -> Result<T, Error> {
    match vanished_since(rows, at, row, known.expunged_modseq)? {
        Vanished::Unknown => T::whole(rows, at),
        Vanished::Uids(gone) => {
            let from = (row.uid_next > known.uid_next).then_some(known.uid_next);
            known.it.after(rows, at, &Since { gone, from })
        }
    }
}
