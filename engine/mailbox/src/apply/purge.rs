//! Removing what was deleted, a bounded step at a time: references of bodies are given back message
//! by message, rows go as ranges.

use super::Stop;
use crate::command::{Context, Response, WORK_MAX};
use crate::key::{AccountRef, Kind, MailboxRef, after, parse};
use crate::read::{self, damaged};
use crate::rows::{AccountRow, AccountState, MessageRow};
use crate::watch::News;
use estafette_storage::{Family, Transaction};
use estafette_types::{EmailId, MailboxId};

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
    let row = row.unwrap_or(AccountRow {
        state: AccountState::Gone,
        created_ms: context.time_ms,
        bytes: 0,
        messages: 0,
        mailboxes: 0,
        next_mailbox: MailboxId(1),
        next_email: EmailId(1),
        last_uid_validity: 0,
        delivery_period: 0,
    });
    if row.state == AccountState::Live {
        for mailbox in read::names(&*tx, at)?.into_iter().filter_map(|(_, row)| row.mailbox) {
            tx.delete(Family::Row, at.mailbox(mailbox).key(Kind::Mailbox, &[]));
            news.push(News::of_mailbox(at.mailbox(mailbox), News::GONE));
        }
        news.push(News::of_names(at));
        let own = at.key(Kind::Name, &[])..after(at.key(Kind::Doomed, &[]));
        tx.delete_range(Family::Row, own);
        let row = AccountRow { state: AccountState::Doomed, bytes: 0, messages: 0, mailboxes: 0, ..row };
        return account(at, row, tx);
    }
    if row.state == AccountState::Doomed {
        return account(at, row, tx);
    }
    tx.put(Family::Row, at.key(Kind::Account, &[]), row.encode());
    Ok(Response::Purged { more: false })
}

/// Goes on with a deleted account. Its own row stays as a tombstone.
pub(super) fn account(at: AccountRef, row: AccountRow, tx: &mut Transaction) -> Result<Response, Stop> {
    let mut limit = WORK_MAX;
    let state = loop {
        let Some(next) = read::scan(&*tx, at.mailboxes_range())?.next().transpose()? else {
            break AccountState::Gone;
        };
        let mailbox = parse(&next.key)?.at;
        match purge_mailbox(tx, mailbox, limit)?.and_then(|left| left.checked_sub(1)) {
            Some(left) => limit = left,
            None => break AccountState::Doomed,
        }
    };
    tx.put(Family::Row, at.key(Kind::Account, &[]), AccountRow { state, ..row }.encode());
    Ok(Response::Purged { more: state == AccountState::Doomed })
}
