//! Those who do not keep to the protocol, with a certificate and without.

use crate::world::{CLUSTER, HOUR, Node, cluster, lone, soon};
use bytes::{Bytes, BytesMut};
use estafette_mesh::frame::{self, Frame, Kind};
use estafette_mesh::hello::{Hello, Limits, Purpose, VERSIONS, Versions};
use estafette_mesh::{Authority, ClusterId, Lane, NodeKey, NodeName, Settings};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A client that says what it likes.
struct Raw {
    stream: TlsStream<TcpStream>,
    buffer: BytesMut,
}

impl Raw {
    /// With a certificate as `node`, or with none.
    async fn connect(authority: &Authority, node: Option<u64>, to: &Node) -> Raw {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().to_vec().into()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match node {
            None => builder.with_no_client_auth(),
            Some(node) => {
                let key = NodeKey::create().unwrap();
                let der = authority.certify(NodeName(node), key.public_key().unwrap(), HOUR).unwrap();
                let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()));
                builder.with_client_auth_cert(vec![der.into()], secret).unwrap()
            }
        };
        let name = format!("node-{}.{}.estafette.internal", to.name.0, authority.cluster());
        let tcp = TcpStream::connect(to.address()).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        Raw { stream, buffer: BytesMut::new() }
    }

    async fn say(&mut self, kind: Kind, number: u64, body: &[u8]) {
        let frame = frame::encode(kind, number, body).unwrap();
        // An error: it was closed already, and the words are to be read.
        _ = self.stream.write_all(&frame).await;
        _ = self.stream.flush().await;
    }

    /// The next frame; none at the end.
    async fn hear(&mut self) -> Option<Frame> {
        let hearing = async {
            loop {
                if let Some(frame) = frame::decode(&mut self.buffer, 1 << 24).unwrap() {
                    return Some(frame);
                }
                match self.stream.read_buf(&mut self.buffer).await {
                    Ok(1..) => (),
                    _ => return None,
                }
            }
        };
        timeout(Duration::from_secs(10), hearing).await.expect("it is neither answered nor closed")
    }

    /// What is said at the end.
    async fn last_words(&mut self) -> String {
        let mut words = String::new();
        while let Some(frame) = self.hear().await {
            if frame.kind == Kind::Bye {
                words = String::from_utf8(frame.body.to_vec()).unwrap();
            }
        }
        words
    }
}

fn hello(node: u64) -> Hello {
    Hello {
        versions: VERSIONS,
        purpose: Purpose::Requests(Lane::Urgent),
        cluster: CLUSTER,
        node: NodeName(node),
        limits: Limits { frame_max_bytes: 1 << 20, requests_max: 10, under_way_max_bytes: 1 << 20 },
    }
}

#[tokio::test]
async fn bytes_of_a_stream_may_come_with_its_head() {
    let (authority, nodes) = cluster(2, Settings::default()).await;
    let [one, two] = &nodes[..] else { panic!() };
    let mut raw = Raw::connect(&authority, Some(two.name.0), one).await;
    let limits = Limits { frame_max_bytes: 0, requests_max: 0, under_way_max_bytes: 0 };
    let hello =
        Hello { versions: VERSIONS, purpose: Purpose::Stream, cluster: CLUSTER, node: two.name, limits };
    let hello = frame::encode(Kind::Hello, 0, &hello.encode()).unwrap();
    let head = frame::encode(Kind::Request, 0, b"echo").unwrap();
    raw.stream.write_all(&[&hello[..], &head[..], b"and more"].concat()).await.unwrap();
    raw.stream.flush().await.unwrap();
    assert_eq!(raw.hear().await.unwrap().kind, Kind::Hello);
    assert_eq!(raw.hear().await.unwrap().body, format!("hello {}", two.name));
    let mut echoed = std::mem::take(&mut raw.buffer).to_vec();
    raw.stream.shutdown().await.unwrap();
    raw.stream.read_to_end(&mut echoed).await.unwrap();
    assert_eq!(echoed, b"and more");
}

#[tokio::test]
async fn a_hello_that_does_not_fit_is_refused_in_words() {
    let (authority, nodes) = cluster(3, Settings::default()).await;
    let (c1, d2) = ("c1".repeat(16), "d2".repeat(16));
    let later = Versions { lowest: 3, highest: 4 };
    let joining = Purpose::Requests(Lane::Bulk);
    let cases = [
        (
            Some(3),
            Hello { versions: later, ..hello(3) },
            "the other side speaks versions 3 to 4 of the protocol, this node 1 to 1".to_owned(),
        ),
        (
            Some(3),
            Hello { cluster: ClusterId([0xd2; 16]), ..hello(3) },
            format!("this node belongs to cluster {c1}, the other side to cluster {d2}"),
        ),
        (Some(3), hello(2), "the certificate is of node 3, not of node 2".to_owned()),
        (
            Some(9),
            hello(9),
            "node 9 was removed from the cluster, or this node has not heard of it yet".to_owned(),
        ),
        (
            None,
            Hello { purpose: joining, ..hello(3) },
            "without a certificate of the cluster a node may only ask to join it".to_owned(),
        ),
    ];
    for (certificate, hello, words) in cases {
        let mut raw = Raw::connect(&authority, certificate, &nodes[0]).await;
        raw.say(Kind::Hello, 0, &hello.encode()).await;
        assert_eq!(raw.last_words().await, words);
    }
    assert!(nodes[0].mesh.peers().iter().all(|peer| peer.connected_here.is_empty()));
}

#[tokio::test]
async fn a_member_that_breaks_the_protocol_is_told_and_closed() {
    let (authority, one) = lone(Settings::default()).await;
    let large = frame::header(Kind::Request, 1, (1 << 20) + 1).unwrap();
    let twice = [
        frame::encode(Kind::Request, 5, b"never").unwrap(),
        frame::encode(Kind::Request, 5, b"never").unwrap(),
    ]
    .concat();
    let answer = frame::encode(Kind::Answer, 1, b"").unwrap();
    let cases: [(&[u8], &str); 5] = [
        (b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", "a frame of the unknown kind 47"),
        (&[0; 13], "a frame of 0 bytes is too short"),
        (&large, "a body of 1048577 bytes is larger than the limit of 1048576"),
        (&twice, "request 5 was sent twice"),
        (&answer, "Answer is not for the side that was dialled"),
    ];
    for (bytes, words) in cases {
        let mut raw = Raw::connect(&authority, Some(2), &one).await;
        raw.say(Kind::Hello, 0, &hello(2).encode()).await;
        assert_eq!(raw.hear().await.unwrap().kind, Kind::Hello);
        raw.stream.write_all(bytes).await.unwrap();
        raw.stream.flush().await.unwrap();
        assert_eq!(raw.last_words().await, words);
    }
    soon("the end of the work", || one.answering.under_way.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_member_cannot_have_more_served_than_was_promised() {
    let mut settings = Settings::default();
    settings.urgent.requests_max = 8;
    settings.urgent.silent_max_ms = 600;
    let (authority, one) = lone(settings).await;
    let mut raw = Raw::connect(&authority, Some(2), &one).await;
    raw.say(Kind::Hello, 0, &hello(2).encode()).await;
    assert_eq!(raw.hear().await.unwrap().kind, Kind::Hello);
    for number in 1..=100 {
        raw.say(Kind::Request, number, b"never").await;
    }
    let under_way = || one.answering.under_way.load(Ordering::SeqCst);
    soon("eight requests", || under_way() == 8).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(under_way(), 8);
    // Nothing is read any more, so it counts as dead.
    soon("the end", || under_way() == 0).await;
    assert_eq!(one.answering.served.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn a_newer_connection_of_a_member_takes_the_place_of_the_older() {
    let (authority, one) = lone(Settings::default()).await;
    let mut older = Raw::connect(&authority, Some(2), &one).await;
    older.say(Kind::Hello, 0, &hello(2).encode()).await;
    assert_eq!(older.hear().await.unwrap().kind, Kind::Hello);
    let mut newer = Raw::connect(&authority, Some(2), &one).await;
    newer.say(Kind::Hello, 0, &hello(2).encode()).await;
    assert_eq!(newer.hear().await.unwrap().kind, Kind::Hello);
    assert_eq!(older.last_words().await, "the node has connected anew");
    newer.say(Kind::Request, 1, b"echo").await;
    loop {
        let frame = newer.hear().await.unwrap();
        if frame.kind == Kind::Answer {
            assert_eq!((frame.number, &frame.body[..]), (1, &b"echo"[..]));
            break;
        }
    }
    let peers = one.mesh.peers();
    assert_eq!(peers[0].connected_here, [Lane::Urgent]);
}

#[tokio::test]
async fn strangers_are_closed_whatever_they_send_and_members_still_come_in() {
    let settings = Settings { connect_timeout_ms: 500, handshakes_max: 8, ..Settings::default() };
    let (authority, nodes) = cluster(2, settings).await;
    let one = &nodes[0];
    // Silent ones, more than there are places.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(one.address()).await.unwrap());
    }
    // Half a handshake: the first bytes of a TLS record that says it is longer.
    let mut half = TcpStream::connect(one.address()).await.unwrap();
    half.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).await.unwrap();
    silent.push(half);
    let mut garbage = TcpStream::connect(one.address()).await.unwrap();
    garbage.write_all(&vec![b'x'; 100_000]).await.ok();
    silent.push(garbage);
    nodes[1].ask(one, Lane::Urgent, "echo").await.unwrap();
    // TLS without a hello, a hello without end, and a request in its place.
    let quiet = Raw::connect(&authority, None, one).await;
    let mut endless = Raw::connect(&authority, None, one).await;
    _ = endless.stream.write_all(&frame::header(Kind::Hello, 0, 1 << 20).unwrap()).await;
    let mut eager = Raw::connect(&authority, Some(2), one).await;
    eager.say(Kind::Request, 1, b"echo").await;
    let mut joining = Raw::connect(&authority, None, one).await;
    let join = Hello { purpose: Purpose::Join, ..hello(0) };
    joining.say(Kind::Hello, 0, &join.encode()).await;
    joining.say(Kind::Request, 1, b"echo").await;
    for mut raw in [quiet, endless, eager] {
        assert_eq!(raw.hear().await, None);
    }
    assert_eq!(joining.last_words().await, "Request is no request to join");
    for mut stream in silent {
        let mut rest = Vec::new();
        timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.expect("it stays open").ok();
    }
    assert_eq!(one.answering.served.load(Ordering::SeqCst), 1);
    assert_eq!(nodes[1].ask(one, Lane::Bulk, "echo").await.unwrap(), Bytes::from("echo"));
}
