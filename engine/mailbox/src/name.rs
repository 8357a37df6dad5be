//! Names of mailboxes: what is allowed, and the one form that each is kept in.
//!
//! UTF-8 in NFC (RFC 9051 §5.1), `/` between levels, `INBOX` in any case as the first level is
//! `INBOX` (RFC 9051 §5.1). Case matters elsewhere.

use serde::{Deserialize, Serialize};
use std::fmt;
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Between the levels of a name.
pub const SEPARATOR: char = '/';
/// The longest name in bytes.
pub const NAME_MAX_BYTES: usize = 1024;
/// The longest level of a name in bytes.
pub const LEVEL_MAX_BYTES: usize = 255;
/// The most levels of a name.
pub const LEVELS_MAX: usize = 32;

/// A valid name of a mailbox in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MailboxName(String);

/// Why a text is no name of a mailbox. The asker's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or nothing between two separators, or a separator at an end.
    #[error("a mailbox name has no empty level")]
    Empty,
    /// Over [`NAME_MAX_BYTES`], [`LEVEL_MAX_BYTES`] or [`LEVELS_MAX`].
    #[error("the mailbox name is too long or too deep")]
    TooLong,
    /// A control character, `*`, `%`, or `#` at the start.
    #[error("the mailbox name has a character that is not allowed")]
    Character,
}

impl MailboxName {
    /// Checks a name and brings it into canonical form. One separator at the end is taken off: it says
    /// that the client wants to create children (RFC 9051 §6.3.4).
    pub fn parse(text: &str) -> Result<MailboxName, NameError> {
        if text.len() > NAME_MAX_BYTES {
            return Err(NameError::TooLong);
        }
        let text = text.strip_suffix(SEPARATOR).unwrap_or(text);
        let name: String = if is_nfc(text) { text.to_owned() } else { text.nfc().collect() };
        let bad = |c: char| c.is_control() || matches!(c, '*' | '%' | '\u{2028}' | '\u{2029}' | '\u{FEFF}');
        if name.starts_with('#') || name.chars().any(bad) {
            return Err(NameError::Character);
        }
        if name.split(SEPARATOR).any(str::is_empty) {
            return Err(NameError::Empty);
        }
        let too_long = name.len() > NAME_MAX_BYTES
            || name.split(SEPARATOR).count() > LEVELS_MAX
            || name.split(SEPARATOR).any(|level| level.len() > LEVEL_MAX_BYTES);
        if too_long { Err(NameError::TooLong) } else { Ok(MailboxName(with_inbox(name))) }
    }

    /// `INBOX`.
    pub fn inbox() -> MailboxName {
        MailboxName("INBOX".to_owned())
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for `INBOX` itself.
    pub fn is_inbox(&self) -> bool {
        self.0 == "INBOX"
    }

    /// The name of the level above.
    pub fn parent(&self) -> Option<MailboxName> {
        self.0.rsplit_once(SEPARATOR).map(|(parent, _)| MailboxName(parent.to_owned()))
    }

    /// True when `self` lies below `other`, at any depth.
    pub fn is_below(&self, other: &MailboxName) -> bool {
        self.0.strip_prefix(other.as_str()).is_some_and(|rest| rest.starts_with(SEPARATOR))
    }

    /// The name after `from`, which is this name or lies above it, was renamed to `to`.
    pub(crate) fn moved(&self, from: &MailboxName, to: &MailboxName) -> Result<MailboxName, NameError> {
        let rest = self.0.strip_prefix(from.as_str()).unwrap_or_default();
        MailboxName::parse(&format!("{to}{rest}"))
    }
}

fn with_inbox(name: String) -> String {
    match name.split_once(SEPARATOR) {
        None if name.eq_ignore_ascii_case("INBOX") => "INBOX".to_owned(),
        Some((first, rest)) if first.eq_ignore_ascii_case("INBOX") => format!("INBOX{SEPARATOR}{rest}"),
        _ => name,
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for MailboxName {
    type Error = NameError;
    fn try_from(text: String) -> Result<MailboxName, NameError> {
        MailboxName::parse(&text)
    }
}

impl From<MailboxName> for String {
    fn from(name: MailboxName) -> String {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        let canonical = |text| MailboxName::parse(text).unwrap().0;
        assert_eq!(canonical("inBox"), "INBOX");
        assert_eq!(canonical("inbox/Sub"), "INBOX/Sub");
        assert_eq!(canonical("Inboxes"), "Inboxes");
        assert_eq!(canonical("a/Inbox"), "a/Inbox");
        assert_eq!(canonical("Entwu\u{308}rfe/"), "Entwürfe");
        assert_eq!(canonical("a b/.. &~"), "a b/.. &~");
    }

    #[test]
    fn bad_names_are_refused() {
        for text in ["", "/", "/a", "a//b", "a//"] {
            assert_eq!(MailboxName::parse(text), Err(NameError::Empty), "{text}");
        }
        for text in ["#news", "a*", "a%b", "a\0", "a\r\nb", "a\u{85}"] {
            assert_eq!(MailboxName::parse(text), Err(NameError::Character), "{text:?}");
        }
        for text in ["a".repeat(256), "a/".repeat(33), "abc/".repeat(300)] {
            assert_eq!(MailboxName::parse(&text), Err(NameError::TooLong));
        }
    }

    #[test]
    fn families_are_told_apart() {
        let name = |text| MailboxName::parse(text).unwrap();
        assert!(name("a/b/c").is_below(&name("a")));
        assert!(!name("ab").is_below(&name("a")));
        assert!(!name("a").is_below(&name("a")));
        assert_eq!(name("a/b").parent(), Some(name("a")));
        assert_eq!(name("a/b/c").moved(&name("a/b"), &name("x")).unwrap(), name("x/c"));
    }
}
