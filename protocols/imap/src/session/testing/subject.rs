//! A message as SEARCH looks at it.

use super::engine::Mail;
use crate::codec::date::DateTime;
use crate::session::{Flags, SearchSubject};
use estafette_mime::{HeaderBlock, decode_words, fields};
use estafette_types::{EmailId, ModSeq, Uid};
use std::convert::Infallible;

pub(super) struct Subject<'a>(pub(super) Uid, pub(super) &'a Mail);

impl SearchSubject for Subject<'_> {
    type Error = Infallible;
    fn uid(&self) -> Uid {
        self.0
    }
    fn flags(&self) -> &Flags {
        &self.1.flags
    }
    fn modseq(&self) -> ModSeq {
        self.1.modseq
    }
    fn internal_date(&self) -> DateTime {
        self.1.date
    }
    fn save_date(&self) -> Option<i64> {
        None
    }
    fn size_bytes(&self) -> u64 {
        self.1.body.len() as u64
    }
    fn email_id(&self) -> EmailId {
        self.1.email_id
    }
    fn sent_day(&mut self) -> Result<Option<i64>, Infallible> {
        Ok(None)
    }
    fn header(&mut self, name: &str, found: &mut dyn FnMut(&str) -> bool) -> Result<bool, Infallible> {
        let HeaderBlock::Kept(block) = self.1.structure.header() else { return Ok(false) };
        Ok(fields(block).filter(|one| one.is(name)).any(|one| found(&decode_words(one.value(), 10_000))))
    }
    fn headers(&mut self, found: &mut dyn FnMut(&str) -> bool) -> Result<bool, Infallible> {
        let HeaderBlock::Kept(block) = self.1.structure.header() else { return Ok(false) };
        Ok(found(&String::from_utf8_lossy(block)))
    }
    fn body(&mut self, found: &mut dyn FnMut(&str) -> bool) -> Result<bool, Infallible> {
        Ok(found(&String::from_utf8_lossy(&self.1.body)))
    }
}
