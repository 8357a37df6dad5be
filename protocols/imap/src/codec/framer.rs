//! Cuts what arrives into commands, before anything is parsed (RFC 9051 §2.2.1, §4.3; RFC 7888).
//!
//! A command is lines and literals in turn. A line that ends in `{n}`, `{n+}`, `~{n}` or `~{n+}` is
//! followed by a literal of n bytes and then by a further line; nothing else about a line matters
//! here. The framer alone decides about CR and LF:
//! - A line ends with CR LF. LF alone also ends it, but then the command is refused; if a literal was
//!   announced so, the connection is closed, since nobody can tell what its bytes would be.
//! - CR elsewhere in a line, NUL in a line and NUL in a literal that is no `literal8` refuse the
//!   command.
//!
//! A refused command is read to its end and thrown away, up to [`Limits::swallow`] bytes; its
//! literals with synchronization are not asked for. Time is linear in the bytes for every way in
//! which they may be cut, and no more than the limits is kept.

mod frame;

use super::command::Tag;
use super::fault::{CommandError, Fault};
use super::rope::Rope;
use bytes::{Buf, Bytes, BytesMut};
pub use frame::{Announced, Frame, Framed, Limits, Line, Literal, PART_BYTES, Parts, Piece};
use std::fmt;

/// What is kept of a line that is too long: enough to see whether it announces a literal.
const LINE_END: usize = 32;

/// Cuts the stream into commands. What is not complete of a line stays in the input; literals are
/// taken out of it as they come.
#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    state: State,
    draft: Draft,
    /// How many bytes of the input were looked at and have no LF.
    scanned: usize,
    /// The start of the line was thrown away.
    shortened: bool,
}

#[derive(Debug)]
enum State {
    Line,
    Literal { left: u64, size: u64, literal: Literal },
    Swallow { left: u64 },
}

/// The command that is being read.
#[derive(Default)]
struct Draft {
    pieces: Vec<Piece>,
    /// Its first line was seen.
    begun: bool,
    tag: Option<Tag>,
    /// It is an APPEND.
    append: bool,
    bytes: u64,
    appended: u64,
    literals: usize,
    /// Why it is refused, as soon as it is: from then on nothing of it is kept.
    refusal: Option<Fault>,
    swallowed: u64,
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Draft({} pieces, refusal {:?})", self.pieces.len(), self.refusal)
    }
}

/// `{n}` at the end of a line.
struct Announcement {
    /// Where it begins.
    start: usize,
    /// [`u64::MAX`] for what is more.
    size: u64,
    non_sync: bool,
    literal8: bool,
}

enum Scan {
    Incomplete,
    TooMuch,
    Ended(Bytes, Option<Fault>),
}

impl Framer {
    /// At the start of a stream.
    pub fn new(limits: Limits) -> Framer {
        Framer { limits, state: State::Line, draft: Draft::default(), scanned: 0, shortened: false }
    }

    /// Changes the limits, between two commands (after the login).
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Forgets what was begun (after STARTTLS, with the input thrown away).
    pub fn reset(&mut self) {
        *self = Framer::new(self.limits);
    }

    /// How many bytes the input may hold before [`Framer::next`] takes some: any more wait for a
    /// session that is busy.
    pub fn input_limit(&self) -> usize {
        match &self.state {
            // A large literal is taken out as it comes, so more may be read at once.
            State::Literal { left, .. } if *left >= PART_BYTES as u64 => PART_BYTES.max(self.limits.line * 2),
            _ => self.limits.line.saturating_mul(2),
        }
    }

    /// The part that was handed over last is not kept: the rest of the command is read and thrown away, and it is
    /// refused with this. Without effect at any other time.
    pub fn refuse(&mut self, fault: Fault) {
        if let State::Literal { left, .. } = self.state {
            self.draft.refuse(fault);
            self.state = State::Swallow { left };
        }
    }

    /// Takes the next command from the front of the input.
    pub fn next(&mut self, input: &mut BytesMut) -> Framed {
        loop {
            let found = match self.state {
                State::Line => self.on_line(input),
                State::Literal { .. } => self.on_literal(input),
                State::Swallow { left } => self.on_swallow(left, input),
            };
            if let Some(framed) = found {
                return framed;
            }
        }
    }

    /// Takes a line that is no command: an answer to a challenge of AUTHENTICATE, or the DONE of IDLE.
    /// Only between two commands.
    pub fn line(&mut self, input: &mut BytesMut) -> Line {
        let line = match self.scan(input) {
            Scan::Incomplete => return Line::Incomplete,
            Scan::TooMuch => Line::Fatal(Fault::LineTooLong),
            Scan::Ended(_, Some(fault)) => Line::Refused(fault),
            Scan::Ended(line, None) => Line::Line(line),
        };
        self.draft = Draft::default();
        line
    }

    /// Looks for the end of a line and takes the line out of the input, with what is wrong with it.
    fn scan(&mut self, input: &mut BytesMut) -> Scan {
        let fresh = input.get(self.scanned..).unwrap_or_default();
        let Some(at) = memchr::memchr(b'\n', fresh) else {
            self.scanned = input.len();
            return self.shorten(input);
        };
        let mut line = input.split_to(self.scanned + at + 1).freeze();
        self.scanned = 0;
        line.truncate(line.len().saturating_sub(1));
        self.draft.begin(&line, self.limits.line);
        let too_much = self.is_too_much(line.len());
        let shortened = std::mem::take(&mut self.shortened);
        if too_much {
            return Scan::TooMuch;
        }
        let ended = line.last() == Some(&b'\r');
        if ended {
            line.truncate(line.len().saturating_sub(1));
        }
        let too_long = shortened || line.len() > self.limits.line;
        if too_long {
            // As much of its end is seen as there would be of a line that came in small pieces.
            let excess = line.len().saturating_sub(LINE_END - 1);
            line.advance(excess);
            self.draft.swallow(excess);
        }
        let fault = if !ended {
            Some(Fault::BareLineFeed)
        } else if too_long {
            Some(Fault::LineTooLong)
        } else {
            memchr::memchr2(b'\r', 0, &line).map(|at| match line.get(at) {
                Some(0) => Fault::Nul,
                _ => Fault::BareCarriageReturn,
            })
        };
        Scan::Ended(line, fault)
    }

    /// Whether a line that is too long, of which so much is here, is more than is thrown away.
    fn is_too_much(&self, held: usize) -> bool {
        let too_long = self.shortened || held > self.limits.line.saturating_add(1);
        too_long && self.draft.swallowed.saturating_add(held as u64) > self.limits.swallow
    }

    /// Throws away the start of a line that is too long and has not ended.
    fn shorten(&mut self, input: &mut BytesMut) -> Scan {
        if self.is_too_much(input.len()) {
            self.draft.begin(input, self.limits.line);
            return Scan::TooMuch;
        }
        // One more for the CR of a line that is just short enough.
        if input.len() > self.limits.line.saturating_add(1) {
            self.draft.begin(input, self.limits.line);
            let excess = input.len().saturating_sub(LINE_END);
            input.advance(excess);
            self.scanned = input.len();
            self.shortened = true;
            self.draft.swallow(excess);
        }
        Scan::Incomplete
    }

    fn on_line(&mut self, input: &mut BytesMut) -> Option<Framed> {
        let (line, fault) = match self.scan(input) {
            Scan::Incomplete => return Some(Framed::Incomplete),
            Scan::TooMuch => return Some(self.fatal(Fault::LineTooLong)),
            Scan::Ended(line, fault) => (line, fault),
        };
        let announcement = Announcement::find(&line);
        if fault == Some(Fault::BareLineFeed) && announcement.is_some() {
            return Some(self.fatal(Fault::BareLineFeed));
        }
        self.draft.bytes = self.draft.bytes.saturating_add(line.len() as u64);
        let too_long = (self.draft.bytes > self.limits.command).then_some(Fault::CommandTooLong);
        if let Some(fault) = fault.or(too_long) {
            self.draft.refuse(fault);
        }
        if let Some(fault) = self.draft.refusal {
            self.draft.swallow(line.len() + 2);
            if self.draft.swallowed > self.limits.swallow {
                return Some(self.fatal(fault));
            }
        }
        match announcement {
            Some(announcement) => self.announced(line, announcement),
            None if self.draft.refusal.is_some() => Some(self.refused()),
            None => {
                let mut pieces = std::mem::take(&mut self.draft).pieces;
                pieces.push(Piece::Line(line));
                Some(Framed::Frame(Frame { pieces }))
            }
        }
    }

    fn announced(&mut self, line: Bytes, announcement: Announcement) -> Option<Framed> {
        let Announcement { start, size, non_sync, literal8 } = announcement;
        let before = line.slice(..start);
        let message = self.draft.is_message(&before);
        if let Some(fault) = self.too_big(size, non_sync, message) {
            self.draft.refuse(fault);
        }
        if let Some(fault) = self.draft.refusal {
            if !non_sync {
                return Some(self.refused());
            }
            if size > self.limits.swallow.saturating_sub(self.draft.swallowed) {
                return Some(self.fatal(fault));
            }
            self.state = State::Swallow { left: size };
            return None;
        }
        let counter = if message { &mut self.draft.appended } else { &mut self.draft.bytes };
        *counter = counter.saturating_add(size);
        self.draft.literals += 1;
        self.draft.pieces.push(Piece::Line(before));
        let parted = message && size >= self.limits.part_from && size > PART_BYTES as u64;
        let parts = parted.then_some(Parts { bytes: 0, nul: false });
        self.state =
            State::Literal { left: size, size, literal: Literal { body: Rope::new(), parts, literal8 } };
        if non_sync { None } else { Some(Framed::Continue(Announced { size, message })) }
    }

    fn too_big(&self, size: u64, non_sync: bool, message: bool) -> Option<Fault> {
        let limits = &self.limits;
        if self.draft.literals >= limits.literals {
            Some(Fault::TooManyLiterals)
        } else if message && size > limits.append.saturating_sub(self.draft.appended) {
            Some(Fault::MessageTooBig)
        } else if (!message && size > limits.literal) || (non_sync && size > limits.non_sync) {
            Some(Fault::LiteralTooBig)
        } else if !message && size > limits.command.saturating_sub(self.draft.bytes) {
            Some(Fault::CommandTooLong)
        } else {
            None
        }
    }

    fn on_literal(&mut self, input: &mut BytesMut) -> Option<Framed> {
        let State::Literal { left, literal, size } = &mut self.state else { return None };
        let bytes = input.split_to(at_most(*left, input.len())).freeze();
        *left -= bytes.len() as u64;
        let left = *left;
        let nul = memchr::memchr(0, &bytes).is_some();
        if nul && !literal.literal8 {
            self.draft.swallow(literal.body.len() + bytes.len());
            self.draft.refuse(Fault::Nul);
            self.state = State::Swallow { left };
            return None;
        }
        literal.body.share(bytes);
        if left > 0 {
            let due = literal.body.len() >= PART_BYTES;
            let Some(parts) = literal.parts.as_mut() else { return Some(Framed::Incomplete) };
            parts.nul |= nul;
            if !due {
                return Some(Framed::Incomplete);
            }
            let (first, size) = (parts.bytes == 0, *size);
            parts.bytes += literal.body.len() as u64;
            return Some(Framed::Part {
                first,
                size,
                pieces: std::mem::take(&mut literal.body).into_pieces(),
            });
        }
        if let State::Literal { mut literal, .. } = std::mem::replace(&mut self.state, State::Line) {
            literal.body.seal();
            self.draft.pieces.push(Piece::Literal(literal));
        }
        None
    }

    fn on_swallow(&mut self, left: u64, input: &mut BytesMut) -> Option<Framed> {
        let count = at_most(left, input.len());
        input.advance(count);
        let left = left - count as u64;
        self.draft.swallow(count);
        if self.draft.swallowed > self.limits.swallow {
            let fault = self.draft.refusal.unwrap_or(Fault::CommandTooLong);
            return Some(self.fatal(fault));
        }
        if left > 0 {
            self.state = State::Swallow { left };
            return Some(Framed::Incomplete);
        }
        self.state = State::Line;
        None
    }

    fn refused(&mut self) -> Framed {
        let draft = std::mem::take(&mut self.draft);
        self.state = State::Line;
        Framed::Refused(CommandError {
            tag: draft.tag,
            fault: draft.refusal.unwrap_or(Fault::CommandTooLong),
        })
    }

    fn fatal(&mut self, fault: Fault) -> Framed {
        self.state = State::Line;
        let tag = std::mem::take(&mut self.draft).tag;
        Framed::Fatal(CommandError { tag, fault })
    }
}

impl Draft {
    /// Reads the tag, and whether it is an APPEND, from the first line (from no more of it than its
    /// limit, so that it does not matter how much is there).
    fn begin(&mut self, line: &[u8], limit: usize) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let mut words = line.get(..limit).unwrap_or(line).splitn(3, |b| *b == b' ');
        let (tag, verb) = (words.next(), words.next());
        let tag = tag.filter(|_| verb.is_some()).and_then(|word| std::str::from_utf8(word).ok());
        self.tag = tag.and_then(Tag::new);
        self.append = verb.is_some_and(|verb| verb.eq_ignore_ascii_case(b"APPEND"));
    }

    /// Whether the literal after `before` is a message of an APPEND: every one of its literals is,
    /// but the name of the mailbox, which comes directly after the verb.
    fn is_message(&self, before: &[u8]) -> bool {
        let first = self.pieces.is_empty();
        let words = before.split(|b| *b == b' ').filter(|word| !word.is_empty()).count();
        self.append && !(first && words < 3)
    }

    fn refuse(&mut self, fault: Fault) {
        self.refusal.get_or_insert(fault);
        self.pieces = Vec::new();
    }

    /// Counts bytes that are thrown away.
    fn swallow(&mut self, bytes: usize) {
        self.swallowed = self.swallowed.saturating_add(bytes as u64);
    }
}

impl Announcement {
    /// `literal = "{" number64 ["+"] "}"`, `literal8 = "~{" …`, at the end of a line.
    fn find(line: &[u8]) -> Option<Announcement> {
        let inner = line.strip_suffix(b"}")?;
        let (digits_end, non_sync) = match inner.strip_suffix(b"+") {
            Some(inner) => (inner, true),
            None => (inner, false),
        };
        let digits_start = digits_end.iter().rposition(|b| !b.is_ascii_digit())?;
        let (before, digits) = digits_end.split_at_checked(digits_start + 1)?;
        let before = before.strip_suffix(b"{").filter(|_| !digits.is_empty())?;
        let add = |n: u64, b: &u8| n.saturating_mul(10).saturating_add(u64::from(b - b'0'));
        let size = digits.iter().fold(0, add);
        let (start, literal8) = match before.strip_suffix(b"~") {
            Some(before) => (before.len(), true),
            None => (before.len(), false),
        };
        Some(Announcement { start, size, non_sync, literal8 })
    }
}

fn at_most(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

#[cfg(test)]
mod tests;
