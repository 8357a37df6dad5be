//! Bodies that a node asks others for: what it lacks, or has damaged.
//!
//! Small ones come many in one answer, large ones part by part. What comes is believed by its hash alone.

use std::collections::HashSet;

use bytes::Bytes;
use estafette_storage::{BodyHash, NewBody, Store};
use tokio::time::{Instant, sleep_until};

use super::Hub;
use super::bodies::{INLINE_BYTES, PART_BYTES};
use super::wire::{Ask, BodyBytes, Refused, SmallBody, Told};
use crate::blocking::{GivenUp, blocking};
use crate::{Error, GroupId, Lane, NodeId, Unreached};

/// Bodies that may be asked for at once.
pub(crate) const SMALL_MAX: usize = 256;
/// Bytes of bodies in one answer, but for the last one of them: it comes within a moment also by a slow link.
const SMALL_BYTES: usize = 256 << 10;

impl Hub {
    /// A part of a body that is here, for a peer that lacks it or has it damaged.
    pub(crate) async fn part_of(
        &self,
        hash: BodyHash,
        offset: u64,
        bytes_max: u32,
    ) -> Result<Option<BodyBytes>, Refused> {
        let store = self.store.clone();
        blocking(&self.store, move || part_of(&store, hash, offset, bytes_max))
            .await
            .map_err(|_| Refused::Storage)?
            .map_err(|_| Refused::Storage)
    }

    /// Gets a body from a peer that may have it; checked by its hash. `None`: it has none. `came` is told of the bytes of
    /// each part and says when it goes on.
    ///
    /// # Errors
    /// The peer does not answer; this store has no room.
    pub(crate) async fn fetch(
        &self,
        from: NodeId,
        group: GroupId,
        hash: BodyHash,
        came: &(dyn Fn(u64) -> Instant + Sync),
    ) -> Result<Option<NewBody>, Error> {
        let unreached = |_: Unreached| Error::Unavailable { group };
        let interrupted = |_: GivenUp| Error::Interrupted { group };
        let mut staging = self.store.stage()?;
        loop {
            let bytes_max = u32::try_from(PART_BYTES).unwrap_or(u32::MAX);
            let ask = Ask::BodyRead { hash: hash.0, offset: staging.len(), bytes_max };
            let told: Told<Option<BodyBytes>> =
                self.ask(from, Lane::Bulk, group, ask, []).await.map_err(unreached)?;
            let Told::Value(Some(part)) = told else { return Ok(None) };
            if part.bytes.is_empty() && part.len > staging.len() {
                return Ok(None);
            }
            let BodyBytes { len, structure, bytes } = part;
            let next_at = came(bytes.len() as u64);
            let push = move || (staging.push(&bytes), staging);
            let (pushed, grown) = blocking(&self.store, push).await.map_err(interrupted)?;
            pushed?;
            staging = grown;
            sleep_until(next_at).await;
            if staging.len() >= len {
                let finished = blocking(&self.store, move || staging.finish()).await;
                let body = finished.map_err(interrupted)??;
                let body = match structure {
                    Some(row) => body.with_structure(row.into()),
                    None => body,
                };
                return Ok(Some(body).filter(|body| body.hash() == hash));
            }
        }
    }

    /// Those of these bodies that are here and small, as far as they fit into one answer.
    pub(crate) async fn small_ones(&self, hashes: Vec<[u8; 32]>) -> Result<Vec<SmallBody>, Refused> {
        if hashes.len() > SMALL_MAX {
            return Err(Refused::Unknown);
        }
        let store = self.store.clone();
        blocking(&self.store, move || small_ones(&store, hashes))
            .await
            .map_err(|_| Refused::Storage)?
            .map_err(|_| Refused::Storage)
    }

    /// Asks a peer for up to [`SMALL_MAX`] bodies at once; gives those that came.
    ///
    /// # Errors
    /// The peer does not answer, or refuses.
    pub(crate) async fn fetch_small(
        &self,
        from: NodeId,
        group: GroupId,
        wanted: &[BodyHash],
    ) -> Result<Vec<NewBody>, Error> {
        let unavailable = Error::Unavailable { group };
        let wanted: HashSet<[u8; 32]> = wanted.iter().take(SMALL_MAX).map(|hash| hash.0).collect();
        let ask = Ask::BodiesRead { hashes: wanted.iter().copied().collect() };
        let told: Result<Told<Vec<SmallBody>>, Unreached> = self.ask(from, Lane::Bulk, group, ask, []).await;
        let Ok(Told::Value(came)) = told else { return Err(unavailable) };
        let bodies = came.into_iter().filter_map(|small| {
            let body = NewBody::of(vec![Bytes::from(small.bytes)]);
            // Not what was asked for, or damaged there.
            wanted.contains(&body.hash().0).then(|| match small.structure {
                Some(row) => body.with_structure(row.into()),
                None => body,
            })
        });
        Ok(bodies.collect())
    }
}

fn part_of(
    store: &Store,
    hash: BodyHash,
    offset: u64,
    bytes_max: u32,
) -> Result<Option<BodyBytes>, estafette_storage::Error> {
    let Some(body) = store.body(&hash)? else { return Ok(None) };
    let stored = NewBody::stored(&body);
    let end = offset.saturating_add(u64::from(bytes_max).min(PART_BYTES));
    let bytes = stored.read(offset..end)?.concat();
    let structure = stored.structure().map(|row| row.to_vec());
    Ok(Some(BodyBytes { len: body.len(), structure, bytes }))
}

fn small_ones(store: &Store, hashes: Vec<[u8; 32]>) -> Result<Vec<SmallBody>, estafette_storage::Error> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for hash in hashes {
        let Some(body) = store.body(&BodyHash(hash))?.filter(|body| body.len() <= INLINE_BYTES) else {
            continue;
        };
        let stored = NewBody::stored(&body);
        // One that cannot be read here may be readable elsewhere.
        let Ok(pieces) = stored.read(0..body.len()) else { continue };
        let small =
            SmallBody { structure: stored.structure().map(|row| row.to_vec()), bytes: pieces.concat() };
        bytes += small.bytes.len();
        found.push(small);
        if bytes >= SMALL_BYTES {
            break;
        }
    }
    Ok(found)
}
