//! Bodies that this node keeps for a while: what came in parts ahead of the request that names it, and what it has itself
//! brought to a leader.
//!
//! Both are let go of when the request has been carried out. What nobody asks for goes after a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use estafette_storage::{BodyHash, NewBody, Staging, Store};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::wire::{BodyHead, Refused, Way};
use crate::NodeId;

/// How long a body that came in parts waits for the request that names it, and how long for its next part.
const ARRIVAL_WAIT: Duration = Duration::from_secs(60);
/// Bodies that may be under way to this node in parts, or wait for the request that names them to be carried out.
pub(crate) const ARRIVALS_MAX: usize = 1024;

/// Bodies that came in parts.
#[derive(Default)]
pub(crate) struct Arrivals(Mutex<Table>);

#[derive(Default)]
struct Table {
    coming: HashMap<(NodeId, u64), Coming>,
    here: HashMap<BodyHash, Here>,
}

/// A body that waits for the requests that name it.
struct Here {
    body: NewBody,
    /// How often it came, but for requests that have used it.
    wanted: usize,
    since: Instant,
}

struct Coming {
    staging: Staging,
    since: Instant,
}

impl Arrivals {
    pub(super) fn waiting(&self, hash: &BodyHash) -> Option<NewBody> {
        self.0.lock().here.get(hash).map(|here| here.body.clone())
    }

    /// Lets go of what nobody asked for in time.
    fn sweep(table: &mut Table) {
        let now = Instant::now();
        let fresh = |since: Instant| now.duration_since(since) < ARRIVAL_WAIT;
        table.coming.retain(|_, coming| fresh(coming.since));
        table.here.retain(|_, here| fresh(here.since));
    }

    /// What came so far of a body, taken out while a part is added. A first part begins anew.
    pub(super) fn take(&self, store: &Store, key: (NodeId, u64), offset: u64) -> Result<Staging, Refused> {
        let mut table = self.0.lock();
        Self::sweep(&mut table);
        if offset > 0 {
            let coming = table.coming.remove(&key).filter(|coming| coming.staging.len() == offset);
            return coming.map(|coming| coming.staging).ok_or(Refused::Unknown);
        }
        if table.coming.len() + table.here.len() >= ARRIVALS_MAX {
            return Err(Refused::Storage);
        }
        store.stage().map_err(|_| Refused::Storage)
    }

    pub(super) fn put_back(&self, key: (NodeId, u64), staging: Staging) {
        self.0.lock().coming.insert(key, Coming { staging, since: Instant::now() });
    }

    /// What these requests named is in the store now, or never will be: it need not be kept.
    pub(crate) fn used(&self, heads: &[BodyHead]) {
        let before: Vec<_> = heads.iter().filter(|head| head.way == Way::Before).collect();
        if !before.is_empty() {
            let mut table = self.0.lock();
            for head in before {
                if let Entry::Occupied(mut place) = table.here.entry(BodyHash(head.hash)) {
                    place.get_mut().wanted = place.get().wanted.saturating_sub(1);
                    if place.get().wanted == 0 {
                        place.remove();
                    }
                }
            }
        }
    }

    /// The same when what it gives is dropped: also when nobody waits for the request any more.
    pub(crate) fn using<'a>(&'a self, heads: &'a [BodyHead]) -> Using<'a> {
        Using { arrivals: self, heads }
    }

    pub(super) fn arrived(&self, body: NewBody) {
        let mut table = self.0.lock();
        // Another request may be about to use the one that came before.
        let wanted = table.here.get(&body.hash()).map_or(0, |here| here.wanted) + 1;
        table.here.insert(body.hash(), Here { body, wanted, since: Instant::now() });
    }
}

/// See [`Arrivals::using`].
pub(crate) struct Using<'a> {
    arrivals: &'a Arrivals,
    heads: &'a [BodyHead],
}

impl Drop for Using<'_> {
    fn drop(&mut self) {
        self.arrivals.used(self.heads);
    }
}

/// Bodies of this node's own proposals that are under way to leaders.
#[derive(Default)]
pub(crate) struct Lent(Mutex<HashMap<BodyHash, (NewBody, usize)>>);

impl Lent {
    /// Keeps the bodies of a proposal until what it gives is dropped; but for those that are in the store, as they are found
    /// there, and absent ones.
    pub(crate) fn keep(self: &Arc<Self>, bodies: &[NewBody]) -> Loan {
        let mut lent = self.0.lock();
        let own = bodies.iter().filter(|body| body.is_staged() || body.bytes_held() > 0);
        let hashes = own.map(|body| {
            lent.entry(body.hash()).or_insert_with(|| (body.clone(), 0)).1 += 1;
            body.hash()
        });
        let hashes = hashes.collect();
        Loan { lent: Arc::clone(self), hashes }
    }

    pub(super) fn find(&self, hash: &BodyHash) -> Option<NewBody> {
        self.0.lock().get(hash).map(|(body, _)| body.clone())
    }
}

/// See [`Lent::keep`].
pub(crate) struct Loan {
    lent: Arc<Lent>,
    hashes: Vec<BodyHash>,
}

impl Loan {
    /// True if nothing is kept by it.
    pub(crate) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let mut lent = self.lent.0.lock();
        for hash in &self.hashes {
            if let Entry::Occupied(mut place) = lent.entry(*hash) {
                place.get_mut().1 -= 1;
                if place.get().1 == 0 {
                    place.remove();
                }
            }
        }
    }
}
