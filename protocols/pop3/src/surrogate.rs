//! What a client that has not said UTF8 gets of an internationalized message (RFC 6856 §2.1): the message
//! with a header in ASCII, made as RFC 6858 says.
//!
//! Such a message is one that came by SMTPUTF8, as its newest Received field tells (RFC 6531 §4.3). Raw
//! 8-bit bytes in other headers are nobody's promise and are sent as they are stored, as every server
//! does. The headers of parts are not looked at.
//!
//! - Addresses outside ASCII become [`INVALID`], with what they were as the display name.
//! - Subject and other texts for people become encoded words (RFC 2047).
//! - Parameters of Content-Type and Content-Disposition outside ASCII are left out.
//! - Other fields outside ASCII are left out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use estafette_mime::{EnvelopeAddress, Field, Structure, decode_words, fields};

/// In place of an address that cannot be told (RFC 6858 §2.1).
const INVALID: &str = "invalid@internationalized-address.invalid";
/// Bytes of UTF-8 of one encoded word, so that it has at most 75 characters (RFC 2047 §2).
const WORD_BYTES: usize = 45;
/// The longest text that is encoded, in bytes.
const TEXT_MAX_BYTES: usize = 16 * 1024;

/// How a message begins for such a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// As it is stored.
    Stored,
    /// With this in place of its first bytes.
    Surrogate { header: Vec<u8>, replaced: usize },
    /// The header does not end within what was read.
    TooLong,
}

impl Head {
    /// Looks at the first pieces of a message; `whole`: there are no others.
    pub(crate) fn of(pieces: &[Bytes], whole: bool) -> Head {
        let joined;
        let first = match pieces {
            [one] => one,
            [one, ..] if header_length(one).is_some() => one,
            several => {
                joined = Bytes::from(several.concat());
                &joined
            }
        };
        let length = header_length(first);
        let header = first.get(..length.unwrap_or(first.len())).unwrap_or_default();
        if header.is_ascii() || !is_internationalized(header) {
            return Head::Stored;
        }
        if length.is_none() && !whole {
            return Head::TooLong;
        }
        Head::Surrogate { header: surrogate(header), replaced: header.len() }
    }
}

/// The bytes of the header without the empty line that ends it.
fn header_length(text: &[u8]) -> Option<usize> {
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', text) {
        if matches!(text.get(start..end), Some(b"" | b"\r")) {
            return Some(start);
        }
        start = end.saturating_add(1);
    }
    None
}

/// Came by SMTPUTF8: `with UTF8SMTPS` and the like in the Received field of this server.
fn is_internationalized(header: &[u8]) -> bool {
    let Some(newest) = fields(header).find(|field| field.is("Received")) else { return false };
    let words: Vec<&[u8]> =
        newest.value().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    words.windows(2).any(|pair| {
        matches!(pair, [with, protocol] if with.eq_ignore_ascii_case(b"with") && protocol.starts_with(b"UTF8"))
    })
}

fn surrogate(header: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.len());
    for field in fields(header) {
        if field.raw().is_ascii() {
            out.extend_from_slice(field.raw());
        } else if let Some(value) = downgraded(&field) {
            out.extend_from_slice(field.name());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

/// The value in ASCII, folded; `None` when the field is left out.
fn downgraded(field: &Field<'_>) -> Option<String> {
    const ADDRESSES: [&str; 6] = ["From", "Sender", "Reply-To", "To", "Cc", "Bcc"];
    const TEXTS: [&str; 4] = ["Subject", "Comments", "Content-Description", "Thread-Topic"];
    const PARAMETERS: [&str; 2] = ["Content-Type", "Content-Disposition"];
    let one_of = |names: &[&str]| names.iter().any(|name| field.is(name));
    if !field.name().is_ascii() {
        return None;
    }
    if one_of(&ADDRESSES) {
        Some(addresses(field.raw()))
    } else if one_of(&TEXTS) {
        Some(words(&decode_words(field.value(), TEXT_MAX_BYTES)))
    } else if one_of(&PARAMETERS) {
        Some(parameters(&estafette_mime::unfolded(field.value())))
    } else {
        None
    }
}

/// Encoded words, one a line.
fn words(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.floor_char_boundary(WORD_BYTES));
        if !out.is_empty() {
            out.push_str("\r\n ");
        }
        out.push_str("=?utf-8?b?");
        STANDARD.encode_string(word, &mut out);
        out.push_str("?=");
        rest = after;
    }
    out
}

/// The addresses of a field, one a line.
fn addresses(field: &[u8]) -> String {
    let structure = Structure::of([field]);
    let Some(envelope) = structure.envelope() else { return String::new() };
    let lists =
        [&envelope.from, &envelope.sender, &envelope.reply_to, &envelope.to, &envelope.cc, &envelope.bcc];
    let mut out = String::new();
    // Whether a comma comes before the next address.
    let mut after_address = false;
    for address in lists.into_iter().flatten() {
        let is_end = address.mailbox.is_none();
        if after_address && !is_end {
            out.push_str(",\r\n ");
        }
        after_address = is_end || address.host.is_some();
        out.push_str(&one_address(address));
    }
    out
}

fn one_address(address: &EnvelopeAddress) -> String {
    let text = |part: &Option<Bytes>| part.as_ref().map(|part| String::from_utf8_lossy(part).into_owned());
    let name = address.name.as_ref().map(|name| decode_words(name, TEXT_MAX_BYTES));
    match (text(&address.mailbox), text(&address.host)) {
        (Some(group), None) => format!("{}: ", phrase(&decode_words(group.as_bytes(), TEXT_MAX_BYTES))),
        (Some(local), Some(host)) if local.is_ascii() && host.is_ascii() => {
            let local = if is_dot_atom(&local) { local } else { quoted(&local) };
            let before = name.map(|name| phrase(&name) + " ").unwrap_or_default();
            format!("{before}<{local}@{host}>")
        }
        (Some(local), Some(host)) => {
            let before = name.map(|name| name + " ").unwrap_or_default();
            format!("{} <{INVALID}>", words(&format!("{before}<{local}@{host}>")))
        }
        (None, _) => ";".to_owned(),
    }
}

/// A display name (RFC 5322 §3.2.5). What was decoded may hold line ends: they never stand bare.
fn phrase(name: &str) -> String {
    let plain = name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if plain { quoted(name) } else { words(name) }
}

fn quoted(text: &str) -> String {
    let escaped: String =
        text.chars().flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c])).collect();
    format!("\"{escaped}\"")
}

fn is_dot_atom(text: &str) -> bool {
    let atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    text.split('.').all(|part| !part.is_empty() && part.chars().all(atom))
}

/// A value with those of its parameters that are ASCII.
fn parameters(value: &[u8]) -> String {
    let mut kept = Vec::new();
    let (mut start, mut in_quotes, mut escaped) = (0, false, false);
    for (at, byte) in value.iter().chain(b";").enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_quotes => escaped = true,
            b'"' => in_quotes = !in_quotes,
            b';' if !in_quotes || at == value.len() => {
                kept.extend(std::str::from_utf8(value.get(start..at).unwrap_or_default()).ok());
                start = at.saturating_add(1);
            }
            _ => {}
        }
    }
    kept.retain(|part| part.is_ascii() && !part.trim().is_empty());
    kept.iter().map(|part| part.trim()).collect::<Vec<_>>().join(";\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECEIVED: &str = "Received: from a ([192.0.2.1])\r\n\tby b with UTF8SMTPS id 1;\r\n\tnow\r\n";

    /// The header that is sent in place of this one.
    fn sent(header: &str) -> String {
        let text = format!("{RECEIVED}{header}\r\nbody \u{e9}\r\n");
        match Head::of(&[Bytes::from(text.clone())], true) {
            Head::Surrogate { header: surrogate, replaced } => {
                assert_eq!(replaced, RECEIVED.len() + header.len());
                let surrogate = String::from_utf8(surrogate).unwrap();
                assert!(
                    surrogate.is_ascii() && surrogate.lines().all(|line| line.len() < 200),
                    "{surrogate}"
                );
                surrogate.strip_prefix(RECEIVED).unwrap().to_owned()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_are_told_by_name_alone() {
        let (header, plain) =
            ("From: Jos\u{e9} <jos\u{e9}@example.org>\r\n", "Jos\u{e9} <jos\u{e9}@example.org>");
        let expected = format!("From: {} <{INVALID}>\r\n", words(plain));
        assert_eq!(sent(header), expected);
        assert_eq!(
            sent(
                "To: Zo\u{eb} <zoe@example.org>, \"A \\\"B\\\" C\"\r\n <\"a b\"@example.org>, z\u{eb}@example.org\r\n"
            ),
            format!(
                "To: =?utf-8?b?Wm/Dqw==?= <zoe@example.org>,\r\n \"A \\\"B\\\" C\" <\"a b\"@example.org>,\r\n {} <{INVALID}>\r\n",
                words("<z\u{eb}@example.org>")
            )
        );
        let line_end = "To: =?utf-8?q?a=0D=0ABcc=3A_b?= <a@example.org>, \u{e9}@example.org\r\n";
        assert_eq!(sent(line_end).lines().count(), 2);
        assert!(sent(line_end).starts_with(&format!("To: {} <a@example.org>,", words("a\r\nBcc: b"))));
        assert_eq!(
            sent("Cc: Gr\u{fc}n: a@example.org, b@example.org;, c@example.org\r\n"),
            "Cc: =?utf-8?b?R3LDvG4=?=: <a@example.org>,\r\n <b@example.org>;,\r\n <c@example.org>\r\n"
        );
    }

    #[test]
    fn texts_are_encoded_and_the_rest_is_left_out() {
        assert_eq!(
            sent(
                "X-A: b\r\nSubject: =?utf-8?q?=C3=A9?= \u{e9}\r\nX-B: \u{e9}\r\nMessage-ID: <\u{e9}@b>\r\nDate: now\r\n"
            ),
            format!("X-A: b\r\nSubject: {}\r\nDate: now\r\n", words("\u{e9} \u{e9}"))
        );
        assert_eq!(
            sent("Content-Type: multipart/mixed; name=\"\u{e9};\\\";\"; boundary=\"a;b\"; x=\u{e9}\r\n"),
            "Content-Type: multipart/mixed;\r\n boundary=\"a;b\"\r\n"
        );
        let long = "\u{20ac}".repeat(100);
        let surrogate = sent(&format!("Subject: {long}\r\n"));
        assert!(surrogate.lines().all(|line| line.len() <= 85), "{surrogate}");
        assert_eq!(decode_words(&surrogate.as_bytes()["Subject:".len()..], 1000), long);
    }

    #[test]
    fn other_messages_are_left_alone() {
        let of = |text: &str| Head::of(&[Bytes::copy_from_slice(text.as_bytes())], true);
        assert_eq!(of("Subject: \u{e9}\r\n\r\n"), Head::Stored);
        assert_eq!(of(&format!("{RECEIVED}Subject: e\r\n\r\n\u{e9}")), Head::Stored);
        let (older, newer) = (RECEIVED, "Received: by c with ESMTP id 2; now\r\n");
        assert_eq!(of(&format!("{newer}{older}Subject: \u{e9}\r\n\r\n")), Head::Stored);
        assert_eq!(of(""), Head::Stored);
        assert!(matches!(of(&format!("{older}{newer}Subject: \u{e9}")), Head::Surrogate { .. }));
    }

    #[test]
    fn pieces_make_no_difference() {
        let text = format!("{RECEIVED}Subject: \u{e9}\r\nA: b\r\n\r\nbody\r\n").into_bytes();
        let whole = Head::of(&[Bytes::from(text.clone())], false);
        assert!(matches!(whole, Head::Surrogate { .. }));
        for cut in 0..=text.len() {
            let pieces = [Bytes::copy_from_slice(&text[..cut]), Bytes::copy_from_slice(&text[cut..])];
            assert_eq!(Head::of(&pieces, false), whole, "cut at {cut}");
        }
        let endless = format!("{RECEIVED}Subject: \u{e9}\r\n{}", "A: b\r\n".repeat(1000));
        assert_eq!(Head::of(&[Bytes::from(endless)], false), Head::TooLong);
    }

    proptest! {
        #[test]
        fn every_header_becomes_ascii(
            name in proptest::sample::select(vec!["From", "To", "Subject", "Content-Type", "X", "\u{e9}"]),
            value in "[ -~\u{e9}\u{20ac}\t]{0,200}",
        ) {
            let header = format!("{RECEIVED}{name}: {value}\u{e9}\r\n\r\n");
            let Head::Surrogate { header, .. } = Head::of(&[Bytes::from(header)], true) else { panic!() };
            prop_assert!(header.is_ascii());
            prop_assert!(fields(&header).all(|field| field.raw().ends_with(b"\r\n")));
            prop_assert!(fields(&header).count() <= 2);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = [RECEIVED.as_bytes(), b"To: ", &bytes].concat();
            if let Head::Surrogate { header, .. } = Head::of(&[Bytes::from(text)], true) {
                prop_assert!(header.is_ascii());
            }
        }
    }
}
