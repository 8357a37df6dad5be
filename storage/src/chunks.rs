//! A walk over the chunks of all bodies, for the check of the whole store: it goes on behind what cannot be read.

use rocksdb::{DBRawIterator, ReadOptions, Snapshot};

use crate::body::{BodyHash, Place};
use crate::database::Database;
use crate::family::Family;

/// A walk over `blob` that can go on behind what cannot be read.
pub(crate) struct Chunks<'a> {
    rows: DBRawIterator<'a>,
    /// True once the error under the iterator was told.
    told: bool,
}

impl<'a> Chunks<'a> {
    pub(crate) fn new(database: &'a Database, snapshot: &Snapshot<'_>) -> Chunks<'a> {
        let mut options = ReadOptions::default();
        options.set_snapshot(snapshot);
        options.fill_cache(false);
        options.set_auto_readahead_size(true);
        let mut rows = database.db().raw_iterator_cf_opt(database.handle(Family::Blob), options);
        rows.seek_to_first();
        Chunks { rows, told: false }
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.rows.key()
    }

    pub(crate) fn item(&self) -> Option<(&[u8], &[u8])> {
        self.rows.item()
    }

    pub(crate) fn advance(&mut self) {
        self.rows.next();
    }

    /// Goes past the chunks of a place.
    pub(crate) fn pass(&mut self, place: &Place) {
        while self.rows.key().is_some_and(|key| key.starts_with(&place.0)) {
            self.rows.next();
        }
    }

    /// Goes to the first chunk of a body, if the walk stands at an error. Gives the error if it was none of that body and
    /// is not told yet.
    pub(crate) fn go_on_at(&mut self, hash: &BodyHash) -> Option<String> {
        self.rows.status().err()?;
        let before = self.fault();
        self.rows.seek(hash.0);
        self.told = false;
        before.filter(|_| self.rows.status().is_ok())
    }

    /// The error at which the walk stands, told once.
    pub(crate) fn fault(&mut self) -> Option<String> {
        let error = self.rows.status().err().filter(|_| !self.told)?;
        self.told = true;
        Some(error.into_string())
    }
}
