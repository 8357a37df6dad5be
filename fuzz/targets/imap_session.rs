//! The IMAP session: however the input is cut and however late the engine is, it says the same; what
//! it says is well-formed; every command is answered by its tag; what it holds is bounded.
#![no_main]

mod codec {
    pub use estafette_imap::codec::*;
}
#[path = "imap_world.rs"]
mod session;

use codec::framer::Limits;
use estafette_fuzz::{Driver, End, Pace, bounded, head, play, play_wildly, wire};
use libfuzzer_sys::fuzz_target;
use session::{Config, Mailboxes, Session};
use std::sync::Arc;

/// What follows is the last message of INBOX.
const MESSAGE: &[u8] = b"<MSG>";
const SMALL: Limits =
    Limits { line: 60, command: 100, literal: 30, append: 120, part_from: u64::MAX, non_sync: 60, literals: 3, swallow: 200 };
const PLAIN: &[u8] =
    b"From: A <a@example.org>\r\nTo: b@example.net\r\nSubject: =?utf-8?q?x=C3=A9?=\r\n\r\none\r\ntwo\r\n";
const PARTS: &[u8] = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n4oKs4oKs\r\n--b\r\n\
    Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nx\0y\r\n--b--\r\n";

fn config(settings: u8) -> Config {
    let mut config = Config { login_without_tls: settings & 1 == 0, ..Config::default() };
    if settings & 2 != 0 {
        config.limits_before_login = SMALL;
        config.limits = SMALL;
        config.bad_commands_max = 4;
    }
    if settings & 4 != 0 {
        config.fetch_batch_messages = 1;
        config.fetch_budget_bytes = 60;
        config.store_batch_messages = 1;
        config.changes_batch = 1;
        config.unsent_bytes_max = 40;
        config.decode_bytes_max = 20;
    }
    config
}

/// Said before the input, so that it need not be found first.
fn prelude(settings: u8) -> &'static [u8] {
    match settings >> 3 & 3 {
        0 => b"",
        1 => b"l LOGIN user secret\r\n",
        2 => b"l LOGIN user secret\r\ns SELECT INBOX\r\n",
        _ => b"l LOGIN user secret\r\ne ENABLE IMAP4rev2 CONDSTORE\r\ns SELECT INBOX\r\n",
    }
}

fuzz_target!(|data: &[u8]| {
    let (settings, dice, input) = head(data);
    let at = input.windows(MESSAGE.len()).position(|window| window == MESSAGE);
    let (talk, message) = at.map_or((input, None), |at| (&input[..at], Some(&input[at + MESSAGE.len()..])));
    let talk = [prelude(settings), talk].concat();
    let config = Arc::new(config(settings));
    let end = End::of(settings >> 5 & 3);
    let driver = || {
        let messages: Vec<&[u8]> = [PLAIN, b"", PARTS].into_iter().chain(message).collect();
        Driver::new(Session::new(Arc::clone(&config)), Mailboxes::new(&messages), false)
    };
    let whole = bounded(4 * 1024 * 1024 + 2000 * input.len(), || {
        let late = play(driver(), &talk, Some(dice.clone()), Pace::Late(dice.clone()), end);
        if settings & 128 != 0 {
            play_wildly(driver(), &talk, dice);
        }
        let whole = play(driver(), &talk, None, Pace::AtOnce, end);
        assert_eq!(String::from_utf8_lossy(&late.said), String::from_utf8_lossy(&whole.said));
        assert_eq!(late.closed, whole.closed);
        whole
    });
    for response in wire::imap_responses(&whole.said) {
        let tagged = response.split(' ').nth(1).is_some_and(|word| matches!(word, "OK" | "NO" | "BAD"));
        let known = ["* ", "+ ", "+", "[TLS]"].iter().any(|start| response.starts_with(start));
        assert!(known || tagged, "{response:?}");
    }
});
