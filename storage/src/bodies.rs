//! What a store does with bodies: reading, bringing, mending, collecting and checking them, and who refers to them.

use std::sync::Arc;

use rocksdb::WriteBatch;

use crate::batch::Batch;
use crate::body::{BodyHash, Known};
use crate::collect::{self, Collected};
use crate::error::Error;
use crate::missing;
use crate::new_body::NewBody;
use crate::references::{self, Rebuilt};
use crate::scrub::Scrub;
use crate::stage::Staging;
use crate::store::{Store, now_ms};
use crate::stored::Body;
use crate::verify::{Progress, Report};

impl Store {
    /// A body, if it is there.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn body(&self, hash: &BodyHash) -> Result<Option<Body>, Error> {
        Body::find(self.database(), hash)
    }

    /// A body that a row names, with the length that the row tells: spares looking for it. If it is not
    /// there after all, reading it is [`Error::Missing`].
    #[must_use]
    pub fn body_of(&self, hash: BodyHash, len: u64) -> Body {
        Body::named(self.database(), hash, len)
    }

    /// Up to `limit` bodies that something names and that are to be fetched ([`crate::NewBody::absent`]), with their
    /// lengths where these are known: in the order of their hashes, those behind `after`.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn missing(
        &self,
        after: Option<BodyHash>,
        limit: usize,
    ) -> Result<Vec<(BodyHash, Option<u64>)>, Error> {
        missing::list(self.database(), after, limit)
    }

    /// Up to `limit` bodies that this run of the program found damaged, and why, in the order of their hashes: to be
    /// brought again with [`Store::repair`]. Readers find them, and [`Store::scrub`].
    #[must_use]
    pub fn damaged(&self, limit: usize) -> Vec<(BodyHash, Arc<str>)> {
        let findings = self.database().findings();
        let mut listed = Vec::new();
        for (hash, reason) in findings.list() {
            if listed.len() == limit {
                break;
            }
            match Known::find(self.database(), &hash) {
                Ok(Known::Stored(_)) => listed.push((hash, reason)),
                // It was collected, or its row is damaged too, which nobody can mend here.
                _ => drop(findings.mended(&hash)),
            }
        }
        listed
    }

    /// Writes a stored body anew, because what is stored of it is damaged; durable at the end. References and holds stay.
    /// One that is missing comes by this too; one that is gone is not written. Blocks.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it has not the bytes that its hash says, all of them; as [`Store::commit`].
    pub fn repair(&self, body: NewBody) -> Result<(), Error> {
        let hash = body.hash();
        let mut batch = Batch::new();
        batch.bring_body(body.anew()?);
        self.commit_and_wait(batch)?;
        if self.database().findings().mended(&hash) && self.body(&hash)?.is_some() {
            tracing::info!(body = %hash, "a damaged body is repaired");
            metrics::counter!("estafette_storage_bodies_repaired_total").increment(1);
        }
        Ok(())
    }

    /// Begins to compare all bodies with their hashes, or goes on behind one.
    #[must_use]
    pub fn scrub(&self, after: Option<BodyHash>) -> Scrub {
        Scrub::new(self.clone(), after)
    }

    /// Begins a body that is written while it comes.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn stage(&self) -> Result<Staging, Error> {
        Staging::new(Arc::clone(self.shared()))
    }

    /// The same at a known place.
    #[cfg(test)]
    pub(crate) fn stage_at(&self, place: [u8; 32]) -> Staging {
        Staging::at(place, Arc::clone(self.shared()))
    }

    /// One round of removing bodies that nothing names; looks at up to `limit` candidates. Blocks.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Failed`], [`Error::Damaged`].
    pub fn collect(&self, limit: usize) -> Result<Collected, Error> {
        let grace_ms = u64::try_from(self.settings().collect_after.as_millis()).unwrap_or(u64::MAX);
        self.collect_until(now_ms().saturating_sub(grace_ms), limit)
    }

    /// [`crate::View::verify`] of the store as it is now.
    ///
    /// # Errors
    /// As there.
    pub fn verify(
        &self,
        references: impl IntoIterator<Item = Result<(u32, BodyHash), Error>>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Report, Error> {
        self.view().verify(references, progress)
    }

    /// Makes bodies candidates for collection: those that [`crate::View::verify`] found and nothing names.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn release_unnamed(&self, hashes: &[BodyHash]) -> Result<(), Error> {
        let mut out = WriteBatch::default();
        for hash in hashes {
            collect::write_candidate(self.database(), &mut out, hash, now_ms());
        }
        self.shared().write_unsynced(out)
    }

    /// Makes the counters of a scope (a shard) equal to the references that its rows make: `references` yields hash and
    /// length for each, all of them, in any order: one that breaks off has to end with an error, or else bodies that are
    /// wanted are collected. A body that loses its last name is collected in time, one that is not there is
    /// missing ([`Store::missing`]). All of it is durable at the end. Nobody else may change references of this scope
    /// meanwhile. After an error, or an end in between, the same call again comes to the same counters. Blocks; costs a
    /// walk over `blob_ref` and a synced write for each thousand bodies whose counter was wrong, and little memory.
    ///
    /// # Errors
    /// Errors of `references`; [`Error::Full`], [`Error::Failed`], [`Error::Damaged`], [`Error::Closed`].
    pub fn replace_references(
        &self,
        scope: u32,
        references: impl IntoIterator<Item = Result<(BodyHash, u64), Error>>,
    ) -> Result<Rebuilt, Error> {
        references::replace(self.shared(), scope, references, |batch| self.commit_and_wait(batch))
    }

    /// Takes all references of a scope away: the replica of a shard that is not kept here any more. As
    /// [`Store::replace_references`] without a reference.
    ///
    /// # Errors
    /// As there.
    pub fn drop_scope(&self, scope: u32) -> Result<Rebuilt, Error> {
        self.replace_references(scope, [])
    }
}
