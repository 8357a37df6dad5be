use crate::session::testing::{Client, world};

fn client() -> Client {
    let world = world(&[
        b"Subject: Hello\r\nFrom: Smith <s@example.org>\r\n\r\nfirst body\r\n",
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nsecond\r\n",
        b"\r\nthird, a longer body without header\r\n",
    ]);
    let mut client = Client::selected(&world, "INBOX");
    client.run("x STORE 2 +FLAGS.SILENT (\\Flagged $Work)");
    client
}

#[test]
fn criteria_are_found() {
    let mut client = client();
    for (key, found) in [
        ("ALL", " 1 2 3"),
        ("FLAGGED", " 2"),
        ("UNFLAGGED", " 1 3"),
        ("KEYWORD $work", " 2"),
        ("NOT UNKEYWORD $Work", " 2"),
        ("FROM smith", " 1"),
        ("SUBJECT hello", " 1"),
        ("BODY BODY", " 1 3"),
        ("TEXT longer", " 3"),
        ("OR FROM smith FLAGGED", " 1 2"),
        ("2:3 NOT FLAGGED", " 3"),
        ("UID 3:*", " 3"),
        ("UID 90:*", " 3"),
        ("HEADER Subject \"\"", " 1 2"),
        ("NEW", ""),
        ("OLD", " 1 2 3"),
        ("RECENT", ""),
        ("SMALLER 40", " 3"),
        ("SINCE 12-Jan-1970", " 1 2 3"),
        ("BEFORE 12-Jan-1970", ""),
        ("YOUNGER 2000000", " 1 2 3"),
        ("OLDER 2000001", ""),
        ("EMAILID M2", " 2"),
        ("EMAILID x", ""),
    ] {
        let told = client.run(&format!("a SEARCH {key}"));
        assert_eq!(told, format!("* SEARCH{found}\r\na OK SEARCH completed\r\n"), "{key}");
    }
    let told = client.run("a SEARCH CHARSET UTF-8 SUBJECT {8+}\r\nGRü\u{df}E!");
    assert!(told.starts_with("a OK") || told.starts_with("* SEARCH\r\n"), "{told}");
    let told = client.run("a SEARCH CHARSET UTF-8 SUBJECT {7+}\r\nGRÜßE");
    assert!(told.starts_with("* SEARCH 2\r\n"), "{told}");
    assert!(client.run("a SEARCH CHARSET KOI8-R TEXT x").starts_with("a NO [BADCHARSET (US-ASCII UTF-8)]"));
    assert!(client.run("a SEARCH 7").starts_with("a BAD"));
}

#[test]
fn no_charset_with_utf8_accept() {
    let mut client = client();
    client.run("a ENABLE IMAP4rev2");
    let told = client.run("b SEARCH CHARSET UTF-8 SUBJECT \"GRÜßE\"");
    assert!(told.starts_with("* ESEARCH (TAG \"b\") ALL 2\r\nb OK"), "{told}");
    client.run("c ENABLE UTF8=ACCEPT");
    for search in ["SEARCH CHARSET UTF-8 ALL", "UID SEARCH RETURN (SAVE) CHARSET US-ASCII ALL"] {
        let told = client.run(&format!("d {search}"));
        assert!(told.starts_with("d BAD No CHARSET"), "{told}");
    }
    let told = client.run("e SEARCH SUBJECT \"GRÜßE\"");
    assert!(told.starts_with("* ESEARCH (TAG \"e\") ALL 2\r\ne OK"), "{told}");
}

#[test]
fn esearch_and_its_results() {
    let mut client = client();
    assert_eq!(
        client.run("a SEARCH RETURN (MIN MAX COUNT) NOT FLAGGED"),
        "* ESEARCH (TAG \"a\") MIN 1 MAX 3 COUNT 2\r\na OK SEARCH completed\r\n"
    );
    assert_eq!(
        client.run("a UID SEARCH RETURN () ALL"),
        "* ESEARCH (TAG \"a\") UID ALL 1:3\r\na OK SEARCH completed\r\n"
    );
    assert_eq!(
        client.run("a SEARCH RETURN (COUNT ALL) DELETED"),
        "* ESEARCH (TAG \"a\") COUNT 0\r\na OK SEARCH completed\r\n"
    );
    assert_eq!(client.run("a SEARCH RETURN (SAVE) NOT FLAGGED"), "a OK SEARCH completed\r\n");
    assert_eq!(
        client.run("a FETCH $ UID"),
        "* 1 FETCH (UID 1)\r\n* 3 FETCH (UID 3)\r\na OK FETCH completed\r\n"
    );
    assert_eq!(client.run("a UID SEARCH $ TEXT third"), "* SEARCH 3\r\na OK SEARCH completed\r\n");
    assert_eq!(
        client.run("a SEARCH RETURN (SAVE MIN) ALL"),
        "* ESEARCH (TAG \"a\") MIN 1\r\na OK SEARCH completed\r\n"
    );
    assert_eq!(client.run("a SEARCH $"), "* SEARCH 1\r\na OK SEARCH completed\r\n");
    client.world.borrow_mut().fail_next = Some(crate::session::ask::Failure::Unavailable);
    assert!(client.run("a SEARCH RETURN (SAVE) ALL").starts_with("a NO [NOTSAVED]"));
    assert_eq!(client.run("a SEARCH $"), "* SEARCH\r\na OK SEARCH completed\r\n");
    client.run("a ENABLE IMAP4rev2");
    assert_eq!(client.run("a SEARCH ALL"), "* ESEARCH (TAG \"a\") ALL 1:3\r\na OK SEARCH completed\r\n");
}

#[test]
fn modification_sequences_are_told() {
    let mut client = client();
    assert_eq!(
        client.run("a SEARCH MODSEQ 4"),
        "* OK [HIGHESTMODSEQ 5] Highest modification sequence\r\n* SEARCH 2 3 (MODSEQ 5)\r\na OK SEARCH completed\r\n"
    );
    assert_eq!(
        client.run("a SEARCH RETURN (MAX) MODSEQ 4"),
        "* ESEARCH (TAG \"a\") MAX 3 MODSEQ 4\r\na OK SEARCH completed\r\n"
    );
    assert_eq!(client.run("a SEARCH MODSEQ 44"), "* SEARCH\r\na OK SEARCH completed\r\n");
}
