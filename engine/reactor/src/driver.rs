//! Runs a session: one task each, on the thread that accepted its connection.
//!
//! Keeps the promises at the head of `estafette_machine`. Output is gathered and sent when the
//! session has to wait, so that the answers to pipelined commands leave together.

use crate::Error;
use crate::meters::Meters;
use crate::protocol::{Elsewhere, Limits, Protocol, Service};
use crate::relay::Relay;
use crate::stream::Stream;
use crate::thread::{BULK_BYTES, Core, Timer, poll_once, within};
use bytes::{Bytes, BytesMut};
use estafette_machine::{Action, Actions, Machine, Now};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio_rustls::TlsAcceptor;

/// Bytes asked of the socket at a time while commands are read.
pub(crate) const READ_COMMAND_BYTES: usize = 4 * 1024;
/// An input limit from which a session is taken to read a message.
const BULK_FROM_BYTES: usize = 256 * 1024;
/// Output past which it is sent even though the session could go on.
const OUTPUT_HIGH_BYTES: usize = 64 * 1024;

/// What a connection moved, for metrics.
#[derive(Default)]
pub(crate) struct Traffic {
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
}

pub(crate) struct Driver<P: Protocol> {
    machine: P::Machine,
    service: P::Service,
    stream: Option<Stream>,
    acceptor: Option<TlsAcceptor>,
    limits: Limits,
    meters: Arc<Meters>,
    began: Instant,
    input: BytesMut,
    /// Something has happened since the session last looked at its input.
    fresh: bool,
    output: VecDeque<Bytes>,
    output_bytes: usize,
    actions: Actions<<P::Machine as Machine>::Ask>,
    timer: Timer,
    core: Rc<Core>,
    /// Output has left while a question was open; the session has still to be told.
    drained: bool,
    closing: bool,
    /// The session has ended here, and goes on there.
    elsewhere: Option<Box<Elsewhere>>,
    /// The peer sends nothing more.
    peer_ended: bool,
    pub(crate) traffic: Traffic,
}

enum Event {
    Read(usize),
    TimedOut,
    Notified,
    Shutdown,
}

impl<P: Protocol> Driver<P> {
    pub(crate) fn new(
        (machine, service): (P::Machine, P::Service),
        stream: Stream,
        acceptor: Option<TlsAcceptor>,
        limits: Limits,
        meters: Arc<Meters>,
    ) -> Driver<P> {
        Driver {
            machine,
            service,
            stream: Some(stream),
            acceptor,
            limits,
            meters,
            began: Instant::now(),
            input: BytesMut::new(),
            fresh: false,
            output: VecDeque::new(),
            output_bytes: 0,
            actions: Vec::new(),
            timer: Timer::new(),
            core: Core::current(),
            drained: false,
            closing: false,
            elsewhere: None,
            peer_ended: false,
            traffic: Traffic::default(),
        }
    }

    /// From the first byte to the last. All but the wait is in boxes: an idle session
    /// holds no room for it.
    pub(crate) async fn run(&mut self, implicit_tls: bool) -> Result<(), Error> {
        if implicit_tls {
            Box::pin(self.handshake()).await?;
        }
        let now = self.now();
        self.machine.opened(now, &mut self.actions);
        let mut told = false;
        loop {
            Box::pin(self.settle()).await?;
            if self.closing {
                self.flush().await?;
                return Box::pin(self.finish(!told && !self.peer_ended)).await;
            }
            if let Some(elsewhere) = self.elsewhere.take() {
                return Box::pin(self.relay(*elsewhere)).await;
            }
            match self.wait(told).await? {
                Event::Read(0) => {
                    self.peer_ended = true;
                    let now = self.now();
                    self.machine.closed(now, &mut self.actions);
                    Box::pin(self.settle()).await?;
                    self.closing = true;
                }
                Event::Read(count) => {
                    self.traffic.received_bytes += count as u64;
                    self.fresh = true;
                }
                Event::TimedOut => {
                    self.timer.set(None);
                    let now = self.now();
                    self.machine.timed_out(now, &mut self.actions);
                }
                Event::Notified => {
                    let now = self.now();
                    self.machine.notified(now, &mut self.actions);
                }
                Event::Shutdown => {
                    told = true;
                    let now = self.now();
                    self.machine.shutdown(now, &mut self.actions);
                }
            }
        }
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic: self.began.elapsed(), unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
    }

    /// Carries out actions and feeds input until the session waits for the world, with all output sent.
    async fn settle(&mut self) -> Result<(), Error> {
        loop {
            self.carry_out().await?;
            if self.closing || self.elsewhere.is_some() {
                return Ok(());
            }
            if self.output_bytes > OUTPUT_HIGH_BYTES {
                self.flush_and_tell().await?;
                continue;
            }
            if self.fresh && !self.input.is_empty() {
                self.fresh = false;
                let now = self.now();
                self.machine.received(now, &mut self.input, &mut self.actions);
                if self.actions.is_empty() && self.input.len() >= self.machine.input_limit() {
                    self.machine.overflowed(now, &mut self.input, &mut self.actions);
                    self.fresh = true;
                }
                continue;
            }
            if self.output.is_empty() && !self.drained {
                return Ok(());
            }
            self.flush_and_tell().await?;
        }
    }

    async fn flush_and_tell(&mut self) -> Result<(), Error> {
        self.flush().await?;
        self.drained = false;
        let now = self.now();
        self.machine.drained(now, &mut self.actions);
        // It may now take commands that it had left in its input.
        self.fresh |= !self.actions.is_empty();
        Ok(())
    }

    async fn carry_out(&mut self) -> Result<(), Error> {
        while !self.actions.is_empty() {
            let mut question = None;
            for action in std::mem::take(&mut self.actions) {
                match action {
                    Action::Send(bytes) => {
                        self.output_bytes += bytes.len();
                        self.output.push_back(bytes);
                    }
                    Action::Arm(after) => self.timer.set(Some(after)),
                    Action::Ask(ask) => question = Some(ask),
                    Action::StartTls => {
                        self.flush().await?;
                        self.input.clear();
                        Box::pin(self.handshake()).await?;
                    }
                    Action::Close => {
                        self.closing = true;
                        return Ok(());
                    }
                }
            }
            if let Some(ask) = question {
                let (question, asked) = (P::Service::question(&ask), Instant::now());
                let answer = self.ask(ask).await?;
                self.meters.answered(question, asked.elapsed());
                self.answered(answer);
            }
        }
        Ok(())
    }

    fn answered(&mut self, answer: <P::Machine as Machine>::Answer) {
        let now = self.now();
        self.fresh = true;
        self.elsewhere = self.service.handed_over();
        if self.elsewhere.is_none() {
            return self.machine.answered(now, answer, &mut self.actions);
        }
        let mut input = self.machine.handed_over(now, answer, &mut self.actions);
        input.unsplit(std::mem::take(&mut self.input));
        self.input = input;
    }

    /// Carries bytes to where the session goes on, and from there, to its end.
    async fn relay(&mut self, elsewhere: Elsewhere) -> Result<(), Error> {
        let Some(stream) = self.stream.as_mut() else { return Ok(()) };
        self.timer.set(None);
        let (input, output) = (std::mem::take(&mut self.input), std::mem::take(&mut self.output));
        self.output_bytes = 0;
        let mut relay = Relay::new(stream, elsewhere, input, output);
        let ended = relay.run(&mut self.timer, self.limits.write_timeout).await;
        let (words, linger) = (relay.words(), relay.may_go_on());
        self.traffic.received_bytes += relay.traffic.received_bytes;
        self.traffic.sent_bytes += relay.traffic.sent_bytes;
        drop(relay);
        ended?;
        self.output_bytes = words.as_ref().map_or(0, Bytes::len);
        self.output.extend(words);
        self.flush().await?;
        self.finish(linger).await
    }

    /// Puts a question; what was to be sent leaves meanwhile, unless the answer is there at once.
    async fn ask(
        &mut self,
        ask: <P::Machine as Machine>::Ask,
    ) -> Result<<P::Machine as Machine>::Answer, Error> {
        let mut answer = pin!(self.service.answer(ask));
        if let Some(answer) = poll_once(answer.as_mut()).await {
            return Ok(answer);
        }
        if let (false, Some(stream)) = (self.output.is_empty(), self.stream.as_mut()) {
            let sent = std::mem::take(&mut self.output_bytes);
            within(self.limits.write_timeout, stream.send(&mut self.output))
                .await
                .ok_or(Error::TooSlow("sending"))??;
            self.traffic.sent_bytes += sent as u64;
            self.drained = true;
        }
        Ok(answer.await)
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let Some(stream) = self.stream.as_mut() else { return Ok(()) };
        if self.output.is_empty() {
            return Ok(());
        }
        let sent = std::mem::take(&mut self.output_bytes);
        within(self.limits.write_timeout, stream.send(&mut self.output))
            .await
            .ok_or(Error::TooSlow("sending"))??;
        self.traffic.sent_bytes += sent as u64;
        Ok(())
    }

    async fn handshake(&mut self) -> Result<(), Error> {
        let (Some(stream), Some(acceptor)) = (self.stream.take(), self.acceptor.as_ref()) else {
            return Err(Error::Connection(std::io::ErrorKind::Unsupported.into()));
        };
        let handshake = stream.secure(acceptor);
        let (stream, tls) = within(self.limits.handshake_timeout, handshake)
            .await
            .ok_or(Error::TooSlow("the TLS handshake"))
            .and_then(|done| done.map_err(Error::from))
            .inspect_err(|_| self.meters.tls_failed())?;
        self.stream = Some(stream);
        let now = self.now();
        self.machine.secured(now, tls, &mut self.actions);
        Ok(())
    }

    async fn wait(&mut self, told: bool) -> Result<Event, Error> {
        let Some(stream) = self.stream.as_mut() else { return Ok(Event::Read(0)) };
        let want =
            if self.machine.input_limit() >= BULK_FROM_BYTES { BULK_BYTES } else { READ_COMMAND_BYTES };
        let watching = self.machine.watching();
        let core = &self.core;
        // Every task of the thread is polled when the program stops.
        let stopping = poll_fn(|_| if !told && core.is_stopping() { Poll::Ready(()) } else { Poll::Pending });
        tokio::select! {
            biased;
            () = stopping => Ok(Event::Shutdown),
            count = stream.fill(&mut self.input, want) => Ok(Event::Read(count?)),
            () = self.timer.come() => Ok(Event::TimedOut),
            () = self.service.changed(), if watching => Ok(Event::Notified),
        }
    }

    async fn finish(&mut self, linger: bool) -> Result<(), Error> {
        // Nobody reads it any more.
        self.input = BytesMut::new();
        if let Some(stream) = self.stream.as_mut() {
            // A peer that has gone already is no error here.
            let _ = within(self.limits.handshake_timeout, stream.shutdown(linger)).await;
            if linger {
                let _ = within(self.limits.linger, stream.discard()).await;
            }
        }
        Ok(())
    }
}
