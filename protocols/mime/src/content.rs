//! The Content-* fields of a part (RFC 2045, 2183, 2231, 3282, 2557, 1864).

use crate::cursor::{After, Cursor};
use crate::text::shown;
use crate::{BOUNDARY_MAX_BYTES, Disposition, PARAMETERS_MAX, Parameter};
use bytes::Bytes;

/// `type/subtype; parameters`.
#[derive(Debug)]
pub(crate) struct ContentType {
    pub(crate) media_type: Bytes,
    pub(crate) subtype: Bytes,
    pub(crate) parameters: Vec<Parameter>,
}

impl ContentType {
    /// Never fails: what names no type and subtype is `text/plain` when it says `text` or nothing
    /// (RFC 2045 §5.2), and `application/octet-stream` when it says anything else.
    pub(crate) fn parse(value: &[u8]) -> ContentType {
        let mut cursor = Cursor::new(value);
        let (mut media_type, mut subtype) = (Vec::new(), Vec::new());
        cursor.skip_cfws();
        if cursor.token(&mut media_type) == After::More && cursor.peek() == Some(b'/') {
            cursor.advance();
            cursor.skip_cfws();
            cursor.token(&mut subtype);
        }
        let (media_type, subtype) = if !media_type.is_empty() && !subtype.is_empty() {
            (Bytes::from(media_type), Bytes::from(subtype))
        } else if media_type.is_empty() || media_type.eq_ignore_ascii_case(b"text") {
            (Bytes::from_static(b"text"), Bytes::from_static(b"plain"))
        } else {
            (Bytes::from_static(b"application"), Bytes::from_static(b"octet-stream"))
        };
        ContentType { media_type, subtype, parameters: parameters(&mut cursor) }
    }

    pub(crate) fn is(&self, media_type: &str, subtype: &str) -> bool {
        self.media_type.eq_ignore_ascii_case(media_type.as_bytes())
            && self.subtype.eq_ignore_ascii_case(subtype.as_bytes())
    }

    pub(crate) fn is_multipart(&self) -> bool {
        self.media_type.eq_ignore_ascii_case(b"multipart")
    }

    /// The boundary, cut to what is compared.
    pub(crate) fn boundary(&self) -> Option<Bytes> {
        let found = self.parameters.iter().find(|p| p.name.eq_ignore_ascii_case(b"boundary"))?;
        Some(found.value.slice(..found.value.len().min(BOUNDARY_MAX_BYTES)))
    }
}

/// Content-Disposition; `None` when nothing of it can be read.
pub(crate) fn disposition(value: &[u8]) -> Option<Disposition> {
    let mut cursor = Cursor::new(value);
    let mut kind = Vec::new();
    cursor.skip_cfws();
    if cursor.token(&mut kind) == After::Broken {
        return None;
    }
    Some(Disposition { kind: Bytes::from(kind), parameters: parameters(&mut cursor) })
}

/// Content-Transfer-Encoding: one token and nothing else.
pub(crate) fn transfer_encoding(value: &[u8]) -> Option<Bytes> {
    let mut cursor = Cursor::new(value);
    let mut token = Vec::new();
    cursor.skip_cfws();
    let whole = cursor.token(&mut token) == After::End;
    (whole && !token.is_empty()).then(|| Bytes::from(token))
}

/// The tags of Content-Language.
pub(crate) fn languages(value: &[u8]) -> Vec<Bytes> {
    let mut cursor = Cursor::new(value);
    let mut found = Vec::new();
    cursor.skip_cfws();
    while found.len() < PARAMETERS_MAX {
        let mut tag = Vec::new();
        if cursor.atom(&mut tag) == After::Broken {
            break;
        }
        found.push(Bytes::from(tag));
        if cursor.peek() != Some(b',') {
            break;
        }
        cursor.advance();
        cursor.skip_cfws();
    }
    found
}

/// A piece of a parameter that is spread over several (RFC 2231 §3).
struct Piece {
    name: Vec<u8>,
    number: u32,
    extended: bool,
    value: Vec<u8>,
}

/// `*(";" name "=" value)`; the first semicolon may be missing. What is malformed is passed over up to
/// the next semicolon. Pieces of one parameter are joined (RFC 2231 §6: IMAP servers do so) and come last; their escapes stay.
fn parameters(cursor: &mut Cursor<'_>) -> Vec<Parameter> {
    let mut found = Vec::new();
    let mut pieces = Vec::new();
    let mut first = true;
    while cursor.peek().is_some() && found.len() + pieces.len() < PARAMETERS_MAX {
        let start = cursor.position();
        let separated = cursor.peek() == Some(b';');
        if separated {
            cursor.advance();
            cursor.skip_cfws();
        }
        let read = if separated || first { parameter(cursor) } else { None };
        first = false;
        match read {
            Some((name, value)) => match piece_of(&name) {
                Some((stem, number, extended)) => {
                    pieces.push(Piece { name: stem.to_vec(), number, extended, value });
                }
                None => found.push(Parameter { name: Bytes::from(name), value: shown(&value) }),
            },
            None if cursor.position() > start && cursor.peek() == Some(b';') => {}
            None => cursor.advance(),
        }
    }
    join_pieces(pieces, &mut found);
    found
}

fn parameter(cursor: &mut Cursor<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut name, mut value) = (Vec::new(), Vec::new());
    if cursor.token(&mut name) != After::More || cursor.peek() != Some(b'=') {
        return None;
    }
    cursor.advance();
    let after = match cursor.skip_cfws() {
        After::More => match cursor.peek() {
            Some(b'"') => cursor.quoted_string(&mut value),
            // `name==?utf-8?b?…?=`, an encoded word where none may be.
            Some(b'=') => {
                cursor.take_while(&mut value, |b| !matches!(b, b';' | b' ' | b'\t' | b'\r' | b'\n'));
                After::More
            }
            _ => cursor.token(&mut value),
        },
        after => after,
    };
    (after != After::Broken).then_some((name, value))
}

/// `name*`, `name*3`, `name*3*`: the name, the number and whether the value is extended.
fn piece_of(name: &[u8]) -> Option<(&[u8], u32, bool)> {
    let star = name.iter().position(|&b| b == b'*')?;
    let (stem, tail) = name.split_at_checked(star)?;
    let tail = tail.get(1..)?;
    if tail.is_empty() {
        return Some((stem, 0, true));
    }
    let (digits, extended) = match tail.split_last() {
        Some((b'*', digits)) => (digits, true),
        _ => (tail, false),
    };
    let mut number = 0u32;
    for &digit in digits {
        let value = u32::from(digit.checked_sub(b'0').filter(|d| *d < 10)?);
        number = number.checked_mul(10)?.checked_add(value)?;
    }
    Some((stem, number, extended))
}

fn join_pieces(mut pieces: Vec<Piece>, found: &mut Vec<Parameter>) {
    pieces.sort_by(|a, b| a.name.cmp(&b.name).then(a.number.cmp(&b.number)));
    for group in pieces.chunk_by(|a, b| a.name.eq_ignore_ascii_case(&b.name)) {
        let extended = group.iter().any(|p| p.extended);
        if !(0u32..).zip(group).all(|(number, piece)| piece.number == number) {
            // A piece is missing: each is shown as it came.
            for piece in group {
                let star = if piece.extended { "*" } else { "" };
                let number = format!("*{}{star}", piece.number);
                let name = Bytes::from([piece.name.as_slice(), number.as_bytes()].concat());
                found.push(Parameter { name, value: shown(&piece.value) });
            }
            continue;
        }
        let mut value = Vec::new();
        if extended && group.first().is_some_and(|p| !p.extended) {
            value.extend_from_slice(b"''");
        }
        for piece in group {
            if extended && !piece.extended {
                for &byte in &piece.value {
                    match byte {
                        b'%' => value.extend_from_slice(b"%25"),
                        _ => value.push(byte),
                    }
                }
            } else {
                value.extend_from_slice(&piece.value);
            }
        }
        let mut name = group.first().map(|p| p.name.clone()).unwrap_or_default();
        if extended {
            name.push(b'*');
        }
        found.push(Parameter { name: Bytes::from(name), value: shown(&value) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> (String, Vec<String>) {
        let parsed = ContentType::parse(value.as_bytes());
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let parameters = parsed.parameters.iter().map(|p| format!("{}={}", text(&p.name), text(&p.value)));
        (format!("{}/{}", text(&parsed.media_type), text(&parsed.subtype)), parameters.collect())
    }

    fn check(value: &str, media: &str, parameters: &[&str]) {
        let (found_media, found) = read(value);
        assert_eq!(found_media, media, "{value}");
        assert_eq!(found, parameters, "{value}");
    }

    #[test]
    fn types_and_parameters() {
        check("text/plain; charset=us-ascii (Plain text)", "text/plain", &["charset=us-ascii"]);
        check("text/plain; charset=\"us-\\\"ascii\" ; x = y", "text/plain", &["charset=us-\"ascii", "x=y"]);
        check("Text / HTML", "Text/HTML", &[]);
        check("text; charset=x", "text/plain", &["charset=x"]);
        check("image", "application/octet-stream", &[]);
        check("multipart/; boundary=x", "application/octet-stream", &["boundary=x"]);
        check("", "text/plain", &[]);
        check("text/plain charset=x y=z; a=b", "text/plain", &["charset=x", "a=b"]);
        check("text/plain; name=a b.txt; c=d", "text/plain", &["name=a", "c=d"]);
        check("text/plain; ; charset=x; name=\"open", "text/plain", &["charset=x"]);
        check("text/plain; name==?utf-8?q?a?=; c=", "text/plain", &["name==?utf-8?q?a?=", "c="]);
    }

    #[test]
    fn parameters_in_pieces_are_joined() {
        check("a/b; f*=utf-8''%41", "a/b", &["f*=utf-8''%41"]);
        check("a/b; f*1=def; c=d; f*0=abc", "a/b", &["c=d", "f=abcdef"]);
        check("a/b; f*0*=utf-8''%41; f*1=5%", "a/b", &["f*=utf-8''%415%25"]);
        check("a/b; f*0=x; f*2=y", "a/b", &["f*0=x", "f*2=y"]);
        check("a/b; f*99999999999=x; f*x=y", "a/b", &["f*99999999999=x", "f*x=y"]);
    }

    #[test]
    fn other_fields() {
        assert_eq!(transfer_encoding(b" base64 (so)").as_deref(), Some(&b"base64"[..]));
        assert_eq!(transfer_encoding(b"base64; x"), None);
        assert_eq!(transfer_encoding(b""), None);
        assert_eq!(languages(b"en, de-AT (Austria)"), ["en", "de-AT"]);
        let found = disposition(b"attachment; filename=\"a b\"").map(|d| (d.kind, d.parameters.len()));
        assert_eq!(found, Some((Bytes::from_static(b"attachment"), 1)));
    }

    #[test]
    fn many_parameters_are_bounded() {
        assert_eq!(read(&format!("a/b{}", "; x=y".repeat(100_000))).1.len(), PARAMETERS_MAX);
        assert!(read(&format!("a/b{}", "; x*=y".repeat(100_000))).1.len() <= PARAMETERS_MAX);
        for piece in [";", "=", "\"", "a", ";a", ";a=(", "*"] {
            let _ = read(&format!("a/b{}", piece.repeat(300_000)));
        }
    }
}
