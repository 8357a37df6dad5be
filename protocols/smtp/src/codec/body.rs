//! The body of a message as it arrives, by DATA or in chunks.
//!
//! Only CR LF `.` CR LF ends DATA. A CR or LF that stands alone never ends anything: it makes the
//! message be refused once its true end has come, so no two readers can see two messages where this
//! one sees one. The result does not depend on how the bytes were cut into segments. Long runs are
//! split off the input and not copied; short ones are joined, so that pieces stay few.
//!
//! Copies of a byte of the text on its way from the socket, in user space (docs/decisions/008-large-messages.md):
//! none here of a run of [`COPY_BELOW`] bytes or more (it is a slice of the buffer that the driver filled), one of a
//! shorter run. All that is looked at here is looked at in one pass.

use crate::Error;
use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr3;

/// Runs below this many bytes are copied: cheaper than to keep their whole buffer alive, which a
/// driver may have made much larger than what a slow peer puts into it.
const COPY_BELOW: usize = 16 * 1024;
/// Copied runs are joined up to this many bytes.
const JOIN_UP_TO: usize = 64 * 1024;

/// How a body is framed, and what may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// DATA: ended by a dot on a line of its own, dots at the start of lines doubled.
    Dots,
    /// BDAT of text: counted bytes, but lines as in DATA.
    Text,
    /// BDAT with BODY=BINARYMIME: any bytes.
    Binary,
}

/// What a body may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes of the whole message.
    pub size: u64,
    /// Bytes of the header section.
    pub header: usize,
    /// Bytes of a line without its CR LF.
    pub line: usize,
    /// Bytes beyond `size` that are still read, only to answer at the right place.
    pub swallow: u64,
    /// NUL is taken in text too. RFC 5322 forbids it and IMAP cannot carry it.
    pub allow_nul: bool,
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Message {
    /// The text without dot-stuffing, in pieces; what was given by [`Receiver::part`] is not among them.
    pub pieces: Vec<Bytes>,
    /// Bytes of the whole text.
    pub size: u64,
}

/// What to do after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    More,
    /// The end was read: of the message for DATA, of the chunk for BDAT.
    End,
    /// Too far over the size limit; the session is to be closed.
    Flood,
}

/// Gathers one message.
#[derive(Debug)]
pub struct Receiver {
    framing: Framing,
    limits: BodyLimits,
    gathered: Gathered,
    /// Bytes of text so far, kept or not.
    total: u64,
    /// The greatest fault so far; with one, nothing is kept any more.
    fault: Option<Error>,
    /// Nothing is kept any more, for a reason that is not in the message.
    discarding: bool,
    /// What comes next stands at the start of a line.
    line_start: bool,
    /// The last byte was a CR.
    after_cr: bool,
    /// Bytes of the present line.
    line: usize,
    /// Bytes of the header section so far; `None` behind it.
    header: Option<usize>,
}

/// Why a scan stopped.
enum Stop {
    Exhausted,
    StuffedDot,
    Terminator,
}

impl Receiver {
    /// Starts with an empty body.
    pub fn new(framing: Framing, limits: BodyLimits) -> Receiver {
        Receiver {
            framing,
            limits,
            gathered: Gathered::default(),
            total: 0,
            fault: None,
            discarding: false,
            line_start: true,
            after_cr: false,
            line: 0,
            header: Some(0),
        }
    }

    /// How the body is framed.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The fault of what came so far.
    pub fn fault(&self) -> Option<Error> {
        self.fault
    }

    /// Bytes that are gathered.
    pub fn held(&self) -> usize {
        self.gathered.bytes
    }

    /// What was gathered, to be kept elsewhere; [`Receiver::finish`] gives the rest.
    pub fn part(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.gathered).finish()
    }

    /// From here on the message is read only to find its end.
    pub fn discard(&mut self) {
        self.discarding = true;
        self.gathered = Gathered::default();
    }

    /// Takes DATA from the front of the input, up to and with the terminator. What cannot be judged
    /// yet (at most `.` CR) stays in the input.
    pub fn data(&mut self, input: &mut BytesMut) -> Progress {
        loop {
            let (run, stop) = self.scan(input);
            self.keep(input, run);
            match stop {
                Stop::Exhausted => return self.progress(Progress::More),
                Stop::StuffedDot => input.advance(1),
                Stop::Terminator => {
                    input.advance(3);
                    return self.progress(Progress::End);
                }
            }
        }
    }

    /// Takes bytes of a chunk that has `remaining` bytes to come.
    pub fn chunk(&mut self, input: &mut BytesMut, remaining: &mut u64) -> Progress {
        let take = usize::try_from(*remaining).unwrap_or(usize::MAX).min(input.len());
        *remaining -= take as u64;
        if take > 0 {
            self.scan(input.get(..take).unwrap_or_default());
            self.keep(input, take);
        }
        self.progress(if *remaining == 0 { Progress::End } else { Progress::More })
    }

    /// The message, or its fault.
    pub fn finish(mut self) -> Result<Message, Error> {
        if self.after_cr {
            self.raise(Error::BodyBareNewline);
        }
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(Message { pieces: self.gathered.finish(), size: self.total }),
        }
    }

    fn progress(&self, otherwise: Progress) -> Progress {
        if self.total > self.limits.size.saturating_add(self.limits.swallow) {
            return Progress::Flood;
        }
        otherwise
    }

    /// Looks at bytes from the front: how many are text, and what stands behind them.
    fn scan(&mut self, input: &[u8]) -> (usize, Stop) {
        let mut at = 0;
        while let Some(rest @ [first, ..]) = input.get(at..) {
            if self.after_cr {
                self.after_cr = false;
                if *first == b'\n' {
                    self.end_of_line();
                    at += 1;
                    continue;
                }
                self.raise(Error::BodyBareNewline);
            }
            if self.line_start && self.framing == Framing::Dots && *first == b'.' {
                match rest {
                    [_] | [_, b'\r'] => return (at, Stop::Exhausted),
                    [_, b'\r', b'\n', ..] => return (at, Stop::Terminator),
                    _ => {
                        self.line_start = false;
                        return (at, Stop::StuffedDot);
                    }
                }
            }
            self.line_start = false;
            at += self.text(rest);
        }
        (at, Stop::Exhausted)
    }

    /// Bytes of a line up to and with the next CR, LF or NUL; gives their number.
    fn text(&mut self, rest: &[u8]) -> usize {
        let Some(found) = memchr3(b'\r', b'\n', 0, rest) else {
            self.count(rest.len());
            return rest.len();
        };
        match rest.get(found) {
            Some(b'\r') => {
                self.count(found);
                self.after_cr = true;
            }
            Some(b'\n') => {
                self.count(found + 1);
                self.raise(Error::BodyBareNewline);
            }
            _ => {
                self.count(found + 1);
                if !self.limits.allow_nul {
                    self.raise(Error::BodyNul);
                }
            }
        }
        found + 1
    }

    fn count(&mut self, bytes: usize) {
        self.line += bytes;
        if self.line > self.limits.line {
            self.raise(Error::BodyLineTooLong);
        }
        if let Some(header) = &mut self.header {
            *header += bytes;
            if *header > self.limits.header {
                self.fault = self.fault.max(Some(Error::HeaderTooLarge));
            }
        }
    }

    fn end_of_line(&mut self) {
        if self.line == 0 {
            self.header = None;
        }
        if let Some(header) = &mut self.header {
            *header += 2;
        }
        self.line = 0;
        self.line_start = true;
    }

    /// Notes a fault of text; in binary there is none.
    fn raise(&mut self, fault: Error) {
        if self.framing != Framing::Binary {
            self.fault = self.fault.max(Some(fault));
        }
    }

    fn keep(&mut self, input: &mut BytesMut, run: usize) {
        self.total = self.total.saturating_add(run as u64);
        if self.total > self.limits.size {
            self.fault = self.fault.max(Some(Error::MessageTooLarge));
        }
        if self.fault.is_some() || self.discarding {
            self.gathered = Gathered::default();
            input.advance(run.min(input.len()));
        } else {
            self.gathered.take(input, run);
        }
    }
}

/// Pieces of text, the small ones joined.
#[derive(Debug, Default)]
struct Gathered {
    pieces: Vec<Bytes>,
    tail: BytesMut,
    /// Of all of it.
    bytes: usize,
}

impl Gathered {
    fn take(&mut self, input: &mut BytesMut, run: usize) {
        let run = run.min(input.len());
        self.bytes += run;
        if run >= COPY_BELOW {
            self.flush();
            self.pieces.push(input.split_to(run).freeze());
            return;
        }
        if let Some(text) = input.get(..run) {
            self.tail.extend_from_slice(text);
        }
        input.advance(run);
        if self.tail.len() >= JOIN_UP_TO {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(std::mem::take(&mut self.tail).freeze());
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.flush();
        self.pieces
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
