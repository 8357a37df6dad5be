//! Reading, by a store, a view or a transaction. Never waits for writers.
//!
//! What belongs together (a mailbox row and its messages) must be read from one view.

use crate::block;
use crate::error::{Error, HexKey};
use crate::flags::KeywordTable;
use crate::key::{AccountRef, Kind, MailboxRef, Parsed};
use crate::name::MailboxName;
use crate::rows::{AccountRow, AccountState, MailboxRow, MessageRow, MoveId, NameRow, SpecialUse};
use estafette_storage::{Direction, Family, Read, Row, Scan};
use estafette_types::{AccountId, ModSeq, ShardId, Uid, UidSet};
use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

/// A name in the list of mailboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: MailboxName,
    /// The mailbox and its counters; `None`: `\Noselect`.
    pub mailbox: Option<(MailboxRef, MailboxRow)>,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
    /// Is the name subscribed?
    pub subscribed: bool,
    /// Are there names below it?
    pub has_children: bool,
}

/// A message with its UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its UID.
    pub uid: Uid,
    /// The rest.
    pub row: MessageRow,
}

/// Flags that were changed after a ModSeq.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The ModSeq of each message's last change, and its UID; ascending.
    pub changed: Vec<(ModSeq, Uid)>,
    /// `changed` ends here and there are later changes; `None`: there are none.
    pub through: Option<ModSeq>,
}

/// What was expunged since a ModSeq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vanished {
    /// These.
    Uids(UidSet),
    /// It is so long ago that it is no longer known: all UIDs below UIDNEXT that do not exist.
    Unknown,
}

pub(crate) fn damaged(kind: Kind, key: &[u8]) -> Error {
    Error::Damaged { what: kind.name(), key: HexKey(key.to_vec()) }
}

pub(crate) fn row<R, T>(
    rows: &R,
    kind: Kind,
    key: impl AsRef<[u8]>,
    decode: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<Option<T>, Error>
where
    R: Read + ?Sized,
{
    match rows.read(Family::Row, key.as_ref())? {
        None => Ok(None),
        Some(value) => decode(&value).map(Some).ok_or_else(|| damaged(kind, key.as_ref())),
    }
}

pub(crate) fn scan<R: Read + ?Sized>(rows: &R, range: Range<Vec<u8>>) -> Result<Scan<'_>, Error> {
    Ok(rows.scan(Family::Row, range, Direction::Forward)?)
}

/// The account's row in any state.
pub fn account_row<R: Read + ?Sized>(rows: &R, at: AccountRef) -> Result<Option<AccountRow>, Error> {
    row(rows, Kind::Account, at.key(Kind::Account, &[]), AccountRow::decode)
}

/// Counters and usage of an account; `None`: it was never touched, is deleted, or is not (all) in this shard.
pub fn account<R: Read + ?Sized>(rows: &R, at: AccountRef) -> Result<Option<AccountRow>, Error> {
    Ok(account_row(rows, at)?.filter(|row| row.state.is_whole()))
}

/// The state of an account in a shard, with the last move that the shard had a part in; `None`: it was never touched.
pub fn state<R: Read + ?Sized>(rows: &R, at: AccountRef) -> Result<Option<(AccountState, MoveId)>, Error> {
    Ok(account_row(rows, at)?.map(|row| (row.state, row.last_move)))
}

/// Bytes and messages of an account.
pub fn usage<R: Read + ?Sized>(rows: &R, at: AccountRef) -> Result<(u64, u64), Error> {
    Ok(account(rows, at)?.map_or((0, 0), |row| (row.bytes, row.messages)))
}

/// What stands behind a name.
pub fn name<R: Read + ?Sized>(
    rows: &R,
    at: AccountRef,
    name: &MailboxName,
) -> Result<Option<NameRow>, Error> {
    row(rows, Kind::Name, at.key(Kind::Name, name.as_str().as_bytes()), NameRow::decode)
}

/// All names with what stands behind them, in the order of their bytes.
pub fn names<R: Read + ?Sized>(rows: &R, at: AccountRef) -> Result<Vec<(MailboxName, NameRow)>, Error> {
    let parse = |row: Row| {
        let name = text_of(&row.key).ok_or_else(|| damaged(Kind::Name, &row.key))?;
        let value = NameRow::decode(&row.value).ok_or_else(|| damaged(Kind::Name, &row.key))?;
        Ok((name, value))
    };
    scan(rows, at.kind_range(Kind::Name))?.map(|row| parse(row?)).collect()
}

fn text_of(key: &[u8]) -> Option<MailboxName> {
    MailboxName::parse(std::str::from_utf8(Parsed::of(key)?.tail).ok()?).ok()
}

/// The subscribed names, in the order of their bytes; some may not exist.
pub fn subscriptions<R: Read + ?Sized>(rows: &R, at: AccountRef) -> Result<Vec<MailboxName>, Error> {
    let parse = |row: Row| text_of(&row.key).ok_or_else(|| damaged(Kind::Subscription, &row.key));
    scan(rows, at.kind_range(Kind::Subscription))?.map(|row| parse(row?)).collect()
}

/// The mailboxes of an account with their counters, in the order of the bytes of their names.
pub fn mailboxes<R: Read + ?Sized>(rows: &R, at: AccountRef) -> Result<Vec<Listed>, Error> {
    let names = names(rows, at)?;
    let subscribed: BTreeSet<MailboxName> = subscriptions(rows, at)?.into_iter().collect();
    let parents: BTreeSet<MailboxName> = names.iter().filter_map(|(name, _)| name.parent()).collect();
    let mut list = Vec::with_capacity(names.len());
    for (name, row) in names {
        let mailbox = match row.mailbox.map(|id| at.mailbox(id)) {
            None => None,
            Some(found) => Some((found, existing_mailbox(rows, found)?)),
        };
        list.push(Listed {
            mailbox,
            special_use: row.special_use,
            subscribed: subscribed.contains(&name),
            has_children: parents.contains(&name),
            name,
        });
    }
    Ok(list)
}

/// The counters of a mailbox; `None` when it was deleted.
pub fn mailbox<R: Read + ?Sized>(rows: &R, at: MailboxRef) -> Result<Option<MailboxRow>, Error> {
    row(rows, Kind::Mailbox, at.key(Kind::Mailbox, &[]), MailboxRow::decode)
}

fn existing_mailbox<R: Read + ?Sized>(rows: &R, at: MailboxRef) -> Result<MailboxRow, Error> {
    let missing = || Error::Missing { what: Kind::Mailbox.name(), key: HexKey(at.key(Kind::Mailbox, &[])) };
    mailbox(rows, at)?.ok_or_else(missing)
}

/// The mailbox of a name; `None` when there is none, or only a placeholder.
pub fn mailbox_by_name<R: Read + ?Sized>(
    rows: &R,
    at: AccountRef,
    wanted: &MailboxName,
) -> Result<Option<(MailboxRef, MailboxRow)>, Error> {
    let Some(id) = name(rows, at, wanted)?.and_then(|row| row.mailbox) else { return Ok(None) };
    let found = at.mailbox(id);
    Ok(Some((found, existing_mailbox(rows, found)?)))
}

/// The keywords of a mailbox.
pub fn keywords<R: Read + ?Sized>(rows: &R, at: MailboxRef) -> Result<KeywordTable, Error> {
    let table = row(rows, Kind::Keywords, at.key(Kind::Keywords, &[]), KeywordTable::decode)?;
    Ok(table.unwrap_or_default())
}

/// Which UIDs exist: read from all blocks. Sessions take [`crate::UidMaps`] instead.
pub fn uids<R: Read + ?Sized>(rows: &R, at: MailboxRef) -> Result<UidSet, Error> {
    block::read_from(rows, at, 0)
}

/// One message.
pub fn message<R: Read + ?Sized>(rows: &R, at: MailboxRef, uid: Uid) -> Result<Option<MessageRow>, Error> {
    row(rows, Kind::Message, at.message(uid), MessageRow::decode)
}

/// From so many messages that lie together on, a scan costs less than looking for each.
const SCAN_MIN: usize = 6;

/// Several messages, by one read; `uids` ascend, and those that do not exist are left out.
pub fn messages_of<R: Read + ?Sized>(rows: &R, at: MailboxRef, uids: &[Uid]) -> Result<Vec<Message>, Error> {
    // One read of one row costs less than one read of several.
    if let [uid] = uids {
        let row = message(rows, at, *uid)?;
        return Ok(row.map(|row| Message { uid: *uid, row }).into_iter().collect());
    }
    if let ([first, .., last], SCAN_MIN..) = (uids, uids.len())
        && last.value().saturating_sub(first.value()) as usize + 1 == uids.len()
    {
        return messages(rows, at, *first..=*last)?.collect();
    }
    let keys: Vec<Vec<u8>> = uids.iter().map(|uid| at.message(*uid)).collect();
    let values = rows.read_many(Family::Row, &keys)?;
    let mut found = Vec::with_capacity(uids.len());
    for ((uid, key), value) in uids.iter().zip(&keys).zip(values) {
        if let Some(value) = value {
            let row = MessageRow::decode(&value).ok_or_else(|| damaged(Kind::Message, key))?;
            found.push(Message { uid: *uid, row });
        }
    }
    Ok(found)
}

/// The messages of a range of UIDs, ascending, one after the other: nothing is gathered, so this
/// suits a search over a whole mailbox.
pub fn messages<R: Read + ?Sized>(
    rows: &R,
    at: MailboxRef,
    uids: RangeInclusive<Uid>,
) -> Result<impl Iterator<Item = Result<Message, Error>> + '_, Error> {
    let mut range = at.kind_from(Kind::Message, &uids.start().value().to_be_bytes());
    if let Some(next) = uids.end().value().checked_add(1).and_then(Uid::new) {
        range.end = at.message(next);
    }
    let parse = |key: &[u8], value: &[u8]| {
        let uid = Parsed::of(key).and_then(|key| key.uid());
        let message = uid.zip(MessageRow::decode(value));
        message.map(|(uid, row)| Message { uid, row }).ok_or_else(|| damaged(Kind::Message, key))
    };
    let mut rows = scan(rows, range)?;
    Ok(std::iter::from_fn(move || Some(rows.next_with(parse)?.unwrap_or_else(|error| Err(error.into())))))
}

/// The messages with `\Deleted`.
pub fn deleted<R: Read + ?Sized>(rows: &R, at: MailboxRef) -> Result<UidSet, Error> {
    let parse = |row: Row| {
        let uid = Parsed::of(&row.key).and_then(|key| key.uid());
        uid.map(|uid| (uid, uid)).ok_or_else(|| damaged(Kind::Deleted, &row.key))
    };
    let found = scan(rows, at.kind_range(Kind::Deleted))?.map(|row| parse(row?));
    Ok(UidSet::from_runs(found.collect::<Result<Vec<_>, Error>>()?))
}

/// The messages that came or were changed after a ModSeq, of those that exist. `all` are the UIDs of
/// the mailbox in the same view. Reads about as many rows as there are changes.
pub fn changed_since<R: Read + ?Sized>(
    rows: &R,
    at: MailboxRef,
    all: &UidSet,
    modseq: ModSeq,
) -> Result<UidSet, Error> {
    let Some(next) = modseq.0.checked_add(1).map(ModSeq) else { return Ok(UidSet::new()) };
    let mut changed = Vec::new();
    for row in scan(rows, at.kind_from(Kind::Change, &next.0.to_be_bytes()))? {
        let row = row?;
        let parsed = Parsed::of(&row.key).and_then(|key| key.change());
        let (_, uid) = parsed.ok_or_else(|| damaged(Kind::Change, &row.key))?;
        changed.push(uid);
    }
    changed.sort_unstable();
    let changed: UidSet = changed.into_iter().collect();
    let fresh = match first_arrived_after(rows, at, all, modseq)? {
        Some(first) => all.intersection(&UidSet::range(first, Uid::MAX)),
        None => UidSet::new(),
    };
    Ok(changed.union(&fresh))
}

/// The messages whose flags were changed after a ModSeq, the earliest changes first: no more than
/// `limit`, but all of one moment together ([`crate::WORK_MAX`] at most). Who asks again with
/// [`Changes::through`] gets the next. Messages that only came are not among them.
pub fn changes_after<R: Read + ?Sized>(
    rows: &R,
    at: MailboxRef,
    modseq: ModSeq,
    limit: usize,
) -> Result<Changes, Error> {
    let Some(next) = modseq.0.checked_add(1) else { return Ok(Changes::default()) };
    let mut changed: Vec<(ModSeq, Uid)> = Vec::new();
    // Where the changes of the moment that is being read begin.
    let mut moment = 0;
    for row in scan(rows, at.kind_from(Kind::Change, &next.to_be_bytes()))? {
        let row = row?;
        let parsed = Parsed::of(&row.key).and_then(|key| key.change());
        let change = parsed.ok_or_else(|| damaged(Kind::Change, &row.key))?;
        if changed.last().is_none_or(|last| last.0 != change.0) {
            moment = changed.len();
        }
        // The first moment is told whole, however much it is.
        if changed.len() >= limit && moment > 0 {
            changed.truncate(moment);
            let through = changed.last().map(|last| last.0);
            return Ok(Changes { changed, through });
        }
        changed.push(change);
    }
    Ok(Changes { changed, through: None })
}

/// The lowest UID that came after a ModSeq. Arrival grows with the UID, so it is found by steps that
/// double from the end, then by halving.
fn first_arrived_after<R: Read + ?Sized>(
    rows: &R,
    at: MailboxRef,
    all: &UidSet,
    modseq: ModSeq,
) -> Result<Option<Uid>, Error> {
    let is_after = |sequence: u32| -> Result<bool, Error> {
        let Some(uid) = all.uid_at(sequence) else { return Ok(false) };
        let missing = || Error::Missing { what: Kind::Message.name(), key: HexKey(at.message(uid)) };
        Ok(message(rows, at, uid)?.ok_or_else(missing)?.arrival > modseq)
    };
    // All from `after` on came after `modseq`; none up to `before` did.
    let mut after = all.len().saturating_add(1);
    let mut before = 0;
    let mut step = 1;
    while let Some(probe) = after.checked_sub(step).filter(|probe| *probe > 0) {
        if !is_after(probe)? {
            before = probe;
            break;
        }
        after = probe;
        step = step.saturating_mul(2);
    }
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if is_after(middle)? {
            after = middle;
        } else {
            before = middle;
        }
    }
    Ok(all.uid_at(after))
}

/// What was expunged after a ModSeq. `row` is the mailbox in the same view.
pub fn vanished_since<R: Read + ?Sized>(
    rows: &R,
    at: MailboxRef,
    row: &MailboxRow,
    modseq: ModSeq,
) -> Result<Vanished, Error> {
    if row.expunged_modseq <= modseq {
        return Ok(Vanished::Uids(UidSet::new()));
    }
    if modseq < row.expunge_floor {
        return Ok(Vanished::Unknown);
    }
    let mut runs = Vec::new();
    for row in scan(rows, at.kind_from(Kind::Expunged, &modseq.0.saturating_add(1).to_be_bytes()))? {
        let row = row?;
        let uids = decode_expunged(&row.value).ok_or_else(|| damaged(Kind::Expunged, &row.key))?;
        runs.extend(uids.runs());
    }
    Ok(Vanished::Uids(UidSet::from_runs(runs)))
}

pub(crate) fn encode_expunged(uids: &UidSet) -> Vec<u8> {
    crate::codec::Writer::new(1).runs(uids, 0).done()
}

pub(crate) fn decode_expunged(bytes: &[u8]) -> Option<UidSet> {
    crate::codec::Reader::new(bytes, 1)?.runs(0)
}

/// An account that has rows in a shard, for those who look after all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundAccount {
    /// The account.
    pub at: AccountRef,
    /// In use, deleted, or on its way.
    pub state: AccountState,
    /// Something that was deleted waits to be removed: [`crate::Action::Purge`] goes on with it.
    pub unfinished: bool,
}

/// The first account of a shard after another one; reads a few rows, whatever the accounts hold.
pub fn next_account<R: Read + ?Sized>(
    rows: &R,
    shard: ShardId,
    after: Option<AccountId>,
) -> Result<Option<FoundAccount>, Error> {
    let mut range = crate::key::shard_range(shard);
    if let Some(next) = after.map(|account| AccountId(account.0.saturating_add(1))) {
        range.start = AccountRef { shard, account: next }.key(Kind::Account, &[]);
    }
    let Some(row) = scan(rows, range)?.next().transpose()? else { return Ok(None) };
    let key = Parsed::of(&row.key).ok_or_else(|| damaged(Kind::Account, &row.key))?;
    let at = key.at.owner();
    let state = account_row(rows, at)?.map_or(AccountState::Live, |row| row.state);
    let waiting = scan(rows, at.kind_range(Kind::Doomed))?.next().transpose()?.is_some();
    let going = matches!(state, AccountState::Doomed | AccountState::Leaving);
    let unfinished = going || (waiting && state == AccountState::Live);
    Ok(Some(FoundAccount { at, state, unfinished }))
}
