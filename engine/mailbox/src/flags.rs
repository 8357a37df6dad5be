//! Flags of messages: the system flags as bits, keywords by their number in the mailbox.

use crate::codec::{Reader, Writer};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most keywords of a mailbox.
pub const KEYWORDS_MAX: usize = 128;
/// The longest keyword in bytes.
pub const KEYWORD_MAX_BYTES: usize = 100;

/// System flags of a message as bits (RFC 9051 §2.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct SystemFlags(u8);

impl SystemFlags {
    /// None.
    pub const NONE: SystemFlags = SystemFlags(0);
    /// `\Seen`
    pub const SEEN: SystemFlags = SystemFlags(1);
    /// `\Answered`
    pub const ANSWERED: SystemFlags = SystemFlags(2);
    /// `\Flagged`
    pub const FLAGGED: SystemFlags = SystemFlags(4);
    /// `\Deleted`
    pub const DELETED: SystemFlags = SystemFlags(8);
    /// `\Draft`
    pub const DRAFT: SystemFlags = SystemFlags(16);
    /// Each flag with its name in IMAP.
    pub const NAMES: [(SystemFlags, &'static str); 5] = [
        (SystemFlags::ANSWERED, "\\Answered"),
        (SystemFlags::FLAGGED, "\\Flagged"),
        (SystemFlags::DELETED, "\\Deleted"),
        (SystemFlags::SEEN, "\\Seen"),
        (SystemFlags::DRAFT, "\\Draft"),
    ];

    /// From the bits of a row; unknown ones are dropped.
    pub const fn from_bits(bits: u8) -> SystemFlags {
        SystemFlags(bits & 31)
    }

    /// The bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// True when all of these are set.
    pub const fn has(self, flags: SystemFlags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Those in either.
    #[must_use]
    pub const fn with(self, flags: SystemFlags) -> SystemFlags {
        SystemFlags(self.0 | flags.0)
    }

    /// Those in `self` but not in `flags`.
    #[must_use]
    pub const fn without(self, flags: SystemFlags) -> SystemFlags {
        SystemFlags(self.0 & !flags.0)
    }
}

/// A keyword: an atom that does not begin with `\` (RFC 9051 `flag-keyword`). Compared without case.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Keyword(String);

/// The text is no keyword: empty, too long, or has characters that an atom must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a keyword is an atom of 1 to 100 characters")]
pub struct KeywordError;

impl Keyword {
    /// Checks a text.
    pub fn parse(text: &str) -> Result<Keyword, KeywordError> {
        let atom = |b: u8| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b);
        let good = (1..=KEYWORD_MAX_BYTES).contains(&text.len()) && text.bytes().all(atom);
        if good { Ok(Keyword(text.to_owned())) } else { Err(KeywordError) }
    }

    /// The text, in the case in which it was first used in its mailbox.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Keyword) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Keyword {
    type Error = KeywordError;
    fn try_from(text: String) -> Result<Keyword, KeywordError> {
        Keyword::parse(&text)
    }
}

impl From<Keyword> for String {
    fn from(keyword: Keyword) -> String {
        keyword.0
    }
}

/// Flags as a client names them.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Flags {
    /// System flags.
    pub system: SystemFlags,
    /// Keywords.
    pub keywords: Vec<Keyword>,
}

impl From<SystemFlags> for Flags {
    fn from(system: SystemFlags) -> Flags {
        Flags { system, keywords: Vec::new() }
    }
}

/// Keywords of a message, as the bits of their numbers in the mailbox's [`KeywordTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct KeywordSet(u128);

impl KeywordSet {
    /// The set of one; nothing when there is no such number.
    pub fn one(id: u8) -> KeywordSet {
        KeywordSet(1u128.checked_shl(u32::from(id)).unwrap_or(0))
    }

    /// True without any.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True when all of these are in it.
    pub fn has(self, other: KeywordSet) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those in either.
    #[must_use]
    pub fn with(self, other: KeywordSet) -> KeywordSet {
        KeywordSet(self.0 | other.0)
    }

    /// Those in `self` but not in `other`.
    #[must_use]
    pub fn without(self, other: KeywordSet) -> KeywordSet {
        KeywordSet(self.0 & !other.0)
    }

    /// The numbers, ascending.
    pub fn ids(self) -> impl Iterator<Item = u8> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let id = u8::try_from(rest.trailing_zeros()).ok().filter(|id| *id < 128)?;
            rest &= rest - 1;
            Some(id)
        })
    }

    pub(crate) fn len(self) -> u32 {
        self.0.count_ones()
    }
}

/// The keywords of a mailbox, by their numbers. Numbers are never given to another keyword.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct KeywordTable(Vec<Keyword>);

impl KeywordTable {
    /// All of them, in the order of their numbers.
    pub fn all(&self) -> &[Keyword] {
        &self.0
    }

    /// The number of a keyword.
    pub fn id(&self, keyword: &Keyword) -> Option<u8> {
        u8::try_from(self.0.iter().position(|known| known == keyword)?).ok()
    }

    /// The keywords of a message.
    pub fn names(&self, set: KeywordSet) -> impl Iterator<Item = &Keyword> {
        set.ids().filter_map(|id| self.0.get(usize::from(id)))
    }

    /// Those of the keywords that the mailbox knows.
    pub fn known(&self, keywords: &[Keyword]) -> KeywordSet {
        let ids = keywords.iter().filter_map(|keyword| self.id(keyword));
        ids.fold(KeywordSet::default(), |set, id| set.with(KeywordSet::one(id)))
    }

    /// The number of a keyword, which is added when it is new. `None`: no room.
    pub(crate) fn add(&mut self, keyword: &Keyword) -> Option<u8> {
        if let Some(id) = self.id(keyword) {
            return Some(id);
        }
        let id = u8::try_from(self.0.len()).ok().filter(|id| usize::from(*id) < KEYWORDS_MAX)?;
        self.0.push(keyword.clone());
        Some(id)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let writer = Writer::new(1).number(self.0.len() as u64);
        self.0.iter().fold(writer, |writer, keyword| writer.text(&keyword.0)).done()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<KeywordTable> {
        let mut reader = Reader::new(bytes, 1)?;
        let count = usize::try_from(reader.number()?).ok().filter(|count| *count <= KEYWORDS_MAX)?;
        let keywords = (0..count).map(|_| Keyword::parse(reader.text()?).ok()).collect::<Option<Vec<_>>>()?;
        reader.end(KeywordTable(keywords))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_numbered_without_case() {
        let mut table = KeywordTable::default();
        let keyword = |text: &str| Keyword::parse(text).unwrap();
        assert_eq!(table.add(&keyword("$Forwarded")), Some(0));
        assert_eq!(table.add(&keyword("Work")), Some(1));
        assert_eq!(table.add(&keyword("WORK")), Some(1));
        assert_eq!(table.encode(), b"\x01\x02\x0a$Forwarded\x04Work");
        assert_eq!(KeywordTable::decode(&table.encode()).as_ref(), Some(&table));
        for number in 2..KEYWORDS_MAX {
            assert!(table.add(&keyword(&format!("k{number}"))).is_some());
        }
        assert_eq!(table.add(&keyword("toomany")), None);
        assert_eq!(KeywordSet::one(127).with(KeywordSet::one(3)).ids().collect::<Vec<_>>(), [3, 127]);
        assert!(KeywordSet::one(128).is_empty());
    }

    #[test]
    fn only_atoms_are_keywords() {
        for text in ["", "\\Seen", "a b", "a(", "ä", "a]", "a\r"] {
            assert_eq!(Keyword::parse(text), Err(KeywordError), "{text}");
        }
        assert!(Keyword::parse(&"k".repeat(101)).is_err());
    }
}
