//! Measures a group: proposals each second and CPU for each, for some numbers of callers that wait.
//!
//! `cargo run --release -p estafette-raft --example load -- FOLDER [SECONDS] [BODY BYTES] [ENTRIES IN FLIGHT] [CALLERS ...]`
//! With 0 callers: six idle groups, and what they cost.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used)]

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use estafette_raft::{Context, GroupId, Machine, MachineError, NewBody, Node, NodeId, Proposal, Settings};
use estafette_storage::{BodyHash, Family, Read, Store, Transaction, prefix_range};

/// Adds some rows for each command, as a delivery does.
struct Deliveries;

impl Machine for Deliveries {
    fn apply(
        &mut self,
        context: &Context,
        command: &[u8],
        bodies: &[BodyHash],
        tx: &mut Transaction,
    ) -> Result<Bytes, MachineError> {
        let mut key = vec![0, 0, 0, 9, 0];
        key.extend(context.index.to_be_bytes());
        key.extend(context.ordinal.to_be_bytes());
        for row in 0..3 {
            key[4] = row;
            tx.put(Family::Row, &key, command);
        }
        for body in bodies {
            tx.add_body_ref(*body, 9, 1);
        }
        Ok(Bytes::new())
    }

    fn ranges(&self) -> Vec<(Family, Range<Vec<u8>>)> {
        vec![(Family::Row, prefix_range(&[0, 0, 0, 9]))]
    }

    fn load(&mut self, _rows: &dyn Read) -> Result<(), MachineError> {
        Ok(())
    }
}

/// CPU time of this process in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u32 = fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap();
    f64::from(ticks) / 100.0
}

fn proposal(number: u64, bytes: usize) -> Proposal {
    let mut body = vec![b'x'; bytes];
    body[..8].copy_from_slice(&number.to_be_bytes());
    let chunks = vec![Bytes::from(body)];
    let bodies = vec![NewBody::of(chunks)];
    Proposal { command: Bytes::from(vec![1; 200]), bodies }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |place: usize, default: u64| args.get(place).and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let folder = PathBuf::from(args.first().expect("a folder"));
    let seconds = Duration::from_secs(number(1, 5));
    let bytes = usize::try_from(number(2, 4096)).unwrap();
    let in_flight = usize::try_from(number(3, 1)).unwrap();
    let callers: Vec<u64> = args.iter().skip(4).filter_map(|arg| arg.parse().ok()).collect();
    let callers = if callers.is_empty() { vec![1, 64] } else { callers };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = Store::open(&folder, estafette_storage::Settings::default()).unwrap();
    let mut settings = Settings::new(folder.join("snapshots"));
    settings.entries_in_flight = in_flight;
    runtime.block_on(async {
        let started = Instant::now();
        let node = Node::start(store, NodeId(1), settings).unwrap();
        let mut groups = Vec::new();
        for shard in 0..6 {
            groups.push(node.open(GroupId::shard(shard), Box::new(Deliveries)).await.unwrap());
        }
        for group in &groups {
            group.ready().await.unwrap();
        }
        println!("6 groups ready after {:?}", started.elapsed());
        for callers in callers {
            run(&groups[0], callers, seconds, bytes).await;
        }
        node.shutdown().await;
    });
}

async fn run(group: &estafette_raft::Group, callers: u64, seconds: Duration, bytes: usize) {
    let (cpu_before, started, entries) = (cpu(), Instant::now(), group.status().last.unwrap());
    if callers == 0 {
        tokio::time::sleep(seconds).await;
        println!("idle: {:.3} % of one core", (cpu() - cpu_before) / started.elapsed().as_secs_f64() * 100.0);
        return;
    }
    let (done, worst) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let until = started + seconds;
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (group, done, worst) = (group.clone(), Arc::clone(&done), Arc::clone(&worst));
            let salt = u64::from(std::process::id()) << 44 | callers << 36 | caller << 28;
            tokio::spawn(async move {
                for number in 0.. {
                    let start = Instant::now();
                    if start >= until {
                        break;
                    }
                    group.propose(proposal(salt | number, bytes)).await.unwrap();
                    worst.fetch_max(u64::try_from(start.elapsed().as_micros()).unwrap(), Ordering::Relaxed);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let done = done.load(Ordering::Relaxed) as f64;
    let (took, cpu) = (started.elapsed().as_secs_f64(), cpu() - cpu_before);
    let entries = (group.status().last.unwrap() - entries) as f64;
    println!(
        "{callers} callers: {:.0}/s, {:.0} us each, worst {} ms, {:.1} commands an entry, {:.1} us CPU each",
        done / took,
        took / done * callers as f64 * 1e6,
        worst.load(Ordering::Relaxed) / 1000,
        done / entries,
        cpu / done * 1e6
    );
}
