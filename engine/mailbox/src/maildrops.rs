//! The sizes of the messages of mailboxes: what POP3 asks for at every login, by clients that come again
//! every few minutes and mostly find nothing new.

use crate::by_mailbox::{ByMailbox, Derived, Since};
use crate::error::Error;
use crate::key::MailboxRef;
use crate::read;
use estafette_storage::Read;
use estafette_types::{Uid, UidSet};
use std::sync::Arc;

/// Bytes that the maildrops of a node may take, unless it is set otherwise.
pub const MAILDROPS_BYTES: u64 = 32 << 20;

/// A bounded cache of maildrops.
pub type Maildrops = ByMailbox<Maildrop>;

/// The messages of a mailbox and their sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maildrop {
    /// The messages.
    pub uids: Arc<UidSet>,
    /// The size in bytes of each, in the same order; of a larger one, `u32::MAX`.
    pub sizes: Arc<[u32]>,
}

impl Maildrop {
    /// These, and those from a UID on.
    fn read<R: Read + ?Sized>(
        rows: &R,
        at: MailboxRef,
        mut known: Vec<(Uid, u32)>,
        from: Option<Uid>,
    ) -> Result<Maildrop, Error> {
        if let Some(from) = from {
            for message in read::messages(rows, at, from..=Uid::MAX)? {
                let message = message?;
                known.push((message.uid, u32::try_from(message.row.size).unwrap_or(u32::MAX)));
            }
        }
        Ok(Maildrop {
            uids: Arc::new(UidSet::from_runs(known.iter().map(|(uid, _)| (*uid, *uid)))),
            sizes: known.iter().map(|(_, size)| *size).collect(),
        })
    }
}

impl Derived for Maildrop {
    const BYTES: u64 = MAILDROPS_BYTES;

    fn whole<R: Read + ?Sized>(rows: &R, at: MailboxRef) -> Result<Maildrop, Error> {
        Maildrop::read(rows, at, Vec::new(), Some(Uid::MIN))
    }

    fn after<R: Read + ?Sized>(&self, rows: &R, at: MailboxRef, since: &Since) -> Result<Maildrop, Error> {
        let known = self.uids.iter().zip(self.sizes.iter().copied());
        let stays = known.filter(|(uid, _)| !since.gone.contains(*uid));
        Maildrop::read(rows, at, stays.collect(), since.from)
    }

    fn bytes(&self) -> u64 {
        (self.uids.heap_bytes() + size_of_val(&*self.sizes)) as u64
    }
}
