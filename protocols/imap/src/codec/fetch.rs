//! What FETCH asks for (RFC 9051 §6.4.5).

use std::fmt;
use std::num::NonZeroU32;

/// How many numbers a part may have (`1.2.3` has three).
pub const PART_DEPTH_MAX: usize = 100;

/// `fetch-att` (RFC 9051 §9) with those of RFC 3501, 7162, 8474, 8514, 8970. The macros ALL, FAST
/// and FULL are expanded by the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchAttribute {
    /// `FLAGS`
    Flags,
    /// `UID`
    Uid,
    /// `INTERNALDATE`
    InternalDate,
    /// `RFC822.SIZE`
    Rfc822Size,
    /// `ENVELOPE`
    Envelope,
    /// `BODY`: the structure without extension data.
    Body,
    /// `BODYSTRUCTURE`: the structure with extension data.
    BodyStructure,
    /// `MODSEQ` (RFC 7162 §3.1.5)
    ModSeq,
    /// `BODY[section]<partial>` or `BODY.PEEK[section]<partial>`
    Section(SectionFetch),
    /// `BINARY[part]<partial>` or `BINARY.PEEK[part]<partial>`: without its transfer encoding.
    Binary(BinaryFetch),
    /// `BINARY.SIZE[part]`
    BinarySize(Part),
    /// `RFC822` (RFC 3501): as `BODY[]`, under its own name in the answer.
    Rfc822,
    /// `RFC822.HEADER` (RFC 3501): as `BODY.PEEK[HEADER]`.
    Rfc822Header,
    /// `RFC822.TEXT` (RFC 3501): as `BODY[TEXT]`.
    Rfc822Text,
    /// `PREVIEW`, `PREVIEW (LAZY)` (RFC 8970)
    Preview {
        /// Only when it costs little.
        lazy: bool,
    },
    /// `EMAILID` (RFC 8474)
    EmailId,
    /// `THREADID` (RFC 8474)
    ThreadId,
    /// `SAVEDATE` (RFC 8514)
    SaveDate,
}

impl FetchAttribute {
    /// True when fetching it sets `\Seen`.
    pub fn marks_seen(&self) -> bool {
        match self {
            FetchAttribute::Section(fetch) => !fetch.peek,
            FetchAttribute::Binary(fetch) => !fetch.peek,
            FetchAttribute::Rfc822 | FetchAttribute::Rfc822Text => true,
            _ => false,
        }
    }
}

/// `"BODY" [".PEEK"] section [partial]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionFetch {
    /// What is wanted.
    pub section: Section,
    /// Which bytes of it.
    pub partial: Option<Partial>,
    /// `.PEEK`: without setting `\Seen`.
    pub peek: bool,
}

/// `"BINARY" [".PEEK"] section-binary [partial]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinaryFetch {
    /// Which part; empty for the whole message.
    pub part: Part,
    /// Which bytes of it, after decoding.
    pub partial: Option<Partial>,
    /// `.PEEK`: without setting `\Seen`.
    pub peek: bool,
}

/// `partial = "<" number64 "." nz-number64 ">"`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// The first byte, from 0.
    pub offset: u64,
    /// How many bytes at most; not 0.
    pub length: u64,
}

impl Partial {
    /// The bytes of something `size` long that are meant.
    pub fn range(&self, size: usize) -> std::ops::Range<usize> {
        let start = usize::try_from(self.offset).unwrap_or(usize::MAX).min(size);
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        start..start.saturating_add(length).min(size)
    }
}

/// `section-part = nz-number *("." nz-number)`; empty stands for the whole message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part(pub Vec<NonZeroU32>);

impl Part {
    /// True for the whole message.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The numbers, the outermost first.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().map(|n| n.get())
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, number) in self.0.iter().enumerate() {
            let dot = if i == 0 { "" } else { "." };
            write!(f, "{dot}{number}")?;
        }
        Ok(())
    }
}

/// `section = "[" [section-spec] "]"`, `section-spec = section-msgtext / (section-part ["." section-text])`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Which part; empty for the whole message.
    pub part: Part,
    /// What of it; `None` for all of it.
    pub text: Option<SectionText>,
}

/// `section-text = section-msgtext / "MIME"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SectionText {
    /// `HEADER`: the header of the message, or of a part that is a message.
    Header,
    /// `HEADER.FIELDS (names)`: 1 or more, as the client wrote them.
    HeaderFields(Vec<String>),
    /// `HEADER.FIELDS.NOT (names)`
    HeaderFieldsNot(Vec<String>),
    /// `TEXT`
    Text,
    /// `MIME`: the header of a part. Only with a part number.
    Mime,
}
