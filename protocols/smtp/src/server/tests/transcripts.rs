//! Whole dialogues, after the examples of the standards.

use super::*;
use estafette_types::{BodyType, DsnNotify, DsnReturn};

const EHLO: &str = "S: 220 mx.example.org ESMTP Estafette
    C: EHLO client.example.net
    S: 250-mx.example.org
    S: 250-PIPELINING
    S: 250-SIZE 52428800
    S: 250-8BITMIME
    S: 250-ENHANCEDSTATUSCODES
    S: 250-DSN
    S: 250-CHUNKING
    S: 250-BINARYMIME
    S: 250-SMTPUTF8
    S: 250-STARTTLS
    S: 250 LIMITS MAILMAX=10000 RCPTMAX=1000\n";

fn mx(rest: &str) -> Driver {
    play(&config(Kind::Mx), &format!("{EHLO}{rest}"))
}

/// RFC 5321 appendix D.1, with RFC 2034 codes.
#[test]
fn typical_transaction() {
    let driver = mx("C: MAIL FROM:<smith@bar.example>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<jones@foo.example>
        S: 250 2.1.5 recipient ok
        C: RCPT TO:<unknown@foo.example>
        S: 550 5.1.1 no such user
        C: RCPT TO:<over@foo.example>
        S: 452 4.2.2 temporary failure: user overquota
        C: RCPT TO:<brown@foo.example>
        S: 250 2.1.5 recipient ok
        C: DATA
        S: 354 end data with <CR><LF>.<CR><LF>
        C: Blah blah blah...
        C: ..stuffed
        C: .
        S: 250 2.0.0 taken for jones
        C: QUIT
        S: 221 2.0.0 bye");
    assert!(driver.closed);
    let delivery = &driver.delivered[0];
    assert_eq!(delivery.body.concat(), b"Blah blah blah...\r\n.stuffed\r\n");
    assert_eq!(delivery.envelope.recipients.len(), 2);
    assert_eq!(delivery.protocol, "ESMTP");
    assert_eq!(delivery.peer.hello, "client.example.net");
}

/// RFC 5321 appendix D.2: RSET forgets the transaction.
#[test]
fn aborted_transaction() {
    mx("C: MAIL FROM:<smith@bar.example>
        S: 250 2.1.0 sender ok
        C: MAIL FROM:<smith@bar.example>
        S: 503 5.5.1 MAIL was sent already
        C: RCPT TO:<jones@foo.example>
        S: 250 2.1.5 recipient ok
        C: RSET
        S: 250 2.0.0 ok
        C: DATA
        S: 503 5.5.1 send MAIL first
        C: RCPT TO:<jones@foo.example>
        S: 503 5.5.1 send MAIL first
        C: QUIT
        S: 221 2.0.0 bye");
}

#[test]
fn helo_and_what_answers_always() {
    let driver = play(
        &config(Kind::Mx),
        "S: 220 mx.example.org ESMTP Estafette
        C: NOOP whatever
        S: 250 2.0.0 ok
        C: MAIL FROM:<>
        S: 503 5.5.1 send EHLO or HELO first
        C: LHLO x
        S: 500 5.5.1 this is SMTP; send EHLO
        C: HELO
        S: 501 5.5.4 syntax: a host name is needed
        C: helo [192.0.2.1]
        S: 250 mx.example.org
        C: VRFY smith
        S: 252 2.5.0 cannot verify; send some mail, I will try
        C: EXPN list
        S: 502 5.5.1 this command is not offered
        C: ETRN example.org
        S: 502 5.5.1 this command is not offered
        C: HELP
        S: 214 2.0.0 see RFC 5321
        C: XYZZY
        S: 500 5.5.1 command not recognized
        C: AUTH PLAIN
        S: 502 5.5.1 AUTH is not offered
        C: mail from:<>
        S: 250 2.1.0 sender ok
        C: rcpt to:<Postmaster>
        S: 250 2.1.5 recipient ok
        C: DATA now
        S: 501 5.5.4 syntax: no argument is taken
        C: DATA
        S: 354 end data with <CR><LF>.<CR><LF>
        C: .
        S: 250 2.0.0 taken for postmaster",
    );
    assert_eq!(driver.delivered[0].protocol, "SMTP");
    assert!(driver.delivered[0].body.is_empty());
}

/// RFC 3030 §4: chunks of any bytes, dots untouched.
#[test]
fn chunking() {
    let driver = mx("C: MAIL FROM:<sam@random.example> BODY=BINARYMIME
        S: 250 2.1.0 sender ok
        C: RCPT TO:<susan@random.example>
        S: 250 2.1.5 recipient ok
        C: DATA
        S: 503 5.5.1 BODY=BINARYMIME needs BDAT
        C: BDAT 6
        C: .bcd
        S: 250 2.0.0 6 bytes received
        C: DATA
        S: 503 5.5.1 the message has begun with BDAT
        C: RCPT TO:<late@random.example>
        S: 503 5.5.1 the message has begun
        C: BDAT 3 LAST
        C: .
        S: 250 2.0.0 taken for susan
        C: MAIL FROM:<sam@random.example>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<susan@random.example>
        S: 250 2.1.5 recipient ok
        C: BDAT 7
        C: QUIT.
        S: 250 2.0.0 7 bytes received
        C: BDAT 0 LAST
        S: 250 2.0.0 taken for susan
        C: BDAT 6 LAST
        C: QUIT
        S: 503 5.5.1 send MAIL first
        C: QUIT
        S: 221 2.0.0 bye");
    assert_eq!(driver.delivered[0].body.concat(), b".bcd\r\n.\r\n");
    assert_eq!(driver.delivered[0].envelope.body_type, BodyType::BinaryMime);
    assert_eq!(driver.delivered[1].body.concat(), b"QUIT.\r\n");
}

/// RFC 2033 §4.2: LHLO, one reply for each recipient that was accepted.
#[test]
fn lmtp() {
    let transcript = EHLO.replace("ESMTP", "LMTP").replace("EHLO", "LHLO")
        + "C: HELO x
        S: 500 5.5.1 this is LMTP; send LHLO
        C: MAIL FROM:<chris@bar.example>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<unknown@foo.example>
        S: 550 5.1.1 no such user
        C: DATA
        S: 503 5.5.1 send RCPT first
        C: RCPT TO:<pat@foo.example>
        S: 250 2.1.5 recipient ok
        C: RCPT TO:<later@foo.example>
        S: 250 2.1.5 recipient ok
        C: DATA
        S: 354 end data with <CR><LF>.<CR><LF>
        C: Hi
        C: .
        S: 250 2.0.0 taken for pat
        S: 451 4.3.0 later
        C: MAIL FROM:<chris@bar.example> SMTPUTF8
        S: 250 2.1.0 sender ok
        C: RCPT TO:<one@foo.example>
        S: 250 2.1.5 recipient ok
        C: RCPT TO:<two@foo.example>
        S: 250 2.1.5 recipient ok
        C: BDAT 4 LAST
        C: Hi
        S: 250 2.0.0 taken for one
        S: 250 2.0.0 taken for two
        C: QUIT
        S: 221 2.0.0 bye";
    let driver = play(&config(Kind::Lmtp), &transcript);
    assert_eq!(driver.delivered[0].protocol, "LMTP");
    assert_eq!(driver.delivered[1].protocol, "UTF8LMTP");
}

/// RFC 4954 §4.1 and §6.
#[test]
fn authentication() {
    let ehlo = EHLO.replace("STARTTLS\n", "STARTTLS\n    S: 250-AUTH PLAIN LOGIN\n");
    let driver = play(
        &open_submission(),
        &format!(
            "{ehlo}C: MAIL FROM:<a@example.org>
            S: 530 5.7.0 authentication required
            C: BDAT 4 LAST
            C: hi
            S: 530 5.7.0 authentication required
            C: AUTH
            S: 501 5.5.4 syntax: AUTH mechanism [initial-response]
            C: AUTH GSSAPI
            S: 504 5.5.4 unrecognized authentication type
            C: AUTH PLAIN
            S: 334 _
            C: *
            S: 501 5.7.0 authentication cancelled
            C: AUTH PLAIN !!!
            S: 501 5.5.2 cannot decode the response
            C: AUTH PLAIN =
            S: 501 5.5.2 cannot decode the response
            C: AUTH PLAIN AHRlc3QAYmFk
            S: 535 5.7.8 authentication credentials invalid
            C: AUTH LOGIN
            S: 334 VXNlcm5hbWU6
            C: dGVzdA==
            S: 334 UGFzc3dvcmQ6
            C: YmFk
            S: 535 5.7.8 authentication credentials invalid
            C: AUTH LOGIN dGVzdA==
            S: 334 UGFzc3dvcmQ6
            C: MTIzNA==
            S: 235 2.7.0 authentication successful
            C: AUTH PLAIN AHRlc3QAMTIzNA==
            S: 503 5.5.1 you are logged in already
            C: MAIL FROM:<a@example.org> AUTH=a+40example.org
            S: 250 2.1.0 sender ok
            C: RCPT TO:<b@example.org>
            S: 250 2.1.5 recipient ok
            C: DATA
            S: 354 end data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 taken for b"
        ),
    );
    let delivery = &driver.delivered[0];
    assert_eq!(delivery.protocol, "ESMTPA");
    assert_eq!(delivery.peer.identity.as_ref().unwrap().username.as_str(), "test");
    assert_eq!(delivery.envelope.auth.as_deref(), Some("a@example.org"));
}

#[test]
fn failed_logins_end_the_session() {
    let input = "EHLO c\r\n".to_owned() + &"AUTH PLAIN AHRlc3QAYmFk\r\n".repeat(5);
    let driver = run(&open_submission(), input.as_bytes(), 5);
    assert!(
        driver.text().ends_with(
            "535 5.7.8 authentication credentials invalid\r\n421 4.7.0 too many failed logins\r\n"
        )
    );
    assert!(driver.closed);
    assert_eq!(driver.text().matches("535").count(), 3);
}

/// RFC 3461 §10: all the parameters reach the engine, decoded.
#[test]
fn delivery_status_parameters() {
    let driver = mx("C: MAIL FROM:<alice@example.org> RET=HDRS ENVID=QQ3+2B14159 SIZE=20 BODY=8BITMIME
        S: 250 2.1.0 sender ok
        C: RCPT TO:<bob@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob@example.com
        S: 250 2.1.5 recipient ok
        C: RCPT TO:<dana@ivory.example> NOTIFY=NEVER
        S: 250 2.1.5 recipient ok
        C: RCPT TO:<eve@ivory.example> NOTIFY=NEVER,DELAY
        S: 501 5.5.4 bad or repeated parameter NOTIFY
        C: RCPT TO:<eve@ivory.example> FOO=BAR
        S: 555 5.5.4 unsupported parameter
        C: DATA
        S: 354 end data with <CR><LF>.<CR><LF>
        C: .
        S: 250 2.0.0 taken for bob");
    let envelope = &driver.delivered[0].envelope;
    assert_eq!(envelope.dsn_return, Some(DsnReturn::Headers));
    assert_eq!(envelope.dsn_envelope_id.as_deref(), Some("QQ3+14159"));
    assert_eq!(envelope.declared_size, Some(20));
    let [bob, dana] = envelope.recipients.as_slice() else { panic!("two recipients") };
    assert_eq!(bob.notify, Some(DsnNotify::On { success: true, failure: true, delay: false }));
    assert_eq!(bob.original, Some(("rfc822".into(), "Bob@example.com".into())));
    assert_eq!(dana.notify, Some(DsnNotify::Never));
}

/// RFC 6531 §3.4 to §3.6.
#[test]
fn internationalized_addresses() {
    let driver = mx("C: MAIL FROM:<jörg@example.org>
        S: 553 5.6.7 non-ASCII addresses need the SMTPUTF8 parameter
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<jörg@example.org>
        S: 553 5.6.7 non-ASCII addresses need the SMTPUTF8 parameter
        C: RSET
        S: 250 2.0.0 ok
        C: NOOP jörg
        S: 500 5.5.2 8-bit characters are not allowed here
        C: MAIL FROM:<jörg@bücher.example> SMTPUTF8
        S: 250 2.1.0 sender ok
        C: RCPT TO:<δοκιμή@παράδειγμα.example> ORCPT=utf-8;\\x{3B4}@example.org
        S: 250 2.1.5 recipient ok
        C: DATA
        S: 354 end data with <CR><LF>.<CR><LF>
        C: Subject: ü
        C: .
        S: 250 2.0.0 taken for ??????");
    assert_eq!(driver.delivered[0].protocol, "UTF8SMTP");
    assert_eq!(driver.delivered[0].envelope.reverse_path.to_string(), "jörg@bücher.example");
}

/// RFC 2920 §4: a whole transaction in one segment, answered in order and in few pieces.
#[test]
fn pipelining() {
    let input = "EHLO dbc.mtview.ca.us\r\nMAIL FROM:<mrose@dbc.example>\r\nRCPT TO:<ned@innosoft.example>\r\n\
        RCPT TO:<unknown@innosoft.example>\r\nRCPT TO:<over@innosoft.example>\r\nDATA\r\nA\r\n.\r\nQUIT\r\n";
    let driver = run(&config(Kind::Mx), input.as_bytes(), input.len());
    let want = "220 250-250-250-250-250-250-250-250-250-250-250 250 250 550 452 354 250 221";
    assert_eq!(codes(&driver), want);
    assert!(driver.sends <= 3, "{} pieces", driver.sends);
    assert!(driver.closed);
}

/// RFC 2920 §3.1: DATA among the commands although no recipient was accepted.
#[test]
fn pipelined_data_without_recipients() {
    mx("C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<unknown@example.org>
        S: 550 5.1.1 no such user
        C: DATA
        S: 554 5.5.1 no valid recipients
        C: RSET
        S: 250 2.0.0 ok
        C: MAIL FROM:<full@example.org>
        S: 452 4.3.1 insufficient system storage
        C: MAIL FROM:<a@example.org> SIZE=52428801
        S: 552 5.3.4 message exceeds the size limit
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<nodisk@example.org>
        S: 250 2.1.5 recipient ok
        C: DATA
        S: 452 4.3.1 insufficient system storage
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<nodisk@example.org>
        S: 250 2.1.5 recipient ok
        C: BDAT 6
        C: abcd
        S: 452 4.3.1 insufficient system storage
        C: BDAT 6 LAST
        C: abcd
        S: 503 5.5.1 send MAIL first");
}
