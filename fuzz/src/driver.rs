//! A driver for sessions that keeps the contract of `estafette_machine` and checks the session's side
//! of it: one question at a time, nothing after the close, nothing left lying that could be done.

use crate::Dice;
use bytes::BytesMut;
use estafette_machine::{Action, Actions, Machine, Now, Tls};
use std::time::Duration;

/// Stands in the input for the moment at which a TLS handshake is done.
pub const HANDSHAKE: &[u8] = b"<TLS>";

/// What answers the session.
pub trait Engine<M: Machine> {
    fn answer(&mut self, ask: M::Ask) -> M::Answer;
}

/// When the engine answers.
#[derive(Clone, Debug)]
pub enum Pace {
    AtOnce,
    /// Between the segments of the input, by chance.
    Late(Dice),
}

/// How a connection ends, once all input was read and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Nothing,
    Closed,
    TimedOut,
    Shutdown,
}

impl End {
    pub fn of(number: u8) -> End {
        [End::Nothing, End::Closed, End::TimedOut, End::Shutdown][usize::from(number % 4)]
    }
}

/// A session, its engine, and what came of them.
pub struct Driver<M: Machine, E> {
    pub machine: M,
    pub engine: E,
    pub said: Vec<u8>,
    pub closed: bool,
    input: BytesMut,
    asked: Option<M::Ask>,
    /// Output waits to be told as sent.
    sent: bool,
    handshake: bool,
    clock: Duration,
}

impl<M: Machine, E: Engine<M>> Driver<M, E> {
    pub fn new(machine: M, engine: E, implicit_tls: bool) -> Driver<M, E> {
        let mut driver = Driver {
            machine,
            engine,
            said: Vec::new(),
            closed: false,
            input: BytesMut::new(),
            asked: None,
            sent: false,
            handshake: false,
            clock: Duration::from_secs(1000),
        };
        if implicit_tls {
            driver.step(|machine, now, _, out| machine.secured(now, Tls::default(), out));
        }
        driver.step(|machine, now, _, out| machine.opened(now, out));
        driver
    }

    /// One step and its actions; true when there were any.
    fn step(&mut self, act: impl FnOnce(&mut M, Now, &mut BytesMut, &mut Actions<M::Ask>)) -> bool {
        assert!(!self.closed, "a step after the close");
        let mut out = Vec::new();
        let now = Now { monotonic: self.clock, unix_ms: 1_700_000_000_000 };
        act(&mut self.machine, now, &mut self.input, &mut out);
        let any = !out.is_empty();
        for action in out {
            assert!(!self.closed, "an action after the close");
            match action {
                Action::Send(bytes) => {
                    assert!(!bytes.is_empty(), "nothing was sent");
                    self.sent = true;
                    self.said.extend_from_slice(&bytes);
                }
                Action::StartTls => {
                    assert!(self.input.is_empty(), "input was kept over the handshake");
                    self.said.extend_from_slice(b"[TLS]\r\n");
                    self.handshake = true;
                }
                Action::Ask(ask) => assert!(self.asked.replace(ask).is_none(), "two questions"),
                Action::Arm(_) => {}
                Action::Close => self.closed = true,
            }
        }
        any
    }

    fn answer(&mut self) {
        if let Some(ask) = self.asked.take() {
            let answer = self.engine.answer(ask);
            self.step(|machine, now, _, out| machine.answered(now, answer, out));
        }
    }

    /// What follows until the session waits for the peer, or for an engine that is late.
    fn settle(&mut self, pace: &mut Pace) {
        let mut fresh = true;
        while !self.closed && !self.handshake {
            if self.asked.is_some() {
                if let Pace::Late(dice) = pace
                    && !dice.one_in(3)
                {
                    return;
                }
                self.answer();
                fresh = true;
            } else if fresh && !self.input.is_empty() {
                fresh = false;
                let any = self.step(|machine, now, input, out| machine.received(now, input, out));
                let held = self.input.len();
                // While output waits, a session need not go on.
                let taken = any || self.sent || held < self.machine.input_limit();
                assert!(taken, "{held} bytes are not taken");
            } else if std::mem::take(&mut self.sent) {
                fresh |= self.step(|machine, now, _, out| machine.drained(now, out));
            } else {
                return;
            }
        }
    }

    /// Bytes arrive, never more than the session allows to be held.
    fn feed(&mut self, mut bytes: &[u8], pace: &mut Pace) {
        while !bytes.is_empty() && !self.closed && !self.handshake {
            let room = self.machine.input_limit().saturating_sub(self.input.len());
            let (piece, rest) = bytes.split_at(room.min(bytes.len()));
            bytes = rest;
            self.input.extend_from_slice(piece);
            let held = self.input.len();
            if piece.is_empty() {
                // Only an engine that is late can be the reason.
                assert!(self.asked.is_some(), "{held} bytes are held and nothing is awaited");
                self.answer();
            }
            self.settle(pace);
        }
    }

    fn secured(&mut self, pace: &mut Pace) {
        self.handshake = false;
        self.step(|machine, now, _, out| machine.secured(now, Tls::default(), out));
        self.settle(pace);
    }

    fn end(&mut self, end: End) {
        self.settle(&mut Pace::AtOnce);
        if self.closed {
            return;
        }
        self.clock += Duration::from_secs(86_400);
        match end {
            End::Nothing => return,
            End::Closed => self.step(|machine, now, _, out| machine.closed(now, out)),
            End::TimedOut => self.step(|machine, now, _, out| machine.timed_out(now, out)),
            End::Shutdown => self.step(|machine, now, _, out| machine.shutdown(now, out)),
        };
        self.settle(&mut Pace::AtOnce);
    }
}

/// The parts of an input between the handshakes in it.
fn sections(mut data: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some(at) = data.windows(HANDSHAKE.len()).position(|window| window == HANDSHAKE) {
        found.push(&data[..at]);
        data = &data[at + HANDSHAKE.len()..];
    }
    found.push(data);
    found
}

/// Plays an input in segments as the dice cut it (without dice: each section at once), to its end.
pub fn play<M: Machine, E: Engine<M>>(
    mut driver: Driver<M, E>,
    data: &[u8],
    mut cut: Option<Dice>,
    mut pace: Pace,
    end: End,
) -> Driver<M, E> {
    for (number, section) in sections(data).into_iter().enumerate() {
        if number > 0 && driver.handshake {
            driver.secured(&mut pace);
        }
        match &mut cut {
            Some(dice) => dice.cut(section).into_iter().for_each(|piece| driver.feed(piece, &mut pace)),
            None => driver.feed(section, &mut pace),
        }
        driver.settle(&mut Pace::AtOnce);
    }
    driver.end(end);
    driver
}

/// The same with whatever the contract allows to happen in between: timers, the peer's end, news, a
/// server that stops. What is said then is not compared with anything.
pub fn play_wildly<M: Machine, E: Engine<M>>(mut driver: Driver<M, E>, data: &[u8], mut dice: Dice) {
    let mut pace = Pace::Late(dice.clone());
    'pieces: for (number, section) in sections(data).into_iter().enumerate() {
        if number > 0 && driver.handshake {
            driver.secured(&mut pace);
        }
        for piece in dice.cut(section) {
            driver.feed(piece, &mut pace);
            if driver.closed {
                break 'pieces;
            }
            let idle = driver.asked.is_none() && !driver.handshake;
            match dice.below(40) {
                0 => {
                    driver.clock += Duration::from_secs(100);
                    driver.step(|machine, now, _, out| machine.timed_out(now, out));
                }
                1 if dice.one_in(4) => {
                    driver.step(|machine, now, _, out| machine.closed(now, out));
                    break 'pieces;
                }
                2 if dice.one_in(4) => {
                    driver.step(|machine, now, _, out| machine.shutdown(now, out));
                }
                3..=9 if idle && driver.machine.watching() => {
                    driver.step(|machine, now, _, out| machine.notified(now, out));
                }
                10 if idle => {
                    driver.step(|machine, now, input, out| machine.overflowed(now, input, out));
                }
                _ => continue,
            }
            driver.settle(&mut pace);
        }
    }
    driver.settle(&mut Pace::AtOnce);
}
