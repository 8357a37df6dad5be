//! Where the bytes of a section lie in a message (RFC 9051 §6.4.5.1), and which of them must be read.

use super::super::super::ask::Message;
use super::Plan;
use crate::codec::fetch::{FetchAttribute, Part, Partial, Section, SectionText};
use crate::codec::rope::Rope;
use bytes::Bytes;
use estafette_mime::{HeaderBlock, Part as MimePart, PartRef, Select, Structure, decode_body, select_fields};
use std::ops::Range;

/// Bytes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Located {
    /// There is no such part.
    Nothing,
    /// As they stand.
    Raw(Range<u64>),
    /// Some fields of the header that stands there.
    Fields(Range<u64>, Vec<String>, Select),
    /// A body with its transfer encoding taken off.
    Decoded(Range<u64>, Option<Bytes>),
    /// A body whose transfer encoding is not known, or that is too large to be decoded.
    Undecodable,
}

/// A message and what has been read of it.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) message: &'a Message,
    pub(super) read: Vec<(Range<u64>, Vec<Bytes>)>,
}

/// True when the structure of a message is needed to answer.
pub(super) fn needs_structure(attribute: &FetchAttribute) -> bool {
    match attribute {
        FetchAttribute::Envelope | FetchAttribute::Body | FetchAttribute::BodyStructure => true,
        FetchAttribute::Rfc822Header | FetchAttribute::Rfc822Text => true,
        FetchAttribute::Section(fetch) => fetch.section != Section::default(),
        FetchAttribute::Binary(fetch) => !fetch.part.is_root(),
        FetchAttribute::BinarySize(part) => !part.is_root(),
        _ => false,
    }
}

/// True when the whole message is.
pub(super) fn needs_body(attribute: &FetchAttribute) -> bool {
    match attribute {
        FetchAttribute::Rfc822 => true,
        FetchAttribute::Section(fetch) => fetch.section == Section::default() && fetch.partial.is_none(),
        FetchAttribute::Binary(fetch) => fetch.part.is_root() && fetch.partial.is_none(),
        _ => false,
    }
}

/// Where the bytes lie that an attribute shows, with the part of them that is wanted; `None` for an
/// attribute that shows no bytes of the message.
pub(super) fn locate(
    plan: &Plan,
    message: &Message,
    attribute: &FetchAttribute,
) -> Option<(Located, Option<Partial>)> {
    let text = |text| Section { part: Part::default(), text: Some(text) };
    Some(match attribute {
        FetchAttribute::Rfc822 => (section(message, &Section::default()), None),
        FetchAttribute::Rfc822Header => (section(message, &text(SectionText::Header)), None),
        FetchAttribute::Rfc822Text => (section(message, &text(SectionText::Text)), None),
        FetchAttribute::Section(fetch) => (section(message, &fetch.section), fetch.partial),
        FetchAttribute::Binary(fetch) => (binary(plan, message, &fetch.part), fetch.partial),
        FetchAttribute::BinarySize(part) => (binary(plan, message, part), None),
        _ => return None,
    })
}

fn section(message: &Message, section: &Section) -> Located {
    if *section == Section::default() {
        return Located::Raw(0..message.size_bytes);
    }
    let structure = message.structure.as_deref();
    structure.and_then(|structure| in_structure(structure, section)).unwrap_or(Located::Nothing)
}

fn in_structure(structure: &Structure, section: &Section) -> Option<Located> {
    let part = find(structure, &section.part)?;
    let Some(text) = &section.text else { return Some(Located::Raw(part.body_range())) };
    // HEADER and TEXT are of the message itself, or of a part that is a message.
    let message = || if section.part.is_root() { Some(part) } else { part.message() };
    Some(match text {
        SectionText::Mime => Located::Raw(part.header_range()),
        SectionText::Header => Located::Raw(message()?.header_range()),
        SectionText::Text => Located::Raw(message()?.body_range()),
        SectionText::HeaderFields(names) => {
            Located::Fields(message()?.header_range(), names.clone(), Select::Named)
        }
        SectionText::HeaderFieldsNot(names) => {
            Located::Fields(message()?.header_range(), names.clone(), Select::NotNamed)
        }
    })
}

fn find<'a>(structure: &'a Structure, part: &Part) -> Option<PartRef<'a>> {
    structure.section(&part.numbers().collect::<Vec<u32>>())
}

fn binary(plan: &Plan, message: &Message, part: &Part) -> Located {
    if part.is_root() {
        return Located::Raw(0..message.size_bytes);
    }
    let Some(part) = message.structure.as_deref().and_then(|structure| find(structure, part)) else {
        return Located::Nothing;
    };
    match encoding(&part) {
        Some(Encoding::Identity) => Located::Raw(part.body_range()),
        Some(Encoding::Coded) if part.octets() <= plan.decode_bytes_max => {
            Located::Decoded(part.body_range(), part.encoding.clone())
        }
        _ => Located::Undecodable,
    }
}

enum Encoding {
    Identity,
    Coded,
}

/// `None` for a transfer encoding that is not known.
fn encoding(part: &MimePart) -> Option<Encoding> {
    let Some(name) = part.encoding.as_deref() else { return Some(Encoding::Identity) };
    let is = |known: &[&str]| known.iter().any(|one| name.eq_ignore_ascii_case(one.as_bytes()));
    if is(&["7bit", "8bit", "binary"]) {
        Some(Encoding::Identity)
    } else if is(&["base64", "quoted-printable"]) {
        Some(Encoding::Coded)
    } else {
        None
    }
}

/// The bytes of a raw range that a partial fetch wants.
pub(super) fn clip(range: &Range<u64>, partial: Option<Partial>) -> Range<u64> {
    let Some(partial) = partial else { return range.clone() };
    let start = range.start.saturating_add(partial.offset).min(range.end);
    start..start.saturating_add(partial.length).min(range.end)
}

/// What must be read before a message can be told. A raw range over the budget is not: it is streamed.
pub(super) fn ranges_to_read(plan: &Plan, message: &Message) -> Vec<Range<u64>> {
    let source = Source { message, read: Vec::new() };
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for attribute in &plan.attributes {
        let range = match locate(plan, message, attribute) {
            // The size is known without the bytes.
            Some((Located::Raw(_), _)) if matches!(attribute, FetchAttribute::BinarySize(_)) => continue,
            Some((Located::Raw(range), partial)) => {
                let range = clip(&range, partial);
                if range.end - range.start > plan.budget_bytes { continue } else { range }
            }
            Some((Located::Fields(range, ..) | Located::Decoded(range, _), _)) => range,
            _ => continue,
        };
        if range.start < range.end && source.bytes(&range).is_none() && !ranges.contains(&range) {
            ranges.push(range);
        }
    }
    ranges
}

/// How much of a message is at hand without reading.
pub(super) fn bytes_at_hand(message: &Message) -> u64 {
    let header = match message.structure.as_deref().map(Structure::header) {
        Some(HeaderBlock::Kept(header)) => header.len(),
        _ => 0,
    };
    let body: usize = message.body.iter().flatten().map(Bytes::len).sum();
    header.saturating_add(body) as u64
}

impl Source<'_> {
    /// The bytes of a range, when they are at hand.
    pub(super) fn bytes(&self, range: &Range<u64>) -> Option<Rope> {
        if range.start >= range.end {
            return Some(Rope::new());
        }
        if let Some((_, pieces)) = self.read.iter().find(|(read, _)| read == range) {
            return Some(join(pieces, 0..range.end - range.start));
        }
        if let Some(body) = &self.message.body {
            return Some(join(body, range.clone()));
        }
        match self.message.structure.as_deref().map(Structure::header) {
            Some(HeaderBlock::Kept(header)) if range.end <= header.len() as u64 => {
                Some(join(std::slice::from_ref(header), range.clone()))
            }
            _ => None,
        }
    }

    /// The bytes that an attribute shows; `None` when they are not at hand or there are none.
    pub(super) fn content(&self, located: &Located, partial: Option<Partial>) -> Option<Rope> {
        let made: Bytes = match located {
            Located::Nothing | Located::Undecodable => return None,
            Located::Raw(range) => return self.bytes(&clip(range, partial)),
            Located::Fields(range, names, select) => {
                let header = self.bytes(range)?.to_bytes();
                select_fields(&header, names, *select)
            }
            Located::Decoded(range, encoding) => {
                let body = self.bytes(range)?;
                decode_body(encoding.as_deref(), body.pieces(), usize::MAX).into()
            }
        };
        let wanted = partial.map_or(0..made.len(), |partial| partial.range(made.len()));
        Some(Rope::from(made.slice(wanted)))
    }
}

/// The pieces of a range of a row of pieces, without copying the large ones.
fn join(pieces: &[Bytes], range: Range<u64>) -> Rope {
    let mut rope = Rope::new();
    let mut at = 0_u64;
    for piece in pieces {
        let end = at.saturating_add(piece.len() as u64);
        let from = range.start.clamp(at, end) - at;
        let to = range.end.clamp(at, end) - at;
        if let (Ok(from), Ok(to)) = (usize::try_from(from), usize::try_from(to))
            && from < to
        {
            rope.share(piece.slice(from..to));
        }
        at = end;
    }
    rope
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_out_of_pieces() {
        let pieces = [Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"defg")];
        for start in 0..8_usize {
            for end in start..8 {
                let cut = join(&pieces, start as u64..end as u64).to_bytes();
                assert_eq!(cut, b"abcdefg"[start..end]);
            }
        }
        assert_eq!(join(&pieces, 5..100).to_bytes(), b"fg"[..]);
    }

    #[test]
    fn partials_are_clipped() {
        let partial = |offset, length| Some(Partial { offset, length });
        assert_eq!(clip(&(10..20), None), 10..20);
        assert_eq!(clip(&(10..20), partial(2, 3)), 12..15);
        assert_eq!(clip(&(10..20), partial(8, 30)), 18..20);
        assert_eq!(clip(&(10..20), partial(30, u64::MAX)), 20..20);
    }
}
