//! A message as a multi-line response carries it (RFC 1939 §3): lines end in CRLF, one that begins
//! with a dot gets another, a line with a dot alone is the end.
//!
//! Long stretches without anything to insert are slices of what came in, not copies; short ones are
//! joined, so that a message of nothing but dots does not become a million pieces.

use bytes::{Bytes, BytesMut};

/// A stretch shorter than this is copied.
const COPY_BELOW_BYTES: usize = 1024;

/// The state between two pieces of a message.
#[derive(Clone, Debug)]
pub(crate) struct Stuffing {
    /// Lines of the body that are wanted still (TOP); `None`: all.
    lines_left: Option<u64>,
    in_header: bool,
    /// Bytes of the line so far, as far as it matters: 0, 1, or more.
    line_bytes: usize,
    last_is_cr: bool,
    complete: bool,
}

impl Stuffing {
    /// At the start of a message. With `top`, after the header and so many lines of the body it is
    /// complete.
    pub(crate) fn new(top: Option<u64>) -> Stuffing {
        Stuffing { lines_left: top, in_header: true, line_bytes: 0, last_is_cr: false, complete: false }
    }

    /// No more of the message is wanted.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Takes the next bytes of the message and adds what is to be sent to `out`.
    pub(crate) fn push(&mut self, piece: &Bytes, out: &mut Pieces) {
        let mut sent = 0;
        let mut at = 0;
        while !self.complete && at < piece.len() {
            let rest = piece.get(at..).unwrap_or_default();
            if self.line_bytes == 0 && rest.first() == Some(&b'.') {
                out.slice(piece, sent, at);
                out.insert(b".");
                sent = at;
            }
            let Some(length) = memchr::memchr(b'\n', rest) else {
                self.line_bytes = self.line_bytes.saturating_add(rest.len());
                self.last_is_cr = rest.last() == Some(&b'\r');
                at = piece.len();
                break;
            };
            let line_end = at.saturating_add(length);
            let before = match length.checked_sub(1).and_then(|last| rest.get(last)) {
                Some(byte) => *byte == b'\r',
                None => self.last_is_cr,
            };
            if !before {
                out.slice(piece, sent, line_end);
                out.insert(b"\r");
                sent = line_end;
            }
            at = line_end.saturating_add(1);
            self.end_line(self.line_bytes.saturating_add(length), before);
        }
        out.slice(piece, sent, at);
    }

    /// A line of so many bytes before its LF has ended.
    fn end_line(&mut self, bytes: usize, crlf: bool) {
        let empty = bytes == usize::from(crlf);
        self.line_bytes = 0;
        self.last_is_cr = false;
        if self.in_header {
            self.in_header = !empty;
        } else if let Some(left) = self.lines_left.as_mut() {
            *left = left.saturating_sub(1);
        }
        self.complete = !self.in_header && self.lines_left == Some(0);
    }

    /// The message has no more bytes: a last line without an end gets one, then comes the dot.
    pub(crate) fn end(self, out: &mut Pieces) {
        if self.line_bytes > 0 {
            out.insert(if self.last_is_cr { b"\n" } else { b"\r\n" });
        }
        out.insert(b".\r\n");
    }
}

/// What is to be sent, in order.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    done: Vec<Bytes>,
    joined: BytesMut,
}

impl Pieces {
    /// Adds bytes by copying them.
    pub(crate) fn insert(&mut self, bytes: &[u8]) {
        self.joined.extend_from_slice(bytes);
    }

    /// Adds a part of what came in.
    fn slice(&mut self, piece: &Bytes, start: usize, end: usize) {
        let part = piece.get(start..end).unwrap_or_default();
        if part.len() < COPY_BELOW_BYTES {
            return self.insert(part);
        }
        self.flush();
        self.done.push(piece.slice(start..end));
    }

    fn flush(&mut self) {
        if !self.joined.is_empty() {
            self.done.push(self.joined.split().freeze());
        }
    }

    /// All of it.
    pub(crate) fn finish(mut self) -> Vec<Bytes> {
        self.flush();
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuffed(message: &[u8], size: usize, top: Option<u64>) -> Vec<u8> {
        let mut stuffing = Stuffing::new(top);
        let mut out = Pieces::default();
        for chunk in message.chunks(size) {
            stuffing.push(&Bytes::copy_from_slice(chunk), &mut out);
        }
        stuffing.end(&mut out);
        out.finish().concat()
    }

    fn check(message: &str, sent: &str, top: Option<u64>) {
        for size in [1, 2, 3, 1000] {
            let found = stuffed(message.as_bytes(), size, top);
            assert_eq!(String::from_utf8_lossy(&found), sent, "{message:?} by {size}");
        }
    }

    #[test]
    fn lines_and_dots() {
        check("", ".\r\n", None);
        check("a\r\n", "a\r\n.\r\n", None);
        check("a", "a\r\n.\r\n", None);
        check("a\r", "a\r\n.\r\n", None);
        check(".\r\n..\r\na.\r\n.a", "..\r\n...\r\na.\r\n..a\r\n.\r\n", None);
        check("a\n\n.\nb\rc\r\n", "a\r\n\r\n..\r\nb\rc\r\n.\r\n", None);
        check("\n.", "\r\n..\r\n.\r\n", None);
    }

    #[test]
    fn top_of_a_message() {
        let message = "A: b\r\nC: d\r\n\r\n1\r\n.2\r\n3";
        check(message, "A: b\r\nC: d\r\n\r\n.\r\n", Some(0));
        check(message, "A: b\r\nC: d\r\n\r\n1\r\n..2\r\n.\r\n", Some(2));
        check(message, "A: b\r\nC: d\r\n\r\n1\r\n..2\r\n3\r\n.\r\n", Some(9));
        check("A: b\n\n1\n2\n", "A: b\r\n\r\n1\r\n.\r\n", Some(1));
        check("\r\n1\r\n2", "\r\n1\r\n.\r\n", Some(1));
        check("no body", "no body\r\n.\r\n", Some(3));
    }

    #[test]
    fn long_stretches_are_not_copied() {
        let message = Bytes::from(
            "x".repeat(70).into_bytes().into_iter().chain(*b"\r\n").collect::<Vec<_>>().repeat(500),
        );
        let mut out = Pieces::default();
        Stuffing::new(None).push(&message, &mut out);
        let pieces = out.finish();
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].as_ptr(), message.as_ptr());
        let dots = Bytes::from(b".\r\n".repeat(100_000));
        let mut out = Pieces::default();
        Stuffing::new(None).push(&dots, &mut out);
        assert_eq!(out.finish().len(), 1);
    }

    proptest! {
        /// What a client makes of it is the message with CRLF, however it is cut.
        #[test]
        fn a_client_gets_the_message(message in "[.a\r\n]{0,40}", size in 1usize..7) {
            let sent = stuffed(message.as_bytes(), size, None);
            prop_assert!(sent.ends_with(b".\r\n"));
            let mut expected = Vec::new();
            for byte in message.bytes() {
                if byte == b'\n' && expected.last() != Some(&b'\r') {
                    expected.push(b'\r');
                }
                expected.push(byte);
            }
            if !expected.is_empty() && !expected.ends_with(b"\n") {
                let end: &[u8] = if expected.ends_with(b"\r") { b"\n" } else { b"\r\n" };
                expected.extend_from_slice(end);
            }
            let mut got = Vec::new();
            let mut rest = &sent[..];
            loop {
                let end = rest.iter().position(|b| *b == b'\n').unwrap() + 1;
                let (line, after) = rest.split_at(end);
                rest = after;
                if line == b".\r\n" {
                    break;
                }
                got.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            }
            prop_assert!(rest.is_empty());
            prop_assert_eq!(got, expected);
        }
    }
}
