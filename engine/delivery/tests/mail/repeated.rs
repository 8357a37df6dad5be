//! Answers that are lost on their way from the leader: a message that is proposed again is there once.

use crate::node::*;
use estafette_delivery::{Mishap, Outcome, Patience, Reach, Trouble};
use estafette_raft::{Error, GroupId};
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So many of the next proposals are carried out without an answer, or refused.
#[derive(Default)]
struct BadWay {
    lost: Mutex<u32>,
    refused: Mutex<u32>,
}

fn one_of(left: &Mutex<u32>) -> bool {
    let mut left = left.lock();
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

impl Trouble for BadWay {
    fn mishap(&self) -> Option<Mishap> {
        let group = GroupId::shard(1);
        if one_of(&self.lost) {
            return Some(Mishap::Lost(Error::Interrupted { group }));
        }
        one_of(&self.refused).then_some(Mishap::Refused(Error::NotLeader { group, leader: None }))
    }

    fn freshen(&self) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
        Box::pin(async { Ok(()) })
    }
}

impl Node {
    /// From now on, all shards are reached by it.
    fn badly_reached(&self) -> Arc<BadWay> {
        let way = Arc::new(BadWay::default());
        let patience = Patience {
            leader: Duration::from_secs(2),
            outcome: Duration::from_secs(4),
            ..Patience::default()
        };
        for shard in SHARDS {
            let reach = Reach::new(self.shards.group(shard).unwrap(), patience);
            self.shards.put(shard, reach.troubled(Arc::clone(&way) as _));
        }
        way
    }
}

const BODY: &str = "Subject: x\r\n\r\nonce\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_proposed_again_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let way = node.badly_reached();
    for to in [&["a@example.org"][..], &["x@example.net"], &["b@example.org", "both@example.org"]] {
        (*way.lost.lock(), *way.refused.lock()) = (3, 2);
        assert!(all_done(&node.submit(to, BODY).await));
    }
    assert_eq!((node.inbox("a").len(), node.inbox("b").len(), node.items().len()), (2, 1, 2));
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_leader_mail_is_put_off_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    *node.badly_reached().refused.lock() = u32::MAX;
    let since = Instant::now();
    let outcomes = node.submit(&["a@example.org", "x@example.net"], BODY).await;
    assert!(matches!(&outcomes[..], [Outcome::Failed(one), Outcome::Failed(two)]
        if one.is_passing() && two.is_passing()));
    let took = since.elapsed();
    assert!((4..12).contains(&took.as_secs()), "one wait for all shards: {took:?}");
    assert!(node.inbox("a").is_empty() && node.items().is_empty());
    node.close().await;
}
