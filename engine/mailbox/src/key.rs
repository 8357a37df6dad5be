//! Where rows lie: shard, account, mailbox, kind, the rest. All numbers big-endian, so that a shard,
//! an account, a mailbox and a kind of row in a mailbox are one range of keys each.
//!
//! Rows of the account itself have mailbox 0; mailboxes count from 1.

use crate::error::HexKey;
use estafette_types::{AccountId, MailboxId, ModSeq, ShardId, Uid};
use std::ops::Range;

/// An account and the shard that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountRef {
    /// The shard.
    pub shard: ShardId,
    /// The account.
    pub account: AccountId,
}

/// A mailbox, its account and shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxRef {
    /// The shard.
    pub shard: ShardId,
    /// The account.
    pub account: AccountId,
    /// The mailbox within the account.
    pub mailbox: MailboxId,
}

/// Kinds of rows. Numbers are on disk: never change or reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Counters and usage of an account.
    Account = 1,
    /// Name of a mailbox → its number.
    Name = 2,
    /// A subscribed name.
    Subscription = 3,
    /// A delivery that was carried out.
    Delivery = 4,
    /// A deleted mailbox whose messages are not all removed yet.
    Doomed = 5,
    /// A named command that was carried out, with its answer.
    Request = 6,
    /// Counters of a mailbox.
    Mailbox = 16,
    /// Keywords of a mailbox.
    Keywords = 17,
    /// Which UIDs of a block exist.
    Block = 18,
    /// A message.
    Message = 19,
    /// ModSeq and UID of a message changed since its arrival.
    Change = 20,
    /// ModSeq → UIDs expunged by it.
    Expunged = 21,
    /// A message with `\Deleted`.
    Deleted = 22,
}

impl Kind {
    pub(crate) fn of(byte: u8) -> Option<Kind> {
        use Kind::{
            Account, Block, Change, Deleted, Delivery, Doomed, Expunged, Keywords, Mailbox, Message, Name,
            Request, Subscription,
        };
        [
            Account,
            Name,
            Subscription,
            Delivery,
            Doomed,
            Request,
            Mailbox,
            Keywords,
            Block,
            Message,
            Change,
            Expunged,
            Deleted,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Account => "account",
            Kind::Name => "mailbox name",
            Kind::Subscription => "subscription",
            Kind::Delivery => "delivery",
            Kind::Doomed => "deleted mailbox",
            Kind::Request => "named command",
            Kind::Mailbox => "mailbox",
            Kind::Keywords => "keyword",
            Kind::Block => "UID block",
            Kind::Message => "message",
            Kind::Change => "change",
            Kind::Expunged => "expunge",
            Kind::Deleted => "\\Deleted",
        }
    }
}

impl Kind {
    /// True for rows of the account itself, false for those of a mailbox.
    pub(crate) fn is_of_account(self) -> bool {
        (self as u8) < Kind::Mailbox as u8
    }
}

/// The length of shard and account.
pub(crate) const ACCOUNT_HEAD: usize = 4 + 8;
/// The length of shard, account, mailbox and kind.
pub(crate) const HEAD: usize = 4 + 8 + 4 + 1;

impl AccountRef {
    /// A mailbox of the account.
    pub fn mailbox(self, mailbox: MailboxId) -> MailboxRef {
        MailboxRef { shard: self.shard, account: self.account, mailbox }
    }

    pub(crate) fn key(self, kind: Kind, tail: &[u8]) -> Vec<u8> {
        self.mailbox(MailboxId(0)).key(kind, tail)
    }

    pub(crate) fn kind_range(self, kind: Kind) -> Range<Vec<u8>> {
        self.mailbox(MailboxId(0)).kind_range(kind)
    }

    fn prefix(self) -> Vec<u8> {
        let mut key = Vec::with_capacity(HEAD);
        key.extend_from_slice(&self.shard.0.to_be_bytes());
        key.extend_from_slice(&self.account.0.to_be_bytes());
        key
    }

    /// A key of the account by what comes after shard and account.
    pub(crate) fn whole_key(self, tail: &[u8]) -> Vec<u8> {
        let mut key = self.prefix();
        key.extend_from_slice(tail);
        key
    }

    /// Every row of the account's mailboxes, without those of the account itself.
    pub(crate) fn mailboxes_range(self) -> Range<Vec<u8>> {
        let prefix = self.prefix();
        let mut start = prefix.clone();
        start.extend_from_slice(&1u32.to_be_bytes());
        start..after(prefix)
    }
}

impl MailboxRef {
    /// The account it belongs to.
    pub fn owner(self) -> AccountRef {
        AccountRef { shard: self.shard, account: self.account }
    }

    pub(crate) fn key(self, kind: Kind, tail: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(HEAD + tail.len());
        key.extend_from_slice(&self.shard.0.to_be_bytes());
        key.extend_from_slice(&self.account.0.to_be_bytes());
        key.extend_from_slice(&self.mailbox.0.to_be_bytes());
        key.push(kind as u8);
        key.extend_from_slice(tail);
        key
    }

    pub(crate) fn message(self, uid: Uid) -> Vec<u8> {
        self.key(Kind::Message, &uid.value().to_be_bytes())
    }

    pub(crate) fn block(self, block: u32) -> Vec<u8> {
        self.key(Kind::Block, &block.to_be_bytes())
    }

    pub(crate) fn deleted(self, uid: Uid) -> Vec<u8> {
        self.key(Kind::Deleted, &uid.value().to_be_bytes())
    }

    pub(crate) fn change(self, modseq: ModSeq, uid: Uid) -> Vec<u8> {
        let mut tail = [0; 12];
        let (high, low) = tail.split_at_mut(8);
        high.copy_from_slice(&modseq.0.to_be_bytes());
        low.copy_from_slice(&uid.value().to_be_bytes());
        self.key(Kind::Change, &tail)
    }

    pub(crate) fn expunged(self, modseq: ModSeq) -> Vec<u8> {
        self.key(Kind::Expunged, &modseq.0.to_be_bytes())
    }

    /// Every row of one kind.
    pub(crate) fn kind_range(self, kind: Kind) -> Range<Vec<u8>> {
        let start = self.key(kind, &[]);
        start.clone()..after(start)
    }

    /// Rows of one kind from a key on.
    pub(crate) fn kind_from(self, kind: Kind, tail: &[u8]) -> Range<Vec<u8>> {
        self.key(kind, tail)..after(self.key(kind, &[]))
    }

    /// Every row of the mailbox.
    pub(crate) fn range(self) -> Range<Vec<u8>> {
        let mut start = self.owner().prefix();
        start.extend_from_slice(&self.mailbox.0.to_be_bytes());
        start.clone()..after(start)
    }
}

/// The keys of all rows of a shard in [`estafette_storage::Family::Row`].
pub fn shard_range(shard: ShardId) -> Range<Vec<u8>> {
    let start = shard.0.to_be_bytes().to_vec();
    start.clone()..after(start)
}

/// The first key that does not begin with this prefix. (A prefix of 0xFF alone cannot be: no shard has
/// the number 2³²−1.)
pub(crate) fn after(mut prefix: Vec<u8>) -> Vec<u8> {
    while let Some(last) = prefix.pop() {
        if let Some(next) = last.checked_add(1) {
            prefix.push(next);
            break;
        }
    }
    prefix
}

/// A key taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parsed<'a> {
    pub(crate) at: MailboxRef,
    pub(crate) kind: Kind,
    pub(crate) tail: &'a [u8],
}

impl<'a> Parsed<'a> {
    pub(crate) fn of(key: &'a [u8]) -> Option<Parsed<'a>> {
        let (shard, rest) = key.split_first_chunk::<4>()?;
        let (account, rest) = rest.split_first_chunk::<8>()?;
        let (mailbox, rest) = rest.split_first_chunk::<4>()?;
        let (kind, tail) = rest.split_first()?;
        let at = MailboxRef {
            shard: ShardId(u32::from_be_bytes(*shard)),
            account: AccountId(u64::from_be_bytes(*account)),
            mailbox: MailboxId(u32::from_be_bytes(*mailbox)),
        };
        Some(Parsed { at, kind: Kind::of(*kind)?, tail })
    }

    /// The tail as a UID.
    pub(crate) fn uid(&self) -> Option<Uid> {
        Uid::new(u32::from_be_bytes(self.tail.try_into().ok()?))
    }

    /// The tail as a number of four bytes.
    pub(crate) fn number(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.tail.try_into().ok()?))
    }

    /// The tail as ModSeq and UID.
    pub(crate) fn change(&self) -> Option<(ModSeq, Uid)> {
        let (modseq, uid) = self.tail.split_first_chunk::<8>()?;
        Some((ModSeq(u64::from_be_bytes(*modseq)), Uid::new(u32::from_be_bytes(uid.try_into().ok()?))?))
    }

    /// The tail as a ModSeq.
    pub(crate) fn modseq(&self) -> Option<ModSeq> {
        Some(ModSeq(u64::from_be_bytes(self.tail.try_into().ok()?)))
    }
}

/// Takes a key apart, or says that the row is damaged.
pub(crate) fn parse(key: &[u8]) -> Result<Parsed<'_>, crate::Error> {
    Parsed::of(key).ok_or_else(|| crate::Error::Damaged { what: "unknown", key: HexKey(key.to_vec()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> MailboxRef {
        MailboxRef { shard: ShardId(2), account: AccountId(0x0102), mailbox: MailboxId(3) }
    }

    #[test]
    fn keys_have_the_layout_of_version_one() {
        let key = at().message(Uid::new(0x0A0B).unwrap());
        assert_eq!(key, [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3, 19, 0, 0, 0x0A, 0x0B]);
        let parsed = Parsed::of(&key).unwrap();
        assert_eq!((parsed.at, parsed.kind, parsed.uid()), (at(), Kind::Message, Uid::new(0x0A0B)));
    }

    #[test]
    fn ranges_hold_their_rows_and_no_others() {
        let key = at().change(ModSeq(9), Uid::MIN);
        assert!(at().kind_range(Kind::Change).contains(&key));
        assert!(at().range().contains(&key));
        assert!(at().owner().mailboxes_range().contains(&key));
        assert!(shard_range(ShardId(2)).contains(&key));
        assert!(!at().kind_range(Kind::Message).contains(&key));
        assert!(!shard_range(ShardId(1)).contains(&key));
        assert!(!at().owner().mailboxes_range().contains(&at().owner().key(Kind::Account, &[])));
        assert_eq!(after(vec![1, 0xFF, 0xFF]), vec![2]);
    }
}
