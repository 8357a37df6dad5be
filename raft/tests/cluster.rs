//! Several nodes with one group: what was answered is on all of them, whatever happens to one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod counter;
mod net;

use std::time::Duration;

use bytes::Bytes;
use counter::{command, propose_all, with_body};
use estafette_raft::{Error, NewBody, NodeId, Order};
use estafette_storage::{Batch, BodyHash};
use net::{Member, cluster, cluster_with, equal, leader, settings, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_takes_proposals_and_reads_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let (_net, members) = cluster(folder.path(), 3).await;
    for (number, member) in (0_u64..).zip(&members) {
        for id in number * 100..number * 100 + 20 {
            member.group.propose(command(id)).await.unwrap();
            assert_eq!(member.count(id), 1, "a session reads what it wrote");
        }
    }
    // What was told on one node is there on another that asks.
    members[2].group.propose(command(777)).await.unwrap();
    for member in &members {
        member.group.fresh().await.unwrap();
        assert_eq!(member.count(777), 1);
    }
    equal(&members).await;
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_on_every_node_small_and_large() {
    let folder = tempfile::tempdir().unwrap();
    let (_net, members) = cluster(folder.path(), 3).await;
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    for (number, member) in (0_u64..).zip(&members) {
        let small = format!("small body by {number}");
        member.group.propose(with_body(number, small.as_bytes())).await.unwrap();
        let mut own = large.clone();
        own[0] = u8::try_from(number).unwrap();
        member.group.propose(with_body(10 + number, &own)).await.unwrap();
    }
    for member in &members {
        member.group.fresh().await.unwrap();
        for number in 0..3_u64 {
            let small = Bytes::from(format!("small body by {number}"));
            let found = member.store.body(&BodyHash::of(std::slice::from_ref(&small))).unwrap().unwrap();
            assert_eq!(found.all().unwrap().concat(), small);
            let mut own = large.clone();
            own[0] = u8::try_from(number).unwrap();
            let found = member.store.body(&BodyHash::of(&[Bytes::from(own)])).unwrap().unwrap();
            found.verify().unwrap();
        }
    }
    for member in members {
        member.stop().await;
    }
}

/// Small ones and large ones; also where who brought it does not wait any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_not_sent_back_to_who_brought_it() {
    let folder = tempfile::tempdir().unwrap();
    let (net, members) = cluster(folder.path(), 3).await;
    let first = leader(&members).await;
    let (by, other) = (&members[(first + 1) % 3], &members[(first + 2) % 3]);
    let leads = members[first].id;
    let before = [net.sent(by.id, leads), net.sent(leads, other.id), net.sent(leads, by.id)];
    let (small, large) = (vec![7; 100_000], vec![8; 3_000_000]);
    by.group.propose(with_body(1, &small)).await.unwrap();
    by.group.propose(with_body(2, &large)).await.unwrap();
    for member in &members {
        member.group.fresh().await.unwrap();
    }
    let to_who_brought = net.sent(leads, by.id) - before[2];
    assert!(to_who_brought < 50_000, "{to_who_brought}");
    assert!(net.sent(by.id, leads) - before[0] > 3_100_000);
    assert!(net.sent(leads, other.id) - before[1] > 3_100_000);
    // The proposal comes after 200 ms, the entry 200 ms later.
    *net.late_ms.lock().unwrap() = vec![200];
    let (given_up, waited) = (vec![9; 90_000], Duration::from_millis(300));
    assert!(tokio::time::timeout(waited, by.group.propose(with_body(3, &given_up))).await.is_err());
    until("it to be done all the same", || by.count(3) == 1).await;
    for member in &members {
        member.group.fresh().await.unwrap();
        for body in [&small, &large, &given_up] {
            let hash = BodyHash::of(&[Bytes::from(body.clone())]);
            member.store.body(&hash).unwrap().unwrap().verify().unwrap();
        }
    }
    equal(&members).await;
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_go_on_when_the_leader_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (net, mut members) = cluster(folder.path(), 3).await;
    for id in 0..50 {
        members[usize::try_from(id % 3).unwrap()].group.propose(command(id)).await.unwrap();
    }
    let gone = members.remove(leader(&members).await);
    let (id, folder) = (gone.id, gone.stop().await);
    for id in 50..100 {
        members[usize::try_from(id % 2).unwrap()].group.propose(command(id)).await.unwrap();
    }
    // It comes back and catches up.
    let back = Member::start(&net, folder.clone(), id, false, settings(&folder)).await;
    members.push(back);
    equal(&members).await;
    for id in 0..100 {
        assert!(members.iter().all(|member| member.count(id) == 1), "{id}");
    }
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_in_order_hands_over_before() {
    let folder = tempfile::tempdir().unwrap();
    let (_net, mut members) = cluster(folder.path(), 3).await;
    members[0].group.propose(command(1)).await.unwrap();
    let going = members.remove(leader(&members).await);
    going.node.hand_over(Duration::from_secs(10)).await;
    assert!(!going.group.status().leads);
    let heir = leader(&members).await;
    going.stop().await;
    assert!(members[heir].group.status().leads);
    // Alone with one other: still a majority.
    members[heir].group.propose(command(2)).await.unwrap();
    equal(&members).await;
    for member in members {
        // Nobody to hand over to is no hindrance.
        member.node.hand_over(Duration::from_millis(10)).await;
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_refuses_quickly_and_acknowledges_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let change = |settings| estafette_raft::Settings { propose_wait_ms: 500, fresh_wait_ms: 300, ..settings };
    let (net, members) = cluster_with(folder.path(), 3, change).await;
    let old = leader(&members).await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != members[old].id).collect();
    net.cut(members[old].id, &others);
    // The lease of the one that is cut off ends.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let fresh = members[old].group.fresh().await;
    assert!(matches!(fresh, Err(Error::Unavailable { .. })), "{fresh:?}");
    let group = members[old].group.clone();
    let lost = tokio::spawn(async move { group.propose(command(1)).await });
    // The majority elects another and goes on.
    let majority: Vec<&Member> = members.iter().filter(|member| others.contains(&member.id)).collect();
    majority[0].group.propose(command(2)).await.unwrap();
    majority[1].group.fresh().await.unwrap();
    assert_eq!(majority[1].count(2), 1);
    net.heal();
    // What the minority took is undone, and its caller does not hear that it was done.
    let lost = lost.await.unwrap();
    equal(&members).await;
    match lost {
        Ok(_) => assert_eq!(members[old].count(1), 1, "acknowledged, so it must be there"),
        Err(_) => assert!(members.iter().all(|member| member.count(1) <= 1)),
    }
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_node_gets_a_snapshot_when_the_log_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let change = |settings| estafette_raft::Settings { keep_entries: 5, ..settings };
    let (net, mut members) = cluster_with(folder.path(), 3, change).await;
    let at = (leader(&members).await + 1) % 3;
    let late = members.remove(at);
    let (id, late_folder) = (late.id, late.stop().await);
    for id in 0..200 {
        members[0].group.propose(with_body(id, format!("body {id}").as_bytes())).await.unwrap();
    }
    let leads = leader(&members).await;
    members[leads].group.compact().await.unwrap();
    let group = members[leads].group.clone();
    until("the log is cut", || group.status().purged.is_some_and(|index| index > 100)).await;
    members.push(Member::start(&net, late_folder.clone(), id, false, change(settings(&late_folder))).await);
    equal(&members).await;
    for member in members {
        member.stop().await;
    }
}

/// Rows that a replica keeps in memory go when a snapshot takes their place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_replaces_rows_in_memory_too() {
    let folder = tempfile::tempdir().unwrap();
    let change = |settings| estafette_raft::Settings { keep_entries: 5, ..settings };
    let (net, members) = cluster_with(folder.path(), 3, change).await;
    let leads = leader(&members).await;
    let group = members[leads].group.clone();
    let late = &members[(leads + 1) % 3];
    // Twice, for a row is kept once it is read.
    for id in (0..50).chain(0..50) {
        group.propose(command(id)).await.unwrap();
    }
    until("all are there", || (0..50).all(|id| late.count(id) == 2)).await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != late.id).collect();
    net.cut(late.id, &others);
    for id in (0..50).chain(0..50) {
        group.propose(command(id)).await.unwrap();
    }
    group.compact().await.unwrap();
    until("the log is cut", || group.status().purged.is_some_and(|index| index > 150)).await;
    net.heal();
    for id in 0..50 {
        group.propose(command(id)).await.unwrap();
    }
    equal(&members).await;
    assert!((0..50).all(|id| late.count(id) == 5));
    for member in members {
        member.stop().await;
    }
}

/// Whoever sends a snapshot may give it up while the peer installs it: the file stays until that is done.
#[test]
fn a_snapshot_that_nobody_waits_for_any_more_does_no_harm() {
    // The one thread that reads files has other work in between, so that some time passes before the file is opened.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let busy = tokio::spawn(async {
            loop {
                tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(4))).await.unwrap();
            }
        });
        give_snapshots_up().await;
        busy.abort();
    });
}

async fn give_snapshots_up() {
    let folder = tempfile::tempdir().unwrap();
    let change = |settings| estafette_raft::Settings { keep_entries: 5, ..settings };
    let (net, mut members) = cluster_with(folder.path(), 3, change).await;
    let at = (leader(&members).await + 1) % 3;
    let late = members.remove(at);
    let (id, late_folder) = (late.id, late.stop().await);
    for id in 0..200 {
        members[0].group.propose(command(id)).await.unwrap();
    }
    let leads = leader(&members).await;
    members[leads].group.compact().await.unwrap();
    let group = members[leads].group.clone();
    until("the log is cut", || group.status().purged.is_some_and(|index| index > 100)).await;
    *net.impatient_ms.lock().unwrap() = (1..12).rev().collect();
    members.push(Member::start(&net, late_folder.clone(), id, false, change(settings(&late_folder))).await);
    equal(&members).await;
    for member in members {
        assert!(member.group.status().running);
        member.stop().await;
    }
}

/// Several requests are under way to a peer, and the net does not keep their order. Some come later than is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_overtake_each_other_are_taken_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let change =
        |settings| estafette_raft::Settings { entries_in_flight: 8, max_entry_commands: 3, ..settings };
    let (net, mut members) = cluster_with(folder.path(), 3, change).await;
    let leads = leader(&members).await;
    let term = members[leads].group.status().term;
    *net.late_ms.lock().unwrap() = vec![0, 40, 0, 0, 20, 0, 0, 0, 900, 0, 0];
    propose_all(&members[leads].group, 0..100).await;
    // One that has much to catch up with, in many pieces.
    let late = members.remove((leads + 1) % 3);
    let (id, late_folder) = (late.id, late.stop().await);
    let leads = leader(&members).await;
    for id in 100..140 {
        let body = vec![u8::try_from(id).unwrap(); 100_000];
        members[leads].group.propose(with_body(id, &body)).await.unwrap();
    }
    members.push(Member::start(&net, late_folder.clone(), id, false, change(settings(&late_folder))).await);
    propose_all(&members[leads].group, 140..180).await;
    equal(&members).await;
    // Heartbeats do not stand behind entries, however late these come.
    *net.late_ms.lock().unwrap() = vec![2_000];
    members[leads].group.propose(command(180)).await.unwrap();
    assert_eq!(members[leads].group.status().term, term, "nobody lost the lead over it");
    net.late_ms.lock().unwrap().clear();
    for id in 0..180 {
        assert!(members.iter().all(|member| member.count(id) == 1), "{id}");
    }
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_change_one_by_one_and_leadership_moves() {
    let folder = tempfile::tempdir().unwrap();
    let (net, mut members) = cluster(folder.path(), 3).await;
    members[1].group.propose(command(1)).await.unwrap();
    let fourth = folder.path().join("4");
    let change = settings(&fourth);
    members.push(Member::start(&net, fourth, 4, false, change).await);
    members[2].group.order(Order::AddLearner(NodeId(4))).await.unwrap();
    members[2].group.order(Order::Voters([1, 2, 3, 4].map(NodeId).into())).await.unwrap();
    assert_eq!(members[3].group.status_of_leader().await.unwrap().voting().len(), 4);
    // The first leaves, perhaps as the leader.
    members[3].group.order(Order::LeadBy(NodeId(4))).await.unwrap();
    let group = members[3].group.clone();
    until("the fourth leads", || group.status().leads).await;
    // The others know it, too.
    members[2].group.fresh().await.unwrap();
    members[2].group.order(Order::Voters([2, 3, 4].map(NodeId).into())).await.unwrap();
    let first = members.remove(0);
    first.stop().await;
    for id in 10..30 {
        members[usize::try_from(id % 3).unwrap()].group.propose(command(id)).await.unwrap();
    }
    equal(&members).await;
    for member in members {
        member.stop().await;
    }
}

/// One that had a part in a group and gave it up helps nobody to lead who has less than it had, when it is asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_with_nothing_does_not_help_who_lags_to_lead() {
    let folder = tempfile::tempdir().unwrap();
    let (net, mut members) = cluster(folder.path(), 4).await;
    let order = async |members: &[Member], order: Order| {
        members[leader(members).await].group.order(order).await.unwrap();
    };
    order(&members, Order::Voters([1, 2, 3].map(NodeId).into())).await;
    order(&members, Order::AddLearner(NodeId(4))).await;
    while members[leader(&members).await].id != 1 {
        order(&members, Order::LeadBy(NodeId(1))).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Node 2 does not hear that node 4 takes the place of node 3, which gives up all that it has.
    net.cut(2, &[1, 4]);
    members[0].group.order(Order::Voters([1, 3, 4].map(NodeId).into())).await.unwrap();
    members[0].group.order(Order::Voters([1, 4].map(NodeId).into())).await.unwrap();
    members[0].group.propose(command(1)).await.unwrap();
    let third = members.remove(2);
    third.node.leave(net::GROUP, async { true }).await.unwrap();
    assert!(!third.node.has(net::GROUP).unwrap());
    let folder = third.stop().await;
    let third = Member::start(&net, folder.clone(), 3, false, settings(&folder)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!members[1].group.status().leads, "with the vote of one that has forgotten everything");
    assert!(members[0].group.status().leads);
    // As a member again it votes, once it has what it had.
    net.heal();
    members[0].group.order(Order::AddLearner(NodeId(3))).await.unwrap();
    members[0].group.order(Order::Voters([1, 3, 4].map(NodeId).into())).await.unwrap();
    members.push(third);
    members.remove(1).stop().await;
    members.remove(0).stop().await;
    members[leader(&members).await].group.propose(command(2)).await.unwrap();
    equal(&members).await;
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_the_group_has_its_leader_carry_out_what_it_proposes() {
    let folder = tempfile::tempdir().unwrap();
    let (net, mut members) = cluster(folder.path(), 3).await;
    let outside = Member::outside(&net, folder.path().join("9"), 9);
    let far = outside.far(net::GROUP);
    let nobody = far.propose(command(1)).await;
    assert!(matches!(nobody, Err(Error::NotLeader { .. })), "{nobody:?}");
    far.is_at(&[NodeId(1), NodeId(2), NodeId(3)]);
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    far.propose(with_body(2, &large)).await.unwrap();
    // Whoever leads next is found.
    members.remove(leader(&members).await).stop().await;
    far.propose(command(3)).await.unwrap();
    for member in &members {
        member.group.fresh().await.unwrap();
        assert_eq!((member.count(1), member.count(3)), (0, 1));
        let body = BodyHash::of(&[Bytes::from(large.clone())]);
        member.store.body(&body).unwrap().unwrap().verify().unwrap();
    }
    outside.shutdown().await;
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_bodies_are_brought_many_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (_net, members) = cluster(folder.path(), 2).await;
    let bodies: Vec<Vec<u8>> = (0..20_u8).map(|number| vec![number; 100_000]).collect();
    for (number, body) in (0..).zip(&bodies) {
        members[0].group.propose(with_body(number, body)).await.unwrap();
    }
    let large = vec![77; 200_000];
    members[0].group.propose(with_body(99, &large)).await.unwrap();
    members[1].group.fresh().await.unwrap();
    let hash = |body: &Vec<u8>| BodyHash::of(&[Bytes::from(body.clone())]);
    let mut wanted: Vec<BodyHash> = bodies.iter().map(hash).collect();
    wanted.extend([hash(&large), hash(&b"nobody has it".to_vec())]);
    let mut answers = 0;
    while let Some(came) =
        Some(members[0].node.fetch_small(NodeId(2), &wanted).await.unwrap()).filter(|came| !came.is_empty())
    {
        answers += 1;
        for body in came {
            let bytes = body.read(0..body.len()).unwrap().concat();
            assert!(bodies.contains(&bytes) && hash(&bytes) == body.hash());
            wanted.retain(|hash| *hash != body.hash());
        }
    }
    assert_eq!(wanted, [hash(&large), hash(&b"nobody has it".to_vec())]);
    assert_eq!(answers, 7, "256 KiB or a little more in each");
    let nobody = members[0].node.fetch_small(NodeId(3), &wanted).await;
    assert!(matches!(nobody, Err(Error::Unavailable { .. })), "{nobody:?}");
    for member in members {
        member.stop().await;
    }
}

/// The leader need not be sent it, but the third node does: else it would be acknowledged with its bytes on one node alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_the_leader_has_already_goes_to_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let (_net, members) = cluster(folder.path(), 3).await;
    let first = leader(&members).await;
    let text = Bytes::from(vec![5; 300_000]);
    let hash = BodyHash::of(std::slice::from_ref(&text));
    // By another group, as it were.
    let mut batch = Batch::new();
    batch.put_body(hash, std::slice::from_ref(&text));
    batch.hold_body(hash, b"another");
    let (done, wait) = std::sync::mpsc::channel();
    members[first].store.commit(batch, Vec::new(), move |result| done.send(result).unwrap());
    wait.recv_timeout(net::LONG).unwrap().unwrap();
    members[(first + 1) % 3].group.propose(with_body(1, &text)).await.unwrap();
    for member in &members {
        member.group.fresh().await.unwrap();
        assert_eq!(member.store.missing(None, 10).unwrap(), []);
        member.store.body(&hash).unwrap().unwrap().verify().unwrap();
    }
    for member in members {
        member.stop().await;
    }
}

/// Rows may come without the bodies to which they refer: every replica takes down what it has to fetch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_only_named_is_missing_wherever_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (_net, members) = cluster(folder.path(), 3).await;
    // One of them has it, by another group as it were.
    let (here, nowhere) = (&b"on the first"[..], &b"on none of them"[..]);
    let hash = |bytes: &[u8]| BodyHash::of(&[Bytes::copy_from_slice(bytes)]);
    let mut batch = Batch::new();
    batch.put_body(hash(here), &[Bytes::from_static(b"on the first")]);
    batch.hold_body(hash(here), b"another");
    let (done, wait) = std::sync::mpsc::channel();
    members[0].store.commit(batch, Vec::new(), move |result| done.send(result).unwrap());
    wait.recv_timeout(net::LONG).unwrap().unwrap();
    for (id, bytes) in [(1, here), (2, nowhere)] {
        for by in 0..3 {
            let mut proposal = with_body(10 * by + id, bytes);
            proposal.bodies = vec![NewBody::absent(hash(bytes), Some(bytes.len() as u64))];
            members[usize::try_from(by).unwrap()].group.propose(proposal).await.unwrap();
        }
    }
    for member in &members {
        member.group.fresh().await.unwrap();
        let mut missing: Vec<_> = member.store.missing(None, 10).unwrap();
        missing.sort_unstable();
        let mut expected = vec![(hash(nowhere), Some(nowhere.len() as u64))];
        if member.id != 1 {
            expected.push((hash(here), Some(here.len() as u64)));
        }
        expected.sort_unstable();
        assert_eq!(missing, expected, "node {}", member.id);
        assert!(!member.node.is_whole(NodeId(member.id)).await);
    }
    equal(&members).await;
    for member in members {
        member.stop().await;
    }
}
