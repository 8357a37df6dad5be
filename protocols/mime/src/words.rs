//! Encoded words (RFC 2047) and the bytes of header values, as text.

use encoding_rs::Encoding;
use std::borrow::Cow;

/// An encoded word: charset, `B` or `Q`, encoded text.
struct Word<'a> {
    charset: &'a [u8],
    base64: bool,
    text: &'a [u8],
}

/// A header value as text: unfolded, encoded words decoded, at most `limit` bytes. Never fails: what
/// cannot be decoded stays as it is, bytes that are no text become U+FFFD. Most values have nothing to be
/// decoded and are given as they stand.
pub fn decode_words(value: &[u8], limit: usize) -> Cow<'_, str> {
    let bare = value.trim_ascii();
    if bare.len() <= limit
        && memchr::memchr3(b'\r', b'\n', b'?', bare).is_none()
        && let Ok(text) = std::str::from_utf8(bare)
    {
        return text.into();
    }
    decoded(value, limit).into()
}

fn decoded(value: &[u8], limit: usize) -> String {
    let value = crate::unfolded(value);
    let mut out = String::new();
    // Bytes of adjacent words in one charset, joined: a character may be cut between two words.
    let mut pending: Option<(&'static Encoding, Vec<u8>)> = None;
    let mut plain_start = 0;
    let mut at = 0;
    while out.len() < limit {
        let Some(found) = value.get(at..).and_then(|rest| memchr::memmem::find(rest, b"=?")) else { break };
        at += found;
        let Some((word, end)) = word_at(&value, at) else {
            at += 2;
            continue;
        };
        let Some(encoding) = encoding_of(word.charset) else {
            at = end;
            continue;
        };
        let between = value.get(plain_start..at).unwrap_or_default();
        // White space between two encoded words is not shown (RFC 2047 §6.2).
        let adjacent = pending.is_some() && between.trim_ascii().is_empty();
        if !adjacent || pending.as_ref().is_some_and(|(known, _)| *known != encoding) {
            flush(&mut pending, &mut out);
        }
        if !adjacent {
            out.push_str(&plain(between));
        }
        let (_, bytes) = pending.get_or_insert_with(|| (encoding, Vec::new()));
        decode_word(&word, bytes);
        at = end;
        plain_start = end;
    }
    flush(&mut pending, &mut out);
    out.push_str(&plain(value.get(plain_start..).unwrap_or_default()));
    crate::body::cut(&mut out, limit);
    out
}

/// The encoding that a charset label names; `None` when it is not known.
pub(crate) fn encoding_of(label: &[u8]) -> Option<&'static Encoding> {
    Encoding::for_label(label).or_else(|| {
        let lower = label.to_ascii_lowercase();
        matches!(lower.as_slice(), b"us-ascii" | b"ascii" | b"utf8" | b"unknown-8bit" | b"default")
            .then_some(encoding_rs::UTF_8)
    })
}

/// Bytes that name no charset: UTF-8 when they are that, else Windows-1252, its superset of Latin-1.
pub(crate) fn plain(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}

fn flush(pending: &mut Option<(&'static Encoding, Vec<u8>)>, out: &mut String) {
    if let Some((encoding, bytes)) = pending.take() {
        out.push_str(&encoding.decode_without_bom_handling(&bytes).0);
    }
}

/// The word at `=?`, and where it ends. White space within the text is let through for `Q`, as many
/// programs write it.
fn word_at(value: &[u8], start: usize) -> Option<(Word<'_>, usize)> {
    /// A charset and a language are far shorter; more than this is no encoded word.
    const LABEL_MAX_BYTES: usize = 80;
    let charset_start = start.checked_add(2)?;
    let rest = value.get(charset_start..)?;
    let label_end = memchr::memchr(b'?', rest.get(..LABEL_MAX_BYTES.min(rest.len()))?)?;
    let label = rest.get(..label_end)?;
    if label.is_empty() || label.iter().any(u8::is_ascii_whitespace) {
        return None;
    }
    let kind = rest.get(label_end.checked_add(1)?)?;
    if rest.get(label_end.checked_add(2)?) != Some(&b'?') {
        return None;
    }
    let text_start = label_end.checked_add(3)?;
    let text = rest.get(text_start..)?;
    let text_end = memchr::memchr(b'?', text)?;
    if text.get(text_end.checked_add(1)?) != Some(&b'=') {
        return None;
    }
    // RFC 2231 §5: charset*language.
    let charset = label.split(|b| *b == b'*').next().unwrap_or(label);
    let base64 = match kind {
        b'B' | b'b' => true,
        b'Q' | b'q' => false,
        _ => return None,
    };
    let end = charset_start.checked_add(text_start)?.checked_add(text_end)?.checked_add(2)?;
    Some((Word { charset, base64, text: text.get(..text_end)? }, end))
}

fn decode_word(word: &Word<'_>, out: &mut Vec<u8>) {
    if word.base64 {
        crate::body::Base64::default().decode(word.text, out);
        return;
    }
    let mut bytes = word.text.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'_' => out.push(b' '),
            b'=' => {
                let mut ahead = bytes.clone();
                match (ahead.next().and_then(|b| hex(*b)), ahead.next().and_then(|b| hex(*b))) {
                    (Some(high), Some(low)) => {
                        out.push(high << 4 | low);
                        bytes = ahead;
                    }
                    _ => out.push(byte),
                }
            }
            _ => out.push(byte),
        }
    }
}

/// The value of a hexadecimal digit.
pub(crate) fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, text: &str) {
        assert_eq!(decode_words(value.as_bytes(), 1000), text, "{value}");
    }

    #[test]
    fn examples_of_rfc_2047() {
        check("=?US-ASCII?Q?Keith_Moore?= <moore@cs.example>", "Keith Moore <moore@cs.example>");
        check("(=?ISO-8859-1?Q?a?= b)", "(a b)");
        check("(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)");
        check("(=?ISO-8859-1?Q?a?=\r\n   =?ISO-8859-2?Q?_b?=)", "(a b)");
        check("=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=", "If you can read this yo");
        check("=?iso-8859-1*de?q?J=FCrgen?=", "Jürgen");
    }

    #[test]
    fn odd_words() {
        check("=?utf-8?B?4oK?= =?utf-8?b?rA==?=", "€");
        check("=?x-none?q?a?= b", "=?x-none?q?a?= b");
        check("=?utf-8?x?a?=", "=?utf-8?x?a?=");
        check("=?utf-8?q?open", "=?utf-8?q?open");
        check("=?utf-8?q?a=4?= =?", "a=4 =?");
        check("=?=?=?", "=?=?=?");
        assert_eq!(decode_words(b"J\xfcrgen", 100), "Jürgen");
        assert_eq!(decode_words("Jürgen".as_bytes(), 2), "J");
    }

    #[test]
    fn what_needs_no_decoding_is_given_as_it_stands() {
        for value in ["", " plain ", "\tGrüße aus Köln", "a = b", "a\0b"] {
            assert!(matches!(decode_words(value.as_bytes(), 100), Cow::Borrowed(_)), "{value}");
            assert_eq!(decode_words(value.as_bytes(), 100), decoded(value.as_bytes(), 100), "{value}");
        }
    }

    #[test]
    fn hostile_values_take_linear_time() {
        for piece in ["=?", "=?a?q?", "=?utf-8?q??=", "=?utf-8?q?=?= ", "?=", "=?utf-8?b?"] {
            let _ = decode_words(piece.repeat(200_000).as_bytes(), usize::MAX);
        }
    }
}
