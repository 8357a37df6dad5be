//! How values of header fields are made into strings that IMAP can show.

use bytes::Bytes;

/// U+FFFD in UTF-8: what NUL is shown as, for no IMAP string can hold it (RFC 9051 §9, CHAR8).
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// A value without line ends, and without NUL.
pub(crate) fn shown(value: &[u8]) -> Bytes {
    if !value.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')) {
        return Bytes::copy_from_slice(value);
    }
    let mut out = Vec::with_capacity(value.len());
    for &byte in value {
        match byte {
            0 => out.extend_from_slice(REPLACEMENT),
            b'\r' | b'\n' => {}
            _ => out.push(byte),
        }
    }
    Bytes::from(out)
}

/// The same, for texts that people read (subject, names): white space is one space, none at the end
/// nor at the start.
pub(crate) fn shown_to_people(value: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(value.len());
    for &byte in value {
        match byte {
            0 => out.extend_from_slice(REPLACEMENT),
            b'\r' | b'\n' => {}
            b' ' | b'\t' if matches!(out.last(), None | Some(b' ')) => {}
            b'\t' => out.push(b' '),
            _ => out.push(byte),
        }
    }
    if out.last() == Some(&b' ') {
        out.pop();
    }
    Bytes::from(out)
}

/// The value of a field as it is parsed: the space after the colon taken off. Of a value that is
/// nothing but space, only the first is.
pub(crate) fn without_leading_space(value: &[u8]) -> &[u8] {
    match value.iter().position(|b| !matches!(b, b' ' | b'\t')) {
        Some(start) => value.get(start..).unwrap_or_default(),
        None => value.get(1..).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_can_be_shown() {
        assert_eq!(shown(b"a\r\n\tb\0c"), "a\tb\u{fffd}c".as_bytes());
        assert_eq!(shown_to_people(b"  a \t b\n  c \xe9 "), b"a b c \xe9"[..]);
        assert_eq!(shown_to_people(b" \t "), b""[..]);
        assert_eq!(without_leading_space(b"  a "), b"a ");
        assert_eq!(without_leading_space(b"  "), b" ");
        assert_eq!(without_leading_space(b""), b"");
    }
}
