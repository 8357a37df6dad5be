//! Sessions that go on elsewhere, and sessions that come from elsewhere, on both drivers.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[macro_use]
mod both;

use bytes::{Bytes, BytesMut};
use estafette_machine::{Action, Actions, Machine, Now, Tls};
use estafette_reactor::{
    Adopter, Elsewhere, Error, Gate, GateLimits, Io, Limits, Listener, Parted, Parting, Peer, Protocol,
    Refusal, Service, Threads, Wanted, bind, serve, tls,
};
use estafette_types::Networks;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as Pair;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// `go` asks, and the answer takes it elsewhere; else as it is told.
struct Talk(Peer);

fn say(out: &mut Actions<()>, text: &str) {
    out.push(Action::Send(Bytes::from(format!("{text}\n"))));
}

impl Machine for Talk {
    type Ask = ();
    type Answer = ();
    fn opened(&mut self, _: Now, out: &mut Actions<()>) {
        say(out, "hello");
    }
    fn received(&mut self, _: Now, input: &mut BytesMut, out: &mut Actions<()>) {
        while let Some(end) = input.iter().position(|b| *b == b'\n') {
            let line = input.split_to(end + 1);
            match &line[..end] {
                b"go" => return out.push(Action::Ask(())),
                b"who" => say(out, &self.0.remote.to_string()),
                b"much" => {
                    (0..64).for_each(|piece| out.push(Action::Send(Bytes::from(vec![piece; 100_000]))))
                }
                b"bye" => {
                    say(out, "bye");
                    out.push(Action::Close);
                }
                line => say(out, std::str::from_utf8(line).unwrap()),
            }
        }
    }
    fn answered(&mut self, _: Now, (): (), out: &mut Actions<()>) {
        say(out, "gone");
    }
    fn secured(&mut self, _: Now, _: Tls, _: &mut Actions<()>) {}
    fn timed_out(&mut self, _: Now, _: &mut Actions<()>) {}
    fn closed(&mut self, _: Now, _: &mut Actions<()>) {}
    fn shutdown(&mut self, _: Now, out: &mut Actions<()>) {
        say(out, "stopping");
        out.push(Action::Close);
    }
    fn overflowed(&mut self, _: Now, _: &mut BytesMut, _: &mut Actions<()>) {}
    fn input_limit(&self) -> usize {
        1 << 20
    }
}

/// One end of what is between here and there; broken, its end is no end in order.
struct End {
    stream: DuplexStream,
    broken: Arc<AtomicBool>,
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = to.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(context, to))?;
        if to.filled().len() == before && self.broken.load(Ordering::SeqCst) {
            return Poll::Ready(Err(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, from)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Lets the last words stand where a line has ended.
struct Lines(bool);

impl Parting for Lines {
    fn told(&mut self, bytes: &[u8]) {
        self.0 = bytes.ends_with(b"\n");
    }
    fn words(&self, why: Parted) -> Option<Bytes> {
        let words = match why {
            Parted::Lost => "it is lost\n",
            Parted::Stopping => "it stops\n",
        };
        self.0.then(|| words.into())
    }
}

struct Leaving {
    protocol: Arc<Talking>,
    gone: Option<Box<Elsewhere>>,
}

impl Service<Talk> for Leaving {
    const QUESTIONS: &'static [&'static str] = &["go"];
    fn question((): &()) -> usize {
        0
    }
    async fn answer(&mut self, (): ()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (here, there) = tokio::io::duplex(16 * 1024);
        let broken = Arc::clone(&self.protocol.broken);
        let stream = Box::new(End { stream: here, broken });
        self.gone = Some(Box::new(Elsewhere { stream, parting: Box::new(Lines(true)) }));
        self.protocol.there.send(there).unwrap();
    }
    fn handed_over(&mut self) -> Option<Box<Elsewhere>> {
        self.gone.take()
    }
}

struct Talking {
    there: mpsc::UnboundedSender<DuplexStream>,
    broken: Arc<AtomicBool>,
}

struct Talks(Arc<Talking>);

impl Protocol for Talks {
    type Machine = Talk;
    type Service = Leaving;
    fn name(&self) -> &'static str {
        "talk"
    }
    fn open(&self, peer: Peer) -> (Talk, Leaving) {
        (Talk(peer), Leaving { protocol: Arc::clone(&self.0), gone: None })
    }
    fn refusal(&self, _: Refusal) -> Bytes {
        Bytes::from_static(b"no\n")
    }
}

struct Server {
    address: SocketAddr,
    there: mpsc::UnboundedReceiver<DuplexStream>,
    broken: Arc<AtomicBool>,
    adopter: Arc<Adopter<Talks>>,
    stop: watch::Sender<bool>,
    ended: [JoinHandle<()>; 2],
    folder: tempfile::TempDir,
}

/// `places`: of each of two threads.
async fn server(io: Io, implicit_tls: bool, sessions: usize, places: u32, limits: Limits) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = tls::self_signed(folder.path(), &["localhost".to_owned()]).unwrap();
    let acceptor = tls::Certificates::load(vec![files]).unwrap().acceptor();
    let threads = Arc::new(Threads::start(2, io, places, &tokio::runtime::Handle::current()).unwrap());
    let sockets = bind("127.0.0.1:0".parse().unwrap(), threads.count(), limits.write_timeout).unwrap();
    let address = sockets[0].local_addr().unwrap();
    let proxy_from = Arc::new(Networks::default());
    let listener = Listener { sockets, acceptor: Some(acceptor), implicit_tls, limits, proxy_from };
    let gate = Gate::new(GateLimits { sessions, sessions_per_address: 100 });
    let (stop, stopping) = watch::channel(false);
    let (sender, there) = mpsc::unbounded_channel();
    let broken = Arc::new(AtomicBool::new(false));
    let protocol =
        || Arc::new(Talks(Arc::new(Talking { there: sender.clone(), broken: Arc::clone(&broken) })));
    let (adopter, drained) =
        Adopter::new(Arc::clone(&threads), protocol(), limits, gate.clone(), stopping.clone());
    let ended = [tokio::spawn(serve(threads, protocol(), listener, gate, stopping)), tokio::spawn(drained)];
    Server { address, there, broken, adopter, stop, ended, folder }
}

async fn plain(io: Io) -> Server {
    server(io, false, 100, 1000, Limits::default()).await
}

impl Server {
    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn secured(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        use rustls_pki_types::pem::PemObject;
        let authority = self.folder.path().join("ca.pem");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls_pki_types::CertificateDer::from_pem_file(authority).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect("localhost".try_into().unwrap(), self.client().await).await.unwrap()
    }

    /// A client whose session goes on at the other end of what is returned.
    async fn gone(&mut self) -> (TcpStream, DuplexStream) {
        let mut client = self.client().await;
        client.write_all(b"go\n").await.unwrap();
        hears(&mut client, "hello\ngone\n").await;
        (client, self.there.recv().await.unwrap())
    }

    async fn adopt(&self) -> Result<UnixStream, Error> {
        let (ours, theirs) = Pair::pair().unwrap();
        let remote = "192.0.2.7:1234".parse().unwrap();
        let open = {
            let adopter = Arc::clone(&self.adopter);
            move |peer| adopter.protocol().open(peer)
        };
        self.adopter.adopt(theirs, (remote, self.address), open).await?;
        ours.set_nonblocking(true).unwrap();
        Ok(UnixStream::from_std(ours).unwrap())
    }
}

async fn hears(from: &mut (impl AsyncRead + Unpin), text: &str) {
    let mut heard = vec![0; text.len()];
    timeout(Duration::from_secs(10), from.read_exact(&mut heard)).await.expect("nothing comes").unwrap();
    assert_eq!(String::from_utf8(heard).unwrap(), text);
}

async fn hears_to_the_end(from: &mut (impl AsyncRead + Unpin), text: &str) {
    let mut heard = Vec::new();
    timeout(Duration::from_secs(10), from.read_to_end(&mut heard)).await.expect("no end").unwrap();
    assert_eq!(String::from_utf8(heard).unwrap(), text);
}

async fn what_was_pipelined_comes_along_and_the_end_is_brought(io: Io) {
    let mut server = plain(io).await;
    let mut client = server.client().await;
    client.write_all(b"one\ngo\ntwo\nthr").await.unwrap();
    hears(&mut client, "hello\none\ngone\n").await;
    let mut there = server.there.recv().await.unwrap();
    hears(&mut there, "two\nthr").await;
    client.write_all(b"ee\n").await.unwrap();
    hears(&mut there, "ee\n").await;
    there.write_all(b"two!\nthree!\n").await.unwrap();
    hears(&mut client, "two!\nthree!\n").await;
    there.write_all(b"bye\n").await.unwrap();
    drop(there);
    hears_to_the_end(&mut client, "bye\n").await;
}

async fn the_end_of_a_client_is_told_and_its_answers_still_come(io: Io) {
    let mut server = plain(io).await;
    let (mut client, mut there) = server.gone().await;
    client.write_all(b"last").await.unwrap();
    client.shutdown().await.unwrap();
    hears_to_the_end(&mut there, "last").await;
    there.write_all(b"answer\n").await.unwrap();
    hears(&mut client, "answer\n").await;
    drop(there);
    hears_to_the_end(&mut client, "").await;
    // And one who goes at once.
    let (client, mut there) = server.gone().await;
    drop(client);
    hears_to_the_end(&mut there, "").await;
}

async fn who_is_lost_is_told_of_where_a_line_has_ended(io: Io) {
    let mut server = plain(io).await;
    server.broken.store(true, Ordering::SeqCst);
    for (said, words) in [("", "it is lost\n"), ("a line\n", "it is lost\n"), ("half a", "")] {
        let (mut client, mut there) = server.gone().await;
        there.write_all(said.as_bytes()).await.unwrap();
        drop(there);
        hears_to_the_end(&mut client, &format!("{said}{words}")).await;
    }
}

async fn the_stop_is_told_there_and_what_still_comes_is_brought(io: Io) {
    let mut server = plain(io).await;
    let (mut client, mut there) = server.gone().await;
    there.write_all(b"half").await.unwrap();
    hears(&mut client, "half").await;
    server.stop.send(true).unwrap();
    hears_to_the_end(&mut there, "").await;
    there.write_all(b" a line\n").await.unwrap();
    drop(there);
    hears_to_the_end(&mut client, " a line\nit stops\n").await;
    for ended in server.ended {
        timeout(Duration::from_secs(5), ended).await.unwrap().unwrap();
    }
}

const MUCH: usize = 24 << 20;

fn much() -> Vec<u8> {
    (0..MUCH).map(|i| u8::try_from(i / 1000 % 251).unwrap()).collect()
}

/// There, nothing is read before all has been sent; here, reading and writing do not wait for each other.
async fn both_ways_at_once<C: AsyncRead + AsyncWrite + Send + 'static>(client: C, mut there: DuplexStream) {
    let there = tokio::spawn(async move {
        there.write_all(&much()).await.unwrap();
        let mut heard = vec![0; MUCH];
        there.read_exact(&mut heard).await.unwrap();
        assert!(heard == much());
        there.write_all(b"bye\n").await.unwrap();
    });
    let (mut reader, mut writer) = tokio::io::split(client);
    let writing = tokio::spawn(async move {
        writer.write_all(&much()).await.unwrap();
        writer.flush().await.unwrap();
        writer
    });
    let mut heard = Vec::new();
    timeout(Duration::from_secs(60), reader.read_to_end(&mut heard)).await.expect("it stands still").unwrap();
    assert_eq!(heard.len(), MUCH + 4);
    assert!(heard[..MUCH] == much());
    drop(writing.await.unwrap());
    there.await.unwrap();
}

async fn neither_direction_waits_for_the_other(io: Io) {
    let mut server = plain(io).await;
    let (client, there) = server.gone().await;
    both_ways_at_once(client, there).await;
    let mut server = self::server(io, true, 100, 1000, Limits::default()).await;
    let mut client = server.secured().await;
    client.write_all(b"go\n").await.unwrap();
    hears(&mut client, "hello\ngone\n").await;
    let there = server.there.recv().await.unwrap();
    both_ways_at_once(client, there).await;
}

async fn a_client_that_takes_nothing_is_cut_off_and_makes_the_other_side_wait(io: Io) {
    let limits = Limits { write_timeout: Duration::from_millis(500), ..Limits::default() };
    let mut server = server(io, false, 100, 1000, limits).await;
    let (client, mut there) = server.gone().await;
    let mut sent = 0;
    let piece = [b'x'; 64 * 1024];
    let ended = timeout(Duration::from_secs(20), async {
        while there.write_all(&piece).await.is_ok() {
            sent += piece.len();
        }
    });
    ended.await.expect("it is still open");
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    drop(client);
}

async fn an_adopted_session_is_as_others(io: Io) {
    let server = server(io, false, 2, 1000, Limits::default()).await;
    let mut adopted = server.adopt().await.unwrap();
    adopted.write_all(b"who\none\n").await.unwrap();
    hears(&mut adopted, "hello\n192.0.2.7:1234\none\n").await;
    let mut other = server.adopt().await.unwrap();
    assert!(matches!(server.adopt().await, Err(Error::Full)));
    hears_to_the_end(&mut server.client().await, "no\n").await;
    other.write_all(b"much\nbye\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut heard = Vec::new();
    other.read_to_end(&mut heard).await.unwrap();
    let want: Vec<u8> = (0..64).flat_map(|piece| vec![piece; 100_000]).collect();
    assert!(heard.starts_with(b"hello\n") && heard.ends_with(b"bye\n"));
    assert!(heard[6..heard.len() - 4] == want);
    drop(other);
    let mut third = loop {
        match server.adopt().await {
            Ok(third) => break third,
            Err(error) => assert!(matches!(error, Error::Full)),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    hears(&mut third, "hello\n").await;
    server.stop.send(true).unwrap();
    hears_to_the_end(&mut adopted, "stopping\n").await;
    hears_to_the_end(&mut third, "stopping\n").await;
    drop((adopted, third));
    for ended in server.ended {
        timeout(Duration::from_secs(5), ended).await.unwrap().unwrap();
    }
    let (_, theirs) = Pair::pair().unwrap();
    let unused = |_: Peer| -> (Talk, Leaving) { panic!("it is over") };
    let refused = server.adopter.adopt(theirs, (server.address, server.address), unused).await;
    assert!(matches!(refused, Err(Error::Stopping)));
}

async fn many_come_and_go_and_places_are_found_again(io: Io) {
    let server = server(io, false, 1000, 24, Limits::default()).await;
    for _ in 0..50 {
        let mut adopted = Vec::new();
        for _ in 0..6 {
            adopted.push(server.adopt().await.unwrap());
        }
        for mut one in adopted {
            one.write_all(b"bye\n").await.unwrap();
            hears_to_the_end(&mut one, "hello\nbye\n").await;
        }
        let mut client = server.client().await;
        client.write_all(b"bye\n").await.unwrap();
        hears_to_the_end(&mut client, "hello\nbye\n").await;
    }
}

/// From a client to a session that was adopted, by way of a relay.
async fn a_session_goes_over_to_another_server(io: Io) {
    let (mut one, two) = (plain(io).await, plain(io).await);
    let mut client = one.client().await;
    client.write_all(b"go\nwho\nmuch\nbye\n").await.unwrap();
    let mut there = one.there.recv().await.unwrap();
    let mut adopted = two.adopt().await.unwrap();
    let carrying = tokio::spawn(async move { tokio::io::copy_bidirectional(&mut there, &mut adopted).await });
    let mut heard = Vec::new();
    timeout(Duration::from_secs(20), client.read_to_end(&mut heard)).await.unwrap().unwrap();
    assert!(heard.starts_with(b"hello\ngone\nhello\n192.0.2.7:1234\n"));
    assert!(heard.ends_with(b"bye\n"));
    assert!(heard.len() > 64 * 100_000);
    drop(client);
    timeout(Duration::from_secs(10), carrying).await.expect("it is still carried").unwrap().unwrap();
}

on_both!(
    what_was_pipelined_comes_along_and_the_end_is_brought,
    the_end_of_a_client_is_told_and_its_answers_still_come,
    who_is_lost_is_told_of_where_a_line_has_ended,
    the_stop_is_told_there_and_what_still_comes_is_brought,
    neither_direction_waits_for_the_other,
    a_client_that_takes_nothing_is_cut_off_and_makes_the_other_side_wait,
    an_adopted_session_is_as_others,
    many_come_and_go_and_places_are_found_again,
    a_session_goes_over_to_another_server,
);
