//! A walk over all bodies that compares each with its hash, in steps, so that the caller says how fast it goes.
//!
//! It is done beside everything else: bodies that come or go meanwhile are no faults. What it reads does not fill the
//! cache; of what lies there already, the file is not read. It notes what is damaged ([`Store::damaged`]) and what is
//! named but not there ([`Store::missing`]); to mend it is the caller's.

use std::fmt;

use crate::batch::Batch;
use crate::body::{BodyHash, CHUNK_BYTES, Known, chunks};
use crate::collect::{Names, within};
use crate::error::Error;
use crate::family::Family;
use crate::key::successor;
use crate::new_body::NewBody;
use crate::store::Store;
use crate::stored::Body;

/// Bodies looked at in one step, however short they are.
const STEP_BODIES: u64 = 4096;

/// Where a scrub is. Dropped and begun anew at [`Scrub::after`], it goes on with the next body.
pub struct Scrub {
    store: Store,
    after: Option<BodyHash>,
    /// A body that is read in part.
    current: Option<Reading>,
}

struct Reading {
    body: Body,
    hasher: blake3::Hasher,
    chunk: u64,
}

/// What a step found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bodies read to their ends.
    pub bodies: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bodies that do not fit their hashes or cannot be read.
    pub damaged: u64,
    /// Bodies that are named, but not there.
    pub missing: u64,
    /// True if there is no further body.
    pub ended: bool,
}

/// What the walk comes upon.
enum Next {
    Body(Body),
    Missing(BodyHash),
    /// Named, but nobody knew that it is missing.
    Unlisted(BodyHash),
    Unreadable(BodyHash),
    /// Of a body that is gone, counters of zero may be left.
    Nothing(BodyHash),
}

impl Scrub {
    pub(crate) fn new(store: Store, after: Option<BodyHash>) -> Scrub {
        Scrub { store, after, current: None }
    }

    /// The last body that was looked at to its end: to go on behind it with [`Store::scrub`], also after a start.
    #[must_use]
    pub fn after(&self) -> Option<BodyHash> {
        self.after
    }

    /// Reads on, up to about `max_bytes`: at least a chunk, at most one more than that. Blocks.
    ///
    /// # Errors
    /// Errors of reading the rows that name the bodies; [`Error::Failed`], [`Error::Closed`] where a body had to be noted
    /// as missing. What is wrong with a body is in the result.
    pub fn step(&mut self, max_bytes: u64) -> Result<Scrubbed, Error> {
        let mut done = Scrubbed::default();
        let mut looked = 0;
        while looked < STEP_BODIES {
            if !self.read_on(max_bytes, &mut done)? {
                break;
            }
            looked += 1;
            match self.next()? {
                None => {
                    done.ended = true;
                    break;
                }
                Some(Next::Body(body)) => {
                    self.current = Some(Reading { body, hasher: blake3::Hasher::new(), chunk: 0 });
                    continue;
                }
                Some(next) => self.note(&next, &mut done)?,
            }
        }
        Ok(done)
    }

    /// Reads the body that is under way; false if there is more of it than may be read now.
    fn read_on(&mut self, max_bytes: u64, done: &mut Scrubbed) -> Result<bool, Error> {
        let Some(reading) = &mut self.current else { return Ok(done.bytes < max_bytes) };
        let result = loop {
            if reading.chunk == u64::from(chunks(reading.body.len())) {
                break reading.body.judge(BodyHash(reading.hasher.finalize().into()));
            }
            if done.bytes >= max_bytes {
                return Ok(false);
            }
            match reading.body.chunk(reading.chunk) {
                Ok(chunk) => {
                    reading.hasher.update(&chunk);
                    reading.chunk += 1;
                    done.bytes += chunk.len() as u64;
                }
                Err(error) => {
                    done.bytes += CHUNK_BYTES as u64;
                    break Err(error);
                }
            }
        };
        self.after = Some(reading.body.hash());
        self.current = None;
        match result {
            Ok(()) => done.bodies += 1,
            Err(Error::Damaged { .. }) => done.damaged += 1,
            // It was collected meanwhile.
            Err(Error::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(done.bytes < max_bytes)
    }

    /// Takes note of what is no body.
    fn note(&mut self, next: &Next, done: &mut Scrubbed) -> Result<(), Error> {
        match next {
            Next::Missing(_) => done.missing += 1,
            Next::Unlisted(hash) => {
                done.missing += 1;
                tracing::error!(body = %hash, "a body is named, but not there");
                let mut batch = Batch::new();
                batch.bring_body(NewBody::absent(*hash, None));
                self.store.commit_and_wait(batch)?;
            }
            Next::Unreadable(hash) => {
                done.damaged += 1;
                tracing::error!(body = %hash, "the rows of a body are unreadable");
            }
            Next::Nothing(_) | Next::Body(_) => {}
        }
        if let Next::Missing(hash) | Next::Unlisted(hash) | Next::Unreadable(hash) | Next::Nothing(hash) =
            next
        {
            self.after = Some(*hash);
        }
        Ok(())
    }

    /// What is behind the last one; `None` at the end.
    fn next(&self) -> Result<Option<Next>, Error> {
        let start = self.after.map(|hash| successor(&hash.0));
        if start.as_ref().is_some_and(Vec::is_empty) {
            return Ok(None);
        }
        let database = self.store.database();
        let options = within(start.unwrap_or_default()..Vec::new());
        let mut rows = database.db().raw_iterator_cf_opt(database.handle(Family::BlobRef), options);
        rows.seek_to_first();
        let Some(hash) = rows.key().and_then(|key| key.first_chunk::<32>()).map(|hash| BodyHash(*hash))
        else {
            rows.status()?;
            return Ok(None);
        };
        let (mut known, mut names) = (Some(Known::Nothing), Names::default());
        while let Some((key, value)) = rows.item().filter(|(key, _)| key.starts_with(&hash.0)) {
            match key.get(hash.0.len()..).filter(|rest| !rest.is_empty()) {
                None => known = Known::decode(&hash, value),
                Some(rest) if names.take(rest, value).is_none() => known = None,
                Some(_) => {}
            }
            rows.next();
        }
        rows.status()?;
        let is_named = names.holds > 0 || names.references.iter().any(|(_, number)| *number > 0);
        Ok(Some(match known {
            None => Next::Unreadable(hash),
            Some(Known::Stored(stored)) => {
                Next::Body(Body::at(database, hash, stored.len, stored.place).past_cache())
            }
            Some(Known::Missing) => Next::Missing(hash),
            Some(Known::Nothing) if is_named => Next::Unlisted(hash),
            Some(Known::Nothing) => Next::Nothing(hash),
        }))
    }
}

impl fmt::Debug for Scrub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrub").field("after", &self.after).finish()
    }
}
