//! xtext (RFC 3461 §4) and the address of ORCPT (RFC 3461 §4.2, RFC 6533 §3).

/// Decodes xtext: `+` and two hexadecimal digits stand for a byte. `None` when it is malformed, no
/// UTF-8, or holds control characters (they would later stand in the header of a notice).
pub fn xtext_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(hex(rest.next()?)? << 4 | hex(rest.next()?)?),
            b'=' | 0..=b' ' | 0x7f => return None,
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

/// Encodes as xtext; all of it is ASCII.
pub fn xtext_encode(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b'!'..=b'~') && byte != b'+' && byte != b'=' {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "+{byte:02X}");
        }
    }
    out
}

/// Reads the value of ORCPT: address type, `;`, address in xtext, or for the type `utf-8` also with
/// `\x{HEX}` for a character (RFC 6533 §3).
pub fn original_recipient(value: &str) -> Option<(String, String)> {
    let (kind, address) = value.split_once(';')?;
    let atom = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if kind.is_empty() || !kind.bytes().all(atom) || address.is_empty() {
        return None;
    }
    let address = xtext_decode(address)?;
    let address = if kind.eq_ignore_ascii_case("utf-8") { unitext(&address)? } else { address };
    Some((kind.to_ascii_lowercase(), address))
}

fn unitext(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x{") {
        let (digits, after) = after.split_once('}')?;
        let fits = (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, 16).ok().filter(|_| fits)?;
        out.push_str(before);
        out.push(char::from_u32(code).filter(|c| !c.is_control())?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples() {
        assert_eq!(xtext_decode("a+2Bb+3D").as_deref(), Some("a+b="));
        for bad in ["+", "+4", "+GG", "a=b", "a b", "+0D+0A", "+FF", "+é1"] {
            assert_eq!(xtext_decode(bad), None, "{bad}");
        }
        let found = original_recipient("RFC822;Bob+20B@example.org");
        assert_eq!(found, Some(("rfc822".into(), "Bob B@example.org".into())));
        let found = original_recipient("utf-8;j\\x{F6}rg@example.org");
        assert_eq!(found, Some(("utf-8".into(), "jörg@example.org".into())));
        for bad in ["", ";a", "rfc822;", "rfc822", "x y;a", "utf-8;\\x{D800}", "utf-8;\\x{A}", "utf-8;\\x{"] {
            assert_eq!(original_recipient(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(text in "\\PC{0,60}") {
            prop_assert_eq!(xtext_decode(&xtext_encode(&text)), Some(text));
        }
    }
}
