use crate::session::Config;
use crate::session::testing::{Client, world};
use std::fmt::Write;

/// One long conversation, to be sent in different ways.
fn conversation() -> String {
    let mut text = String::new();
    let commands = [
        "LOGIN user secret",
        "LIST \"\" *",
        "SELECT INBOX",
        "FETCH 1:* (FLAGS BODY.PEEK[TEXT])",
        "APPEND INBOX (\\Seen) {13+}\r\nSubject: x\r\n\r",
        "STORE 1:2 +FLAGS (\\Deleted)",
        "IDLE\r\nDONE",
        "SEARCH RETURN (ALL) TEXT {3+}\r\none",
        "FOO bar",
        "EXPUNGE",
        "UID FETCH 1:* (UID FLAGS)",
        "CLOSE",
        "LOGOUT",
    ];
    for (number, command) in commands.iter().enumerate() {
        write!(text, "a{number} {command}\r\n").unwrap();
    }
    text
}

fn told(pieces: &[&[u8]]) -> Vec<u8> {
    let world = world(&[b"Subject: one\r\n\r\none\r\n", b"\r\ntwo\r\n", b"\r\nthree\r\n"]);
    let mut client = Client::connect(&world, Config { login_without_tls: true, ..Config::default() });
    pieces.iter().for_each(|piece| client.send(piece));
    assert!(client.closed);
    client.take()
}

#[test]
fn how_the_input_is_cut_makes_no_difference() {
    let text = conversation();
    let whole = told(&[text.as_bytes()]);
    let lines = String::from_utf8(whole.clone()).unwrap();
    for number in 0..13 {
        assert!(lines.contains(&format!("\r\na{number} ")), "{number}: {lines}");
    }
    assert_eq!(told(&text.as_bytes().chunks(1).collect::<Vec<_>>()), whole);
    for size in [2, 3, 7, 64] {
        assert_eq!(told(&text.as_bytes().chunks(size).collect::<Vec<_>>()), whole, "{size}");
    }
}

#[test]
fn hostile_input_gets_an_answer_or_the_end() {
    let long = format!("a LIST \"\" {}\r\n", "x".repeat(200_000));
    for (input, closes) in [
        (&b"\r\n"[..], false),
        (b"\0\0\0\r\n", false),
        (b"a NOOP\n", false),
        (b"a\rb NOOP\r\n", false),
        (b"* NOOP\r\n", false),
        (b"a SELECT {4294967296}\r\n", false),
        (b"a APPEND INBOX {99999999999999999999}\r\n", false),
        (b"\xff\xfe\xfd\r\n", false),
        (b"a FETCH 1:* (((((((((\r\n", false),
        (b"a SEARCH (((((((((((((((((((((((\r\n", false),
        (long.as_bytes(), false),
        (b"a SELECT {3}\n", true),
    ] {
        let mut client = Client::selected(&world(&[b"1"]), "INBOX");
        client.take();
        client.send(input);
        let told = client.text();
        assert!(told.contains("BAD") || told.contains(" NO "), "{input:?}: {told}");
        assert_eq!(client.closed, closes, "{input:?}: {told}");
        if !closes {
            assert!(client.run("b NOOP").ends_with("b OK NOOP completed\r\n"), "{input:?}");
        }
    }
}
