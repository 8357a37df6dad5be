//! Streams: bytes both ways, each direction with its own end, and all ends from outside.

use crate::world::{Flow, Node, cluster, lone, soon, wired};
use estafette_mesh::{Error, Lane, NodeName, Settings, Stream};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

/// How a stream ends that nobody writes to any more: an error of this kind.
async fn broken(stream: &mut Stream) -> ErrorKind {
    let read = timeout(Duration::from_secs(10), stream.read(&mut [0; 100])).await;
    read.expect("it is still open").unwrap_err().kind()
}

/// Not opened, and nothing was sent.
async fn not_opened(from: &Node, to: &Node, words: &str) {
    let error = from.stream(to, "echo").await.unwrap_err();
    assert!(matches!(&error, Error::NotSent { why, .. } if why.contains(words)), "{error}");
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_direction_ends_by_itself() {
    let (_, nodes) = cluster(2, Settings::default()).await;
    let [one, two] = &nodes[..] else { panic!() };
    let (answer, mut stream) = one.stream(two, "talk").await.unwrap();
    assert_eq!(answer, format!("hello {}", one.name));
    let mut first = [0; 5];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"first");
    stream.write_all(b"one").await.unwrap();
    stream.flush().await.unwrap();
    let mut echoed = [0; 3];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"one");
    stream.write_all(b"two").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "two");
    soon("the end", || two.streams() == 0).await;
    // Requests are another matter, and have their own connections.
    one.ask(two, Lane::Urgent, "echo").await.unwrap();
}

#[tokio::test]
async fn a_stream_is_refused_with_words() {
    let settings =
        Settings { stream_answer_timeout_ms: 300, stream_head_max_bytes: 100, ..Settings::default() };
    let (_, nodes) = cluster(2, settings).await;
    let [one, two] = &nodes[..] else { panic!() };
    let error = one.stream(two, "whatever").await.unwrap_err();
    assert!(matches!(&error, Error::Refused { why, .. } if why.contains("not this one")), "{error}");
    let began = Instant::now();
    let error = one.stream(two, "slow").await.unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(2));
    let error = one.mesh.stream(two.name, vec![0; 101].into()).await.unwrap_err();
    assert_eq!(error, Error::TooLarge { bytes: 101, limit: 100 });
    one.stream(two, "echo").await.unwrap();
}

#[tokio::test]
async fn there_are_no_more_streams_than_either_side_wants() {
    let (authority, nodes) = cluster(1, Settings { streams_max: 2, ..Settings::default() }).await;
    let one = &nodes[0];
    let two = Node::start(&authority, 2, Settings { streams_max: 1, ..Settings::default() }).await;
    let three = Node::start(&authority, 3, Settings::default()).await;
    let all = [(one, one.address()), (&two, two.address()), (&three, three.address())];
    let all: Vec<(&Node, &str)> = all.iter().map(|(node, at)| (*node, at.as_str())).collect();
    [one, &two, &three].iter().for_each(|node| node.knows(&all));
    let (_, first) = one.stream(&two, "echo").await.unwrap();
    not_opened(one, &two, "the other side says: there are too many streams").await;
    let (_, _second) = one.stream(&three, "echo").await.unwrap();
    not_opened(one, &three, "there are too many streams").await;
    // Those that it opens itself are counted apart.
    let (_, _third) = two.stream(one, "echo").await.unwrap();
    drop(first);
    soon("the end", || two.streams() == 0).await;
    soon("the place", || one.streams() == 1).await;
    timeout(Duration::from_secs(5), async { while one.stream(&two, "echo").await.is_err() {} })
        .await
        .unwrap();
}

#[tokio::test]
async fn who_is_no_peer_has_no_streams_and_who_is_removed_loses_them() {
    let (_, nodes) = cluster(3, Settings::default()).await;
    let [one, two, three] = &nodes[..] else { panic!() };
    let nobody = one.mesh.stream(NodeName(9), "echo".into()).await.unwrap_err();
    assert!(matches!(&nobody, Error::NotSent { why, .. } if why.contains("not among the peers")), "{nobody}");
    let (_, mut dialled) = one.stream(three, "echo").await.unwrap();
    let (_, mut accepted) = three.stream(one, "deaf").await.unwrap();
    let (_, mut other) = one.stream(two, "echo").await.unwrap();
    let waiting = tokio::spawn(async move {
        let kind = broken(&mut dialled).await;
        (kind, dialled.write_all(b"x").await.unwrap_err().to_string())
    });
    soon("both", || (one.streams(), three.streams()) == (1, 1)).await;
    one.knows(&[(two, &two.address())]);
    let (kind, words) = waiting.await.unwrap();
    assert_eq!(kind, ErrorKind::ConnectionAborted);
    assert!(words.contains("removed from the cluster"), "{words}");
    assert_eq!(broken(&mut accepted).await, ErrorKind::UnexpectedEof);
    soon("the end of both", || (one.streams(), three.streams()) == (0, 0)).await;
    not_opened(three, one, "removed from the cluster").await;
    not_opened(one, three, "not among the peers").await;
    other.write_all(b"still").await.unwrap();
    other.shutdown().await.unwrap();
    let mut echoed = String::new();
    other.read_to_string(&mut echoed).await.unwrap();
    assert_eq!(echoed, "still");
}

#[tokio::test]
async fn shutting_down_ends_streams_of_both_directions() {
    let (_, nodes) = cluster(2, Settings::default()).await;
    let [one, two] = &nodes[..] else { panic!() };
    let (_, mut dialled) = one.stream(two, "echo").await.unwrap();
    let (_, mut accepted) = two.stream(one, "deaf").await.unwrap();
    let own = tokio::spawn(async move { broken(&mut dialled).await });
    soon("both", || (one.streams(), two.streams()) == (1, 1)).await;
    let began = Instant::now();
    one.mesh.shutdown().await;
    assert!(began.elapsed() < Duration::from_millis(700), "nobody had to be waited for");
    assert_eq!(own.await.unwrap(), ErrorKind::ConnectionAborted);
    assert_eq!(broken(&mut accepted).await, ErrorKind::UnexpectedEof);
    soon("the end of both", || (one.streams(), two.streams()) == (0, 0)).await;
    not_opened(one, two, "shuts down").await;
}

#[tokio::test]
async fn who_does_not_read_makes_the_writer_wait_and_nothing_is_lost() {
    const BYTES: usize = 40 << 20;
    let (_, nodes) = cluster(2, Settings::default()).await;
    let [one, two] = &nodes[..] else { panic!() };
    let (_, stream) = one.stream(two, "echo").await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let much: Vec<u8> = (0..BYTES).map(|i| u8::try_from(i / 1000 % 251).unwrap()).collect();
    let sent = much.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!writing.is_finished(), "nobody has read it yet");
    let mut echoed = Vec::new();
    reader.read_to_end(&mut echoed).await.unwrap();
    writing.await.unwrap();
    assert!(echoed == much, "{} of {} bytes", echoed.len(), much.len());
}

#[tokio::test]
async fn a_way_that_breaks_is_told_from_an_end() {
    let (nodes, wire) = wired(Settings::default()).await;
    let (_, mut stream) = nodes[0].stream(&nodes[1], "echo").await.unwrap();
    wire.set(Flow::Cut);
    assert_eq!(broken(&mut stream).await, ErrorKind::UnexpectedEof);
    soon("the other side's end", || nodes[1].streams() == 0).await;
}

#[tokio::test]
async fn a_peer_that_cannot_be_reached_for_long_loses_its_streams() {
    let mut settings =
        Settings { connect_timeout_ms: 1000, stream_silent_max_ms: 500, ..Settings::default() };
    settings.urgent.silent_max_ms = 300;
    settings.urgent.keepalive_ms = 50;
    let (nodes, wire) = wired(settings).await;
    let (_, mut stream) = nodes[0].stream(&nodes[1], "echo").await.unwrap();
    let links = || nodes[0].mesh.peers()[0].links[0].connected_for.is_some();
    soon("the link, which a stream wants", links).await;
    wire.set(Flow::Held);
    assert_eq!(broken(&mut stream).await, ErrorKind::ConnectionAborted);
    wire.set(Flow::Open);
    nodes[0].ask_until(&nodes[1], Lane::Urgent, Result::is_ok).await;
    nodes[0].stream(&nodes[1], "echo").await.unwrap();
}

#[tokio::test]
async fn many_streams_are_opened_at_once() {
    let (_, nodes) = cluster(2, Settings { connect_timeout_ms: 20_000, ..Settings::default() }).await;
    let mut opening = Vec::new();
    for _ in 0..300 {
        opening.push(tokio::spawn(nodes[0].mesh.stream(nodes[1].name, "echo".into())));
    }
    let mut open = Vec::new();
    for stream in opening {
        open.push(stream.await.unwrap().unwrap());
    }
    soon("all", || nodes[1].streams() == 300).await;
    drop(open);
    soon("the end of all", || nodes[1].streams() == 0).await;
}

#[tokio::test]
async fn nobody_is_waited_for_long_who_is_not_there() {
    let (_, one) = lone(Settings::default()).await;
    let began = Instant::now();
    let error = one.mesh.stream(NodeName(2), "echo".into()).await.unwrap_err();
    assert!(matches!(error, Error::NotSent { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(2));
}
