//! Modified UTF-7 (RFC 3501 §5.1.3): names of mailboxes in plain IMAP4rev1.

use base64::Engine;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

const BASE64: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);

/// Writes a name: printable ASCII stays, `&` becomes `&-`, all else is UTF-16 in base64.
pub fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut shifted = Vec::new();
    for c in name.chars() {
        if matches!(c, ' '..='~') {
            close(&mut shifted, &mut out);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            let mut units = [0u16; 2];
            shifted.extend(c.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    close(&mut shifted, &mut out);
    out
}

fn close(shifted: &mut Vec<u8>, out: &mut String) {
    if !shifted.is_empty() {
        out.push('&');
        BASE64.encode_string(&*shifted, out);
        out.push('-');
        shifted.clear();
    }
}

/// Reads a name. `None` when it has a byte that is not printable ASCII, a shift that does not end,
/// bad base64 or bad UTF-16. Forms that no encoder should write (ASCII in base64, two shifts in a
/// row) are read, since they have one meaning.
pub fn decode(name: &[u8]) -> Option<String> {
    let name =
        std::str::from_utf8(name).ok().filter(|text| text.bytes().all(|b| matches!(b, b' '..=b'~')))?;
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((plain, shift)) = rest.split_once('&') {
        out.push_str(plain);
        let (shifted, after) = shift.split_once('-')?;
        if shifted.is_empty() {
            out.push('&');
        } else {
            let bytes = BASE64.decode(shifted).ok().filter(|bytes| bytes.len().is_multiple_of(2))?;
            let units = bytes.chunks_exact(2).filter_map(|pair| pair.try_into().ok().map(u16::from_be_bytes));
            for c in char::decode_utf16(units) {
                out.push(c.ok()?);
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples_of_the_standard() {
        for (name, wire) in [
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("A & B", "A &- B"),
            ("📨", "&2D3c6A-"),
            ("", ""),
        ] {
            assert_eq!(encode(name), wire);
            assert_eq!(decode(wire.as_bytes()).as_deref(), Some(name));
        }
    }

    #[test]
    fn what_is_no_utf7_is_refused() {
        for wire in
            ["&", "&AP", "A & B", "&AP-", "&APw", "&2D0-", "&3Og-", "&AP/-", "a\u{7f}", "é", "&APx-", "\0"]
        {
            assert_eq!(decode(wire.as_bytes()), None, "{wire}");
        }
    }

    proptest! {
        #[test]
        fn every_name_round_trips(name in "\\PC*") {
            let wire = encode(&name);
            prop_assert!(wire.bytes().all(|b| matches!(b, 0x20..=0x7e)));
            prop_assert_eq!(decode(wire.as_bytes()), Some(name));
        }

        #[test]
        fn decoding_is_total(wire in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&wire);
        }
    }
}
