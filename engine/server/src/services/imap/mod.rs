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
use self::open::{Opened, Reached};
use crate::cluster;
use crate::engine::{Engine, Seat};
use crate::replies;
use bytes::Bytes;
use estafette_imap::codec::command::Mailbox;
use estafette_imap::session::ask::Failure;
use estafette_imap::session::{Answer, Ask, Config, Session};
use estafette_mailbox::{AccountRef, MailboxRef, MailboxRow};
use estafette_reactor::{Elsewhere, Peer, Protocol, Refusal, Service};
use estafette_types::MailboxId;
use std::sync::Arc;

/// Bytes of messages that are read on the thread of the session.
const BYTES_AT_ONCE: u64 = 256 * 1024;
/// How often a question is put again that could not be answered for a passing reason: a body that had to be brought, a move.
const TRIES_MAX: usize = 8;

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
        (Session::new(Arc::clone(&self.config)), self.service(peer, None))
    }

    fn refusal(&self, why: Refusal) -> Bytes {
        Bytes::from_static(match why {
            Refusal::Full => b"* BYE [UNAVAILABLE] too many connections, please try again later\r\n",
            Refusal::Address => b"* BYE [LIMIT] too many connections from your address\r\n",
        })
    }
}

impl ImapProtocol {
    /// A session that has logged in at another node.
    pub(crate) fn admitted(&self, peer: Peer, at: AccountRef) -> (Session, ImapService) {
        let append_limit = self.engine.config.imap.append_max_bytes;
        let session = Session::admitted(Arc::clone(&self.config), append_limit);
        (session, self.service(peer, Some(Seat::new(at))))
    }

    fn service(&self, peer: Peer, seat: Option<Seat>) -> ImapService {
        let engine = Arc::clone(&self.engine);
        ImapService { name: self.name, engine, peer, seat, opened: None, elsewhere: None }
    }
}

/// Answers one session.
pub(crate) struct ImapService {
    name: &'static str,
    engine: Arc<Engine>,
    peer: Peer,
    /// Who is logged in.
    seat: Option<Seat>,
    /// The mailbox that was selected last.
    opened: Option<Box<Opened>>,
    /// Where the session goes on, if its login has found that.
    elsewhere: Option<Box<Elsewhere>>,
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
        let mut again = repeatable(&ask);
        let mut outcome = Box::pin(self.carry_out(ask)).await;
        for _ in 0..TRIES_MAX {
            let Some(ask) = again.take() else { break };
            if !self.mended(&mut outcome).await {
                break;
            }
            again = repeatable(&ask);
            outcome = Box::pin(self.carry_out(ask)).await;
        }
        let answer = match outcome {
            Ok(answer) => answer,
            Err(_) if self.is_away() => Answer::Failed(Failure::Elsewhere),
            Err(Stop::Told(failure)) => Answer::Failed(failure),
            Err(Stop::Moved) => Answer::Failed(Failure::Unavailable),
            // On a node that is alone, it is lost.
            Err(Stop::Failed(error)) if error.missing_body().is_some() && self.engine.cluster.is_joined() => {
                tracing::warn!(%error, "a body has not come from another node yet");
                Answer::Failed(Failure::Unavailable)
            }
            Err(Stop::Failed(error)) => Answer::Failed(replies::of_error(&error)),
        };
        if let Some(opened) = &mut self.opened {
            opened.told(&answer);
        }
        answer
    }

    fn handed_over(&mut self) -> Option<Box<Elsewhere>> {
        self.elsewhere.take()
    }

    async fn changed(&mut self) {
        match &self.opened {
            Some(opened) => opened.changed().await,
            None => std::future::pending().await,
        }
    }
}

/// What is asked once more when the account has moved under it, or when bodies came from another node, of what costs nothing
/// to keep. That is rare: the rows of an account stay where it was for a while, and the directory is looked at before.
fn repeatable(ask: &Ask) -> Option<Ask> {
    match ask {
        Ask::Fetch { mailbox, uids, want, budget_bytes } => Some(Ask::Fetch {
            mailbox: *mailbox,
            uids: uids.clone(),
            want: *want,
            budget_bytes: *budget_bytes,
        }),
        Ask::Read { ranges } => Some(Ask::Read { ranges: ranges.clone() }),
        Ask::Changes { mailbox, since, known, limit, fresh } => Some(Ask::Changes {
            mailbox: *mailbox,
            since: *since,
            known: Arc::clone(known),
            limit: *limit,
            fresh: *fresh,
        }),
        _ => None,
    }
}

impl ImapService {
    /// Sees to why something could not be answered; true if it is worth another try.
    async fn mended(&self, outcome: &mut Result<Answer, Stop>) -> bool {
        match outcome {
            Err(Stop::Moved) => match self.fresh().await {
                Ok(_) => true,
                Err(stop) => {
                    *outcome = Err(stop);
                    false
                }
            },
            Err(Stop::Failed(error)) => match error.missing_body() {
                Some(hash) => cluster::bring(&self.engine, hash).await,
                None => false,
            },
            _ => false,
        }
    }

    async fn carry_out(&mut self, ask: Ask) -> Result<Answer, Stop> {
        if let Some(at) = self.seat.as_ref().map(Seat::at) {
            let home = self.engine.account_ref(at.account).unwrap_or(at);
            if !self.engine.shards.is_here(home.shard) {
                return Err(Failure::Elsewhere.into());
            }
            if home != at {
                self.fresh().await?;
            }
        }
        match ask {
            Ask::Authenticate { authorization, user, password, .. } => {
                self.login(&authorization, &user, &password.0).await
            }
            Ask::Mailboxes { counts, deleted_bytes } => {
                let at = self.fresh().await?;
                self.read(counts, move |moment| moment.mailboxes(at, counts, deleted_bytes)).await
            }
            Ask::Create { name, special_use } => self.create(&name, &special_use).await,
            Ask::Delete { name } => self.delete(&name).await,
            Ask::Rename { from, to } => self.rename(&from, &to).await,
            Ask::Subscribe { name, subscribed } => self.subscribe(&name, subscribed).await,
            Ask::Status { name, deleted_bytes } => {
                let at = self.fresh().await?;
                self.read(deleted_bytes, move |moment| moment.status(at, &name, deleted_bytes)).await
            }
            Ask::Quota { of_mailbox } => self.quota(of_mailbox.as_ref()).await,
            Ask::Select { name, .. } => self.select(&name).await,
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
            Ask::Changes { mailbox, since, known, limit, fresh } => {
                if fresh {
                    self.fresh().await?;
                }
                self.news(mailbox, since, known, limit).await
            }
            // The others have been dealt with.
            _ => Err(Failure::Internal.into()),
        }
    }

    /// Only other nodes have the account any more.
    fn is_away(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| self.engine.away(seat.at()).is_some())
    }

    fn seat(&self) -> Result<&Seat, Stop> {
        self.seat.as_ref().ok_or(Stop::Told(Failure::Internal))
    }

    fn account(&self) -> Result<AccountRef, Stop> {
        self.seat().map(Seat::at)
    }

    /// The account, once its rows here hold all that its sessions were told, on whatever node. Sessions that read
    /// what they have open do not ask: their own view of it only goes forward.
    async fn fresh(&self) -> Result<AccountRef, Stop> {
        let heard = self.opened.as_ref().map(|opened| opened.heard());
        let at = self.engine.fresh(self.account()?).await?;
        self.is_at(at, heard)?;
        Ok(at)
    }

    /// The account was found there, with all that the session had heard before.
    fn is_at(&self, at: AccountRef, heard: Option<Reached>) -> Result<(), Stop> {
        self.seat()?.is_at(at);
        if let (Some(opened), Some(heard)) = (&self.opened, heard) {
            opened.is_in(at.shard, heard);
        }
        Ok(())
    }

    /// The mailbox of a name. One that is not here may be on its way from another node.
    async fn target(&self, name: &Mailbox) -> Result<(MailboxRef, MailboxRow), Stop> {
        let account = self.account()?;
        match Moment::of(&self.engine).named(account, name) {
            Err(Stop::Told(Failure::NonExistent) | Stop::Moved) => {
                // First fresh, then the moment: it shows the rows as they are when it is made.
                let account = self.fresh().await?;
                Moment::of(&self.engine).named(account, name)
            }
            found => found,
        }
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
