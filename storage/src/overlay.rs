//! The writes of a transaction over one family, in order, and reading through them.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::iter::Peekable;
use std::ops::{Bound, Range};

use bytes::Bytes;

use crate::count;
use crate::error::Error;
use crate::read::{Cursor, Direction, Row};

/// What a transaction does to a row.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Put(Bytes),
    Delete,
    /// Adds to whatever counter the store has.
    Add(i64),
}

/// The writes. `rows` are newer than `gone`.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    pub(crate) rows: BTreeMap<Vec<u8>, Entry>,
    /// Ranges whose rows in the store are removed.
    pub(crate) gone: Vec<Range<Vec<u8>>>,
}

impl Overlay {
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.gone.is_empty()
    }

    /// True if the store's row with this key is hidden by a removed range.
    pub(crate) fn hides(&self, key: &[u8]) -> bool {
        self.gone.iter().any(|range| holds(range, key))
    }

    /// What adding means for a row, given what the transaction did to it before.
    pub(crate) fn added(&self, key: &[u8], delta: i64) -> Result<Entry, Error> {
        let overflow = Error::Invalid { reason: "counter overflow" };
        match self.rows.get(key) {
            Some(Entry::Add(before)) => before.checked_add(delta).map(Entry::Add).ok_or(overflow),
            Some(Entry::Put(value)) => {
                let before = decode(key, value)?;
                before.checked_add(delta).map(|sum| Entry::Put(counter(sum))).ok_or(overflow)
            }
            Some(Entry::Delete) => Ok(Entry::Put(counter(delta))),
            None if self.hides(key) => Ok(Entry::Put(counter(delta))),
            None => Ok(Entry::Add(delta)),
        }
    }

    pub(crate) fn scan<'a>(
        &'a self,
        cursor: Cursor<'a>,
        range: &Range<Vec<u8>>,
        direction: Direction,
    ) -> Merged<'a> {
        let rows = if !range.end.is_empty() && range.start >= range.end {
            None
        } else {
            Some(self.rows.range::<[u8], _>(bounds(range)))
        };
        let rows = Ordered { rows, direction }.peekable();
        Merged { cursor, rows, gone: &self.gone, direction, ended: false }
    }
}

/// The bounds of a range whose empty end means: no end.
pub(crate) fn bounds(range: &Range<Vec<u8>>) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let end = if range.end.is_empty() { Bound::Unbounded } else { Bound::Excluded(range.end.as_slice()) };
    (Bound::Included(range.start.as_slice()), end)
}

/// True if a range, whose empty end means no end, has the key.
pub(crate) fn holds(range: &Range<Vec<u8>>, key: &[u8]) -> bool {
    key >= range.start.as_slice() && (range.end.is_empty() || key < range.end.as_slice())
}

pub(crate) fn counter(count: i64) -> Bytes {
    Bytes::copy_from_slice(&count::encode(count))
}

pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<i64, Error> {
    count::decode(value).ok_or_else(|| Error::damaged(format!("row {key:02x?}"), "not a counter"))
}

/// The value that an [`Entry`] makes of the store's; `None` for a removed row.
pub(crate) fn value(key: &[u8], entry: &Entry, stored: Option<&[u8]>) -> Result<Option<Bytes>, Error> {
    match entry {
        Entry::Put(value) => Ok(Some(value.clone())),
        Entry::Delete => Ok(None),
        Entry::Add(delta) => {
            let before = stored.map_or(Ok(0), |value| decode(key, value))?;
            let sum = before.checked_add(*delta).ok_or(Error::Invalid { reason: "counter overflow" })?;
            Ok(Some(counter(sum)))
        }
    }
}

/// Entries in the direction of a scan.
struct Ordered<'a> {
    rows: Option<btree_map::Range<'a, Vec<u8>, Entry>>,
    direction: Direction,
}

impl<'a> Iterator for Ordered<'a> {
    type Item = (&'a Vec<u8>, &'a Entry);

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.rows.as_mut()?;
        match self.direction {
            Direction::Forward => rows.next(),
            Direction::Backward => rows.next_back(),
        }
    }
}

/// A scan over the store's rows and a transaction's.
pub(crate) struct Merged<'a> {
    cursor: Cursor<'a>,
    rows: Peekable<Ordered<'a>>,
    gone: &'a [Range<Vec<u8>>],
    direction: Direction,
    ended: bool,
}

/// Which side has the next row.
enum Side {
    Stored,
    Own,
    Both,
}

impl Merged<'_> {
    fn side(&mut self) -> Option<Side> {
        let stored = self.cursor.item().map(|(key, _)| key);
        let own = self.rows.peek().map(|(key, _)| key.as_slice());
        match (stored, own) {
            (None, None) => None,
            (Some(_), None) => Some(Side::Stored),
            (None, Some(_)) => Some(Side::Own),
            (Some(stored), Some(own)) if stored == own => Some(Side::Both),
            (Some(stored), Some(own)) if (stored < own) == (self.direction == Direction::Forward) => {
                Some(Side::Stored)
            }
            (Some(_), Some(_)) => Some(Side::Own),
        }
    }

    /// Moves the cursor past rows that are gone.
    fn skip_gone(&mut self) {
        while let Some((key, _)) = self.cursor.item() {
            let Some(range) = self.gone.iter().find(|range| holds(range, key)) else { break };
            self.cursor.leave(range);
        }
    }

    fn step(&mut self) -> Result<Option<Row>, Error> {
        loop {
            self.skip_gone();
            if self.cursor.item().is_none()
                && let Some(error) = self.cursor.end()
            {
                return Err(error);
            }
            let Some(side) = self.side() else { return Ok(None) };
            let stored = match side {
                Side::Own => None,
                Side::Stored | Side::Both => {
                    let row = self
                        .cursor
                        .item()
                        .map(|(key, value)| (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
                    self.cursor.advance();
                    row
                }
            };
            if let (Side::Stored, Some((key, value))) = (&side, &stored) {
                return Ok(Some(Row { key: key.clone(), value: value.clone() }));
            }
            let Some((key, entry)) = self.rows.next() else { return Ok(None) };
            if let Some(value) = value(key, entry, stored.as_ref().map(|(_, value)| value.as_ref()))? {
                return Ok(Some(Row { key: Bytes::copy_from_slice(key), value }));
            }
        }
    }
}

impl Iterator for Merged<'_> {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.step().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}
