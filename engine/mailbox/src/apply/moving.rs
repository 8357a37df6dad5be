//! An account on its way from one shard to another.
//!
//! Source: live → sealed → leaving → moved. Target: (nothing, or moved) → arriving → ready → live. Who decides is the
//! directory: what is said here once it has decided (unseal, adopt, clear) only follows, may be said again, by anybody and
//! late, and then changes nothing. So the last move that a shard had a part in stays in the account's row.
//!
//! - Rows are taken only by who knows how many times some were taken before, so that what was compared is what is there.
//! - References of bodies are counted with the rows of messages, so a shard's are exact at every step.

use super::{Stop, purge};
use crate::command::{Context, INSTALL_BYTES_MAX, INSTALL_ROWS_MAX, MovedRow, Refusal, Response};
use crate::key::{AccountRef, Kind, Parsed};
use crate::read::{self, damaged};
use crate::rows::{AccountRow, AccountState, MessageRow, MoveId};
use crate::watch::News;
use estafette_storage::{Family, Read, Transaction};

/// What an [`crate::Action::Install`] brings.
pub(super) struct Rows<'a> {
    pub(super) of: MoveId,
    pub(super) after: u64,
    pub(super) rows: &'a [MovedRow],
    pub(super) whole: Option<&'a [u8]>,
}

fn put(at: AccountRef, row: AccountRow, tx: &mut Transaction) -> Result<Response, Stop> {
    tx.put(Family::Row, at.key(Kind::Account, &[]), row.encode());
    Ok(Response::Done)
}

/// The state of one that begins to arrive, or goes on to.
fn arriving(row: Option<AccountRow>, of: MoveId, time_ms: u64) -> Result<AccountRow, Refusal> {
    use AccountState::{Arriving, Doomed, Gone, Moved, Ready};
    let begun = AccountRow { last_move: of, ..AccountRow::empty(Arriving, time_ms) };
    match row {
        None => Ok(begun),
        Some(row) if row.state == Moved && row.last_move < of => Ok(begun),
        Some(row) if row.state == Arriving && row.last_move == of => Ok(row),
        Some(row) if matches!(row.state, Arriving | Ready) && row.last_move < of => {
            Ok(AccountRow { installed: row.installed, ..begun })
        }
        Some(AccountRow { state: Doomed | Gone, .. }) => Err(Refusal::NoAccount),
        Some(_) => Err(Refusal::NotMoving),
    }
}

pub(super) fn install(
    context: &Context,
    at: AccountRef,
    row: Option<AccountRow>,
    brought: &Rows<'_>,
    tx: &mut Transaction,
) -> Result<Response, Stop> {
    let bytes = |row: &MovedRow| row.tail.len().saturating_add(row.value.as_ref().map_or(0, Vec::len));
    let total = brought.rows.iter().map(bytes).fold(0, usize::saturating_add);
    if brought.rows.len() > INSTALL_ROWS_MAX || total > INSTALL_BYTES_MAX {
        return Err(Refusal::TooMuch.into());
    }
    let row = arriving(row, brought.of, context.time_ms)?;
    if row.installed != brought.after {
        return Err(Refusal::NotMoving.into());
    }
    for moved in brought.rows {
        install_one(at, moved, tx)?;
    }
    let installed = row.installed.saturating_add(1);
    let row = match brought.whole {
        None => AccountRow { installed, ..row },
        Some(bytes) => {
            let source = AccountRow::decode(bytes).filter(|source| source.state == AccountState::Sealed);
            let source = source.ok_or(Refusal::BadRow)?;
            AccountRow { state: AccountState::Ready, last_move: brought.of, installed, ..source }
        }
    };
    put(at, row, tx)
}

fn install_one(at: AccountRef, moved: &MovedRow, tx: &mut Transaction) -> Result<(), Stop> {
    let key = at.whole_key(&moved.tail);
    let parsed = Parsed::of(&key).ok_or(Refusal::BadRow)?;
    if parsed.kind == Kind::Account || parsed.kind.is_of_account() != (parsed.at.mailbox.0 == 0) {
        return Err(Refusal::BadRow.into());
    }
    if parsed.kind == Kind::Message {
        parsed.uid().ok_or(Refusal::BadRow)?;
        let decode = |value: &[u8]| MessageRow::decode(value);
        let before = match tx.read(Family::Row, &key)? {
            Some(value) => Some(decode(&value).ok_or_else(|| damaged(Kind::Message, &key))?.body),
            None => None,
        };
        let after = match &moved.value {
            Some(value) => Some(decode(value).ok_or(Refusal::BadRow)?.body),
            None => None,
        };
        if before != after {
            before.into_iter().for_each(|body| tx.add_body_ref(body, at.shard.0, -1));
            after.into_iter().for_each(|body| tx.add_body_ref(body, at.shard.0, 1));
        }
    }
    match &moved.value {
        Some(value) => tx.put(Family::Row, key, value),
        None => tx.delete(Family::Row, key),
    }
    Ok(())
}

/// Of an account that was touched before.
pub(super) fn seal(
    at: AccountRef,
    row: AccountRow,
    of: MoveId,
    tx: &mut Transaction,
) -> Result<Response, Stop> {
    match row.state {
        AccountState::Live if row.last_move < of => {
            put(at, AccountRow { state: AccountState::Sealed, last_move: of, ..row }, tx)
        }
        AccountState::Sealed if row.last_move == of => Ok(Response::Done),
        AccountState::Doomed | AccountState::Gone => Err(Refusal::NoAccount.into()),
        _ => Err(Refusal::NotMoving.into()),
    }
}

pub(super) fn unseal(
    at: AccountRef,
    row: Option<AccountRow>,
    of: MoveId,
    tx: &mut Transaction,
) -> Result<Response, Stop> {
    let Some(row) = row else { return Err(Refusal::NotMoving.into()) };
    match row.state {
        // So that a seal which is still under way comes too late.
        AccountState::Live if row.last_move < of => put(at, AccountRow { last_move: of, ..row }, tx),
        AccountState::Sealed if row.last_move == of => {
            put(at, AccountRow { state: AccountState::Live, ..row }, tx)
        }
        AccountState::Live => Ok(Response::Done),
        _ => Err(Refusal::NotMoving.into()),
    }
}

pub(super) fn adopt(
    at: AccountRef,
    row: Option<AccountRow>,
    of: MoveId,
    tx: &mut Transaction,
    news: &mut Vec<News>,
) -> Result<Response, Stop> {
    let row = row.filter(|row| row.last_move == of).ok_or(Refusal::NotMoving)?;
    match row.state {
        AccountState::Ready => {
            for mailbox in purge::named(at, tx)? {
                if let Some(row) = read::mailbox(&*tx, mailbox)? {
                    news.push(News::of_mailbox(mailbox, row.highest_modseq));
                }
            }
            news.push(News::of_names(at));
            put(at, AccountRow { state: AccountState::Live, installed: 0, ..row }, tx)
        }
        AccountState::Live => Ok(Response::Done),
        _ => Err(Refusal::NotMoving.into()),
    }
}

/// Nobody is told that mailboxes have gone: they are elsewhere.
pub(super) fn clear(
    at: AccountRef,
    row: Option<AccountRow>,
    of: MoveId,
    time_ms: u64,
    tx: &mut Transaction,
) -> Result<Response, Stop> {
    use AccountState::{Arriving, Doomed, Gone, Leaving, Live, Moved, Ready, Sealed};
    let row = row.unwrap_or(AccountRow::empty(Moved, time_ms));
    let is_of_it = row.last_move == of;
    let newest = AccountRow { last_move: row.last_move.max(of), ..row };
    match row.state {
        Sealed if !is_of_it => Err(Refusal::NotMoving.into()),
        Arriving | Ready if row.last_move > of => Err(Refusal::NotMoving.into()),
        Sealed | Arriving | Ready => {
            for mailbox in purge::named(at, tx)? {
                tx.delete(Family::Row, mailbox.key(Kind::Mailbox, &[]));
            }
            purge::remove(at, Leaving, newest, tx)
        }
        // So that rows which are still under way come too late.
        Leaving | Moved => purge::account(at, AccountRow { state: Leaving, ..newest }, tx),
        Doomed => purge::account(at, row, tx),
        Gone => Ok(Response::Purged { more: false }),
        Live => Err(Refusal::NotMoving.into()),
    }
}
