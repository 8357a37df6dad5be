//! A disk that is full, a small one in memory (mounting it needs root; without, the tests skip): no group stops for it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod counter;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use counter::*;
use estafette_raft::{Error, Group, GroupId, Node, NodeId, Settings};
use estafette_storage::{Health, MIN_FREE_BYTES_MIN, Store};

/// Mounts a disk of this size, with a folder for the data; unmounts it at the end.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(size: &str) -> Option<Disk> {
        let disk = Disk(tempfile::tempdir().unwrap());
        let options = format!("size={size}");
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(disk.path()).output();
        if !done.is_ok_and(|done| done.status.success()) {
            println!("skipped: mounting a small disk is not allowed here");
            return None;
        }
        std::fs::create_dir(disk.path().join("data")).unwrap();
        Some(disk)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn data(&self) -> std::path::PathBuf {
        self.path().join("data")
    }

    /// Takes so many MiB with one program; all there is without a number.
    fn fill(&self, mib: Option<u64>) {
        let filler = self.path().join("filler");
        let done = match mib {
            Some(mib) => Command::new("fallocate").args(["-l", &format!("{mib}MiB")]).arg(filler).output(),
            None => Command::new("dd")
                .args(["if=/dev/zero", "bs=1M"])
                .arg(format!("of={}", filler.display()))
                .output(),
        };
        assert_eq!(done.unwrap().status.success(), mib.is_some());
    }

    fn relieve(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).output();
    }
}

fn store(folder: &Path) -> Store {
    let settings = estafette_storage::Settings {
        cache_bytes: 8 << 20,
        min_free_bytes: MIN_FREE_BYTES_MIN,
        ..Default::default()
    };
    Store::open(folder, settings).unwrap()
}

async fn one(folder: &Path) -> (Store, Node, Group) {
    one_with(folder, settings(folder)).await
}

async fn one_with(folder: &Path, settings: Settings) -> (Store, Node, Group) {
    let store = store(folder);
    let node = Node::start(store.clone(), NodeId(1), settings).unwrap();
    let group = node.open(GroupId::shard(0), Box::new(Counter::new(7))).await.unwrap();
    group.ready().await.unwrap();
    (store, node, group)
}

/// A delivery and a removal that wait for the same entry: the one is refused, the other is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_while_the_disk_fills_up_is_parted() {
    let Some(disk) = Disk::mount("400m") else { return };
    let mut settings = settings(&disk.data());
    // What comes behind the slow one waits for it in the queue.
    settings.entries_unanswered = 1;
    let (store, node, group) = one_with(&disk.data(), settings).await;
    let propose = |proposal| {
        let group = group.clone();
        tokio::spawn(async move { group.propose(proposal).await })
    };
    let slow = propose(command(SLOW));
    tokio::time::sleep(SLOW_TIME / 4).await;
    let (delivery, removal) = (propose(with_body(1, b"mail")), propose(command(2)));
    tokio::time::sleep(SLOW_TIME / 4).await;
    assert!(!delivery.is_finished() && !removal.is_finished(), "both wait");
    disk.fill(Some(270));
    assert!(matches!(delivery.await.unwrap(), Err(Error::Full)));
    slow.await.unwrap().unwrap();
    removal.await.unwrap().unwrap();
    assert_eq!((count(&store, 7, 1), count(&store, 7, 2)), (0, 1));
    disk.relieve();
    tokio::time::sleep(Duration::from_millis(50)).await;
    group.propose(with_body(1, b"mail")).await.unwrap();
    node.shutdown().await;
}

/// The last byte goes while deliveries come in, several times; removals go on; with room again, deliveries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_group_stops_when_the_last_byte_goes() {
    let Some(disk) = Disk::mount("500m") else { return };
    let (store, node, group) = one(&disk.data()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut deliverers = Vec::new();
    for number in 0..8_u64 {
        let (group, stop) = (group.clone(), Arc::clone(&stop));
        deliverers.push(tokio::spawn(async move {
            let (mut told, mut refused) = (Vec::new(), Vec::new());
            for id in (number << 32).. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                match group.propose(with_body(id, &id.to_be_bytes().repeat(5000))).await {
                    Ok(_) => told.push(id),
                    Err(Error::Full) => {
                        refused.push(id);
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            (told, refused)
        }));
    }
    for round in 0..3_u64 {
        tokio::time::sleep(Duration::from_millis(150 + round * 70)).await;
        disk.fill(None);
        for id in 0..20 {
            group.propose(command(id | 1 << 60)).await.unwrap();
        }
        assert_eq!(store.health(), Health::Full);
        disk.relieve();
        tokio::time::timeout(Duration::from_secs(20), async {
            while group.propose(with_body(round | 1 << 61, b"mail")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let (mut told, mut refused) = (Vec::new(), Vec::new());
    for deliverer in deliverers {
        let (more_told, more_refused) = deliverer.await.unwrap();
        told.extend(more_told);
        refused.extend(more_refused);
    }
    println!("{} told, {} refused", told.len(), refused.len());
    assert!(told.len() > 50 && refused.len() > 20 && group.status().running);
    node.shutdown().await;
    drop((store, node, group));
    let (store, node, group) = one(&disk.data()).await;
    assert!(told.iter().all(|id| count(&store, 7, *id) == 1));
    assert!(refused.iter().all(|id| count(&store, 7, *id) == 0));
    assert!((0..20).all(|id| count(&store, 7, id | 1 << 60) == 3));
    assert!(told.iter().all(|id| {
        let chunks = vec![bytes::Bytes::from(id.to_be_bytes().repeat(5000))];
        let body = store.body(&estafette_storage::BodyHash::of(&chunks)).unwrap().unwrap();
        body.all().unwrap().concat() == chunks.concat()
    }));
    group.propose(command(5)).await.unwrap();
    node.shutdown().await;
}

/// A node that is told to stop while nothing can be written does so; what was under way was not acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_stops_on_a_full_disk() {
    let Some(disk) = Disk::mount("300m") else { return };
    let (store, node, group) = one(&disk.data()).await;
    group.propose(command(1)).await.unwrap();
    disk.fill(None);
    // What is kept back goes too, and somebody else takes it.
    std::fs::remove_dir_all(disk.data().join("reserve")).unwrap();
    disk.fill(None);
    let waits = tokio::spawn({
        let group = group.clone();
        async move { group.propose(command(2)).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waits.is_finished());
    node.shutdown().await;
    drop((store, node, group));
    assert!(waits.await.unwrap().is_err());
    disk.relieve();
    let (store, node, _group) = one(&disk.data()).await;
    assert_eq!((count(&store, 7, 1), count(&store, 7, 2)), (1, 0));
    node.shutdown().await;
}
