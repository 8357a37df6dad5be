//! Who the members are: links to them, connections of them, and what happens to both when that changes.

use crate::connection::Stop;
use crate::link::{Link, LinkStatus, Own};
use crate::streams::{Place, Side};
use crate::{Lane, NodeName, Serve};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, watch};

/// What a node that is not among the peers is told, beside who it is. The other side finds it in
/// [`crate::LinkStatus::last_error`].
pub const REMOVED: &str = "was removed from the cluster";

/// How a peer stands.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// The node.
    pub node: NodeName,
    /// Where it is dialled: host and port.
    pub address: String,
    /// This node's links to it, by lane.
    pub links: Vec<LinkStatus>,
    /// Lanes on which it is connected to this node.
    pub connected_here: Vec<Lane>,
}

/// What all connections of a node share.
pub(crate) struct Shared {
    pub(crate) own: Arc<Own>,
    pub(crate) serve: Arc<dyn Serve>,
    /// Places of those who ask to join.
    pub(crate) joins: Semaphore,
    members: RwLock<Members>,
}

#[derive(Default)]
struct Members {
    peers: BTreeMap<NodeName, Peer>,
    accepted: BTreeMap<(NodeName, Lane), Accepted>,
    last_accepted: u64,
    ended: bool,
}

struct Peer {
    address: String,
    links: BTreeMap<Lane, Arc<Link>>,
    /// Places of streams that are being opened to it: it has few for those whom it does not know yet.
    dials: Arc<Semaphore>,
}

/// What it takes to open a stream.
pub(crate) struct Way {
    pub(crate) place: Place,
    pub(crate) address: String,
    pub(crate) dials: Arc<Semaphore>,
}

/// A connection that a member made to this node.
struct Accepted {
    number: u64,
    stop: watch::Sender<Option<Arc<str>>>,
}

/// The place of a connection that a member made to this node; given back when dropped.
pub(crate) struct Admitted {
    shared: Arc<Shared>,
    pub(crate) node: NodeName,
    pub(crate) lane: Lane,
    number: u64,
    pub(crate) stop: Stop,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut members = self.shared.members.write();
        let place = (self.node, self.lane);
        if members.accepted.get(&place).is_some_and(|accepted| accepted.number == self.number) {
            members.accepted.remove(&place);
        }
    }
}

impl Shared {
    pub(crate) fn new(own: Arc<Own>, serve: Arc<dyn Serve>) -> Shared {
        let joins = Semaphore::new(own.settings.joins_max.min(Semaphore::MAX_PERMITS));
        Shared { own, serve, joins, members: RwLock::default() }
    }

    pub(crate) fn set_peers(&self, mut wanted: BTreeMap<NodeName, String>, alive: &mpsc::Sender<()>) {
        let own = self.own.tls.load().identity.node();
        wanted.remove(&own);
        let mut members = self.members.write();
        if members.ended {
            return;
        }
        let gone: Arc<str> = format!("it {REMOVED}, as {own} knows it").into();
        let moved: Arc<str> = "its address has changed".into();
        members.peers.retain(|node, peer| {
            let why = match wanted.get(node) {
                Some(address) if *address == peer.address => return true,
                Some(_) => &moved,
                None => {
                    self.own.streams.end_of(*node, &gone);
                    &gone
                }
            };
            peer.links.values().for_each(|link| link.close(why));
            false
        });
        members.accepted.retain(|(node, _), accepted| {
            let stays = wanted.contains_key(node);
            if !stays {
                accepted.stop.send_replace(Some(Arc::clone(&gone)));
            }
            stays
        });
        for (node, address) in wanted {
            members.peers.entry(node).or_insert_with(|| {
                let link =
                    |lane| Link::start(Arc::clone(&self.own), node, lane, address.clone(), alive.clone());
                let links = Lane::ALL.into_iter().map(|lane| (lane, link(lane))).collect();
                let dials = self.own.settings.stream_dials_max.clamp(1, Semaphore::MAX_PERMITS);
                Peer { address, links, dials: Arc::new(Semaphore::new(dials)) }
            });
        }
    }

    pub(crate) fn link(&self, to: NodeName, lane: Lane) -> Option<Arc<Link>> {
        self.members.read().peers.get(&to)?.links.get(&lane).cloned()
    }

    /// Takes a connection of `node`, if it is a member; an older one on the same lane ends.
    pub(crate) fn admit(self: &Arc<Self>, node: NodeName, lane: Lane) -> Result<Admitted, String> {
        let mut members = self.members.write();
        if members.ended {
            return Err("this node shuts down".to_owned());
        }
        let Some(peer) = members.peers.get(&node) else { return Err(stranger(node)) };
        peer.links.values().for_each(|link| link.hurry());
        members.last_accepted += 1;
        let number = members.last_accepted;
        let (sender, stop) = watch::channel(None);
        let accepted = Accepted { number, stop: sender };
        if let Some(older) = members.accepted.insert((node, lane), accepted) {
            older.stop.send_replace(Some("the node has connected anew".into()));
        }
        Ok(Admitted { shared: Arc::clone(self), node, lane, number, stop })
    }

    /// The way of a stream to a peer; or why there is none.
    pub(crate) fn stream_to(&self, to: NodeName) -> Result<Way, Arc<str>> {
        let members = self.members.read();
        let peer = members.peers.get(&to).ok_or("it is not among the peers of this node")?;
        let place = self.own.streams.enter(to, Side::Dialled)?;
        // By the links it is noticed that the peer is gone.
        peer.links.values().for_each(|link| link.hurry());
        Ok(Way { place, address: peer.address.clone(), dials: Arc::clone(&peer.dials) })
    }

    /// A place for a stream that `node` has opened, if it is a member; or why there is none.
    pub(crate) fn admit_stream(&self, node: NodeName) -> Result<Place, String> {
        let members = self.members.read();
        let Some(peer) = members.peers.get(&node) else { return Err(stranger(node)) };
        let place = self.own.streams.enter(node, Side::Accepted).map_err(|why| why.to_string())?;
        peer.links.values().for_each(|link| link.hurry());
        Ok(place)
    }

    /// Ends all connections with words, and takes no more.
    pub(crate) fn end(&self, why: &Arc<str>) {
        self.own.streams.end(why);
        let mut members = self.members.write();
        members.ended = true;
        for peer in std::mem::take(&mut members.peers).into_values() {
            peer.links.values().for_each(|link| link.close(why));
        }
        for accepted in std::mem::take(&mut members.accepted).into_values() {
            accepted.stop.send_replace(Some(Arc::clone(why)));
        }
    }

    pub(crate) fn status(&self) -> Vec<PeerStatus> {
        let members = self.members.read();
        let status = |(node, peer): (&NodeName, &Peer)| PeerStatus {
            node: *node,
            address: peer.address.clone(),
            links: peer.links.values().map(|link| link.status()).collect(),
            connected_here: Lane::ALL
                .into_iter()
                .filter(|lane| members.accepted.contains_key(&(*node, *lane)))
                .collect(),
        };
        members.peers.iter().map(status).collect()
    }
}

fn stranger(node: NodeName) -> String {
    format!("{node} {REMOVED}, or this node has not heard of it yet")
}
