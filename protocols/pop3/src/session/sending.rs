//! Long responses, piece by piece: the next is made when all before it has left the program.

use super::{Busy, Out, Question, Session, State, code};
use crate::config::{OUTPUT_BATCH_BYTES, READ_RANGE_BYTES};
use crate::maildrop::Message;
use crate::stuffing::{Pieces, Stuffing};
use crate::surrogate::Head;
use crate::{Answer, Ask};
use bytes::Bytes;
use estafette_types::UidValidity;

/// What a listing tells of each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// LIST.
    Size,
    /// UIDL.
    UniqueId,
}

impl Kind {
    /// A scan listing or a unique-id listing (RFC 1939 §5, §7), without its line end. The unique
    /// identifier is UIDVALIDITY and UID: it never comes back for another message.
    pub(super) fn line(self, message: &Message, uid_validity: UidValidity) -> String {
        match self {
            Kind::Size => format!("{} {}", message.number, message.octets),
            Kind::UniqueId => format!("{} {uid_validity}-{}", message.number, message.uid),
        }
    }
}

/// A listing that is being sent.
#[derive(Debug)]
pub(super) struct Listing {
    kind: Kind,
    next: u32,
}

impl Listing {
    pub(super) fn new(kind: Kind) -> Listing {
        Listing { kind, next: 1 }
    }
}

/// A message that is being sent.
#[derive(Debug)]
pub(super) struct Reading {
    message: Message,
    /// Bytes of the message that are read.
    offset: u64,
    /// The whole message was asked for, not its top.
    whole: bool,
    stuffing: Stuffing,
}

impl Reading {
    pub(super) fn new(message: Message, top: Option<u64>) -> Reading {
        Reading { message, offset: 0, whole: top.is_none(), stuffing: Stuffing::new(top) }
    }
}

impl Session {
    pub(super) fn go_on_listing(&mut self, mut listing: Listing, out: &mut Out) {
        let State::Transaction(maildrop) = &self.state else { return };
        let mut text = String::new();
        while listing.next <= maildrop.last() {
            if text.len() >= OUTPUT_BATCH_BYTES {
                self.busy = Busy::Listing(listing);
                return self.send(text, out);
            }
            if let Ok(message) = maildrop.message(listing.next) {
                text.push_str(&listing.kind.line(&message, maildrop.uid_validity));
                text.push_str("\r\n");
            }
            listing.next = listing.next.saturating_add(1);
        }
        text.push_str(".\r\n");
        self.send(text, out);
    }

    pub(super) fn read_on(&mut self, reading: Reading, out: &mut Out) {
        let range = reading.offset..reading.offset.saturating_add(READ_RANGE_BYTES);
        let ask = Ask::Read { uid: reading.message.uid, range };
        self.ask(Question::Read(reading), ask, out);
    }

    pub(super) fn read_answered(&mut self, answer: Answer, reading: Reading, out: &mut Out) {
        match answer {
            Answer::Data(pieces) => self.send_pieces(&pieces, reading, out),
            // Too late for an error: the client must not take a part for the whole.
            _ if reading.offset > 0 => self.close(out),
            Answer::Gone => self.say("-ERR the message has been removed", out),
            Answer::Failed(failure) => {
                self.say(&format!("-ERR {} cannot read the message", code(failure)), out)
            }
            _ => self.say("-ERR [SYS/TEMP] cannot read the message", out),
        }
    }

    fn send_pieces(&mut self, pieces: &[Bytes], mut reading: Reading, out: &mut Out) {
        let read = pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let mut to_send = Pieces::default();
        // Bytes of the message that are not sent.
        let mut replaced = 0;
        if reading.offset == 0 {
            let head = if self.utf8 { Head::Stored } else { Head::of(pieces, read < READ_RANGE_BYTES) };
            let status = if reading.whole {
                format!("+OK {} octets\r\n", reading.message.octets)
            } else {
                "+OK\r\n".to_owned()
            };
            to_send.insert(status.as_bytes());
            match head {
                Head::Stored => {}
                Head::Surrogate { header, replaced: bytes } => {
                    reading.stuffing.push(&Bytes::from(header), &mut to_send);
                    replaced = bytes;
                }
                Head::TooLong => return self.say("-ERR [UTF8] the message needs UTF8", out),
            }
        }
        for piece in pieces {
            let skipped = replaced.min(piece.len());
            replaced = replaced.saturating_sub(skipped);
            reading.stuffing.push(&piece.slice(skipped..), &mut to_send);
        }
        reading.offset = reading.offset.saturating_add(read);
        // Fewer bytes than asked for: the message has no more. A known size saves asking for nothing.
        let size = u64::from(reading.message.octets);
        let ended = read < READ_RANGE_BYTES || (size < u64::from(u32::MAX) && reading.offset >= size);
        if ended || reading.stuffing.is_complete() {
            reading.stuffing.end(&mut to_send);
        } else {
            self.busy = Busy::Sending(reading);
        }
        for bytes in to_send.finish() {
            self.send(bytes, out);
        }
    }
}
