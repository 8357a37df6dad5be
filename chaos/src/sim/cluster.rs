//! All nodes of a run: started, crashed and started again.

use super::breach::Rule;
use super::disk::Loss;
use super::history::History;
use super::network::Network;
use super::node::Live;
use super::plan::Plan;
use super::trace::Trace;
use crate::error::ChaosError;
use crate::random::Random;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// See the head of this module. Cheap to clone.
#[derive(Clone)]
pub(super) struct Cluster(Arc<Inner>);

struct Inner {
    plan: Plan,
    folder: PathBuf,
    network: Network,
    trace: Trace,
    history: Mutex<History>,
    places: Mutex<BTreeMap<u64, Place>>,
    failed: Mutex<Option<ChaosError>>,
    /// Held while a node is opened.
    opening: tokio::sync::Mutex<()>,
}

/// Where a node is.
#[derive(Default)]
struct Place {
    /// `None` while it is down.
    live: Option<Arc<Live>>,
    lives: u32,
    /// It could not be started.
    broken: bool,
}

impl Cluster {
    pub(super) fn new(plan: Plan, folder: &Path, trace: Trace) -> Cluster {
        let network = Network::new(Random::new(plan.seed ^ 0x6e65_7477_6f72_6b00));
        let places = (1..=plan.nodes).map(|id| (id, Place::default())).collect();
        Cluster(Arc::new(Inner {
            plan,
            folder: folder.to_owned(),
            network,
            history: Mutex::new(History::new(trace.clone())),
            trace,
            places: Mutex::new(places),
            failed: Mutex::new(None),
            opening: tokio::sync::Mutex::new(()),
        }))
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.0.plan
    }

    pub(super) fn network(&self) -> &Network {
        &self.0.network
    }

    pub(super) fn trace(&self) -> &Trace {
        &self.0.trace
    }

    pub(super) fn history(&self) -> parking_lot::MutexGuard<'_, History> {
        self.0.history.lock()
    }

    /// Why the harness cannot go on, if so.
    pub(super) fn failure(&self) -> Option<ChaosError> {
        self.0.failed.lock().take()
    }

    /// The node, if it is up.
    pub(super) fn live(&self, id: u64) -> Option<Arc<Live>> {
        self.0.places.lock().get(&id)?.live.clone()
    }

    /// All nodes that are up.
    pub(super) fn all(&self) -> Vec<Arc<Live>> {
        self.0.places.lock().values().filter_map(|place| place.live.clone()).collect()
    }

    /// The nodes that are down.
    pub(super) fn down(&self) -> Vec<u64> {
        let places = self.0.places.lock();
        places.iter().filter(|(_, place)| place.live.is_none()).map(|(id, _)| *id).collect()
    }

    fn folder(&self, id: u64, life: u32) -> PathBuf {
        self.0.folder.join(format!("node-{id}-{life}"))
    }

    /// Starts a node on what its last life left. Does nothing if it is up.
    pub(super) async fn start(&self, id: u64) {
        // Two may see that it is down: it is opened once, and both find it up afterwards.
        let _one = self.0.opening.lock().await;
        let life = match self.0.places.lock().get(&id) {
            Some(place) if place.live.is_none() && !place.broken => place.lives,
            _ => return,
        };
        let opened = Live::open(&self.0.plan, id, life, &self.folder(id, life), &self.0.network).await;
        match opened {
            Ok(live) => {
                self.0.trace.say(format_args!("node {id} starts, life {life}"));
                if let Err(error) = self.0.plan.disks.lock().watch(&live.folder) {
                    self.0.failed.lock().get_or_insert(error);
                }
                if let Some(place) = self.0.places.lock().get_mut(&id) {
                    place.live = Some(Arc::new(live));
                }
            }
            Err(error) => {
                self.history().breach(Rule::NoStart, format!("node {id}: {error}"));
                if let Some(place) = self.0.places.lock().get_mut(&id) {
                    place.broken = true;
                }
            }
        }
    }

    /// Ends a node where it stands.
    pub(super) fn crash(&self, id: u64, loss: Loss, random: &mut Random) {
        let Some((live, life)) = self.take(id) else { return };
        self.0.trace.say(format_args!("node {id} crashes: {loss:?}"));
        self.0.network.leave(id);
        live.die();
        let mut disks = self.0.plan.disks.lock();
        let crashed = disks.freeze(&live.folder).and_then(|()| {
            // What waited for the disk may have been written, and not synced.
            if random.one_in(2) {
                live.store.turn();
            }
            disks.crash(&live.folder, &self.folder(id, life), loss, random)
        });
        drop(disks);
        if let Err(error) = crashed {
            self.0.failed.lock().get_or_insert(error);
        }
        tokio::spawn(async move {
            live.raft.shutdown().await;
        });
    }

    /// Takes a node out of its place, which gets its next life.
    fn take(&self, id: u64) -> Option<(Arc<Live>, u32)> {
        let mut places = self.0.places.lock();
        let place = places.get_mut(&id)?;
        let live = place.live.take()?;
        place.lives += 1;
        Some((live, place.lives))
    }
}
