//! One message on its way: which replies are awaited, what they mean, and what is sent next.

use super::extensions::Extensions;
use super::outgoing::{Manner, Outcome, Outgoing};
use crate::codec::DotEncoder;
use crate::{Reply, ReplyClass};
use bytes::Bytes;
use std::collections::VecDeque;

/// Bytes of a message that are handed out before all of them have left.
const WINDOW: usize = 256 * 1024;

/// A reply that is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Mail,
    /// For the recipient at this place.
    Rcpt(usize),
    Data,
    /// For the message; in LMTP for the recipient at this place.
    Message(Option<usize>),
}

/// What the session has to do after a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Await more replies.
    Await,
    /// Send this, then await.
    Send(String),
    /// Send the body: call `pump`.
    Body,
    /// All is decided, and the server is ready for another message.
    Done,
    /// All is decided, but the server's transaction may still be open.
    Abort,
    /// The reply has no place here.
    Confused,
}

#[derive(Debug)]
enum Body {
    Dots(DotEncoder),
    Raw(VecDeque<Bytes>),
}

/// One message on its way.
#[derive(Debug)]
pub(super) struct Sending {
    message: Outgoing,
    manner: Manner,
    lmtp: bool,
    server: Extensions,
    awaited: VecDeque<Awaited>,
    outcomes: Vec<Option<Outcome>>,
    /// Places of the recipients that the server accepted.
    accepted: Vec<usize>,
    mail_refusal: Option<Reply>,
    body: Option<Body>,
    /// More of the text was asked for.
    reading: bool,
    /// DATA or BDAT was said.
    body_announced: bool,
}

impl Sending {
    pub(super) fn new(message: Outgoing, manner: Manner, lmtp: bool, server: Extensions) -> Sending {
        let outcomes = vec![None; message.envelope.recipients.len()];
        Sending {
            message,
            manner,
            lmtp,
            server,
            awaited: VecDeque::new(),
            outcomes,
            accepted: Vec::new(),
            mail_refusal: None,
            body: None,
            reading: false,
            body_announced: false,
        }
    }

    /// The first commands; with PIPELINING all up to DATA (RFC 2920 §3.1).
    pub(super) fn start(&mut self) -> String {
        let mut text = self.message.mail_command(self.manner, &self.server);
        self.awaited.push_back(Awaited::Mail);
        let most = self.server.recipients_max.unwrap_or(usize::MAX);
        for outcome in self.outcomes.iter_mut().skip(most) {
            let reply = Reply::new(452, (4, 5, 3), "more recipients than the server takes at once");
            *outcome = Some(Outcome::Transient(reply));
        }
        if self.server.pipelining {
            for index in 0..self.outcomes.len().min(most) {
                text.push_str(&self.rcpt(index));
            }
            if !self.manner.chunked {
                text.push_str(&self.data());
            }
        }
        text
    }

    fn rcpt(&mut self, index: usize) -> String {
        self.awaited.push_back(Awaited::Rcpt(index));
        self.message.rcpt_command(index, self.manner, &self.server)
    }

    fn data(&mut self) -> String {
        self.awaited.push_back(Awaited::Data);
        self.body_announced = true;
        "DATA\r\n".to_owned()
    }

    /// True while the reply to DATA is awaited first, or that to the whole message.
    pub(super) fn awaits_data(&self) -> bool {
        self.awaited.front() == Some(&Awaited::Data)
    }

    /// True once the whole message was sent.
    pub(super) fn awaits_message(&self) -> bool {
        self.body.is_none() && matches!(self.awaited.front(), Some(Awaited::Message(_)))
    }

    /// True while the body is being sent.
    pub(super) fn is_pumping(&self) -> bool {
        self.body.is_some()
    }

    /// A reply came.
    pub(super) fn replied(&mut self, reply: Reply) -> Next {
        match self.awaited.pop_front() {
            None => return Next::Confused,
            Some(Awaited::Mail) => {
                if !reply.is_positive() {
                    self.mail_refusal = Some(reply);
                }
            }
            Some(Awaited::Rcpt(index)) => self.recipient_replied(index, reply),
            Some(Awaited::Data) => return self.data_replied(reply),
            Some(Awaited::Message(at)) => return self.message_replied(at, reply),
        }
        self.next()
    }

    fn recipient_replied(&mut self, index: usize, reply: Reply) {
        let outcome = match &self.mail_refusal {
            Some(refusal) => Some(Outcome::of(refusal.clone())),
            None if reply.is_positive() => None,
            None => Some(Outcome::of(reply)),
        };
        if outcome.is_none() {
            self.accepted.push(index);
        }
        if let Some(place) = self.outcomes.get_mut(index) {
            *place = outcome;
        }
    }

    fn data_replied(&mut self, reply: Reply) -> Next {
        if reply.class() != ReplyClass::Intermediate {
            // A 2yz here is as wrong as a 3yz would be for a message.
            let reply = if reply.is_positive() { out_of_place() } else { reply };
            self.settle(&reply);
            return Next::Abort;
        }
        if self.accepted.is_empty() {
            // Nobody to send to, but the server waits for a message: an empty one (RFC 2920 §3.1).
            self.awaited.push_back(Awaited::Message(None));
            return Next::Send(".\r\n".to_owned());
        }
        let begun = DotEncoder::open(std::mem::take(&mut self.message.body));
        self.body = Some(Body::Dots(begun));
        self.end_of_text();
        self.await_message();
        Next::Body
    }

    fn await_message(&mut self) {
        if self.lmtp {
            self.awaited.extend(self.accepted.iter().map(|index| Awaited::Message(Some(*index))));
        } else {
            self.awaited.push_back(Awaited::Message(None));
        }
    }

    fn message_replied(&mut self, at: Option<usize>, reply: Reply) -> Next {
        let early = self.body.is_some();
        let reply = if early && reply.is_positive() { out_of_place() } else { reply };
        match at.and_then(|index| self.outcomes.get_mut(index)) {
            Some(place) if !early => *place = Some(Outcome::of(reply)),
            _ => self.settle(&reply),
        }
        if early {
            // The rest of the message cannot be taken back.
            return Next::Confused;
        }
        if self.awaited.is_empty() { Next::Done } else { Next::Await }
    }

    /// What follows MAIL and RCPT when their replies are in.
    fn next(&mut self) -> Next {
        if !self.awaited.is_empty() {
            return Next::Await;
        }
        if let Some(refusal) = self.mail_refusal.take() {
            self.settle(&refusal);
            return Next::Abort;
        }
        // Without PIPELINING the recipients go one by one, in order.
        let first = self.accepted.last().map_or(0, |index| index + 1);
        let unasked = |index: &usize| self.outcomes.get(*index).is_some_and(Option::is_none);
        if let Some(index) = (first..self.outcomes.len()).find(unasked) {
            return Next::Send(self.rcpt(index));
        }
        if self.accepted.is_empty() {
            return Next::Abort;
        }
        if !self.manner.chunked {
            return Next::Send(self.data());
        }
        self.body_announced = true;
        let command = format!("BDAT {} LAST\r\n", self.message.size());
        self.body = Some(Body::Raw(std::mem::take(&mut self.message.body).into()));
        self.await_message();
        Next::Send(command)
    }

    /// The next pieces of the body, about a window full; none when all was given out.
    pub(super) fn pump(&mut self) -> Vec<Bytes> {
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        while bytes < WINDOW {
            let piece = match &mut self.body {
                Some(Body::Dots(encoder)) => encoder.next(),
                Some(Body::Raw(rest)) => rest.pop_front(),
                None => None,
            };
            let Some(piece) = piece else { break };
            if piece.is_empty() {
                continue;
            }
            bytes += piece.len();
            pieces.push(piece);
        }
        // Known at once, not at the next call: a reply to a whole message must not look early.
        let over = match &self.body {
            Some(Body::Dots(encoder)) => encoder.is_done(),
            Some(Body::Raw(rest)) => self.message.rest == 0 && rest.iter().all(Bytes::is_empty),
            None => true,
        };
        if over {
            self.body = None;
        }
        pieces
    }

    /// True, once, when nothing is at hand of a text that goes on.
    pub(super) fn wants_text(&mut self) -> bool {
        let wants = self.body.is_some() && self.message.rest > 0;
        wants && !std::mem::replace(&mut self.reading, true)
    }

    /// The next pieces of the text; false if they cannot be of it.
    pub(super) fn text(&mut self, pieces: Vec<Bytes>) -> bool {
        let bytes: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        if bytes == 0 || bytes > self.message.rest {
            return false;
        }
        self.message.rest -= bytes;
        self.reading = false;
        match &mut self.body {
            Some(Body::Dots(encoder)) => encoder.push(pieces),
            Some(Body::Raw(rest)) => rest.extend(pieces),
            None => {}
        }
        self.end_of_text();
        true
    }

    fn end_of_text(&mut self) {
        if let (0, Some(Body::Dots(encoder))) = (self.message.rest, &mut self.body) {
            encoder.end();
        }
    }

    /// Gives this reply to all whose outcome is open.
    pub(super) fn settle(&mut self, reply: &Reply) {
        for outcome in self.outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
            *outcome = Some(Outcome::of(reply.clone()));
        }
    }

    /// One outcome for each recipient, in order.
    pub(super) fn outcomes(self) -> Vec<Outcome> {
        self.outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|| Outcome::of(out_of_place())))
            .collect()
    }
}

/// The server said something that is no answer.
pub(super) fn out_of_place() -> Reply {
    Reply::new(451, (4, 5, 0), "the server's reply does not fit")
}
