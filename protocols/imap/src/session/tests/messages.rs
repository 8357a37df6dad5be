use crate::session::testing::{Client, world};

#[test]
fn store_changes_flags() {
    let world = world(&[b"1", b"2", b"3"]);
    let mut client = Client::selected(&world, "INBOX");
    assert_eq!(
        client.run("a STORE 1:2 +FLAGS (\\Deleted)"),
        "* 1 FETCH (FLAGS (\\Deleted))\r\n* 2 FETCH (FLAGS (\\Deleted))\r\na OK STORE completed\r\n"
    );
    assert_eq!(
        client.run("a UID STORE 1 -FLAGS \\Deleted"),
        "* 1 FETCH (UID 1 FLAGS ())\r\na OK STORE completed\r\n"
    );
    assert_eq!(client.run("a STORE 3 FLAGS.SILENT (\\Seen)"), "a OK STORE completed\r\n");
    assert_eq!(
        client.run("a STORE 3 +FLAGS ($Junk)"),
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Junk)\r\n\
         * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Junk \\*)] Flags that are kept\r\n\
         * 3 FETCH (FLAGS (\\Seen $Junk))\r\na OK STORE completed\r\n"
    );
    assert!(client.run("a STORE 4 FLAGS ()").starts_with("a BAD"));
    assert_eq!(client.run("a UID STORE 4 FLAGS ()"), "a OK STORE completed\r\n");
    // All of it was the session's own doing: nothing to ask.
    assert!(!world.borrow().asked.contains(&"Changes".to_owned()), "{:?}", world.borrow().asked);
}

#[test]
fn store_unless_changed() {
    let world = world(&[b"1", b"2", b"3"]);
    let mut client = Client::selected(&world, "INBOX");
    assert_eq!(
        client.run("a STORE 1 +FLAGS (\\Seen)"),
        "* 1 FETCH (FLAGS (\\Seen))\r\na OK STORE completed\r\n"
    );
    assert_eq!(
        client.run("a UID STORE 1:3 (UNCHANGEDSINCE 4) +FLAGS.SILENT (\\Deleted)"),
        "* OK [HIGHESTMODSEQ 5] Highest modification sequence\r\n\
         * 2 FETCH (UID 2 MODSEQ (6))\r\n* 3 FETCH (UID 3 MODSEQ (6))\r\n\
         a OK [MODIFIED 1] Some messages were changed by others\r\n"
    );
    assert_eq!(
        client.run("a STORE 3,1 (UNCHANGEDSINCE 5) FLAGS (\\Seen)"),
        "* 1 FETCH (FLAGS (\\Seen) MODSEQ (5))\r\na OK [MODIFIED 3] Some messages were changed by others\r\n"
    );
    assert_eq!(
        client.run("a FETCH 1:3 (FLAGS) (CHANGEDSINCE 5)"),
        "* 2 FETCH (FLAGS (\\Deleted) MODSEQ (6))\r\n* 3 FETCH (FLAGS (\\Deleted) MODSEQ (6))\r\n\
         a OK FETCH completed\r\n"
    );
}

#[test]
fn store_goes_in_batches() {
    let world = world(&vec![&b"x"[..]; 25]);
    let config = crate::session::Config {
        login_without_tls: true,
        store_batch_messages: 10,
        unsent_bytes_max: 1,
        ..Default::default()
    };
    let mut client = Client::with(&world, config);
    client.run("a SELECT INBOX");
    world.borrow_mut().asked.clear();
    let told = client.run("a STORE 1:* +FLAGS (\\Flagged)");
    assert_eq!(told.matches("FETCH (FLAGS (\\Flagged))").count(), 25);
    assert_eq!(world.borrow().asked, ["Store", "Store", "Store"]);
}

#[test]
fn expunge_removes() {
    // RFC 9051 §6.4.3, but from the highest number down.
    let world = world(&[b"1", b"2", b"3", b"4"]);
    let mut client = Client::selected(&world, "INBOX");
    client.run("a STORE 1:3 +FLAGS.SILENT (\\Deleted)");
    assert_eq!(client.run("a UID EXPUNGE 2,4"), "* 2 EXPUNGE\r\na OK EXPUNGE completed\r\n");
    assert_eq!(client.run("a EXPUNGE"), "* 2 EXPUNGE\r\n* 1 EXPUNGE\r\na OK EXPUNGE completed\r\n");
    assert_eq!(client.run("a EXPUNGE"), "a OK EXPUNGE completed\r\n");
    assert!(client.run("a FETCH 1 UID").starts_with("* 1 FETCH (UID 4)\r\n"));
}
