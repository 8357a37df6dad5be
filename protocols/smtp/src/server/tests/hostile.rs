//! What must not work: smuggling, injection, wrong protocols, and random bytes.

use super::*;
use proptest::prelude::*;

const START: &str = "EHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n";

#[test]
fn a_smuggled_message_is_refused_and_not_seen() {
    for end in ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\r\r\n.\r\r\n"] {
        let smuggled = "MAIL FROM:<evil@example.org>\r\nRCPT TO:<c@example.org>\r\nDATA\r\nevil";
        let input = format!("{START}DATA\r\nSubject: x\r\n\r\nbody{end}{smuggled}\r\n.\r\nQUIT\r\n");
        for step in [1, 3, 4096] {
            let driver = run(&config(Kind::Mx), input.as_bytes(), step);
            assert!(driver.delivered.is_empty(), "{end:?}");
            let text = driver.text();
            assert!(
                text.ends_with(
                    "550 5.6.11 message has bare CR or LF; lines end in CR LF\r\n221 2.0.0 bye\r\n"
                )
            );
        }
    }
}

#[test]
fn bare_line_ends_in_commands() {
    let driver =
        run(&config(Kind::Mx), b"EHLO c\r\nNOOP a\rb\r\nNOOP\r\r\nNOOP a\0\r\nNOOP\nRSET\r\nNOOP\r\n", 4096);
    assert!(driver.text().ends_with(
        "500 5.5.2 bare CR received; lines end in CR LF\r\n500 5.5.2 bare CR received; lines end in CR LF\r\n\
         500 5.5.2 NUL is not allowed in a command\r\n521 5.5.2 bare LF received; lines end in CR LF\r\n"
    ));
    assert!(driver.closed);
}

/// RFC 3207 §4.2, and the injection of commands before the handshake.
#[test]
fn nothing_survives_starttls() {
    let mut driver = Driver::new(config(Kind::Submission));
    driver.feed(b"EHLO c\r\nAUTH PLAIN AHRlc3QAMTIzNA==\r\n");
    assert!(driver.text().ends_with("538 5.7.11 TLS is required for authentication\r\n"));
    driver.feed(b"STARTTLS x\r\nSTARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@example.org>\r\n");
    assert!(
        driver
            .text()
            .ends_with("501 5.5.4 syntax: no argument is taken\r\n220 2.0.0 ready to start TLS\r\n[TLS]\r\n")
    );
    driver.said.clear();
    driver.secure();
    assert_eq!(driver.text(), "");
    driver.feed(b"AUTH PLAIN AHRlc3QAMTIzNA==\r\n");
    assert_eq!(driver.text(), "503 5.5.1 send EHLO or HELO first\r\n");
    driver.said.clear();
    driver.feed(b"EHLO c\r\nSTARTTLS\r\nAUTH PLAIN AHRlc3QAMTIzNA==\r\nMAIL FROM:<a@b.c> REQUIRETLS\r\n");
    let text = driver.text();
    assert!(text.contains("AUTH PLAIN LOGIN") && text.contains("REQUIRETLS") && !text.contains("STARTTLS"));
    assert!(text.ends_with(
        "503 5.5.1 TLS is up already\r\n235 2.7.0 authentication successful\r\n250 2.1.0 sender ok\r\n"
    ));
    assert_eq!(driver.session.peer().protocol(true), "UTF8SMTPSA");
}

#[test]
fn implicit_tls_and_required_tls() {
    let implicit = ServerConfig { tls: TlsMode::Implicit, ..config(Kind::Submission) };
    let driver = run(&implicit, b"EHLO c\r\nSTARTTLS\r\n", 4096);
    assert!(driver.text().contains("AUTH PLAIN") && driver.text().contains("503 5.5.1 TLS is up"));
    let required = ServerConfig { require_tls: true, ..config(Kind::Mx) };
    let driver = run(&required, b"EHLO c\r\nMAIL FROM:<>\r\nNOOP\r\n", 4096);
    assert!(driver.text().contains("530 5.7.0 must issue a STARTTLS command first\r\n250 2.0.0 ok"));
    let off = ServerConfig { tls: TlsMode::Off, ..config(Kind::Mx) };
    assert!(
        run(&off, b"EHLO c\r\nSTARTTLS\r\n", 1).text().ends_with("502 5.5.1 STARTTLS is not offered\r\n")
    );
}

#[test]
fn other_protocols_are_shown_the_door() {
    for request in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /\r\nMAIL FROM:<a@b.c>\r\n", "Host: x\r\n"] {
        let driver = run(&config(Kind::Mx), request.as_bytes(), 4096);
        assert!(driver.text().ends_with("554 5.5.1 this is not an HTTP server\r\n"));
        assert!(driver.closed);
    }
    let driver = run(&config(Kind::Mx), b"\x16\x03\x01\x02\x00\x01\x00", 1);
    assert!(driver.closed && driver.text().contains("554 5.5.1 this is a TLS handshake"));
}

fn words() -> impl Strategy<Value = Vec<u8>> {
    let lines: [&[u8]; 26] = [
        b"EHLO c\r\n",
        b"LHLO c\r\n",
        b"HELO c\r\n",
        b"MAIL FROM:<a@b.c>\r\n",
        b"MAIL FROM:<> BODY=BINARYMIME\r\n",
        b"RCPT TO:<d@e.f>\r\n",
        b"RCPT TO:<unknown@e.f>\r\n",
        b"RCPT TO:<nodisk@e.f>\r\n",
        b"DATA\r\n",
        b"DATA\r\n",
        b"..x\r\n",
        b"text\r\n",
        b".\r\n",
        b"\r\n.\r\n",
        b"BDAT 5\r\n",
        b"BDAT 7 LAST\r\n",
        b"BDAT 0 LAST\r\n",
        b"AUTH PLAIN AHRlc3QAMTIzNA==\r\n",
        b"AUTH LOGIN\r\n",
        b"dGVzdA==\r\n",
        b"*\r\n",
        b"RSET\r\n",
        b"QUIT\r\n",
        b"\n",
        b"\r",
        b"\0\xff",
    ];
    prop::collection::vec(prop::sample::select(lines.to_vec()), 0..40).prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// However the input is cut, and however late the engine answers, the session says the same.
    #[test]
    fn segmentation_does_not_matter(input in words(), kind in 0..3_usize, step in 1_usize..40) {
        let config = [config(Kind::Mx), open_submission(), config(Kind::Lmtp)][kind].clone();
        let whole = run(&config, &input, input.len());
        let cut = run(&config, &input, step);
        let mut slow = Driver::new(config);
        slow.slow = true;
        for piece in input.chunks(step) {
            slow.feed(piece);
            if step % 2 == 0 && slow.asked.is_some() {
                slow.answer();
            }
        }
        while slow.asked.is_some() && !slow.closed {
            slow.answer();
        }
        for other in [&cut, &slow] {
            prop_assert_eq!(other.text(), whole.text());
            prop_assert_eq!(other.closed, whole.closed);
            prop_assert_eq!(other.delivered.len(), whole.delivered.len());
            for (one, two) in other.delivered.iter().zip(&whole.delivered) {
                prop_assert_eq!(one.body.concat(), two.body.concat());
                prop_assert_eq!(&one.envelope, &two.envelope);
            }
        }
    }

    #[test]
    fn random_bytes_do_no_harm(input in prop::collection::vec(any::<u8>(), 0..2000), step in 1_usize..200) {
        let driver = run(&config(Kind::Mx), &input, step);
        prop_assert!(driver.delivered.is_empty());
    }
}
