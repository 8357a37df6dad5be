//! Answers POP3 sessions from the INBOX of the account.

use crate::cluster;
use crate::config::COLLECT_AFTER_SECONDS_MIN;
use crate::engine::{Engine, EngineError};
use crate::login::Outcome as Login;
use crate::replies;
use crate::services::elsewhere::{HandedOver, Speech, hand_over};
use bytes::Bytes;
use estafette_mailbox::{AccountRef, Action, MailboxName, MailboxRef, Maildrop, Response, WORK_MAX, read};
use estafette_pop3::{Answer, Ask, Config, Failure, Refusal, Session, Snapshot};
use estafette_reactor::{Elsewhere, Peer, Protocol, Refusal as Full, Service};
use estafette_storage::BodyHash;
use estafette_types::{AccountId, Uid, UidSet};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages that are looked up together by a client that reads one after the other.
const AHEAD_MAX: usize = 16;
/// For so long what was looked up is taken to be there: far less than a body stays that nobody refers to.
const AHEAD_VALID: Duration = Duration::from_secs(1);
const _: () = assert!(AHEAD_VALID.as_secs() < COLLECT_AFTER_SECONDS_MIN);

/// The sessions of one listener.
pub(crate) struct Pop3Protocol {
    pub(crate) name: &'static str,
    pub(crate) engine: Arc<Engine>,
    pub(crate) config: Arc<Config>,
}

impl Protocol for Pop3Protocol {
    type Machine = Session;
    type Service = Pop3Service;

    fn name(&self) -> &'static str {
        self.name
    }

    fn open(&self, peer: Peer) -> (Session, Pop3Service) {
        (Session::new(Arc::clone(&self.config)), self.service(peer))
    }

    fn refusal(&self, _: Full) -> Bytes {
        Bytes::from_static(b"-ERR [SYS/TEMP] too many connections\r\n")
    }
}

impl Pop3Protocol {
    /// A session whose login at another node is still to be answered.
    pub(crate) fn admitted(&self, peer: Peer, account: AccountId) -> (Session, Pop3Service) {
        (Session::admitted(Arc::clone(&self.config), account), self.service(peer))
    }

    fn service(&self, peer: Peer) -> Pop3Service {
        Pop3Service {
            name: self.name,
            engine: Arc::clone(&self.engine),
            peer,
            inbox: None,
            begun: None,
            last: Uid::MAX,
            ahead: Ahead { since: Instant::now(), next: VecDeque::new() },
            elsewhere: None,
        }
    }
}

/// Answers one session.
pub(crate) struct Pop3Service {
    name: &'static str,
    engine: Arc<Engine>,
    peer: Peer,
    inbox: Option<MailboxRef>,
    /// The message whose beginning was read last: it can be read to its end though it is removed meanwhile.
    begun: Option<Known>,
    /// The last message of the snapshot.
    last: Uid,
    ahead: Ahead,
    /// Where the session goes on, if its login has found that.
    elsewhere: Option<Box<Elsewhere>>,
}

/// What of a message is needed to read it: its UID, its body and its size.
type Known = (Uid, BodyHash, u64);

/// The messages that a client which reads one after the other will want next.
struct Ahead {
    since: Instant,
    next: VecDeque<Known>,
}

impl Ahead {
    fn take(&mut self, uid: Uid) -> Option<Known> {
        if self.since.elapsed() > AHEAD_VALID {
            self.next.clear();
        }
        while self.next.pop_front_if(|(next, ..)| *next < uid).is_some() {}
        self.next.pop_front_if(|(next, ..)| *next == uid)
    }
}

impl Service<Session> for Pop3Service {
    const QUESTIONS: &'static [&'static str] = &["auth", "open", "read", "delete"];

    fn question(ask: &Ask) -> usize {
        match ask {
            Ask::Authenticate { .. } => 0,
            Ask::Open { .. } => 1,
            Ask::Read { .. } => 2,
            Ask::Delete { .. } => 3,
        }
    }

    async fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Authenticate { authzid, authcid, password, .. } => {
                self.login(&authzid, &authcid, &password.0).await
            }
            Ask::Open { account } => match self.open(account).await {
                Ok(Some(snapshot)) => Answer::Opened(snapshot),
                Ok(None) => Answer::Refused(Refusal::Failed(Failure::Permanent)),
                Err(error) => Answer::Refused(Refusal::Failed(replies::of_error_in_pop3(&error))),
            },
            Ask::Read { .. } | Ask::Delete { .. } if self.is_away() => Answer::Failed(Failure::Temporary),
            Ask::Read { uid, range } => match self.read(uid, range).await {
                Ok(Some(pieces)) => Answer::Data(pieces),
                Ok(None) => Answer::Gone,
                Err(error) => Answer::Failed(replies::of_error_in_pop3(&error)),
            },
            Ask::Delete { uids } => match self.delete(&uids).await {
                Ok(()) => Answer::Deleted,
                Err(error) => Answer::Failed(replies::of_error_in_pop3(&error)),
            },
        }
    }

    fn handed_over(&mut self) -> Option<Box<Elsewhere>> {
        self.elsewhere.take()
    }
}

impl Pop3Service {
    async fn login(&mut self, authzid: &str, authcid: &str, password: &str) -> Answer {
        if !authzid.is_empty() && authzid != authcid {
            return Answer::Refused(Refusal::Credentials);
        }
        match self.engine.login(self.name, authcid, password, self.peer.remote.ip()).await {
            Login::Welcome(account) => self.welcome(account.id).await,
            Login::Wrong | Login::Barred => Answer::Refused(Refusal::Credentials),
            Login::TooMany => Answer::Refused(Refusal::LoginDelay),
            Login::Later => Answer::Refused(Refusal::Failed(Failure::Temporary)),
        }
    }

    /// Only other nodes have the maildrop any more.
    fn is_away(&self) -> bool {
        self.inbox.is_some_and(|inbox| self.engine.away(inbox.owner()).is_some())
    }

    /// The maildrop is opened next, where it is.
    async fn welcome(&mut self, account: AccountId) -> Answer {
        let Some(away) = self.engine.account_ref(account).and_then(|at| self.engine.away(at)) else {
            return Answer::LoggedIn(account);
        };
        let taken = Box::pin(hand_over(&self.engine, Speech::Pop3, self.name, self.peer, away)).await;
        match taken {
            Some(HandedOver { elsewhere, .. }) => {
                self.elsewhere = Some(elsewhere);
                Answer::LoggedIn(account)
            }
            None => Answer::Refused(Refusal::Failed(Failure::Temporary)),
        }
    }

    /// The maildrop as it is now; `None` for an account without mailboxes.
    async fn open(&mut self, account: AccountId) -> Result<Option<Snapshot>, EngineError> {
        let Some(at) = self.engine.account_ref(account) else { return Ok(None) };
        let at = self.engine.fresh(at).await?;
        let found = match self.snapshot(at)? {
            Some(found) => Some(found),
            None => {
                let (at, _) = self.engine.mailbox(at, Action::Ensure, Vec::new()).await?;
                self.snapshot(at)?
            }
        };
        Ok(found.map(|(inbox, snapshot)| {
            self.inbox = Some(inbox);
            self.last = snapshot.uids.last().unwrap_or(Uid::MAX);
            snapshot
        }))
    }

    fn snapshot(&self, at: AccountRef) -> Result<Option<(MailboxRef, Snapshot)>, EngineError> {
        let view = self.engine.store.view();
        let Some((inbox, row)) = read::mailbox_by_name(&view, at, &MailboxName::inbox())? else {
            return Ok(None);
        };
        let maildrop = self.engine.maildrops.read(&view, inbox, &row)?;
        let Maildrop { uids, sizes } = Maildrop::clone(&maildrop);
        Ok(Some((inbox, Snapshot { uid_validity: row.uid_validity, uids, sizes })))
    }

    /// `None` when the message is gone.
    async fn read(&mut self, uid: Uid, range: Range<u64>) -> Result<Option<Vec<Bytes>>, EngineError> {
        let begun = self.begun.filter(|(of, ..)| *of == uid && range.start > 0);
        let found = match (begun, self.inbox) {
            (Some(begun), _) => Some(begun),
            (None, Some(inbox)) => match self.look_up(inbox, uid)? {
                Some(found) => Some(found),
                None => self.look_up_elsewhere(inbox, uid).await?,
            },
            (None, None) => None,
        };
        self.begun = found;
        let Some((_, hash, size)) = found else { return Ok(None) };
        let body = || self.engine.store.body_of(hash, size);
        match body().read(range.clone()) {
            // It is to come from another node.
            Err(estafette_storage::Error::Missing { hash }) if cluster::bring(&self.engine, hash).await => {
                Ok(Some(body().read(range)?))
            }
            read => Ok(Some(read?)),
        }
    }

    /// A message that is not found may be where the account has moved to.
    async fn look_up_elsewhere(&mut self, inbox: MailboxRef, uid: Uid) -> Result<Option<Known>, EngineError> {
        let state = read::state(&self.engine.store, inbox.owner())?;
        if !state.is_some_and(|(state, _)| state.is_elsewhere()) {
            return Ok(None);
        }
        let inbox = self.engine.fresh(inbox.owner()).await?.mailbox(inbox.mailbox);
        self.inbox = Some(inbox);
        self.look_up(inbox, uid)
    }

    fn look_up(&mut self, inbox: MailboxRef, uid: Uid) -> Result<Option<Known>, EngineError> {
        if let Some(known) = self.ahead.take(uid) {
            return Ok(Some(known));
        }
        self.ahead = Ahead { since: Instant::now(), next: VecDeque::new() };
        if self.begun.is_none_or(|(last, ..)| last >= uid) {
            let message = read::message(&self.engine.store, inbox, uid)?;
            return Ok(message.map(|row| (uid, row.body, row.size)));
        }
        for message in read::messages(&self.engine.store, inbox, uid..=self.last)?.take(AHEAD_MAX) {
            let message = message?;
            self.ahead.next.push_back((message.uid, message.row.body, message.row.size));
        }
        Ok(self.ahead.take(uid))
    }

    async fn delete(&self, uids: &UidSet) -> Result<(), EngineError> {
        let Some(inbox) = self.inbox else { return Ok(()) };
        let all: Vec<Uid> = uids.iter().collect();
        for part in all.chunks(WORK_MAX) {
            let uids = UidSet::from_runs(part.iter().map(|uid| (*uid, *uid)));
            let action = Action::Expunge { mailbox: inbox.mailbox, uids, only_deleted: false };
            let (_, answer) = self.engine.mailbox(inbox.owner(), action, Vec::new()).await?;
            if let Response::Refused(refusal) = answer {
                tracing::info!(%refusal, "messages could not be deleted");
            }
        }
        Ok(())
    }
}
