//! What a session of a soak says and awaits, step by step, each with the state that it puts the session in.

use super::node::Account;
use crate::message::{Dice, Messages};
use base64::Engine;

/// A step of a session.
pub(super) enum Step {
    /// Reads up to a line that begins so.
    Await(&'static str),
    /// Sends.
    Send(Vec<u8>),
    /// Shakes hands.
    Tls,
    /// Reads nothing for a while, whatever comes.
    Deaf,
    /// Sends this again and again without reading an answer, until every buffer on the way is full; the last step.
    Flood(&'static [u8]),
}

/// Steps, each with the name of the state that it belongs to.
pub(super) type Script = Vec<(&'static str, Step)>;

/// Messages that are as large as most, that go beyond small buffers, and that are staged on the disk.
const SIZES: [usize; 4] = [2_048, 30_000, 300_000, 1_500_000];
/// How seldom the largest are, so that the store does not grow without end.
const SIZE_ODDS: [usize; 20] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3];
/// The sizes of what a mailbox is filled with: more than buffers on the way to a client hold.
const FILL: [usize; 4] = [2_048, 30_000, 300_000, 3_000_000];

/// A message of honest work.
const GOOD_BYTES: usize = 4_096;

/// Makes scripts.
pub(super) struct Author<'a> {
    pub(super) dice: &'a mut Dice,
    pub(super) messages: &'a mut Messages,
    pub(super) account: &'a Account,
}

impl Author<'_> {
    /// A session at this service.
    pub(super) fn script(&mut self, service: &str) -> Script {
        let mut script = Vec::new();
        let implicit = ["imaps", "pop3s", "submissions"].contains(&service);
        if implicit {
            script.push(("handshake", Step::Tls));
        }
        let starttls = !implicit && self.dice.below(2) == 0;
        match service {
            "imap" | "imaps" => self.imap(&mut script, starttls),
            "pop3" | "pop3s" => self.pop3(&mut script, starttls),
            _ => self.mail(&mut script, service, starttls),
        }
        script
    }

    /// A script that empties the mailbox, so that the store does not grow without end.
    pub(super) fn tidy(&mut self) -> Script {
        let mut script = Vec::new();
        self.imap_start(&mut script, false);
        say(&mut script, "STORE", "a STORE 1:* +FLAGS.SILENT (\\Deleted)\r\n", "a ");
        say(&mut script, "EXPUNGE", "a EXPUNGE\r\n", "a OK");
        say(&mut script, "LOGOUT", "a LOGOUT\r\n", "* BYE");
        script
    }

    /// A script that delivers messages that do not fit into any buffer.
    pub(super) fn fill(&mut self) -> Script {
        let mut script = Vec::new();
        self.mail_start(&mut script, "lmtp", false);
        for size in FILL {
            self.data(&mut script, size);
        }
        say(&mut script, "QUIT", "QUIT\r\n", "221");
        script
    }

    /// The beginning of a session in plain, up to the end of this state.
    pub(super) fn up_to(&mut self, service: &str, last: &str) -> Script {
        let mut script = Script::new();
        match service {
            "imap" => self.imap_start(&mut script, true),
            "pop3" => self.pop3_start(&mut script, true),
            _ => {
                self.mail_start(&mut script, service, last == "STARTTLS");
                self.envelope(&mut script);
                say(&mut script, "DATA", "DATA\r\n", "354");
            }
        }
        // Where TLS is offered by another name, its state has that name.
        let last = if service == "pop3" && last == "STARTTLS" { "STLS" } else { last };
        let end = script.iter().rposition(|(state, _)| *state == last).map_or(0, |at| at + 1);
        script.truncate(end);
        script
    }

    /// A session that asks for much.
    pub(super) fn deaf(&mut self, service: &str) -> Script {
        let mut script = Script::new();
        let command = if service == "imap" {
            self.imap_start(&mut script, false);
            "a FETCH 1:* BODY.PEEK[]\r\n".repeat(4)
        } else {
            self.pop3_start(&mut script, false);
            "RETR 1\r\nRETR 2\r\nRETR 3\r\nRETR 4\r\n".repeat(4)
        };
        script.push(("deaf", Step::Send(command.into_bytes())));
        script
    }

    /// A whole session that does honest work.
    pub(super) fn good(&mut self, service: &str) -> Script {
        let mut script = Script::new();
        match service {
            "imap" => {
                self.imap_start(&mut script, false);
                say(&mut script, "FETCH", "a FETCH 1 (FLAGS ENVELOPE BODY.PEEK[])\r\n", "a OK");
                say(&mut script, "LOGOUT", "a LOGOUT\r\n", "* BYE");
            }
            "pop3" => {
                self.pop3_start(&mut script, false);
                say(&mut script, "RETR", "RETR 1\r\n", ".");
                say(&mut script, "QUIT", "QUIT\r\n", "+OK");
            }
            _ => {
                self.mail_start(&mut script, service, false);
                self.data(&mut script, GOOD_BYTES);
                say(&mut script, "QUIT", "QUIT\r\n", "221");
            }
        }
        script
    }

    fn size(&mut self) -> usize {
        let at = SIZE_ODDS.get(self.dice.below(SIZE_ODDS.len())).copied().unwrap_or_default();
        SIZES.get(at).copied().unwrap_or_default()
    }

    fn imap_start(&mut self, script: &mut Script, starttls: bool) {
        script.push(("greeting", Step::Await("* OK")));
        if starttls {
            say(script, "STARTTLS", "a STARTTLS\r\n", "a OK");
            script.push(("handshake", Step::Tls));
        }
        let Account { user, password, .. } = self.account;
        say(script, "LOGIN", &format!("a LOGIN \"{user}\" \"{password}\"\r\n"), "a OK");
        say(script, "SELECT", "a SELECT INBOX\r\n", "a OK");
    }

    fn imap(&mut self, script: &mut Script, starttls: bool) {
        self.imap_start(script, starttls);
        match self.dice.below(7) {
            0 | 1 => {
                say(script, "IDLE", "a IDLE\r\n", "+");
                script.push(("IDLE", Step::Deaf));
                say(script, "IDLE", "DONE\r\n", "a OK");
            }
            2 => {
                let size = self.size();
                say(script, "APPEND", &format!("a APPEND INBOX {{{size}}}\r\n"), "+");
                script.push(("literal", Step::Send(self.messages.message(size))));
                say(script, "literal", "\r\n", "a OK");
            }
            3 => {
                let size = self.size().min(4_096);
                let mut command = format!("a APPEND INBOX {{{size}+}}\r\n").into_bytes();
                command.extend(self.messages.message(size));
                command.extend(b"\r\n");
                script.push(("literal", Step::Send(command)));
                script.push(("literal", Step::Await("a OK")));
            }
            4 => {
                script.push(("FETCH unread", Step::Send(b"a FETCH 1:* BODY.PEEK[]\r\n".to_vec())));
                script.push(("FETCH unread", Step::Deaf));
                script.push(("FETCH unread", Step::Await("a OK")));
            }
            5 => return script.push(("flood", Step::Flood(b"a NOOP\r\n"))),
            _ => say(script, "SEARCH", "a SEARCH TEXT horse\r\n", "a OK"),
        }
        say(script, "LOGOUT", "a LOGOUT\r\n", "* BYE");
    }

    fn pop3_start(&self, script: &mut Script, starttls: bool) {
        script.push(("greeting", Step::Await("+OK")));
        if starttls {
            say(script, "STLS", "STLS\r\n", "+OK");
            script.push(("handshake", Step::Tls));
        }
        say(script, "USER", &format!("USER {}\r\n", self.account.user), "+OK");
        say(script, "PASS", &format!("PASS {}\r\n", self.account.password), "+OK");
    }

    fn pop3(&mut self, script: &mut Script, starttls: bool) {
        self.pop3_start(script, starttls);
        match self.dice.below(3) {
            0 => say(script, "UIDL", "UIDL\r\n", "."),
            1 => {
                let retrievals: String = (1..5).map(|number| format!("RETR {number}\r\n")).collect();
                script.push(("RETR unread", Step::Send(retrievals.into_bytes())));
                script.push(("RETR unread", Step::Deaf));
                script.push(("RETR unread", Step::Await(".")));
            }
            _ => return script.push(("flood", Step::Flood(b"NOOP\r\n"))),
        }
        say(script, "QUIT", "QUIT\r\n", "+OK");
    }

    fn mail_start(&mut self, script: &mut Script, service: &str, starttls: bool) {
        let hello = if service == "lmtp" { "LHLO soak.test\r\n" } else { "EHLO soak.test\r\n" };
        script.push(("greeting", Step::Await("220 ")));
        say(script, "EHLO", hello, "250 ");
        if starttls {
            say(script, "STARTTLS", "STARTTLS\r\n", "220 ");
            script.push(("handshake", Step::Tls));
            say(script, "EHLO", hello, "250 ");
        }
        if service.starts_with("submission") {
            let plain = format!("\0{}\0{}", self.account.user, self.account.password);
            let plain = base64::engine::general_purpose::STANDARD.encode(plain);
            say(script, "AUTH", &format!("AUTH PLAIN {plain}\r\n"), "235");
        }
    }

    fn mail(&mut self, script: &mut Script, service: &str, starttls: bool) {
        self.mail_start(script, service, starttls);
        let size = self.size();
        match self.dice.below(5) {
            0 => return script.push(("flood", Step::Flood(b"NOOP\r\n"))),
            1 | 2 => {
                self.envelope(script);
                let message = self.messages.message(size);
                let (first, last) = message.split_at(size / 2);
                script.push(("BDAT", Step::Send(chunk(first, ""))));
                script.push(("BDAT", Step::Await("250 ")));
                script.push(("BDAT", Step::Send(chunk(last, " LAST"))));
                script.push(("BDAT", Step::Await("250 ")));
            }
            _ => self.data(script, size),
        }
        say(script, "QUIT", "QUIT\r\n", "221");
    }

    fn envelope(&mut self, script: &mut Script) {
        let address = &self.account.address;
        say(script, "MAIL", &format!("MAIL FROM:<{address}>\r\n"), "250 ");
        say(script, "RCPT", &format!("RCPT TO:<{address}>\r\n"), "250 ");
    }

    fn data(&mut self, script: &mut Script, size: usize) {
        self.envelope(script);
        say(script, "DATA", "DATA\r\n", "354");
        script.push(("DATA", Step::Send(self.messages.message(size))));
        say(script, "DATA", ".\r\n", "250 ");
    }
}

/// A command and its answer.
fn say(script: &mut Script, state: &'static str, command: &str, answer: &'static str) {
    script.push((state, Step::Send(command.as_bytes().to_vec())));
    script.push((state, Step::Await(answer)));
}

fn chunk(bytes: &[u8], last: &str) -> Vec<u8> {
    let mut chunk = format!("BDAT {}{last}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_stop_where_they_should() {
        let account = Account { address: "a@b".to_owned(), user: "a".to_owned(), password: "p".to_owned() };
        let (mut dice, mut messages) = (Dice::new(1), Messages::new(1));
        let mut author = Author { dice: &mut dice, messages: &mut messages, account: &account };
        for (service, last, answer) in [
            ("smtp", "STARTTLS", "220 "),
            ("imap", "STARTTLS", "a OK"),
            ("pop3", "STARTTLS", "+OK"),
            ("smtp", "DATA", "354"),
            ("lmtp", "DATA", "354"),
        ] {
            let script = author.up_to(service, last);
            assert!(
                matches!(script.last(), Some((_, Step::Await(line))) if *line == answer),
                "{service} {last}"
            );
            assert!(!script.iter().any(|(_, step)| matches!(step, Step::Tls)), "{service} {last}");
        }
        let tls = |script: Script| script.iter().filter(|(_, step)| matches!(step, Step::Tls)).count();
        assert!((0..50).all(|_| tls(author.script("imaps")) == 1));
        assert!(
            (0..50).any(|_| tls(author.script("smtp")) == 1)
                && (0..50).any(|_| tls(author.script("smtp")) == 0)
        );
    }
}
