//! Transcripts, pipelining, hostile input, against an engine of a few lines.

use super::*;
use crate::{Refusal, Snapshot};
use estafette_types::{AccountId, Uid, UidSet, UidValidity};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What an engine would keep.
#[derive(Clone, Default)]
struct Engine {
    messages: BTreeMap<u32, Bytes>,
    deleted: Vec<UidSet>,
    delete_fails: bool,
    open_fails: Option<Refusal>,
    /// Messages disappear after so many reads.
    reads_left: Option<u32>,
}

impl Engine {
    fn with(messages: &[&[u8]]) -> Engine {
        let numbered = (1u32..).zip(messages).map(|(uid, text)| (uid * 10, Bytes::copy_from_slice(text)));
        Engine { messages: numbered.collect(), ..Engine::default() }
    }

    fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Authenticate { authcid, password, .. }
                if authcid == "mrose" && password.0 == "tan staaf" =>
            {
                Answer::LoggedIn(AccountId(1))
            }
            Ask::Authenticate { authcid, .. } if authcid == "down" => Answer::Failed(Failure::Temporary),
            Ask::Authenticate { .. } => Answer::Refused(Refusal::Credentials),
            Ask::Open { .. } => match self.open_fails {
                Some(refusal) => Answer::Refused(refusal),
                None => {
                    let mut uids = UidSet::new();
                    self.messages.keys().for_each(|uid| uids.insert(Uid::new(*uid).unwrap()));
                    let sizes = self.messages.values().map(|m| u32::try_from(m.len()).unwrap()).collect();
                    Answer::Opened(Snapshot {
                        uid_validity: UidValidity(7.try_into().unwrap()),
                        uids: uids.into(),
                        sizes,
                    })
                }
            },
            Ask::Read { uid, range } => {
                if self.reads_left == Some(0) {
                    return Answer::Gone;
                }
                self.reads_left = self.reads_left.map(|left| left - 1);
                let Some(message) = self.messages.get(&uid.value()) else { return Answer::Gone };
                let end = usize::try_from(range.end).unwrap().min(message.len());
                let start = usize::try_from(range.start).unwrap().min(end);
                let (one, other) = (start, start + (end - start) / 2);
                Answer::Data(vec![message.slice(one..other), message.slice(other..end)])
            }
            Ask::Delete { uids } if !self.delete_fails => {
                self.messages.retain(|uid, _| !uids.contains(Uid::new(*uid).unwrap()));
                self.deleted.push(uids);
                Answer::Deleted
            }
            Ask::Delete { .. } => Answer::Failed(Failure::Permanent),
        }
    }
}

/// A driver that keeps the promises of the contract, and checks those of the session.
struct Client {
    session: Session,
    engine: Engine,
    input: BytesMut,
    sent: Vec<u8>,
    unsent: usize,
    most_unsent: usize,
    closed: bool,
    timer: Option<std::time::Duration>,
    tls_started: bool,
}

impl Client {
    fn new(config: Config, engine: Engine) -> Client {
        Client::at(Session::new(Arc::new(config)), engine)
    }

    fn at(session: Session, engine: Engine) -> Client {
        let mut client = Client {
            session,
            engine,
            input: BytesMut::new(),
            sent: Vec::new(),
            unsent: 0,
            most_unsent: 0,
            closed: false,
            timer: None,
            tls_started: false,
        };
        client.step(|session, out| session.opened(Now::default(), out));
        client
    }

    fn open(engine: Engine) -> Client {
        Client::new(Config { require_tls_for_auth: false, ..Config::default() }, engine)
    }

    fn logged_in(engine: Engine) -> Client {
        let mut client = Client::open(engine);
        client.say("USER mrose\r\nPASS tan staaf\r\n");
        client.sent.clear();
        client
    }

    fn step(&mut self, call: impl FnOnce(&mut Session, &mut Out)) {
        let mut out = Vec::new();
        call(&mut self.session, &mut out);
        loop {
            for action in std::mem::take(&mut out) {
                assert!(!self.closed, "an action after Close");
                match action {
                    Action::Send(bytes) => {
                        self.unsent += bytes.len();
                        self.most_unsent = self.most_unsent.max(self.unsent);
                        self.sent.extend_from_slice(&bytes);
                    }
                    Action::StartTls => self.tls_started = true,
                    Action::Ask(ask) => {
                        let answer = self.engine.answer(ask);
                        self.session.answered(Now::default(), answer, &mut out);
                    }
                    Action::Arm(after) => self.timer = Some(after),
                    Action::Close => self.closed = true,
                }
            }
            if !out.is_empty() {
                continue;
            }
            if self.unsent == 0 || self.closed {
                return;
            }
            self.unsent = 0;
            self.session.drained(Now::default(), &mut out);
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        self.input.extend_from_slice(bytes);
        let mut input = std::mem::take(&mut self.input);
        let before = input.len();
        self.step(|session, out| session.received(Now::default(), &mut input, out));
        if input.len() == before && before > self.session.input_limit() {
            self.step(|session, out| session.overflowed(Now::default(), &mut input, out));
        }
        self.input = input;
    }

    fn say(&mut self, text: &str) -> String {
        self.feed(text.as_bytes());
        self.heard()
    }

    fn heard(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.sent)).into_owned()
    }

    fn check(&mut self, says: &str, hears: &str) {
        assert_eq!(self.say(&format!("{says}\r\n")), hears.replace('\n', "\r\n"), "{says}");
    }
}

const ONE: &[u8] = b"Subject: 1\r\n\r\nbody\r\n.dot\r\nlast\r\n";
const TWO: &[u8] = b"Subject: 2\r\n\r\nno end";

#[test]
fn session_of_rfc_1939() {
    let mut client = Client::open(Engine::with(&[&[b'x'; 120], &[b'y'; 200]]));
    assert_eq!(client.heard(), "+OK POP3 ready\r\n");
    client.check("USER mrose", "+OK now the password\n");
    client.check("PASS tan staaf", "+OK 2 messages (320 octets)\n");
    client.check("STAT", "+OK 2 320\n");
    client.check("LIST", "+OK 2 messages (320 octets)\n1 120\n2 200\n.\n");
    client.check("LIST 2", "+OK 2 200\n");
    client.check("LIST 3", "-ERR no such message\n");
    client.check("RETR 1", &format!("+OK 120 octets\n{}\n.\n", "x".repeat(120)));
    client.check("DELE 1", "+OK message 1 deleted\n");
    client.check("DELE 1", "-ERR the message is marked as deleted\n");
    client.check("RETR 1", "-ERR the message is marked as deleted\n");
    client.check("LIST", "+OK 1 messages (200 octets)\n2 200\n.\n");
    client.check("UIDL", "+OK\n2 7-20\n.\n");
    client.check("UIDL 2", "+OK 2 7-20\n");
    client.check("RSET", "+OK 2 messages (320 octets)\n");
    client.check("DELE 2", "+OK message 2 deleted\n");
    client.check("NOOP", "+OK\n");
    client.check("QUIT", "+OK bye, deleted: 1\n");
    assert!(client.closed);
    assert_eq!(client.engine.deleted, [UidSet::one(Uid::new(20).unwrap())]);
}

#[test]
fn a_session_that_was_admitted_elsewhere_begins_with_the_end_of_the_login() {
    let admitted = |engine| Client::at(Session::admitted(Arc::default(), AccountId(1)), engine);
    let mut client = admitted(Engine::with(&[ONE]));
    assert_eq!(client.heard(), format!("+OK 1 messages ({} octets)\r\n", ONE.len()));
    assert_eq!(client.timer, Some(Config::default().idle_timeout));
    let told = client.say("CAPA\r\n");
    assert!(told.contains("\r\nUSER\r\n") && !told.contains("STLS"), "{told}");
    client.check("USER mrose", "-ERR you are logged in already\n");
    client.check("DELE 1", "+OK message 1 deleted\n");
    client.check("QUIT", "+OK bye, deleted: 1\n");
    // There is nothing else to do for it.
    let mut client = admitted(Engine { open_fails: Some(Refusal::InUse), ..Engine::default() });
    assert_eq!(client.heard(), "-ERR [IN-USE] the maildrop is in use\r\n");
    assert!(client.closed);
}

#[test]
fn what_was_not_carried_out_is_given_up_whole() {
    let mut session = Session::new(Arc::new(Config { require_tls_for_auth: false, ..Config::default() }));
    let (mut out, mut input) = (Vec::new(), BytesMut::from(&b"USER a\r\nPASS b\r\nSTAT\r\nLI"[..]));
    session.opened(Now::default(), &mut out);
    session.received(Now::default(), &mut input, &mut out);
    assert!(matches!(out.last(), Some(Action::Ask(Ask::Authenticate { .. }))));
    out.clear();
    let rest = session.handed_over(Now::default(), Answer::LoggedIn(AccountId(1)), &mut out);
    assert_eq!(rest, &b"STAT\r\nLI"[..]);
    assert!(out.is_empty(), "the login is answered elsewhere");
}

#[test]
fn messages_and_their_tops() {
    let mut client = Client::logged_in(Engine::with(&[ONE, TWO, b""]));
    client.check("RETR 1", "+OK 32 octets\nSubject: 1\n\nbody\n..dot\nlast\n.\n");
    client.check("TOP 1 2", "+OK\nSubject: 1\n\nbody\n..dot\n.\n");
    client.check("TOP 1 0", "+OK\nSubject: 1\n\n.\n");
    client.check("RETR 2", "+OK 20 octets\nSubject: 2\n\nno end\n.\n");
    client.check("TOP 2 99", "+OK\nSubject: 2\n\nno end\n.\n");
    client.check("RETR 3", "+OK 0 octets\n.\n");
    client.check("RETR 0", "-ERR no such message\n");
    client.check("RETR x", "-ERR syntax: RETR message\n");
}

/// RFC 6856 §2.1.
#[test]
fn internationalized_messages_need_utf8() {
    let stored = "Received: by b with UTF8SMTP id 1; now\r\nSubject: \u{e9}\r\n\r\n1 \u{e9}\r\n2\r\n";
    let long = format!("{}\r\n{}", stored.split_once("\r\n\r\n").unwrap().0, "A: b\r\n".repeat(50_000));
    let engine = Engine::with(&[stored.as_bytes(), long.as_bytes()]);
    let mut client = Client::logged_in(engine.clone());
    let header = "Received: by b with UTF8SMTP id 1; now\nSubject: =?utf-8?b?w6k=?=\n\n";
    let octets = stored.len();
    client.check("RETR 1", &format!("+OK {octets} octets\n{header}1 \u{e9}\n2\n.\n"));
    client.check("TOP 1 1", &format!("+OK\n{header}1 \u{e9}\n.\n"));
    client.check("RETR 2", "-ERR [UTF8] the message needs UTF8\n");
    client.check("NOOP", "+OK\n");

    let mut client = Client::open(engine);
    client.say("UTF8\r\nUSER mrose\r\nPASS tan staaf\r\n");
    client.check("RETR 1", &format!("+OK {octets} octets\n{}.\n", stored.replace("\r\n", "\n")));
    assert!(client.say("RETR 2\r\n").ends_with("A: b\r\n.\r\n"));
}

#[test]
fn quit_without_login_and_time_out_delete_nothing() {
    let mut client = Client::open(Engine::with(&[ONE]));
    client.heard();
    client.check("QUIT", "+OK bye\n");
    assert!(client.closed);

    let mut client = Client::logged_in(Engine::with(&[ONE]));
    assert_eq!(client.timer, Some(Config::default().idle_timeout));
    client.say("DELE 1\r\n");
    client.step(|session, out| session.timed_out(Now::default(), out));
    assert!(client.closed && client.heard().is_empty() && client.engine.deleted.is_empty());

    let mut client = Client::logged_in(Engine::with(&[ONE]));
    client.say("DELE 1\r\n");
    client.step(|session, out| session.closed(Now::default(), out));
    assert!(client.closed && client.engine.deleted.is_empty());
}

#[test]
fn two_sessions_on_one_maildrop() {
    let engine = Engine::with(&[ONE, TWO]);
    let mut first = Client::logged_in(engine.clone());
    let mut second = Client::logged_in(engine);
    first.say("DELE 1\r\nQUIT\r\n");
    second.engine = first.engine.clone();
    second.check("STAT", "+OK 2 52\n");
    second.check("RETR 1", "-ERR the message has been removed\n");
    second.check("RETR 2", "+OK 20 octets\nSubject: 2\n\nno end\n.\n");
    second.check("DELE 1", "+OK message 1 deleted\n");
    second.check("QUIT", "+OK bye, deleted: 1\n");
    assert_eq!(second.engine.messages.keys().copied().collect::<Vec<_>>(), [20]);
}

#[test]
fn a_message_that_goes_away_while_it_is_sent_ends_the_session() {
    let long = vec![b'a'; 600_000];
    let mut engine = Engine::with(&[&long]);
    engine.reads_left = Some(1);
    let mut client = Client::logged_in(engine);
    let heard = client.say("RETR 1\r\n");
    assert!(client.closed && heard.len() < 300_000 && !heard.ends_with(".\r\n"));
}

#[test]
fn long_answers_wait_for_the_client() {
    let long: Vec<u8> =
        (0..2_000_000u32).flat_map(|n| if n % 70 == 0 { *b"\r\n." } else { *b"abc" }).collect();
    let mut client = Client::logged_in(Engine::with(&[&long]));
    let heard = client.say("RETR 1\r\nNOOP\r\n");
    assert!(heard.ends_with("\r\n.\r\n+OK\r\n"));
    assert!(client.most_unsent < 400_000, "{}", client.most_unsent);

    let many: Vec<&[u8]> = vec![b"x"; 50_000];
    let mut client = Client::logged_in(Engine::with(&many));
    let heard = client.say("UIDL\r\nLIST\r\nNOOP\r\n");
    assert_eq!(heard.lines().count(), 100_005);
    assert!(heard.ends_with("50000 1\r\n.\r\n+OK\r\n"));
    assert!(client.most_unsent < 50_000, "{}", client.most_unsent);
}

#[test]
fn plain_text_logins_need_tls() {
    let mut client = Client::new(Config::default(), Engine::with(&[ONE]));
    client.heard();
    let refused = "-ERR TLS is required for logging in; use STLS\n";
    client.check("USER mrose", refused);
    client.check("PASS x", refused);
    client.check("AUTH PLAIN AG1yb3NlAHRhbiBzdGFhZg==", refused);
    client.check("AUTH", "+OK mechanisms\n.\n");
    let capabilities = client.say("CAPA\r\n");
    assert!(capabilities.contains("\r\nSTLS\r\n") && !capabilities.contains("SASL"), "{capabilities}");
    // What is pipelined after STLS in plain is thrown away.
    client.check("STLS\r\nUSER mrose\r\nPASS tan staaf", "+OK begin TLS\n");
    assert!(client.tls_started);
    client.step(|session, out| session.secured(Now::default(), Tls::default(), out));
    assert_eq!(client.heard(), "");
    let capabilities = client.say("CAPA\r\n");
    assert!(
        !capabilities.contains("STLS") && capabilities.contains("\r\nSASL PLAIN LOGIN\r\n"),
        "{capabilities}"
    );
    assert!(
        capabilities.starts_with("+OK") && capabilities.ends_with("\r\nIMPLEMENTATION Estafette\r\n.\r\n")
    );
    client.check("STLS", "-ERR TLS is up already\n");
    client.check("AUTH PLAIN AG1yb3NlAHRhbiBzdGFhZg==", "+OK 1 messages (32 octets)\n");
    client.check("STLS", "-ERR you are logged in already\n");
}

#[test]
fn sasl() {
    let engine = Engine::with(&[ONE]);
    let login = |lines: &[(&str, &str)]| {
        let mut client = Client::open(engine.clone());
        client.heard();
        lines.iter().for_each(|(says, hears)| client.check(says, hears));
    };
    let ok = "+OK 1 messages (32 octets)\n";
    login(&[
        ("AUTH", "+OK mechanisms\nPLAIN\nLOGIN\n.\n"),
        ("AUTH PLAIN", "+ \n"),
        ("AG1yb3NlAHRhbiBzdGFhZg==", ok),
    ]);
    login(&[("AUTH LOGIN", "+ VXNlcm5hbWU6\n"), ("bXJvc2U=", "+ UGFzc3dvcmQ6\n"), ("dGFuIHN0YWFm", ok)]);
    login(&[("AUTH LOGIN bXJvc2U=", "+ UGFzc3dvcmQ6\n"), ("dGFuIHN0YWFm", ok)]);
    login(&[("AUTH PLAIN", "+ \n"), ("*", "-ERR AUTH cancelled\n"), ("NOOP", "-ERR log in first\n")]);
    let unread = "-ERR the response cannot be read\n";
    login(&[
        ("AUTH PLAIN =", unread),
        ("AUTH PLAIN !!!!", unread),
        ("AUTH PLAIN AGE=", unread),
        ("AUTH PLAIN AAAA", unread),
    ]);
    login(&[("AUTH SCRAM-SHA-256", "-ERR unknown mechanism\n"), ("APOP a b", "-ERR APOP is not offered\n")]);
    login(&[
        ("PASS x", "-ERR USER comes first\n"),
        ("UTF8", "+OK UTF8\n"),
        ("STLS", "-ERR STLS must come before UTF8\n"),
    ]);
}

#[test]
fn failed_logins() {
    let mut client = Client::open(Engine::with(&[ONE]));
    client.heard();
    client.check("USER down\r\nPASS x", "+OK now the password\n-ERR [SYS/TEMP] cannot log you in now\n");
    client.check("PASS x", "-ERR USER comes first\n");
    for _ in 0..3 {
        assert!(!client.closed);
        client.check("USER x\r\nPASS y", "+OK now the password\n-ERR [AUTH] wrong name or password\n");
    }
    assert!(client.closed);

    let mut engine = Engine::with(&[ONE]);
    engine.open_fails = Some(Refusal::InUse);
    let mut client = Client::open(engine);
    client.heard();
    client.check(
        "USER mrose\r\nPASS tan staaf",
        "+OK now the password\n-ERR [IN-USE] the maildrop is in use\n",
    );
    assert!(!client.closed);
}

#[test]
fn deleting_may_fail() {
    let mut engine = Engine::with(&[ONE]);
    engine.delete_fails = true;
    let mut client = Client::logged_in(engine);
    client.check("DELE 1\r\nQUIT", "+OK message 1 deleted\n-ERR [SYS/PERM] the messages were not deleted\n");
    assert!(client.closed);
}

#[test]
fn a_stopping_server_says_so() {
    let mut client = Client::logged_in(Engine::with(&[ONE]));
    client.step(|session, out| session.shutdown(Now::default(), out));
    assert_eq!(client.heard(), "-ERR [SYS/TEMP] the server is stopping\r\n");
    assert!(client.closed);
}

#[test]
fn a_bare_lf_ends_the_session() {
    let refused = "-ERR a line ends with CR LF, not with LF alone\r\n";
    let long = format!("USER {}\nDELE 1\r\nQUIT\r\n", "x".repeat(5000));
    let scripts = ["\n", "DELE 1\nQUIT\r\n", "\nDELE 1\r\nQUIT\r\n", "NOOP x\nDELE 1\r\nQUIT\r\n", &long];
    for script in scripts {
        for size in [1, 7, 1_000_000] {
            let mut client = Client::logged_in(Engine::with(&[ONE]));
            script.as_bytes().chunks(size).for_each(|piece| client.feed(piece));
            assert_eq!(client.heard(), refused, "{script:?} by {size}");
            assert!(client.closed && client.engine.deleted.is_empty(), "{script:?} by {size}");
        }
    }
    // Within AUTH too, and nobody is logged in.
    let mut client = Client::open(Engine::with(&[ONE]));
    client.heard();
    client.check("AUTH PLAIN", "+ \n");
    assert_eq!(client.say("AG1yb3NlAHRhbiBzdGFhZg==\nSTAT\r\n"), refused);
    assert!(client.closed);
}

#[test]
fn a_bare_cr_ends_nothing() {
    let mut client = Client::logged_in(Engine::with(&[ONE]));
    for line in ["DELE 1\rQUIT", "\rDELE 1", "DELE 1\r", "DELE 1\r\r\r"] {
        for piece in format!("{line}\r\n").as_bytes().chunks(1) {
            client.feed(piece);
        }
        assert_eq!(client.heard(), "-ERR CR within a line\r\n", "{line:?}");
    }
    client.check("STAT", "+OK 1 32\n");
    // In a response to AUTH, CR is not base64.
    let mut client = Client::open(Engine::with(&[ONE]));
    client.heard();
    client.check("AUTH PLAIN", "+ \n");
    client.check("AG1yb3NlAHRhbiBzdGFhZg==\r", "-ERR the response cannot be read\n");
    client.check("STAT", "-ERR log in first\n");
}

#[test]
fn the_longest_line() {
    let name = "x".repeat(COMMAND_LINE_MAX_BYTES - "USER \r\n".len());
    for (line, heard) in [
        (format!("USER {name}\r\n"), "+OK now the password\r\n"),
        (format!("USER {name}x\r\n"), "-ERR line too long\r\n"),
        (format!("USER {name}\r\r\n"), "-ERR line too long\r\n"),
        (format!("USER {}\r\n", name.repeat(5)), "-ERR line too long\r\n"),
    ] {
        for size in [1, 2, 1023, 1024, 1025, 1_000_000] {
            let mut client = Client::open(Engine::with(&[ONE]));
            client.heard();
            line.as_bytes().chunks(size).for_each(|piece| client.feed(piece));
            assert_eq!(client.heard(), heard, "{} bytes by {size}", line.len());
            assert!(!client.closed);
        }
    }
}

#[test]
fn hostile_input() {
    // A line that never ends holds no memory, and is answered once.
    let mut client = Client::open(Engine::with(&[ONE]));
    client.heard();
    for _ in 0..10_000 {
        client.feed(&[b'x'; 1000]);
        assert!(client.session.input.len() < PIPELINE_MAX_BYTES && client.input.is_empty());
    }
    // Nor does it keep the buffer that it came in.
    client.feed(&[b'x'; PIPELINE_MAX_BYTES - 1]);
    assert!(!client.session.input.try_reclaim(COMMAND_LINE_MAX_BYTES));
    assert_eq!(client.heard(), "");
    client.check("", "-ERR line too long\n");
    client.check("CAPA\0", "-ERR line holds characters that are not allowed\n");
    client.check("CA\rPA", "-ERR CR within a line\n");
    client.check(&format!("USER {}", "x".repeat(1100)), "-ERR line too long\n");
    client.check("AUTH PLAIN", "+ \n");
    client.check(&"A".repeat(13_000), "-ERR line too long\n");
    client.check("NOOP", "-ERR log in first\n");
    // Too many errors end the session.
    for _ in 0..100 {
        client.say("nonsense\r\n");
    }
    assert!(client.closed);

    // Many short commands with long answers wait for the client too.
    let mut client = Client::open(Engine::with(&[ONE]));
    client.heard();
    let heard = client.say(&"CAPA\r\n".repeat(5000));
    assert_eq!(heard.matches("+OK").count(), 5000);
    assert!(client.most_unsent < 32_000, "{}", client.most_unsent);
}

#[test]
fn a_million_messages() {
    let uids = Arc::new(UidSet::range(Uid::MIN, Uid::new(1_000_000).unwrap()));
    let snapshot =
        Snapshot { uid_validity: UidValidity(1.try_into().unwrap()), uids, sizes: vec![5; 1_000_000].into() };
    let mut session = Session::new(Arc::new(Config::default()));
    session.state = State::Transaction(Maildrop::new(snapshot).unwrap());
    let mut out = Vec::new();
    // Every third message, from the highest down.
    let mut commands: Vec<String> =
        (1..=1_000_000u32).rev().step_by(3).map(|n| format!("DELE {n}\r\n")).collect();
    commands.push("STAT\r\nQUIT\r\n".to_owned());
    for command in commands {
        session.received(Now::default(), &mut BytesMut::from(command.as_str()), &mut out);
        session.drained(Now::default(), &mut out);
    }
    let Some(Action::Ask(Ask::Delete { uids })) = out.last() else { panic!("no question") };
    assert_eq!(uids.len(), 333_334);
}

const SCRIPT: &str = "CAPA\r\nUSER mrose\r\nPASS tan staaf\r\nSTAT\r\nLIST\r\nUIDL 1\r\nRETR 1\r\nTOP 2 1\r\nnonsense\r\n\
    DELE 1\r\nRETR 1\r\nDELE 2\r\nRSET\r\nDELE 2\r\nQUIT\r\nNOOP\r\n";

proptest! {
    #[test]
    fn pieces_make_no_difference(sizes in proptest::collection::vec(1usize..40, 1..60)) {
        let mut whole = Client::open(Engine::with(&[ONE, TWO]));
        let expected = whole.say(SCRIPT);
        let mut client = Client::open(Engine::with(&[ONE, TWO]));
        let mut rest = SCRIPT.as_bytes();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            client.feed(piece);
            rest = after;
        }
        prop_assert_eq!(client.heard(), expected);
        prop_assert!(client.closed && whole.closed);
        prop_assert_eq!(client.engine.deleted, whole.engine.deleted);
    }

    #[test]
    fn any_input_is_survived(
        lines in proptest::collection::vec(prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..30),
            proptest::sample::select(SCRIPT.split_inclusive('\n').map(|l| l.as_bytes().to_vec()).collect::<Vec<_>>()),
        ], 0..60)
    ) {
        let mut client = Client::open(Engine::with(&[ONE, TWO]));
        for line in lines {
            client.feed(&line);
        }
        client.step(|session, out| if !session.is_closed() { session.closed(Now::default(), out) });
        prop_assert!(client.closed);
    }
}
