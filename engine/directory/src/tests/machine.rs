//! The directory run by a real group over a real store.

use super::*;
use crate::{AuditQuery, DirectoryMachine, StoreRows, View, Witness};
use estafette_raft::{Group, GroupId, Node, NodeId, Proposal};
use estafette_storage::Store;
use std::path::Path;
use std::sync::{Arc, Mutex};

async fn open(folder: &Path) -> (Store, Node, Group, View) {
    let settings = estafette_storage::Settings { min_free_bytes: 0, ..Default::default() };
    let store = Store::open(&folder.join("store"), settings).unwrap();
    let settings = estafette_raft::Settings::new(folder.join("snapshots"));
    let node = Node::start(store.clone(), NodeId(1), settings).unwrap();
    let machine = DirectoryMachine::new();
    let view = machine.view();
    let group = node.open(GroupId::CONTROL, Box::new(machine)).await.unwrap();
    group.ready().await.unwrap();
    (store, node, group, view)
}

async fn propose(group: &Group, change: Change) -> Result<Reply, Refusal> {
    let command = Command { actor: Actor::System, origin: Origin::Internal, change };
    let proposal = Proposal { command: command.encode().unwrap().into(), bodies: Vec::new() };
    Reply::decode_applied(&group.propose(proposal).await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_runs_it_and_a_restart_loads_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, node, group, view) = open(folder.path()).await;
    propose(&group, Change::SetShards { shards: vec![ShardId(1)] }).await.unwrap();
    let [plan, ..] = crate::Plan::shipped();
    propose(&group, Change::CreatePlan(plan)).await.unwrap();
    let new = new_domain("example.org", Standing::Plan(PlanId(1)));
    let Ok(Reply::Domain { id, administrator, .. }) = propose(&group, Change::CreateDomain(new)).await else {
        panic!()
    };
    let refused = propose(&group, Change::CreateAccount { domain: id, account: new_account("a") }).await;
    assert!(matches!(refused, Err(Refusal::PlanLimit { .. })), "{refused:?}");
    let login = view.read().login("admin@example.org").unwrap();
    assert_eq!(login.account.id, administrator);
    let query = AuditQuery { limit: 10, ..Default::default() };
    let audit = crate::audit(&StoreRows(&store), &query).unwrap();
    assert_eq!(audit.len(), 3);
    assert_eq!((audit[0].action.as_str(), audit[0].actor.as_str()), ("domain.create", "system"));
    node.shutdown().await;
    drop((group, node, store));

    let (store, node, group, again) = open(folder.path()).await;
    assert_eq!(*again.read(), *view.read());
    let change = crate::DomainChange { suspended: Some(true), ..Default::default() };
    propose(&group, Change::ChangeDomain { domain: id, change }).await.unwrap();
    assert_eq!(again.read().resolve(&address("admin@example.org")), Resolution::Suspended);
    assert_eq!(Directory::load(&StoreRows(&store)).unwrap(), *again.read());
    node.shutdown().await;
}

/// What was heard, in words.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Witness for Heard {
    fn applied(&self, change: &Change) {
        self.0.lock().unwrap().push(change.code().to_owned());
    }
    fn replaced(&self) {
        self.0.lock().unwrap().push("replaced".to_owned());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_hears_of_what_was_carried_out_before_the_proposer_does() {
    let folder = tempfile::tempdir().unwrap();
    let settings = estafette_storage::Settings { min_free_bytes: 0, ..Default::default() };
    let store = Store::open(&folder.path().join("store"), settings).unwrap();
    let settings = estafette_raft::Settings::new(folder.path().join("snapshots"));
    let node = Node::start(store.clone(), NodeId(1), settings).unwrap();
    let heard = Arc::new(Heard::default());
    let machine = DirectoryMachine::new().witnessed_by(Arc::clone(&heard) as _);
    let group = node.open(GroupId::CONTROL, Box::new(machine)).await.unwrap();
    group.ready().await.unwrap();
    let heard = || std::mem::take(&mut *heard.0.lock().unwrap());
    assert_eq!(heard(), ["replaced"]);
    propose(&group, Change::SetShards { shards: vec![ShardId(1)] }).await.unwrap();
    assert_eq!(heard(), ["cluster.shards"]);
    assert!(propose(&group, Change::DeletePlan { plan: PlanId(9) }).await.is_err());
    assert_eq!(heard(), [""; 0], "what was refused has changed nothing");
    node.shutdown().await;
}
