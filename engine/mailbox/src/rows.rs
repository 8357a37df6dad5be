//! The values of the rows, and the bytes that they are on disk.
//!
//! Each begins with a version byte; what an older version wrote stays readable for ever (the
//! fixtures below and in `tests/fixtures`). Rows that every delivery writes are small: see the test of sizes.

use crate::codec::{Reader, Writer};
use crate::flags::{KeywordSet, SystemFlags};
use estafette_storage::BodyHash;
use estafette_types::{EmailId, MailboxId, ModSeq, Uid, UidValidity};
use serde::{Deserialize, Serialize};

/// Whether an account is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountState {
    /// In use.
    Live,
    /// Deleted; rows wait to be removed.
    Doomed,
    /// Deleted and empty. The row stays, so that a late delivery does not bring the account back.
    Gone,
    /// On its way to another shard: all is here, and nothing changes any more.
    Sealed,
    /// On its way here: some of it has come.
    Arriving,
    /// On its way here: all of it has come.
    Ready,
    /// In another shard; what was here waits to be removed.
    Leaving,
    /// In another shard, and nothing is left here. The row stays, so that who looks for the account here is told.
    Moved,
}

impl AccountState {
    /// Every one, in the order of their numbers on disk, from 0. The first three are those of rows before version 3.
    const ALL: [AccountState; 8] = [
        AccountState::Live,
        AccountState::Doomed,
        AccountState::Gone,
        AccountState::Sealed,
        AccountState::Arriving,
        AccountState::Ready,
        AccountState::Leaving,
        AccountState::Moved,
    ];

    /// True when all that belongs to the account can be read here.
    pub fn is_whole(self) -> bool {
        matches!(self, AccountState::Live | AccountState::Sealed | AccountState::Ready)
    }

    /// True when the account is in another shard, or not quite here yet.
    pub fn is_elsewhere(self) -> bool {
        matches!(self, AccountState::Arriving | AccountState::Leaving | AccountState::Moved)
    }
}

/// Tells one move of an account to another shard from every other: greater for each that the directory begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MoveId(pub u64);

/// Counters and usage of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// In use or not.
    pub state: AccountState,
    /// When it was first touched, ms since 1970.
    pub created_ms: u64,
    /// Bytes of all its messages.
    pub bytes: u64,
    /// Number of all its messages.
    pub messages: u64,
    /// Number of its mailboxes (placeholders included).
    pub mailboxes: u32,
    /// The number that the next mailbox gets.
    pub next_mailbox: MailboxId,
    /// The number that the next message gets.
    pub next_email: EmailId,
    /// The last UIDVALIDITY given; the next is higher.
    pub last_uid_validity: u32,
    /// The period of the newest remembered delivery.
    pub delivery_period: u32,
    /// The period of the newest remembered named command; 0 when there was none yet.
    pub request_period: u32,
    /// The last move that this shard had a part in; 0 when there was none.
    pub last_move: MoveId,
    /// How many times rows were installed while the account is on its way here.
    pub installed: u64,
}

impl AccountRow {
    /// That of an account without anything, in a state other than [`AccountState::Live`].
    pub(crate) fn empty(state: AccountState, time_ms: u64) -> AccountRow {
        AccountRow {
            state,
            created_ms: time_ms,
            bytes: 0,
            messages: 0,
            mailboxes: 0,
            next_mailbox: MailboxId(1),
            next_email: EmailId(1),
            last_uid_validity: 0,
            delivery_period: 0,
            request_period: 0,
            last_move: MoveId(0),
            installed: 0,
        }
    }

    /// As it is stored.
    pub fn encode(&self) -> Vec<u8> {
        // An account of a node on its own never has a named command, and its row stays as it was.
        let version = match (self.last_move, self.request_period) {
            (MoveId(0), 0) => 1,
            (MoveId(0), _) => 2,
            _ => 3,
        };
        let state = AccountState::ALL.into_iter().zip(0_u8..).find(|(state, _)| *state == self.state);
        let row = Writer::new(version)
            .byte(state.map_or(0, |(_, number)| number))
            .number(self.created_ms)
            .number(self.bytes)
            .number(self.messages)
            .number(self.mailboxes)
            .number(self.next_mailbox.0)
            .number(self.next_email.0)
            .number(self.last_uid_validity)
            .number(self.delivery_period);
        let row = if version == 1 { row } else { row.number(self.request_period) };
        if version < 3 { row.done() } else { row.number(self.last_move.0).number(self.installed).done() }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<AccountRow> {
        let version = bytes.first().copied().filter(|version| (1..=3).contains(version))?;
        let mut reader = Reader::new(bytes, version)?;
        let number = usize::from(reader.byte()?);
        let state = *AccountState::ALL.get(number).filter(|_| number < 3 || version == 3)?;
        let row = AccountRow {
            state,
            created_ms: reader.number()?,
            bytes: reader.number()?,
            messages: reader.number()?,
            mailboxes: reader.short()?,
            next_mailbox: MailboxId(reader.short()?),
            next_email: EmailId(reader.number()?),
            last_uid_validity: reader.short()?,
            delivery_period: reader.short()?,
            request_period: if version == 1 { 0 } else { reader.short()? },
            last_move: MoveId(if version < 3 { 0 } else { reader.number()? }),
            installed: if version < 3 { 0 } else { reader.number()? },
        };
        reader.end(row)
    }
}

/// What a mailbox is for (RFC 6154 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SpecialUse {
    /// `\Drafts`
    Drafts,
    /// `\Sent`
    Sent,
    /// `\Junk`
    Junk,
    /// `\Trash`
    Trash,
    /// `\Archive`
    Archive,
}

impl SpecialUse {
    /// Every one, in the order of their numbers on disk, from 1.
    pub const ALL: [SpecialUse; 5] =
        [SpecialUse::Drafts, SpecialUse::Sent, SpecialUse::Junk, SpecialUse::Trash, SpecialUse::Archive];

    /// The mailbox attribute.
    pub fn attribute(self) -> &'static str {
        match self {
            SpecialUse::Drafts => "\\Drafts",
            SpecialUse::Sent => "\\Sent",
            SpecialUse::Junk => "\\Junk",
            SpecialUse::Trash => "\\Trash",
            SpecialUse::Archive => "\\Archive",
        }
    }

    /// The name of the mailbox that a new account gets for it.
    pub fn default_name(self) -> &'static str {
        self.attribute().trim_start_matches('\\')
    }
}

/// What stands behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRow {
    /// The mailbox; `None` for a placeholder (`\Noselect`) that only has children.
    pub mailbox: Option<MailboxId>,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
}

impl NameRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let place = SpecialUse::ALL.iter().position(|use_| Some(*use_) == self.special_use);
        Writer::new(1)
            .number(self.mailbox.map_or(0, |id| id.0))
            .number(place.map_or(0, |place| place as u64 + 1))
            .done()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<NameRow> {
        let mut reader = Reader::new(bytes, 1)?;
        let mailbox = Some(MailboxId(reader.short()?)).filter(|id| id.0 != 0);
        let special_use = match usize::from(reader.byte()?).checked_sub(1) {
            None => None,
            Some(place) => Some(*SpecialUse::ALL.get(place)?),
        };
        reader.end(NameRow { mailbox, special_use })
    }
}

/// Counters of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxRow {
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// UIDNEXT. When it is [`Uid::MAX`], the mailbox takes no more messages.
    pub uid_next: Uid,
    /// HIGHESTMODSEQ.
    pub highest_modseq: ModSeq,
    /// Messages.
    pub exists: u32,
    /// Messages without `\Seen`.
    pub unseen: u32,
    /// Messages with `\Deleted`.
    pub deleted: u32,
    /// Bytes of its messages.
    pub bytes: u64,
    /// When it was created, ms since 1970.
    pub created_ms: u64,
    /// ModSeq of the last expunge; 0 when there was none. UIDs went away only at such times.
    pub expunged_modseq: ModSeq,
    /// What was expunged by a ModSeq lower than or equal to this is no longer recorded.
    pub expunge_floor: ModSeq,
    /// How many expunges are recorded.
    pub expunge_rows: u32,
}

impl MailboxRow {
    pub(crate) fn new(uid_validity: UidValidity, created_ms: u64) -> MailboxRow {
        MailboxRow {
            uid_validity,
            uid_next: Uid::MIN,
            highest_modseq: ModSeq(1),
            exists: 0,
            unseen: 0,
            deleted: 0,
            bytes: 0,
            created_ms,
            expunged_modseq: ModSeq(0),
            expunge_floor: ModSeq(0),
            expunge_rows: 0,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        Writer::new(1)
            .number(self.uid_validity.0.get())
            .number(self.uid_next.value())
            .number(self.highest_modseq.0)
            .number(self.exists)
            .number(self.unseen)
            .number(self.deleted)
            .number(self.bytes)
            .number(self.created_ms)
            .number(self.expunged_modseq.0)
            .number(self.expunge_floor.0)
            .number(self.expunge_rows)
            .done()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<MailboxRow> {
        let mut reader = Reader::new(bytes, 1)?;
        let row = MailboxRow {
            uid_validity: UidValidity(reader.short()?.try_into().ok()?),
            uid_next: Uid::new(reader.short()?)?,
            highest_modseq: ModSeq(reader.number()?),
            exists: reader.short()?,
            unseen: reader.short()?,
            deleted: reader.short()?,
            bytes: reader.number()?,
            created_ms: reader.number()?,
            expunged_modseq: ModSeq(reader.number()?),
            expunge_floor: ModSeq(reader.number()?),
            expunge_rows: reader.short()?,
        };
        reader.end(row)
    }
}

/// A message in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRow {
    /// The ModSeq by which it came into the mailbox. Grows with the UID.
    pub arrival: ModSeq,
    /// The ModSeq of its last change; equal to `arrival` when its flags were never changed.
    pub modseq: ModSeq,
    /// System flags.
    pub flags: SystemFlags,
    /// Keywords, by their numbers in the mailbox.
    pub keywords: KeywordSet,
    /// INTERNALDATE, ms since 1970.
    pub internal_date_ms: i64,
    /// SAVEDATE (RFC 8514): when it came into this mailbox, ms since 1970.
    pub save_date_ms: u64,
    /// RFC822.SIZE in bytes.
    pub size: u64,
    /// Its body.
    pub body: BodyHash,
    /// EMAILID.
    pub email: EmailId,
}

impl MessageRow {
    /// Were the flags changed since it arrived?
    pub fn is_changed(&self) -> bool {
        self.modseq != self.arrival
    }

    /// As it is stored.
    pub fn encode(&self) -> Vec<u8> {
        let writer = Writer::new(1)
            .raw(&self.body.0)
            .number(self.arrival.0)
            .number(self.modseq.0.saturating_sub(self.arrival.0))
            .byte(self.flags.bits())
            .number(self.keywords.len());
        self.keywords
            .ids()
            .fold(writer, Writer::byte)
            .signed(self.internal_date_ms)
            .number(self.save_date_ms)
            .number(self.size)
            .number(self.email.0)
            .done()
    }

    /// Reads what [`MessageRow::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<MessageRow> {
        let mut reader = Reader::new(bytes, 1)?;
        let body = BodyHash(reader.raw(32)?.try_into().ok()?);
        let arrival = reader.number()?;
        let modseq = ModSeq(arrival.checked_add(reader.number()?)?);
        let flags = SystemFlags::from_bits(reader.byte()?);
        let mut keywords = KeywordSet::default();
        for _ in 0..reader.number()? {
            keywords = keywords.with(KeywordSet::one(reader.byte()?));
        }
        let row = MessageRow {
            arrival: ModSeq(arrival),
            modseq,
            flags,
            keywords,
            internal_date_ms: reader.signed()?,
            save_date_ms: reader.number()?,
            size: reader.number()?,
            body,
            email: EmailId(reader.number()?),
        };
        reader.end(row)
    }
}

/// Where a delivery went, so that its repetition can be answered with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// Its UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// The UID that the message got there. It may have been moved or expunged since.
    pub uid: Uid,
    /// The EMAILID that it got.
    pub email: EmailId,
}

impl Delivered {
    pub(crate) fn encode(&self) -> Vec<u8> {
        Writer::new(1)
            .number(self.mailbox.0)
            .number(self.uid_validity.0.get())
            .number(self.uid.value())
            .number(self.email.0)
            .done()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Delivered> {
        let mut reader = Reader::new(bytes, 1)?;
        let row = Delivered {
            mailbox: MailboxId(reader.short()?),
            uid_validity: UidValidity(reader.short()?.try_into().ok()?),
            uid: Uid::new(reader.short()?)?,
            email: EmailId(reader.number()?),
        };
        reader.end(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn validity(value: u32) -> UidValidity {
        UidValidity(NonZeroU32::new(value).unwrap())
    }

    /// What version one of each row has written stays readable: never change these bytes.
    #[test]
    fn rows_of_version_one() {
        let account = AccountRow {
            state: AccountState::Doomed,
            created_ms: 300,
            bytes: 1,
            messages: 2,
            mailboxes: 5,
            next_mailbox: MailboxId(6),
            next_email: EmailId(7),
            last_uid_validity: 8,
            delivery_period: 9,
            request_period: 0,
            last_move: MoveId(0),
            installed: 0,
        };
        let bytes = [1, 1, 0xAC, 2, 1, 2, 5, 6, 7, 8, 9];
        assert_eq!(account.encode(), bytes);
        assert_eq!(AccountRow::decode(&bytes), Some(account));
        let account = AccountRow { request_period: 10, ..account };
        let bytes = [2, 1, 0xAC, 2, 1, 2, 5, 6, 7, 8, 9, 10];
        assert_eq!(account.encode(), bytes);
        assert_eq!(AccountRow::decode(&bytes), Some(account));
        let account =
            AccountRow { state: AccountState::Ready, last_move: MoveId(300), installed: 2, ..account };
        let bytes = [3, 5, 0xAC, 2, 1, 2, 5, 6, 7, 8, 9, 10, 0xAC, 2, 2];
        assert_eq!(account.encode(), bytes);
        assert_eq!(AccountRow::decode(&bytes), Some(account));
        assert_eq!(AccountRow::decode(&[2, 5, 0xAC, 2, 1, 2, 5, 6, 7, 8, 9, 10]), None);

        let name = NameRow { mailbox: Some(MailboxId(3)), special_use: Some(SpecialUse::Junk) };
        assert_eq!(name.encode(), [1, 3, 3]);
        assert_eq!(NameRow::decode(&[1, 3, 3]), Some(name));
        assert_eq!(NameRow::decode(&[1, 0, 0]), Some(NameRow { mailbox: None, special_use: None }));
        assert_eq!(NameRow::decode(&[1, 1, 6]), None);

        let delivered = Delivered {
            mailbox: MailboxId(1),
            uid_validity: validity(2),
            uid: Uid::new(3).unwrap(),
            email: EmailId(4),
        };
        assert_eq!(delivered.encode(), [1, 1, 2, 3, 4]);
        assert_eq!(Delivered::decode(&[1, 1, 2, 3, 4]), Some(delivered));
    }

    #[test]
    fn mailboxes_of_version_one() {
        let mailbox = MailboxRow {
            uid_validity: validity(1),
            uid_next: Uid::new(2).unwrap(),
            highest_modseq: ModSeq(3),
            exists: 4,
            unseen: 5,
            deleted: 6,
            bytes: 7,
            created_ms: 8,
            expunged_modseq: ModSeq(9),
            expunge_floor: ModSeq(10),
            expunge_rows: 11,
        };
        let bytes = [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
        assert_eq!(mailbox.encode(), bytes);
        assert_eq!(MailboxRow::decode(&bytes), Some(mailbox));
        assert_eq!(MailboxRow::decode(&bytes[..11]), None);
        assert_eq!(MailboxRow::decode(&[&bytes[..], &[0]].concat()), None);
    }

    #[test]
    fn messages_of_version_one() {
        let message = MessageRow {
            arrival: ModSeq(5),
            modseq: ModSeq(7),
            flags: SystemFlags::SEEN.with(SystemFlags::DRAFT),
            keywords: KeywordSet::one(2).with(KeywordSet::one(100)),
            internal_date_ms: -2,
            save_date_ms: 300,
            size: 9,
            body: BodyHash([0xAB; 32]),
            email: EmailId(4),
        };
        let mut bytes = vec![1];
        bytes.extend_from_slice(&[0xAB; 32]);
        bytes.extend_from_slice(&[5, 2, 17, 2, 2, 100, 3, 0xAC, 2, 9, 4]);
        assert_eq!(message.encode(), bytes);
        assert_eq!(MessageRow::decode(&bytes), Some(message));
        for cut in 0..bytes.len() {
            assert_eq!(MessageRow::decode(&bytes[..cut]), None);
        }
    }
}
