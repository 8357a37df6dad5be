//! What tests of sessions share: a node to begin with, and what is put between sessions and a group: lost answers, no leader,
//! nodes that cannot be asked.

use crate::cluster::{Cluster, Link};
use crate::config::ClusterConfig;
use estafette_delivery::{Mishap, Patience, Reach, Trouble};
use estafette_directory::{Administrator, NewAccount, NewDomain, PlanId, QuotaChoice, Role, Standing};
use estafette_raft::{Error, Group, GroupId, Node, NodeId, Settings};
use estafette_storage::Store;
use estafette_types::{Domain, LocalPart, ShardId};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub(crate) type Freshening = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Nothing is in the way until a test says so.
#[derive(Default)]
pub(crate) struct Hindrance {
    /// What happens to the next proposals.
    pub(crate) mishaps: Mutex<VecDeque<Option<Mishap>>>,
    /// What happens to all others.
    pub(crate) always: Mutex<Option<Mishap>>,
    /// What others know comes with the next question for it.
    pub(crate) news: Mutex<Option<Freshening>>,
    /// Others do not answer.
    pub(crate) cut_off: Mutex<bool>,
    /// How often they were asked.
    pub(crate) asked: Mutex<usize>,
}

impl Trouble for Hindrance {
    fn mishap(&self) -> Option<Mishap> {
        self.mishaps.lock().pop_front().unwrap_or_else(|| self.always.lock().clone())
    }

    fn freshen(&self) -> Freshening {
        *self.asked.lock() += 1;
        match (*self.cut_off.lock(), self.news.lock().take()) {
            (true, _) => Box::pin(std::future::pending()),
            (false, Some(news)) => news,
            (false, None) => Box::pin(async { Ok(()) }),
        }
    }
}

/// So short that tests can wait for its end.
pub(crate) fn short() -> Patience {
    Patience {
        leader: Duration::from_millis(600),
        outcome: Duration::from_secs(2),
        fresh: Duration::from_millis(300),
    }
}

/// A store in a folder, and the groups of a node that is alone in it.
pub(crate) fn node_in(folder: &Path, settings: estafette_storage::Settings) -> (Store, Arc<Node>) {
    let store = Store::open(&folder.join("store"), settings).unwrap();
    let settings = Settings::new(folder.join("snapshots"));
    let node = Node::start(store.clone(), NodeId(1), settings).unwrap();
    (store, Arc::new(node))
}

/// A domain of the first plan, with its administrator in a shard.
pub(crate) fn example_domain(shard: ShardId) -> NewDomain {
    NewDomain {
        name: Domain::parse("example.org").unwrap(),
        prefix: Some("example".to_owned()),
        standing: Standing::Plan(PlanId(1)),
        description: String::new(),
        contact: None,
        default_quota_bytes: None,
        administrator: Administrator::New(NewAccount {
            local: LocalPart::parse("admin").unwrap(),
            real_name: String::new(),
            quota: QuotaChoice::Default,
            password_hash: None,
            role: Role::Owner,
            shard,
        }),
    }
}

/// A node's part in a cluster, of one that is in none.
pub(crate) fn alone(data: &Path, raft: &Arc<Node>) -> Arc<Cluster> {
    let (settings, link) = (ClusterConfig::default(), Arc::new(Link::default()));
    Arc::new(Cluster::new(data.to_owned(), settings, Arc::clone(raft), link, None))
}

/// The way to a group past a hindrance.
pub(crate) fn past(group: Group, hindrance: &Arc<Hindrance>) -> Reach {
    Reach::new(group, short()).troubled(Arc::clone(hindrance) as _)
}

/// The answer of a proposal that was carried out is lost.
pub(crate) fn lost() -> Option<Mishap> {
    Some(Mishap::Lost(Error::Interrupted { group: GroupId::shard(1) }))
}

/// There is no leader.
pub(crate) fn refused() -> Option<Mishap> {
    Some(Mishap::Refused(Error::NotLeader { group: GroupId::shard(1), leader: None }))
}
