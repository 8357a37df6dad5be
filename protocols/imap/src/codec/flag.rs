//! Flags of messages (RFC 9051 §2.3.2) and uses of mailboxes (RFC 6154).

use std::fmt;
use std::hash::{Hash, Hasher};

/// The longest keyword, in bytes.
pub const KEYWORD_MAX: usize = 255;

/// `flag-keyword = "$MDNSent" / "$Forwarded" / … / atom`: 1 to [`KEYWORD_MAX`] bytes of an atom,
/// in the case that was given, compared without case.
#[derive(Clone, Debug)]
pub struct Keyword(String);

impl Keyword {
    /// `None` when the text is no atom or too long.
    pub fn new(text: &str) -> Option<Keyword> {
        let valid = (1..=KEYWORD_MAX).contains(&text.len()) && text.bytes().all(super::chars::is_atom);
        valid.then(|| Keyword(text.to_owned()))
    }

    /// As it was given.
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

impl Hash for Keyword {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `flag = "\Answered" / "\Flagged" / "\Deleted" / "\Seen" / "\Draft" / flag-keyword`. `\Recent`,
/// which no client can set, is dropped by the parser; other words after a backslash are errors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// `\Answered`
    Answered,
    /// `\Flagged`
    Flagged,
    /// `\Deleted`
    Deleted,
    /// `\Seen`
    Seen,
    /// `\Draft`
    Draft,
    /// A keyword.
    Keyword(Keyword),
}

impl Flag {
    /// The system flags, in the order in which they are listed.
    pub const SYSTEM: [Flag; 5] = [Flag::Answered, Flag::Flagged, Flag::Deleted, Flag::Seen, Flag::Draft];

    /// Reads a system flag (`\Seen`) without case, or a keyword. `None` for what is neither, and
    /// for `\Recent`.
    pub fn parse(text: &str) -> Option<Flag> {
        if !text.starts_with('\\') {
            return Keyword::new(text).map(Flag::Keyword);
        }
        Flag::SYSTEM.into_iter().find(|flag| flag.as_str().eq_ignore_ascii_case(text))
    }

    /// As it stands on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Flag::Answered => "\\Answered",
            Flag::Flagged => "\\Flagged",
            Flag::Deleted => "\\Deleted",
            Flag::Seen => "\\Seen",
            Flag::Draft => "\\Draft",
            Flag::Keyword(keyword) => keyword.as_str(),
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `use-attr` (RFC 6154 §6, RFC 8457): what a mailbox is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpecialUse {
    /// `\All`
    All,
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Flagged`
    Flagged,
    /// `\Important` (RFC 8457)
    Important,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl SpecialUse {
    /// Every one.
    pub const EVERY: [SpecialUse; 8] = [
        SpecialUse::All,
        SpecialUse::Archive,
        SpecialUse::Drafts,
        SpecialUse::Flagged,
        SpecialUse::Important,
        SpecialUse::Junk,
        SpecialUse::Sent,
        SpecialUse::Trash,
    ];

    /// Reads `\Drafts`, without case.
    pub fn parse(text: &str) -> Option<SpecialUse> {
        SpecialUse::EVERY.into_iter().find(|attribute| attribute.as_str().eq_ignore_ascii_case(text))
    }

    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            SpecialUse::All => "\\All",
            SpecialUse::Archive => "\\Archive",
            SpecialUse::Drafts => "\\Drafts",
            SpecialUse::Flagged => "\\Flagged",
            SpecialUse::Important => "\\Important",
            SpecialUse::Junk => "\\Junk",
            SpecialUse::Sent => "\\Sent",
            SpecialUse::Trash => "\\Trash",
        }
    }
}

impl fmt::Display for SpecialUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_without_case_and_bad_ones_refused() {
        assert_eq!(Flag::parse("\\sEEN"), Some(Flag::Seen));
        assert_eq!(Flag::parse("$Forwarded"), Flag::parse("$forwarded"));
        assert_eq!(Flag::parse("NonJunk").unwrap().as_str(), "NonJunk");
        for text in ["", "\\", "\\Recent", "\\Foo", "a b", "a(b", "é", "a]b", "a\"b", "a%", "*"] {
            assert_eq!(Flag::parse(text), None, "{text}");
        }
        assert_eq!(Keyword::new(&"k".repeat(KEYWORD_MAX + 1)), None);
        for special in SpecialUse::EVERY {
            assert_eq!(SpecialUse::parse(&special.as_str().to_uppercase()), Some(special));
        }
    }
}
