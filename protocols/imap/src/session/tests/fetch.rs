use crate::session::Config;
use crate::session::testing::{Client, world};

const PLAIN: &[u8] = b"Subject: Hi\r\nFrom: A <a@example.org>\r\nX-Long: 1\r\n 2\r\n\r\nHello\r\nWorld\r\n";
const MIXED: &[u8] = b"Subject: parts\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
--b\r\nContent-Type: text/plain\r\n\r\none\r\n\
--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAGFiYw==\r\n\
--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nTo: t@example.org\r\n\r\ninside\r\n\
--b\r\nContent-Transfer-Encoding: x-odd\r\n\r\nodd\r\n--b--\r\n";

#[test]
fn items_of_a_message() {
    let world = world(&[PLAIN]);
    let mut client = Client::selected(&world, "INBOX");
    assert_eq!(
        client.run("a FETCH 1 FAST"),
        "* 1 FETCH (FLAGS () INTERNALDATE \"12-Jan-1970 13:46:40 +0000\" RFC822.SIZE 69)\r\na OK FETCH completed\r\n"
    );
    assert_eq!(
        client.run("a FETCH 1 (UID EMAILID THREADID SAVEDATE)"),
        "* 1 FETCH (UID 1 EMAILID (M1) THREADID NIL SAVEDATE NIL)\r\na OK FETCH completed\r\n"
    );
    let told = client.run("a FETCH 1 ALL");
    assert!(told.contains("ENVELOPE (NIL \"Hi\" ((\"A\" NIL \"a\" \"example.org\"))"), "{told}");
    let told = client.run("a FETCH 1 BODYSTRUCTURE");
    assert!(told.contains("BODYSTRUCTURE (\"text\" \"plain\" "), "{told}");
    assert!(client.run("a FETCH 1 PREVIEW").starts_with("a BAD"));
    assert!(client.run("a FETCH 2 UID").starts_with("a BAD"));
    assert_eq!(client.run("a UID FETCH 2 UID"), "a OK FETCH completed\r\n");
    // Nothing so far has read the body.
    assert_eq!(world.borrow().largest_answer, 0);
}

#[test]
fn sections_of_a_message() {
    let world = world(&[PLAIN, MIXED]);
    let mut client = Client::selected(&world, "INBOX");
    for (number, section, expected) in [
        (
            1,
            "BODY.PEEK[HEADER]",
            "BODY[HEADER] {55}\r\nSubject: Hi\r\nFrom: A <a@example.org>\r\nX-Long: 1\r\n 2\r\n\r\n",
        ),
        (1, "BODY.PEEK[TEXT]", "BODY[TEXT] {14}\r\nHello\r\nWorld\r\n"),
        (1, "BODY.PEEK[1]", "BODY[1] {14}\r\nHello\r\nWorld\r\n"),
        (1, "BODY.PEEK[2]", "BODY[2] NIL"),
        (1, "BODY.PEEK[]<55.5>", "BODY[]<55> {5}\r\nHello"),
        (1, "BODY.PEEK[]<100.5>", "BODY[]<100> {0}\r\n"),
        (
            1,
            "BODY.PEEK[HEADER.FIELDS (x-LONG)]",
            "BODY[HEADER.FIELDS (x-LONG)] {17}\r\nX-Long: 1\r\n 2\r\n\r\n",
        ),
        (
            1,
            "BODY.PEEK[HEADER.FIELDS.NOT (x-long FROM)]",
            "BODY[HEADER.FIELDS.NOT (x-long FROM)] {15}\r\nSubject: Hi\r\n\r\n",
        ),
        (1, "BODY.PEEK[HEADER.FIELDS (Subject)]<9.2>", "BODY[HEADER.FIELDS (Subject)]<9> {2}\r\nHi"),
        (
            1,
            "RFC822.HEADER",
            "RFC822.HEADER {55}\r\nSubject: Hi\r\nFrom: A <a@example.org>\r\nX-Long: 1\r\n 2\r\n\r\n",
        ),
        (2, "BODY.PEEK[1]", "BODY[1] {3}\r\none"),
        (2, "BODY.PEEK[1.MIME]", "BODY[1.MIME] {28}\r\nContent-Type: text/plain\r\n\r\n"),
        (2, "BODY.PEEK[1.HEADER]", "BODY[1.HEADER] NIL"),
        (2, "BODY.PEEK[3.HEADER]", "BODY[3.HEADER] {37}\r\nSubject: inner\r\nTo: t@example.org\r\n\r\n"),
        (
            2,
            "BODY.PEEK[3.HEADER.FIELDS (TO)]",
            "BODY[3.HEADER.FIELDS (TO)] {21}\r\nTo: t@example.org\r\n\r\n",
        ),
        (2, "BODY.PEEK[3.TEXT]", "BODY[3.TEXT] {6}\r\ninside"),
        (2, "BODY.PEEK[3.1]", "BODY[3.1] {6}\r\ninside"),
        (2, "BINARY.PEEK[1]", "BINARY[1] {3}\r\none"),
        (2, "BINARY.PEEK[2]", "BINARY[2] ~{4}\r\n\0abc"),
        (2, "BINARY.PEEK[2]<1.2>", "BINARY[2]<1> {2}\r\nab"),
        (2, "BINARY.SIZE[2]", "BINARY.SIZE[2] 4"),
        (2, "BINARY.SIZE[1]", "BINARY.SIZE[1] 3"),
    ] {
        let told = client.run(&format!("a FETCH {number} {section}"));
        assert_eq!(told, format!("* {number} FETCH ({expected})\r\na OK FETCH completed\r\n"), "{section}");
    }
    assert!(client.run("a FETCH 2 BINARY.PEEK[4]").contains("a NO [UNKNOWN-CTE]"));
    // Only the bytes that were asked for have been read.
    assert!(world.borrow().largest_answer < 60, "{}", world.borrow().largest_answer);
}

#[test]
fn reading_marks_as_seen() {
    let world = world(&[PLAIN, PLAIN]);
    let mut client = Client::selected(&world, "INBOX");
    let text = "{14}\r\nHello\r\nWorld\r\n";
    assert_eq!(
        client.run("a FETCH 1 BODY[TEXT]"),
        format!("* 1 FETCH (FLAGS (\\Seen) BODY[TEXT] {text})\r\na OK FETCH completed\r\n")
    );
    assert_eq!(
        client.run("a FETCH 1 BODY[TEXT]"),
        format!("* 1 FETCH (BODY[TEXT] {text})\r\na OK FETCH completed\r\n")
    );
    assert_eq!(
        client.run("a UID FETCH 1:2 (RFC822.TEXT FLAGS)"),
        format!(
            "* 1 FETCH (UID 1 RFC822.TEXT {text} FLAGS (\\Seen))\r\n\
             * 2 FETCH (UID 2 RFC822.TEXT {text} FLAGS (\\Seen))\r\na OK FETCH completed\r\n"
        )
    );
    assert!(!world.borrow().asked.contains(&"Changes".to_owned()));
    // Reading works when writing does not.
    client.run("a STORE 1 -FLAGS.SILENT (\\Seen)");
    client.run("a EXAMINE INBOX");
    assert_eq!(client.run("a FETCH 1 (FLAGS RFC822.TEXT)").matches("Seen").count(), 0);
}

#[test]
fn a_large_message_is_streamed() {
    let mut body = b"Subject: large\r\n\r\n".to_vec();
    body.extend((0..300_000_u32).map(|n| b'a' + (n % 26) as u8));
    let world = world(&[&body, PLAIN]);
    let config = Config {
        login_without_tls: true,
        fetch_budget_bytes: 10_000,
        unsent_bytes_max: 20_000,
        ..Config::default()
    };
    let mut client = Client::with(&world, config);
    client.run("a SELECT INBOX");
    client.stuck = true;
    let start = client.run("b FETCH 1:2 (UID BODY.PEEK[] BODY.PEEK[TEXT]<100000.100000> RFC822.SIZE)");
    assert!(start.starts_with("* 1 FETCH (UID 1 RFC822.SIZE 300018 BODY[] {300018}\r\nSubject: large"));
    assert!(start.len() <= 30_100, "the peer takes nothing, yet {} bytes were printed", start.len());
    client.stuck = false;
    client.step(|_, _, _| {});
    let told = start + &client.text();
    let whole = String::from_utf8(body.clone()).unwrap();
    let plain = String::from_utf8(PLAIN.to_vec()).unwrap();
    assert!(
        told == format!(
            "* 1 FETCH (UID 1 RFC822.SIZE 300018 BODY[] {{300018}}\r\n{whole} BODY[TEXT]<100000> {{100000}}\r\n{})\r\n\
             * 2 FETCH (UID 2 BODY[] {{69}}\r\n{plain} BODY[TEXT]<100000> {{0}}\r\n RFC822.SIZE 69)\r\n\
             b OK FETCH completed\r\n",
            &whole[100_018..200_018]
        )
    );
    assert!(world.borrow().largest_answer <= 10_000);
}

#[test]
fn many_messages_come_in_batches() {
    let large = vec![b'x'; 3000];
    let world = world(&vec![&large[..]; 100]);
    let config = Config {
        login_without_tls: true,
        fetch_batch_messages: 30,
        fetch_budget_bytes: 10_000,
        unsent_bytes_max: 15_000,
        ..Config::default()
    };
    let mut client = Client::with(&world, config);
    client.run("a SELECT INBOX");
    client.stuck = true;
    let start = client.run("b FETCH 1:* RFC822");
    assert!(start.len() < 26_000, "{}", start.len());
    client.stuck = false;
    client.step(|_, _, _| {});
    let told = start + &client.text();
    assert_eq!(told.matches(" FETCH (FLAGS (\\Seen) RFC822 {3000}\r\nxxx").count(), 100);
    assert!(told.ends_with("b OK FETCH completed\r\n"));
    // Sections that have to be read are bounded in the same way.
    let told = client.run("b FETCH 1:* (BODY.PEEK[TEXT] BODY.PEEK[])");
    assert_eq!(told.matches("BODY[] {3000}").count(), 100);
    assert!(world.borrow().largest_answer <= 10_000);
}

#[test]
fn an_engine_that_fails_within_a_response_ends_the_session() {
    let world = world(&[&vec![b'x'; 30_000]]);
    let config = Config { login_without_tls: true, fetch_budget_bytes: 10_000, ..Config::default() };
    let mut client = Client::with(&world, config);
    client.run("a SELECT INBOX");
    client.slow = true;
    client.run("b FETCH 1 BODY.PEEK[]");
    client.answer();
    client.answer();
    let told = client.text();
    assert!(told.starts_with("* 1 FETCH (BODY[] {30000}\r\nxxx") && told.len() < 10_100, "{}", told.len());
    world.borrow_mut().fail_next = Some(crate::session::ask::Failure::Unavailable);
    client.answer();
    assert!(client.closed);
    assert!(!client.text().contains("BYE"));
}

#[test]
fn large_headers_do_not_pile_up() {
    let mut body = b"X: ".to_vec();
    body.extend(vec![b'y'; 20_000]);
    body.extend(b"\r\n\r\n");
    let world = world(&vec![&body[..]; 50]);
    let config = Config {
        login_without_tls: true,
        fetch_budget_bytes: 50_000,
        unsent_bytes_max: 50_000,
        ..Config::default()
    };
    let mut client = Client::with(&world, config);
    client.run("a SELECT INBOX");
    client.stuck = true;
    assert!(client.run("b FETCH 1:* BODY.PEEK[HEADER]").len() < 110_000);
    client.stuck = false;
    client.step(|_, _, _| {});
    assert_eq!(client.text().matches("FETCH (BODY[HEADER] {20007}").count(), 46);
    assert_eq!(world.borrow().largest_answer, 0);
}
