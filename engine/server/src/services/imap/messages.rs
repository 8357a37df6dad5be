//! Messages and bytes of them.

use super::convert::Keywords;
use super::moment::{Moment, Stop, is_elsewhere, keywords_after};
use super::{BYTES_AT_ONCE, ImapService, aside};
use crate::engine::Engine;
use bytes::Bytes;
use estafette_imap::session::Answer;
use estafette_imap::session::ask::{BodyKey, Want};
use estafette_mailbox::MailboxRef;
use estafette_mailbox::read::{self, Message as Row};
use estafette_mime::{HeaderBlock, Structure};
use estafette_storage::{Body, BodyHash};
use estafette_types::{MailboxId, ModSeq, Uid, UidSet};
use std::ops::Range;
use std::sync::Arc;

/// The most messages that one question is answered with, whatever it asks for.
const MESSAGES_MAX: u32 = 2048;
/// Messages that are read on the thread of the session.
const MESSAGES_AT_ONCE: u32 = 128;
/// Bytes that a part takes in a structure beside its header (counted, not measured).
const PART_BYTES: u64 = 64;

/// What of a message is handed out beside its row.
struct Loaded {
    /// How much of the budget it takes.
    bytes: u64,
    structure: Option<Arc<Structure>>,
    body: Option<Vec<Bytes>>,
}

/// What a question of messages wants.
struct Wanted {
    at: MailboxRef,
    uids: UidSet,
    want: Want,
    budget: u64,
    reached: ModSeq,
}

impl Wanted {
    /// The rows of the first messages that are asked for, with the structures that are at hand.
    fn find(&self, engine: &Engine) -> Result<Found, Stop> {
        let mut later = self.uids.clone();
        let first = later.split_off_first(MESSAGES_MAX);
        let through = first.last().unwrap_or(Uid::MIN);
        let first: Vec<Uid> = first.iter().collect();
        let rows = read::messages_of(&engine.store, self.at, &first)?;
        // Expunged, or not here any more.
        if rows.len() < first.len() && is_elsewhere(&engine.store, self.at.owner())? {
            return Err(Stop::Moved);
        }
        let structure =
            |of: &Row| self.want.structure.then(|| engine.structures.at_hand(&of.row.body)).flatten();
        let structures = rows.iter().map(structure).collect();
        Ok(Found { rows, structures, through })
    }

    /// True when there is so much to read that it does not belong on the thread of the session. A
    /// structure that is not in memory may have to be made from the body.
    fn is_heavy(&self, found: &Found) -> bool {
        let Want { structure, body, .. } = self.want;
        let all = found.rows.iter().zip(&found.structures);
        let read = all.filter(|(_, at_hand)| body || structure && at_hand.is_none());
        read.fold(0_u64, |sum, (of, _)| sum.saturating_add(of.row.size)) > BYTES_AT_ONCE
    }
}

/// Messages that are asked for, before any of their content was read.
struct Found {
    rows: Vec<Row>,
    /// One for each row.
    structures: Vec<Option<Arc<Structure>>>,
    /// The last UID that was looked for.
    through: Uid,
}

/// Without a view: the rows come from one read, and what belongs to them never changes.
impl Engine {
    fn fetch(&self, wanted: &Wanted, found: Found, keywords: &Keywords) -> Result<Answer, Stop> {
        let Wanted { want, budget, reached, .. } = wanted;
        let Found { rows, structures, mut through } = found;
        let mut messages = Vec::with_capacity(rows.len());
        let mut left = Some(*budget);
        for (found, structure) in rows.iter().zip(structures) {
            if want.changed_since.is_some_and(|since| found.row.modseq <= since) {
                continue;
            }
            let left_now = left.filter(|_| !messages.is_empty());
            let loaded = match self.load(found, structure, *want, *budget, left_now) {
                Ok(loaded) => loaded,
                Err(stop) if messages.is_empty() => return Err(stop),
                Err(_) => None,
            };
            // Those before it are told when this one does not fit or cannot be read; it is asked for again.
            let Some(Loaded { bytes, structure, body }) = loaded else {
                through = Uid::new(found.uid.value().saturating_sub(1)).unwrap_or(Uid::MIN);
                break;
            };
            left = left.map(|left| left.saturating_sub(bytes));
            let mut message = keywords.message(found);
            message.structure = structure;
            message.body = body;
            messages.push(message);
        }
        Ok(Answer::Fetched { messages, through, modseq: *reached })
    }

    /// The structure and the body of a message where they are wanted and fit; `None` when that is more
    /// than is left.
    fn load(
        &self,
        of: &Row,
        at_hand: Option<Arc<Structure>>,
        want: Want,
        budget: u64,
        left: Option<u64>,
    ) -> Result<Option<Loaded>, Stop> {
        let mut loaded = Loaded { bytes: 0, structure: None, body: None };
        if want.structure {
            let structure = at_hand.map_or_else(|| self.structure(&of.row.body), Ok)?;
            loaded.bytes = weight(&structure);
            loaded.structure = Some(structure);
        }
        let body = (want.body && of.row.size <= budget).then_some(&of.row);
        loaded.bytes = loaded.bytes.saturating_add(body.map_or(0, |row| row.size));
        if left.is_some_and(|left| loaded.bytes > left) {
            return Ok(None);
        }
        if let Some(row) = body {
            loaded.body = Some(self.store.body_of(row.body, row.size).all()?);
        }
        Ok(Some(loaded))
    }

    fn structure(&self, hash: &BodyHash) -> Result<Arc<Structure>, Stop> {
        self.structures.read(&self.store, hash)?.ok_or_else(|| missing(hash))
    }
}

impl Moment<'_> {
    pub(super) fn structure(&self, hash: &BodyHash) -> Result<Arc<Structure>, Stop> {
        self.structures.read(self.store, hash)?.ok_or_else(|| missing(hash))
    }

    pub(super) fn body(&self, hash: &BodyHash) -> Result<Body, Stop> {
        self.view.body(hash)?.ok_or_else(|| missing(hash))
    }

    /// The bytes of each range.
    fn ranges(&self, ranges: &[(BodyKey, Range<u64>)]) -> Result<Answer, Stop> {
        let mut parts = Vec::with_capacity(ranges.len());
        let mut open: Option<(BodyKey, Body)> = None;
        for (key, range) in ranges {
            let body = match open.take() {
                Some((of, body)) if of == *key => body,
                _ => self.body(&BodyHash(key.0))?,
            };
            parts.push(body.read(range.clone())?);
            open = Some((*key, body));
        }
        Ok(Answer::Read(parts))
    }
}

impl ImapService {
    pub(super) async fn fetch(
        &mut self,
        mailbox: MailboxId,
        uids: UidSet,
        want: Want,
        budget: u64,
    ) -> Result<Answer, Stop> {
        let at = self.mailbox(mailbox)?;
        let wanted = Wanted { at, uids, want, budget, reached: self.opened(at)?.reached(at.shard)? };
        let engine = Arc::clone(&self.engine);
        if wanted.uids.len() <= MESSAGES_AT_ONCE {
            let found = wanted.find(&engine)?;
            if !wanted.is_heavy(&found) {
                let keywords = self.opened(at)?.keywords(&engine.store, at, &found.rows)?;
                return engine.fetch(&wanted, found, &keywords);
            }
        }
        aside(move || {
            let found = wanted.find(&engine)?;
            let keywords = keywords_after(&engine.store, at)?;
            engine.fetch(&wanted, found, &keywords)
        })
        .await
    }

    pub(super) async fn read_ranges(&self, ranges: Vec<(BodyKey, Range<u64>)>) -> Result<Answer, Stop> {
        let bytes: u64 = ranges.iter().map(|(_, range)| range.end.saturating_sub(range.start)).sum();
        self.read(bytes > BYTES_AT_ONCE, move |moment| moment.ranges(&ranges)).await
    }
}

/// A row names a body that is not there.
fn missing(hash: &BodyHash) -> Stop {
    estafette_storage::Error::Missing { hash: *hash }.into()
}

/// About how many bytes a structure takes: all that it holds was in headers.
fn weight(structure: &Structure) -> u64 {
    let kept = match structure.header() {
        HeaderBlock::Kept(header) => header.len() as u64,
        HeaderBlock::InMessage => 0,
    };
    let parts = structure.parts().iter();
    parts.fold(kept, |sum, part| {
        let header = part.body_start.saturating_sub(part.header_start);
        sum.saturating_add(header).saturating_add(PART_BYTES)
    })
}
