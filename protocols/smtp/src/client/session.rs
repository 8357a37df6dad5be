//! The client session: greeting, EHLO, TLS, login, then message after message.

use super::config::{ClientConfig, TlsPolicy};
use super::extensions::Extensions;
use super::outgoing::{Looked, Outcome, Outgoing, Unfit};
use super::sending::{Next, Sending, out_of_place};
use crate::codec::ReplyReader;
use crate::{Reply, ReplyClass, Secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The connection is open. First and once; with [`TlsPolicy::Implicit`] after `Secured`.
    Connected,
    /// Bytes came; they are taken from the front, what is left is given again.
    Received(&'a mut BytesMut),
    /// TLS is up.
    Secured,
    /// The handshake failed, or the certificate is not to be trusted.
    TlsFailed,
    /// Send this message. Only after [`ClientAction::Ready`], once for each.
    Mail(Box<Outgoing>),
    /// The next bytes of the text, asked for by [`ClientAction::Read`]; none if they cannot be had.
    Text(Vec<Bytes>),
    /// What there is in the text, asked for by [`ClientAction::Look`]; `None` if it cannot be read.
    Looked(Option<Looked>),
    /// All that was to be sent has left.
    Drained,
    /// The timer ran out.
    TimedOut,
    /// The server sends nothing more.
    Closed,
    /// Say QUIT. Only after [`ClientAction::Ready`].
    Quit,
}

/// What the driver has to do, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientAction {
    /// Send these bytes, and give [`Event::Drained`] once all have left.
    Send(Bytes),
    /// Give the next bytes of the message's text by [`Event::Text`], at most about so many as can be held.
    Read,
    /// Look at the whole text of the message, and tell by [`Event::Looked`].
    Look,
    /// Start TLS as the client; `Secured` or `TlsFailed` tells how it went.
    StartTls,
    /// Set the one timer; replaces what was set.
    Arm(Duration),
    /// A message or QUIT may be given. After as many messages as the server takes (MAILMAX of RFC
    /// 9422) it does not come again, and the session quits by itself.
    Ready,
    /// The message that was given is dealt with: one outcome for each recipient, in order.
    Finished(Vec<Outcome>),
    /// The session cannot go on.
    Failed(Failure),
    /// Close the connection. The last action.
    Close,
}

/// Where a session failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// At the greeting.
    Greeting,
    /// At EHLO, LHLO or HELO.
    Hello,
    /// At STARTTLS or in the handshake: without TLS it might have worked.
    Tls,
    /// At the login.
    Login,
    /// Between messages, or with one on its way; its outcomes came before.
    Mail,
}

/// Why a session cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where.
    pub stage: Stage,
    /// The server's reply, or our own words. Its class tells whether trying again may help.
    pub reply: Reply,
}

#[derive(Debug)]
enum Phase {
    Opening,
    Greeting,
    Hello,
    /// HELO, after EHLO was not understood.
    PlainHello,
    StartTls,
    Securing,
    /// AUTH was sent; these are the responses to come.
    Login(Vec<Secret>),
    Idle,
    Sending(Box<Sending>),
    /// The text of this message is being looked at.
    Looking(Box<Outgoing>),
    Resetting,
    Quitting,
    Closed,
}

/// The client's side of a connection.
#[derive(Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    phase: Phase,
    reader: ReplyReader,
    server: Extensions,
    tls: bool,
    /// Messages sent since EHLO.
    mails: u32,
    out: Vec<ClientAction>,
}

impl Client {
    /// A session that waits for [`Event::Connected`].
    pub fn new(config: Arc<ClientConfig>) -> Client {
        Client {
            config,
            phase: Phase::Opening,
            reader: ReplyReader::default(),
            server: Extensions::default(),
            tls: false,
            mails: 0,
            out: Vec::new(),
        }
    }

    /// What the server offers, once EHLO was answered.
    pub fn extensions(&self) -> &Extensions {
        &self.server
    }

    /// True when what was given out last ends the message that is being sent: until that is written, the server does
    /// not take it.
    pub fn completes(&self) -> bool {
        matches!(&self.phase, Phase::Sending(sending) if sending.awaits_message())
    }

    /// One step. Events that do not fit the state are passed over.
    pub fn step(&mut self, event: Event<'_>) -> Vec<ClientAction> {
        match event {
            _ if matches!(self.phase, Phase::Closed) => {}
            Event::Connected if !matches!(self.phase, Phase::Opening) => {}
            Event::Connected => {
                self.phase = Phase::Greeting;
                self.arm(self.config.times.greeting);
            }
            Event::Received(input) => self.received(input),
            Event::Secured => self.secured(),
            Event::TlsFailed => self.fail(Reply::new(454, (4, 7, 5), "the TLS handshake failed")),
            Event::Mail(message) => self.mail(*message),
            Event::Drained => self.pump(),
            Event::Text(pieces) => self.text(pieces),
            Event::Looked(looked) => self.looked(looked),
            Event::TimedOut => self.fail(Reply::new(451, (4, 4, 2), "the server took too long")),
            Event::Closed => self.fail(Reply::new(451, (4, 4, 2), "the server closed the connection")),
            Event::Quit if !matches!(self.phase, Phase::Idle) => {}
            Event::Quit => {
                self.phase = Phase::Quitting;
                self.command("QUIT\r\n");
            }
        }
        std::mem::take(&mut self.out)
    }

    fn arm(&mut self, time: Duration) {
        self.out.push(ClientAction::Arm(time));
    }

    fn send(&mut self, text: String) {
        self.out.push(ClientAction::Send(Bytes::from(text)));
    }

    fn command(&mut self, text: impl Into<String>) {
        self.send(text.into());
        self.arm(self.config.times.command);
    }

    fn received(&mut self, input: &mut BytesMut) {
        loop {
            if matches!(self.phase, Phase::Securing | Phase::Closed) {
                // What came in plain after STARTTLS was answered is not to be trusted.
                input.clear();
                self.reader.reset();
                return;
            }
            match self.reader.take(input) {
                Ok(None) => return,
                Ok(Some(reply)) => self.replied(reply),
                Err(error) => self.fail(error.reply()),
            }
        }
    }

    fn replied(&mut self, reply: Reply) {
        if reply.code == 421 && !matches!(self.phase, Phase::Quitting) {
            return self.fail(reply);
        }
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Greeting if reply.is_positive() => self.hello(),
            Phase::Hello => self.hello_replied(reply),
            Phase::PlainHello if reply.is_positive() => self.greeted(),
            Phase::StartTls => self.starttls_replied(reply),
            Phase::Login(responses) => self.login_replied(responses, reply),
            Phase::Sending(sending) => self.sending_replied(sending, reply),
            Phase::Resetting if reply.is_positive() => self.ready(),
            Phase::Quitting => self.close(),
            phase => {
                // A refusal tells why; anything else was not asked for.
                let asked = matches!(phase, Phase::Greeting | Phase::PlainHello | Phase::Resetting);
                self.phase = phase;
                self.fail(if asked { reply } else { out_of_place() });
            }
        }
    }

    fn hello(&mut self) {
        let verb = if self.config.lmtp { "LHLO" } else { "EHLO" };
        self.phase = Phase::Hello;
        self.command(format!("{verb} {}\r\n", self.config.hostname));
    }

    fn hello_replied(&mut self, reply: Reply) {
        self.phase = Phase::Hello;
        if reply.is_positive() {
            self.server = Extensions::parse(&reply);
            return self.greeted();
        }
        // HELO has no extensions, so no TLS and no login.
        let enough = self.config.login.is_none() && !self.must_have_tls() && !self.config.lmtp;
        if reply.class() == ReplyClass::Permanent && enough {
            self.phase = Phase::PlainHello;
            return self.command(format!("HELO {}\r\n", self.config.hostname));
        }
        self.fail(reply);
    }

    fn must_have_tls(&self) -> bool {
        self.config.tls == TlsPolicy::Required && !self.tls
    }

    /// HELO or EHLO was accepted: TLS, then the login, then mail.
    fn greeted(&mut self) {
        let wanted = matches!(self.config.tls, TlsPolicy::Opportunistic | TlsPolicy::Required) && !self.tls;
        if wanted && self.server.starttls {
            self.phase = Phase::StartTls;
            return self.command("STARTTLS\r\n");
        }
        if self.must_have_tls() {
            self.phase = Phase::StartTls;
            return self.fail(Reply::new(454, (4, 7, 4), "TLS is required and the server has it not"));
        }
        self.login();
    }

    fn starttls_replied(&mut self, reply: Reply) {
        self.phase = Phase::StartTls;
        if reply.is_positive() {
            self.phase = Phase::Securing;
            self.out.push(ClientAction::StartTls);
            return self.arm(self.config.times.tls);
        }
        if self.config.tls == TlsPolicy::Required {
            return self.fail(reply);
        }
        self.login();
    }

    fn secured(&mut self) {
        self.tls = true;
        if matches!(self.phase, Phase::Securing) {
            self.server = Extensions::default();
            self.hello();
        }
    }

    fn login(&mut self) {
        let Some(login) = self.config.login.clone() else { return self.ready() };
        self.phase = Phase::Login(Vec::new());
        if !self.tls && !self.config.login_without_tls {
            return self.fail(Reply::new(454, (4, 7, 0), "no login is sent without TLS"));
        }
        if self.server.auth_plain {
            let response = STANDARD.encode(format!("\0{}\0{}", login.username, login.password.0));
            self.command(format!("AUTH PLAIN {response}\r\n"));
        } else if self.server.auth_login {
            let encoded = |text: &str| Secret(STANDARD.encode(text));
            let responses = vec![encoded(&login.password.0), encoded(&login.username)];
            self.phase = Phase::Login(responses);
            self.command("AUTH LOGIN\r\n");
        } else {
            self.fail(Reply::new(454, (4, 7, 0), "the server offers neither AUTH PLAIN nor LOGIN"));
        }
    }

    fn login_replied(&mut self, mut responses: Vec<Secret>, reply: Reply) {
        if reply.is_positive() {
            return self.ready();
        }
        if reply.class() == ReplyClass::Intermediate
            && let Some(response) = responses.pop()
        {
            self.phase = Phase::Login(responses);
            return self.command(format!("{}\r\n", response.0));
        }
        self.phase = Phase::Login(responses);
        let fits = reply.class() != ReplyClass::Intermediate;
        self.fail(if fits { reply } else { out_of_place() });
    }

    /// Awaits a message; or leaves, if the server takes no more.
    fn ready(&mut self) {
        if self.server.mails_max.is_some_and(|max| self.mails >= max) {
            self.phase = Phase::Quitting;
            return self.command("QUIT\r\n");
        }
        self.phase = Phase::Idle;
        self.out.push(ClientAction::Ready);
    }

    fn mail(&mut self, message: Outgoing) {
        if !matches!(self.phase, Phase::Idle) {
            return;
        }
        let recipients = message.envelope.recipients.len();
        let manner = message.manner(&self.server, self.tls, self.config.prefer_chunking);
        let manner = match manner {
            Ok(manner) if recipients > 0 => manner,
            Ok(_) => {
                self.out.push(ClientAction::Finished(Vec::new()));
                return self.ready();
            }
            Err(Unfit::Unknown) => {
                self.phase = Phase::Looking(Box::new(message));
                return self.out.push(ClientAction::Look);
            }
            Err(Unfit::Refused(reply)) => return self.unsent(recipients, &reply),
        };
        self.mails += 1;
        let mut sending = Sending::new(message, manner, self.config.lmtp, self.server.clone());
        let text = sending.start();
        self.phase = Phase::Sending(Box::new(sending));
        self.command(text);
    }

    /// Nothing was said of a message, so the session goes on.
    fn unsent(&mut self, recipients: usize, reply: &Reply) {
        self.out.push(ClientAction::Finished(vec![Outcome::of(reply.clone()); recipients]));
        self.ready();
    }

    fn sending_replied(&mut self, mut sending: Box<Sending>, reply: Reply) {
        let next = sending.replied(reply.clone());
        let times = self.config.times;
        match next {
            Next::Await => {
                let time = match (sending.awaits_data(), sending.awaits_message()) {
                    (true, _) => times.data,
                    (_, true) => times.message,
                    _ => times.command,
                };
                self.phase = Phase::Sending(sending);
                self.arm(time);
            }
            Next::Send(text) => {
                self.phase = Phase::Sending(sending);
                self.command(text);
                self.pump();
            }
            Next::Body => {
                self.phase = Phase::Sending(sending);
                self.pump();
            }
            Next::Done => {
                self.out.push(ClientAction::Finished(sending.outcomes()));
                self.ready();
            }
            Next::Abort => {
                self.out.push(ClientAction::Finished(sending.outcomes()));
                self.phase = Phase::Resetting;
                self.command("RSET\r\n");
            }
            Next::Confused => {
                self.phase = Phase::Sending(sending);
                self.fail(if reply.is_positive() { out_of_place() } else { reply });
            }
        }
    }

    /// Hands out more of the body.
    fn pump(&mut self) {
        let Phase::Sending(sending) = &mut self.phase else { return };
        if !sending.is_pumping() {
            return;
        }
        let pieces = sending.pump();
        if pieces.is_empty() && sending.wants_text() {
            return self.out.push(ClientAction::Read);
        }
        let time = if sending.is_pumping() { self.config.times.block } else { self.config.times.message };
        self.out.extend(pieces.into_iter().map(ClientAction::Send));
        self.arm(time);
    }

    fn text(&mut self, pieces: Vec<Bytes>) {
        let Phase::Sending(sending) = &mut self.phase else { return };
        if sending.text(pieces) {
            return self.pump();
        }
        // What was sent cannot be taken back; without its end the server does not take it.
        self.fail(unreadable());
    }

    fn looked(&mut self, looked: Option<Looked>) {
        let phase = std::mem::replace(&mut self.phase, Phase::Idle);
        let Phase::Looking(mut message) = phase else {
            self.phase = phase;
            return;
        };
        if looked.is_none() {
            // That says nothing about the message: trying again may help.
            return self.unsent(message.envelope.recipients.len(), &unreadable());
        }
        message.looked = looked;
        self.mail(*message);
    }

    /// Nothing more can be done: outcomes of a message on its way, the reason, the end.
    fn fail(&mut self, reply: Reply) {
        let stage = match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Opening | Phase::Greeting => Stage::Greeting,
            Phase::Hello | Phase::PlainHello => Stage::Hello,
            Phase::StartTls | Phase::Securing => Stage::Tls,
            Phase::Login(_) => Stage::Login,
            Phase::Sending(mut sending) => {
                sending.settle(&reply);
                self.out.push(ClientAction::Finished(sending.outcomes()));
                Stage::Mail
            }
            Phase::Quitting | Phase::Closed => {
                self.out.push(ClientAction::Close);
                return;
            }
            Phase::Looking(message) => {
                let outcomes = vec![Outcome::of(reply.clone()); message.envelope.recipients.len()];
                self.out.push(ClientAction::Finished(outcomes));
                Stage::Mail
            }
            Phase::Idle | Phase::Resetting => Stage::Mail,
        };
        // What was offered in this same step is not so any more: a message given now would be lost.
        self.out.retain(|action| *action != ClientAction::Ready);
        self.out.push(ClientAction::Failed(Failure { stage, reply }));
        self.out.push(ClientAction::Close);
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.out.push(ClientAction::Close);
    }
}

fn unreadable() -> Reply {
    Reply::new(451, (4, 3, 0), "the message cannot be read")
}
