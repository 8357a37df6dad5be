//! What each stage of a message's way in and out costs, to be run under callgrind, once for 1 and once for 11 messages:
//! `valgrind --tool=callgrind target/release/examples/stages STAGE BYTES MESSAGES`. The difference is that of 10.
//!
//! Stages: `none` (what making the messages costs), `receive` (DATA, 64 KiB at a time), `hash`, `scan`, `encode` (the row of
//! the structure), `commit` (chunks into the write batch, the log and RocksDB's memory, synced), `fetch-row` and
//! `fetch-scan` (the structure from its row, or from the body), `read` (the body), `intake` (a staged message, all of it).
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use bytes::{Bytes, BytesMut};
use estafette_delivery::Intake;
use estafette_mailbox::Structures;
use estafette_mime::Structure;
use estafette_raft::NewBody;
use estafette_smtp::codec::{BodyLimits, Framing, Receiver};
use estafette_storage::{Batch, BodyHash, Settings, Store};
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::mpsc;

/// A message as clients make them: some fields, a short text, an attachment in base64.
fn message(bytes: usize, number: usize) -> String {
    let mut text = String::with_capacity(bytes + 200);
    for hop in 0..4 {
        let _ = write!(text, "Received: from a{hop}.example.org (a{hop}.example.org [192.0.2.{hop}])\r\n");
        let _ = write!(text, "\tby b{hop}.example.net with ESMTPS id {number}.{hop};\r\n");
        text.push_str("\tFri, 15 Jan 2027 08:00:00 +0000\r\n");
    }
    text.push_str(
        "From: A <a@example.org>\r\nTo: B <b@example.net>, C <c@example.net>\r\nDate: Fri, 15 Jan 2027\r\n",
    );
    let _ = write!(
        text,
        "Subject: message {number}\r\nMessage-ID: <{number}@example.org>\r\nMIME-Version: 1.0\r\n"
    );
    text.push_str("Content-Type: multipart/mixed; boundary=\"edge-0123456789\"\r\n\r\n--edge-0123456789\r\n");
    text.push_str("Content-Type: text/plain; charset=utf-8\r\n\r\nHello,\r\n\r\nhere it is.\r\n\r\n--edge-0123456789\r\n");
    text.push_str("Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    while text.len() + 22 < bytes {
        let line = BodyHash::of(&[Bytes::copy_from_slice(&text.len().to_le_bytes())]).to_string();
        text.push_str(&line);
        text.push_str("abcdefghijkl\r\n");
    }
    text.push_str("--edge-0123456789--\r\n");
    text
}

fn receive(text: &[u8]) -> Vec<Bytes> {
    let limits = BodyLimits { size: 1 << 30, header: 1 << 20, line: 1 << 20, swallow: 0, allow_nul: false };
    let mut receiver = Receiver::new(Framing::Dots, limits);
    for piece in [text, b".\r\n"].concat().chunks(64 * 1024) {
        let _ = receiver.data(&mut BytesMut::from(piece));
    }
    receiver.finish().unwrap().pieces
}

fn commit(store: &Store, body: NewBody) {
    let mut batch = Batch::new();
    batch.hold_body(body.hash(), b"log");
    batch.bring_body(body);
    let (done, wait) = mpsc::channel();
    store.commit(batch, Vec::new(), move |result| done.send(result).unwrap());
    wait.recv().unwrap().unwrap();
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, stage, bytes, messages] = arguments.as_slice() else {
        eprintln!("stages STAGE BYTES MESSAGES");
        return;
    };
    let (bytes, messages): (usize, usize) = (bytes.parse().unwrap(), messages.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Settings::default()).unwrap();
    for number in 0..messages {
        let text = message(bytes, number);
        let pieces = || vec![Bytes::copy_from_slice(text.as_bytes())];
        match stage.as_str() {
            "none" => {}
            "copy" => drop(black_box(pieces())),
            "receive" => drop(black_box(receive(text.as_bytes()))),
            "hash" => drop(black_box(BodyHash::of(&pieces()))),
            "scan" => drop(black_box(Structure::of([text.as_bytes()]))),
            "encode" => drop(black_box(Structures::row(&Structure::of([text.as_bytes()])))),
            "commit" => commit(&store, NewBody::of(pieces())),
            "commit-row" => {
                let row = Structures::row(&Structure::of([text.as_bytes()]));
                commit(&store, NewBody::of(pieces()).with_structure(row));
            }
            "fetch-row" | "fetch-scan" | "read" => {
                let body = NewBody::of(pieces());
                let hash = body.hash();
                let row = Structures::row(&Structure::of([text.as_bytes()]));
                commit(&store, if stage == "fetch-row" { body.with_structure(row) } else { body });
                if stage == "read" {
                    drop(black_box(store.body(&hash).unwrap().unwrap().all().unwrap()));
                } else {
                    drop(black_box(Structures::default().read(&store, &hash).unwrap().unwrap()));
                }
            }
            "intake" => {
                let mut intake = Intake::new(&store).unwrap();
                receive(text.as_bytes()).chunks(4).for_each(|part| intake.push(part).unwrap());
                commit(&store, intake.finish().unwrap());
            }
            other => eprintln!("no stage {other}"),
        }
    }
}
