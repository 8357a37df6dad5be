//! Large messages are handed over in parts while they come; whatever goes wrong, the engine keeps nothing.

use super::*;
use std::fmt::Write as _;

const LINE: &str = "..0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 012345\r\n";

fn small_parts(kind: Kind) -> ServerConfig {
    let mut config = config(kind);
    config.limits.part_from = 0;
    config
}

/// About so many parts of text, as it stands in DATA.
fn stuffed(parts: usize) -> String {
    format!("Subject: large\r\n\r\n{}", LINE.repeat(parts * PART_BYTES / LINE.len() + 1))
}

fn plain(stuffed: &str) -> String {
    stuffed.replace("\r\n..", "\r\n.")
}

fn begin(to: &str) -> String {
    format!("EHLO a.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<{to}@example.org>\r\n")
}

fn data(to: &str, text: &str) -> String {
    format!("{}DATA\r\n{text}.\r\nNOOP\r\n", begin(to))
}

/// Nothing is kept any more.
fn assert_let_go(driver: &Driver) {
    assert_eq!(Arc::strong_count(&driver.alive), 1, "the engine still keeps something");
}

#[test]
fn data_comes_in_parts_and_is_the_same() {
    let text = stuffed(5);
    for step in [1000, 64 * 1024, 300_000, usize::MAX] {
        let driver = run(&small_parts(Kind::Mx), data("b", &text).as_bytes(), step);
        assert!((2..=6).contains(&driver.parts) || step == usize::MAX, "{} parts", driver.parts);
        assert_eq!(driver.delivered.len(), 1);
        assert_eq!(driver.delivered[0].body.concat(), plain(&text).as_bytes());
        assert_eq!(driver.delivered[0].size, plain(&text).len() as u64);
        assert!(driver.text().ends_with("250 2.0.0 taken for b\r\n250 2.0.0 ok\r\n"), "{}", driver.text());
        assert_let_go(&driver);
    }
}

#[test]
fn small_messages_do_not() {
    let mut config = config(Kind::Mx);
    config.limits.part_from = 3 * PART_BYTES;
    assert_eq!(run(&config, data("b", &stuffed(2)).as_bytes(), 64 * 1024).parts, 0);
    assert!(run(&config, data("b", &stuffed(4)).as_bytes(), 64 * 1024).parts > 0);
    // One that is declared to be large is so from the first part on.
    let declared = data("b", &stuffed(2)).replace("org>\r\nRCPT", "org> SIZE=900000\r\nRCPT");
    assert!(run(&config, declared.as_bytes(), 64 * 1024).parts > 0);
}

#[test]
fn chunks_come_in_parts_and_are_the_same() {
    let text = plain(&stuffed(5));
    for chunk in [1000, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, text.len()] {
        let mut input = begin("b");
        let mut pieces = text.as_bytes().chunks(chunk).peekable();
        while let Some(piece) = pieces.next() {
            let last = if pieces.peek().is_none() { " LAST" } else { "" };
            write!(input, "BDAT {}{last}\r\n{}", piece.len(), std::str::from_utf8(piece).unwrap()).unwrap();
        }
        for step in [7000, 64 * 1024, usize::MAX] {
            let driver = run(&small_parts(Kind::Mx), input.as_bytes(), step);
            assert_eq!(driver.delivered[0].body.concat(), text.as_bytes(), "{chunk} {step}");
            assert!(driver.parts > 0 || chunk == text.len());
            let replies = driver.text().lines().filter(|line| line.ends_with("bytes received")).count();
            assert_eq!(replies, text.len().div_ceil(chunk) - 1);
            assert_let_go(&driver);
        }
    }
}

#[test]
fn a_disk_that_fills_up_is_told_at_the_end() {
    let text = stuffed(6);
    let driver = run(&small_parts(Kind::Mx), data("fills", &text).as_bytes(), 50_000);
    assert_eq!(codes(&driver).split(' ').rev().take(3).collect::<Vec<_>>(), ["250", "452", "354"]);
    assert!(driver.delivered.is_empty());
    assert_let_go(&driver);
    // One reply for each recipient in LMTP.
    let input = format!(
        "LHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<fills@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n{text}.\r\n"
    );
    let driver = run(&small_parts(Kind::Lmtp), input.as_bytes(), 50_000);
    assert!(codes(&driver).ends_with("354 452 452"), "{}", codes(&driver));
    // In BDAT at the chunk in which it happens; what follows is out of place.
    let (text, half) = (plain(&text), 4 * PART_BYTES);
    let (one, two) = text.split_at(half);
    let input = format!("{}BDAT {half}\r\n{one}BDAT {} LAST\r\n{two}RSET\r\n", begin("fills"), two.len());
    let driver = run(&small_parts(Kind::Mx), input.as_bytes(), 50_000);
    assert!(codes(&driver).ends_with("452 503 250"), "{}", codes(&driver));
    assert_let_go(&driver);
    let input = format!("{}BDAT {} LAST\r\n{text}NOOP\r\n", begin("fills"), text.len());
    let driver = run(&small_parts(Kind::Mx), input.as_bytes(), 50_000);
    assert!(codes(&driver).ends_with("250 452 250"), "{}", codes(&driver));
    assert!(driver.delivered.is_empty());
}

#[test]
fn faults_after_the_first_part_leave_nothing() {
    let text = stuffed(3);
    let mut config = small_parts(Kind::Mx);
    let bare = data("b", &format!("{text}a\nb\r\n{text}"));
    let driver = run(&config, bare.as_bytes(), 50_000);
    assert!(driver.parts > 0 && codes(&driver).ends_with("354 550 250"), "{}", codes(&driver));
    assert!(driver.delivered.is_empty());
    assert_let_go(&driver);
    config.limits.body.size = 2 * PART_BYTES as u64;
    let driver = run(&config, data("b", &text).as_bytes(), 50_000);
    assert!(driver.parts > 0 && codes(&driver).ends_with("354 552 250"), "{}", codes(&driver));
    assert_let_go(&driver);
    config.limits.body.swallow = 1000;
    let driver = run(&config, data("b", &text).as_bytes(), 50_000);
    assert!(driver.closed && driver.delivered.is_empty());
    assert_let_go(&driver);
}

#[test]
fn ends_in_the_middle_leave_nothing() {
    let text = stuffed(3);
    let begun = || {
        let driver = run(&small_parts(Kind::Mx), format!("{}DATA\r\n{text}", begin("b")).as_bytes(), 50_000);
        assert!(driver.parts > 0 && Arc::strong_count(&driver.alive) == 2);
        driver
    };
    let mut driver = begun();
    driver.step(|session, _, out| session.closed(Now::default(), out));
    assert!(driver.closed);
    assert_let_go(&driver);
    let mut driver = begun();
    driver.step(|session, _, out| session.timed_out(Now::default(), out));
    assert_let_go(&driver);
    // The peer goes while the engine is asked.
    let mut driver = Driver::new(small_parts(Kind::Mx));
    driver.feed(format!("{}DATA\r\n", begin("b")).as_bytes());
    driver.slow = true;
    driver.feed(text.as_bytes());
    driver.step(|session, _, out| session.closed(Now::default(), out));
    assert!(!driver.closed, "there is a question open");
    while !driver.closed {
        driver.answer();
    }
    assert!(driver.delivered.is_empty());
    assert_let_go(&driver);
    // RSET between chunks.
    let input = format!("{}BDAT {}\r\n{text}RSET\r\n", begin("b"), text.len());
    let driver = run(&small_parts(Kind::Mx), input.as_bytes(), 50_000);
    assert!(driver.parts > 0 && codes(&driver).ends_with("250 250"));
    assert_let_go(&driver);
}
