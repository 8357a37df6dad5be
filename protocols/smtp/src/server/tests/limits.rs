//! Limits, time-outs, half-closed connections, shutdown.

use super::*;
use crate::codec::BodyLimits;

const START: &str =
    "EHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\n";

fn small(kind: Kind) -> ServerConfig {
    let mut config = config(kind);
    config.limits.body = BodyLimits { size: 1000, header: 300, line: 100, swallow: 500, allow_nul: false };
    config
}

#[test]
fn messages_over_a_limit() {
    let cases = [
        (format!("\r\n{}", "x".repeat(101)), "554 5.6.0 message has a line that is too long"),
        ("Header: x\r\n".repeat(30), "552 5.3.4 message header too large"),
        (format!("\r\n{}", "line of text\r\n".repeat(80)), "552 5.3.4 message exceeds the size limit"),
        ("\r\na\0b".to_owned(), "554 5.6.0 message has NUL characters"),
    ];
    for (body, reply) in cases {
        let data = format!("{START}DATA\r\n{body}\r\n.\r\nQUIT\r\n");
        let bdat = format!("{START}BDAT {} LAST\r\n{body}\r\nQUIT\r\n", body.len() + 2);
        for input in [&data, &bdat] {
            for step in [1, 10, 10_000] {
                let driver = run(&small(Kind::Mx), input.as_bytes(), step);
                assert!(
                    driver.text().ends_with(&format!("{reply}\r\n221 2.0.0 bye\r\n")),
                    "{}",
                    driver.text()
                );
                assert!(driver.delivered.is_empty());
            }
        }
    }
}

#[test]
fn in_lmtp_each_recipient_hears_of_it() {
    let input = format!("LHLO c\r\n{}DATA\r\na\nb\r\n.\r\n", &START[8..]);
    let driver = run(&small(Kind::Lmtp), input.as_bytes(), 10_000);
    assert!(
        driver.text().ends_with(&"550 5.6.11 message has bare CR or LF; lines end in CR LF\r\n".repeat(2))
    );
    let input = format!("LHLO c\r\n{}DATA\r\n\r\n{}", &START[8..], "many\r\n".repeat(1000));
    let driver = run(&small(Kind::Lmtp), input.as_bytes(), 10_000);
    assert!(driver.text().ends_with(&"552 5.3.4 message exceeds the size limit\r\n".repeat(2)));
    assert!(driver.closed);
}

#[test]
fn floods_are_cut_off() {
    for step in [1, 100, 10_000] {
        let input = format!("{START}DATA\r\n\r\n{}", "many\r\n".repeat(1000));
        let driver = run(&small(Kind::Mx), input.as_bytes(), step);
        assert!(
            driver.closed
                && driver.text().ends_with(
                    "354 end data with <CR><LF>.<CR><LF>\r\n552 5.3.4 message exceeds the size limit\r\n"
                )
        );
        let driver = run(&small(Kind::Mx), format!("{START}BDAT 4294967296 LAST\r\n").as_bytes(), step);
        assert!(driver.closed && driver.text().ends_with("552 5.3.4 message exceeds the size limit\r\n"));
        let driver = run(&small(Kind::Mx), format!("{START}BDAT x\r\n").as_bytes(), step);
        assert!(driver.closed && driver.text().ends_with("521 5.5.4 syntax: BDAT size [LAST]\r\n"));
    }
}

#[test]
fn a_chunk_with_a_fault_ends_the_transaction() {
    let input = format!("{START}BDAT 3\r\na\nbBDAT 2\r\nxyBDAT 1 LAST\r\nzRSET\r\n");
    let driver = run(&small(Kind::Mx), input.as_bytes(), 3);
    let want = "550 5.6.11 message has bare CR or LF; lines end in CR LF\r\n503 5.5.1 send MAIL first\r\n\
        503 5.5.1 send MAIL first\r\n250 2.0.0 ok\r\n";
    assert!(driver.text().ends_with(want), "{}", driver.text());
}

#[test]
fn long_and_endless_lines() {
    let long = format!("NOOP {}\r\nNOOP\r\n", "x".repeat(5000));
    assert!(
        run(&config(Kind::Mx), long.as_bytes(), 77)
            .text()
            .ends_with("500 5.5.2 line too long\r\n250 2.0.0 ok\r\n")
    );
    let auth = format!("EHLO c\r\nAUTH PLAIN\r\n{}\r\nNOOP\r\n", "A".repeat(20_000));
    assert!(
        run(&open_submission(), auth.as_bytes(), 77)
            .text()
            .ends_with("500 5.5.2 line too long\r\n250 2.0.0 ok\r\n")
    );
    let driver = run(&config(Kind::Mx), &vec![b'x'; 10_000_000], 4096);
    assert!(driver.closed && driver.text().ends_with("521 5.5.2 line without an end\r\n"));
}

#[test]
fn counters_run_out() {
    let driver = run(&config(Kind::Mx), "WRONG\r\n".repeat(100).as_bytes(), 50);
    assert_eq!(driver.text().matches("500 ").count(), 20);
    assert!(driver.closed && driver.text().ends_with("421 4.7.0 too many errors\r\n"));
    let driver = run(&config(Kind::Mx), "NOOP\r\n".repeat(200).as_bytes(), 5000);
    assert!(driver.closed && driver.text().ends_with("421 4.7.0 too many commands without a message\r\n"));
    let mut few = config(Kind::Mx);
    few.limits.recipients = 1;
    few.limits.mails = 1;
    let driver = run(&few, format!("{START}DATA\r\n.\r\nMAIL FROM:<>\r\n").as_bytes(), 5000);
    assert!(driver.text().contains("\r\n250 2.1.5 recipient ok\r\n452 4.5.3 too many recipients\r\n354 "));
    assert!(driver.text().ends_with("421 4.7.0 too many messages in this session\r\n") && driver.closed);
}

/// A byte just in time, again and again, would hold a session for days.
#[test]
fn a_message_has_to_come_at_a_least_rate() {
    let (data, rate) = (Times::default().data, Times::default().data_rate_min as usize);
    let mut driver = Driver::new(config(Kind::Mx));
    driver.feed(format!("{START}DATA\r\n").as_bytes());
    assert_eq!(driver.armed.take(), Some(data));
    driver.now.monotonic = data / 2;
    driver.feed(b"x");
    assert_eq!(driver.armed.take(), Some(data / 2), "no more than for the whole");
    driver.feed(&vec![b'y'; 60 * rate]);
    assert_eq!(driver.armed.take(), Some(data / 2 + std::time::Duration::from_secs(60)));
    driver.now.monotonic = data * 2;
    driver.feed(b"z");
    assert_eq!(driver.armed.take(), Some(std::time::Duration::ZERO));
    driver.now.monotonic = data * 3;
    driver.feed(b"\r\n.\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nx");
    assert_eq!(driver.armed.take(), Some(data), "each message has its own time");
}

#[test]
fn only_whole_commands_prolong_the_timer() {
    let mut driver = Driver::new(config(Kind::Mx));
    assert_eq!(driver.armed.take(), Some(Times::default().command));
    driver.feed(b"EHL");
    assert_eq!(driver.armed, None);
    driver.feed(b"O c\r\n");
    assert_eq!(driver.armed.take(), Some(Times::default().command));
    driver.feed(format!("{}DATA\r\n", &START[8..]).as_bytes());
    assert_eq!(driver.armed.take(), Some(Times::default().data));
    driver.feed(b"a");
    assert_eq!(driver.armed.take(), Some(Times::default().data));
    driver.step(|session, _, out| session.timed_out(Now::default(), out));
    assert!(driver.closed && driver.text().ends_with("421 4.4.2 timed out waiting for you\r\n"));
    assert!(driver.delivered.is_empty());
}

#[test]
fn a_half_closed_connection_gets_its_answers() {
    let mut driver = Driver::new(config(Kind::Mx));
    driver.slow = true;
    driver.feed(format!("{START}DATA\r\nHi\r\n.\r\nNOOP\r\n").as_bytes());
    driver.step(|session, _, out| session.closed(Now::default(), out));
    assert!(!driver.closed);
    while !driver.closed {
        driver.answer();
    }
    assert_eq!(driver.delivered.len(), 1);
    assert!(driver.text().ends_with("250 2.0.0 taken for b\r\n250 2.0.0 ok\r\n"));
    let mut driver = Driver::new(config(Kind::Mx));
    driver.feed(format!("{START}DATA\r\nHi\r\n").as_bytes());
    driver.step(|session, _, out| session.closed(Now::default(), out));
    assert!(driver.closed && driver.delivered.is_empty());
}

#[test]
fn shutdown_waits_for_a_message_only() {
    let mut driver = Driver::new(config(Kind::Mx));
    driver.feed(START.as_bytes());
    driver.step(|session, _, out| session.shutdown(Now::default(), out));
    assert!(driver.closed && driver.text().ends_with("421 4.3.2 the server is shutting down\r\n"));
    let mut driver = Driver::new(config(Kind::Mx));
    driver.feed(format!("{START}DATA\r\nHi\r\n").as_bytes());
    driver.step(|session, _, out| session.shutdown(Now::default(), out));
    assert!(!driver.closed);
    driver.feed(b".\r\nNOOP\r\n");
    assert!(driver.closed && driver.delivered.len() == 1);
    assert!(driver.text().ends_with("250 2.0.0 taken for b\r\n421 4.3.2 the server is shutting down\r\n"));
}

#[test]
fn answers_that_do_not_fit_are_passing_failures() {
    let mut driver = Driver::new(config(Kind::Mx));
    driver.slow = true;
    driver.feed(b"EHLO c\r\nMAIL FROM:<a@b.c>\r\n");
    driver.step(|session, _, out| session.answered(Now::default(), Answer::Delivered(Vec::new()), out));
    assert!(driver.text().ends_with("451 4.3.0 local error in processing\r\n"));
    let before = driver.said.len();
    driver.step(|session, _, out| session.answered(Now::default(), Answer::Accepted, out));
    assert_eq!(driver.said.len(), before);
}

#[test]
fn each_lmtp_recipient_gets_a_reply_even_if_the_engine_forgot_it() {
    for given in 0..4 {
        let mut driver = Driver::new(config(Kind::Lmtp));
        driver.feed(format!("LHLO c\r\n{}DATA\r\n", &START[8..]).as_bytes());
        driver.slow = true;
        driver.feed(b".\r\n");
        driver.said.clear();
        let answer = Answer::Delivered(vec![Reply::accepted("x"); given]);
        driver.step(|session, _, out| session.answered(Now::default(), answer, out));
        let text = driver.text();
        assert_eq!((text.matches("250 ").count(), text.lines().count()), (given.min(2), 2));
    }
}
