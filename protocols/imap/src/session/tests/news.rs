use crate::session::Config;
use crate::session::testing::{Client, world};

#[test]
fn others_are_seen_and_numbers_hold() {
    let world = world(&[b"1", b"2", b"3", b"4"]);
    let mut one = Client::selected(&world, "INBOX");
    let mut two = Client::selected(&world, "INBOX");
    one.run("a STORE 2 +FLAGS (\\Deleted)");
    one.run("a EXPUNGE");
    world.borrow_mut().deliver("INBOX", b"5");
    two.notify();
    // Commands with sequence numbers do not take messages away (RFC 9051 §7.5.1).
    assert_eq!(two.run("a FETCH 3 UID"), "* 3 FETCH (UID 3)\r\n* 5 EXISTS\r\na OK FETCH completed\r\n");
    assert_eq!(two.run("a SEARCH ALL"), "* SEARCH 1 3 4 5\r\na OK SEARCH completed\r\n");
    assert_eq!(
        two.run("a STORE 2:3 +FLAGS (\\Seen)"),
        "* 3 FETCH (FLAGS (\\Seen))\r\na NO [EXPUNGEISSUED] Some of the messages no longer exist\r\n"
    );
    assert_eq!(
        two.run("a FETCH 2:3 UID"),
        "* 3 FETCH (UID 3)\r\na NO [EXPUNGEISSUED] Some of the messages no longer exist\r\n"
    );
    // Those with UIDs do.
    assert_eq!(
        two.run("a UID FETCH 3 FLAGS"),
        "* 3 FETCH (UID 3 FLAGS (\\Seen))\r\n* 2 EXPUNGE\r\na OK FETCH completed\r\n"
    );
    assert_eq!(one.run("a NOOP"), "* 2 FETCH (FLAGS (\\Seen))\r\n* 4 EXISTS\r\na OK NOOP completed\r\n");
    assert_eq!(one.run("a NOOP"), "a OK NOOP completed\r\n");
}

#[test]
fn a_message_that_came_and_went_is_never_seen() {
    let world = world(&[b"1"]);
    let mut client = Client::selected(&world, "INBOX");
    world.borrow_mut().deliver("INBOX", b"2");
    world.borrow_mut().folder("INBOX").mails.remove(&2);
    assert_eq!(client.run("a NOOP"), "a OK NOOP completed\r\n");
}

#[test]
fn idle_tells_as_it_happens() {
    let world = world(&[b"1", b"2"]);
    let mut client = Client::selected(&world, "INBOX");
    assert_eq!(client.run("a IDLE"), "+ idling\r\n");
    assert_eq!(client.notify(), "");
    world.borrow_mut().deliver("INBOX", b"3");
    assert_eq!(client.notify(), "* 3 EXISTS\r\n");
    let mut other = Client::selected(&world, "INBOX");
    other.run("b UID STORE 1 +FLAGS (\\Deleted)");
    other.run("b EXPUNGE");
    other.run("b STORE 1 FLAGS ($New)");
    let told = client.notify();
    assert!(told.starts_with("* FLAGS (") && told.contains("$New"), "{told}");
    assert!(told.ends_with("* 2 FETCH (FLAGS ($New))\r\n* 1 EXPUNGE\r\n"), "{told}");
    assert_eq!(client.wait(240), "* OK Still here\r\n");
    assert_eq!(client.run("done"), "a OK IDLE completed\r\n");

    client.run("c IDLE");
    assert!(client.run("d NOOP").starts_with("c BAD"));
    // Without a mailbox there is nothing to tell, and that is fine.
    client.run("e UNSELECT");
    assert_eq!(
        client.run("f IDLE\r\nDONE\r\ng NOOP"),
        "+ idling\r\nf OK IDLE completed\r\ng OK NOOP completed\r\n"
    );
}

#[test]
fn idle_ends_with_the_time() {
    let world = world(&[]);
    let mut client = Client::selected(&world, "INBOX");
    client.run("a IDLE");
    for _ in 0..7 {
        assert_eq!(client.wait(240), "* OK Still here\r\n");
    }
    assert!(client.wait(240).starts_with("* BYE"));
    assert!(client.closed);
}

#[test]
fn idle_news_that_come_while_the_engine_is_asked_are_told() {
    let world = world(&[]);
    let mut client = Client::selected(&world, "INBOX");
    client.slow = true;
    assert_eq!(client.run("a IDLE\r\nDONE"), "+ idling\r\n");
    world.borrow_mut().deliver("INBOX", b"1");
    client.answer();
    assert_eq!(client.text(), "* 1 EXISTS\r\na OK IDLE completed\r\n");
}

#[test]
fn long_news_come_in_batches() {
    let world = world(&vec![&b"x"[..]; 50]);
    let config =
        Config { login_without_tls: true, changes_batch: 7, unsent_bytes_max: 1, ..Config::default() };
    let mut client = Client::with(&world, config);
    client.run("a SELECT INBOX");
    let mut other = Client::selected(&world, "INBOX");
    for number in 1..=50 {
        other.run(&format!("a STORE {number} +FLAGS (\\Deleted)"));
    }
    let told = client.run("b NOOP");
    assert_eq!(told.matches("FETCH (FLAGS (\\Deleted))").count(), 50, "{told}");
    other.run("a EXPUNGE");
    // The peer takes nothing: no more than a batch is printed.
    client.stuck = true;
    assert_eq!(client.run("c NOOP").matches("EXPUNGE").count(), 7);
    client.stuck = false;
    client.step(|_, _, _| {});
    let told = client.text();
    assert_eq!(told.matches("EXPUNGE").count(), 43);
    assert!(told.ends_with("* 1 EXPUNGE\r\nc OK NOOP completed\r\n"));
}

#[test]
fn a_deleted_mailbox_ends_the_session() {
    let world = world(&[]);
    world.borrow_mut().folder("old");
    let mut client = Client::selected(&world, "old");
    world.borrow_mut().folders.remove("old");
    let told = client.run("a NOOP");
    assert!(told.starts_with("* BYE "), "{told}");
    assert!(client.closed);
}

#[test]
fn who_asks_for_news_is_told_that_they_cannot_be_known() {
    let world = world(&[]);
    let mut client = Client::selected(&world, "INBOX");
    world.borrow_mut().deliver("INBOX", b"1");
    for command in ["NOOP", "CHECK"] {
        world.borrow_mut().fail_next = Some(crate::session::ask::Failure::Unavailable);
        let told = client.run(&format!("a {command}"));
        assert!(told.starts_with("a NO [UNAVAILABLE] "), "{told}");
    }
    assert_eq!(client.run("a NOOP"), "* 1 EXISTS\r\na OK NOOP completed\r\n");
}

/// Who did not ask for them hears of them later.
#[test]
fn an_engine_that_cannot_tell_the_news_does_not_fail_other_commands() {
    let world = world(&[]);
    let mut client = Client::selected(&world, "INBOX");
    world.borrow_mut().deliver("INBOX", b"1");
    world.borrow_mut().fail_next = Some(crate::session::ask::Failure::Unavailable);
    let told = client.run("a IDLE");
    assert!(told.starts_with("+ "), "{told}");
    assert_eq!(client.run("DONE"), "a OK IDLE completed\r\n");
    assert_eq!(client.run("a NOOP"), "* 1 EXISTS\r\na OK NOOP completed\r\n");
}
