//! A body on its way into the store: its name, and where its bytes are meanwhile.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::WriteBatch;

use crate::body::{self, BodyHash, Known, Place, Stored};
use crate::collect;
use crate::database::Database;
use crate::error::Error;
use crate::family::Family;
use crate::missing;
use crate::stage::Owner;
use crate::stored::Body;

/// A body to be stored under its hash. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NewBody {
    hash: BodyHash,
    len: u64,
    content: Content,
    /// A row of [`Family::Structure`] that comes with it.
    structure: Option<Bytes>,
    /// Written even where it is stored already, in its place.
    anew: bool,
}

#[derive(Clone, Debug)]
enum Content {
    Pieces(Vec<Bytes>),
    /// Written already, see [`crate::Staging`].
    Staged(Arc<Owner>),
    /// In the store, where something names it.
    Stored(Body),
    /// To be fetched, unless it is there; with its length where that is known. `expected`: it was seen to be there.
    Absent {
        len: Option<u64>,
        expected: bool,
    },
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
        NewBody { hash, len, content: Content::Pieces(pieces), structure: None, anew: false }
    }

    /// One that is in the store. What names it there must do so until the commit is done.
    #[must_use]
    pub fn stored(body: &Body) -> NewBody {
        NewBody {
            hash: body.hash(),
            len: body.len(),
            content: Content::Stored(body.clone()),
            structure: None,
            anew: false,
        }
    }

    /// One that may not be there yet. A commit that brings it writes nothing if the body is there, and notes otherwise
    /// that it is missing ([`crate::Store::missing`]), until a commit brings its bytes.
    #[must_use]
    pub fn absent(hash: BodyHash, len: Option<u64>) -> NewBody {
        let content = Content::Absent { len, expected: false };
        NewBody { hash, len: len.unwrap_or(0), content, structure: None, anew: false }
    }

    /// The same for one that was seen to be there, and may be collected before the commit.
    #[must_use]
    pub fn expected(body: &Body) -> NewBody {
        let content = Content::Absent { len: Some(body.len()), expected: true };
        NewBody { hash: body.hash(), len: body.len(), content, structure: None, anew: false }
    }

    pub(crate) fn staged(hash: BodyHash, len: u64, owner: Arc<Owner>) -> NewBody {
        NewBody { hash, len, content: Content::Staged(owner), structure: None, anew: false }
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

    /// Length in bytes; 0 where that of an absent one is not known.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True for the body without bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True if it has no bytes to bring: [`NewBody::absent`].
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self.content, Content::Absent { .. })
    }

    /// True if it has no bytes to bring since the store has them: [`NewBody::expected`].
    #[must_use]
    pub fn is_expected(&self) -> bool {
        matches!(self.content, Content::Absent { expected: true, .. })
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
            Content::Staged(_) | Content::Stored(_) | Content::Absent { .. } => 0,
        };
        pieces + self.structure.as_ref().map_or(0, Bytes::len)
    }

    /// The row of [`Family::Structure`] that comes with it.
    #[must_use]
    pub fn structure(&self) -> Option<&Bytes> {
        self.structure.as_ref()
    }

    /// The bytes of a range, in pieces, wherever they are; what lies past the end is left out. Pieces in memory are
    /// shared, others are read, as by [`Body::read`]. Blocks unless they are in memory.
    ///
    /// # Errors
    /// As [`Body::read`]; [`Error::Missing`] for an absent one.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<Bytes>, Error> {
        match &self.content {
            Content::Pieces(pieces) => Ok(cut(pieces, range)),
            // Its chunks stay where they were written as long as there is an owner.
            Content::Staged(owner) => owner.body(self.hash, self.len).read(range),
            Content::Stored(body) => body.read(range),
            Content::Absent { .. } => Err(Error::Missing { hash: self.hash }),
        }
    }

    /// The same, to be written although it is stored: what is stored is damaged.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it has no bytes, or others than its hash says.
    pub(crate) fn anew(self) -> Result<NewBody, Error> {
        let is_good = match &self.content {
            Content::Pieces(pieces) => BodyHash::of(pieces) == self.hash,
            // They were hashed while they were written.
            Content::Staged(_) => true,
            Content::Stored(_) | Content::Absent { .. } => false,
        };
        if is_good {
            Ok(NewBody { anew: true, ..self })
        } else {
            Err(Error::Invalid { reason: "not the bytes of the body" })
        }
    }

    /// False for a staged one that is itself what is stored.
    fn is_elsewhere(&self, stored: &Stored) -> bool {
        !matches!(&self.content, Content::Staged(owner) if owner.place() == stored.place)
    }

    /// Appends it to a batch, as far as it is not there (`known`: also from earlier in this batch). Gives what is known of
    /// it then.
    pub(crate) fn write(
        &self,
        database: &Database,
        out: &mut WriteBatch,
        known: Known,
    ) -> Result<Known, Error> {
        match known {
            Known::Stored(old) if self.anew && self.is_elsewhere(&old) => {
                collect::remove_chunks(database, out, &self.hash, &old);
                database.findings().forget(&old.place);
            }
            // What is to be repaired may have been collected.
            Known::Nothing if self.anew => return Ok(known),
            Known::Stored(_) => return Ok(known),
            Known::Nothing | Known::Missing => {}
        }
        let place = match &self.content {
            Content::Pieces(_) => Place::from(self.hash),
            Content::Staged(owner) => owner.place(),
            Content::Stored(_) => {
                let reason = "it is missing, though something named it";
                return Err(Error::damaged(format!("body {}", self.hash), reason));
            }
            Content::Absent { len, .. } => {
                if known == Known::Nothing {
                    missing::write(database, out, &self.hash, *len);
                }
                return Ok(Known::Missing);
            }
        };
        let stored = Stored { len: self.len, place };
        match &self.content {
            Content::Pieces(pieces) => body::write(database, out, &self.hash, &stored, pieces)?,
            Content::Staged(owner) => owner.take(database, out, &self.hash, &stored)?,
            Content::Stored(_) | Content::Absent { .. } => {}
        }
        if known == Known::Missing {
            missing::end(database, out, &self.hash);
        }
        if let Some(row) = &self.structure {
            out.put_cf(database.handle(Family::Structure), self.hash.0, row);
        }
        Ok(Known::Stored(stored))
    }
}

/// A range of bytes that lie in pieces.
fn cut(pieces: &[Bytes], range: Range<u64>) -> Vec<Bytes> {
    let mut start = 0_u64;
    let mut out = Vec::new();
    for piece in pieces {
        let within = |at: u64| body::offset(at.saturating_sub(start)).min(piece.len());
        let (from, to) = (within(range.start), within(range.end));
        if from < to {
            out.push(piece.slice(from..to));
        }
        start += piece.len() as u64;
    }
    out
}
