//! Answers IMAP sessions from the engine.
//!
//! Duty: each question of [`Ask`] becomes reads of rows at one moment ([`Moment`]) or a command to the
//! account's shard, and their outcome an [`Answer`]. Files: `mailboxes` is about names, `open` about the
//! selected mailbox and its news, `messages` reads them, `change` alters them, `search` judges them.
//!
//! Invariants: a question is answered from one view of the store; what may take long leaves the thread
//! of the session; an idle session holds a few hundred bytes here.
//! Must not: know the grammar, keep messages or sequence numbers.

mod change;
mod convert;
mod login;
mod mailboxes;
mod messages;
mod moment;
mod open;
mod search;
#[cfg(test)]
mod tests;

use self::moment::{Moment, Stop};
use self::open::Opened;
use crate::engine::Engine;
use crate::replies;
use bytes::Bytes;
use estafette_imap::session::ask::Failure;
use estafette_imap::session::{Answer, Ask, Config, Session};
use estafette_mailbox::{AccountRef, MailboxRef};
use estafette_reactor::{Peer, Protocol, Refusal, Service};
use estafette_types::MailboxId;
use std::sync::Arc;

/// Bytes of messages that are read on the thread of the session.
const BYTES_AT_ONCE: u64 = 256 * 1024;

/// The sessions of one listener.
pub(crate) struct ImapProtocol {
    pub(crate) name: &'static str,
    pub(crate) engine: Arc<Engine>,
    pub(crate) config: Arc<Config>,
}

impl Protocol for ImapProtocol {
    type Machine = Session;
    type Service = ImapService;

    fn name(&self) -> &'static str {
        self.name
    }

    fn open(&self, peer: Peer) -> (Session, ImapService) {
        let engine = Arc::clone(&self.engine);
        let service = ImapService { name: self.name, engine, peer, account: None, opened: None };
        (Session::new(Arc::clone(&self.config)), service)
    }

    fn refusal(&self, why: Refusal) -> Bytes {
        Bytes::from_static(match why {
            Refusal::Full => b"* BYE [UNAVAILABLE] too many connections, please try again later\r\n",
            Refusal::Address => b"* BYE [LIMIT] too many connections from your address\r\n",
        })
    }
}

/// Answers one session.
pub(crate) struct ImapService {
    name: &'static str,
    engine: Arc<Engine>,
    peer: Peer,
    /// Who is logged in.
    account: Option<AccountRef>,
    /// The mailbox that was selected last.
    opened: Option<Box<Opened>>,
}

impl Service<Session> for ImapService {
    const QUESTIONS: &'static [&'static str] = &[
        "authenticate",
        "mailboxes",
        "create",
        "delete",
        "rename",
        "subscribe",
        "status",
        "select",
        "append",
        "fetch",
        "read",
        "store",
        "copy",
        "expunge",
        "search",
        "changes",
        "quota",
        "part",
    ];

    fn question(ask: &Ask) -> usize {
        match ask {
            Ask::Authenticate { .. } => 0,
            Ask::Mailboxes { .. } => 1,
            Ask::Create { .. } => 2,
            Ask::Delete { .. } => 3,
            Ask::Rename { .. } => 4,
            Ask::Subscribe { .. } => 5,
            Ask::Status { .. } => 6,
            Ask::Select { .. } => 7,
            Ask::Append { .. } => 8,
            Ask::Fetch { .. } => 9,
            Ask::Read { .. } => 10,
            Ask::Store { .. } => 11,
            Ask::Copy { .. } => 12,
            Ask::Expunge { .. } => 13,
            Ask::Search { .. } => 14,
            Ask::Changes { .. } => 15,
            Ask::Quota { .. } => 16,
            Ask::Part { .. } => 17,
        }
    }

    async fn answer(&mut self, ask: Ask) -> Answer {
        let answer = match Box::pin(self.carry_out(ask)).await {
            Ok(answer) => answer,
            Err(Stop::Told(failure)) => Answer::Failed(failure),
            Err(Stop::Failed(error)) => Answer::Failed(replies::of_error(&error)),
        };
        if let Some(opened) = &mut self.opened {
            opened.told(&answer);
        }
        answer
    }

    async fn changed(&mut self) {
        match &self.opened {
            Some(opened) => opened.changed().await,
            None => std::future::pending().await,
        }
    }
}

impl ImapService {
    async fn carry_out(&mut self, ask: Ask) -> Result<Answer, Stop> {
        match ask {
            Ask::Authenticate { authorization, user, password, .. } => {
                self.login(&authorization, &user, &password.0).await
            }
            Ask::Mailboxes { counts, deleted_bytes } => {
                let at = self.account()?;
                self.read(counts, move |moment| moment.mailboxes(at, counts, deleted_bytes)).await
            }
            Ask::Create { name, special_use } => self.create(&name, &special_use).await,
            Ask::Delete { name } => self.delete(&name).await,
            Ask::Rename { from, to } => self.rename(&from, &to).await,
            Ask::Subscribe { name, subscribed } => self.subscribe(&name, subscribed).await,
            Ask::Status { name, deleted_bytes } => {
                let at = self.account()?;
                self.read(deleted_bytes, move |moment| moment.status(at, &name, deleted_bytes)).await
            }
            Ask::Quota { of_mailbox } => self.quota(of_mailbox.as_ref()),
            Ask::Select { name, .. } => self.select(&name),
            Ask::Part { deposit, size, pieces } => self.part(deposit, size, pieces).await,
            Ask::Append { name, flags, date, deposit, body } => {
                self.append(&name, &flags, date, deposit, body).await
            }
            selected => self.carry_out_selected(selected).await,
        }
    }

    async fn carry_out_selected(&mut self, ask: Ask) -> Result<Answer, Stop> {
        match ask {
            Ask::Fetch { mailbox, uids, want, budget_bytes } => {
                self.fetch(mailbox, uids, want, budget_bytes).await
            }
            Ask::Read { ranges } => self.read_ranges(ranges).await,
            Ask::Store { mailbox, uids, how, flags, unchanged_since } => {
                self.store(mailbox, uids, how, &flags, unchanged_since).await
            }
            Ask::Copy { mailbox, uids, to, remove } => self.copy(mailbox, &uids, &to, remove).await,
            Ask::Expunge { mailbox, uids } => self.expunge(mailbox, &uids).await,
            Ask::Search { mailbox, among, criterion, modseq_of } => {
                search::run(&self.engine, self.mailbox(mailbox)?, among, *criterion, modseq_of).await
            }
            Ask::Changes { mailbox, since, known, limit } => self.news(mailbox, since, known, limit).await,
            // The others have been dealt with.
            _ => Err(Failure::Internal.into()),
        }
    }

    fn account(&self) -> Result<AccountRef, Stop> {
        self.account.ok_or(Stop::Told(Failure::Internal))
    }

    fn mailbox(&self, mailbox: MailboxId) -> Result<MailboxRef, Stop> {
        Ok(self.account()?.mailbox(mailbox))
    }

    /// Reads at one moment; what is heavy, on a thread where it may take its time.
    async fn read<T, F>(&self, heavy: bool, read: F) -> Result<T, Stop>
    where
        T: Send + 'static,
        F: FnOnce(&Moment<'_>) -> Result<T, Stop> + Send + 'static,
    {
        if !heavy {
            return read(&Moment::of(&self.engine));
        }
        let engine = Arc::clone(&self.engine);
        aside(move || read(&Moment::of(&engine))).await
    }
}

/// Runs what may take long on a thread of its own.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Stop> + Send + 'static,
) -> Result<T, Stop> {
    // It only fails to come back when it panicked, which has been logged.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Stop::Told(Failure::Internal)))
}
