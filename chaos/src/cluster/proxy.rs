//! Links between nodes that can be made slow: a TCP proxy in front of each node's mesh.
//!
//! It stands on the harness's side and knows who connects by the address. Bytes are held back by the delay of
//! the link, and come out no faster than its rate; both may change while connections stand. Ends of
//! connections are passed on as they come.

use super::net::{self, Number};
use crate::error::ChaosError;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// The port of the mesh.
pub(crate) const MESH_PORT: u16 = 7400;
/// Bytes taken at once, and so many pieces under way on a connection in each direction.
const PIECE_BYTES: usize = 16 * 1024;
const PIECES_MAX: usize = 256;
/// For the node behind to take a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
const LISTEN_BACKLOG: u32 = 1024;

/// How slow one direction between two nodes is; 0 for not at all.
#[derive(Debug, Default)]
pub(crate) struct Link {
    delay_ms: AtomicU64,
    bytes_per_second: AtomicU64,
    /// The same by another fault; the lower of both holds.
    narrow_bytes_per_second: AtomicU64,
    /// Counts up when what is under way is lost, and its connections end.
    severed: watch::Sender<u64>,
}

impl Link {
    fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.load(Ordering::Relaxed))
    }

    /// How long so many bytes take.
    fn time_of(&self, bytes: usize) -> Duration {
        let rates = [&self.bytes_per_second, &self.narrow_bytes_per_second];
        let rates = rates.map(|rate| rate.load(Ordering::Relaxed));
        match rates.into_iter().filter(|rate| *rate > 0).min() {
            None => Duration::ZERO,
            Some(rate) => Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / rate),
        }
    }
}

/// The links of a cluster, by sender and receiver.
#[derive(Clone, Debug)]
pub(crate) struct Links(Arc<Vec<Vec<Arc<Link>>>>);

impl Links {
    /// Listens in front of each node's mesh.
    pub(crate) async fn open(nodes: usize) -> Result<Links, ChaosError> {
        let row = || (0..=nodes).map(|_| Arc::new(Link::default())).collect();
        let links = Links(Arc::new((0..=nodes).map(|_| row()).collect()));
        for to in 1..=nodes {
            let listener = bound(SocketAddrV4::new(net::front(to), MESH_PORT))
                .and_then(|socket| socket.listen(LISTEN_BACKLOG))
                .map_err(ChaosError::system("listen in front of a node"))?;
            tokio::spawn(links.clone().serve(listener, to));
        }
        Ok(links)
    }

    fn link(&self, from: Number, to: Number) -> Arc<Link> {
        self.0.get(from).and_then(|row| row.get(to)).cloned().unwrap_or_default()
    }

    /// Makes one direction slow, or quick again by zeros.
    pub(crate) fn slow(&self, from: Number, to: Number, delay_ms: u64, bytes_per_second: u64) {
        let link = self.link(from, to);
        link.delay_ms.store(delay_ms, Ordering::Relaxed);
        link.bytes_per_second.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Makes one direction narrow whatever else makes it slow, or ends that by 0.
    pub(crate) fn narrow(&self, from: Number, to: Number, bytes_per_second: u64) {
        self.link(from, to).narrow_bytes_per_second.store(bytes_per_second, Ordering::Relaxed);
    }

    /// What is under way between two nodes is lost, as with the host of one of them; connections can be made again.
    pub(crate) fn sever(&self, one: Number, other: Number) {
        for link in [self.link(one, other), self.link(other, one)] {
            link.severed.send_modify(|count| *count += 1);
        }
    }

    /// All are quick again.
    pub(crate) fn heal(&self) {
        for link in self.0.iter().flatten() {
            link.delay_ms.store(0, Ordering::Relaxed);
            link.bytes_per_second.store(0, Ordering::Relaxed);
            link.narrow_bytes_per_second.store(0, Ordering::Relaxed);
        }
    }

    async fn serve(self, listener: TcpListener, to: Number) {
        loop {
            let Ok((stream, SocketAddr::V4(peer))) = listener.accept().await else { continue };
            let from = net::number_of(*peer.ip());
            let (there, back) = (self.link(from, to), self.link(to, from));
            let node = SocketAddrV4::new(net::own(to), MESH_PORT);
            tokio::spawn(carry(stream, net::behind(from), node, there, back));
        }
    }
}

fn bound(address: SocketAddrV4) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address.into())?;
    Ok(socket)
}

/// Carries one connection to the node behind, as if it came from the sender's second address.
async fn carry(client: TcpStream, source: Ipv4Addr, node: SocketAddrV4, there: Arc<Link>, back: Arc<Link>) {
    let Ok(socket) = bound(SocketAddrV4::new(source, 0)) else { return };
    let Ok(Ok(server)) = timeout(CONNECT_WAIT, socket.connect(node.into())).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let mut severed = there.severed.subscribe();
    tokio::select! {
        _ = async { tokio::join!(pump(from_client, to_server, there), pump(from_server, to_client, back)) } => {}
        _ = severed.changed() => {}
    }
}

/// Carries one direction until its end.
async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, link: Arc<Link>) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let reading = Arc::clone(&link);
    let read = async move {
        let mut free = Instant::now();
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let Ok(count @ 1..) = from.read(&mut piece).await else { break };
            piece.truncate(count);
            free = free.max(Instant::now()) + reading.time_of(count);
            if sender.send((free + reading.delay(), piece)).await.is_err() {
                break;
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                // Nobody takes it any more: the reading side sees the channel closed.
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_link_holds_back_and_passes_the_end_on() {
        let link = Arc::new(Link::default());
        link.delay_ms.store(60, Ordering::Relaxed);
        link.bytes_per_second.store(100_000, Ordering::Relaxed);
        let (mut sender, from) = tokio::io::duplex(64 * 1024);
        let (to, mut receiver) = tokio::io::duplex(64 * 1024);
        tokio::spawn(pump(from, to, link));
        let begin = Instant::now();
        sender.write_all(&[7; 10_000]).await.unwrap();
        drop(sender);
        let mut got = Vec::new();
        receiver.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, vec![7; 10_000]);
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(155) && took < Duration::from_secs(5), "{took:?}");
    }
}
