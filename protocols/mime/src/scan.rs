//! The scan of a message: line by line, each byte once, into a [`Structure`].
//!
//! Invariants: `open` is the path from the message to the part that is being read, so its length is
//! the depth; every boundary belongs to a part of `open`, outermost first. Work for a line is bounded
//! by its length and by [`NESTING_MAX`] boundaries of [`BOUNDARY_MAX_BYTES`].

use crate::content::ContentType;
use crate::gather::{Budget, Gathered};
use crate::part::Printed;
use crate::{
    BOUNDARY_MAX_BYTES, FIELD_MAX_BYTES, HEADER_KEPT_MAX_BYTES, HeaderBlock, Kind, NESTING_MAX, PARTS_MAX,
    Part, Structure,
};
use bytes::Bytes;

/// How much of a line of a body is looked at: `--`, a boundary, `--`, CR and something.
const BODY_LINE_KEPT_BYTES: usize = BOUNDARY_MAX_BYTES + 16;

/// Scans a message that comes in chunks of any size.
#[derive(Debug)]
pub struct Scanner {
    parts: Vec<Part>,
    open: Vec<Open>,
    boundaries: Vec<Boundary>,
    /// `Some` while the header of the innermost open part is read.
    header: Option<Gathered>,
    budget: Budget,
    /// The header block of the message as far as it was read; `None` once it is too long.
    block: Option<Vec<u8>>,
    /// Where the line begins that is being read, and the line feeds before it.
    offset: u64,
    lines: u64,
    /// The length of the line end before it, when a boundary in this line would take that away from
    /// the part: 0, 1 or 2.
    line_end_before: u64,
    /// The start of a line that is not complete yet, its whole length so far, its last byte.
    line: Vec<u8>,
    line_length: u64,
    line_last: u8,
}

/// A part that is not closed yet.
#[derive(Debug)]
struct Open {
    part: usize,
    lines_before_body: u64,
    digest: bool,
}

#[derive(Debug)]
struct Boundary {
    /// The place in `open` of the multipart that it separates.
    depth: usize,
    value: Bytes,
}

/// A line of the message.
struct Line<'a> {
    /// Its content without the line end, possibly cut.
    content: &'a [u8],
    /// Where it ends, after its line end.
    end: u64,
    /// 0 (the message ends), 1 (LF) or 2 (CRLF).
    line_end: u64,
}

impl Default for Scanner {
    fn default() -> Scanner {
        Scanner::new()
    }
}

impl Structure {
    /// The structure of a message that lies in chunks.
    pub fn of<C: AsRef<[u8]>>(chunks: impl IntoIterator<Item = C>) -> Structure {
        let mut scanner = Scanner::new();
        for chunk in chunks {
            scanner.feed(chunk.as_ref());
        }
        scanner.finish()
    }
}

impl Scanner {
    /// At the start of a message.
    pub fn new() -> Scanner {
        let mut scanner = Scanner {
            parts: Vec::new(),
            open: Vec::new(),
            boundaries: Vec::new(),
            header: None,
            budget: Budget::new(),
            block: Some(Vec::new()),
            offset: 0,
            lines: 0,
            line_end_before: 0,
            line: Vec::new(),
            line_length: 0,
            line_last: 0,
        };
        scanner.open_part(0, false, true);
        scanner
    }

    /// Takes the next bytes of the message.
    pub fn feed(&mut self, mut chunk: &[u8]) {
        while let Some(at) = memchr::memchr(b'\n', chunk) {
            let (piece, rest) = chunk.split_at_checked(at.saturating_add(1)).unwrap_or((chunk, &[]));
            chunk = rest;
            if self.header.is_none() && self.boundaries.is_empty() {
                // Nothing can come any more but the end: only lines are counted.
                self.offset = self.offset.saturating_add(self.line_length).saturating_add(length(piece));
                self.lines = self.lines.saturating_add(1);
                (self.line_length, self.line_last) = (0, 0);
                self.line.clear();
            } else if self.line_length == 0 {
                self.whole_line(piece);
            } else {
                self.keep(piece);
                self.end_line(true);
            }
        }
        self.keep(chunk);
    }

    /// The message is complete.
    pub fn finish(mut self) -> Structure {
        if self.line_length > 0 {
            self.end_line(false);
        }
        while self.header.is_some() {
            self.end_header(self.offset, self.lines, false);
        }
        self.close_to(0, self.offset, self.lines);
        let header = match self.block {
            Some(block) => HeaderBlock::Kept(Bytes::from(block)),
            None => HeaderBlock::InMessage,
        };
        Structure { parts: self.parts, header, printed: Printed::default() }
    }

    /// Adds to the line that is not complete.
    fn keep(&mut self, piece: &[u8]) {
        let Some(last) = piece.last() else { return };
        self.line_last = match piece {
            // What is before the LF decides whether the line ends in CRLF.
            [.., before, b'\n'] => *before,
            [b'\n'] => self.line_last,
            _ => *last,
        };
        self.line_length = self.line_length.saturating_add(length(piece));
        let limit = if self.header.is_some() { FIELD_MAX_BYTES } else { BODY_LINE_KEPT_BYTES };
        let room = limit.saturating_sub(self.line.len());
        self.line.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
    }

    fn end_line(&mut self, terminated: bool) {
        let line = std::mem::take(&mut self.line);
        let total = std::mem::take(&mut self.line_length);
        let line_end = match (terminated, std::mem::take(&mut self.line_last)) {
            (false, _) => 0,
            (true, b'\r') if total > 1 => 2,
            (true, _) => 1,
        };
        let content = usize::try_from(total.saturating_sub(line_end)).unwrap_or(usize::MAX).min(line.len());
        let end = self.offset.saturating_add(total);
        self.on_line(&Line { content: line.get(..content).unwrap_or_default(), end, line_end });
        self.line = line;
        self.line.clear();
    }

    fn whole_line(&mut self, piece: &[u8]) {
        let end = self.offset.saturating_add(length(piece));
        let line = match piece {
            [content @ .., b'\r', b'\n'] => Line { content, end, line_end: 2 },
            [content @ .., b'\n'] => Line { content, end, line_end: 1 },
            content => Line { content, end, line_end: 0 },
        };
        self.on_line(&line);
    }

    fn on_line(&mut self, line: &Line<'_>) {
        if let Some((boundary, closing)) = self.boundary_of(line.content) {
            self.at_boundary(boundary, closing, line);
        } else if self.header.is_some() {
            self.header_line(line);
        } else {
            self.line_end_before = line.line_end;
        }
        self.offset = line.end;
        self.lines = self.lines.saturating_add(u64::from(line.line_end > 0));
    }

    fn header_line(&mut self, line: &Line<'_>) {
        if self.open.len() == 1
            && let Some(block) = self.block.as_mut()
        {
            block.extend_from_slice(line.content);
            let line_end: &[u8] = match line.line_end {
                0 => b"",
                1 => b"\n",
                _ => b"\r\n",
            };
            block.extend_from_slice(line_end);
            if length(block) != line.end || block.len() > HEADER_KEPT_MAX_BYTES {
                self.block = None;
            }
        }
        if line.content.is_empty() && line.line_end > 0 {
            let lines = self.lines.saturating_add(1);
            return self.end_header(line.end, lines, true);
        }
        self.line_end_before = line.line_end;
        if let Some(header) = self.header.as_mut() {
            header.line(line.content, &mut self.budget);
        }
    }

    /// The boundary that a line is, by its place in `boundaries`, and whether it is the closing one.
    /// Only the beginning of the line has to be the boundary; the longest that fits wins, then the
    /// innermost.
    fn boundary_of(&self, content: &[u8]) -> Option<(usize, bool)> {
        let rest = content.strip_prefix(b"--")?;
        if self.boundaries.is_empty() || self.parts.len() >= PARTS_MAX {
            return None;
        }
        let mut best: Option<(usize, &Bytes)> = None;
        for (place, boundary) in self.boundaries.iter().enumerate().rev() {
            let longer = best.is_none_or(|(_, known)| known.len() < boundary.value.len());
            if longer && rest.starts_with(&boundary.value) {
                best = Some((place, &boundary.value));
            }
        }
        let (place, value) = best?;
        Some((place, rest.get(value.len()..).is_some_and(|after| after.starts_with(b"--"))))
    }

    fn at_boundary(&mut self, place: usize, closing: bool, line: &Line<'_>) {
        // The line end before a boundary belongs to it (RFC 2046 §5.1.1).
        let taken = self.line_end_before;
        let end = self.offset.saturating_sub(taken);
        let lines = self.lines.saturating_sub(u64::from(taken > 0));
        while self.header.is_some() {
            self.end_header(end, lines, false);
        }
        let Some(depth) = self.boundaries.get(place).map(|b| b.depth) else { return };
        self.close_to(depth.saturating_add(1), end, lines);
        self.boundaries.truncate(if closing { place } else { place.saturating_add(1) });
        self.line_end_before = 0;
        if !closing && line.line_end > 0 {
            self.open_part(line.end, true, false);
        }
    }

    /// Opens a part within the innermost one; its header begins.
    fn open_part(&mut self, header_start: u64, in_multipart: bool, message: bool) {
        let parent = self.open.last().and_then(|open| u32::try_from(open.part).ok());
        let part = self.parts.len();
        self.parts.push(Part::at(parent, header_start));
        self.open.push(Open { part, lines_before_body: 0, digest: false });
        self.header = Some(Gathered::new(in_multipart, message));
        self.line_end_before = 0;
    }

    /// The header of the innermost part ends. `complete`: with an empty line, so that a body follows.
    fn end_header(&mut self, body_start: u64, lines_before_body: u64, complete: bool) {
        let Some(mut gathered) = self.header.take() else { return };
        gathered.end_field(&mut self.budget);
        self.line_end_before = 0;
        let digest =
            self.open.len().checked_sub(2).and_then(|at| self.open.get(at)).is_some_and(|o| o.digest);
        let depth = self.open.len();
        let full = self.parts.len() >= PARTS_MAX || depth >= NESTING_MAX;
        let Some(open) = self.open.last_mut() else { return };
        let Some(part) = self.parts.get_mut(open.part) else { return };
        open.lines_before_body = lines_before_body;
        part.body_start = body_start;
        let content_type = gathered.content_type.take();
        let boundary = content_type.as_ref().and_then(ContentType::boundary);
        gathered.fill(part);
        part.take_type(content_type, digest);
        if full && part.kind != Kind::Single {
            part.flatten();
        }
        match part.kind {
            Kind::Message => self.open_part(body_start, false, true),
            Kind::Multipart => {
                open.digest = part.subtype.eq_ignore_ascii_case(b"digest");
                if let (true, Some(value)) = (complete, boundary) {
                    self.boundaries.push(Boundary { depth: depth.saturating_sub(1), value });
                }
            }
            Kind::Single => {}
        }
    }

    /// Closes the parts deeper than `depth`.
    fn close_to(&mut self, depth: usize, end: u64, lines: u64) {
        let subtree_end = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        for open in self.open.drain(depth.min(self.open.len())..) {
            if let Some(part) = self.parts.get_mut(open.part) {
                part.body_end = end.max(part.body_start);
                part.lines = lines.saturating_sub(open.lines_before_body);
                part.subtree_end = subtree_end;
            }
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl Part {
    /// A part of which nothing is known but where its header begins.
    fn at(parent: Option<u32>, header_start: u64) -> Part {
        Part {
            kind: Kind::Single,
            parent,
            subtree_end: 0,
            header_start,
            body_start: header_start,
            body_end: header_start,
            lines: 0,
            media_type: Bytes::from_static(b"text"),
            subtype: Bytes::from_static(b"plain"),
            parameters: Vec::new(),
            id: None,
            description: None,
            encoding: None,
            md5: None,
            disposition: None,
            language: Vec::new(),
            location: None,
            envelope: None,
        }
    }

    /// The type, and what follows from it (RFC 2046 §5.1.5: in a digest, parts are messages).
    fn take_type(&mut self, found: Option<ContentType>, in_digest: bool) {
        let message = match &found {
            Some(found) => found.is("message", "rfc822") || found.is("message", "global"),
            None => in_digest,
        };
        if message {
            self.kind = Kind::Message;
            self.media_type = Bytes::from_static(b"message");
            self.subtype = Bytes::from_static(b"rfc822");
        } else if found.as_ref().is_some_and(ContentType::is_multipart) {
            self.kind = Kind::Multipart;
        }
        if let Some(found) = found {
            if !found.is("message", "rfc822") {
                self.media_type = found.media_type;
                self.subtype = found.subtype;
            }
            self.parameters = found.parameters;
        }
    }

    /// Past the limits: what is within is not looked at.
    fn flatten(&mut self) {
        self.kind = Kind::Single;
        self.media_type = Bytes::from_static(b"application");
        self.subtype = Bytes::from_static(b"octet-stream");
    }
}

#[cfg(test)]
mod tests;
