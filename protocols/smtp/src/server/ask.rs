//! What a session asks of the engine, and what the engine may answer.

use crate::{Reply, Secret};
use bytes::Bytes;
use estafette_machine::{Deposit, Tls};
use estafette_types::{AccountId, Envelope, Recipient, Username};
use std::fmt;
use std::sync::Arc;

/// A SASL mechanism (RFC 4616; LOGIN has no standard).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// PLAIN
    Plain,
    /// LOGIN
    Login,
}

/// Who has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub account: AccountId,
    /// Its login name.
    pub username: Username,
}

/// What a session knows of its client.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Peer {
    /// The argument of HELO, EHLO or LHLO; empty before it.
    pub hello: String,
    /// It came by EHLO or LHLO.
    pub extended: bool,
    /// It came by LHLO.
    pub lmtp: bool,
    /// TLS, when it is up.
    pub tls: Option<Tls>,
    /// Who has logged in.
    pub identity: Option<Identity>,
}

impl Peer {
    /// The protocol for the `with` of a Received field (RFC 3848, RFC 6531 §4.3).
    pub fn protocol(&self, smtputf8: bool) -> &'static str {
        let index = usize::from(self.tls.is_some()) + 2 * usize::from(self.identity.is_some());
        let names = match (self.extended, self.lmtp, smtputf8) {
            (false, ..) => return "SMTP",
            (_, false, false) => ["ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA"],
            (_, false, true) => ["UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA"],
            (_, true, false) => ["LMTP", "LMTPS", "LMTPA", "LMTPSA"],
            (_, true, true) => ["UTF8LMTP", "UTF8LMTPS", "UTF8LMTPA", "UTF8LMTPSA"],
        };
        names.get(index).copied().unwrap_or("ESMTP")
    }
}

/// Part of a message that is large and still coming, for the engine to keep elsewhere than in memory.
#[derive(Debug)]
pub struct Part {
    /// MAIL and the recipients that were accepted, in order.
    pub envelope: Arc<Envelope>,
    /// What came before, as the engine keeps it; `None` with the first part.
    pub deposit: Option<Deposit>,
    /// What comes next of the text, in pieces.
    pub pieces: Vec<Bytes>,
    /// The client.
    pub peer: Arc<Peer>,
}

/// A whole message with its envelope, to be made durable before it is answered.
#[derive(Debug)]
pub struct Delivery {
    /// MAIL and the recipients that were accepted, in order.
    pub envelope: Envelope,
    /// Its first parts, of a large message.
    pub deposit: Option<Deposit>,
    /// The text as it came, without dot-stuffing, in pieces; after the deposit.
    pub body: Vec<Bytes>,
    /// Bytes of the whole text.
    pub size: u64,
    /// The client.
    pub peer: Arc<Peer>,
    /// The protocol for the `with` of the Received field.
    pub protocol: &'static str,
}

/// A question to the engine.
#[derive(Debug)]
pub enum Ask {
    /// Is this login right? Answer: `LoggedIn`, `Refused` (usually [`Reply::login_failed`]). Delays
    /// after failures are the engine's: it answers late.
    Authenticate {
        /// How it was said.
        mechanism: Mechanism,
        /// Whom to act as; empty for the same.
        authzid: String,
        /// Who logs in.
        authcid: String,
        /// The password.
        password: Secret,
        /// The client.
        peer: Arc<Peer>,
    },
    /// May this sender send, and is there room? Answer: `Accepted`, `Refused`.
    Mail {
        /// What MAIL said; no recipients yet.
        envelope: Arc<Envelope>,
        /// The client.
        peer: Arc<Peer>,
    },
    /// Does this recipient exist and take mail? Answer: `Accepted`, `Refused`.
    Rcpt {
        /// What RCPT said.
        recipient: Recipient,
        /// MAIL and the recipients so far.
        envelope: Arc<Envelope>,
        /// The client.
        peer: Arc<Peer>,
    },
    /// May the message come now (DATA, or the first BDAT)? Answer: `Accepted`, `Refused`.
    Data {
        /// MAIL and all recipients.
        envelope: Arc<Envelope>,
        /// The client.
        peer: Arc<Peer>,
    },
    /// Take this part of a message. Answer: `Taken`, or `Refused`: the rest is then read and thrown away before that
    /// is said.
    Part(Box<Part>),
    /// Take this message. Answer: `Delivered`, or `Refused` for all recipients.
    Deliver(Box<Delivery>),
}

/// The engine's answer. One that does not fit the question counts as a passing failure.
#[derive(Debug)]
pub enum Answer {
    /// Go on; the session says its usual 250, or 354.
    Accepted,
    /// The login is right.
    LoggedIn(Identity),
    /// No, and why. A 421 or 521 also ends the session.
    Refused(Reply),
    /// The part is kept.
    Taken(Deposit),
    /// The message was dealt with: for LMTP one reply per accepted recipient, in order; else one.
    Delivered(Vec<Reply>),
}

impl Reply {
    /// 535 5.7.8: the usual refusal of a login (RFC 4954 §6).
    pub fn login_failed() -> Reply {
        Reply::new(535, (5, 7, 8), "authentication credentials invalid")
    }

    /// 250 2.0.0: the usual answer to a message taken, with the name it has in the log.
    pub fn accepted(name: impl fmt::Display) -> Reply {
        Reply::new(250, (2, 0, 0), format!("accepted as {name}"))
    }
}
