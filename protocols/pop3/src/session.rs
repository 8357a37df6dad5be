//! The session: framing of lines, states, and what waits for what.
//!
//! Invariants: at most one question is open; while `busy` is not [`Busy::Free`] no command is carried
//! out, so answers come in the order of the commands; all input is taken at once and kept here, within
//! a limit, so that pipelined commands go on without new input (RFC 2449 §6.6).

mod login;
mod sending;
#[cfg(test)]
mod tests;
mod transaction;

use crate::command::Command;
use crate::config::{COMMAND_LINE_MAX_BYTES, OUTPUT_BATCH_BYTES, PIPELINE_MAX_BYTES, SASL_LINE_MAX_BYTES};
use crate::maildrop::Maildrop;
use crate::{Answer, Ask, Config, Error, Failure};
use bytes::{Buf, Bytes, BytesMut};
use estafette_machine::{Action, Actions, Machine, Now, Tls};
use estafette_types::AccountId;
use login::Exchange;
use sending::{Listing, Reading};
use std::sync::Arc;

type Out = Actions<Ask>;

/// A POP3 session.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    state: State,
    busy: Busy,
    tls: Option<Tls>,
    utf8: bool,
    input: BytesMut,
    /// The rest of a line that was too long is thrown away.
    skipping: bool,
    /// The client sends nothing more; the server is stopping.
    half_closed: bool,
    stopping: bool,
    auth_failures: u32,
    errors: u32,
    /// Bytes put out since the output was last known to be empty.
    waiting_bytes: usize,
}

/// The states of RFC 1939; UPDATE is [`Busy::Asking`] with [`Question::Delete`].
#[derive(Debug)]
enum State {
    /// AUTHORIZATION, with the name that USER gave.
    Authorization(Option<String>),
    /// AUTHORIZATION, within AUTH.
    Exchange(Exchange),
    /// TRANSACTION.
    Transaction(Maildrop),
    /// [`Action::Close`] was said.
    Closed,
}

/// What must come to its end before the next command.
#[derive(Debug)]
enum Busy {
    Free,
    /// A question is open.
    Asking(Question),
    /// Much waits to be sent.
    Draining,
    /// A listing goes on when the output is empty.
    Listing(Listing),
    /// A message goes on when the output is empty.
    Sending(Reading),
}

#[derive(Debug)]
enum Question {
    Login,
    Open,
    /// As `Open`, for a session that has nothing to do without its maildrop.
    Admit(AccountId),
    Read(Reading),
    Delete {
        count: u32,
    },
}

impl Session {
    /// A session that is not opened yet.
    pub fn new(config: Arc<Config>) -> Session {
        Session {
            config,
            state: State::Authorization(None),
            busy: Busy::Free,
            tls: None,
            utf8: false,
            input: BytesMut::new(),
            skipping: false,
            half_closed: false,
            stopping: false,
            auth_failures: 0,
            errors: 0,
            waiting_bytes: 0,
        }
    }

    /// A session that begins behind a login which was made elsewhere and is still to be answered: it opens the maildrop, says
    /// how the login ended, and ends with a login that failed.
    pub fn admitted(config: Arc<Config>, account: AccountId) -> Session {
        let mut session = Session::new(config);
        session.busy = Busy::Asking(Question::Admit(account));
        // Whatever it was over, a password was taken there; there is no TLS to begin here.
        session.tls = Some(Tls::default());
        session
    }

    fn send(&mut self, bytes: impl Into<Bytes>, out: &mut Out) {
        let bytes = bytes.into();
        self.waiting_bytes = self.waiting_bytes.saturating_add(bytes.len());
        out.push(Action::Send(bytes));
    }

    /// A response of one line, with its status.
    fn say(&mut self, response: &str, out: &mut Out) {
        self.send(format!("{response}\r\n"), out);
    }

    fn ask(&mut self, question: Question, ask: Ask, out: &mut Out) {
        self.busy = Busy::Asking(question);
        out.push(Action::Ask(ask));
    }

    fn close(&mut self, out: &mut Out) {
        self.state = State::Closed;
        self.busy = Busy::Free;
        self.input.clear();
        out.push(Action::Close);
    }

    fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    fn arm(&self, out: &mut Out) {
        // Until the login one timer runs for all, so that a slow client cannot stay by sending little.
        if matches!(self.state, State::Transaction(_)) {
            out.push(Action::Arm(self.config.idle_timeout));
        }
    }

    /// Carries out commands as long as nothing has to be waited for.
    fn work(&mut self, out: &mut Out) {
        while !self.is_closed() && matches!(self.busy, Busy::Free) {
            if self.stopping {
                self.say("-ERR [SYS/TEMP] the server is stopping", out);
                return self.close(out);
            }
            if self.waiting_bytes > OUTPUT_BATCH_BYTES {
                self.busy = Busy::Draining;
                return;
            }
            match self.next_line() {
                Some(Ok(line)) => {
                    self.arm(out);
                    self.line(&line, out);
                }
                Some(Err(error)) => self.error(error, out),
                None if self.half_closed => self.close(out),
                None => return,
            }
        }
    }

    /// Takes a line from the input, without its CR LF.
    fn next_line(&mut self) -> Option<Result<Bytes, Error>> {
        let limit = self.line_max();
        let Some(length) = memchr::memchr(b'\n', &self.input) else {
            if self.input.len() >= limit {
                self.skipping = true;
                // The last byte may be the CR of the line's end. It lies in no buffer that was large enough for the rest.
                self.input =
                    self.input.last().map_or_else(BytesMut::new, |last| BytesMut::from(&[*last][..]));
            }
            return None;
        };
        let mut line = self.input.split_to(length).freeze();
        self.input.advance(1);
        let skipped = std::mem::take(&mut self.skipping);
        if line.last() != Some(&b'\r') {
            return Some(Err(Error::BareLf));
        }
        line.truncate(line.len().saturating_sub(1));
        // With its line end.
        let too_long = skipped || length.saturating_add(1) > limit;
        Some(if too_long { Err(Error::TooLong) } else { Ok(line) })
    }

    fn line_max(&self) -> usize {
        match self.state {
            State::Exchange(_) => SASL_LINE_MAX_BYTES,
            // An initial response may stand in the line of AUTH itself.
            State::Authorization(_)
                if self.input.get(..4).is_some_and(|w| w.eq_ignore_ascii_case(b"AUTH")) =>
            {
                SASL_LINE_MAX_BYTES
            }
            _ => COMMAND_LINE_MAX_BYTES,
        }
    }

    fn line(&mut self, line: &[u8], out: &mut Out) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Exchange(exchange) => self.exchange(exchange, line, out),
            State::Closed => {}
            state => {
                self.state = state;
                match Command::parse(line) {
                    Ok(command) => self.command(command, out),
                    Err(error) => self.error(error, out),
                }
            }
        }
    }

    /// A command that cannot be understood. After a bare LF the session ends: where the next command
    /// begins is not sure.
    fn error(&mut self, error: Error, out: &mut Out) {
        if let State::Exchange(_) = self.state {
            self.state = State::Authorization(None);
        }
        self.errors = self.errors.saturating_add(1);
        self.say(&format!("-ERR {error}"), out);
        if error == Error::BareLf || self.errors >= self.config.errors_max {
            self.close(out);
        }
    }

    fn command(&mut self, command: Command, out: &mut Out) {
        match (command, &self.state) {
            (Command::Capa, _) => self.capabilities(out),
            (Command::Quit, _) => self.quit(out),
            (Command::Apop, State::Authorization(_)) => self.say("-ERR APOP is not offered", out),
            (command, State::Authorization(_)) => self.authorization(command, out),
            (command, _) => self.transaction(command, out),
        }
    }

    fn passwords_allowed(&self) -> bool {
        self.tls.is_some() || !self.config.require_tls_for_auth
    }

    fn stls_allowed(&self) -> bool {
        self.config.offer_stls && self.tls.is_none() && matches!(self.state, State::Authorization(_))
    }

    fn capabilities(&mut self, out: &mut Out) {
        let mut text = String::from(
            "+OK capabilities\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\nUTF8\r\n",
        );
        if self.passwords_allowed() {
            text.push_str("USER\r\nSASL PLAIN LOGIN\r\n");
        }
        if self.stls_allowed() {
            text.push_str("STLS\r\n");
        }
        text.push_str("IMPLEMENTATION ");
        text.push_str(&self.config.implementation);
        text.push_str("\r\n.\r\n");
        self.send(text, out);
    }

    fn quit(&mut self, out: &mut Out) {
        match &self.state {
            State::Transaction(maildrop) if maildrop.marked() > 0 => {
                let (uids, count) = (maildrop.marked_uids(), maildrop.marked());
                self.ask(Question::Delete { count }, Ask::Delete { uids }, out);
            }
            _ => {
                self.say("+OK bye", out);
                self.close(out);
            }
        }
    }

    /// The answer to QUIT, when there was something to delete.
    fn deleted(&mut self, answer: &Answer, count: u32, out: &mut Out) {
        match answer {
            Answer::Deleted => self.say(&format!("+OK bye, deleted: {count}"), out),
            Answer::Failed(failure) => {
                self.say(&format!("-ERR {} the messages were not deleted", code(*failure)), out);
            }
            _ => self.say("-ERR [SYS/TEMP] the messages were not deleted", out),
        }
        self.close(out);
    }
}

/// The response code of a failure (RFC 3206 §4).
fn code(failure: Failure) -> &'static str {
    match failure {
        Failure::Temporary => "[SYS/TEMP]",
        Failure::Permanent => "[SYS/PERM]",
    }
}

impl Machine for Session {
    type Ask = Ask;
    type Answer = Answer;

    fn opened(&mut self, _now: Now, out: &mut Out) {
        out.push(Action::Arm(self.config.login_timeout));
        if let Busy::Asking(Question::Admit(account)) = self.busy {
            return out.push(Action::Ask(Ask::Open { account }));
        }
        let greeting = format!("+OK {}", self.config.greeting);
        self.say(&greeting, out);
    }

    fn received(&mut self, _now: Now, input: &mut BytesMut, out: &mut Out) {
        if self.is_closed() {
            return input.clear();
        }
        let room = PIPELINE_MAX_BYTES.saturating_sub(self.input.len());
        self.input.unsplit(input.split_to(room.min(input.len())));
        self.work(out);
    }

    fn answered(&mut self, _now: Now, answer: Answer, out: &mut Out) {
        match std::mem::replace(&mut self.busy, Busy::Free) {
            Busy::Asking(Question::Login) => self.login_answered(answer, out),
            Busy::Asking(Question::Open) => self.open_answered(answer, out),
            Busy::Asking(Question::Admit(_)) => {
                self.open_answered(answer, out);
                if !matches!(self.state, State::Transaction(_)) {
                    self.close(out);
                }
            }
            Busy::Asking(Question::Read(reading)) => self.read_answered(answer, reading, out),
            Busy::Asking(Question::Delete { count }) => self.deleted(&answer, count, out),
            // An answer that nobody waits for.
            busy => self.busy = busy,
        }
        self.work(out);
    }

    /// The login is answered by who opens the maildrop.
    fn handed_over(&mut self, _now: Now, _answer: Answer, _out: &mut Out) -> BytesMut {
        self.state = State::Closed;
        self.busy = Busy::Free;
        std::mem::take(&mut self.input)
    }

    fn secured(&mut self, _now: Now, tls: Tls, out: &mut Out) {
        // What was said in plain is forgotten (RFC 2595 §4).
        self.tls = Some(tls);
        if !self.is_closed() {
            self.state = State::Authorization(None);
            self.busy = Busy::Free;
        }
        self.utf8 = false;
        self.input.clear();
        self.work(out);
    }

    /// RFC 1939 §3: the session ends without a response, and no message is deleted.
    fn timed_out(&mut self, _now: Now, out: &mut Out) {
        if !self.is_closed() {
            self.close(out);
        }
    }

    fn closed(&mut self, _now: Now, out: &mut Out) {
        self.half_closed = true;
        self.work(out);
    }

    fn shutdown(&mut self, _now: Now, out: &mut Out) {
        self.stopping = true;
        self.work(out);
    }

    fn drained(&mut self, _now: Now, out: &mut Out) {
        self.waiting_bytes = 0;
        if self.is_closed() {
            return;
        }
        match std::mem::replace(&mut self.busy, Busy::Free) {
            Busy::Listing(listing) => {
                self.arm(out);
                self.go_on_listing(listing, out);
            }
            Busy::Sending(reading) => {
                self.arm(out);
                self.read_on(reading, out);
            }
            Busy::Draining | Busy::Free => {}
            asking => self.busy = asking,
        }
        self.work(out);
    }

    /// Only while the session is busy and holds all the pipelined commands that it may.
    fn overflowed(&mut self, _now: Now, input: &mut BytesMut, out: &mut Out) {
        input.clear();
        if !self.is_closed() {
            self.say("-ERR too many commands at once", out);
            self.close(out);
        }
    }

    fn input_limit(&self) -> usize {
        PIPELINE_MAX_BYTES
    }
}
