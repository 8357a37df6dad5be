//! Calls a second and CPU time for each, of requests of 4 KiB answered by as much, between two nodes over loopback.
//!
//! Both nodes run in this process, so the CPU time is that of both sides together, TLS and the kernel included.
//! Arguments: bytes of a request (4096), seconds for each line (3).

#![allow(clippy::print_stdout)]

use bytes::Bytes;
use estafette_mesh::{
    Authority, BoxFuture, ClusterId, Error, Identity, Lane, Mesh, NodeKey, NodeName, Serve, Settings,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

struct Echo;

impl Serve for Echo {
    fn serve(&self, _: NodeName, _: Lane, request: Bytes) -> BoxFuture<'static, Vec<Bytes>> {
        Box::pin(async move { vec![request] })
    }

    fn join(&self, _: SocketAddr, _: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        Box::pin(async { Err("nobody joins a benchmark".to_owned()) })
    }
}

async fn node(authority: &Authority, number: u64) -> Result<Mesh, Box<dyn std::error::Error>> {
    let (key, name) = (NodeKey::create()?, NodeName(number));
    let certificate = authority.certify(name, key.public_key()?, Duration::from_secs(3600))?;
    let identity =
        Identity::new(authority.cluster(), name, certificate, &key, authority.certificate().to_vec())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    Ok(Mesh::start(identity, listener, Settings::default(), Arc::new(Echo)).await?)
}

/// CPU time of this process so far, of user and kernel.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything, the times are the 12th and 13th; in hundredths of a second.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).filter_map(|text| text.parse().ok());
    let bytes = usize::try_from(arguments.next().unwrap_or(4096))?;
    let lasts = Duration::from_secs(arguments.next().unwrap_or(3));
    let authority = Authority::create(ClusterId::random()?)?;
    let (one, two) = (node(&authority, 1).await?, node(&authority, 2).await?);
    let peers = [(NodeName(1), one.address()), (NodeName(2), two.address())];
    let peers: BTreeMap<_, _> =
        peers.into_iter().map(|(name, address)| (name, address.to_string())).collect();
    one.set_peers(peers.clone());
    two.set_peers(peers);
    println!("{:>10} {:>10} {:>10} {:>12} {:>10}", "under way", "calls/s", "MiB/s", "CPU us/call", "mean us");
    for under_way in [1u32, 16, 256] {
        let (began, cpu_before) = (Instant::now(), cpu());
        let mut callers = JoinSet::new();
        for _ in 0..under_way {
            let (mesh, body) = (one.clone(), Bytes::from(vec![7; bytes]));
            callers.spawn(async move {
                let mut calls = 0u32;
                while began.elapsed() < lasts {
                    mesh.call(NodeName(2), Lane::Entries, vec![body.clone()]).await?;
                    calls += 1;
                }
                Ok::<_, Error>(calls)
            });
        }
        let mut calls = 0;
        while let Some(done) = callers.join_next().await {
            calls += done??;
        }
        let (took, used) = (began.elapsed().as_secs_f64(), (cpu() - cpu_before).as_secs_f64());
        let calls = f64::from(calls);
        let mib = 2.0 * calls * bytes as f64 / (1024.0 * 1024.0);
        println!(
            "{under_way:>10} {:>10.0} {:>10.1} {:>12.1} {:>10.0}",
            calls / took,
            mib / took,
            used / calls * 1e6,
            took * f64::from(under_way) / calls * 1e6
        );
    }
    one.shutdown().await;
    two.shutdown().await;
    Ok(())
}
