use crate::session::SystemFlags;
use crate::session::ask::Failure;
use crate::session::testing::{Client, uid, world};

#[test]
fn select_tells_all() {
    let world = world(&[b"a: b\r\n\r\n", b"\r\n"]);
    world.borrow_mut().folder("INBOX").mails.get_mut(&1).unwrap().flags.system = SystemFlags::SEEN;
    let mut client = Client::new(&world);
    assert_eq!(
        client.run("a SELECT inbox"),
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n\
         * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] Flags that are kept\r\n\
         * 2 EXISTS\r\n\
         * 0 RECENT\r\n\
         * OK [UNSEEN 2] First unseen message\r\n\
         * OK [UIDVALIDITY 1001] UIDs are valid\r\n\
         * OK [UIDNEXT 3] Predicted next UID\r\n\
         * OK [HIGHESTMODSEQ 3] Highest modification sequence\r\n\
         * OK [MAILBOXID (F1)] Mailbox identifier\r\n\
         a OK [READ-WRITE] SELECT completed\r\n"
    );
    client.run("b ENABLE IMAP4rev2");
    let told = client.run("c EXAMINE INBOX");
    assert!(told.starts_with("* OK [CLOSED] "), "{told}");
    assert!(told.contains("* OK [PERMANENTFLAGS ()] Read-only mailbox\r\n"), "{told}");
    assert!(told.contains("* LIST () \"/\" INBOX\r\n") && !told.contains("RECENT"), "{told}");
    assert!(told.ends_with("c OK [READ-ONLY] EXAMINE completed\r\n"), "{told}");
    for command in ["STORE 1 FLAGS ()", "EXPUNGE", "MOVE 1 Drafts", "UID EXPUNGE 1"] {
        assert!(client.run(&format!("d {command}")).starts_with("d NO [READ-ONLY]"), "{command}");
    }
    // A failed SELECT leaves nothing selected (RFC 9051 §6.3.2).
    assert!(client.run("e SELECT nowhere").contains("e NO [NONEXISTENT]"));
    assert!(client.run("f CLOSE").starts_with("f BAD No mailbox selected"));
}

#[test]
fn close_removes_and_unselect_does_not() {
    let world = world(&[b"1\r\n", b"2\r\n"]);
    let mut client = Client::selected(&world, "INBOX");
    client.run("a STORE 1 +FLAGS (\\Deleted)");
    assert_eq!(client.run("b UNSELECT"), "b OK UNSELECT completed\r\n");
    assert_eq!(world.borrow_mut().folder("INBOX").mails.len(), 2);
    client.run("c EXAMINE INBOX");
    assert_eq!(client.run("d CLOSE"), "d OK CLOSE completed\r\n");
    assert_eq!(world.borrow_mut().folder("INBOX").mails.len(), 2);
    client.run("e SELECT INBOX");
    assert_eq!(client.run("f CLOSE"), "f OK CLOSE completed\r\n");
    assert_eq!(world.borrow_mut().folder("INBOX").mails.keys().copied().collect::<Vec<_>>(), [2]);
}

#[test]
fn names_are_made_renamed_and_deleted() {
    let mut client = Client::new(&world(&[]));
    assert_eq!(client.run("a CREATE owatagusiam/"), "a OK [MAILBOXID (F3)] CREATE completed\r\n");
    assert!(client.run("a CREATE owatagusiam").starts_with("a NO [ALREADYEXISTS]"));
    assert!(client.run("a CREATE Sent (USE (\\Sent))").starts_with("a OK"));
    for bad in ["a//b", "/a", "\"a*\"", "\"\"", "\"%\"", "/"] {
        assert!(client.run(&format!("a CREATE {bad}")).starts_with("a NO [CANNOT]"), "{bad}");
    }
    assert!(client.run("a CREATE inbox").starts_with("a NO [ALREADYEXISTS]"));
    assert!(client.run("a DELETE inbox").starts_with("a NO [CANNOT]"));
    assert!(client.run("a DELETE nothing").starts_with("a NO [NONEXISTENT]"));
    assert!(client.run("a RENAME owatagusiam INBOX").starts_with("a NO [ALREADYEXISTS]"));
    assert!(client.run("a RENAME owatagusiam owatagusiam/x").starts_with("a NO [CANNOT]"));
    assert_eq!(client.run("a RENAME owatagusiam blurdybloop"), "a OK RENAME completed\r\n");
    assert_eq!(client.run("a DELETE blurdybloop"), "a OK DELETE completed\r\n");
    assert!(client.run("a SELECT Sent").contains("a OK"));
    assert!(client.run("a DELETE Sent").starts_with("a OK"));
    assert!(client.run("a NOOP").starts_with("a OK"));
    assert!(client.run("a CHECK").starts_with("a BAD No mailbox selected"));
}

#[test]
fn what_cannot_be_deleted_stays_selected() {
    let world = world(&[b"1\r\n"]);
    world.borrow_mut().folder("a");
    let mut client = Client::selected(&world, "a");
    world.borrow_mut().fail_next = Some(Failure::Unavailable);
    assert!(client.run("a DELETE a").starts_with("a NO [UNAVAILABLE]"));
    assert!(client.run("b CHECK").ends_with("b OK CHECK completed\r\n"));
    assert_eq!(client.run("c DELETE a"), "c OK DELETE completed\r\n");
    assert!(client.run("d CHECK").starts_with("d BAD No mailbox selected"));
}

/// RFC 9051 §6.3.6: INBOX stays, and is empty.
#[test]
fn a_renamed_inbox_stays_selected() {
    let world = world(&[b"1\r\n", b"2\r\n"]);
    let mut watching = Client::selected(&world, "INBOX");
    let mut client = Client::selected(&world, "INBOX");
    let gone = "* 2 EXPUNGE\r\n* 1 EXPUNGE\r\n";
    let told = client.run("a RENAME INBOX old/mail\r\na NOOP");
    assert_eq!(told, format!("a OK RENAME completed\r\n{gone}a OK NOOP completed\r\n"));
    assert_eq!(watching.run("b NOOP"), format!("{gone}b OK NOOP completed\r\n"));
    world.borrow_mut().deliver("INBOX", b"3\r\n");
    assert!(watching.run("c NOOP").starts_with("* 1 EXISTS\r\n"));
    let told = client.run("d SELECT old/mail");
    assert!(told.contains("* 2 EXISTS\r\n"), "{told}");
}

/// RFC 9051 §6.3.9.7: who gives a name in another form hears how the mailbox is really called.
#[test]
fn names_are_normalized() {
    let world = world(&[]);
    let mut client = Client::new(&world);
    assert!(client.run("a CREATE A&AwM-").starts_with("a OK"), "quietly before IMAP4rev2");
    client.run("b ENABLE IMAP4rev2");
    let made = "* LIST () \"/\" \"b\u{e9}\" (\"OLDNAME\" (\"be\u{301}\"))\r\n";
    assert!(client.run("c CREATE \"be\u{301}/\"").starts_with(made));
    assert_eq!(client.run("d CREATE plain/").matches("LIST").count(), 0);
    let told = client.run("e SELECT \"be\u{301}\"");
    assert!(told.contains(made), "{told}");
    assert!(client.run("f SELECT \"b\u{e9}\"").contains("* LIST () \"/\" \"b\u{e9}\"\r\n"));
    assert_eq!(
        client.run("g RENAME \"be\u{301}\" c"),
        "* LIST () \"/\" c (\"OLDNAME\" (\"be\u{301}\"))\r\ng OK RENAME completed\r\n"
    );
    assert_eq!(client.run("h RENAME c d"), "h OK RENAME completed\r\n");
    assert_eq!(
        client.run("i RENAME d inbox/x"),
        "* LIST () \"/\" INBOX/x (\"OLDNAME\" (d))\r\ni OK RENAME completed\r\n"
    );
    // The selected mailbox went along under each of its names.
    assert_eq!(
        client.run("j DELETE Inbox/x"),
        "* LIST (\\NonExistent) \"/\" INBOX/x (\"OLDNAME\" (Inbox/x))\r\nj OK DELETE completed\r\n"
    );
    assert!(client.run("k CHECK").starts_with("k BAD No mailbox selected"));
    let names: Vec<String> = world.borrow().folders.keys().cloned().collect();
    assert_eq!(names, ["Drafts", "INBOX", "plain", "\u{c3}"]);
}

#[test]
fn list_shows_the_tree() {
    let world = world(&[]);
    for name in ["foo", "foo/bar", "zap/quux", "Gelöscht"] {
        world.borrow_mut().folder(name);
    }
    let mut client = Client::new(&world);
    assert_eq!(client.run("a LIST \"\" \"\""), "* LIST (\\Noselect) \"/\" \"\"\r\na OK LIST completed\r\n");
    assert_eq!(
        client.run("a LIST \"\" %"),
        "* LIST (\\HasNoChildren \\Drafts) \"/\" Drafts\r\n\
         * LIST (\\HasNoChildren) \"/\" Gel&APY-scht\r\n\
         * LIST (\\HasNoChildren) \"/\" INBOX\r\n\
         * LIST (\\HasChildren) \"/\" foo\r\n\
         * LIST (\\Noselect \\HasChildren) \"/\" zap\r\n\
         a OK LIST completed\r\n"
    );
    assert_eq!(
        client.run("a LIST foo/ *"),
        "* LIST (\\HasNoChildren) \"/\" foo/bar\r\na OK LIST completed\r\n"
    );
    assert!(client.run("a LIST \"\" inbox").starts_with("* LIST (\\HasNoChildren) \"/\" INBOX\r\n"));
    assert_eq!(client.run("a LIST (SPECIAL-USE) \"\" *").matches("* LIST").count(), 1);
    client.run("a ENABLE IMAP4rev2");
    let told = client.run("a LIST \"\" (z% G*)");
    assert!(told.contains("* LIST (\\NonExistent \\HasChildren) \"/\" zap\r\n"), "{told}");
    assert!(told.contains("\"/\" \"Gelöscht\"\r\n"), "{told}");
}

#[test]
fn list_shows_subscriptions_and_counts() {
    let world = world(&[b"12345"]);
    world.borrow_mut().folder("foo/bar/baz");
    let mut client = Client::new(&world);
    for name in ["INBOX", "foo/bar/baz", "gone/away"] {
        assert!(client.run(&format!("a SUBSCRIBE {name}")).starts_with("a OK"));
    }
    assert_eq!(
        client.run("a LIST (SUBSCRIBED) \"\" *"),
        "* LIST (\\HasNoChildren \\Subscribed) \"/\" INBOX\r\n\
         * LIST (\\HasNoChildren \\Subscribed) \"/\" foo/bar/baz\r\n\
         * LIST (\\NonExistent \\HasNoChildren \\Subscribed) \"/\" gone/away\r\n\
         a OK LIST completed\r\n"
    );
    let told = client.run("a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" f%");
    assert_eq!(
        told,
        "* LIST (\\NonExistent \\HasChildren) \"/\" foo (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\na OK LIST completed\r\n"
    );
    assert_eq!(
        client.run("a LSUB \"\" %"),
        "* LSUB () \"/\" INBOX\r\n\
         * LSUB (\\Noselect) \"/\" foo\r\n\
         * LSUB (\\Noselect) \"/\" gone\r\n\
         a OK LSUB completed\r\n"
    );
    assert_eq!(client.run("a LSUB \"\" *").matches("* LSUB").count(), 3);
    assert_eq!(
        client.run("a LIST \"\" INBOX RETURN (SUBSCRIBED STATUS (MESSAGES SIZE UIDNEXT))"),
        "* LIST (\\HasNoChildren \\Subscribed) \"/\" INBOX\r\n\
         * STATUS INBOX (MESSAGES 1 SIZE 5 UIDNEXT 2)\r\n\
         a OK LIST completed\r\n"
    );
    client.run("a UNSUBSCRIBE gone/away");
    assert_eq!(client.run("a LSUB \"\" *").matches("* LSUB").count(), 2);
}

#[test]
fn status_counts() {
    let world = world(&[b"12345", b"1"]);
    let mut client = Client::new(&world);
    assert_eq!(
        client.run(
            "a STATUS INBOX (MESSAGES UNSEEN SIZE DELETED DELETED-STORAGE RECENT APPENDLIMIT MAILBOXID)"
        ),
        "* STATUS INBOX (MESSAGES 2 UNSEEN 2 SIZE 6 DELETED 0 DELETED-STORAGE 0 RECENT 0 APPENDLIMIT 1000000 \
         MAILBOXID (F1))\r\na OK STATUS completed\r\n"
    );
    // Asking for the modification sequence enables CONDSTORE.
    client.run("a STATUS INBOX (HIGHESTMODSEQ UIDVALIDITY)");
    client.run("a SELECT INBOX");
    let told = client.run("a STORE 1 +FLAGS.SILENT (\\Seen)");
    assert_eq!(told, "* 1 FETCH (MODSEQ (4))\r\na OK STORE completed\r\n");
    assert!(client.run("a STATUS nothing (MESSAGES)").starts_with("a NO [NONEXISTENT]"));
}

#[test]
fn append_adds() {
    let world = world(&[]);
    let mut client = Client::selected(&world, "INBOX");
    let told = client.run("a APPEND INBOX (\\Seen $Mdn) \" 7-Feb-1994 21:52:25 -0800\" {5+}\r\nhello");
    assert_eq!(told, "* 1 EXISTS\r\na OK [APPENDUID 1001 1] APPEND completed\r\n");
    let told = client.run("b FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])");
    assert!(told.starts_with("* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Mdn)\r\n"), "{told}");
    assert!(
        told.contains(
            "* 1 FETCH (FLAGS (\\Seen $Mdn) INTERNALDATE \" 7-Feb-1994 21:52:25 -0800\" RFC822.SIZE 5 BODY[] {5}\r\nhello)\r\n"
        ),
        "{told}"
    );
    // With synchronization.
    client.take();
    client.send(b"c APPEND Drafts {5}\r\n");
    assert!(client.text().starts_with("+ "));
    client.send(b"hello\r\n");
    assert_eq!(client.text(), "c OK [APPENDUID 1002 1] APPEND completed\r\n");
    assert!(client.run("d APPEND nowhere {1+}\r\nx").starts_with("d NO [TRYCREATE]"));
    assert!(client.run("d APPEND INBOX {0+}\r\n").starts_with("d NO "));
    assert!(client.run("d APPEND INBOX ~{3+}\r\na\0b").starts_with("d NO [UNKNOWN-CTE]"));
    assert!(client.run("d APPEND INBOX UTF8 (~{1+}\r\nx)").starts_with("d BAD"));
    assert!(client.run("d APPEND INBOX {1+}\r\nx {1+}\r\ny").starts_with("d BAD"));
    assert!(client.run("d APPEND INBOX {2000000}").starts_with("d NO [TOOBIG]"));
    client.world.borrow_mut().fail_next = Some(crate::session::ask::Failure::OverQuota);
    assert!(client.run("d APPEND INBOX {1+}\r\nx").starts_with("d NO [OVERQUOTA]"));
    assert_eq!(world.borrow_mut().folder("INBOX").mails.len(), 1);
}

#[test]
fn copy_and_move() {
    let world = world(&[b"1\r\n", b"2\r\n", b"3\r\n"]);
    let mut client = Client::selected(&world, "INBOX");
    assert_eq!(client.run("a COPY 1:2 Drafts"), "a OK [COPYUID 1002 1:2 1:2] COPY completed\r\n");
    assert!(client.run("a COPY 1 nowhere").starts_with("a NO [TRYCREATE]"));
    assert!(client.run("a COPY 4 Drafts").starts_with("a BAD"));
    assert_eq!(client.run("a UID COPY 44 Drafts"), "a OK No messages\r\n");
    assert_eq!(client.run("a COPY 1 INBOX"), "* 4 EXISTS\r\na OK [COPYUID 1001 1 4] COPY completed\r\n");
    assert_eq!(
        client.run("a MOVE 1,3 Drafts"),
        "* OK [COPYUID 1002 1,3 3:4] Messages moved\r\n* 3 EXPUNGE\r\n* 1 EXPUNGE\r\na OK MOVE completed\r\n"
    );
    assert_eq!(
        client.run("a UID MOVE 2:4 Drafts"),
        "* OK [COPYUID 1002 2,4 5:6] Messages moved\r\n* 2 EXPUNGE\r\n* 1 EXPUNGE\r\na OK MOVE completed\r\n"
    );
    assert_eq!(world.borrow_mut().folder("Drafts").mails.len(), 6);
    assert_eq!(world.borrow_mut().deliver("INBOX", b"5"), uid(5));
    assert_eq!(client.run("a NOOP"), "* 1 EXISTS\r\na OK NOOP completed\r\n");
}

#[test]
fn the_selected_mailbox_keeps_its_name_up_to_date() {
    let world = world(&[b"1\r\n"]);
    world.borrow_mut().deliver("a/b", b"2\r\n");
    let mut client = Client::selected(&world, "a/b");
    client.run("a RENAME a c");
    client.run("b RENAME a/b c/b");
    assert!(client.run("c NOOP").starts_with("c OK"));
    assert_eq!(client.run("d DELETE c/b"), "d OK DELETE completed\r\n");
    assert!(client.run("e CLOSE").starts_with("e BAD No mailbox selected"));
}
