//! Readers against good and hostile sources.

use super::batch::Ids;
use super::maildir::{self, Content};
use super::mbox::{self, Found, Mbox};
use super::read::{self, Event, Limits, Source};
use estafette_mailbox::MailboxName;
use std::fs;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;
use tokio::sync::mpsc;

const LIMIT: usize = 1 << 20;

fn read_all(text: &[u8], limit: usize) -> Vec<Found> {
    // A small buffer, so that lines lie across its edges.
    let source = BufReader::with_capacity(7, Cursor::new(text.to_vec()));
    let mut mbox = Mbox::open(source, limit).unwrap().expect("an mbox");
    std::iter::from_fn(|| mbox.next().unwrap()).collect()
}

fn bodies(text: &[u8]) -> Vec<String> {
    let one = |found| match found {
        Found::Message { body, .. } => String::from_utf8(body).unwrap(),
        Found::TooLarge { .. } => "too large".to_owned(),
    };
    read_all(text, LIMIT).into_iter().map(one).collect()
}

#[test]
fn messages_are_parted_and_unquoted() {
    let text = b"From a@example.org Sat Jan  3 01:05:34 1996\nSubject: 1\n\n>From me\n>>From you\n> From them\nFrom here on, text\n\nFrom text too\n\nFrom b@example.org Sat Jan  3 01:05:35 1996\nSubject: 2\n\nend\n\n";
    assert_eq!(
        bodies(text),
        [
            "Subject: 1\r\n\r\nFrom me\r\n>From you\r\n> From them\r\nFrom here on, text\r\n\r\nFrom text too\r\n",
            "Subject: 2\r\n\r\nend\r\n"
        ]
    );
}

#[test]
fn line_ends_become_crlf_and_nothing_else_changes() {
    let text = b"From x Sat Jan  3 01:05:34 1996\r\nA: b\r\n\r\n\xff\0 bare \r inside\r\r\nlf\nno end";
    let Some(Found::Message { body, offset: 0, .. }) = read_all(text, LIMIT).pop() else { panic!() };
    assert_eq!(body, b"A: b\r\n\r\n\xff\0 bare \r inside\r\r\nlf\r\nno end");
    let text = b"From x Sat Jan  3 01:05:34 1996\nA: b\n\n\n\n\nc\n\n\n";
    assert_eq!(bodies(text), ["A: b\r\n\r\n\r\n\r\n\r\nc\r\n\r\n"]);
}

#[test]
fn separators_without_a_date_and_empty_messages() {
    assert_eq!(bodies(b"\n\nFrom \r\nA: 1\r\n\r\nFrom \r\nA: 2\r\n"), ["A: 1\r\n", "A: 2\r\n"]);
    assert_eq!(bodies(b"From - Sat Jan  3 01:05:34 1996\nFrom \nFrom \nA: 1\n"), ["A: 1\r\n"]);
    // Without an empty line before it, it is text.
    assert_eq!(bodies(b"From \nA: 1\nFrom \nB: 1\n"), ["A: 1\r\nFrom \r\nB: 1\r\n"]);
    assert!(bodies(b"From \n").is_empty());
    assert!(bodies(b"From x Sat Jan  3 01:05:34 1996\n\n").is_empty());
}

#[test]
fn other_files_are_no_mbox() {
    assert!(bodies(b"").is_empty() && bodies(b"\r\n\n").is_empty());
    for text in [b"Return-Path: <>\n".as_slice(), b"From", b"From x", b"\0\xff\n", b"from x\n"] {
        let source = BufReader::new(Cursor::new(text.to_vec()));
        assert!(Mbox::open(source, LIMIT).unwrap().is_none(), "{text:?}");
    }
}

#[test]
fn dates_of_from_lines() {
    let date = |line: &str| {
        let text = format!("From {line}\nA: b\n");
        let Some(Found::Message { date_ms, .. }) = read_all(text.as_bytes(), LIMIT).pop() else { panic!() };
        date_ms
    };
    assert_eq!(date("a@b Thu Jan  1 00:00:01 1970"), Some(1000));
    assert_eq!(date("a@b Thu Jan  1 01:00 1970"), Some(3_600_000));
    assert_eq!(date("a@b Thu Jan  1 01:00:00 1970 +0100"), Some(0));
    assert_eq!(date("a@b Thu Jan  1 00:00:00 -0130 1970"), Some(5_400_000));
    assert_eq!(date("\"Sat x\"@b Thu Jan  1 00:00:00 UTC 1970"), Some(0));
    assert_eq!(date("a@b Sat Dec 31 23:59:60 2016"), Some(1_483_228_799_000));
    for bad in [
        "a@b",
        "",
        "a@b Sat Foo 1 00:00:00 1970",
        "a@b Sat Feb 30 00:00:00 1970",
        "Sat Jan 1 99:00:00 1970",
        "Sat",
    ] {
        assert_eq!(date(bad), None, "{bad}");
    }
}

/// Numbers that look random and are the same at every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

#[test]
fn what_is_quoted_as_mboxrd_comes_back() {
    const PARTS: [&str; 12] = [
        "From ",
        ">From ",
        ">",
        ">>From x",
        "From a Sat Jan  3 01:05:34 1996",
        "\n",
        "\n\n",
        "\r",
        "\r\n",
        "From",
        "x",
        "é\0",
    ];
    let mut numbers = Numbers(1);
    for _ in 0..2000 {
        let count = 1 + numbers.below(4);
        let message = |numbers: &mut Numbers| {
            let parts = numbers.below(12);
            (0..parts).fold("A: b\n".to_owned(), |text, _| text + PARTS[numbers.below(PARTS.len())]) + "end\n"
        };
        let messages: Vec<String> = (0..count).map(|_| message(&mut numbers)).collect();
        let mut text = String::new();
        for message in &messages {
            text.push_str("From a Sat Jan  3 01:05:34 1996\n");
            for line in message.split_inclusive('\n') {
                let quoted = line.trim_start_matches('>').starts_with("From ");
                text.push_str(if quoted { ">" } else { "" });
                text.push_str(line);
            }
            text.push('\n');
        }
        let wanted: Vec<String> =
            messages.iter().map(|message| message.replace("\r\n", "\n").replace('\n', "\r\n")).collect();
        assert_eq!(bodies(text.as_bytes()), wanted, "{text:?}");
    }
}

#[test]
fn large_messages_are_passed_over() {
    let mut text = b"From a Sat Jan  3 01:05:34 1996\nA: 1\n\n".to_vec();
    text.extend(std::iter::repeat_n(b'x', 5000));
    text.extend_from_slice(b"\n\nFrom b Sat Jan  3 01:05:34 1996\nA: 2\n");
    let found = read_all(&text, 1000);
    assert!(
        matches!(found.as_slice(), [Found::TooLarge { offset: 0 }, Found::Message { body, .. }] if body == b"A: 2\r\n")
    );
}

/// Gives so many bytes without holding them.
struct Endless {
    head: Cursor<&'static [u8]>,
    byte: u8,
    left: u64,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let head = self.head.read(buffer)?;
        if head > 0 {
            return Ok(head);
        }
        let count = buffer.len().min(usize::try_from(self.left).unwrap());
        buffer[..count].fill(self.byte);
        self.left -= count as u64;
        Ok(count)
    }
}

/// Of an endless source.
const TOTAL: u64 = 8 << 20;

#[test]
fn endless_lines_cost_time_but_no_memory() {
    for byte in [b'x', b'>', b'\n', b'\r', 0] {
        let head: &[u8] = b"From a Sat Jan  3 01:05:34 1996\nA: 1\n\n";
        let source = Endless { head: Cursor::new(head), byte, left: TOTAL };
        let mut mbox = Mbox::open(BufReader::new(source), 100_000).unwrap().unwrap();
        assert!(matches!(mbox.next().unwrap(), Some(Found::TooLarge { .. })), "{byte}");
        assert!(mbox.next().unwrap().is_none());
        assert_eq!(mbox.offset(), head.len() as u64 + TOTAL);
    }
}

#[test]
fn flags_of_the_header() {
    let flags = |text: &str| mbox::flags(text.as_bytes());
    assert_eq!(
        flags("Status: RO\r\nX-Status: AF\r\n\r\nStatus: D\r\n"),
        ["\\Seen", "\\Answered", "\\Flagged"]
    );
    assert_eq!(flags("X-STATUS:T\r\nX-Keywords: work, $Label1 b(d\r\n"), ["\\Draft", "work", "$Label1"]);
    assert_eq!(flags("X-Mozilla-Status: 1005\r\n"), ["\\Seen", "\\Flagged", "$Forwarded"]);
    assert!(flags("Status\r\nX-Mozilla-Status: zz\r\n: x\r\n").is_empty());
    assert!(mbox::flags(&[b'\n'; 100]).is_empty());
    mbox::flags(&vec![b':'; 10 << 20]);
}

#[test]
fn identifiers_tell_equal_messages_apart_and_repeat() {
    let run = || {
        let mut ids = Ids::default();
        let (inbox, other) = (MailboxName::inbox(), MailboxName::parse("x").unwrap());
        [ids.next(&inbox, b"a"), ids.next(&inbox, b"a"), ids.next(&inbox, b"b"), ids.next(&other, b"a")]
    };
    let first = run();
    assert_eq!(first, run());
    for (place, id) in first.iter().enumerate() {
        assert!(id.len() == 32 && !first[..place].contains(id));
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(name), text).unwrap();
}

#[test]
fn maildir_folders_and_flags() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    write(&root.join("cur"), "1.a:2,RS", "A: 1\n");
    write(&root.join("cur"), "2.b;2,FTDPab", "A: 2\n");
    write(&root.join("cur"), ".hidden", "");
    write(&root.join("new"), "3.c", "A: 3\n");
    write(&root.join("tmp"), "4.d", "A: 4\n");
    write(root, "dovecot-keywords", "0 work\n1 bad keyword\n2 later\nx\n");
    write(&root.join(".Sent.2024/cur"), "5", "A: 5\n");
    write(&root.join(".R&AOk-sum&AOk-/new"), "6", "A: 6\n");
    write(&root.join(".a&b/cur"), "7", "A: 7\n");
    write(&root.join(".x..y/cur"), "8", "A: 8\n");
    fs::create_dir_all(root.join(".no-maildir")).unwrap();
    let folders = maildir::folders(root, None).unwrap();
    let names: Vec<Result<String, ()>> =
        folders.iter().map(|f| f.mailbox.as_ref().map(ToString::to_string).map_err(|_| ())).collect();
    let name = |text: &str| Ok(text.to_owned());
    assert_eq!(names, [name("INBOX"), name("Résumé"), name("Sent/2024"), name("a&b"), Err(())]);
    let below = maildir::folders(root, Some(&MailboxName::parse("Old").unwrap())).unwrap();
    assert_eq!(below[2].mailbox.as_ref().unwrap().as_str(), "Old/Sent/2024");
    let entries = maildir::entries(root).unwrap();
    let flags: Vec<&[String]> = entries.iter().map(|entry| entry.flags.as_slice()).collect();
    assert_eq!(flags[0], ["\\Answered", "\\Seen"]);
    assert_eq!(flags[1], ["\\Flagged", "\\Deleted", "\\Draft", "$Forwarded", "work"]);
    assert_eq!(flags[2], [] as [&str; 0]);
    assert_eq!(entries.len(), 3);
}

#[test]
fn maildir_reads_plain_files_only() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("message");
    fs::write(&path, b"A: 1\n\nb\r\nc\n\xff\0\n").unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_500)).unwrap();
    let body = b"A: 1\r\n\r\nb\r\nc\r\n\xff\0\r\n".to_vec();
    assert_eq!(maildir::content(&path, LIMIT).unwrap(), Content::Body { body, date_ms: Some(1500) });
    assert_eq!(maildir::content(&path, 5).unwrap(), Content::TooLarge);
    let link = root.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(maildir::content(&link, LIMIT).unwrap(), Content::NoFile);
    assert_eq!(maildir::content(root.path(), LIMIT).unwrap(), Content::NoFile);
}

/// All events of a source.
fn events(source: Source, limits: Limits) -> Vec<Event> {
    let (sender, mut receiver) = mpsc::channel(1);
    let reader = std::thread::spawn(move || read::read(&source, limits, &sender));
    let mut events = Vec::new();
    while let Some(event) = receiver.blocking_recv() {
        events.push(event);
    }
    reader.join().unwrap().unwrap();
    events
}

#[test]
fn batches_keep_to_the_limits_and_the_order() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("mbox");
    let text: String = (0..10)
        .map(|n| format!("From x Sat Jan  3 01:05:34 1996\nA: {n}\n\n{}\n\n", "y".repeat(n * 50)))
        .collect();
    fs::write(&path, &text).unwrap();
    let limits = Limits { message_bytes: 400, batch_messages: 3, batch_bytes: 1000 };
    let events = events(Source::Mbox { path, mailbox: MailboxName::inbox() }, limits);
    let mut places = Vec::new();
    let (mut skipped, mut last) = (0, 0);
    for event in events {
        match event {
            Event::Total { amount, bytes } => assert!(bytes && amount == text.len() as u64),
            Event::Skipped { .. } => skipped += 1,
            Event::Batch { batch, position } => {
                assert!(
                    batch.parts.len() <= 3 && batch.parts.iter().map(|p| p.bytes()).sum::<usize>() <= 1000
                );
                assert!(position > last);
                last = position;
                places.extend(batch.parts.into_iter().map(|part| part.place));
            }
        }
    }
    assert_eq!((skipped, places.len()), (2, 8));
    let offset = |place: &String| place.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    assert!(places.windows(2).all(|pair| offset(&pair[0]) < offset(&pair[1])));
}

#[test]
fn a_source_of_another_kind_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let limits = Limits { message_bytes: 400, batch_messages: 3, batch_bytes: 1000 };
    let refused = |source: Source| {
        let (sender, _receiver) = mpsc::channel(10);
        read::read(&source, limits, &sender).unwrap_err().to_string()
    };
    let path = root.path().join("text");
    fs::write(&path, "text\n").unwrap();
    assert!(refused(Source::Mbox { path, mailbox: MailboxName::inbox() }).contains("no mbox"));
    assert!(refused(Source::Maildir { path: root.path().to_owned(), base: None }).contains("no Maildir"));
    let path = root.path().join("absent");
    assert!(refused(Source::Mbox { path, mailbox: MailboxName::inbox() }).contains("absent"));
}
