//! The parts of a message: a tree kept as one list in the order in which they stand.

use crate::Envelope;
use bytes::Bytes;
use std::ops::{Deref, Range};
use std::sync::OnceLock;

/// Bytes of an envelope as it is printed up to which it is kept; most have fewer.
pub const PRINTED_MAX_BYTES: usize = 512;

/// What a message is made of. Parts are in the order of their headers (a parent before its
/// children); the first is the message itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    pub(crate) parts: Vec<Part>,
    pub(crate) header: HeaderBlock,
    pub(crate) printed: Printed,
}

/// What a protocol prints of the envelope, made once. Says nothing that the envelope does not say, so all
/// are equal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Printed(OnceLock<Bytes>);

impl PartialEq for Printed {
    fn eq(&self, _: &Printed) -> bool {
        true
    }
}

impl Eq for Printed {}

/// The header block of a message, with the empty line that ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderBlock {
    /// Kept beside the structure.
    Kept(Bytes),
    /// Longer than [`crate::HEADER_KEPT_MAX_BYTES`]: to be read from the message.
    InMessage,
}

/// What a part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text, an image, …: no parts of its own.
    Single,
    /// `multipart/*`: its children are its parts. May be without children: IMAP then shows one empty
    /// `text/plain`.
    Multipart,
    /// `message/rfc822` (or `message/global`): its one child is the message within, which has an
    /// envelope.
    Message,
}

/// A part. Offsets count bytes from the start of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it holds.
    pub kind: Kind,
    /// The index of the part around it; `None` for the message itself.
    pub parent: Option<u32>,
    /// The index after that of the last part within it.
    pub subtree_end: u32,
    /// Where its header begins.
    pub header_start: u64,
    /// Where its body begins: after the empty line.
    pub body_start: u64,
    /// Where its body ends: before the line end that belongs to the boundary after it.
    pub body_end: u64,
    /// Line feeds in the body.
    pub lines: u64,
    /// `text`, as written; `text` when the header has none (or none that can be read).
    pub media_type: Bytes,
    /// `plain`, as written.
    pub subtype: Bytes,
    /// Parameters of the type as written, RFC 2231 left raw; quotes taken off.
    pub parameters: Vec<Parameter>,
    /// `Content-ID`.
    pub id: Option<Bytes>,
    /// `Content-Description`.
    pub description: Option<Bytes>,
    /// `Content-Transfer-Encoding`; `None` is shown as `7bit`.
    pub encoding: Option<Bytes>,
    /// `Content-MD5`.
    pub md5: Option<Bytes>,
    /// `Content-Disposition`.
    pub disposition: Option<Disposition>,
    /// The tags of `Content-Language`.
    pub language: Vec<Bytes>,
    /// `Content-Location`.
    pub location: Option<Bytes>,
    /// The envelope: of the message itself and of every message within; `None` for other parts.
    pub envelope: Option<Box<Envelope>>,
}

/// `name=value` of a Content-Type or Content-Disposition field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// As written.
    pub name: Bytes,
    /// Without quotes.
    pub value: Bytes,
}

/// Content-Disposition (RFC 2183).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disposition {
    /// `inline`, `attachment`, …, as written.
    pub kind: Bytes,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
}

impl Part {
    /// The bytes of its header with the empty line (what `BODY[n.MIME]` and `HEADER` show).
    pub fn header_range(&self) -> Range<u64> {
        self.header_start..self.body_start
    }

    /// The bytes of its body (what `BODY[n]` shows).
    pub fn body_range(&self) -> Range<u64> {
        self.body_start..self.body_end
    }

    /// The size of the body in bytes, as stored.
    pub fn octets(&self) -> u64 {
        self.body_end.saturating_sub(self.body_start)
    }

    fn list_bytes(&self) -> usize {
        let disposition = self.disposition.as_ref().map_or(0, |d| list_bytes(&d.parameters));
        let envelope = self.envelope.as_ref().map_or(0, |e| {
            let lists = [&e.from, &e.sender, &e.reply_to, &e.to, &e.cc, &e.bcc];
            lists.into_iter().map(list_bytes).sum::<usize>() + size_of::<Envelope>()
        });
        list_bytes(&self.parameters) + list_bytes(&self.language) + disposition + envelope
    }

    /// The value of a parameter of its type, by its name in any case.
    pub fn parameter(&self, name: &str) -> Option<&Bytes> {
        self.parameters.iter().find(|p| p.name.eq_ignore_ascii_case(name.as_bytes())).map(|p| &p.value)
    }
}

/// A part and the structure it stands in. All of [`Part`] can be read through it.
#[derive(Clone, Copy, Debug)]
pub struct PartRef<'a> {
    structure: &'a Structure,
    part: &'a Part,
    index: u32,
}

impl Deref for PartRef<'_> {
    type Target = Part;
    fn deref(&self) -> &Part {
        self.part
    }
}

impl<'a> PartRef<'a> {
    /// Its place in [`Structure::parts`].
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The part itself, for as long as the structure lives.
    pub fn part(&self) -> &'a Part {
        self.part
    }

    /// The message that a part of [`Kind::Message`] holds.
    pub fn message(&self) -> Option<PartRef<'a>> {
        self.children().next().filter(|_| self.part.kind == Kind::Message)
    }

    /// Its children in order.
    pub fn children(&self) -> impl Iterator<Item = PartRef<'a>> + use<'a> {
        let (structure, end) = (self.structure, self.part.subtree_end);
        let mut next = self.index.saturating_add(1);
        std::iter::from_fn(move || {
            let child = (next < end).then(|| structure.at(next)).flatten()?;
            next = child.subtree_end.max(next.saturating_add(1));
            Some(child)
        })
    }
}

impl Structure {
    /// All parts in the order of their headers.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The part at a place of [`Structure::parts`].
    pub fn at(&self, index: u32) -> Option<PartRef<'_>> {
        let part = self.parts.get(usize::try_from(index).ok()?)?;
        Some(PartRef { structure: self, part, index })
    }

    /// The message itself. (A structure always has it; `None` cannot be.)
    pub fn root(&self) -> Option<PartRef<'_>> {
        self.at(0)
    }

    /// The part that an IMAP section number names (RFC 9051 §6.4.5.1): none is the message itself;
    /// `1` of a message that is not multipart is its body; numbers go on into messages within, whose
    /// header and text are those of [`PartRef::message`].
    pub fn section(&self, numbers: &[u32]) -> Option<PartRef<'_>> {
        let mut part = self.root()?;
        // What the next number counts in: a multipart, or a message.
        let mut within = Some(part);
        for &number in numbers {
            let holder = within?;
            let place = usize::try_from(number.checked_sub(1)?).ok()?;
            part = match holder.kind {
                Kind::Multipart => holder.children().nth(place)?,
                Kind::Single | Kind::Message if place == 0 => holder,
                Kind::Single | Kind::Message => return None,
            };
            within = match part.kind {
                Kind::Multipart => Some(part),
                Kind::Message => part.message(),
                Kind::Single => None,
            };
        }
        Some(part)
    }

    /// The raw header block of the message.
    pub fn header(&self) -> &HeaderBlock {
        &self.header
    }

    /// The envelope of the message itself.
    pub fn envelope(&self) -> Option<&Envelope> {
        self.parts.first()?.envelope.as_deref()
    }

    /// The envelope as it was printed before ([`Structure::keep_printed`]).
    pub fn printed(&self) -> Option<&Bytes> {
        self.printed.0.get()
    }

    /// Keeps the envelope as it is printed, for all who share the structure, unless it has more than
    /// [`PRINTED_MAX_BYTES`]. The first text stays.
    pub fn keep_printed(&self, text: &[u8]) {
        if text.len() <= PRINTED_MAX_BYTES {
            self.printed.0.get_or_init(|| Bytes::copy_from_slice(text));
        }
    }

    /// Bytes of memory that its lists take, without the strings: those of a decoded structure are
    /// slices of what it was decoded from.
    pub fn list_bytes(&self) -> usize {
        self.parts.iter().map(Part::list_bytes).sum::<usize>() + list_bytes(&self.parts)
    }

    /// The size of the whole message in bytes, as stored.
    pub fn octets(&self) -> u64 {
        self.parts.first().map_or(0, |root| root.body_end)
    }
}

fn list_bytes<T>(list: &Vec<T>) -> usize {
    list.capacity() * size_of::<T>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(structure: &Structure, numbers: &[u32]) -> Option<String> {
        let part = structure.section(numbers)?;
        Some(format!(
            "{}/{}",
            String::from_utf8_lossy(&part.media_type),
            String::from_utf8_lossy(&part.subtype)
        ))
    }

    #[test]
    fn numbers_of_a_single_message() {
        let structure = Structure::of([b"Subject: x\r\n\r\nbody\r\n"]);
        assert_eq!(structure.section(&[1]).map(|p| p.body_range()), Some(14..20));
        for numbers in [&[0][..], &[2], &[1, 1], &[u32::MAX]] {
            assert_eq!(section(&structure, numbers), None, "{numbers:?}");
        }
    }

    /// A structure held far more than a cache had counted for it.
    #[test]
    fn what_is_printed_is_kept_up_to_a_limit() {
        let structure = Structure::of([b"Subject: x\r\n\r\nbody\r\n"]);
        structure.keep_printed(&[b'x'; PRINTED_MAX_BYTES + 1]);
        assert_eq!(structure.printed(), None);
        structure.keep_printed(&[b'x'; PRINTED_MAX_BYTES]);
        assert_eq!(structure.printed().map(Bytes::len), Some(PRINTED_MAX_BYTES));
        structure.keep_printed(b"another");
        assert_eq!(structure.printed().map(Bytes::len), Some(PRINTED_MAX_BYTES));
    }

    /// The tree of the example in RFC 9051 §6.4.5.1.
    #[test]
    fn numbers_of_rfc_9051() {
        let inner = "Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\nContent-Type: text/plain\r\n\r\n\
            a\r\n--i\r\nContent-Type: application/octet-stream\r\n\r\nb\r\n--i--\r\n";
        let message = format!(
            "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: text/plain\r\n\r\n1\r\n--o\r\n\
             Content-Type: message/rfc822\r\n\r\n{inner}\r\n--o\r\nContent-Type: message/rfc822\r\n\r\n\
             Subject: s\r\n\r\nx\r\n--o\r\n{inner}\r\n--o--\r\n"
        );
        let structure = Structure::of([message.as_bytes()]);
        let expected: [(&[u32], Option<&str>); 11] = [
            (&[], Some("multipart/mixed")),
            (&[1], Some("text/plain")),
            (&[1, 1], None),
            (&[2], Some("message/rfc822")),
            (&[2, 1], Some("text/plain")),
            (&[2, 2], Some("application/octet-stream")),
            (&[2, 2, 1], None),
            (&[3, 1], Some("text/plain")),
            (&[3, 2], None),
            (&[4], Some("multipart/mixed")),
            (&[4, 2], Some("application/octet-stream")),
        ];
        for (numbers, name) in expected {
            assert_eq!(section(&structure, numbers).as_deref(), name, "{numbers:?}");
        }
        let within = structure.section(&[2]).and_then(|p| p.message());
        assert_eq!(within.map(|p| p.kind), Some(Kind::Multipart));
    }

    #[test]
    fn a_message_that_is_all_a_message() {
        let structure = Structure::of([b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nbody"]);
        assert_eq!(section(&structure, &[1]).as_deref(), Some("message/rfc822"));
        assert_eq!(section(&structure, &[1, 1]).as_deref(), Some("text/plain"));
        assert_eq!(structure.section(&[1, 1]).map(|p| p.octets()), Some(4));
        assert_eq!(section(&structure, &[1, 1, 1]), None);
    }
}
