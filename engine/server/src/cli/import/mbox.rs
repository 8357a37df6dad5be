//! Reads mbox files as a stream (RFC 4155, and the `mboxrd` way of quoting).
//!
//! A message begins with a line `From `, at the start of the file or after an empty line, that has a date or nothing
//! after it; other lines `From …` belong to the text. Of lines `>From`, `>>From` and so on one `>` is taken off.
//! The empty line before the next message is not part of the message.
//!
//! Memory: one message up to the limit, and one piece of a line. Longer messages are passed over.

use std::io::{self, BufRead, Read};
use time::{Date, Month, PrimitiveDateTime, Time};

/// Lines are looked at in pieces of this; a longer `From ` line is none.
const PIECE_MAX_BYTES: usize = 8 * 1024;
/// How far the header is searched for flags.
const HEADER_MAX_BYTES: usize = 256 * 1024;

/// What comes next in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Message {
        /// Where it begins.
        offset: u64,
        /// With CRLF line ends.
        body: Vec<u8>,
        /// Of the `From ` line, taken for UTC where it names no zone.
        date_ms: Option<i64>,
    },
    /// It has more bytes than allowed.
    TooLarge {
        /// Where it begins.
        offset: u64,
    },
}

/// A message that is being read.
struct Open {
    offset: u64,
    date_ms: Option<i64>,
    body: Vec<u8>,
    too_large: bool,
    /// An empty line that belongs to the message only if more of it follows.
    held: bool,
}

/// The reader of a file.
pub(super) struct Mbox<R> {
    source: R,
    limit: usize,
    offset: u64,
    piece: Vec<u8>,
    open: Option<Open>,
}

impl Open {
    fn new(offset: u64, line: &[u8]) -> Open {
        Open { offset, date_ms: from_date(line), body: Vec::new(), too_large: false, held: false }
    }

    fn push(&mut self, bytes: &[u8], limit: usize) {
        if self.too_large || self.body.len().saturating_add(bytes.len()) > limit {
            self.too_large = true;
            self.body = Vec::new();
        } else {
            self.body.extend_from_slice(bytes);
        }
    }

    fn push_line_end(&mut self, limit: usize) {
        let end: &[u8] = if self.body.last() == Some(&b'\r') { b"\n" } else { b"\r\n" };
        self.push(end, limit);
    }

    fn is_empty(&self) -> bool {
        self.body.is_empty() && !self.too_large && !self.held
    }

    fn done(self) -> Option<Found> {
        match self {
            Open { too_large: true, offset, .. } => Some(Found::TooLarge { offset }),
            Open { body, .. } if body.is_empty() => None,
            Open { offset, body, date_ms, .. } => Some(Found::Message { offset, body, date_ms }),
        }
    }
}

impl<R: BufRead> Mbox<R> {
    /// Reads up to the first message; `None` when the file is no mbox.
    pub(super) fn open(mut source: R, limit: usize) -> io::Result<Option<Mbox<R>>> {
        let mut piece = Vec::with_capacity(PIECE_MAX_BYTES);
        let mut offset = 0;
        loop {
            let length = read_piece(&mut source, &mut piece)?;
            let open = match piece.as_slice() {
                [] => None,
                b"\n" | b"\r\n" => {
                    offset += length;
                    continue;
                }
                line if line.starts_with(b"From ") && line.ends_with(b"\n") => Some(Open::new(offset, line)),
                _ => return Ok(None),
            };
            return Ok(Some(Mbox { source, limit, offset: offset + length, piece, open }));
        }
    }

    /// How far the file is read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next message that is not empty.
    pub(super) fn next(&mut self) -> io::Result<Option<Found>> {
        let mut line_start = true;
        while let Some(mut open) = self.open.take() {
            let at = self.offset;
            self.offset += read_piece(&mut self.source, &mut self.piece)?;
            if self.piece.is_empty() {
                return Ok(open.done());
            }
            let between = open.held || open.is_empty();
            if line_start && between && is_separator(&self.piece) {
                self.open = Some(Open::new(at, &self.piece));
                match open.done() {
                    Some(found) => return Ok(Some(found)),
                    None => continue,
                }
            }
            line_start = take(&mut open, &self.piece, line_start, self.limit);
            self.open = Some(open);
        }
        Ok(None)
    }
}

/// Adds a piece of a line to a message. True when the line ended.
fn take(open: &mut Open, piece: &[u8], line_start: bool, limit: usize) -> bool {
    let empty = line_start && matches!(piece, b"\n" | b"\r\n");
    if open.held {
        open.held = false;
        open.push_line_end(limit);
    }
    if empty {
        open.held = true;
        return true;
    }
    let piece = if line_start { unquoted(piece) } else { piece };
    match piece.strip_suffix(b"\n") {
        Some(text) => {
            open.push(text, limit);
            open.push_line_end(limit);
            true
        }
        None => {
            open.push(piece, limit);
            false
        }
    }
}

fn read_piece(source: &mut impl BufRead, piece: &mut Vec<u8>) -> io::Result<u64> {
    piece.clear();
    let read = source.by_ref().take(PIECE_MAX_BYTES as u64).read_until(b'\n', piece)?;
    Ok(read as u64)
}

fn unquoted(line: &[u8]) -> &[u8] {
    let quotes = line.iter().take_while(|byte| **byte == b'>').count();
    match (quotes, line.get(quotes..)) {
        (1.., Some(rest)) if rest.starts_with(b"From ") => line.get(1..).unwrap_or(line),
        _ => line,
    }
}

/// Mail programs write a date; some write nothing.
fn is_separator(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"From ") else { return false };
    line.len() < PIECE_MAX_BYTES && (rest.trim_ascii().is_empty() || from_date(line).is_some())
}

/// The date of a `From ` line: `Sat Jan  3 01:05:34 1996`, also with a zone before or after the year, or without
/// seconds.
fn from_date(line: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(line.get(..line.len().min(1024))?).ok()?;
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let start = words.iter().rposition(|word| days.contains(&word.trim_end_matches(',')))?;
    let rest = words.get(start + 1..)?;
    let ([month, day, clock, ..], tail) = (rest, rest.get(3..)?) else { return None };
    let (month, day) = (month_of(month)?, day.parse::<u8>().ok()?);
    let mut parts = clock.split(':').map(|part| part.parse::<u8>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
    let year =
        tail.iter().take(3).find(|word| word.len() == 4 && word.bytes().all(|b| b.is_ascii_digit()))?;
    let zone = tail.iter().take(3).find_map(|word| zone_minutes(word)).unwrap_or(0);
    let date = Date::from_calendar_date(year.parse().ok()?, month, day).ok()?;
    let time = Time::from_hms(hour, minute, second.min(59)).ok()?;
    let moment = PrimitiveDateTime::new(date, time).assume_utc();
    Some((moment.unix_timestamp() - zone * 60) * 1000)
}

fn month_of(text: &str) -> Option<Month> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let number = MONTHS.iter().position(|month| *month == text)?;
    Month::try_from(u8::try_from(number + 1).ok()?).ok()
}

fn zone_minutes(text: &str) -> Option<i64> {
    let (sign, digits) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(digits), _) => (1, digits),
        (_, Some(digits)) => (-1, digits),
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i64 = digits.parse().ok()?;
    Some(sign * (number / 100 * 60 + number % 100))
}

/// The flags that mail programs write into the header of messages in mbox files.
pub(super) fn flags(body: &[u8]) -> Vec<String> {
    let header = body.get(..body.len().min(HEADER_MAX_BYTES)).unwrap_or_default();
    let mut flags: Vec<String> = Vec::new();
    for line in
        header.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).take_while(|line| !line.is_empty())
    {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let Ok(value) = std::str::from_utf8(value.get(1..).unwrap_or_default()) else { continue };
        match name.to_ascii_lowercase().as_slice() {
            b"status" => letters(value, &[('R', "\\Seen"), ('D', "\\Deleted")], &mut flags),
            b"x-status" => letters(
                value,
                &[('A', "\\Answered"), ('F', "\\Flagged"), ('D', "\\Deleted"), ('T', "\\Draft")],
                &mut flags,
            ),
            b"x-mozilla-status" => mozilla(value.trim(), &mut flags),
            b"x-keywords" | b"x-mozilla-keys" => {
                let words = value.split([' ', ',', '\t']).filter(|word| !word.is_empty());
                for word in words.filter(|word| estafette_mailbox::Keyword::parse(word).is_ok()).take(64) {
                    add(word, &mut flags);
                }
            }
            _ => {}
        }
    }
    flags
}

fn letters(value: &str, known: &[(char, &str)], flags: &mut Vec<String>) {
    for (_, flag) in known.iter().filter(|(letter, _)| value.contains(*letter)) {
        add(flag, flags);
    }
}

fn mozilla(value: &str, flags: &mut Vec<String>) {
    let bits = u32::from_str_radix(value, 16).unwrap_or(0);
    let known = [
        (0x1, "\\Seen"),
        (0x2, "\\Answered"),
        (0x4, "\\Flagged"),
        (0x8, "\\Deleted"),
        (0x1000, "$Forwarded"),
    ];
    for (_, flag) in known.into_iter().filter(|(bit, _)| bits & bit != 0) {
        add(flag, flags);
    }
}

fn add(flag: &str, flags: &mut Vec<String>) {
    if !flags.iter().any(|known| known.eq_ignore_ascii_case(flag)) {
        flags.push(flag.to_owned());
    }
}
