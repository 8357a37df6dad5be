//! The generic half of a check of the whole store: every body against its hash, every counter against
//! the references that the rows make.
//!
//! `blob_ref` and `blob` are walked side by side, once, in the order of hashes, beside the sorted
//! references; of all families but `blob` the rows are read, also those that were removed as ranges and lie in the tables still,
//! so that their checksums are. Nothing is written. Bodies that were
//! staged have their chunks at places of their own: the walk comes upon them there, and knows from the store's own rows
//! whose they are.
//!
//! What cannot be read is a problem like others, and the check goes on: in `blob` at the next body that has
//! a name. In other families the rows behind it are not looked at.

use std::collections::HashMap;
use std::iter::Peekable;
use std::vec;

use rocksdb::{ColumnFamily, Snapshot};

use crate::body::{self, BodyHash, CHUNK_BYTES, Known, Place, Stored};
use crate::chunks::Chunks;
use crate::collect::{Names, within};
use crate::database::{Database, OWN};
use crate::error::Error;
use crate::family::Family;
use crate::key::prefix_range;
use crate::missing;
use crate::read::{Cursor, Row, sweeping};
use crate::stage::{self, Placed};

/// A report names no more problems than this; it counts them all.
pub const PROBLEMS_MAX: usize = 10_000;
/// Bodies between two reports of progress.
const PROGRESS_BODIES: u64 = 256;

/// How far a check is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bodies looked at.
    pub bodies: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bodies in all, as RocksDB estimates it from its files; 0 if it cannot tell.
    pub bodies_estimated: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Bodies stored.
    pub bodies: u64,
    /// Their bytes.
    pub bytes: u64,
    /// References that the rows make.
    pub references: u64,
    /// Holds of log entries that are not applied.
    pub holds: u64,
    /// Bodies to be fetched from another node.
    pub missing: u64,
    /// Bodies that were under way: nobody can read them, and they are removed when nobody takes them.
    pub under_way: u64,
    /// Number of problems.
    pub problem_count: u64,
    /// The first [`PROBLEMS_MAX`] of them.
    pub problems: Vec<Problem>,
}

/// Something that should not be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A body is not readable, incomplete, or does not fit its hash.
    Damaged {
        /// The body.
        hash: BodyHash,
        /// What is wrong.
        reason: String,
    },
    /// A body is not here yet: it is to be fetched from another node ([`crate::Store::missing`]).
    ToFetch {
        /// The body.
        hash: BodyHash,
    },
    /// Rows name a body that is not there, and it is not listed to be fetched.
    Missing {
        /// The body.
        hash: BodyHash,
        /// Shard of the rows; `None` for a log entry.
        scope: Option<u32>,
    },
    /// A counter does not fit the rows.
    WrongCount {
        /// The body.
        hash: BodyHash,
        /// The shard.
        scope: u32,
        /// What the counter says.
        stored: i64,
        /// How many references the rows make.
        counted: i64,
    },
    /// Nothing names the body, and it is no candidate for collection: see [`crate::Store::release_unnamed`].
    Unnamed {
        /// The body.
        hash: BodyHash,
        /// Its bytes.
        bytes: u64,
    },
    /// A piece of a body that is not there.
    StrayChunk {
        /// Its key.
        key: Vec<u8>,
    },
    /// Rows of a family cannot be read; those behind them (in `blob`: up to the next body with a name) were not
    /// looked at.
    Unreadable {
        /// Name of the family.
        family: &'static str,
        /// What RocksDB says.
        reason: String,
    },
}

pub(crate) fn verify(
    database: &Database,
    snapshot: &Snapshot<'_>,
    references: impl IntoIterator<Item = Result<(u32, BodyHash), Error>>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, Error> {
    let mut sorted = references
        .into_iter()
        .map(|r| r.map(|(scope, hash)| (hash, scope)))
        .collect::<Result<Vec<_>, _>>()?;
    sorted.sort_unstable();
    let report = Report { references: sorted.len() as u64, ..Report::default() };
    let places = places(database, snapshot)?;
    let mut check = Check {
        database,
        snapshot,
        names: Cursor::sweep(database, Family::BlobRef, snapshot).peekable(),
        chunks: Chunks::new(database, snapshot),
        references: sorted.into_iter().peekable(),
        placed: places.iter().filter_map(|(place, at)| Some((*place, (*at)?))).collect(),
        places: places.into_iter().peekable(),
        report,
    };
    let estimate = database
        .db()
        .property_int_value_cf(database.handle(Family::BlobRef), rocksdb::properties::ESTIMATE_NUM_KEYS);
    // About three rows for a body: length, counter, and now and then a candidate.
    let bodies_estimated = estimate.ok().flatten().unwrap_or(0) / 2;
    while check.step() {
        let Report { bodies, bytes, .. } = check.report;
        if bodies % PROGRESS_BODIES == 0 {
            progress(Progress { bodies, bytes, bodies_estimated: bodies_estimated.max(bodies) });
        }
    }
    for family in Family::ALL.into_iter().filter(|family| *family != Family::Blob) {
        check.read_all(database.handle(family), family.name());
    }
    check.read_all(database.own(), OWN);
    let Report { bodies, bytes, .. } = check.report;
    progress(Progress { bodies, bytes, bodies_estimated: bodies });
    Ok(check.report)
}

/// A place and whose it is: `None` for a body that was under way.
type At = (Place, Option<Placed>);

/// The places of all bodies that were staged, in their order.
fn places(database: &Database, snapshot: &Snapshot<'_>) -> Result<Vec<At>, Error> {
    let mut places = Vec::new();
    for kind in [stage::UNDER_WAY, stage::PLACED] {
        let mut options = within(prefix_range(&[kind]));
        options.set_snapshot(snapshot);
        let mut rows = database.db().raw_iterator_cf_opt(database.own(), options);
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            let unreadable = || Error::damaged(format!("row {key:02x?}"), "unreadable place of a body");
            let place =
                key.get(1..).and_then(|place| place.try_into().ok()).map(Place).ok_or_else(unreadable)?;
            let placed =
                (kind == stage::PLACED).then(|| Placed::decode(value).ok_or_else(unreadable)).transpose()?;
            places.push((place, placed));
            rows.next();
        }
        rows.status()?;
    }
    places.sort_unstable_by_key(|(place, _)| *place);
    Ok(places)
}

struct Check<'a> {
    database: &'a Database,
    snapshot: &'a Snapshot<'a>,
    names: Peekable<Cursor<'a>>,
    chunks: Chunks<'a>,
    references: Peekable<vec::IntoIter<(BodyHash, u32)>>,
    places: Peekable<vec::IntoIter<At>>,
    /// Bodies at places whose names are still to come.
    placed: HashMap<Place, Placed>,
    report: Report,
}

impl Check<'_> {
    /// Reads a family's tables whole: rows that were removed as a range stay there until compaction, which will meet them.
    fn read_all(&mut self, family: &ColumnFamily, name: &'static str) {
        let mut options = sweeping(self.snapshot);
        #[expect(
            deprecated,
            reason = "the only way to what ranges hide; RocksDB's own check of checksums is not in the binding"
        )]
        options.set_ignore_range_deletions(true);
        let mut rows = self.database.db().raw_iterator_cf_opt(family, options);
        rows.seek_to_first();
        while rows.valid() {
            rows.next();
        }
        let is_told =
            |problem: &Problem| matches!(problem, Problem::Unreadable { family, .. } if *family == name);
        if let Err(error) = rows.status()
            && !self.report.problems.iter().any(is_told)
        {
            self.problem(Problem::Unreadable { family: name, reason: Error::from(error).to_string() });
        }
    }

    /// Looks at the least hash that any of the three sides has; false at the end.
    fn step(&mut self) -> bool {
        let named = match self.names.peek() {
            Some(Ok(row)) => hash_of(&row.key),
            // Without names, nothing can be said of what else there is of bodies.
            Some(Err(error)) => {
                let reason = error.to_string();
                self.problem(Problem::Unreadable { family: Family::BlobRef.name(), reason });
                return false;
            }
            None => None,
        };
        let stored = self.chunks.key().and_then(hash_of);
        let referred = self.references.peek().map(|(hash, _)| *hash);
        let placed = self.places.peek().map(|(place, _)| BodyHash(place.0));
        let Some(hash) = [named, stored, referred, placed].into_iter().flatten().min() else {
            let fault = self.chunks.fault();
            self.unreadable_chunks(fault);
            self.without_names();
            return false;
        };
        if stored.is_none() {
            // It may be this body that cannot be read, then it is told of it, or what lies before it.
            let fault = self.chunks.go_on_at(&hash);
            self.unreadable_chunks(fault);
        }
        if placed == Some(hash)
            && let Some(at) = self.places.next()
        {
            self.staged(at);
            return true;
        }
        let name = self.names_of(&hash);
        let here = name
            .as_ref()
            .and_then(|name| name.known.stored())
            .filter(|stored| stored.place == Place::from(hash));
        let chunks = self.chunks_of(&hash.into(), here.map(|stored| (hash, stored.len)));
        let counted = self.references_of(&hash);
        match name {
            Some(Name { known: Known::Stored(stored), names }) => {
                self.report.bodies += 1;
                self.report.bytes += stored.len;
                self.report.holds += names.holds as u64;
                if let Err(reason) = chunks.and_then(|()| self.leads_to_its_place(&hash, &stored)) {
                    self.problem(Problem::Damaged { hash, reason });
                }
                self.compare(hash, stored.len, &names, &counted);
            }
            Some(Name { known: Known::Missing, names }) => {
                self.missing(hash, &names, &counted, chunks.is_ok());
            }
            name => self.absent(hash, name.as_ref(), &counted, chunks.is_ok()),
        }
        true
    }

    /// Looks at the chunks of a body that was staged.
    fn staged(&mut self, (place, placed): At) {
        let Some(Placed { len, hash }) = placed else {
            self.report.under_way += 1;
            return self.chunks.pass(&place);
        };
        if let Err(reason) = self.chunks_of(&place, Some((hash, len))) {
            self.problem(Problem::Damaged { hash, reason });
        }
    }

    /// The name of a body and the row of its place have to fit.
    fn leads_to_its_place(&mut self, hash: &BodyHash, stored: &Stored) -> Result<(), String> {
        let expected = Placed { len: stored.len, hash: *hash };
        if stored.place == Place::from(*hash) || self.placed.remove(&stored.place) == Some(expected) {
            return Ok(());
        }
        Err("its chunks are at a place that is not its own".to_owned())
    }

    /// Bodies at places that no name has led to.
    fn without_names(&mut self) {
        let mut left: Vec<Place> = self.placed.drain().map(|(place, _)| place).collect();
        left.sort_unstable();
        left.into_iter().for_each(|place| self.problem(Problem::StrayChunk { key: place.0.to_vec() }));
    }

    fn unreadable_chunks(&mut self, fault: Option<String>) {
        if let Some(reason) = fault {
            self.problem(Problem::Unreadable { family: Family::Blob.name(), reason });
        }
    }

    fn problem(&mut self, problem: Problem) {
        self.report.problem_count += 1;
        if self.report.problems.len() < PROBLEMS_MAX {
            self.report.problems.push(problem);
        }
    }

    /// Compares counters with references, and looks for a body that nothing names.
    fn compare(&mut self, hash: BodyHash, bytes: u64, named: &Names, counted: &[(u32, i64)]) {
        let number = |side: &[(u32, i64)], scope| {
            side.iter().find(|(s, _)| *s == scope).map_or(0, |(_, number)| *number)
        };
        let mut scopes: Vec<u32> = named.references.iter().chain(counted).map(|(scope, _)| *scope).collect();
        scopes.sort_unstable();
        scopes.dedup();
        for scope in scopes {
            let (stored, counted) = (number(&named.references, scope), number(counted, scope));
            if stored != counted {
                self.problem(Problem::WrongCount { hash, scope, stored, counted });
            }
        }
        if !named.is_named() && named.candidate_ms.is_none() && counted.is_empty() {
            self.problem(Problem::Unnamed { hash, bytes });
        }
    }

    /// There is no such body, and that is known.
    fn missing(&mut self, hash: BodyHash, names: &Names, counted: &[(u32, i64)], no_chunks: bool) {
        self.report.missing += 1;
        self.report.holds += names.holds as u64;
        match missing::was_listed(self.database, self.snapshot, &hash) {
            // It waits to be collected: nobody has to fetch it, or may even have it.
            Ok(true) if !names.is_named() && counted.is_empty() => {}
            Ok(true) => self.problem(Problem::ToFetch { hash }),
            listed => {
                let reason = listed.map_or_else(
                    |error| error.to_string(),
                    |_| "it is missing, and not listed to be fetched".to_owned(),
                );
                self.problem(Problem::Damaged { hash, reason });
            }
        }
        self.compare(hash, 0, names, counted);
        if !no_chunks {
            self.problem(Problem::StrayChunk { key: hash.0.to_vec() });
        }
    }

    /// There is no such body, but something of it or to it. A counter of zero may be left behind.
    fn absent(&mut self, hash: BodyHash, name: Option<&Name>, counted: &[(u32, i64)], no_chunks: bool) {
        for (scope, _) in counted {
            self.problem(Problem::Missing { hash, scope: Some(*scope) });
        }
        let Some(Name { names: named, .. }) = name else {
            if !no_chunks {
                self.problem(Problem::StrayChunk { key: hash.0.to_vec() });
            }
            return;
        };
        if named.holds > 0 {
            self.problem(Problem::Missing { hash, scope: None });
        }
        for (scope, stored) in
            named.references.iter().filter(|(scope, _)| !counted.iter().any(|(s, _)| s == scope))
        {
            self.problem(Problem::WrongCount { hash, scope: *scope, stored: *stored, counted: 0 });
        }
        if !no_chunks {
            self.problem(Problem::StrayChunk { key: hash.0.to_vec() });
        }
    }

    fn names_of(&mut self, hash: &BodyHash) -> Option<Name> {
        let mut name: Option<Name> = None;
        while let Some(row) = next_of(&mut self.names, hash) {
            let name = name.get_or_insert_default();
            match row.key.get(hash.0.len()..).filter(|rest| !rest.is_empty()) {
                None => name.known = Known::decode(hash, &row.value).unwrap_or(unreadable(hash)),
                Some(rest) if name.names.take(rest, &row.value).is_some() => {}
                Some(_) => {
                    self.problem(Problem::Damaged { hash: *hash, reason: "unreadable references".to_owned() })
                }
            }
        }
        name
    }

    /// Reads all chunks of a place; an error says why they are not the body of that hash and length. Without them, `Ok`
    /// means that there are no chunks.
    fn chunks_of(&mut self, place: &Place, body: Option<(BodyHash, u64)>) -> Result<(), String> {
        let len = body.map(|(_, len)| len);
        let mut hasher = blake3::Hasher::new();
        let (mut count, mut bytes, mut fault) = (0_u32, 0_u64, None);
        while let Some((key, value)) = self.chunks.item().filter(|(key, _)| key.starts_with(&place.0)) {
            if key != body::chunk_key(place, count).as_slice() {
                fault.get_or_insert(format!("chunk {count} is missing"));
            }
            count = count.saturating_add(1);
            bytes += value.len() as u64;
            if len.is_some_and(|len| bytes < len) && value.len() != CHUNK_BYTES {
                fault.get_or_insert(format!("chunk {} is too short", count - 1));
            }
            hasher.update(value);
            self.chunks.advance();
        }
        let Some((hash, len)) = body else { return if count == 0 { Ok(()) } else { Err(String::new()) } };
        // Where chunks are wanting and the walk has come upon an error, that is why.
        if bytes < len
            && let Some(reason) = self.chunks.fault()
        {
            return Err(format!("chunk {count}: {reason}"));
        }
        if bytes != len {
            fault.get_or_insert(format!("{bytes} bytes of {len} are there"));
        }
        if fault.is_none() && *hasher.finalize().as_bytes() != hash.0 {
            fault = Some("its bytes do not fit its hash".to_owned());
        }
        fault.map_or(Ok(()), Err)
    }

    /// How often each shard refers to a hash.
    fn references_of(&mut self, hash: &BodyHash) -> Vec<(u32, i64)> {
        let mut counted: Vec<(u32, i64)> = Vec::new();
        while let Some((_, scope)) = self.references.next_if(|(other, _)| other == hash) {
            match counted.last_mut() {
                Some((last, number)) if *last == scope => *number += 1,
                _ => counted.push((scope, 1)),
            }
        }
        counted
    }
}

/// The rows of a hash in `blob_ref`.
#[derive(Default)]
struct Name {
    known: Known,
    names: Names,
}

/// For a row that cannot be read: no body has this length.
fn unreadable(hash: &BodyHash) -> Known {
    Known::Stored(Stored { len: u64::MAX, place: Place::from(*hash) })
}

/// The next row, if its key begins with the hash. An error stays for [`Check::step`].
fn next_of(cursor: &mut Peekable<Cursor<'_>>, hash: &BodyHash) -> Option<Row> {
    let row = cursor.next_if(|row| row.as_ref().is_ok_and(|row| row.key.starts_with(&hash.0)));
    row.and_then(Result::ok)
}

fn hash_of(key: &[u8]) -> Option<BodyHash> {
    key.first_chunk::<32>().map(|hash| BodyHash(*hash))
}
