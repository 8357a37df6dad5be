//! What the header of one part says, gathered field by field while it is scanned.

use crate::content::{ContentType, disposition, languages, transfer_encoding};
use crate::text::{shown, without_leading_space};
use crate::{
    ADDRESSES_MAX, Disposition, Envelope, EnvelopeAddress, FIELD_MAX_BYTES, Parameter, Part, VALUES_MAX_BYTES,
};
use bytes::Bytes;

/// How many bytes of values may still be kept for a message: what bounds the memory of a structure.
#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Budget {
    pub(crate) fn new() -> Budget {
        Budget(VALUES_MAX_BYTES)
    }

    /// False when there is not so much left; then nothing is taken.
    fn spend(&mut self, bytes: usize) -> bool {
        match self.0.checked_sub(bytes) {
            Some(left) => {
                self.0 = left;
                true
            }
            None => false,
        }
    }
}

/// The fields of a header that matter for the structure.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// The field that is being read: its first line with what was folded under it, and whether it
    /// is one that matters.
    field: Vec<u8>,
    wanted: bool,
    /// Any line was seen.
    begun: bool,
    /// The part stands in a multipart, or its header has MIME-Version or Content-Type: only then do
    /// its Content-* fields count.
    pub(crate) mime: bool,
    pub(crate) content_type: Option<ContentType>,
    id: Option<Bytes>,
    description: Option<Bytes>,
    encoding: Option<Bytes>,
    md5: Option<Bytes>,
    disposition: Option<Disposition>,
    language: Vec<Bytes>,
    location: Option<Bytes>,
    envelope: Option<Box<Envelope>>,
}

impl Gathered {
    /// `in_multipart`: the part is a child of a multipart; `message`: it is a message with an envelope.
    pub(crate) fn new(in_multipart: bool, message: bool) -> Gathered {
        let envelope = message.then(Box::<Envelope>::default);
        Gathered { mime: in_multipart, envelope, ..Gathered::default() }
    }

    /// Takes a line of the header, without its line end.
    pub(crate) fn line(&mut self, line: &[u8], budget: &mut Budget) {
        let folded = self.begun && matches!(line.first(), Some(b' ' | b'\t'));
        if !folded {
            self.end_field(budget);
            self.begun = true;
            self.wanted = self.wants(line);
        }
        if self.wanted {
            let room = FIELD_MAX_BYTES.saturating_sub(self.field.len());
            self.field.extend_from_slice(line.get(..room.min(line.len())).unwrap_or_default());
        }
    }

    fn wants(&self, line: &[u8]) -> bool {
        let Some((name, _)) = split(line) else { return false };
        (name.len() > 8 && name.get(..8).is_some_and(|n| n.eq_ignore_ascii_case(b"content-")))
            || name.eq_ignore_ascii_case(b"mime-version")
            || (self.envelope.is_some() && Envelope::wants(name))
    }

    /// The field has no more lines.
    pub(crate) fn end_field(&mut self, budget: &mut Budget) {
        let field = std::mem::take(&mut self.field);
        self.wanted = false;
        let Some((name, value)) = split(&field) else { return };
        if !budget.spend(value.len()) {
            return;
        }
        if let Some(envelope) = self.envelope.as_mut() {
            // An address takes far more room than its two shortest bytes.
            let limit = ADDRESSES_MAX.min(budget.0 / size_of::<EnvelopeAddress>());
            let commas = value.iter().filter(|b| matches!(b, b',' | b';' | b':')).count();
            let addresses = limit.min(commas.saturating_add(1));
            envelope.take(name, value, limit);
            if !name.eq_ignore_ascii_case(b"subject") {
                budget.spend(addresses.saturating_mul(size_of::<EnvelopeAddress>()));
            }
        }
        self.take(name, value, budget);
    }

    fn take(&mut self, name: &[u8], value: &[u8], budget: &mut Budget) {
        fn first(slot: &mut Option<Bytes>, value: &[u8]) {
            if slot.is_none() {
                *slot = Some(shown(value));
            }
        }
        match name.to_ascii_lowercase().as_slice() {
            b"mime-version" => self.mime = true,
            b"content-type" => {
                self.mime = true;
                if self.content_type.is_none() {
                    let parsed = ContentType::parse(value);
                    budget.spend(parsed.parameters.len().saturating_mul(size_of::<Parameter>()));
                    self.content_type = Some(parsed);
                }
            }
            b"content-transfer-encoding" if self.encoding.is_none() => {
                self.encoding = transfer_encoding(value)
            }
            b"content-disposition" => {
                let has_parameters = self.disposition.as_ref().is_some_and(|d| !d.parameters.is_empty());
                if !has_parameters && let Some(parsed) = disposition(value) {
                    budget.spend(parsed.parameters.len().saturating_mul(size_of::<Parameter>()));
                    self.disposition = Some(parsed);
                }
            }
            b"content-language" if self.language.is_empty() => {
                self.language = languages(value);
                budget.spend(self.language.len().saturating_mul(size_of::<Bytes>()));
            }
            b"content-id" => first(&mut self.id, value),
            b"content-description" => first(&mut self.description, value),
            b"content-md5" => first(&mut self.md5, value),
            b"content-location" => first(&mut self.location, value),
            _ => {}
        }
    }

    /// Writes what was found into the part. The type is left to the caller.
    pub(crate) fn fill(self, part: &mut Part) {
        part.envelope = self.envelope;
        if self.mime {
            part.id = self.id;
            part.description = self.description;
            part.encoding = self.encoding;
            part.md5 = self.md5;
            part.disposition = self.disposition;
            part.language = self.language;
            part.location = self.location;
        }
    }
}

/// Name and value of a field; `None` when it has no colon.
fn split(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = field.split_at_checked(memchr::memchr(b':', field)?)?;
    let end = name.iter().rposition(|b| !matches!(b, b' ' | b'\t')).map_or(0, |at| at.saturating_add(1));
    Some((name.get(..end)?, without_leading_space(value.get(1..)?)))
}
