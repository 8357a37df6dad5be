//! Removing what was deleted, a bounded step at a time: references of bodies are given back message
//! by message, rows go as ranges.

use super::Stop;
use crate::command::{Context, Response, WORK_MAX};
use crate::key::{AccountRef, Kind, MailboxRef, after, parse};
use crate::read::{self, damaged};
use crate::rows::{AccountRow, AccountState, MessageRow};
use crate::watch::News;
use estafette_storage::{Family, Transaction};
use estafette_types::MailboxId;

/// Removes up to `limit` messages. When that was all, the rest of the mailbox goes too, and the
/// answer says how much of the limit is left; `None`: there is more.
pub(super) fn purge_mailbox(
    tx: &mut Transaction,
    at: MailboxRef,
    limit: usize,
) -> Result<Option<usize>, Stop> {
    let messages = at.kind_range(Kind::Message);
    let mut bodies = Vec::new();
    let mut last = None;
    for row in read::scan(&*tx, messages.clone())?.take(limit) {
        let row = row?;
        bodies.push(MessageRow::decode(&row.value).ok_or_else(|| damaged(Kind::Message, &row.key))?.body);
        last = Some(row.key);
    }
    for body in &bodies {
        tx.add_body_ref(*body, at.shard.0, -1);
    }
    if bodies.len() < limit {
        tx.delete_range(Family::Row, at.range());
        return Ok(Some(limit - bodies.len()));
    }
    if let Some(last) = last {
        tx.delete_range(Family::Row, messages.start..after(last.to_vec()));
    }
    Ok(None)
}

/// Goes on with deleted mailboxes of a living account.
pub(super) fn mailboxes(at: AccountRef, tx: &mut Transaction) -> Result<Response, Stop> {
    let mut limit = WORK_MAX;
    loop {
        let Some(row) = read::scan(&*tx, at.kind_range(Kind::Doomed))?.next().transpose()? else {
            return Ok(Response::Purged { more: false });
        };
        let id = parse(&row.key)?.number().ok_or_else(|| damaged(Kind::Doomed, &row.key))?;
        match purge_mailbox(tx, at.mailbox(MailboxId(id)), limit)?.and_then(|left| left.checked_sub(1)) {
            Some(left) => limit = left,
            None => return Ok(Response::Purged { more: true }),
        }
        tx.delete(Family::Row, row.key);
    }
}

/// Marks an account as deleted, so that nothing of it is seen any more, and begins to remove it.
pub(super) fn delete_account(
    context: &Context,
    at: AccountRef,
    row: Option<AccountRow>,
    tx: &mut Transaction,
    news: &mut Vec<News>,
) -> Result<Response, Stop> {
    let row = row.unwrap_or(AccountRow::empty(AccountState::Gone, context.time_ms));
    match row.state {
        AccountState::Live | AccountState::Sealed => {
            for mailbox in named(at, tx)? {
                tx.delete(Family::Row, mailbox.key(Kind::Mailbox, &[]));
                news.push(News::of_mailbox(mailbox, News::GONE));
            }
            news.push(News::of_names(at));
            remove(at, AccountState::Doomed, row, tx)
        }
        AccountState::Arriving | AccountState::Ready | AccountState::Leaving => {
            remove(at, AccountState::Doomed, row, tx)
        }
        AccountState::Doomed => account(at, row, tx),
        AccountState::Gone | AccountState::Moved => {
            tx.put(
                Family::Row,
                at.key(Kind::Account, &[]),
                AccountRow { state: AccountState::Gone, ..row }.encode(),
            );
            Ok(Response::Purged { more: false })
        }
    }
}

/// The mailboxes that have names.
pub(super) fn named(at: AccountRef, tx: &Transaction) -> Result<Vec<MailboxRef>, Stop> {
    let names = read::names(tx, at)?.into_iter();
    Ok(names.filter_map(|(_, row)| row.mailbox).map(|mailbox| at.mailbox(mailbox)).collect())
}

/// Begins to remove all that is in an account. The rows of mailboxes have gone before where somebody may read them: who
/// finds one finds all that belongs to it.
pub(super) fn remove(
    at: AccountRef,
    state: AccountState,
    row: AccountRow,
    tx: &mut Transaction,
) -> Result<Response, Stop> {
    tx.delete_range(Family::Row, at.key(Kind::Name, &[])..after(at.key(Kind::Request, &[])));
    account(at, AccountRow { state, bytes: 0, messages: 0, mailboxes: 0, installed: 0, ..row }, tx)
}

/// Goes on with an account that is deleted or left. Its own row stays as a tombstone.
pub(super) fn account(at: AccountRef, row: AccountRow, tx: &mut Transaction) -> Result<Response, Stop> {
    let mut limit = WORK_MAX;
    let more = loop {
        let Some(next) = read::scan(&*tx, at.mailboxes_range())?.next().transpose()? else {
            break false;
        };
        let mailbox = parse(&next.key)?.at;
        match purge_mailbox(tx, mailbox, limit)?.and_then(|left| left.checked_sub(1)) {
            Some(left) => limit = left,
            None => break true,
        }
    };
    let state = match row.state {
        AccountState::Leaving if more => AccountState::Leaving,
        AccountState::Leaving => AccountState::Moved,
        _ if more => AccountState::Doomed,
        _ => AccountState::Gone,
    };
    tx.put(Family::Row, at.key(Kind::Account, &[]), AccountRow { state, ..row }.encode());
    Ok(Response::Purged { more })
}
