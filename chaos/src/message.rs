//! Messages of the load: each is unlike all others, and says who it is.
//!
//! The identifier and the digest stand first, so that fields added on the way in come before both and
//! all from the identifier on is what was sent.

use crate::random::Random;
use serde::Serialize;
use std::fmt;

/// The first field of each message.
const ID_FIELD: &str = "X-Chaos-Id: ";
/// The smallest message, and the largest.
const BYTES: std::ops::Range<u64> = 200..1024 * 1024 + 1;
/// Most messages are under the first, most others under the second.
const SMALL_BYTES: u64 = 16 * 1024;
const MIDDLE_BYTES: u64 = 256 * 1024;
/// Of which texts are made; some begin like the end of a message does.
const WORDS: [&str; 16] = [
    "rider", "horse", "relay", "road", "bag", "letter", "station", "..", "post", "seal", ".", "bell",
    "night", "from", "ink", "wax",
];

/// Which message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct MessageId(pub u64);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a message's bytes are like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest([u8; 16]);

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Digest {
        let mut digest = [0; 16];
        digest.copy_from_slice(blake3::hash(bytes).as_bytes().first_chunk::<16>().unwrap_or(&[0; 16]));
        Digest(digest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A size as those of mail are: many small, few large.
pub(crate) fn size(random: &mut Random) -> u64 {
    match random.within(0..100) {
        0 => random.within(MIDDLE_BYTES..BYTES.end),
        1..=7 => random.within(SMALL_BYTES..MIDDLE_BYTES),
        _ => random.within(BYTES.start..SMALL_BYTES),
    }
}

/// The message of this identifier, of about so many bytes; it ends with CRLF.
pub(crate) fn make(id: MessageId, bytes: u64, random: &mut Random) -> Vec<u8> {
    let mut rest = format!(
        "From: <a@load.test>\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n\r\n{:x}\r\n",
        random.next()
    );
    let bytes = usize::try_from(bytes).unwrap_or_default().saturating_sub(80);
    let mut column = 0;
    while rest.len() < bytes {
        let word = random.pick(&WORDS).copied().unwrap_or_default();
        rest.push_str(word);
        column += word.len() + 1;
        rest.push_str(if column > 70 { "\r\n" } else { " " });
        column = if column > 70 { 0 } else { column };
    }
    rest.push_str("\r\n");
    let digest = Digest::of(rest.as_bytes());
    format!("{ID_FIELD}{id}\r\nX-Chaos-Digest: {digest}\r\n{rest}").into_bytes()
}

/// Which message this is, and the digest of all that was sent of it. `None`: not one of ours.
pub(crate) fn recognise(stored: &[u8]) -> Option<(MessageId, Digest)> {
    let field = ID_FIELD.as_bytes();
    let starts = |at: &usize| at.checked_sub(1).is_none_or(|before| stored.get(before) == Some(&b'\n'));
    let at = stored
        .windows(field.len())
        .enumerate()
        .filter(|(_, w)| *w == field)
        .map(|(at, _)| at)
        .find(starts)?;
    let sent = stored.get(at..)?;
    let line = sent.get(field.len()..)?.split(|byte| *byte == b'\r').next()?;
    let id = std::str::from_utf8(line).ok()?.parse().ok()?;
    Some((MessageId(id), Digest::of(sent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_recognised_behind_added_fields() {
        let mut random = Random::new(3);
        for bytes in [200, 1000, 1024 * 1024] {
            let message = make(MessageId(42), bytes, &mut random);
            assert!((message.len() as u64).abs_diff(bytes) < 90, "{} of {bytes}", message.len());
            assert_eq!(recognise(&message), Some((MessageId(42), Digest::of(&message))));
            let mut stored = b"Return-Path: <X-Chaos-Id: 9>\r\nReceived: x\r\n y\r\n".to_vec();
            stored.extend_from_slice(&message);
            assert_eq!(recognise(&stored), Some((MessageId(42), Digest::of(&message))));
        }
        assert_eq!(recognise(b"Subject: none\r\n\r\nX\r\n"), None);
    }

    #[test]
    fn any_change_changes_the_digest() {
        let message = make(MessageId(1), 500, &mut Random::new(3));
        let whole = recognise(&message);
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] ^= 1;
            assert_ne!(recognise(&changed), whole, "byte {at}");
            assert_ne!(recognise(&message[..at]), whole, "cut at {at}");
        }
    }

    #[test]
    fn sizes_stay_within_their_range() {
        let mut random = Random::new(1);
        let sizes: Vec<u64> = (0..10_000).map(|_| size(&mut random)).collect();
        assert!(sizes.iter().all(|size| BYTES.contains(size)));
        assert!(sizes.iter().any(|size| *size > 512 * 1024));
    }
}
