//! A message as a search looks at it: what is asked for is read then, and not before.
//!
//! Headers come from the kept structure; the body is read only when its text, or a header that is
//! not kept, is wanted.

use super::super::convert::{self, Keywords};
use super::super::moment::{Moment, Stop};
use super::sent;
use bytes::Bytes;
use estafette_imap::codec::date::DateTime;
use estafette_imap::session::{Flags, SearchSubject};
use estafette_mailbox::read::Message;
use estafette_mime::{HeaderBlock, Kind, Part, Structure, decode_text, decode_words, fields};
use estafette_storage::Body;
use estafette_types::{EmailId, ModSeq, Uid};
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a field's value that are searched.
const VALUE_MAX_BYTES: usize = 64 * 1024;
/// Bytes of a header that are searched.
const HEADER_MAX_BYTES: u64 = 1 << 20;
/// Bytes of the text of a part that are searched.
const TEXT_MAX_BYTES: usize = 8 << 20;
/// Bytes of a body that are held at once.
const READ_BYTES: u64 = 1 << 20;

/// A message being judged.
pub(super) struct Subject<'a> {
    moment: &'a Moment<'a>,
    message: Message,
    flags: Flags,
    structure: Option<Arc<Structure>>,
    body: Option<Body>,
    bytes_read: u64,
}

impl<'a> Subject<'a> {
    pub(super) fn new(moment: &'a Moment<'a>, keywords: &Keywords, message: Message) -> Subject<'a> {
        let flags = keywords.flags(&message);
        Subject { moment, message, flags, structure: None, body: None, bytes_read: 0 }
    }

    /// How much was read for it.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Is its header in memory?
    pub(super) fn is_at_hand(&mut self) -> bool {
        self.structure = self.moment.structures.at_hand(&self.message.row.body);
        self.structure.as_ref().is_some_and(|structure| matches!(structure.header(), HeaderBlock::Kept(_)))
    }

    fn structure(&mut self) -> Result<Arc<Structure>, Stop> {
        if let Some(structure) = &self.structure {
            return Ok(Arc::clone(structure));
        }
        let structure = self.moment.structure(&self.message.row.body)?;
        self.structure = Some(Arc::clone(&structure));
        Ok(structure)
    }

    fn open(&mut self) -> Result<Body, Stop> {
        if let Some(body) = &self.body {
            return Ok(body.clone());
        }
        let body = self.moment.body(&self.message.row.body)?;
        self.body = Some(body.clone());
        Ok(body)
    }

    fn bytes(&mut self, range: Range<u64>) -> Result<Bytes, Stop> {
        let pieces = self.open()?.read(range)?;
        let bytes = match <[Bytes; 1]>::try_from(pieces) {
            Ok([one]) => one,
            Err(pieces) => pieces.concat().into(),
        };
        self.bytes_read = self.bytes_read.saturating_add(bytes.len() as u64);
        Ok(bytes)
    }

    /// The header of the message itself.
    fn header_block(&mut self) -> Result<Bytes, Stop> {
        let structure = self.structure()?;
        match structure.header() {
            HeaderBlock::Kept(block) => {
                self.bytes_read = self.bytes_read.saturating_add(block.len() as u64);
                Ok(block.clone())
            }
            HeaderBlock::InMessage => match structure.parts().first() {
                Some(root) => self.part_header(root),
                None => Ok(Bytes::new()),
            },
        }
    }

    fn part_header(&mut self, part: &Part) -> Result<Bytes, Stop> {
        let Range { start, end } = part.header_range();
        self.bytes(start..end.min(start.saturating_add(HEADER_MAX_BYTES)))
    }

    /// The decoded text of a part, read piece by piece.
    fn text(&mut self, part: &Part) -> Result<String, Stop> {
        let (body, Range { start, end }) = (self.open()?, part.body_range());
        let (mut at, mut failed) = (start, None);
        let pieces = std::iter::from_fn(|| {
            let from = at;
            at = end.min(from.saturating_add(READ_BYTES));
            (from < at).then(|| body.read(from..at).map_err(|error| failed = Some(error)).unwrap_or_default())
        });
        let text = decode_text(part, pieces.flatten(), TEXT_MAX_BYTES).text;
        self.bytes_read = self.bytes_read.saturating_add(at.saturating_sub(start));
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(text),
        }
    }
}

/// Gives the fields of a block as text to `found`, until that says true.
fn give_fields(block: &[u8], found: &mut dyn FnMut(&str) -> bool) -> bool {
    fields(block).any(|field| {
        let name = String::from_utf8_lossy(field.name());
        found(&format!("{name}: {}", decode_words(field.value(), VALUE_MAX_BYTES)))
    })
}

fn is_text(part: &Part) -> bool {
    part.kind == Kind::Single && part.media_type.eq_ignore_ascii_case(b"text")
}

impl SearchSubject for Subject<'_> {
    type Error = Stop;

    fn uid(&self) -> Uid {
        self.message.uid
    }

    fn flags(&self) -> &Flags {
        &self.flags
    }

    fn modseq(&self) -> ModSeq {
        self.message.row.modseq
    }

    fn internal_date(&self) -> DateTime {
        convert::date(self.message.row.internal_date_ms)
    }

    fn save_date(&self) -> Option<i64> {
        i64::try_from(self.message.row.save_date_ms / 1000).ok()
    }

    fn size_bytes(&self) -> u64 {
        self.message.row.size
    }

    fn email_id(&self) -> EmailId {
        self.message.row.email
    }

    fn sent_day(&mut self) -> Result<Option<i64>, Stop> {
        let structure = self.structure()?;
        Ok(structure.envelope().and_then(|envelope| envelope.date.as_deref()).and_then(sent::day))
    }

    fn header(&mut self, name: &str, found: &mut dyn FnMut(&str) -> bool) -> Result<bool, Stop> {
        let block = self.header_block()?;
        let mut values = fields(&block).filter(|field| field.is(name));
        Ok(values.any(|field| found(&decode_words(field.value(), VALUE_MAX_BYTES))))
    }

    fn headers(&mut self, found: &mut dyn FnMut(&str) -> bool) -> Result<bool, Stop> {
        let block = self.header_block()?;
        if give_fields(&block, found) {
            return Ok(true);
        }
        for part in self.structure()?.parts().iter().skip(1) {
            let block = self.part_header(part)?;
            if give_fields(&block, found) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The headers of messages within belong to the body too.
    fn body(&mut self, found: &mut dyn FnMut(&str) -> bool) -> Result<bool, Stop> {
        let structure = self.structure()?;
        for (index, part) in structure.parts().iter().enumerate() {
            if is_text(part) && found(&self.text(part)?) {
                return Ok(true);
            }
            if index > 0 && part.envelope.is_some() {
                let block = self.part_header(part)?;
                if give_fields(&block, found) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
