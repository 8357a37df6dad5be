//! Writing a message for DATA: dots at line starts doubled, ended by a dot (RFC 5321 §4.5.2).
//!
//! A CR or LF that stands alone in the message is sent as CR LF: a lax server could otherwise see
//! the end of the message in it. Long runs go out as slices of the pieces, not copied.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr2;
use std::collections::VecDeque;

/// Runs below this many bytes are copied together.
const COPY_BELOW: usize = 4096;
/// Copied runs are joined up to this many bytes.
const JOIN_UP_TO: usize = 16 * 1024;
/// The longest piece that is given out, in bytes.
const PIECE_MAX: usize = 64 * 1024;

/// The encoded message, piece by piece, with the terminator.
#[derive(Debug)]
pub struct DotEncoder {
    pieces: VecDeque<Bytes>,
    /// No more pieces come.
    whole: bool,
    current: Bytes,
    line_start: bool,
    after_cr: bool,
    done: bool,
}

/// A stretch that goes out as it is.
struct Run {
    length: usize,
    line_start: bool,
    after_cr: bool,
}

impl DotEncoder {
    /// Encodes the text in these pieces.
    pub fn new(pieces: Vec<Bytes>) -> DotEncoder {
        DotEncoder { whole: true, ..DotEncoder::open(pieces) }
    }

    /// Encodes a text that begins with these pieces; gives nothing out while the next ones are wanting.
    pub fn open(pieces: Vec<Bytes>) -> DotEncoder {
        let (pieces, current) = (pieces.into(), Bytes::new());
        DotEncoder { pieces, whole: false, current, line_start: true, after_cr: false, done: false }
    }

    /// More of the text.
    pub fn push(&mut self, pieces: Vec<Bytes>) {
        self.pieces.extend(pieces);
    }

    /// There is no more of it.
    pub fn end(&mut self) {
        self.whole = true;
    }

    /// True once the terminator was given out.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The first byte of what is left; goes on to the next piece that is not empty.
    fn peek(&mut self) -> Option<u8> {
        while self.current.is_empty() {
            self.current = self.pieces.pop_front()?;
        }
        self.current.first().copied()
    }

    /// Bytes that must stand before the next one: the LF of a CR or a doubled dot.
    fn insert(&mut self, next: u8, out: &mut BytesMut) {
        if self.after_cr {
            if next == b'\n' {
                self.current.advance(1);
            }
            out.extend_from_slice(b"\n");
            (self.after_cr, self.line_start) = (false, true);
        } else if next == b'\n' {
            self.current.advance(1);
            out.extend_from_slice(b"\r\n");
            self.line_start = true;
        } else if self.line_start && next == b'.' {
            out.extend_from_slice(b".");
            self.line_start = false;
        }
    }

    /// How far the current piece can go out as it is.
    fn run(&self) -> Run {
        let text = self.current.get(..PIECE_MAX).unwrap_or(&self.current);
        let (mut at, mut line_start) = (0, self.line_start);
        while let Some(rest @ [first, ..]) = text.get(at..) {
            if line_start && *first == b'.' {
                break;
            }
            let Some(found) = memchr2(b'\r', b'\n', rest) else {
                return Run { length: text.len(), line_start: false, after_cr: false };
            };
            line_start = found == 0 && line_start;
            at += found;
            match text.get(at..at + 2) {
                Some(b"\r\n") => (at, line_start) = (at + 2, true),
                _ if text.get(at) == Some(&b'\r') => {
                    return Run { length: at + 1, line_start: false, after_cr: true };
                }
                _ => break,
            }
        }
        Run { length: at, line_start, after_cr: false }
    }

    /// The end: the last line is ended if it is not, then the dot.
    fn terminate(&mut self, out: &mut BytesMut) {
        if self.after_cr {
            out.extend_from_slice(b"\n");
        } else if !self.line_start {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        self.done = true;
    }
}

impl Iterator for DotEncoder {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let mut joined = BytesMut::new();
        while joined.len() < JOIN_UP_TO {
            let Some(next) = self.peek() else {
                if self.whole {
                    self.terminate(&mut joined);
                }
                break;
            };
            // A doubled dot: the first one is inserted, the second one is text of the line.
            if self.after_cr || next == b'\n' || (self.line_start && next == b'.') {
                self.insert(next, &mut joined);
                continue;
            }
            let run = self.run();
            if run.length >= COPY_BELOW && !joined.is_empty() {
                break;
            }
            let text = self.current.split_to(run.length.min(self.current.len()));
            (self.line_start, self.after_cr) = (run.line_start, run.after_cr);
            if run.length >= COPY_BELOW {
                return Some(text);
            }
            joined.extend_from_slice(&text);
        }
        Some(joined.freeze()).filter(|joined| !joined.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(pieces: &[&str]) -> String {
        let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece.as_bytes())).collect();
        String::from_utf8(DotEncoder::new(pieces).flatten().collect()).unwrap()
    }

    #[test]
    fn stuffing() {
        assert_eq!(wire(&[]), ".\r\n");
        assert_eq!(wire(&["a\r\n"]), "a\r\n.\r\n");
        assert_eq!(wire(&["a"]), "a\r\n.\r\n");
        assert_eq!(wire(&[".", ".\r", "\n", ".", "\r\n"]), "...\r\n..\r\n.\r\n");
        assert_eq!(wire(&["a\r\n.\r\n"]), "a\r\n..\r\n.\r\n");
    }

    #[test]
    fn nothing_in_a_message_can_end_it() {
        assert_eq!(wire(&["a\n.\nb\r.\rc\r"]), "a\r\n..\r\nb\r\n..\r\nc\r\n.\r\n");
        assert_eq!(wire(&["a\r", "\r\n.\n\n"]), "a\r\n\r\n..\r\n\r\n.\r\n");
    }

    #[test]
    fn long_runs_are_slices() {
        let body = Bytes::from(format!("{}\r\n", "x".repeat(98)).repeat(1000));
        let (start, end) = (body.as_ptr(), body.len());
        let pieces: Vec<Bytes> = DotEncoder::new(vec![body]).collect();
        assert_eq!(pieces[0].as_ptr(), start);
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE_MAX));
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), end + 3);
    }

    proptest! {
        #[test]
        fn the_end_comes_once_and_last(text in "[\r\n.a]{0,60}", cut in 1_usize..10) {
            let pieces: Vec<&str> = text.as_bytes().chunks(cut).map(|c| std::str::from_utf8(c).unwrap()).collect();
            let out = format!("\r\n{}", wire(&pieces));
            prop_assert_eq!(out.find("\r\n.\r\n"), Some(out.len() - 5));
            let lines = out.replace("\r\n", "");
            prop_assert!(!lines.contains(['\r', '\n']));
            prop_assert_eq!(wire(&[&text]), wire(&pieces));
            // The same when the pieces come one by one.
            let mut encoder = DotEncoder::open(Vec::new());
            let mut later = Vec::new();
            for piece in &pieces {
                encoder.push(vec![Bytes::copy_from_slice(piece.as_bytes())]);
                later.extend(encoder.by_ref().flatten());
            }
            encoder.end();
            later.extend(encoder.by_ref().flatten());
            prop_assert!(encoder.is_done());
            prop_assert_eq!(String::from_utf8(later).unwrap(), wire(&pieces));
        }
    }
}
