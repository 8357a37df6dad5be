//! The store as it was at one moment.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use rocksdb::{ReadOptions, Snapshot};
use self_cell::self_cell;

use crate::body::BodyHash;
use crate::database::Database;
use crate::error::Error;
use crate::family::Family;
use crate::read::{Cursor, Direction, Pinned, Read, Scan};
use crate::stored::Body;
use crate::verify::{self, Progress, Report};

/// A snapshot and the options that read through it.
struct Seen<'a> {
    options: ReadOptions,
    snapshot: Snapshot<'a>,
}

self_cell!(
    struct ViewCell {
        owner: Arc<Database>,
        #[covariant]
        dependent: Seen,
    }
);

/// The store as it was at one moment. Cheap to clone. Keeps old rows from being removed: let it go soon.
#[derive(Clone)]
pub struct View(Arc<ViewCell>);

impl Read for View {
    fn read(&self, family: Family, key: &[u8]) -> Result<Option<Pinned>, Error> {
        Pinned::find(self.0.borrow_owner(), family, key, Some(&self.0.borrow_dependent().options))
    }

    fn read_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Pinned>>, Error> {
        Pinned::find_many(self.0.borrow_owner(), family, keys, &self.0.borrow_dependent().options)
    }

    fn scan(&self, family: Family, range: Range<Vec<u8>>, direction: Direction) -> Result<Scan<'_>, Error> {
        let snapshot = &self.0.borrow_dependent().snapshot;
        Ok(Scan::disk(Cursor::new(self.0.borrow_owner(), family, range, direction, Some(snapshot))))
    }
}

impl View {
    pub(crate) fn of(database: &Arc<Database>) -> View {
        let cell = ViewCell::new(Arc::clone(database), |database| {
            let snapshot = database.db().snapshot();
            let mut options = ReadOptions::default();
            options.set_snapshot(&snapshot);
            Seen { options, snapshot }
        });
        View(Arc::new(cell))
    }

    /// A body, if it is there now: bodies do not change, so they are read past the snapshot.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn body(&self, hash: &BodyHash) -> Result<Option<Body>, Error> {
        Body::find(self.0.borrow_owner(), hash)
    }

    /// As [`crate::Store::body_of`].
    #[must_use]
    pub fn body_of(&self, hash: BodyHash, len: u64) -> Body {
        Body::named(self.0.borrow_owner(), hash, len)
    }

    /// Reads all that is stored of bodies and compares it with their hashes and with the references that
    /// the rows of the same view make: `references` yields a shard and a hash for each of them, in any
    /// order. Costs 36 bytes of memory for a reference.
    ///
    /// # Errors
    /// Errors of `references`, and of reading the tables that list the bodies; what is wrong with a
    /// single body is in the report.
    pub fn verify(
        &self,
        references: impl IntoIterator<Item = Result<(u32, BodyHash), Error>>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Report, Error> {
        verify::verify(self.0.borrow_owner(), &self.0.borrow_dependent().snapshot, references, progress)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({})", self.0.borrow_dependent().snapshot.sequence_number())
    }
}
