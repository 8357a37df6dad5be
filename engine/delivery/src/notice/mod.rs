//! What senders are told of their messages: delivery status notifications (RFC 3461, RFC 3464).
//!
//! - A notice has a null sender, so it never leads to another.
//! - Its name follows from the item and what it tells, so that it arrives once although it may be made
//!   again after a crash.
//! - What other servers said is cleaned before it stands in a notice.
//!
//! Must not: decide who is told (that is done where the queue's commands are applied), send.

mod report;
mod words;

#[cfg(test)]
mod tests;

use crate::compose;
use crate::queue::{Item, ItemId, ItemKey, NoticeKind};
use bytes::Bytes;
use estafette_storage::{Body, Error as StorageError};
use estafette_types::{BodyType, DsnReturn, Envelope, ForwardPath, Recipient, ReversePath};

/// A message up to this size is returned whole with a failure when the sender did not say how (RET).
const RETURN_WHOLE_MAX_BYTES: u64 = 64 * 1024;
/// A message up to this size is returned whole when the sender asked for it.
const RETURN_ASKED_MAX_BYTES: u64 = 10 * 1024 * 1024;
/// Of a longer header, the beginning is returned.
const RETURN_HEADER_MAX_BYTES: u64 = 64 * 1024;

/// What a notice is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) kind: NoticeKind,
    pub(crate) key: ItemKey,
    pub(crate) item: &'a Item,
    /// Places of the recipients that it tells of.
    pub(crate) places: &'a [u32],
    /// This server's name.
    pub(crate) hostname: &'a str,
    /// The time, ms since 1970.
    pub(crate) now_ms: u64,
    /// Until when a late message is tried.
    pub(crate) retry_until_ms: u64,
}

impl Facts<'_> {
    /// The name of the notice. There is one of lateness for an item, whoever waits by then.
    pub(crate) fn name(&self) -> ItemId {
        let places = if self.kind == NoticeKind::Delay { &[] } else { self.places };
        self.key.id.derived(self.kind.word(), places)
    }
}

/// What is returned of the message.
#[derive(Clone, Debug)]
pub(crate) enum Returned {
    /// All of it.
    Whole(Vec<Bytes>),
    /// Its header.
    Header(Bytes),
}

impl Returned {
    /// What RET, the size and the kind of notice ask for (RFC 3461 §4.3): without a failure, the header.
    pub(crate) fn of(kind: NoticeKind, item: &Item, body: &Body) -> Result<Returned, StorageError> {
        let limit = match item.dsn_return {
            Some(DsnReturn::Full) => RETURN_ASKED_MAX_BYTES,
            Some(DsnReturn::Headers) => 0,
            None => RETURN_WHOLE_MAX_BYTES,
        };
        let whole = kind == NoticeKind::Failure && body.len() <= limit;
        // BINARYMIME cannot stand in a part of 8-bit lines.
        if whole && item.body_type != BodyType::BinaryMime {
            return Ok(Returned::Whole(without_return_path(body.all()?)));
        }
        let start = without_return_path(body.read(0..RETURN_HEADER_MAX_BYTES)?).concat();
        Ok(Returned::Header(header(start)))
    }

    fn pieces(&self) -> &[Bytes] {
        match self {
            Returned::Whole(pieces) => pieces,
            Returned::Header(header) => std::slice::from_ref(header),
        }
    }

    fn is_ascii(&self) -> bool {
        self.pieces().iter().all(|piece| piece.is_ascii())
    }

    /// The beginning, in which the header lies if it is not very long.
    fn start(&self) -> &[u8] {
        self.pieces().first().map(|piece| &**piece).unwrap_or_default()
    }
}

/// The header of a message of which this is the beginning; whole lines only.
fn header(start: Vec<u8>) -> Bytes {
    let end = if start.starts_with(b"\r\n") { Some(0) } else { None };
    let end = end.or_else(|| memchr::memmem::find(&start, b"\r\n\r\n").map(|at| at + 2));
    let end = end.or_else(|| memchr::memmem::rfind(&start, b"\r\n").map(|at| at + 2));
    let mut header = Bytes::from(start);
    header.truncate(end.unwrap_or(0));
    header
}

/// Takes off the Return-Path field that stands on top of what is stored: it is for the last server alone
/// (RFC 5321 §4.4).
pub(crate) fn without_return_path(mut pieces: Vec<Bytes>) -> Vec<Bytes> {
    const NAME: &[u8] = b"return-path:";
    let Some(first) = pieces.first_mut() else { return pieces };
    if first.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
        // We wrote the field in one line.
        let end = memchr::memmem::find(first, b"\r\n").map_or(0, |at| at + 2);
        *first = first.slice(end..);
    }
    pieces
}

/// A notice, ready to be taken in. `None` when there is nobody to tell.
pub(crate) fn compose(facts: &Facts<'_>, returned: &Returned) -> Option<(Envelope, Vec<Bytes>)> {
    let ReversePath::Address(sender) = &facts.item.reverse_path else { return None };
    let mut body = vec![compose::return_path(&ReversePath::Null)];
    body.extend(report::message(facts, sender, returned, &facts.name().to_string()));
    let eight_bit = body.iter().any(|piece| !piece.is_ascii());
    let recipient = Recipient::new(ForwardPath::Address(sender.clone()));
    let envelope = Envelope {
        body_type: if eight_bit { BodyType::EightBitMime } else { BodyType::SevenBit },
        smtputf8: sender.needs_smtputf8(),
        ..Envelope::new(ReversePath::Null, vec![recipient])
    };
    Some((envelope, body))
}
