//! The driver keeps the promises of `estafette_machine`, shown with a machine that echoes lines.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[macro_use]
mod both;

use bytes::{Bytes, BytesMut};
use estafette_machine::{Action, Actions, Machine, Now, Tls};
use estafette_proxy::Addresses;
use estafette_reactor::{
    Gate, GateLimits, Io, Limits, Listener, Peer, Protocol, Refusal, Service, Threads, Wanted, bind, serve,
    tls,
};
use estafette_types::{Network, Networks};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// `ask X` is answered by the service after a while; `tls` starts TLS; `idle` watches; else echo.
struct Echo {
    peer: Peer,
    asking: bool,
    watching: bool,
}

fn say(out: &mut Actions<String>, text: &str) {
    out.push(Action::Send(Bytes::from(format!("{text}\n"))));
}

impl Machine for Echo {
    type Ask = String;
    type Answer = String;
    fn opened(&mut self, _: Now, out: &mut Actions<String>) {
        say(out, "hello");
        out.push(Action::Arm(Duration::from_millis(400)));
    }
    fn received(&mut self, _: Now, input: &mut BytesMut, out: &mut Actions<String>) {
        assert!(!self.asking, "no input while a question is open");
        while let Some(end) = input.iter().position(|b| *b == b'\n') {
            let line = String::from_utf8(input.split_to(end + 1).to_vec()).unwrap();
            match line.trim() {
                "tls" => {
                    input.clear();
                    say(out, "go");
                    out.push(Action::StartTls);
                }
                "idle" => self.watching = true,
                "who" => say(out, &format!("{} at {}", self.peer.remote, self.peer.local)),
                "much" => (0..64).for_each(|piece| out.push(Action::Send(Bytes::from(vec![piece; 100_000])))),
                "panic" => panic!("as it was told"),
                "bye" => {
                    say(out, "bye");
                    out.push(Action::Close);
                }
                line => match line.strip_prefix("ask ") {
                    Some(question) => {
                        self.asking = true;
                        out.push(Action::Ask(question.to_owned()));
                        return;
                    }
                    None => say(out, line),
                },
            }
        }
    }
    fn answered(&mut self, _: Now, answer: String, out: &mut Actions<String>) {
        self.asking = false;
        say(out, &answer);
    }
    fn secured(&mut self, _: Now, tls: Tls, out: &mut Actions<String>) {
        say(out, &tls.version);
    }
    fn timed_out(&mut self, _: Now, out: &mut Actions<String>) {
        say(out, "late");
        out.push(Action::Close);
    }
    fn closed(&mut self, _: Now, out: &mut Actions<String>) {
        say(out, "gone");
    }
    fn shutdown(&mut self, _: Now, out: &mut Actions<String>) {
        say(out, "stopping");
        out.push(Action::Close);
    }
    fn notified(&mut self, _: Now, out: &mut Actions<String>) {
        self.watching = false;
        say(out, "news");
    }
    fn overflowed(&mut self, _: Now, input: &mut BytesMut, out: &mut Actions<String>) {
        input.clear();
        say(out, "too long");
        out.push(Action::Close);
    }
    fn input_limit(&self) -> usize {
        1000
    }
    fn watching(&self) -> bool {
        self.watching
    }
}

struct Answers;
impl Service<Echo> for Answers {
    const QUESTIONS: &'static [&'static str] = &["any"];
    fn question(_: &String) -> usize {
        0
    }
    async fn answer(&mut self, ask: String) -> String {
        let pause = if ask == "never" { Duration::MAX } else { Duration::from_millis(20) };
        tokio::time::sleep(pause).await;
        format!("answer to {ask}")
    }
    async fn changed(&mut self) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

struct EchoProtocol;
impl Protocol for EchoProtocol {
    type Machine = Echo;
    type Service = Answers;
    fn name(&self) -> &'static str {
        "echo"
    }
    fn open(&self, peer: Peer) -> (Echo, Answers) {
        (Echo { peer, asking: false, watching: false }, Answers)
    }
    fn refusal(&self, why: Refusal) -> Bytes {
        Bytes::from(format!("refused {}\n", why.label()))
    }
}

struct Server {
    address: std::net::SocketAddr,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

/// What differs between the servers of the tests.
struct Setup {
    sessions: usize,
    /// Of one thread.
    places: u32,
    threads: usize,
    proxy_from: Networks,
    implicit_tls: bool,
    limits: Limits,
}

impl Default for Setup {
    fn default() -> Setup {
        let (sessions, places, threads) = (100, 1000, 2);
        let (proxy_from, limits) = (Networks::default(), Limits::default());
        Setup { sessions, places, threads, proxy_from, implicit_tls: false, limits }
    }
}

async fn server(io: Io, sessions: usize) -> Server {
    server_with(io, Setup { sessions, ..Setup::default() }).await
}

async fn server_with(io: Io, setup: Setup) -> Server {
    let Setup { sessions, places, threads, proxy_from, implicit_tls, limits } = setup;
    let folder = tempfile::tempdir().unwrap();
    let (files, _) =
        tls::self_signed(folder.path(), &["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let certificates = tls::Certificates::load(vec![files]).unwrap();
    let threads = Arc::new(Threads::start(threads, io, places, &tokio::runtime::Handle::current()).unwrap());
    let sockets = bind("127.0.0.1:0".parse().unwrap(), threads.count(), limits.write_timeout).unwrap();
    let address = sockets[0].local_addr().unwrap();
    let listener = Listener {
        sockets,
        acceptor: Some(certificates.acceptor()),
        implicit_tls,
        limits,
        proxy_from: Arc::new(proxy_from),
    };
    let gate = Gate::new(GateLimits { sessions, sessions_per_address: 100 });
    let (stop, stopping) = watch::channel(false);
    let task = tokio::spawn(serve(threads, Arc::new(EchoProtocol), listener, gate, stopping));
    Server { address, stop, task, _folder: folder }
}

async fn exchange(address: std::net::SocketAddr, send: &[u8]) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(send).await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    text
}

async fn a_session_that_panics_ends_alone(io: Io) {
    let server = server(io, 100).await;
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(TcpStream::connect(server.address).await.unwrap());
    }
    for _ in 0..8 {
        assert_eq!(exchange(server.address, b"panic\n").await, "hello\n");
    }
    for mut other in others {
        other.write_all(b"still here\nbye\n").await.unwrap();
        let mut text = String::new();
        other.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello\nstill here\nbye\n");
    }
}

async fn lines_questions_and_closing_keep_their_order(io: Io) {
    let server = server(io, 10).await;
    let got = exchange(server.address, b"a\nask 1\nb\nask 2\nc\nbye\nnever\n").await;
    assert_eq!(got, "hello\na\nanswer to 1\nb\nanswer to 2\nc\nbye\n");
}

async fn a_silent_client_is_timed_out_and_a_long_line_is_cut(io: Io) {
    let server = server(io, 10).await;
    assert_eq!(exchange(server.address, b"").await, "hello\nlate\n");
    assert_eq!(exchange(server.address, &[b'x'; 5000]).await, "hello\ntoo long\n");
}

/// Closing with bytes unread resets the connection, and the last answer could be lost.
async fn who_sends_on_after_the_end_still_reads_the_last_answer(io: Io) {
    let server = server(io, 10).await;
    let mut client = TcpStream::connect(server.address).await.unwrap();
    client.write_all(b"bye\n").await.unwrap();
    for _ in 0..50 {
        client.write_all(&[b'x'; 20_000]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello\nbye\n");
}

async fn a_watching_session_is_notified(io: Io) {
    let server = server(io, 10).await;
    assert_eq!(exchange(server.address, b"idle\n").await, "hello\nnews\nlate\n");
}

async fn a_half_closed_client_gets_its_answers(io: Io) {
    let server = server(io, 10).await;
    let mut client = TcpStream::connect(server.address).await.unwrap();
    client.write_all(b"ask 1\n").await.unwrap();
    client.shutdown().await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello\nanswer to 1\ngone\n");
}

fn connector(server: &Server) -> tokio_rustls::TlsConnector {
    use rustls_pki_types::pem::PemObject;
    let authority = server._folder.path().join("ca.pem");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}

async fn what_was_sent_before_tls_is_forgotten(io: Io) {
    let server = server(io, 10).await;
    let tcp = TcpStream::connect(server.address).await.unwrap();
    let mut reader = BufReader::new(tcp);
    let mut line = String::new();
    reader.read_line(&mut line).await.unwrap();
    reader.get_mut().write_all(b"tls\ninjected\n").await.unwrap();
    line.clear();
    reader.read_line(&mut line).await.unwrap();
    assert_eq!(line, "go\n");
    let mut tls =
        connector(&server).connect("localhost".try_into().unwrap(), reader.into_inner()).await.unwrap();
    tls.write_all(b"inside\nbye\n").await.unwrap();
    let mut text = String::new();
    tls.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "TLSv1.3\ninside\nbye\n");
}

async fn the_gate_refuses_and_shutdown_is_told(io: Io) {
    let server = server(io, 1).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    let mut hello = [0; 6];
    first.read_exact(&mut hello).await.unwrap();
    assert_eq!(exchange(server.address, b"").await, "refused full\n");
    server.stop.send(true).unwrap();
    let mut text = String::new();
    first.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "stopping\n");
    server.task.await.unwrap();
}

/// Partly sent answers go on where they stopped, in order, large ones and many small ones.
async fn a_client_that_reads_late_gets_everything(io: Io) {
    let server = server(io, 10).await;
    let mut client = TcpStream::connect(server.address).await.unwrap();
    client.write_all(b"much\nand more\nmuch\nbye\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    let mut want = b"hello\n".to_vec();
    let much: Vec<u8> = (0..64).flat_map(|piece| vec![piece; 100_000]).collect();
    want.extend_from_slice(&much);
    want.extend_from_slice(b"and more\n");
    want.extend_from_slice(&much);
    want.extend_from_slice(b"bye\n");
    assert!(got == want, "{} of {} bytes", got.len(), want.len());
}

async fn many_answers_that_nobody_reads_wait_for_the_client(io: Io) {
    let server = server(io, 10).await;
    let client = TcpStream::connect(server.address).await.unwrap();
    let line = [b'x'; 99];
    let (mut reader, mut writer) = client.into_split();
    let sending = tokio::spawn(async move {
        for _ in 0..20_000 {
            writer.write_all(&line).await.unwrap();
            writer.write_all(b"\n").await.unwrap();
        }
        writer.write_all(b"bye\n").await.unwrap();
        writer
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut got = Vec::new();
    reader.read_to_end(&mut got).await.unwrap();
    drop(sending.await.unwrap());
    assert_eq!(got.len(), "hello\nbye\n".len() + 100 * 20_000);
    assert!(got.ends_with(b"x\nbye\n"));
}

fn loopback() -> Networks {
    Networks::from_iter([Network::parse("127.0.0.0/8").unwrap()])
}

fn header() -> Vec<u8> {
    let (source, destination) = ("192.0.2.7:1234".parse().unwrap(), "198.51.100.1:143".parse().unwrap());
    estafette_proxy::header(Some(&Addresses { source, destination }))
}

/// Puts a header in front of the first bytes that are written, in one segment with them.
struct Headed {
    tcp: TcpStream,
    header: Vec<u8>,
}

impl AsyncRead for Headed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, to)
    }
}

impl AsyncWrite for Headed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let header = std::mem::take(&mut self.header);
        let whole = [header.as_slice(), from].concat();
        let written = std::task::ready!(Pin::new(&mut self.tcp).poll_write(context, &whole))?;
        assert_eq!(written, whole.len());
        Poll::Ready(Ok(from.len()))
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

async fn tls_may_follow_the_header_of_a_balancer_in_one_segment(io: Io) {
    let setup = Setup { proxy_from: loopback(), implicit_tls: true, ..Setup::default() };
    let server = server_with(io, setup).await;
    let tcp = TcpStream::connect(server.address).await.unwrap();
    let headed = Headed { tcp, header: header() };
    let mut tls = connector(&server).connect("localhost".try_into().unwrap(), headed).await.unwrap();
    tls.write_all(b"who\nbye\n").await.unwrap();
    let mut text = String::new();
    tls.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "TLSv1.3\nhello\n192.0.2.7:1234 at 198.51.100.1:143\nbye\n");
}

async fn who_waits_for_a_header_does_not_hold_up_the_end(io: Io) {
    let server = server_with(io, Setup { proxy_from: loopback(), ..Setup::default() }).await;
    let mut client = TcpStream::connect(server.address).await.unwrap();
    client.write_all(&header()[..5]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.stop.send(true).unwrap();
    // Long before the limits of the header and of the drain.
    tokio::time::timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap();
}

/// The state of the server's side of a connection, as the kernel tells it; none when there is none.
fn tcp_state(server: std::net::SocketAddr, client: std::net::SocketAddr) -> Option<u8> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ends = [format!(":{:04X}", server.port()), format!(":{:04X}", client.port())];
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ours = fields[1].ends_with(&ends[0]) && fields[2].ends_with(&ends[1]);
        ours.then(|| u8::from_str_radix(fields[3], 16).unwrap())
    })
}

/// Bytes that the kernel takes from their place must not hold the connection, nor its place.
async fn a_peer_that_stays_and_never_reads_is_closed(io: Io) {
    const ESTABLISHED: u8 = 1;
    let limits = Limits { write_timeout: Duration::from_millis(300), ..Limits::default() };
    let server = server_with(io, Setup { limits, ..Setup::default() }).await;
    let mut client = TcpStream::connect(server.address).await.unwrap();
    let address = client.local_addr().unwrap();
    client.write_all(b"much\nmuch\nmuch\nmuch\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(tcp_state(server.address, address), Some(ESTABLISHED));
    let mut tries = 0;
    while tcp_state(server.address, address) == Some(ESTABLISHED) {
        tries += 1;
        assert!(tries < 100, "the connection is still open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(exchange(server.address, b"bye\n").await, "hello\nbye\n");
    // Only now the kernel has done with what was sent, or it would keep that for longer than the threads live.
    drop(client);
    server.stop.send(true).unwrap();
    server.task.await.unwrap();
}

/// More connections than places: they wait in the queue of the listener, and none is lost.
async fn connections_wait_for_a_place(io: Io) {
    let server = server_with(io, Setup { places: 5, threads: 1, ..Setup::default() }).await;
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(TcpStream::connect(server.address).await.unwrap());
    }
    for mut client in clients {
        client.write_all(b"bye\n").await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert!(text == "hello\nbye\n" || text == "hello\nlate\n", "{text:?}");
    }
}

/// While a question is open nothing more is read than what is bounded, and the peer has to wait.
async fn a_peer_that_goes_on_waits_while_a_question_is_open(io: Io) {
    const MORE_THAN_ANY_SOCKET_HOLDS: usize = 64 << 20;
    let server = server(io, 10).await;
    let mut client = TcpStream::connect(server.address).await.unwrap();
    client.write_all(b"ask never\n").await.unwrap();
    let mut written = 0;
    let blocked = loop {
        let piece = [b'x'; 64 * 1024];
        match tokio::time::timeout(Duration::from_millis(500), client.write(&piece)).await {
            Ok(count) => written += count.unwrap(),
            Err(_) => break true,
        }
        if written > MORE_THAN_ANY_SOCKET_HOLDS {
            break false;
        }
    };
    assert!(blocked, "{written} bytes were taken");
}

/// The header may come byte by byte, and with commands behind it; without one, nobody is served.
async fn a_balancer_says_who_is_there(io: Io) {
    let server = server_with(io, Setup { proxy_from: loopback(), ..Setup::default() }).await;
    let header = header();
    let want = "hello\n192.0.2.7:1234 at 198.51.100.1:143\nbye\n";
    let whole = [header.as_slice(), b"who\nbye\n"].concat();
    assert_eq!(exchange(server.address, &whole).await, want);
    let mut client = TcpStream::connect(server.address).await.unwrap();
    client.set_nodelay(true).unwrap();
    for byte in &whole {
        client.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, want);
    let mut client = TcpStream::connect(server.address).await.unwrap();
    client.write_all(b"who are you to ask?\n").await.unwrap();
    let mut rest = Vec::new();
    // The end, or a reset since the line was not read.
    let _ = client.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

on_both!(
    tls_may_follow_the_header_of_a_balancer_in_one_segment,
    who_waits_for_a_header_does_not_hold_up_the_end,
    a_peer_that_stays_and_never_reads_is_closed,
    a_peer_that_goes_on_waits_while_a_question_is_open,
    connections_wait_for_a_place,
    a_balancer_says_who_is_there,
    a_client_that_reads_late_gets_everything,
    many_answers_that_nobody_reads_wait_for_the_client,
    a_session_that_panics_ends_alone,
    lines_questions_and_closing_keep_their_order,
    a_silent_client_is_timed_out_and_a_long_line_is_cut,
    who_sends_on_after_the_end_still_reads_the_last_answer,
    a_watching_session_is_notified,
    a_half_closed_client_gets_its_answers,
    what_was_sent_before_tls_is_forgotten,
    the_gate_refuses_and_shutdown_is_told,
);
