//! Answers SMTP, submission and LMTP sessions: logins, senders, recipients, and messages (`message`).

mod message;
#[cfg(test)]
mod tests;

use crate::engine::Engine;
use crate::login::Outcome as Login;
use crate::replies;
use bytes::Bytes;
use estafette_delivery::{Acceptor, Problem};
use estafette_mailbox::AccountRef;
use estafette_reactor::{Peer, Protocol, Refusal, Service};
use estafette_smtp::Reply;
use estafette_smtp::server::{Answer, Ask, Identity, Kind, ServerConfig, Session};
use estafette_types::{Envelope, Recipient, ReversePath};
use std::sync::Arc;

/// The sessions of one listener.
pub(crate) struct SmtpProtocol {
    pub(crate) name: &'static str,
    pub(crate) engine: Arc<Engine>,
    pub(crate) acceptor: Acceptor,
    pub(crate) config: Arc<ServerConfig>,
}

impl Protocol for SmtpProtocol {
    type Machine = Session;
    type Service = SmtpService;

    fn name(&self) -> &'static str {
        self.name
    }

    fn open(&self, peer: Peer) -> (Session, SmtpService) {
        let service = SmtpService {
            name: self.name,
            kind: self.config.kind,
            engine: Arc::clone(&self.engine),
            acceptor: self.acceptor.clone(),
            peer,
            messages: 0,
        };
        (Session::new(Arc::clone(&self.config)), service)
    }

    fn refusal(&self, why: Refusal) -> Bytes {
        Bytes::from_static(match why {
            Refusal::Full => b"421 4.3.2 too many connections, please try again later\r\n",
            Refusal::Address => b"421 4.7.0 too many connections from your address\r\n",
        })
    }
}

/// Answers one session.
pub(crate) struct SmtpService {
    name: &'static str,
    kind: Kind,
    engine: Arc<Engine>,
    acceptor: Acceptor,
    peer: Peer,
    messages: u32,
}

impl Service<Session> for SmtpService {
    const QUESTIONS: &'static [&'static str] = &["auth", "mail", "rcpt", "data", "part", "deliver"];

    fn question(ask: &Ask) -> usize {
        match ask {
            Ask::Authenticate { .. } => 0,
            Ask::Mail { .. } => 1,
            Ask::Rcpt { .. } => 2,
            Ask::Data { .. } => 3,
            Ask::Part(_) => 4,
            Ask::Deliver(_) => 5,
        }
    }

    async fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Authenticate { authzid, authcid, password, .. } => {
                self.login(&authzid, &authcid, &password.0).await
            }
            Ask::Mail { envelope, peer } => self.mail(&envelope, peer.identity.as_ref()).await,
            Ask::Rcpt { recipient, envelope, peer } => {
                self.rcpt(&recipient, &envelope, peer.identity.is_some()).await
            }
            Ask::Data { .. } if !self.engine.takes_mail() => Answer::Refused(replies::disk_full()),
            Ask::Data { .. } => Answer::Accepted,
            Ask::Part(part) => self.part(*part).await,
            Ask::Deliver(delivery) => self.deliver(*delivery).await,
        }
    }
}

impl SmtpService {
    async fn login(&self, authzid: &str, authcid: &str, password: &str) -> Answer {
        if !authzid.is_empty() && authzid != authcid {
            return Answer::Refused(Reply::new(535, (5, 7, 8), "acting as somebody else is not allowed"));
        }
        match self.engine.login(self.name, authcid, password, self.peer.remote.ip()).await {
            Login::Welcome(account) => {
                Answer::LoggedIn(Identity { account: account.id, username: account.username.clone() })
            }
            Login::Wrong => Answer::Refused(Reply::login_failed()),
            Login::Barred => Answer::Refused(Reply::new(535, (5, 7, 8), "this account may not log in")),
            Login::Later => Answer::Refused(replies::login_put_off()),
            Login::TooMany => {
                Answer::Refused(Reply::new(421, (4, 7, 0), "too many failed logins from your address"))
            }
        }
    }

    async fn mail(&self, envelope: &Envelope, identity: Option<&Identity>) -> Answer {
        if !self.engine.takes_mail() {
            return Answer::Refused(replies::disk_full());
        }
        let (Some(identity), ReversePath::Address(address)) = (identity, &envelope.reverse_path) else {
            return Answer::Accepted;
        };
        let owns = || match self.engine.directory.read().owns(identity.account, address) {
            true => Ok(()),
            false => Err(Reply::new(553, (5, 7, 1), "the sender is not an address of this account")),
        };
        match self.looked_up(owns).await {
            Ok(()) => Answer::Accepted,
            Err(reply) => Answer::Refused(reply),
        }
    }

    /// What the directory here refuses is looked up once more when it knows all that other nodes know.
    async fn looked_up<T>(&self, look: impl Fn() -> Result<T, Reply>) -> Result<T, Reply> {
        if let Ok(found) = look() {
            return Ok(found);
        }
        self.engine.fresh_directory().await.map_err(|error| replies::not_fresh(&error))?;
        look()
    }

    async fn rcpt(&self, recipient: &Recipient, envelope: &Envelope, relay: bool) -> Answer {
        let route =
            || self.acceptor.route(&recipient.path, relay).map_err(|problem| replies::of_problem(&problem));
        match self.looked_up(route).await {
            Err(reply) => Answer::Refused(reply),
            Ok(targets) => match targets.mailboxes.as_slice() {
                [only] if targets.outside.is_empty() => {
                    let at = AccountRef { shard: only.shard, account: only.account };
                    self.room(at, envelope.declared_size.unwrap_or(0)).await
                }
                _ => Answer::Accepted,
            },
        }
    }

    /// Refuses when the account has no room for a message of the declared size. What is not known is judged where the
    /// message is delivered.
    async fn room(&self, at: AccountRef, size: u64) -> Answer {
        let quota = self.engine.directory.read().account(at.account).and_then(|account| account.quota_bytes);
        let Some(quota) = quota else { return Answer::Accepted };
        let used = match self.engine.shards.is_here(at.shard) {
            true => estafette_mailbox::read::usage(&self.engine.store, at).map(|(used, _)| used),
            false => Ok(self.engine.usage(&[at]).await.into_iter().flatten().map(|(used, _)| used).sum()),
        };
        match used {
            Ok(used) if used.saturating_add(size) > quota || used >= quota => {
                Answer::Refused(replies::over_quota())
            }
            Ok(_) => Answer::Accepted,
            Err(error) => Answer::Refused(replies::of_problem(&Problem::Fault(Arc::new(error.into())))),
        }
    }
}
