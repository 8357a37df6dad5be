//! The contract between a protocol session and the driver that runs it.
//!
//! A session is a value with steps: bytes or an event and the time go in, [`Action`]s come out. It
//! never blocks, sleeps, reads a clock or a socket, so the same session runs on tokio, on io_uring,
//! in a fuzzer and in a simulation.
//!
//! What the driver promises:
//! - `opened` is called first and once; after an [`Action::Close`] nothing is called any more.
//! - While an [`Action::Ask`] is unanswered, neither `received` nor `notified` is called: only
//!   `answered`, `timed_out`, `closed` or `shutdown`. A session has at most one question open.
//! - `received` is not called while more than a limit of the output waits to be sent. `drained` is
//!   called once all of it has left and no question is open, so that a session can go on with a long
//!   answer piece by piece; input that it had left is given again after a `drained` that did something.
//! - Nothing is read from the peer while a question is open, so an engine that takes a message part by part
//!   ([`Deposit`]) slows its sender down.
//! - An answer may end a session that goes on elsewhere: `handed_over` brings it, and is the last that is called.
//! - Actions of one step are carried out in their order.
//! - Bytes that the session leaves in `input` are given again, with what came after them; the
//!   driver bounds how many it holds, by [`Machine::input_limit`], and calls `overflowed` past it.
#![forbid(unsafe_code)]

mod deposit;

pub use deposit::Deposit;

use bytes::{Bytes, BytesMut};
use std::time::Duration;

/// The time of a step, as the driver tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Since an arbitrary moment; never goes back.
    pub monotonic: Duration,
    /// Milliseconds since 1970-01-01 UTC.
    pub unix_ms: u64,
}

/// What a session wants done.
#[derive(Debug)]
pub enum Action<Ask> {
    /// Send these bytes.
    Send(Bytes),
    /// After all that was sent has left: start TLS as the server. The session has thrown away what
    /// was still in its input (RFC 3207 §4.2); the driver calls `secured` when the handshake is done.
    StartTls,
    /// Put a question to the engine; `answered` brings the answer.
    Ask(Ask),
    /// Set the one timer of the session; replaces what was set. `timed_out` is called when it runs out.
    Arm(Duration),
    /// Send what waits, then close. The last action of a session.
    Close,
}

/// The actions of a step, in order.
pub type Actions<Ask> = Vec<Action<Ask>>;

/// What is known of a TLS connection once the handshake is done.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tls {
    /// For example `TLSv1.3`.
    pub version: String,
    /// The cipher suite's IANA name.
    pub cipher: String,
    /// The name that the client asked for (SNI).
    pub server_name: Option<String>,
}

/// A protocol session without I/O.
pub trait Machine {
    /// What the session asks of the engine.
    type Ask;
    /// What the engine answers.
    type Answer;

    /// The connection is open (and, on an implicit TLS port, `secured` comes first).
    fn opened(&mut self, now: Now, out: &mut Actions<Self::Ask>);
    /// Bytes arrived. The session takes what it understands from the front of `input`.
    fn received(&mut self, now: Now, input: &mut BytesMut, out: &mut Actions<Self::Ask>);
    /// The engine answered the open question.
    fn answered(&mut self, now: Now, answer: Self::Answer, out: &mut Actions<Self::Ask>);
    /// The engine answered the open question, and from here on others go on with the session. It says what is still its own to
    /// say, asks nothing, and gives back what it has taken of its input and not carried out.
    fn handed_over(&mut self, now: Now, answer: Self::Answer, out: &mut Actions<Self::Ask>) -> BytesMut {
        self.answered(now, answer, out);
        BytesMut::new()
    }
    /// TLS is up.
    fn secured(&mut self, now: Now, tls: Tls, out: &mut Actions<Self::Ask>);
    /// The timer ran out.
    fn timed_out(&mut self, now: Now, out: &mut Actions<Self::Ask>);
    /// The peer will send nothing more.
    fn closed(&mut self, now: Now, out: &mut Actions<Self::Ask>);
    /// The server is stopping: say so (421, BYE) and close at the next good moment.
    fn shutdown(&mut self, now: Now, out: &mut Actions<Self::Ask>);
    /// All that was sent has left the program.
    fn drained(&mut self, _now: Now, _out: &mut Actions<Self::Ask>) {}
    /// Something that the session watches has changed (new mail while in IDLE).
    fn notified(&mut self, _now: Now, _out: &mut Actions<Self::Ask>) {}
    /// More bytes than [`Machine::input_limit`] wait and the session takes none of them.
    fn overflowed(&mut self, now: Now, input: &mut BytesMut, out: &mut Actions<Self::Ask>);
    /// How many bytes the driver may hold for the session at this moment.
    fn input_limit(&self) -> usize;
    /// True while `notified` should be called.
    fn watching(&self) -> bool {
        false
    }
}
