use crate::session::ask::Failure;
use crate::session::testing::{Client, world};
use crate::session::{Answer, Config, Session};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn without_tls_no_password_is_taken() {
    let world = world(&[]);
    let mut client = Client::connect(&world, Config::default());
    let greeting = client.text();
    assert!(greeting.starts_with("* OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ "), "{greeting}");
    assert!(greeting.contains(" STARTTLS LOGINDISABLED]"), "{greeting}");
    assert!(client.run("a LOGIN user secret").starts_with("a NO [PRIVACYREQUIRED]"));
    assert!(client.run("a AUTHENTICATE PLAIN AHVzZXIAc2VjcmV0").starts_with("a NO [PRIVACYREQUIRED]"));
    assert!(world.borrow().asked.is_empty());
    assert!(client.run("b SELECT INBOX").starts_with("b BAD Log in first"));
}

#[test]
fn starttls_throws_away_what_was_sent_in_plain() {
    let mut client = Client::connect(&world(&[]), Config::default());
    let told = client.run("a STARTTLS\r\nb NOOP");
    assert!(told.ends_with("a OK Begin TLS negotiation now\r\n"), "{told}");
    assert!(client.handshake);
    client.secured();
    assert_eq!(client.text(), "");
    let capabilities = client.run("c CAPABILITY");
    assert!(capabilities.contains(" AUTH=PLAIN\r\n") && !capabilities.contains("STARTTLS"), "{capabilities}");
    assert!(client.run("d STARTTLS").starts_with("d BAD"));
    assert!(client.run("e LOGIN user secret").starts_with("e OK [CAPABILITY IMAP4rev1 IMAP4rev2 "));
}

#[test]
fn the_ways_to_log_in() {
    let config = Config { login_without_tls: true, login_failures_max: 100, ..Config::default() };
    for (sent, expected) in [
        ("a LOGIN user secret", "a OK [CAPABILITY "),
        ("a LOGIN {4+}\r\nuser {6+}\r\nsecret", "a OK [CAPABILITY "),
        ("a LOGIN user wrong", "a NO [AUTHENTICATIONFAILED] "),
        ("a LOGIN late secret", "a NO [UNAVAILABLE] "),
        ("a AUTHENTICATE PLAIN AHVzZXIAc2VjcmV0", "a OK [CAPABILITY "),
        ("a AUTHENTICATE PLAIN\r\nAHVzZXIAc2VjcmV0", "+ \r\na OK [CAPABILITY "),
        ("a AUTHENTICATE PLAIN b3RoZXIAdXNlcgBzZWNyZXQ=", "a NO [AUTHORIZATIONFAILED] "),
        ("a AUTHENTICATE PLAIN\r\n*", "+ \r\na BAD Cancelled"),
        ("a AUTHENTICATE PLAIN\r\n!!", "+ \r\na BAD Invalid base64"),
        ("a AUTHENTICATE PLAIN dXNlcg==", "a BAD "),
        ("a AUTHENTICATE PLAIN =", "a BAD "),
        ("a AUTHENTICATE CRAM-MD5", "a NO "),
    ] {
        let mut client = Client::connect(&world(&[]), config.clone());
        let told = client.run(sent);
        assert!(told.starts_with(expected), "{sent}: {told}");
        let in_now = expected.contains("a OK");
        assert_eq!(client.run("b LOGIN user secret").starts_with("b BAD Already"), in_now);
    }
}

#[test]
fn guessing_ends_the_session() {
    let config = Config { login_without_tls: true, ..Config::default() };
    let mut client = Client::connect(&world(&[]), config);
    client.run("a LOGIN user 1");
    client.run("b LOGIN user 2");
    assert!(!client.closed);
    let told = client.run("c LOGIN user 3");
    assert!(told.starts_with("c NO [AUTHENTICATIONFAILED]") && told.contains("* BYE "), "{told}");
    assert!(client.closed);
}

#[test]
fn bad_commands_end_the_session() {
    let mut client = Client::connect(&world(&[]), Config::default());
    for _ in 0..4 {
        assert!(client.run("a GET / HTTP/1.1").starts_with("a BAD"));
    }
    assert!(!client.closed);
    assert!(client.run("a NO").contains("* BYE"));
    assert!(client.closed);

    let mut client = Client::new(&world(&[]));
    for _ in 0..100 {
        assert!(client.run("a FOO").starts_with("a BAD"));
        assert!(client.run("b NOOP").starts_with("b OK"));
    }
    assert!(!client.closed);
}

#[test]
fn time_runs_out() {
    let mut client = Client::connect(&world(&[]), Config::default());
    client.clock += std::time::Duration::from_secs(59);
    client.run("a NOOP");
    assert_eq!(client.wait(0), "");
    assert!(!client.closed);
    // What the client says does not lengthen the time for the login.
    assert!(client.wait(1).starts_with("* BYE"));
    assert!(client.closed);

    let mut client = Client::new(&world(&[]));
    client.clock += std::time::Duration::from_secs(1700);
    client.run("a NOOP");
    assert_eq!(client.wait(1700), "");
    assert_eq!(client.timer, Some(std::time::Duration::from_secs(100)));
    assert!(client.wait(100).starts_with("* BYE"));
}

#[test]
fn logout_and_shutdown() {
    use estafette_machine::Machine;
    let mut client = Client::new(&world(&[]));
    let told = client.run("a LOGOUT\r\nb NOOP");
    assert!(told.starts_with("* BYE ") && told.ends_with("\r\na OK LOGOUT completed\r\n"), "{told}");
    assert!(client.closed);

    let mut client = Client::selected(&world(&[]), "INBOX");
    client.take();
    client.step(|session, now, out| session.shutdown(now, out));
    assert!(client.text().starts_with("* BYE [UNAVAILABLE]"));
    assert!(client.closed);

    // In the middle of a command, its end is told first.
    let mut client = Client::selected(&world(&[]), "INBOX");
    client.slow = true;
    client.run("a NOOP");
    client.step(|session, now, out| session.shutdown(now, out));
    assert_eq!(client.text(), "");
    client.answer();
    let told = client.text();
    assert!(told.starts_with("a OK") && told.contains("\r\n* BYE"), "{told}");
}

#[test]
fn a_half_closed_client_gets_its_answers() {
    use estafette_machine::Machine;
    let mut client = Client::new(&world(&[]));
    client.slow = true;
    client.run("a STATUS INBOX (MESSAGES)\r\nb STATUS INBOX (UNSEEN)");
    client.step(|session, now, out| session.closed(now, out));
    assert!(!client.closed);
    client.slow = false;
    client.step(|_, _, _| {});
    let told = client.text();
    assert!(told.contains("a OK") && told.contains("b OK"), "{told}");
    assert_eq!(client.wait(0), "");
    assert!(client.closed);
}

#[test]
fn the_small_commands() {
    let mut client = Client::new(&world(&[]));
    assert_eq!(
        client.run("a ID (\"name\" \"sqm\\\"v\")"),
        "* ID (\"name\" \"Estafette\")\r\na OK ID completed\r\n"
    );
    assert_eq!(
        client.run("a ENABLE CONDSTORE X-GOOD UTF8=ACCEPT"),
        "* ENABLED CONDSTORE UTF8=ACCEPT\r\na OK ENABLE completed\r\n"
    );
    assert_eq!(client.run("a ENABLE CONDSTORE"), "* ENABLED\r\na OK ENABLE completed\r\n");
    assert_eq!(
        client.run("a NAMESPACE"),
        "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\na OK NAMESPACE completed\r\n"
    );
    assert!(client.run("a CAPABILITY").contains(" APPENDLIMIT=1000000\r\na OK"));
    assert!(client.run("a CHECK").starts_with("a BAD No mailbox selected"));
    assert!(client.run("a SETQUOTA \"\" (STORAGE 1)").starts_with("a NO [NOPERM]"));
    assert!(client.run("a GETQUOTA x").starts_with("a NO [NONEXISTENT]"));
    assert!(client.run("a GETQUOTA \"\"").starts_with("a NO [NONEXISTENT]"));
    client.world.borrow_mut().quota.limit_bytes = Some(10 * 1024);
    client.world.borrow_mut().quota.used_bytes = 1025;
    assert_eq!(
        client.run("a GETQUOTAROOT INBOX"),
        "* QUOTAROOT INBOX \"\"\r\n* QUOTA \"\" (STORAGE 2 10)\r\na OK GETQUOTAROOT completed\r\n"
    );
}

#[test]
fn a_session_that_was_admitted_elsewhere_begins_behind_its_login() {
    let config = Config { starttls: true, ..Config::default() };
    let mut client = Client::at(&world(&[b"one"]), Session::admitted(Arc::new(config), 1000));
    assert_eq!(client.text(), "", "its client has been greeted");
    assert_eq!(client.timer, Some(Duration::from_secs(30 * 60)));
    let told = client.run("a CAPABILITY");
    assert!(told.contains(" IDLE ") && told.contains(" APPENDLIMIT=1000\r\n"), "{told}");
    assert!(!told.contains("STARTTLS") && !told.contains("AUTH="), "{told}");
    assert!(client.run("b LOGIN user secret").starts_with("b BAD Already"));
    assert!(client.run("c STARTTLS").starts_with("c BAD"));
    assert!(client.run("d SELECT INBOX").contains("* 1 EXISTS"));
    let told = client.run("e APPEND INBOX {1001}");
    assert!(told.contains("TOOBIG"), "{told}");
    // The time and the bad commands of one who has logged in.
    let mut client = Client::at(&world(&[]), Session::admitted(Arc::new(Config::default()), 1000));
    assert_eq!(client.wait(29 * 60), "");
    (0..10).for_each(|_| assert!(client.run("a FOO").starts_with("a BAD")));
    assert!(!client.closed);
    assert!(client.wait(31 * 60).starts_with("* BYE"));
}

#[test]
fn a_session_whose_account_is_elsewhere_ends_with_words() {
    use estafette_machine::Machine;
    let mut client = Client::new(&world(&[]));
    client.slow = true;
    client.run("a STATUS INBOX (MESSAGES)");
    client.step(|session, now, out| session.answered(now, Answer::Failed(Failure::Elsewhere), out));
    let told = client.text();
    assert!(told.starts_with("* BYE [UNAVAILABLE] ") && !told.contains("\r\na "), "{told}");
    assert!(client.closed);
}
