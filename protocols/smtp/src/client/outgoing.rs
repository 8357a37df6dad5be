//! A message to be sent: what it needs of the server, and its commands.

use super::extensions::Extensions;
use crate::codec::xtext_encode;
use crate::{Reply, ReplyClass};
use bytes::Bytes;
use estafette_types::{
    Address, BodyType, DsnNotify, DsnReturn, Envelope, ForwardPath, Recipient, ReversePath,
};
use std::fmt::Write;

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// From whom, to whom, and how.
    pub envelope: Envelope,
    /// The text, lines ended by CR LF, without dot-stuffing, in pieces; of a large message, its beginning.
    pub body: Vec<Bytes>,
    /// Bytes of the text after it, for which [`super::ClientAction::Read`] asks as they can be sent.
    pub rest: u64,
    /// What was seen in the text of a message that has such a rest, once [`super::ClientAction::Look`] asked for it.
    pub looked: Option<Looked>,
}

/// What a text needs of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// There are bytes over 127 in it.
    pub eight_bit: bool,
    /// There are such in its header section.
    pub eight_bit_header: bool,
}

/// Looks at a text that comes in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Looking {
    looked: Looked,
    last: [u8; 4],
    in_header: bool,
}

impl Looked {
    /// At the start of a text.
    pub fn begin() -> Looking {
        let looked = Looked { eight_bit: false, eight_bit_header: false };
        Looking { looked, last: [0; 4], in_header: true }
    }
}

impl Looking {
    /// The next piece.
    pub fn see(&mut self, piece: &[u8]) {
        self.looked.eight_bit |= !piece.is_ascii();
        let mut bytes = piece.iter();
        while self.in_header
            && let Some(byte) = bytes.next()
        {
            self.looked.eight_bit_header |= !byte.is_ascii();
            let [_, second, third, fourth] = self.last;
            self.last = [second, third, fourth, *byte];
            self.in_header = self.last != *b"\r\n\r\n";
        }
    }

    /// What there was.
    pub fn end(self) -> Looked {
        self.looked
    }
}

/// Why a message cannot be said to a server.
#[derive(Debug)]
pub(super) enum Unfit {
    /// For good.
    Refused(Reply),
    /// Its text has to be looked at first.
    Unknown,
}

impl From<Reply> for Unfit {
    fn from(reply: Reply) -> Unfit {
        Unfit::Refused(reply)
    }
}

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has taken the message for it.
    Delivered(Reply),
    /// Not now; trying again may help.
    Transient(Reply),
    /// No.
    Permanent(Reply),
}

impl Outcome {
    /// What a final reply means for the recipient. A reply that has no place here is passing.
    pub fn of(reply: Reply) -> Outcome {
        match reply.class() {
            ReplyClass::Positive => Outcome::Delivered(reply),
            ReplyClass::Permanent => Outcome::Permanent(reply),
            ReplyClass::Intermediate | ReplyClass::Transient => Outcome::Transient(reply),
        }
    }

    /// The reply behind it, the server's or our own.
    pub fn reply(&self) -> &Reply {
        match self {
            Outcome::Delivered(reply) | Outcome::Transient(reply) | Outcome::Permanent(reply) => reply,
        }
    }
}

/// How a message is to be said to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    /// The BODY parameter; none when the server does not know it.
    body: Option<BodyType>,
    smtputf8: bool,
    /// By BDAT.
    pub(super) chunked: bool,
}

impl Outgoing {
    /// A message whose whole text is at hand.
    pub fn new(envelope: Envelope, body: Vec<Bytes>) -> Outgoing {
        Outgoing { envelope, body, rest: 0, looked: None }
    }

    /// Bytes of the text.
    pub fn size(&self) -> u64 {
        self.body.iter().map(|piece| piece.len() as u64).sum::<u64>().saturating_add(self.rest)
    }

    /// What the text needs.
    fn look(&self) -> Result<Looked, Unfit> {
        match self.looked {
            Some(looked) => Ok(looked),
            None if self.rest == 0 => {
                let mut looking = Looked::begin();
                self.body.iter().for_each(|piece| looking.see(piece));
                Ok(looking.end())
            }
            None => Err(Unfit::Unknown),
        }
    }

    /// How to say it to a server with these extensions, or why it cannot be.
    pub(super) fn manner(
        &self,
        server: &Extensions,
        tls: bool,
        prefer_chunking: bool,
    ) -> Result<Manner, Unfit> {
        if self.envelope.require_tls && !(tls && server.requiretls) {
            return Err(Reply::new(550, (5, 7, 30), "REQUIRETLS is needed and the server has it not").into());
        }
        if server.size.is_some_and(|max| max > 0 && self.size() > max) {
            return Err(Reply::new(552, (5, 3, 4), "message exceeds the server's size limit").into());
        }
        // A message may be declared to need more than it does; only then is it looked through.
        let smtputf8 = self.envelope.smtputf8 && server.smtputf8;
        if !server.smtputf8
            && (self.addresses_need_utf8() || (self.envelope.smtputf8 && self.look()?.eight_bit_header))
        {
            return Err(Reply::new(550, (5, 6, 7), "SMTPUTF8 is needed and the server has it not").into());
        }
        let smtputf8 = smtputf8 || self.addresses_need_utf8();
        let body = match self.envelope.body_type {
            BodyType::BinaryMime if server.binary_mime && server.chunking => Some(BodyType::BinaryMime),
            BodyType::BinaryMime => {
                return Err(
                    Reply::new(550, (5, 6, 3), "BINARYMIME is needed and the server has it not").into()
                );
            }
            BodyType::EightBitMime if server.eight_bit_mime => Some(BodyType::EightBitMime),
            BodyType::EightBitMime if self.look()?.eight_bit => {
                return Err(Reply::new(550, (5, 6, 3), "8BITMIME is needed and the server has it not").into());
            }
            BodyType::EightBitMime | BodyType::SevenBit => None,
        };
        let chunked = server.chunking && (prefer_chunking || body == Some(BodyType::BinaryMime));
        Ok(Manner { body, smtputf8, chunked })
    }

    fn addresses_need_utf8(&self) -> bool {
        let sender =
            matches!(&self.envelope.reverse_path, ReversePath::Address(from) if from.needs_smtputf8());
        let needs = |to: &Recipient| matches!(&to.path, ForwardPath::Address(to) if to.needs_smtputf8());
        sender || self.envelope.recipients.iter().any(needs)
    }

    /// The MAIL command.
    pub(super) fn mail_command(&self, manner: Manner, server: &Extensions) -> String {
        let envelope = &self.envelope;
        let from = match &envelope.reverse_path {
            ReversePath::Null => String::new(),
            ReversePath::Address(address) => spell(address, manner.smtputf8),
        };
        let mut line = format!("MAIL FROM:<{from}>");
        // Writing to a String cannot fail.
        if server.size.is_some() {
            let _ = write!(line, " SIZE={}", self.size());
        }
        match manner.body {
            Some(BodyType::EightBitMime) => line.push_str(" BODY=8BITMIME"),
            Some(BodyType::BinaryMime) => line.push_str(" BODY=BINARYMIME"),
            Some(BodyType::SevenBit) | None => {}
        }
        if manner.smtputf8 {
            line.push_str(" SMTPUTF8");
        }
        if envelope.require_tls {
            line.push_str(" REQUIRETLS");
        }
        if server.dsn {
            match envelope.dsn_return {
                Some(DsnReturn::Full) => line.push_str(" RET=FULL"),
                Some(DsnReturn::Headers) => line.push_str(" RET=HDRS"),
                None => {}
            }
            if let Some(id) = &envelope.dsn_envelope_id {
                let _ = write!(line, " ENVID={}", xtext_encode(id));
            }
        }
        line.push_str("\r\n");
        line
    }

    /// The RCPT command for the recipient at this place.
    pub(super) fn rcpt_command(&self, index: usize, manner: Manner, server: &Extensions) -> String {
        let Some(recipient) = self.envelope.recipients.get(index) else { return String::new() };
        let to = match &recipient.path {
            ForwardPath::Postmaster => "Postmaster".to_owned(),
            ForwardPath::Address(address) => spell(address, manner.smtputf8),
        };
        let mut line = format!("RCPT TO:<{to}>");
        if server.dsn {
            notify(recipient.notify, &mut line);
            let atom = |kind: &str| kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if let Some((kind, address)) = recipient.original.as_ref().filter(|(kind, _)| atom(kind)) {
                let _ = write!(line, " ORCPT={kind};{}", original(kind, address));
            }
        }
        line.push_str("\r\n");
        line
    }
}

/// The address as the server can take it: with the domain's ASCII form if it has no SMTPUTF8.
fn spell(address: &Address, smtputf8: bool) -> String {
    if smtputf8 || address.domain.as_str().is_ascii() {
        return address.to_string();
    }
    format!("{}@{}", address.local, address.domain.to_ascii())
}

/// The address of ORCPT: xtext; for the type `utf-8` other characters as `\x{HEX}` (RFC 6533 §3).
fn original(kind: &str, address: &str) -> String {
    if kind != "utf-8" {
        return xtext_encode(address);
    }
    let mut out = String::new();
    for c in address.chars() {
        if c.is_ascii_graphic() && !matches!(c, '+' | '=' | '\\') {
            out.push(c);
        } else {
            let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
        }
    }
    out
}

fn notify(notify: Option<DsnNotify>, line: &mut String) {
    let words = match notify {
        None => return,
        Some(DsnNotify::Never) => "NEVER".to_owned(),
        Some(DsnNotify::On { success, failure, delay }) => {
            let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
            let given = words.into_iter().filter(|(given, _)| *given).map(|(_, word)| word);
            given.collect::<Vec<_>>().join(",")
        }
    };
    if !words.is_empty() {
        let _ = write!(line, " NOTIFY={words}");
    }
}
