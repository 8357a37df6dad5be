//! The session: answers the commands of one connection.
//!
//! Duty: order. It reads commands one by one, puts at most one question to the engine at a time, and
//! prints in the order of the commands. What each command does is in [`commands`], a file for each;
//! what the client sees of its mailbox in `view`; what it is told without asking in `sync`.
//! Must not: do I/O, know the grammar (that is [`crate::codec`]'s) or the engine's types.
//!
//! Invariants: nothing is printed between the pieces of a response; sequence numbers change only by
//! what is printed; what waits for the peer is bounded by [`Config::unsent_bytes_max`] and one batch.

pub mod ask;
mod commands;
mod config;
mod core;
pub mod criteria;
mod flags;
mod names;
mod sync;
mod view;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use ask::{Answer, Ask};
pub use config::Config;
pub use criteria::{Criterion, Folded, Reach, SearchSubject};
pub use flags::{Flags, SystemFlags};

use self::ask::Failure;
use self::commands::{Open, capability, idle};
use self::core::{Account, Core, Finished, Next};
use self::sync::Then;
use crate::codec::command::Tag;
use crate::codec::fault::{CommandError, Fault};
use crate::codec::framer::{Framed, Framer, Limits, Line};
use crate::codec::parse;
use crate::codec::response::{Code, Condition};
use bytes::BytesMut;
use estafette_machine::{Action, Actions, Machine, Now, Tls};
use std::sync::Arc;
use std::time::Duration;

/// A session of one client.
#[derive(Debug)]
pub struct Session {
    core: Core,
    framer: Framer,
    wait: Wait,
    /// When the connection was opened.
    opened_at: Duration,
    /// When the client last did something.
    active_at: Duration,
    /// The server stops: no further command.
    stopping: bool,
    /// The client sends nothing more.
    half_closed: bool,
}

/// What the session waits for.
#[derive(Debug)]
enum Wait {
    /// A command.
    Command,
    /// The answer to the challenge of AUTHENTICATE.
    Challenge(Tag),
    /// News, or DONE.
    Idle(Tag),
    /// The engine.
    Engine(Open),
    /// The peer, to take what was printed.
    Drain(Open),
    /// The TLS handshake.
    Handshake,
    /// Nothing any more.
    Over,
}

impl Session {
    /// A session that has not begun.
    pub fn new(config: Arc<Config>) -> Session {
        Session {
            framer: Framer::new(config.limits_before_login),
            core: Core::new(config),
            wait: Wait::Command,
            opened_at: Duration::ZERO,
            active_at: Duration::ZERO,
            stopping: false,
            half_closed: false,
        }
    }

    /// A session that begins after its login, which was made elsewhere: its client has been greeted and answered, and
    /// hears of this session by the answer to its next command.
    pub fn admitted(config: Arc<Config>, append_limit: u64) -> Session {
        let mut session = Session::new(config);
        session.core.account = Some(Account { append_limit });
        session.framer = Framer::new(session.limits_after_login());
        session
    }

    fn limits_after_login(&self) -> Limits {
        Limits { append: self.core.append_limit(), ..self.core.config.limits }
    }

    /// True after the login.
    pub fn logged_in(&self) -> bool {
        self.core.account.is_some()
    }

    fn take_wait(&mut self) -> Wait {
        std::mem::replace(&mut self.wait, Wait::Over)
    }

    /// Reads the next command, or line; `None` when there is none yet.
    fn read(&mut self, input: &mut BytesMut, out: &mut Actions<Ask>) -> Option<Next> {
        match self.take_wait() {
            Wait::Command => {
                self.wait = Wait::Command;
                self.read_command(input, out)
            }
            Wait::Challenge(tag) => match self.framer.line(input) {
                Line::Line(line) => Some(commands::challenge_answered(&mut self.core, tag, &line)),
                other => self.no_line(other, tag, Wait::Challenge),
            },
            Wait::Idle(tag) => match self.framer.line(input) {
                Line::Line(line) => {
                    out.push(Action::Arm(self.core.config.idle_timeout));
                    Some(idle::line(tag, &line))
                }
                other => self.no_line(other, tag, Wait::Idle),
            },
            busy => {
                self.wait = busy;
                None
            }
        }
    }

    fn no_line(&mut self, line: Line, tag: Tag, wait: fn(Tag) -> Wait) -> Option<Next> {
        match line {
            Line::Refused(fault) => Some(self.refused(&CommandError { tag: Some(tag), fault })),
            Line::Fatal(fault) => Some(self.fatal(&CommandError { tag: Some(tag), fault })),
            Line::Incomplete | Line::Line(_) => {
                self.wait = wait(tag);
                None
            }
        }
    }

    fn read_command(&mut self, input: &mut BytesMut, out: &mut Actions<Ask>) -> Option<Next> {
        loop {
            match self.framer.next(input) {
                Framed::Incomplete => return None,
                Framed::Continue(_) => {
                    self.core.encoder.continuation("OK");
                    self.flush(out);
                }
                Framed::Part { first, size, pieces } => {
                    let deposit = if first { None } else { self.core.deposits.pop() };
                    return Some(Next::Ask(Ask::Part { deposit, size, pieces }, Open::Part));
                }
                Framed::Frame(frame) => {
                    return Some(match parse::command(&frame, self.core.dialect()) {
                        Ok(command) => {
                            let next = commands::start(&mut self.core, command);
                            self.core.deposits.clear();
                            next
                        }
                        Err(error) => self.refused(&error),
                    });
                }
                Framed::Refused(error) => return Some(self.refused(&error)),
                Framed::Fatal(error) => return Some(self.fatal(&error)),
            }
        }
    }

    /// Says what is wrong with a command.
    fn refused(&mut self, error: &CommandError) -> Next {
        self.core.deposits.clear();
        let condition = error.fault.condition();
        let (code, text) = (error.fault.code(), error.fault.to_string());
        match &error.tag {
            Some(tag) => self.core.encoder.tagged(tag, condition, code.as_ref(), &text),
            None => self.core.encoder.untagged(condition, code.as_ref(), &text),
        }
        Next::Over(condition)
    }

    fn fatal(&mut self, error: &CommandError) -> Next {
        let _ = self.refused(error);
        Next::Bye(match error.fault {
            Fault::BareLineFeed => "Lines must end with CR LF",
            _ => "Too much input",
        })
    }

    /// Does what a command wants next, until something has to be waited for.
    fn settle(&mut self, mut next: Next, out: &mut Actions<Ask>) {
        loop {
            next = match next {
                Next::Finish(finished) => self.finish(finished),
                Next::Done(Finished { tag, outcome, .. }) => {
                    self.core.encoder.tagged(&tag, outcome.condition, outcome.code.as_ref(), &outcome.text);
                    Next::Over(outcome.condition)
                }
                Next::Over(condition) => match self.between_commands(condition, out) {
                    Some(next) => next,
                    None => return,
                },
                Next::Drain(open) => {
                    self.flush(out);
                    if self.core.unsent >= self.core.config.unsent_bytes_max {
                        self.wait = Wait::Drain(open);
                        return;
                    }
                    open.drained(&mut self.core)
                }
                Next::Ask(ask, open) => {
                    self.flush(out);
                    out.push(Action::Ask(ask));
                    self.wait = Wait::Engine(open);
                    return;
                }
                waiting => return self.wait_or_close(waiting, out),
            };
        }
    }

    fn finish(&mut self, finished: Finished) -> Next {
        let (expunges, look) = (finished.expunges, finished.look);
        match sync::begin(&mut self.core, Then::Finish(finished), expunges, look) {
            Ok(next) => next,
            Err(Then::Finish(finished)) => Next::Done(finished),
            Err(Then::Idle(tag)) => Next::Idle(tag),
        }
    }

    /// A command is over: waits for the next one, unless there shall be none.
    fn between_commands(&mut self, condition: Condition, out: &mut Actions<Ask>) -> Option<Next> {
        let core = &mut self.core;
        core.bad_commands = match condition {
            Condition::Bad => core.bad_commands.saturating_add(1),
            Condition::Ok => 0,
            _ => core.bad_commands,
        };
        let max = match core.account {
            Some(_) => core.config.bad_commands_max,
            None => core.config.bad_commands_max_before_login,
        };
        if core.bad_commands >= max {
            return Some(Next::Bye("Too many invalid commands"));
        }
        if self.stopping {
            return Some(Next::Bye("The server is stopping"));
        }
        self.flush(out);
        self.wait = Wait::Command;
        self.arm_if_half_closed(out);
        None
    }

    /// What the client sent before it stopped is still to be read; the timer comes after it.
    fn arm_if_half_closed(&self, out: &mut Actions<Ask>) {
        if self.half_closed {
            out.push(Action::Arm(Duration::ZERO));
        }
    }

    fn wait_or_close(&mut self, next: Next, out: &mut Actions<Ask>) {
        match next {
            Next::Challenge(tag) => {
                self.core.encoder.challenge(b"");
                self.flush(out);
                self.arm_if_half_closed(out);
                self.wait = Wait::Challenge(tag);
            }
            Next::Idle(tag) if !self.stopping => {
                self.flush(out);
                out.push(Action::Arm(self.core.config.idle_keepalive.min(self.core.config.idle_timeout)));
                self.arm_if_half_closed(out);
                self.wait = Wait::Idle(tag);
            }
            Next::StartTls => {
                self.flush(out);
                self.framer.reset();
                out.push(Action::StartTls);
                self.wait = Wait::Handshake;
            }
            Next::Logout(tag) => {
                self.core.encoder.untagged(Condition::Bye, None, "Until next time");
                self.core.encoder.tagged(&tag, Condition::Ok, None, "LOGOUT completed");
                self.close(out);
            }
            Next::Bye(text) => self.bye(None, text, out),
            Next::Idle(_) => self.bye(Some(Code::Unavailable), "The server is stopping", out),
            _ => self.close(out),
        }
    }

    /// Nothing more can be answered here: the client is to connect again.
    fn part(&mut self, open: &Open, out: &mut Actions<Ask>) {
        if open.mid_response() {
            return self.close(out);
        }
        self.bye(Some(Code::Unavailable), "Your mailboxes have moved, please connect again", out);
    }

    fn bye(&mut self, code: Option<Code>, text: &str, out: &mut Actions<Ask>) {
        self.core.encoder.untagged(Condition::Bye, code.as_ref(), text);
        self.close(out);
    }

    fn close(&mut self, out: &mut Actions<Ask>) {
        self.core.view = None;
        self.core.deposits.clear();
        self.flush(out);
        out.push(Action::Close);
        self.wait = Wait::Over;
    }

    fn flush(&mut self, out: &mut Actions<Ask>) {
        out.extend(self.core.take_printed().into_iter().map(Action::Send));
    }

    fn step(&mut self, now: Now) {
        self.core.now = now;
        self.active_at = now.monotonic;
    }

    /// What is left of the time that the client has; the login has one limit in all.
    fn time_left(&self, now: Now) -> Duration {
        let config = &self.core.config;
        let (since, limit) = match self.core.account {
            Some(_) => (self.active_at, config.idle_timeout),
            None => (self.opened_at, config.login_timeout),
        };
        (since + limit).saturating_sub(now.monotonic)
    }
}

impl Machine for Session {
    type Ask = Ask;
    type Answer = Answer;

    fn opened(&mut self, now: Now, out: &mut Actions<Ask>) {
        self.step(now);
        self.opened_at = now.monotonic;
        if self.logged_in() {
            return out.push(Action::Arm(self.core.config.idle_timeout));
        }
        let code = Code::Capability(capability::names(&self.core));
        let greeting = format!("{} Estafette ready", self.core.config.host_name);
        self.core.encoder.untagged(Condition::Ok, Some(&code), &greeting);
        self.flush(out);
        out.push(Action::Arm(self.core.config.login_timeout));
    }

    fn received(&mut self, now: Now, input: &mut BytesMut, out: &mut Actions<Ask>) {
        self.step(now);
        while let Some(next) = self.read(input, out) {
            self.settle(next, out);
            if matches!(self.wait, Wait::Handshake) {
                input.clear();
            }
        }
    }

    fn answered(&mut self, now: Now, answer: Answer, out: &mut Actions<Ask>) {
        self.step(now);
        match self.take_wait() {
            Wait::Engine(open) if matches!(answer, Answer::Failed(Failure::Elsewhere)) => {
                self.part(&open, out)
            }
            Wait::Engine(open) => {
                let before = self.logged_in();
                let next = open.answered(&mut self.core, answer);
                if let Some(fault) = self.core.part_refused.take() {
                    self.framer.refuse(fault);
                }
                if !before && self.logged_in() {
                    self.framer.set_limits(self.limits_after_login());
                    out.push(Action::Arm(self.core.config.idle_timeout));
                }
                self.settle(next, out);
            }
            other => self.wait = other,
        }
    }

    fn secured(&mut self, now: Now, tls: Tls, _out: &mut Actions<Ask>) {
        self.step(now);
        self.core.tls = Some(tls);
        if matches!(self.wait, Wait::Handshake) {
            self.wait = Wait::Command;
        }
    }

    fn timed_out(&mut self, now: Now, out: &mut Actions<Ask>) {
        self.core.now = now;
        let left = self.time_left(now);
        match self.take_wait() {
            Wait::Over => {}
            Wait::Command | Wait::Challenge(_) | Wait::Idle(_) if self.half_closed => self.close(out),
            Wait::Engine(open) => {
                // The engine is slow, not the client.
                self.wait = Wait::Engine(open);
                out.push(Action::Arm(left.max(self.core.config.login_timeout)));
            }
            Wait::Idle(tag) if left > Duration::ZERO => {
                self.core.encoder.untagged(Condition::Ok, None, "Still here");
                self.flush(out);
                self.wait = Wait::Idle(tag);
                out.push(Action::Arm(left.min(self.core.config.idle_keepalive)));
            }
            waiting if left > Duration::ZERO => {
                self.wait = waiting;
                out.push(Action::Arm(left));
            }
            Wait::Handshake => self.close(out),
            Wait::Drain(open) if open.mid_response() => self.close(out),
            _ => self.bye(None, "Nothing was heard from you for too long", out),
        }
    }

    fn closed(&mut self, now: Now, out: &mut Actions<Ask>) {
        self.core.now = now;
        self.half_closed = true;
        match self.wait {
            Wait::Engine(_) | Wait::Drain(_) | Wait::Over => {}
            _ => self.close(out),
        }
    }

    fn shutdown(&mut self, now: Now, out: &mut Actions<Ask>) {
        self.core.now = now;
        self.stopping = true;
        match self.wait {
            Wait::Engine(_) | Wait::Drain(_) | Wait::Over => {}
            Wait::Handshake => self.close(out),
            _ => self.bye(Some(Code::Unavailable), "The server is stopping", out),
        }
    }

    fn drained(&mut self, now: Now, out: &mut Actions<Ask>) {
        self.core.now = now;
        self.core.unsent = 0;
        match self.take_wait() {
            Wait::Drain(open) => {
                self.active_at = now.monotonic;
                let next = open.drained(&mut self.core);
                self.settle(next, out);
            }
            other => self.wait = other,
        }
    }

    fn notified(&mut self, now: Now, out: &mut Actions<Ask>) {
        self.core.now = now;
        match self.take_wait() {
            Wait::Idle(tag) => {
                let next = idle::news(&mut self.core, tag);
                self.settle(next, out);
            }
            other => {
                self.wait = other;
                if let Some(view) = &mut self.core.view {
                    view.notify();
                }
            }
        }
    }

    fn overflowed(&mut self, now: Now, input: &mut BytesMut, out: &mut Actions<Ask>) {
        self.step(now);
        // The framer takes what is too long by itself; what is left here waits for a slow engine.
        input.clear();
        match self.take_wait() {
            Wait::Over => {}
            Wait::Engine(open) | Wait::Drain(open) if open.mid_response() => self.close(out),
            Wait::Handshake => self.close(out),
            _ => self.bye(None, "Too much input", out),
        }
    }

    fn input_limit(&self) -> usize {
        self.framer.input_limit()
    }

    fn watching(&self) -> bool {
        self.core.view.is_some()
    }
}
