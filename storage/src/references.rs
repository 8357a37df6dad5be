//! The references of a scope made anew: for a replica whose rows came as a snapshot, or were taken away.
//!
//! The counters of a scope are spread over all of `blob_ref`, whose keys begin with the hash. So the references are first
//! sorted, by RocksDB: as counters in the store's own family, `0x06 ‖ scope (u32 BE) ‖ hash ‖ length (u64 BE)`. Then both
//! sides are walked once, and what differs is set in commits of bounded size. Memory does not grow with the references.
//!
//! Every step follows from what the rows say, so whatever was done before an end in between, the same call again comes to
//! the same counters. What was sorted and not used goes when it begins, or when the store is opened.

use rocksdb::{DBRawIterator, WriteBatch};

use crate::batch::Batch;
use crate::body::{self, BodyHash, Known, SCOPE_LIMIT};
use crate::collect::within;
use crate::committer::Shared;
use crate::count;
use crate::database::Database;
use crate::error::Error;
use crate::family::Family;
use crate::key::{Key, prefix_range};
use crate::new_body::NewBody;

const SORTED: u8 = 0x06;
/// References in one write.
const SORT_REFERENCES: u64 = 4096;
/// Bodies in one commit.
const SET_BODIES: u64 = 1024;

/// What making the references of a scope anew did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// References that the rows make.
    pub references: u64,
    /// Bodies to which they refer.
    pub bodies: u64,
    /// Bodies whose counter had to be set, or that had to be noted as missing.
    pub changed: u64,
}

/// Sets the counters of a scope. `commit` waits until a batch is durable.
pub(crate) fn replace(
    shared: &Shared,
    scope: u32,
    references: impl IntoIterator<Item = Result<(BodyHash, u64), Error>>,
    commit: impl Fn(Batch) -> Result<(), Error>,
) -> Result<Rebuilt, Error> {
    if scope >= SCOPE_LIMIT {
        return Err(Error::Invalid { reason: "scope of a body reference" });
    }
    let sorted = Key::new().u8(SORTED).u32(scope).build();
    clear(&shared.database, &sorted)?;
    let mut done = Rebuilt { references: sort(shared, &sorted, references)?, ..Rebuilt::default() };
    let mut sides = Sides::new(&shared.database, scope, &sorted);
    let mut batch = Batch::new();
    while let Some(found) = sides.next()? {
        done.bodies += u64::from(found.wanted > 0);
        if !found.is_wrong() {
            continue;
        }
        found.set(scope, &mut batch);
        done.changed += 1;
        if done.changed.is_multiple_of(SET_BODIES) {
            commit(std::mem::take(&mut batch))?;
        }
    }
    if !batch.is_empty() {
        commit(batch)?;
    }
    clear(&shared.database, &sorted)?;
    Ok(done)
}

/// Removes what was sorted and not used before the store was last closed.
pub(crate) fn clear_left_behind(database: &Database) -> Result<(), Error> {
    clear(database, &[SORTED])
}

fn clear(database: &Database, prefix: &[u8]) -> Result<(), Error> {
    let range = prefix_range(prefix);
    let mut rows = database.db().raw_iterator_cf_opt(database.own(), within(range.clone()));
    rows.seek_to_first();
    let is_empty = !rows.valid();
    rows.status()?;
    if !is_empty {
        let mut out = WriteBatch::default();
        out.delete_range_cf(database.own(), range.start, range.end);
        database.write(out)?;
    }
    Ok(())
}

/// Gives how many there are.
fn sort(
    shared: &Shared,
    sorted: &[u8],
    references: impl IntoIterator<Item = Result<(BodyHash, u64), Error>>,
) -> Result<u64, Error> {
    let (mut out, mut number) = (WriteBatch::default(), 0_u64);
    for reference in references {
        let (hash, len) = reference?;
        let key = Key::new().bytes(sorted).bytes(&hash.0).u64(len);
        out.merge_cf(shared.database.own(), key, count::encode(1));
        number += 1;
        if number.is_multiple_of(SORT_REFERENCES) {
            shared.write_unsynced(std::mem::take(&mut out))?;
        }
    }
    shared.write_unsynced(out)?;
    Ok(number)
}

/// What both sides say of a body.
struct Found {
    hash: BodyHash,
    known: Known,
    /// The counter of the scope, and what it should be.
    counted: i64,
    wanted: i64,
    /// As the rows tell it.
    len: u64,
}

impl Found {
    fn is_wrong(&self) -> bool {
        self.counted != self.wanted || (self.wanted > 0 && self.known == Known::Nothing)
    }

    fn set(&self, scope: u32, batch: &mut Batch) {
        batch.set_body_refs(self.hash, scope, self.wanted);
        if self.wanted > 0 {
            // The committer sees whether it is there: it may come, or be collected, meanwhile.
            batch.bring_body(NewBody::absent(self.hash, Some(self.len)));
        }
    }
}

/// A walk over `blob_ref` and the sorted references, side by side.
struct Sides<'a> {
    scope: u32,
    names: DBRawIterator<'a>,
    sorted: DBRawIterator<'a>,
    /// Length of what the keys of the sorted begin with.
    prefix_len: usize,
}

impl<'a> Sides<'a> {
    fn new(database: &'a Database, scope: u32, sorted: &[u8]) -> Sides<'a> {
        let prefix_len = sorted.len();
        let mut names = within(Vec::new()..Vec::new());
        names.fill_cache(false);
        names.set_auto_readahead_size(true);
        let mut names = database.db().raw_iterator_cf_opt(database.handle(Family::BlobRef), names);
        let mut sorted = database.db().raw_iterator_cf_opt(database.own(), within(prefix_range(sorted)));
        names.seek_to_first();
        sorted.seek_to_first();
        Sides { scope, names, sorted, prefix_len }
    }

    /// The next hash that either side has.
    fn next(&mut self) -> Result<Option<Found>, Error> {
        let named = self.names.key().and_then(first_hash);
        let referred = self.sorted.key().and_then(|key| first_hash(key.get(self.prefix_len..)?));
        self.names.status()?;
        self.sorted.status()?;
        let Some(hash) = [named, referred].into_iter().flatten().min() else { return Ok(None) };
        let mut found = Found { hash, known: Known::Nothing, counted: 0, wanted: 0, len: 0 };
        self.take_names(&mut found)
            .ok_or_else(|| Error::damaged(format!("body {hash}"), "unreadable references"))?;
        self.take_sorted(&mut found)
            .ok_or_else(|| Error::damaged(format!("body {hash}"), "unreadable count"))?;
        Ok(Some(found))
    }

    fn take_names(&mut self, found: &mut Found) -> Option<()> {
        let counter = body::ref_key(&found.hash, self.scope);
        while let Some((key, value)) = self.names.item().filter(|(key, _)| key.starts_with(&found.hash.0)) {
            if key == found.hash.0 {
                found.known = Known::decode(&found.hash, value)?;
            } else if key == counter {
                found.counted = count::decode(value)?;
            }
            self.names.next();
        }
        Some(())
    }

    fn take_sorted(&mut self, found: &mut Found) -> Option<()> {
        while let Some((key, value)) = self.sorted.item() {
            let (hash, len) = key.get(self.prefix_len..)?.split_first_chunk::<32>()?;
            if *hash != found.hash.0 {
                break;
            }
            found.wanted += count::decode(value)?;
            found.len = u64::from_be_bytes(len.try_into().ok()?);
            self.sorted.next();
        }
        Some(())
    }
}

fn first_hash(key: &[u8]) -> Option<BodyHash> {
    key.first_chunk::<32>().map(|hash| BodyHash(*hash))
}
