//! The fields of a raw header block, as they stand in the message.
//!
//! A field is a line and the lines after it that begin with white space. Nothing is left out: a line
//! without a colon is a field that is all name, so that joining all fields gives the block again.

use bytes::{Bytes, BytesMut};
use std::ops::Range;

/// One field; ranges count bytes from the start of the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    block: &'a [u8],
    /// All of it, with its line ends.
    pub raw: Range<usize>,
    /// Its name, without the white space before the colon.
    pub name: Range<usize>,
    /// What is after the colon, folded as it is, without the last line end.
    pub value: Range<usize>,
}

impl<'a> Field<'a> {
    /// The bytes of the name.
    pub fn name(&self) -> &'a [u8] {
        self.block.get(self.name.clone()).unwrap_or_default()
    }

    /// The bytes of the value, still folded.
    pub fn value(&self) -> &'a [u8] {
        self.block.get(self.value.clone()).unwrap_or_default()
    }

    /// All bytes of the field.
    pub fn raw(&self) -> &'a [u8] {
        self.block.get(self.raw.clone()).unwrap_or_default()
    }

    /// Whether it has this name, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The fields of a header block in order, up to its empty line or its end.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    block: &'a [u8],
    at: usize,
}

/// The fields of a raw header block (with or without the empty line that ends it).
pub fn fields(block: &[u8]) -> Fields<'_> {
    Fields { block, at: 0 }
}

/// The values of all fields of a name, in order, still folded.
pub fn field_values<'a>(block: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    fields(block).filter(move |field| field.is(name)).map(|field| field.value())
}

/// A value without its line ends and without the white space around it (RFC 5322 §2.2.3).
pub fn unfolded(value: &[u8]) -> Vec<u8> {
    let out: Vec<u8> = value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    out.trim_ascii().to_vec()
}

impl<'a> Fields<'a> {
    /// The end of the line at `start`, after its line feed.
    fn line_end(&self, start: usize) -> usize {
        let rest = self.block.get(start..).unwrap_or_default();
        memchr::memchr(b'\n', rest).map_or(self.block.len(), |at| start.saturating_add(at).saturating_add(1))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let start = self.at;
        let mut end = self.line_end(start);
        let first = self.block.get(start..end)?;
        if matches!(first, b"" | b"\n" | b"\r\n") {
            self.at = self.block.len();
            return None;
        }
        let colon = memchr::memchr(b':', first);
        while matches!(self.block.get(end), Some(b' ' | b'\t')) {
            end = self.line_end(end);
        }
        self.at = end;
        let mut value_end = end;
        for line_end in [b'\n', b'\r'] {
            let last = value_end.saturating_sub(1);
            if last > start && self.block.get(last) == Some(&line_end) {
                value_end = last;
            }
        }
        let name_end = colon.map_or(value_end, |at| start.saturating_add(at));
        let value_start = colon.map_or(value_end, |_| name_end.saturating_add(1));
        let name = self.block.get(start..name_end).unwrap_or_default().trim_ascii_end();
        Some(Field {
            block: self.block,
            raw: start..end,
            name: start..start.saturating_add(name.len()),
            value: value_start..value_end.max(value_start),
        })
    }
}

/// Which fields of a header are wanted (RFC 9051 §6.4.5, `HEADER.FIELDS` and `HEADER.FIELDS.NOT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// Those that are named.
    Named,
    /// All others.
    NotNamed,
}

/// The wanted fields of a header block as they stand, and the empty line that ends them; the latter
/// is left out of all-but-named fields when the block has none.
pub fn select_fields<N: AsRef<[u8]>>(block: &[u8], names: &[N], select: Select) -> Bytes {
    let mut out = BytesMut::new();
    let mut end = 0;
    for field in fields(block) {
        let named = names.iter().any(|name| field.name().eq_ignore_ascii_case(name.as_ref()));
        if named == (select == Select::Named) {
            out.extend_from_slice(field.raw());
        }
        end = field.raw.end;
    }
    if select == Select::Named || end < block.len() {
        // A header that ends without a line end gets one, so that the empty line is one.
        if out.last().is_some_and(|b| *b != b'\n') {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: &[u8] =
        b"Subject : one\r\n  two\r\nno colon\r\nX-A:\r\nsubject:three\nTo: a\r\n\r\nbody: x\r\n";

    #[test]
    fn fields_in_order() {
        let found: Vec<_> = fields(BLOCK).map(|f| (f.name(), f.value())).collect();
        let expected: Vec<(&[u8], &[u8])> = vec![
            (b"Subject", b" one\r\n  two"),
            (b"no colon", b""),
            (b"X-A", b""),
            (b"subject", b"three"),
            (b"To", b" a"),
        ];
        assert_eq!(found, expected);
        assert_eq!(
            field_values(BLOCK, "SUBJECT").map(unfolded).collect::<Vec<_>>(),
            [&b"one  two"[..], b"three"]
        );
    }

    #[test]
    fn subsets_as_they_stand() {
        let named = select_fields(BLOCK, &["SUBJECT"], Select::Named);
        assert_eq!(named, b"Subject : one\r\n  two\r\nsubject:three\n\r\n"[..]);
        let others = select_fields(BLOCK, &["subject", "to"], Select::NotNamed);
        assert_eq!(others, b"no colon\r\nX-A:\r\n\r\n"[..]);
        assert_eq!(select_fields(b"A: b", &["a"], Select::Named), b"A: b\r\n\r\n"[..]);
        assert_eq!(select_fields(b"", &["a"], Select::Named), b"\r\n"[..]);
    }

    proptest! {
        #[test]
        fn nothing_is_left_out(block in "[a: \r\n\t\u{0}\u{e9}]{0,60}") {
            let bytes = block.as_bytes();
            let mut at = 0;
            for field in fields(bytes) {
                prop_assert_eq!(field.raw.start, at);
                prop_assert!(field.name.end <= field.value.start || field.value.is_empty());
                prop_assert!(field.value.end <= field.raw.end);
                at = field.raw.end;
            }
            let rest = &bytes[at..];
            prop_assert!(rest.is_empty() || rest.starts_with(b"\n") || rest.starts_with(b"\r\n"));
        }
    }
}
