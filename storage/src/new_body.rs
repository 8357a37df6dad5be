//! A body on its way into the store: its name, and where its bytes are meanwhile.

use std::sync::Arc;

use bytes::Bytes;
use rocksdb::WriteBatch;

use crate::body::{self, Body, BodyHash, Place, Stored};
use crate::database::Database;
use crate::error::Error;
use crate::family::Family;
use crate::stage::Owner;

/// A body to be stored under its hash. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NewBody {
    hash: BodyHash,
    len: u64,
    content: Content,
    /// A row of [`Family::Structure`] that comes with it.
    structure: Option<Bytes>,
}

#[derive(Clone, Debug)]
enum Content {
    Pieces(Vec<Bytes>),
    /// Written already, see [`crate::Staging`].
    Staged(Arc<Owner>),
    /// In the store, where something names it.
    Stored,
}

impl NewBody {
    /// The body of these bytes.
    #[must_use]
    pub fn of(pieces: Vec<Bytes>) -> NewBody {
        NewBody::named(BodyHash::of(&pieces), pieces)
    }

    /// The body of these bytes, whose hash is known.
    #[must_use]
    pub fn named(hash: BodyHash, pieces: Vec<Bytes>) -> NewBody {
        let len = pieces.iter().map(|piece| piece.len() as u64).sum();
        NewBody { hash, len, content: Content::Pieces(pieces), structure: None }
    }

    /// One that is in the store. What names it there must do so until the commit is done.
    #[must_use]
    pub fn stored(body: &Body) -> NewBody {
        NewBody { hash: body.hash(), len: body.len(), content: Content::Stored, structure: None }
    }

    pub(crate) fn staged(hash: BodyHash, len: u64, owner: Arc<Owner>) -> NewBody {
        NewBody { hash, len, content: Content::Staged(owner), structure: None }
    }

    /// The same with a row of [`Family::Structure`], which goes when the body goes.
    #[must_use]
    pub fn with_structure(self, row: Bytes) -> NewBody {
        NewBody { structure: Some(row), ..self }
    }

    /// Its name.
    #[must_use]
    pub fn hash(&self) -> BodyHash {
        self.hash
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True for the body without bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True if it was written while it came: nothing of it lies in memory.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        matches!(self.content, Content::Staged(_))
    }

    /// Bytes that it has in memory, and adds to a write.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        let pieces = match &self.content {
            Content::Pieces(pieces) => pieces.iter().map(Bytes::len).sum(),
            Content::Staged(_) | Content::Stored => 0,
        };
        pieces + self.structure.as_ref().map_or(0, Bytes::len)
    }

    /// Appends it to a batch, unless it is there (`known`: where, also earlier in this batch). Gives where it is then.
    pub(crate) fn write(
        &self,
        database: &Database,
        out: &mut WriteBatch,
        known: Option<Place>,
    ) -> Result<Place, Error> {
        let place = match &self.content {
            Content::Pieces(pieces) if known.is_none() => {
                body::write(database, out, &self.hash, pieces)?;
                Place::from(self.hash)
            }
            Content::Staged(owner) => {
                owner.take(database, out, &self.hash, self.len, known)?;
                known.unwrap_or(owner.place())
            }
            Content::Pieces(_) | Content::Stored => known.ok_or_else(|| {
                Error::damaged(format!("body {}", self.hash), "it is missing, though something named it")
            })?,
        };
        if let (None, Some(row)) = (known, &self.structure) {
            out.put_cf(database.handle(Family::Structure), self.hash.0, row);
        }
        Ok(place)
    }

    /// Where a body of this hash is in the store.
    pub(crate) fn known(&self, database: &Database) -> Result<Option<Place>, Error> {
        Ok(Stored::find(database, &self.hash)?.map(|stored| stored.place))
    }
}
