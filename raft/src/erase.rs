//! Removing all that a node has of a group: rows, log, and the references to bodies.
//!
//! Its vote stays, and up to where its log went: it may become a member again, and must then neither lead nor help anybody to
//! lead who has less than it once acknowledged. All but the counters of references goes in one write, with the mark of what
//! was acknowledged; they are found at the next start, or when the group is opened anew, if that is cut short.

use std::sync::Arc;

use estafette_storage::{Batch, Direction, Family, Mark, Read, Store};

use crate::GroupId;
use crate::blocking::blocking;
use crate::codec;
use crate::error::Error;
use crate::keys::{self, Meta};
use crate::log::{Found, Shared};
use crate::state::Rows;
use crate::types::Payload;

/// Bytes of a scope in its row.
const SCOPE_BYTES: usize = 4;

/// Removes a group that is closed. `scope`: in which its references are counted.
///
/// # Errors
/// The store's.
pub(crate) async fn erase(shared: &Arc<Shared>, rows: &Rows, scope: Option<u32>) -> Result<(), Error> {
    let group = shared.group;
    let found = Found::read(&shared.store, group)?;
    let mut batch = Batch::new();
    for (family, range) in &rows.ranges {
        batch.delete_range(*family, range.clone());
    }
    release(shared, &mut batch)?;
    batch.delete_range(Family::RaftLog, keys::entries(group, 0, None));
    batch.delete_range(Family::RaftMeta, keys::metas(group));
    if let Some(vote) = &found.vote {
        batch.put(Family::RaftMeta, keys::meta(group, Meta::Vote), codec::encode_vote(vote));
    }
    if let Some(had) = shared.had.max(found.last) {
        batch.put(Family::RaftMeta, keys::meta(group, Meta::Had), codec::encode_log_id(&had));
    }
    if let Some(scope) = scope {
        batch.put(Family::RaftMeta, keys::meta(group, Meta::Leaving), scope.to_be_bytes());
    }
    // No entry of it is acknowledged here any more.
    let (done, wait) = tokio::sync::oneshot::channel();
    shared.store.commit(batch, vec![Mark { group: group.0, ..Mark::default() }], move |result| {
        let _ = done.send(result);
    });
    wait.await.unwrap_or(Err(estafette_storage::Error::Closed))?;
    let store = shared.store.clone();
    let finished = blocking(&shared.store, move || finish(&store, group)).await;
    finished.map_err(|_| Error::Interrupted { group })?
}

/// Goes on with all removals that were cut short. Blocks.
///
/// # Errors
/// The store's.
pub(crate) fn finish_all(store: &Store) -> Result<(), Error> {
    let mut groups = Vec::new();
    for row in store.scan(Family::RaftMeta, Vec::new()..Vec::new(), Direction::Forward)? {
        let key = row?.key;
        if let Some((group, rest)) = key.split_first_chunk::<4>()
            && *rest == [Meta::Leaving as u8]
        {
            groups.push(GroupId(u32::from_be_bytes(*group)));
        }
    }
    groups.into_iter().try_for_each(|group| finish(store, group))
}

/// Goes on with a removal that was cut short, if there is one. Blocks.
///
/// # Errors
/// The store's.
pub(crate) fn finish(store: &Store, group: GroupId) -> Result<(), Error> {
    let key = keys::meta(group, Meta::Leaving);
    let Some(row) = store.read(Family::RaftMeta, &key)? else { return Ok(()) };
    let scope = row.first_chunk::<SCOPE_BYTES>().ok_or(Error::Undecodable { group, index: None })?;
    store.drop_scope(u32::from_be_bytes(*scope))?;
    let mut batch = Batch::new();
    batch.delete(Family::RaftMeta, key);
    Ok(store.apply_batch(batch)?)
}

/// Ends the holds of entries that were not applied.
fn release(shared: &Shared, batch: &mut Batch) -> Result<(), Error> {
    let mut at = 0;
    loop {
        let entries = shared.present(at, u64::MAX)?;
        let Some(last) = entries.last() else { return Ok(()) };
        at = last.log_id.index.saturating_add(1);
        for entry in &entries {
            if let Payload::Normal(joined) = &entry.payload {
                let holder = keys::entry(shared.group, entry.log_id.index);
                joined.commands.bodies().into_iter().for_each(|hash| batch.release_body(hash, &holder));
            }
        }
    }
}
