//! What streams cost: how fast they are opened, what idle ones take of memory, and what one carries. Both ends are in
//! this process.
//!
//!     cargo run --release -p estafette-mesh --example streams [count]
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use bytes::Bytes;
use estafette_mesh::{
    Authority, BoxFuture, ClusterId, Identity, Lane, Mesh, NodeKey, NodeName, Serve, Settings, Stream, Taken,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const CARRIED_BYTES: usize = 1 << 30;

/// Reads all that comes.
struct Sink;

impl Serve for Sink {
    fn serve(&self, _: NodeName, _: Lane, request: Bytes) -> BoxFuture<'static, Vec<Bytes>> {
        Box::pin(async move { vec![request] })
    }

    fn join(&self, _: SocketAddr, _: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        Box::pin(async { Err("nobody joins".to_owned()) })
    }

    fn stream(&self, _: NodeName, _: Bytes) -> BoxFuture<'static, Result<Taken, String>> {
        let hold = |mut stream: Stream| -> BoxFuture<'static, ()> {
            Box::pin(async move {
                while matches!(stream.read(&mut [0; 16 * 1024]).await, Ok(1..)) {}
                // The other side may have gone.
                _ = stream.shutdown().await;
            })
        };
        Box::pin(async move { Ok(Taken { answer: Bytes::new(), hold: Box::new(hold) }) })
    }
}

async fn node(authority: &Authority, name: NodeName) -> Mesh {
    let key = NodeKey::create().unwrap();
    let hour = Duration::from_secs(3600);
    let certificate = authority.certify(name, key.public_key().unwrap(), hour).unwrap();
    let identity =
        Identity::new(authority.cluster(), name, certificate, &key, authority.certificate().to_vec())
            .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = Settings { connect_timeout_ms: 60_000, ..Settings::default() };
    Mesh::start(identity, listener, settings, Arc::new(Sink)).await.unwrap()
}

/// Memory of this process in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::main]
async fn main() {
    let count: u32 = std::env::args().nth(1).map_or(2000, |count| count.parse().unwrap());
    let authority = Authority::create(ClusterId([1; 16])).unwrap();
    let (one, two) = (NodeName(1), NodeName(2));
    let (mesh, other) = (node(&authority, one).await, node(&authority, two).await);
    let peers = BTreeMap::from([(one, mesh.address().to_string()), (two, other.address().to_string())]);
    mesh.set_peers(peers.clone());
    other.set_peers(peers);
    let (_, mut stream) = mesh.stream(two, Bytes::new()).await.unwrap();
    let (before, began) = (resident_kib(), Instant::now());
    let opening: Vec<_> = (0..count).map(|_| tokio::spawn(mesh.stream(two, Bytes::new()))).collect();
    let mut open = Vec::new();
    for stream in opening {
        open.push(stream.await.unwrap().unwrap());
    }
    let took = began.elapsed().as_secs_f64();
    println!("opened {count} streams, {:.0} a second", f64::from(count) / took);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let each = (resident_kib() - before) as f64 / f64::from(count);
    println!("an idle one takes {each:.1} KiB, both ends together");
    let (piece, began) = (vec![7; 16 * 1024], Instant::now());
    for _ in 0..CARRIED_BYTES / piece.len() {
        stream.write_all(&piece).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    while stream.read(&mut [0; 100]).await.unwrap() > 0 {}
    println!("one carries {:.0} MiB a second", 1024.0 / began.elapsed().as_secs_f64());
}
