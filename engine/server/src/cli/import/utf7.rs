//! Modified UTF-7 (RFC 3501 §5.1.3), in which Maildir++ folders have their names.

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::IMAP_MUTF7,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// The text, or `None` when it is not well formed.
pub(super) fn decode(text: &str) -> Option<String> {
    if !text.is_ascii() {
        return None;
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        decoded.push_str(before);
        let (encoded, after) = after.split_once('-')?;
        if encoded.is_empty() {
            decoded.push('&');
        } else {
            let bytes = BASE64.decode(encoded).ok()?;
            let (units, odd) = bytes.as_chunks::<2>();
            if !odd.is_empty() || units.is_empty() {
                return None;
            }
            let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            decoded.push_str(&String::from_utf16(&units).ok()?);
        }
        rest = after;
    }
    decoded.push_str(rest);
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn names_are_decoded() {
        assert_eq!(decode("Sent").as_deref(), Some("Sent"));
        assert_eq!(decode("R&AOk-sum&AOk-").as_deref(), Some("Résumé"));
        assert_eq!(decode("Q&-A").as_deref(), Some("Q&A"));
        assert_eq!(decode("~peter/mail/&U,BTFw-/&ZeVnLIqe-").as_deref(), Some("~peter/mail/台北/日本語"));
        assert_eq!(decode("&2D3eAA-").as_deref(), Some("😀"));
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for text in ["&", "&AOk", "&A-", "&AOkA-", "&2D0-", "&====-", "é", "&\u{7f}-"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
