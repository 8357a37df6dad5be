//! Dialogues with servers of all kinds.

use super::*;
use crate::{Reply, Secret};
use estafette_types::{DsnNotify, DsnReturn};

fn config() -> ClientConfig {
    ClientConfig::new("c.example.net")
}

fn with_login(tls: TlsPolicy) -> ClientConfig {
    let login = Login { username: "test".into(), password: Secret("1234".into()) };
    ClientConfig { tls, login: Some(login), login_without_tls: true, ..config() }
}

const PLAIN: &str = "S: 220 mx
    C: EHLO c.example.net
    S: 250 mx\n";
const PIPELINED: &str = "S: 220 mx
    C: EHLO c.example.net
    S: 250-mx
    S: 250-PIPELINING
    S: 250-8BITMIME
    S: 250 SIZE 1000\n";

#[test]
fn one_command_at_a_time() {
    let mails = [outgoing(&["b@example.com", "no@example.com", "c@example.com"], "Hi\r\n.dot\r\n")];
    let done = play(
        &config(),
        &mails,
        &format!(
            "{PLAIN}C: MAIL FROM:<a@example.org>
        S: 250 ok
        C: RCPT TO:<b@example.com>
        S: 250 ok
        C: RCPT TO:<no@example.com>
        S: 550 5.1.1 unknown
        C: RCPT TO:<c@example.com>
        S: 250 ok
        C: DATA
        S: 354 go
        C: Hi
        C: ..dot
        C: .
        S: 250 2.0.0 queued
        C: QUIT
        S: 221 bye"
        ),
    );
    assert_eq!(brief(&done.finished[0]), "D250 P550 D250");
    assert!(done.closed && done.failed.is_none());
}

#[test]
fn pipelined_and_twice() {
    let mails = [outgoing(&["b@example.com"], "Hi\r\n"), outgoing(&["no@example.com"], "Hi\r\n")];
    let done = play(
        &config(),
        &mails,
        &format!(
            "{PIPELINED}C: MAIL FROM:<a@example.org> SIZE=4
        C: RCPT TO:<b@example.com>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: Hi
        C: .
        S: 451 4.3.0 later
        C: MAIL FROM:<a@example.org> SIZE=4
        C: RCPT TO:<no@example.com>
        C: DATA
        S: 250 ok
        S: 550 5.1.1 unknown
        S: 354 go
        C: .
        S: 554 nobody
        C: QUIT"
        ),
    );
    assert_eq!(brief(&done.finished[0]), "T451");
    assert_eq!(brief(&done.finished[1]), "P550");
}

#[test]
fn a_refused_sender_or_data_is_everybodys() {
    let mails = [outgoing(&["b@example.com", "c@example.com"], "Hi\r\n"); 1];
    let done = play(
        &config(),
        &mails,
        &format!(
            "{PIPELINED}C: MAIL FROM:<a@example.org> SIZE=4
        C: RCPT TO:<b@example.com>
        C: RCPT TO:<c@example.com>
        C: DATA
        S: 452 4.3.1 full
        S: 503 no mail
        S: 503 no mail
        S: 503 no mail
        C: RSET
        S: 250 ok
        C: QUIT"
        ),
    );
    assert_eq!(brief(&done.finished[0]), "T452 T452");
    let done = play(
        &config(),
        &mails,
        &format!(
            "{PLAIN}C: MAIL FROM:<a@example.org>
        S: 250 ok
        C: RCPT TO:<b@example.com>
        S: 452 4.2.2 over quota
        C: RCPT TO:<c@example.com>
        S: 250 ok
        C: DATA
        S: 554 5.7.1 no
        C: RSET
        S: 421 gone"
        ),
    );
    assert_eq!(brief(&done.finished[0]), "T452 P554");
    assert_eq!(done.failed.unwrap().stage, Stage::Mail);
}

#[test]
fn lmtp_has_a_reply_for_each_recipient() {
    let lmtp = ClientConfig { lmtp: true, ..config() };
    let mails = [outgoing(&["b@example.com", "no@example.com", "c@example.com"], "Hi\r\n")];
    let transcript = PIPELINED.replace("EHLO", "LHLO")
        + "C: MAIL FROM:<a@example.org> SIZE=4
        C: RCPT TO:<b@example.com>
        C: RCPT TO:<no@example.com>
        C: RCPT TO:<c@example.com>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 550 5.1.1 unknown
        S: 250 ok
        S: 354 go
        C: Hi
        C: .
        S: 250 ok
        S: 452 4.2.2 over quota
        C: QUIT";
    assert_eq!(brief(&play(&lmtp, &mails, &transcript).finished[0]), "D250 P550 T452");
}

#[test]
fn helo_when_ehlo_is_unknown() {
    let mails = [outgoing(&["b@example.com"], "Hi\r\n")];
    let done = play(
        &config(),
        &mails,
        "S: 220-mx
        S: 220 old
        C: EHLO c.example.net
        S: 500 what
        C: HELO c.example.net
        S: 250 mx
        C: MAIL FROM:<a@example.org>
        S: 250 ok
        C: RCPT TO:<b@example.com>
        S: 251 will forward
        C: DATA
        S: 354 go
        C: Hi
        C: .
        S: 250 ok
        C: QUIT",
    );
    assert_eq!(brief(&done.finished[0]), "D250");
}

#[test]
fn tls_and_login() {
    let offer = "S: 250-mx
        S: 250-AUTH LOGIN
        S: 250 STARTTLS";
    let secure = format!(
        "S: 220 mx
        C: EHLO c.example.net
        {offer}
        C: STARTTLS
        S: 220 go
        C: [TLS]
        C: EHLO c.example.net
        {}",
        offer.replace("250 STARTTLS", "250 8BITMIME")
    );
    play(
        &with_login(TlsPolicy::Required),
        &[],
        &format!(
            "{secure}
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: dGVzdA==
        S: 334 UGFzc3dvcmQ6
        C: MTIzNA==
        S: 235 ok
        C: QUIT"
        ),
    );
    let plain = secure.replace("AUTH LOGIN", "AUTH PLAIN LOGIN");
    let done = play(
        &with_login(TlsPolicy::Opportunistic),
        &[],
        &format!(
            "{plain}
        C: AUTH PLAIN AHRlc3QAMTIzNA==
        S: 535 5.7.8 wrong"
        ),
    );
    assert_eq!(
        done.failed.unwrap(),
        Failure { stage: Stage::Login, reply: Reply::new(535, (5, 7, 8), "wrong") }
    );
    let done = play(&with_login(TlsPolicy::Required), &[], PLAIN);
    assert_eq!(done.failed.unwrap().stage, Stage::Tls);
    let done = play(&ClientConfig { login_without_tls: false, ..with_login(TlsPolicy::Never) }, &[], PLAIN);
    assert_eq!(done.failed.unwrap().stage, Stage::Login);
}

#[test]
fn replies_injected_before_tls_are_thrown_away() {
    let mut scripted = Scripted::new(config(), Vec::new());
    scripted.feed("220 mx\r\n", 100);
    scripted.feed("250-mx\r\n250 STARTTLS\r\n", 100);
    scripted.feed("220 go\r\n250-evil\r\n250 SIZE 1\r\n", 100);
    assert!(scripted.said.ends_with("[TLS]\r\nEHLO c.example.net\r\n"));
    assert_eq!(scripted.client.extensions(), &Extensions::default());
}

#[test]
fn what_the_server_lacks() {
    let mut utf8 = outgoing(&["jörg@example.com"], "Hi\r\n");
    utf8.envelope.smtputf8 = true;
    let mut eight = outgoing(&["b@example.com"], "é\r\n");
    eight.envelope.body_type = BodyType::EightBitMime;
    let mut binary = outgoing(&["b@example.com"], "Hi\r\n");
    binary.envelope.body_type = BodyType::BinaryMime;
    let mut tls = outgoing(&["b@example.com"], "Hi\r\n");
    tls.envelope.require_tls = true;
    let done = play(&config(), &[utf8, eight, binary, tls], &format!("{PLAIN}C: QUIT"));
    let codes: Vec<_> =
        done.finished.iter().map(|f| (f[0].reply().code, f[0].reply().status.unwrap().to_string())).collect();
    let want = [(550, "5.6.7"), (550, "5.6.3"), (550, "5.6.3"), (550, "5.7.30")];
    assert_eq!(codes, want.map(|(code, status)| (code, status.to_owned())));
    let large = outgoing(&["b@example.com"], &"x".repeat(1001));
    let done = play(&config(), &[large], &format!("{PIPELINED}C: QUIT"));
    assert_eq!(brief(&done.finished[0]), "P552");
}

#[test]
fn what_is_declared_but_not_needed_is_no_hindrance() {
    let mut mail = outgoing(&["b@bücher.example"], "Subject: x\r\n\r\nplain\r\n");
    mail.envelope.smtputf8 = true;
    mail.envelope.body_type = BodyType::EightBitMime;
    play(
        &config(),
        &[mail],
        &format!(
            "{PLAIN}C: MAIL FROM:<a@example.org>
        S: 250 ok
        C: RCPT TO:<b@xn--bcher-kva.example>"
        ),
    );
}

#[test]
fn parameters_and_chunks() {
    let mut mail = outgoing(&["jörg@bücher.example", "c@example.com", "d@example.com"], "a\r\n.\r\n");
    mail.envelope.body_type = BodyType::BinaryMime;
    mail.envelope.dsn_return = Some(DsnReturn::Headers);
    mail.envelope.dsn_envelope_id = Some("a+b c".into());
    mail.envelope.recipients[0].notify = Some(DsnNotify::On { success: true, failure: false, delay: true });
    mail.envelope.recipients[0].original = Some(("utf-8".into(), "jö+rg@bücher.example".into()));
    mail.envelope.recipients[1].notify = Some(DsnNotify::Never);
    mail.envelope.recipients[1].original = Some(("rfc822".into(), "c+1@example.com".into()));
    let done = play(&config(), &[mail], "S: 220 mx
        C: EHLO c.example.net
        S: 250-mx
        S: 250-DSN
        S: 250-SMTPUTF8
        S: 250-CHUNKING
        S: 250-LIMITS RCPTMAX=2
        S: 250-BINARYMIME
        S: 250 PIPELINING
        C: MAIL FROM:<a@example.org> BODY=BINARYMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb+20c
        C: RCPT TO:<jörg@bücher.example> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;j\\x{F6}\\x{2B}rg@b\\x{FC}cher.example
        C: RCPT TO:<c@example.com> NOTIFY=NEVER ORCPT=rfc822;c+2B1@example.com
        S: 250 ok
        S: 250 ok
        S: 550 no
        C: BDAT 6 LAST
        C: a
        C: .
        S: 250 ok
        C: QUIT");
    assert_eq!(brief(&done.finished[0]), "D250 P550 T452");
}

#[test]
fn failures_leave_no_message_without_an_outcome() {
    let mails = vec![outgoing(&["b@example.com", "c@example.com"], "Hi\r\n")];
    let start = [
        "220 mx\r\n",
        "250-mx\r\n250 PIPELINING\r\n",
        "250 ok\r\n",
        "250 ok\r\n",
        "550 no\r\n",
        "354 go\r\n",
    ];
    for fed in 0..=start.len() {
        for fault in 0..4 {
            let mut scripted = Scripted::new(config(), mails.clone());
            start.iter().take(fed).for_each(|text| scripted.feed(text, 100));
            match fault {
                0 => scripted.step(Event::Closed),
                1 => scripted.step(Event::TimedOut),
                2 => scripted.feed("421 4.3.2 bye\r\n", 3),
                _ => scripted.feed("nonsense\r\n", 3),
            }
            assert!(scripted.closed && scripted.failed.is_some());
            let given = mails.len() - scripted.mails.len();
            assert_eq!(scripted.finished.len(), given, "{fed} {fault}");
            let want = if fed >= 5 { "T4 P550" } else { "T4 T4" };
            for outcomes in &scripted.finished {
                assert_eq!(brief(outcomes).replace("T451", "T4").replace("T421", "T4"), want);
            }
        }
    }
}

#[test]
fn an_early_refusal_ends_the_session() {
    let mails = vec![outgoing(&["b@example.com"], &"line\r\n".repeat(200_000))];
    let mut scripted = Scripted::new(config(), mails.clone());
    let go = ["220 mx\r\n250-mx\r\n250 PIPELINING\r\n", "250 ok\r\n250 ok\r\n354 go\r\n"];
    go.iter().for_each(|text| scripted.feed(text, 1000));
    assert!(scripted.said.len() < 600_000, "the body comes window by window");
    scripted.feed("552 5.3.4 too big\r\n", 100);
    assert_eq!(brief(&scripted.finished[0]), "P552");
    assert!(scripted.closed);
    let mut scripted = Scripted::new(config(), mails);
    go.iter().for_each(|text| scripted.feed(text, 1000));
    (0..10).for_each(|_| scripted.step(Event::Drained));
    assert!(scripted.said.ends_with("line\r\n.\r\n"));
    scripted.feed("250 ok\r\n", 100);
    assert_eq!(brief(&scripted.finished[0]), "D250");
}

/// The reply to a whole message may be read before the driver says that all has left.
#[test]
fn a_reply_right_after_the_last_window_is_no_early_one() {
    for length in [262_000, 262_143, 262_144, 262_145, 300_000] {
        for chunking in [false, true] {
            let config = ClientConfig { prefer_chunking: true, ..config() };
            let mut mail = outgoing(&["b@example.com"], "");
            mail.body = vec![Bytes::from(vec![b'x'; length])];
            let mut scripted = Scripted::new(config, vec![mail]);
            let offer = if chunking { "250-mx\r\n250 CHUNKING\r\n" } else { "250 mx\r\n" };
            for reply in ["220 mx\r\n", offer, "250 ok\r\n", "250 ok\r\n"] {
                scripted.feed(reply, 100);
            }
            if !chunking {
                scripted.feed("354 go\r\n", 100);
            }
            let end = if chunking { "x" } else { "\r\n.\r\n" };
            let whole = length + end.len() - usize::from(chunking);
            let sent = |scripted: &Scripted| {
                scripted.said.split_once(if chunking { "LAST\r\n" } else { "DATA\r\n" }).unwrap().1.len()
            };
            while sent(&scripted) < whole {
                scripted.step(Event::Drained);
            }
            assert!(scripted.said.ends_with(end));
            scripted.feed("250 taken\r\n", 100);
            assert_eq!(
                scripted.finished.iter().map(|f| brief(f)).collect::<Vec<_>>(),
                ["D250"],
                "{length} {chunking}"
            );
        }
    }
}

/// Found by fuzzing: a message was asked for in the very step that closed the session, and got no outcome.
#[test]
fn a_reply_that_nobody_awaits_ends_the_session_before_a_message_is_given() {
    let mut scripted =
        Scripted::new(ClientConfig::new("c.test"), vec![outgoing(&["b@example.net"], "x\r\n")]);
    scripted.feed("220 x\r\n250 y\r\n250 for nothing\r\n", 4096);
    assert!(scripted.closed && scripted.failed.is_some());
    assert_eq!((scripted.mails.len(), scripted.finished.len()), (1, 0));
}
