//! The session: framing of what comes, the conditions of verbs, limits, and the end.
//!
//! Invariants: a reply is written for each command, in order; nothing is done while the engine is
//! asked; replies wait in `outbox` until there is no more input to look at (RFC 2920 §3.2), and leave
//! before a close.

use super::ask::{Answer, Ask, Peer};
use super::config::{AUTH_LINE_MAX, Kind, ServerConfig};
use super::phase::{Counters, Phase, Question, Transaction};
use super::{auth, mail, message, verb};
use crate::codec::LineReader;
use crate::{Error, Reply};
use bytes::BytesMut;
use estafette_machine::{Action, Actions, Machine, Now, Tls};
use std::sync::Arc;
use std::time::Duration;

/// The actions of a step.
pub(super) type Out = Actions<Ask>;
/// What a verb comes to: done, or the refusal of a bad command, which is counted.
pub(super) type Outcome = Result<(), Reply>;

/// Bytes that the driver may hold while a message is coming.
const BODY_INPUT_MAX: usize = 256 * 1024;
/// Bytes that it may hold beyond a line while commands are coming: what was pipelined behind it.
const PIPELINED_MAX: usize = 4096;

/// The server's side of a connection.
#[derive(Debug)]
pub struct Session {
    pub(super) config: Arc<ServerConfig>,
    pub(super) phase: Phase,
    pub(super) peer: Arc<Peer>,
    pub(super) transaction: Option<Box<Transaction>>,
    pub(super) counters: Counters,
    lines: LineReader,
    outbox: BytesMut,
    /// The server is stopping.
    stopping: bool,
    /// The peer sends nothing more.
    ended: bool,
    /// Input was left when the engine was asked, so `received` is to come without new bytes.
    pending: bool,
    /// The peer got on since the timer was set.
    moved: bool,
    now: Duration,
    /// While a message or a chunk comes: since when, and how much came.
    pub(super) pace: Option<Pace>,
}

/// How a message comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    began: Duration,
    bytes: u64,
}

impl Session {
    /// A session of this listener; `opened` (and for implicit TLS first `secured`) is to come.
    pub fn new(config: Arc<ServerConfig>) -> Session {
        Session {
            config,
            phase: Phase::Opening,
            peer: Arc::default(),
            transaction: None,
            counters: Counters::default(),
            lines: LineReader::default(),
            outbox: BytesMut::new(),
            stopping: false,
            ended: false,
            pending: false,
            moved: true,
            now: Duration::ZERO,
            pace: None,
        }
    }

    /// What is known of the client.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    pub(super) fn is_lmtp(&self) -> bool {
        self.config.kind == Kind::Lmtp
    }

    /// Puts a reply among those that wait.
    pub(super) fn write(&mut self, reply: &Reply) {
        reply.encode(&mut self.outbox);
    }

    /// Says something; a closing reply also closes.
    pub(super) fn say(&mut self, reply: &Reply, out: &mut Out) {
        self.write(reply);
        if reply.is_closing() {
            self.close(out);
        }
    }

    /// Puts a question to the engine.
    pub(super) fn ask(&mut self, question: Question, ask: Ask, out: &mut Out) {
        self.phase = Phase::Asked(question);
        out.push(Action::Ask(ask));
    }

    /// Sends what waits and closes.
    pub(super) fn close(&mut self, out: &mut Out) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.flush(out);
        self.phase = Phase::Closed;
        self.transaction = None;
        out.push(Action::Close);
    }

    /// Starts TLS, after what waits was sent.
    pub(super) fn start_tls(&mut self, out: &mut Out) {
        self.flush(out);
        self.phase = Phase::Securing;
        out.push(Action::Arm(self.config.times.tls));
        out.push(Action::StartTls);
    }

    fn flush(&mut self, out: &mut Out) {
        if !self.outbox.is_empty() {
            out.push(Action::Send(std::mem::take(&mut self.outbox).freeze()));
        }
    }

    /// Counts a bad command, answers it, and closes after too many.
    pub(super) fn refuse(&mut self, reply: &Reply, out: &mut Out) {
        self.say(reply, out);
        self.counters.bad += 1;
        if self.counters.bad >= self.config.limits.bad_commands {
            self.say_goodbye(&Reply::new(421, (4, 7, 0), "too many errors"), out);
        }
    }

    /// Says 421 and closes, unless that is done already.
    pub(super) fn say_goodbye(&mut self, reply: &Reply, out: &mut Out) {
        if !matches!(self.phase, Phase::Closed) {
            self.say(reply, out);
        }
    }

    /// Takes one thing from the input; false when there is no whole one.
    fn advance(&mut self, input: &mut BytesMut, out: &mut Out) -> bool {
        match self.phase {
            Phase::Command | Phase::Auth(_) if self.stopping => false,
            Phase::Command | Phase::Auth(_) => self.line(input, out),
            Phase::Data => message::data_arrived(self, input, out),
            Phase::Chunk(_) => message::chunk_arrived(self, input, out),
            Phase::Opening | Phase::Asked(_) | Phase::Securing | Phase::Closed => false,
        }
    }

    /// The longest line that is framed; which verbs may be that long is decided later.
    fn line_max(&self) -> usize {
        self.config.limits.command_line.max(AUTH_LINE_MAX)
    }

    fn line(&mut self, input: &mut BytesMut, out: &mut Out) -> bool {
        let line = match self.lines.take(input, self.line_max()) {
            Ok(None) => return false,
            Ok(Some(line)) => line,
            Err(error) => {
                if matches!(self.phase, Phase::Auth(_)) {
                    self.phase = Phase::Command;
                }
                self.refuse(&error.reply(), out);
                if error == Error::UnexpectedTls {
                    self.close(out);
                }
                return true;
            }
        };
        let outcome = match std::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Auth(exchange) => auth::response(self, exchange, &line, out),
            _ => self.command(&line, out),
        };
        if let Err(reply) = outcome {
            self.refuse(&reply, out);
        }
        true
    }

    fn command(&mut self, line: &[u8], out: &mut Out) -> Outcome {
        let text = std::str::from_utf8(line).map_err(|_| Error::EightBit)?;
        let (word, argument) = text.split_once(' ').unwrap_or((text, ""));
        let argument = argument.trim_matches(' ');
        let Some(verb) = verb::find(word) else {
            if verb::is_http(word) {
                self.say(&Reply::new(554, (5, 5, 1), "this is not an HTTP server"), out);
                self.close(out);
                return Ok(());
            }
            return Err(Reply::new(500, (5, 5, 1), "command not recognized"));
        };
        if line.len() + 2 > self.config.limits.command_line && verb.name != "AUTH" {
            return Err(Error::LineTooLong.reply());
        }
        if !verb.utf8 && !argument.is_ascii() {
            return Err(Error::EightBit.reply());
        }
        if !verb.argument && !argument.is_empty() {
            return Err(Error::Syntax("no argument is taken").reply());
        }
        if verb.idle {
            self.counters.idle += 1;
            if self.counters.idle > self.config.limits.idle_commands {
                return Err(Reply::new(421, (4, 7, 0), "too many commands without a message"));
            }
        }
        self.conditions(verb.greeted, verb.trusted)?;
        (verb.run)(self, argument, out)
    }

    /// What has to come before a command.
    pub(super) fn conditions(&self, greeted: bool, trusted: bool) -> Outcome {
        if greeted && self.peer.hello.is_empty() {
            let hello = if self.is_lmtp() { "send LHLO first" } else { "send EHLO or HELO first" };
            return Err(Reply::new(503, (5, 5, 1), hello));
        }
        if trusted && self.config.require_tls && self.peer.tls.is_none() {
            return Err(Reply::new(530, (5, 7, 0), "must issue a STARTTLS command first"));
        }
        if trusted && self.config.kind == Kind::Submission && self.peer.identity.is_none() {
            return Err(Reply::new(530, (5, 7, 0), "authentication required"));
        }
        Ok(())
    }

    /// For the next bytes of a message: as long as they may take, and no longer than the whole may.
    fn time_for_data(&mut self) -> Duration {
        let times = self.config.times;
        let pace = *self.pace.get_or_insert(Pace { began: self.now, bytes: 0 });
        let whole = times.data + Duration::from_secs(pace.bytes / u64::from(times.data_rate_min.max(1)));
        times.data.min((pace.began + whole).saturating_sub(self.now))
    }

    /// The end of a step: leave if it is time, else send and set the timer.
    fn settle(&mut self, out: &mut Out) {
        let times = self.config.times;
        let time = match self.phase {
            Phase::Opening | Phase::Asked(_) | Phase::Securing | Phase::Closed => return,
            Phase::Command | Phase::Auth(_) if self.stopping => {
                return self.say_goodbye(&shutting_down(), out);
            }
            _ if self.ended => return self.close(out),
            Phase::Command => times.command,
            Phase::Auth(_) => times.auth,
            Phase::Data | Phase::Chunk(_) => self.time_for_data(),
        };
        if !matches!(self.phase, Phase::Data | Phase::Chunk(_)) {
            self.pace = None;
        }
        self.flush(out);
        if std::mem::take(&mut self.moved) {
            out.push(Action::Arm(time));
        }
    }
}

fn shutting_down() -> Reply {
    Reply::new(421, (4, 3, 2), "the server is shutting down")
}

impl Machine for Session {
    type Ask = Ask;
    type Answer = Answer;

    fn opened(&mut self, now: Now, out: &mut Out) {
        self.now = now.monotonic;
        let protocol = if self.is_lmtp() { "LMTP" } else { "ESMTP" };
        let greeting = format!("{} {protocol} Estafette", self.config.hostname);
        self.phase = Phase::Command;
        self.say(&Reply::bare(220, greeting), out);
        self.settle(out);
    }

    fn received(&mut self, now: Now, input: &mut BytesMut, out: &mut Out) {
        self.now = now.monotonic;
        self.pending = false;
        let before = input.len();
        while self.advance(input, out) {
            self.moved = true;
        }
        if let Some(pace) = &mut self.pace {
            pace.bytes += before.saturating_sub(input.len()) as u64;
        }
        match self.phase {
            // What was sent before the handshake is not answered after it (RFC 3207 §4.2).
            Phase::Securing | Phase::Closed => {
                input.clear();
                self.lines.reset();
            }
            Phase::Asked(_) => self.pending = !input.is_empty(),
            _ => {}
        }
        self.settle(out);
    }

    fn answered(&mut self, now: Now, answer: Answer, out: &mut Out) {
        self.now = now.monotonic;
        let phase = std::mem::replace(&mut self.phase, Phase::Command);
        let Phase::Asked(question) = phase else {
            self.phase = phase;
            return;
        };
        self.moved = true;
        match question {
            Question::Login => auth::answered(self, answer, out),
            Question::Mail(envelope) => mail::mail_answered(self, envelope, answer, out),
            Question::Recipient(recipient) => mail::rcpt_answered(self, recipient, answer, out),
            Question::Data => message::data_answered(self, answer, out),
            Question::Chunk(chunk) => message::chunk_answered(self, chunk, answer, out),
            Question::Part(chunk) => message::part_answered(self, chunk, answer, out),
            Question::Deliver { replies } => message::delivered(self, replies, answer, out),
        }
        // With input left, `received` comes next: its replies can go out together with this one.
        if !self.pending || self.stopping {
            self.settle(out);
        }
    }

    fn secured(&mut self, now: Now, tls: Tls, out: &mut Out) {
        self.now = now.monotonic;
        // Whatever was said in plain is forgotten (RFC 3207 §4.2).
        self.peer = Arc::new(Peer { tls: Some(tls), ..Peer::default() });
        self.transaction = None;
        if matches!(self.phase, Phase::Securing) {
            self.phase = Phase::Command;
            self.moved = true;
            self.settle(out);
        }
    }

    fn timed_out(&mut self, _now: Now, out: &mut Out) {
        match self.phase {
            // The engine's time is not the peer's.
            Phase::Asked(_) | Phase::Closed => {}
            Phase::Opening | Phase::Securing => self.close(out),
            _ => self.say_goodbye(&Reply::new(421, (4, 4, 2), "timed out waiting for you"), out),
        }
    }

    fn closed(&mut self, _now: Now, out: &mut Out) {
        self.ended = true;
        if !self.pending && !matches!(self.phase, Phase::Asked(_)) {
            self.close(out);
        }
    }

    fn shutdown(&mut self, _now: Now, out: &mut Out) {
        self.stopping = true;
        match self.phase {
            Phase::Command | Phase::Auth(_) => self.say_goodbye(&shutting_down(), out),
            Phase::Opening | Phase::Securing => self.close(out),
            // A message on its way is taken and answered first.
            _ => {}
        }
    }

    fn overflowed(&mut self, _now: Now, input: &mut BytesMut, out: &mut Out) {
        input.clear();
        self.refuse(&Error::LineEndless.reply(), out);
        self.close(out);
    }

    fn input_limit(&self) -> usize {
        match self.phase {
            Phase::Data | Phase::Chunk(_) => BODY_INPUT_MAX,
            _ => self.line_max() + PIPELINED_MAX,
        }
    }
}
