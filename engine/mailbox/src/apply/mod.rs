//! Commands applied to rows: pure, deterministic, bounded.
//!
//! What is written depends on the rows, the context and the command alone. A refused command leaves
//! nothing behind. Every counter is exact after every command. Files: `arrive` adds messages,
//! `change` alters and removes them, `folders` is about names, `purge` removes what was deleted,
//! `delivery` and `request` remember what was done, `moving` takes accounts from shard to shard.

mod arrive;
mod change;
mod delivery;
mod folders;
mod moving;
mod purge;
mod request;

use crate::block;
use crate::command::{Action, Command, Context, Refusal, Response, WORK_MAX};
use crate::error::{Error, HexKey};
use crate::flags::{Keyword, KeywordSet, KeywordTable};
use crate::key::{AccountRef, Kind, MailboxRef};
use crate::read::{self, Message};
use crate::rows::{AccountRow, AccountState, MailboxRow};
use crate::watch::News;
use delivery::period_of;

pub use change::EXPUNGE_ROWS_MAX;
pub(crate) use delivery::FOR_EVER;
use estafette_storage::{Family, Transaction};
use estafette_types::{MailboxId, ModSeq, Uid, UidSet};

/// Applies a command within a transaction. `news` gets what it changed, to be told to
/// [`crate::Watchers`] once the transaction is written.
///
/// # Errors
/// Only when rows cannot be read or contradict each other: the group has to stop. What the command's
/// author did wrong is a [`Response::Refused`].
pub fn apply(
    context: &Context,
    command: &Command,
    tx: &mut Transaction,
    news: &mut Vec<News>,
) -> Result<Response, Error> {
    let savepoint = tx.savepoint();
    let told = news.len();
    match run(context, command, tx, news) {
        Ok(response) => Ok(response),
        Err(Stop::Refused(refusal)) => {
            tx.rollback_to(savepoint);
            news.truncate(told);
            Ok(Response::Refused(refusal))
        }
        Err(Stop::Failed(error)) => Err(error),
    }
}

fn run(
    context: &Context,
    command: &Command,
    tx: &mut Transaction,
    news: &mut Vec<News>,
) -> Result<Response, Stop> {
    let at = AccountRef { shard: context.shard, account: command.account };
    let mut work = match (&command.action, read::account_row(&*tx, at)?) {
        (Action::DeleteAccount, row) => return purge::delete_account(context, at, row, tx, news),
        (Action::Purge, None) => return Ok(Response::Purged { more: false }),
        (Action::Purge, Some(row)) => match row.state {
            AccountState::Doomed | AccountState::Leaving => return purge::account(at, row, tx),
            AccountState::Live => return purge::mailboxes(at, tx),
            AccountState::Gone | AccountState::Moved => return Ok(Response::Purged { more: false }),
            _ => return Err(Refusal::Moved.into()),
        },
        (Action::Install { of, after, rows, whole }, row) => {
            let brought = moving::Rows { of: *of, after: *after, rows, whole: whole.as_deref() };
            return moving::install(context, at, row, &brought, tx);
        }
        (Action::Seal { of }, Some(row)) => return moving::seal(at, row, *of, tx),
        (Action::Unseal { of }, row) => return moving::unseal(at, row, *of, tx),
        (Action::Adopt { of }, row) => return moving::adopt(at, row, *of, tx, news),
        (Action::Clear { of }, row) => return moving::clear(at, row, *of, context.time_ms, tx),
        (_, row) => Work::begin(*context, at, row, tx, news)?,
    };
    if let Some(id) = command.request {
        if let Some(before) = work.answered(id)? {
            return Ok(before);
        }
        let response = work.carry_out(&command.action)?;
        work.remember_request(id, &response);
        work.finish();
        return Ok(response);
    }
    let response = work.carry_out(&command.action)?;
    work.finish();
    Ok(response)
}

/// Why a command stops.
pub(crate) enum Stop {
    Refused(Refusal),
    Failed(Error),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(error)
    }
}

impl From<estafette_storage::Error> for Stop {
    fn from(error: estafette_storage::Error) -> Stop {
        Stop::Failed(Error::Storage(error))
    }
}

/// So few messages are looked for by their UIDs alone.
const FEW: u32 = 4;

/// A command under way in one account. The account's row is written at the end, when it changed.
pub(crate) struct Work<'a> {
    context: Context,
    at: AccountRef,
    account: AccountRow,
    before: Option<AccountRow>,
    tx: &'a mut Transaction,
    news: &'a mut Vec<News>,
}

/// A mailbox that a command changes. Its row is written by [`Work::close`].
pub(crate) struct Open {
    at: MailboxRef,
    row: MailboxRow,
    keywords: Option<KeywordTable>,
    new_keywords: bool,
}

/// Do messages that come or go count in the references of bodies? Not when they only move.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bodies {
    Counted,
    Kept,
}

impl<'a> Work<'a> {
    fn begin(
        context: Context,
        at: AccountRef,
        row: Option<AccountRow>,
        tx: &'a mut Transaction,
        news: &'a mut Vec<News>,
    ) -> Result<Work<'a>, Stop> {
        match row.map(|row| row.state) {
            None | Some(AccountState::Live) => {}
            Some(AccountState::Doomed | AccountState::Gone) => return Err(Refusal::NoAccount.into()),
            Some(_) => return Err(Refusal::Moved.into()),
        }
        let new = AccountRow {
            delivery_period: period_of(context.time_ms),
            ..AccountRow::empty(AccountState::Live, context.time_ms)
        };
        let mut work = Work { context, at, account: row.unwrap_or(new), before: row, tx, news };
        if row.is_none() {
            work.create_usual_mailboxes();
        }
        Ok(work)
    }

    fn carry_out(&mut self, action: &Action) -> Result<Response, Stop> {
        match action {
            Action::Ensure | Action::DeleteAccount | Action::Purge => Ok(Response::Done),
            // An account that was never touched moves as one with its usual mailboxes.
            Action::Seal { of } => {
                (self.account.state, self.account.last_move) = (AccountState::Sealed, *of);
                Ok(Response::Done)
            }
            Action::Install { .. } | Action::Unseal { .. } | Action::Adopt { .. } | Action::Clear { .. } => {
                Err(Refusal::NotMoving.into())
            }
            Action::Deliver { id, target, message, quota } => self.deliver(*id, target, message, *quota),
            Action::Append { mailbox, messages, quota } => self.append(*mailbox, messages, *quota),
            Action::Import { name, messages, quota } => self.import(name, messages, *quota),
            Action::Copy { from, to, uids, quota } => self.copy(*from, *to, uids, *quota),
            Action::Move { from, to, uids } => self.move_(*from, *to, uids),
            Action::Store { mailbox, uids, change, flags, unchanged_since } => {
                self.store(*mailbox, uids, *change, flags, *unchanged_since)
            }
            Action::Expunge { mailbox, uids, only_deleted } => self.expunge(*mailbox, uids, *only_deleted),
            Action::Create { name, special_use } => self.create(name, *special_use),
            Action::Delete { name } => self.delete(name),
            Action::Rename { from, to } => self.rename(from, to),
            Action::Subscribe { name, subscribed } => self.subscribe(name, *subscribed),
            Action::SetSpecialUse { name, special_use } => self.set_special_use(name, *special_use),
        }
    }

    fn finish(self) {
        if self.before != Some(self.account) {
            self.tx.put(Family::Row, self.at.key(Kind::Account, &[]), self.account.encode());
        }
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.tx.put(Family::Row, key, value);
    }

    fn remove_row(&mut self, key: Vec<u8>) {
        self.tx.delete(Family::Row, key);
    }

    fn tell(&mut self, news: News) {
        if self.news.last() != Some(&news) {
            self.news.push(news);
        }
    }

    fn open(&mut self, mailbox: MailboxId) -> Result<Open, Stop> {
        let at = self.at.mailbox(mailbox);
        let row = read::mailbox(&*self.tx, at)?.ok_or(Refusal::NoMailbox)?;
        Ok(Open { at, row, keywords: None, new_keywords: false })
    }

    fn close(&mut self, open: Open) {
        if let Some(table) = open.keywords.filter(|_| open.new_keywords) {
            self.put(open.at.key(Kind::Keywords, &[]), table.encode());
        }
        self.put(open.at.key(Kind::Mailbox, &[]), open.row.encode());
        self.tell(News::of_mailbox(open.at, open.row.highest_modseq));
    }

    fn keyword_table<'o>(&self, open: &'o mut Open) -> Result<&'o mut KeywordTable, Stop> {
        let table = match open.keywords.take() {
            Some(table) => table,
            None => read::keywords(&*self.tx, open.at)?,
        };
        Ok(open.keywords.insert(table))
    }

    /// The numbers of keywords; new ones are added while there is room. Also says whether there was
    /// room for all.
    fn number_keywords(&self, open: &mut Open, keywords: &[Keyword]) -> Result<(KeywordSet, bool), Stop> {
        if keywords.is_empty() {
            return Ok((KeywordSet::default(), true));
        }
        let table = self.keyword_table(open)?;
        let known = table.all().len();
        let (mut set, mut room) = (KeywordSet::default(), true);
        for keyword in keywords {
            match table.add(keyword) {
                Some(id) => set = set.with(KeywordSet::one(id)),
                None => room = false,
            }
        }
        let new = table.all().len() > known;
        open.new_keywords |= new;
        Ok((set, room))
    }

    /// The messages of a set that exist, or a refusal when they are too many for one command.
    fn pick(&self, open: &Open, uids: &UidSet) -> Result<Vec<Message>, Stop> {
        if uids.len() <= FEW {
            // Looking for them takes no longer than reading which there are.
            let wanted: Vec<Uid> = uids.iter().collect();
            let messages = read::messages_of(&*self.tx, open.at, &wanted)?;
            // Whether one that is not there should be is told by the block.
            if messages.len() == wanted.len() {
                return Ok(messages);
            }
        }
        let found = block::existing(&*self.tx, open.at, &open.row, uids)?;
        if found.len() as usize > WORK_MAX {
            return Err(Refusal::TooMuch.into());
        }
        let wanted: Vec<Uid> = found.iter().collect();
        let messages = read::messages_of(&*self.tx, open.at, &wanted)?;
        match wanted.iter().zip(&messages).find(|(uid, message)| **uid != message.uid) {
            None if wanted.len() == messages.len() => Ok(messages),
            lost => {
                let uid = lost.map(|(uid, _)| *uid).or(wanted.last().copied()).unwrap_or(Uid::MIN);
                let key = HexKey(open.at.message(uid));
                Err(Error::Missing { what: Kind::Message.name(), key }.into())
            }
        }
    }
}

impl Open {
    fn next_modseq(&mut self) -> ModSeq {
        self.row.highest_modseq = ModSeq(self.row.highest_modseq.0.saturating_add(1));
        self.row.highest_modseq
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{FlagChange, NewMessage};
    use crate::flags::{Flags, SystemFlags};
    use estafette_storage::{BodyHash, Settings, Store};
    use estafette_types::{AccountId, ShardId};

    const INBOX: MailboxId = MailboxId(1);
    const AT: AccountRef = AccountRef { shard: ShardId(1), account: AccountId(7) };

    fn run(tx: &mut Transaction, action: Action) -> Result<Response, Error> {
        let context = Context { shard: AT.shard, time_ms: 1_790_000_000_000 };
        apply(&context, &Command::new(AT.account, action), tx, &mut Vec::new())
    }

    /// Commands on a few messages passed over a row that was lost: members of a group would differ without a word.
    #[test]
    fn a_lost_row_is_found_by_a_command_on_few_messages() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Settings { min_free_bytes: 0, ..Settings::default() }).unwrap();
        let mut tx = store.transaction();
        let (body, flags) = (BodyHash([9; 32]), Flags::default());
        let message = NewMessage { flags, internal_date_ms: None, size: 1, body };
        run(&mut tx, Action::Ensure).unwrap();
        run(&mut tx, Action::Append { mailbox: INBOX, messages: vec![message; 9], quota: None }).unwrap();
        store.apply(tx).unwrap();
        let uids = |uids: &[u32]| uids.iter().filter_map(|uid| Uid::new(*uid)).collect::<UidSet>();
        let gone = uids(&[4]);
        let expunge = |uids: UidSet| Action::Expunge { mailbox: INBOX, uids, only_deleted: false };
        let commands = |uids: &UidSet| {
            let (flags, uids, change) = (SystemFlags::SEEN.into(), uids.clone(), FlagChange::Add);
            [
                Action::Store { mailbox: INBOX, uids: uids.clone(), change, flags, unchanged_since: None },
                Action::Copy { from: INBOX, to: MailboxId(2), uids: uids.clone(), quota: None },
                Action::Move { from: INBOX, to: MailboxId(2), uids: uids.clone() },
                expunge(uids),
            ]
        };
        // One that was expunged, or never came, is left out as ever.
        let mut tx = store.transaction();
        run(&mut tx, expunge(gone.clone())).unwrap();
        for command in commands(&uids(&[3, 4, 5, 99])).into_iter().take(2) {
            run(&mut tx, command).unwrap();
        }
        let left = run(&mut tx, expunge(uids(&[3, 4, 5, 99]))).unwrap();
        assert!(matches!(left, Response::Expunged { uids: left, .. } if left == uids(&[3, 5])));
        // One that should be there is missed, be they few or many.
        let mut tx = store.transaction();
        tx.delete(Family::Row, AT.mailbox(INBOX).message(Uid::new(4).unwrap()));
        for few_or_many in [gone, uids(&[3, 4]), uids(&[1, 2, 3, 4, 5, 6])] {
            for command in commands(&few_or_many) {
                let answer = run(&mut tx, command);
                assert!(matches!(answer, Err(Error::Missing { what: "message", .. })), "{answer:?}");
            }
        }
    }
}
