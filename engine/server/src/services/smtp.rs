//! Answers SMTP, submission and LMTP sessions: logins, senders, recipients, and messages.

use crate::engine::{Engine, now_ms};
use crate::login::Outcome as Login;
use crate::replies;
use bytes::Bytes;
use estafette_delivery::compose::{self, Text, Trace};
use estafette_delivery::{Acceptor, Incoming, Outcome, Problem};
use estafette_mailbox::AccountRef;
use estafette_reactor::{Peer, Protocol, Refusal, Service};
use estafette_smtp::Reply;
use estafette_smtp::server::{Answer, Ask, Delivery, Identity, Kind, ServerConfig, Session};
use estafette_types::{AccountId, Envelope, Recipient, ReversePath};
use std::sync::Arc;
use std::time::Instant;

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
    const QUESTIONS: &'static [&'static str] = &["auth", "mail", "rcpt", "data", "deliver"];

    fn question(ask: &Ask) -> usize {
        match ask {
            Ask::Authenticate { .. } => 0,
            Ask::Mail { .. } => 1,
            Ask::Rcpt { .. } => 2,
            Ask::Data { .. } => 3,
            Ask::Deliver(_) => 4,
        }
    }

    async fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Authenticate { authzid, authcid, password, .. } => {
                self.login(&authzid, &authcid, &password.0).await
            }
            Ask::Mail { envelope, peer } => self.mail(&envelope, peer.identity.as_ref()),
            Ask::Rcpt { recipient, envelope, peer } => {
                self.rcpt(&recipient, &envelope, peer.identity.is_some())
            }
            Ask::Data { .. } if !self.engine.takes_mail() => Answer::Refused(replies::disk_full()),
            Ask::Data { .. } => Answer::Accepted,
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
            Login::TooMany => {
                Answer::Refused(Reply::new(421, (4, 7, 0), "too many failed logins from your address"))
            }
        }
    }

    fn mail(&self, envelope: &Envelope, identity: Option<&Identity>) -> Answer {
        if !self.engine.takes_mail() {
            return Answer::Refused(replies::disk_full());
        }
        let Some(identity) = identity else { return Answer::Accepted };
        match &envelope.reverse_path {
            ReversePath::Null => Answer::Accepted,
            ReversePath::Address(address) if self.engine.directory.read().owns(identity.account, address) => {
                Answer::Accepted
            }
            ReversePath::Address(_) => {
                Answer::Refused(Reply::new(553, (5, 7, 1), "the sender is not an address of this account"))
            }
        }
    }

    fn rcpt(&self, recipient: &Recipient, envelope: &Envelope, relay: bool) -> Answer {
        match self.acceptor.route(&recipient.path, relay) {
            Err(problem) => Answer::Refused(replies::of_problem(&problem)),
            Ok(targets) => match targets.mailboxes.as_slice() {
                [only] if targets.outside.is_empty() => {
                    let at = AccountRef { shard: only.shard, account: only.account };
                    self.room(at, envelope.declared_size.unwrap_or(0))
                }
                _ => Answer::Accepted,
            },
        }
    }

    /// Refuses when the account has no room for a message of the declared size.
    fn room(&self, at: AccountRef, size: u64) -> Answer {
        let quota = self.engine.directory.read().account(at.account).and_then(|account| account.quota_bytes);
        let Some(quota) = quota else { return Answer::Accepted };
        match estafette_mailbox::read::usage(&self.engine.store, at) {
            Ok((used, _)) if used.saturating_add(size) > quota || used >= quota => {
                Answer::Refused(replies::over_quota())
            }
            Ok(_) => Answer::Accepted,
            Err(error) => Answer::Refused(replies::of_problem(&Problem::Fault(Arc::new(error.into())))),
        }
    }

    async fn deliver(&mut self, mut delivery: Delivery) -> Answer {
        self.messages += 1;
        // The second tells runs of the program apart.
        let trace = format!("{:x}.{}.{}", now_ms() / 1000, self.peer.session, self.messages);
        let began = Instant::now();
        let lmtp = self.kind == Kind::Lmtp;
        let submitter: Option<AccountId> = delivery.peer.identity.as_ref().map(|identity| identity.account);
        let (from, size, recipients) =
            (delivery.envelope.reverse_path.to_string(), delivery.size, delivery.envelope.recipients.len());
        let body = match complete(&self.engine, &mut delivery, self.peer, &trace) {
            Ok(body) => body,
            Err(reply) => return Answer::Refused(reply),
        };
        let incoming = Incoming { envelope: delivery.envelope, body, submitter, strict_quota: lmtp };
        let outcomes = self.acceptor.accept(incoming).await;
        metrics::histogram!("estafette_accept_seconds", "listener" => self.name)
            .record(began.elapsed().as_secs_f64());
        metrics::counter!("estafette_accepted_bytes_total", "listener" => self.name).increment(size);
        let failed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Failed(_))).count();
        tracing::info!(message = trace, %from, size, recipients, failed, "message taken in");
        let reply = |outcome: &Outcome| match outcome {
            Outcome::Done => Reply::accepted(&trace),
            Outcome::Failed(problem) => replies::of_problem(problem),
        };
        if lmtp {
            return Answer::Delivered(outcomes.iter().map(reply).collect());
        }
        // One answer for all: a fault for one of them puts the whole off, so that the client tries again.
        let worst = outcomes.iter().find(|outcome| matches!(outcome, Outcome::Failed(_)));
        Answer::Delivered(vec![worst.map_or_else(|| Reply::accepted(&trace), reply)])
    }
}

/// The message with the fields that are added on the way in; the same bytes for all recipients.
fn complete(engine: &Engine, delivery: &mut Delivery, peer: Peer, id: &str) -> Result<Vec<Bytes>, Reply> {
    let mut text = Text::split(std::mem::take(&mut delivery.body));
    if text.hops() > engine.config.smtp.hops_max {
        return Err(Reply::new(554, (5, 4, 6), "the message has come through too many servers: it loops"));
    }
    let time_ms = now_ms();
    if delivery.peer.identity.is_some() {
        text.complete_submission(time_ms, id, &engine.hostname);
    }
    let received = compose::received(&Trace {
        hello: &delivery.peer.hello,
        remote: peer.remote.ip().to_canonical(),
        hostname: &engine.hostname,
        protocol: delivery.protocol,
        tls: delivery.peer.tls.as_ref(),
        id,
        envelope: &delivery.envelope,
        time_ms,
    });
    Ok(text.under([compose::return_path(&delivery.envelope.reverse_path), received]))
}
