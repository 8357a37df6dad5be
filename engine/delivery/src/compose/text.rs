//! A message taken apart at the end of its header, so that fields can be counted, added and removed.
//! The rest of the message is never copied.

use super::date;
use bytes::{Bytes, BytesMut};
use estafette_mime::{field_values, fields};

/// Bytes in which the header has to end. Of a message with a longer one, no field is added or removed below
/// the trace fields, and only what lies before is counted.
pub const HEADER_MAX_BYTES: usize = 1024 * 1024;

/// A message in two parts.
#[derive(Clone, Debug)]
pub struct Text {
    header: Bytes,
    /// The header ends where it should: with an empty line, or with the message.
    whole: bool,
    rest: Vec<Bytes>,
}

impl Text {
    /// Takes a message apart: the header with its last line end, and the rest from the empty line on.
    pub fn split(pieces: Vec<Bytes>) -> Text {
        let mut gathered = BytesMut::new();
        let mut pieces = pieces.into_iter();
        while let Some(piece) = pieces.next() {
            let from = gathered.len().saturating_sub(3);
            // Usually the whole header lies in the first piece.
            let first = gathered.is_empty();
            if first && let Some(end) = header_end(&piece, 0) {
                let mut piece = piece;
                let header = piece.split_to(end);
                return Text { header, whole: true, rest: std::iter::once(piece).chain(pieces).collect() };
            }
            gathered.extend_from_slice(&piece);
            if let Some(end) = header_end(&gathered, from) {
                let header = gathered.split_to(end).freeze();
                let rest = std::iter::once(gathered.freeze()).chain(pieces).collect();
                return Text { header, whole: true, rest };
            }
            if gathered.len() > HEADER_MAX_BYTES {
                return Text { header: gathered.freeze(), whole: false, rest: pieces.collect() };
            }
        }
        Text { header: gathered.freeze(), whole: true, rest: Vec::new() }
    }

    /// True if the header may go on in pieces that are still to come.
    pub fn is_open(&self) -> bool {
        self.whole && self.rest.is_empty()
    }

    /// The pieces again.
    pub fn into_pieces(self) -> Vec<Bytes> {
        std::iter::once(self.header).chain(self.rest).filter(|piece| !piece.is_empty()).collect()
    }

    /// Received fields: the servers that the message has come through (RFC 5321 §6.3).
    pub fn hops(&self) -> usize {
        field_values(&self.header, "Received").count()
    }

    /// Makes a submitted message whole (RFC 6409 §8): adds Date and Message-ID where they are missing,
    /// removes Bcc. `name`: the left half of a new Message-ID, not used before.
    pub fn complete_submission(&mut self, time_ms: u64, name: &str, hostname: &str) {
        if !self.whole {
            return;
        }
        let has = |name: &str| field_values(&self.header, name).next().is_some();
        let mut added = String::new();
        if !has("Date") {
            added.push_str(&format!("Date: {}\r\n", date(time_ms)));
        }
        if !has("Message-ID") {
            added.push_str(&format!("Message-ID: <{}@{}>\r\n", super::word(name), super::word(hostname)));
        }
        if added.is_empty() && !has("Bcc") {
            return;
        }
        let mut header = BytesMut::with_capacity(self.header.len() + added.len());
        for field in fields(&self.header).filter(|field| !field.is("Bcc")) {
            header.extend_from_slice(field.raw());
        }
        if header.last().is_some_and(|last| *last != b'\n') {
            header.extend_from_slice(b"\r\n");
        }
        header.extend_from_slice(added.as_bytes());
        self.header = header.freeze();
        // Without a header there was no empty line either.
        if self.rest.is_empty() {
            self.rest.push(Bytes::from_static(b"\r\n"));
        }
    }

    /// The message with these fields on top; each ends with a line end.
    pub fn under(self, trace: impl IntoIterator<Item = Bytes>) -> Vec<Bytes> {
        // A message that begins with its body gets an empty line below the new fields.
        let bare = self.header.is_empty() && !starts_with_line_end(&self.rest);
        let separator = bare.then(|| Bytes::from_static(b"\r\n"));
        let pieces = trace.into_iter().chain([self.header]).chain(separator).chain(self.rest);
        pieces.filter(|piece| !piece.is_empty()).collect()
    }
}

fn starts_with_line_end(pieces: &[Bytes]) -> bool {
    let first = pieces.iter().flatten().take(2).copied().collect::<Vec<u8>>();
    first == *b"\r\n"
}

/// Where the header ends: after the line end before the empty line, or at once when the message begins
/// with it. Looks from `from` on.
fn header_end(text: &[u8], from: usize) -> Option<usize> {
    if text.starts_with(b"\r\n") {
        return Some(0);
    }
    let tail = text.get(from..)?;
    memchr::memmem::find(tail, b"\r\n\r\n").map(|at| from + at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: &str = "From: a@example.org\r\nbcc: x@example.org,\r\n y@example.org\r\nReceived: 1\r\n\
                         Subject: s\r\nReceived: 2\r\nBCC : z\r\n\r\nBcc: body\r\nDate: body\r\n";

    fn pieces(text: &str, size: usize) -> Vec<Bytes> {
        text.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect()
    }

    fn text(pieces: Vec<Bytes>) -> String {
        String::from_utf8(pieces.concat()).unwrap()
    }

    #[test]
    fn a_submission_is_made_whole() {
        for size in [1, 2, 3, 7, 50, 1000] {
            let mut split = Text::split(pieces(WHOLE, size));
            assert_eq!(split.hops(), 2);
            split.complete_submission(1_800_000_000_000, "1.2", "mx.example.net");
            let top = Bytes::from_static(b"Received: 0\r\n");
            assert_eq!(
                text(split.under([top])),
                "Received: 0\r\nFrom: a@example.org\r\nReceived: 1\r\nSubject: s\r\nReceived: 2\r\n\
                 Date: Fri, 15 Jan 2027 08:00:00 +0000\r\nMessage-ID: <1.2@mx.example.net>\r\n\
                 \r\nBcc: body\r\nDate: body\r\n"
            );
        }
    }

    #[test]
    fn what_is_whole_stays_as_it_is() {
        let given = "Date: x\r\nMessage-Id: <y>\r\n\r\nbody";
        let mut split = Text::split(pieces(given, 5));
        split.complete_submission(0, "n", "h");
        assert_eq!(text(split.under([])), given);
    }

    #[test]
    fn odd_messages() {
        let complete = |given: &str| {
            let mut split = Text::split(pieces(given, 4));
            split.complete_submission(0, "n", "h");
            text(split.under([Bytes::from_static(b"A: b\r\n")]))
        };
        let added = "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\nMessage-ID: <n@h>\r\n";
        assert_eq!(complete(""), format!("A: b\r\n{added}\r\n"));
        assert_eq!(complete("\r\nbody"), format!("A: b\r\n{added}\r\nbody"));
        assert_eq!(complete("Subject: x"), format!("A: b\r\nSubject: x\r\n{added}\r\n"));
        // No empty line at all: all of it is header.
        assert_eq!(complete("Subject: x\r\n"), format!("A: b\r\nSubject: x\r\n{added}\r\n"));
        assert_eq!(text(Text::split(pieces("", 1)).under([Bytes::from_static(b"A: b\r\n")])), "A: b\r\n\r\n");
    }

    #[test]
    fn an_endless_header_is_left_alone() {
        let given = "X: y\r\n".repeat(400_000);
        let mut split = Text::split(pieces(&given, 65_536));
        split.complete_submission(0, "n", "h");
        assert_eq!(text(split.under([])), given);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(given in "[a:\r\n \u{e9}]{0,80}", size in 1..9usize) {
            let split = Text::split(pieces(&given, size).into_iter().collect());
            prop_assume!(!split.header.is_empty());
            let together = split.under([]).concat();
            prop_assert_eq!(together, given.as_bytes());
        }
    }
}
