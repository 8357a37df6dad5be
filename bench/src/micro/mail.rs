//! The way of a message into the store, stage by stage, and the way of one to another server.

use super::arrival::{READ_BYTES, arrives, arriving};
use super::driver::Driver;
use super::{Case, Turn};
use crate::message::Messages;
use bytes::{Bytes, BytesMut};
use estafette_machine::Deposit;
use estafette_mailbox::{KeywordSet, MessageRow, SystemFlags};
use estafette_mime::Structure;
use estafette_smtp::Reply;
use estafette_smtp::codec::{BodyLimits, DotEncoder, Framing, Progress, Receiver};
use estafette_smtp::server::{Answer, Ask, Kind, ServerConfig, Session};
use estafette_storage::BodyHash;
use estafette_types::{EmailId, ModSeq};
use std::hint::black_box;
use std::sync::Arc;

pub(super) const CASES: [Case; 10] = [
    Case { name: "data: session, whole message", sized: true, prepare: session },
    Case { name: "data: framing of DATA", sized: true, prepare: data },
    Case { name: "data: framing of BDAT", sized: true, prepare: chunk },
    Case { name: "data: BLAKE3", sized: true, prepare: hash },
    Case { name: "data: structure of text", sized: true, prepare: structure_of_text },
    Case { name: "data: structure of a multipart", sized: true, prepare: structure_of_multipart },
    Case { name: "data: encoding of a structure", sized: false, prepare: structure_encode },
    Case { name: "data: encoding of a row", sized: false, prepare: row_encode },
    Case { name: "row: decoding", sized: false, prepare: row_decode },
    Case { name: "smtp client: stuffing", sized: true, prepare: stuff },
];

const LIMITS: BodyLimits =
    BodyLimits { size: 1 << 30, header: 1 << 20, line: 1 << 16, swallow: 0, allow_nul: false };

fn message(size: usize) -> Bytes {
    Messages::new(0).message(size).into()
}

fn pieces(size: usize) -> Vec<Bytes> {
    let text = message(size);
    (0..size).step_by(READ_BYTES).map(|at| text.slice(at..(at + READ_BYTES).min(size))).collect()
}

/// All that the session does for a message: commands, framing, replies.
fn session(size: usize, turns: usize) -> Turn {
    fn answer(ask: Ask) -> Answer {
        match ask {
            Ask::Deliver(delivery) => {
                black_box(delivery.size);
                Answer::Delivered(vec![Reply::accepted("name")])
            }
            Ask::Part(part) => Answer::Taken(part.deposit.unwrap_or_else(|| Deposit::new(()))),
            _ => Answer::Accepted,
        }
    }
    let config = Arc::new(ServerConfig::new(Kind::Mx, "mx.load.test"));
    let mut driver = Driver::new(Session::new(config), answer);
    driver.receive(BytesMut::from(&b"EHLO load.test\r\n"[..]));
    let text = [&message(size)[..], b".\r\n"].concat();
    let mut waiting = arriving(&text, turns);
    Box::new(move || {
        let commands = b"MAIL FROM:<a@load.test> SIZE=4096\r\nRCPT TO:<b@load.test>\r\nDATA\r\n";
        driver.receive(BytesMut::from(&commands[..]));
        for read in waiting.pop().unwrap_or_default() {
            driver.receive(read);
        }
        black_box(driver.sent);
    })
}

fn data(size: usize, turns: usize) -> Turn {
    let text = [&message(size)[..], b".\r\n"].concat();
    let mut waiting = arriving(&text, turns);
    Box::new(move || {
        let mut receiver = Receiver::new(Framing::Dots, LIMITS);
        let mut input = BytesMut::new();
        for read in waiting.pop().unwrap_or_default() {
            arrives(&mut input, read);
            black_box(receiver.data(&mut input) == Progress::End);
        }
        black_box(receiver.finish().is_ok());
    })
}

fn chunk(size: usize, turns: usize) -> Turn {
    let mut waiting = arriving(&message(size), turns);
    Box::new(move || {
        let mut receiver = Receiver::new(Framing::Text, LIMITS);
        let mut remaining = size as u64;
        for mut read in waiting.pop().unwrap_or_default() {
            black_box(receiver.chunk(&mut read, &mut remaining) == Progress::End);
        }
        black_box(receiver.finish().is_ok());
    })
}

fn hash(size: usize, _: usize) -> Turn {
    let pieces = pieces(size);
    Box::new(move || {
        black_box(BodyHash::of(black_box(&pieces)));
    })
}

fn structure_of_text(size: usize, _: usize) -> Turn {
    let pieces = pieces(size);
    Box::new(move || {
        black_box(Structure::of(black_box(&pieces)));
    })
}

/// A text, its HTML twin and an attachment.
fn multipart(size: usize) -> Vec<u8> {
    let head = b"From: A <a@load.test>\r\nTo: B <b@load.test>\r\nSubject: An attachment\r\n\
        Message-ID: <1@load.test>\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=\"outer\"\r\n\r\n--outer\r\n\
        Content-Type: multipart/alternative; boundary=\"inner\"\r\n\r\n--inner\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\r\nThe bag is on the road.\r\n--inner\r\n\
        Content-Type: text/html; charset=utf-8\r\n\r\n<p>The bag is on the road.</p>\r\n--inner--\r\n--outer\r\n\
        Content-Type: application/pdf; name=\"bag.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\
        Content-Disposition: attachment; filename=\"bag.pdf\"\r\n\r\n";
    let line = b"JVBERi0xLjQKJcOkw7zDtsOfCjIgMCBvYmoKPDwvTGVuZ3RoIDMgMCBSL0ZpbHRlci9GbGF0ZURl\r\n";
    let end = b"--outer--\r\n";
    let mut text = head.to_vec();
    while text.len() + line.len() + end.len() <= size {
        text.extend_from_slice(line);
    }
    text.extend_from_slice(end);
    text
}

fn structure_of_multipart(size: usize, _: usize) -> Turn {
    let text = multipart(size);
    Box::new(move || {
        black_box(Structure::of(black_box(&text).chunks(READ_BYTES)));
    })
}

fn structure_encode(size: usize, _: usize) -> Turn {
    let structure = Structure::of([multipart(size)]);
    Box::new(move || {
        black_box(black_box(&structure).encode());
    })
}

fn message_row() -> MessageRow {
    MessageRow {
        arrival: ModSeq(123_456),
        modseq: ModSeq(123_999),
        flags: SystemFlags::SEEN,
        keywords: KeywordSet::default(),
        internal_date_ms: 1_795_000_000_000,
        save_date_ms: 1_795_000_000_000,
        size: 4_096,
        body: BodyHash([7; 32]),
        email: EmailId(98_765),
    }
}

fn row_encode(_: usize, _: usize) -> Turn {
    let row = message_row();
    Box::new(move || {
        black_box(black_box(&row).encode());
    })
}

fn row_decode(_: usize, _: usize) -> Turn {
    let bytes = message_row().encode();
    Box::new(move || {
        black_box(MessageRow::decode(black_box(&bytes)).is_some());
    })
}

fn stuff(size: usize, _: usize) -> Turn {
    let pieces = pieces(size);
    Box::new(move || {
        for piece in DotEncoder::new(black_box(&pieces).clone()) {
            black_box(piece);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_multipart_has_four_leaves_and_branches_in_its_size() {
        let text = multipart(65_536);
        assert!(text.len() <= 65_536 && text.len() > 65_000);
        // The whole, the alternative, its two texts, the attachment.
        assert_eq!(Structure::of([text]).parts().len(), 5);
    }

    #[test]
    fn the_session_takes_each_message() {
        let mut taken = session(4096, 2);
        taken();
        taken();
    }
}
