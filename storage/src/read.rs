//! Reading: the same for the store, a view and a transaction.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{DBPinnableSlice, DBRawIterator, ReadOptions, Snapshot};
use self_cell::self_cell;

use crate::database::Database;
use crate::error::Error;
use crate::family::Family;
use crate::overlay::Merged;

/// Rows can be read.
pub trait Read {
    /// One row.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a checksum does not fit.
    fn read(&self, family: Family, key: &[u8]) -> Result<Option<Pinned>, Error>;

    /// Several rows, in the order of `keys`.
    ///
    /// # Errors
    /// As [`Read::read`].
    fn read_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Pinned>>, Error>;

    /// The rows of a range in order; an empty end means up to the end of the family.
    ///
    /// # Errors
    /// As [`Read::read`]; later errors come as items, and end the scan.
    fn scan(&self, family: Family, range: Range<Vec<u8>>, direction: Direction) -> Result<Scan<'_>, Error>;
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the least key on.
    Forward,
    /// From the greatest key on.
    Backward,
}

/// A row of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The whole key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

self_cell!(
    struct PinnedRow {
        owner: Arc<Database>,
        #[covariant]
        dependent: DBPinnableSlice,
    }
);

type Slices<'a> = Vec<Option<DBPinnableSlice<'a>>>;

self_cell!(
    struct PinnedRows {
        owner: Arc<Database>,
        #[covariant]
        dependent: Slices,
    }
);

/// A value, pinned in RocksDB's own memory (block cache or blob) as long as this lives.
///
/// Keeps the database open; hold it for the time of an answer, not of a session.
pub struct Pinned(Inner);

enum Inner {
    One(PinnedRow),
    OfMany(Arc<PinnedRows>, usize),
    Owned(Bytes),
}

/// Why no [`PinnedRow`] was made.
enum NoRow {
    Missing,
    Error(Error),
}

impl Pinned {
    pub(crate) fn find(
        database: &Arc<Database>,
        family: Family,
        key: &[u8],
        options: Option<&ReadOptions>,
    ) -> Result<Option<Pinned>, Error> {
        let found = PinnedRow::try_new(Arc::clone(database), |database| {
            let (db, handle) = (database.db(), database.handle(family));
            let slice = match options {
                Some(options) => db.get_pinned_cf_opt(handle, key, options),
                None => db.get_pinned_cf(handle, key),
            };
            slice.map_err(|e| NoRow::Error(database.read_error(family, e)))?.ok_or(NoRow::Missing)
        });
        match found {
            Ok(row) => Ok(Some(Pinned(Inner::One(row)))),
            Err(NoRow::Missing) => Ok(None),
            Err(NoRow::Error(error)) => Err(error),
        }
    }

    pub(crate) fn find_many(
        database: &Arc<Database>,
        family: Family,
        keys: &[Vec<u8>],
        options: &ReadOptions,
    ) -> Result<Vec<Option<Pinned>>, Error> {
        let rows = PinnedRows::try_new(Arc::clone(database), |database| {
            let sorted = keys.is_sorted();
            let rows = database.db().batched_multi_get_cf_opt(database.handle(family), keys, sorted, options);
            rows.into_iter().collect::<Result<Slices<'_>, _>>().map_err(|e| database.read_error(family, e))
        })?;
        let rows = Arc::new(rows);
        let present = rows.borrow_dependent().iter().map(Option::is_some).collect::<Vec<_>>();
        let pin = |(place, present): (usize, bool)| {
            present.then(|| Pinned(Inner::OfMany(Arc::clone(&rows), place)))
        };
        Ok(present.into_iter().enumerate().map(pin).collect())
    }

    pub(crate) fn owned(value: Bytes) -> Pinned {
        Pinned(Inner::Owned(value))
    }

    /// The value as shared bytes, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Inner::Owned(bytes) => bytes,
            _ => Bytes::from_owner(self),
        }
    }
}

impl Deref for Pinned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::One(row) => row.borrow_dependent(),
            Inner::OfMany(rows, place) => {
                rows.borrow_dependent().get(*place).and_then(Option::as_deref).unwrap_or_default()
            }
            Inner::Owned(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Pinned {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq<[u8]> for Pinned {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pinned({} bytes)", self.len())
    }
}

/// Rows of a range, one after the other. An error ends it.
pub struct Scan<'a>(Source<'a>);

enum Source<'a> {
    Disk(Cursor<'a>),
    Merged(Box<Merged<'a>>),
}

impl<'a> Scan<'a> {
    pub(crate) fn disk(cursor: Cursor<'a>) -> Scan<'a> {
        Scan(Source::Disk(cursor))
    }

    pub(crate) fn merged(merged: Merged<'a>) -> Scan<'a> {
        Scan(Source::Merged(Box::new(merged)))
    }
}

impl Scan<'_> {
    /// What a function makes of the key and the value of the next row, where they lie: spares the copies
    /// that [`Row`] holds.
    pub fn next_with<T>(&mut self, make: impl FnOnce(&[u8], &[u8]) -> T) -> Option<Result<T, Error>> {
        match &mut self.0 {
            Source::Disk(cursor) => cursor.next_with(make),
            Source::Merged(merged) => merged.next().map(|row| row.map(|row| make(&row.key, &row.value))),
        }
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Source::Disk(cursor) => cursor.next(),
            Source::Merged(merged) => merged.next(),
        }
    }
}

/// An iterator of RocksDB within a range.
pub(crate) struct Cursor<'a> {
    rows: Option<DBRawIterator<'a>>,
    of: (&'a Database, Family),
    direction: Direction,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(
        database: &'a Database,
        family: Family,
        range: Range<Vec<u8>>,
        direction: Direction,
        snapshot: Option<&Snapshot<'_>>,
    ) -> Cursor<'a> {
        if !range.end.is_empty() && range.start >= range.end {
            return Cursor { rows: None, of: (database, family), direction };
        }
        let mut options = ReadOptions::default();
        if let Some(snapshot) = snapshot {
            options.set_snapshot(snapshot);
        }
        options.set_iterate_lower_bound(range.start);
        if !range.end.is_empty() {
            options.set_iterate_upper_bound(range.end);
        }
        options.set_auto_readahead_size(true);
        let mut rows = database.db().raw_iterator_cf_opt(database.handle(family), options);
        match direction {
            Direction::Forward => rows.seek_to_first(),
            Direction::Backward => rows.seek_to_last(),
        }
        Cursor { rows: Some(rows), of: (database, family), direction }
    }

    /// A walk over a whole family that leaves the cache to others.
    pub(crate) fn sweep(database: &'a Database, family: Family, snapshot: &Snapshot<'_>) -> Cursor<'a> {
        let mut rows = database.db().raw_iterator_cf_opt(database.handle(family), sweeping(snapshot));
        rows.seek_to_first();
        Cursor { rows: Some(rows), of: (database, family), direction: Direction::Forward }
    }

    /// The row under the cursor.
    pub(crate) fn item(&self) -> Option<(&[u8], &[u8])> {
        self.rows.as_ref()?.item()
    }

    pub(crate) fn advance(&mut self) {
        if let Some(rows) = &mut self.rows {
            match self.direction {
                Direction::Forward => rows.next(),
                Direction::Backward => rows.prev(),
            }
        }
    }

    /// Moves past the rows of a range in which the cursor stands.
    pub(crate) fn leave(&mut self, range: &Range<Vec<u8>>) {
        let Some(rows) = &mut self.rows else { return };
        match self.direction {
            Direction::Forward if range.end.is_empty() => {
                // Past the last row: a cursor there has no item and no error.
                rows.seek_to_last();
                rows.next();
            }
            Direction::Forward => rows.seek(&range.end),
            Direction::Backward => {
                rows.seek_for_prev(&range.start);
                if rows.key() == Some(range.start.as_slice()) {
                    rows.prev();
                }
            }
        }
    }

    fn next_with<T>(&mut self, make: impl FnOnce(&[u8], &[u8]) -> T) -> Option<Result<T, Error>> {
        match self.item() {
            Some((key, value)) => {
                let made = make(key, value);
                self.advance();
                Some(Ok(made))
            }
            None => self.end().map(Err),
        }
    }

    /// Why there is no row under the cursor: the end, or an error. Told once.
    pub(crate) fn end(&mut self) -> Option<Error> {
        let (database, family) = self.of;
        self.rows.take()?.status().err().map(|error| database.read_error(family, error))
    }
}

/// How a whole family is read.
pub(crate) fn sweeping(snapshot: &Snapshot<'_>) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_snapshot(snapshot);
    options.fill_cache(false);
    options.set_auto_readahead_size(true);
    options
}

impl Iterator for Cursor<'_> {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let copy = Bytes::copy_from_slice;
        self.next_with(|key, value| Row { key: copy(key), value: copy(value) })
    }
}
