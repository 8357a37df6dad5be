//! A session that goes on elsewhere: bytes both ways between its client and there, to the end of both.
//!
//! - Neither direction waits for the other. Each holds one piece, and reads no more before that has left.
//! - An end of the client, or of the program, is told there, and what still comes from there is brought to the client.
//! - While nothing comes, no memory is held for it.
//!
//! Must not: know what the bytes mean.

use crate::Error;
use crate::driver::{READ_COMMAND_BYTES, Traffic};
use crate::protocol::{Duplex, Elsewhere, Parted, Parting};
use crate::stream::Stream;
use crate::thread::{BULK_BYTES, Core, Timer};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite};

/// Bytes that are asked for from elsewhere at a time, unless they come in masses.
const READ_BYTES: usize = 16 * 1024;

pub(crate) struct Relay<'a> {
    client: &'a mut Stream,
    there: Box<dyn Duplex>,
    parting: Box<dyn Parting>,
    core: Rc<Core>,
    pub(crate) traffic: Traffic,
    /// From the client.
    up: BytesMut,
    /// Not all that was given to the connection has left it.
    up_unflushed: bool,
    /// Bytes of the client come in masses.
    up_masses: bool,
    upwards: Upwards,
    /// To the client.
    down: VecDeque<Bytes>,
    /// As `up_unflushed`.
    down_unflushed: bool,
    down_masses: bool,
    ended: Option<Ended>,
    /// The program stops.
    stopping: bool,
}

/// How the bytes of the client stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upwards {
    /// They are read.
    Open,
    /// No more are read; it is still to be said there.
    Ending,
    /// It was said.
    Ended,
    /// Nothing is taken there any more.
    Lost,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    InOrder,
    Lost,
}

impl<'a> Relay<'a> {
    /// `input`: what was read of the client already; `output`: what it is told first.
    pub(crate) fn new(
        client: &'a mut Stream,
        elsewhere: Elsewhere,
        input: BytesMut,
        output: VecDeque<Bytes>,
    ) -> Relay<'a> {
        let Elsewhere { stream, parting } = elsewhere;
        let down_unflushed = !output.is_empty();
        let traffic = Traffic { sent_bytes: bytes_of(&output), ..Traffic::default() };
        Relay {
            client,
            there: stream,
            parting,
            core: Core::current(),
            traffic,
            up: input,
            up_unflushed: false,
            up_masses: false,
            upwards: Upwards::Open,
            down: output,
            down_unflushed,
            down_masses: false,
            ended: None,
            stopping: false,
        }
    }

    /// Carries bytes until nothing more comes from elsewhere and the client has all of it.
    ///
    /// # Errors
    /// When the client has gone, or takes nothing for so long.
    pub(crate) async fn run(&mut self, timer: &mut Timer, write_timeout: Duration) -> Result<(), Error> {
        if self.down_unflushed {
            timer.set(Some(write_timeout));
        }
        poll_fn(|context| {
            if !self.stopping && self.core.is_stopping() {
                // Every task of the thread is polled when the program stops.
                self.stopping = true;
                self.end_upwards();
            }
            self.poll_up(context)?;
            let before = self.traffic.sent_bytes;
            let polled = self.poll_down(context)?;
            if self.traffic.sent_bytes > before {
                timer.set(Some(write_timeout));
            }
            match polled {
                Poll::Pending if !self.down_unflushed => timer.set(None),
                Poll::Pending if pin!(timer.come()).poll(context).is_ready() => {
                    return Poll::Ready(Err(Error::TooSlow("sending")));
                }
                _ => {}
            }
            polled.map(Ok)
        })
        .await
    }

    /// What is to be said behind all that was told.
    pub(crate) fn words(&self) -> Option<Bytes> {
        match self.ended? {
            Ended::Lost => self.parting.words(Parted::Lost),
            Ended::InOrder if self.stopping => self.parting.words(Parted::Stopping),
            Ended::InOrder => None,
        }
    }

    /// The client may still send something.
    pub(crate) fn may_go_on(&self) -> bool {
        !self.stopping && matches!(self.upwards, Upwards::Open | Upwards::Lost)
    }

    fn end_upwards(&mut self) {
        if self.upwards == Upwards::Open {
            self.upwards = Upwards::Ending;
        }
    }

    /// From the client to there, as far as it goes now.
    fn poll_up(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        loop {
            let there = Pin::new(&mut self.there);
            if !self.up.is_empty() {
                match there.poll_write(context, &self.up) {
                    Poll::Ready(Ok(count @ 1..)) => {
                        self.up.advance(count);
                        self.up_unflushed = true;
                    }
                    Poll::Ready(_) => self.lose_upwards(),
                    Poll::Pending => return Ok(()),
                }
                if self.up.is_empty() {
                    self.up = BytesMut::new();
                }
                continue;
            }
            if self.up_unflushed {
                match there.poll_flush(context) {
                    Poll::Ready(Ok(())) => self.up_unflushed = false,
                    Poll::Ready(Err(_)) => self.lose_upwards(),
                    Poll::Pending => return Ok(()),
                }
                continue;
            }
            match self.upwards {
                Upwards::Open => {
                    let want = if self.up_masses { BULK_BYTES } else { READ_COMMAND_BYTES };
                    let filled = pin!(self.client.fill(&mut self.up, want)).poll(context);
                    match filled {
                        Poll::Ready(Ok(0)) => self.end_upwards(),
                        Poll::Ready(Ok(count)) => {
                            self.traffic.received_bytes += count as u64;
                            self.up_masses = count >= READ_COMMAND_BYTES;
                        }
                        // What it has asked for is done all the same; who sends to it finds that it has gone.
                        Poll::Ready(Err(_)) => self.end_upwards(),
                        Poll::Pending => return Ok(()),
                    }
                }
                Upwards::Ending => match there.poll_shutdown(context) {
                    Poll::Ready(Ok(())) => self.upwards = Upwards::Ended,
                    Poll::Ready(Err(_)) => self.lose_upwards(),
                    Poll::Pending => return Ok(()),
                },
                Upwards::Ended | Upwards::Lost => return Ok(()),
            }
        }
    }

    fn lose_upwards(&mut self) {
        self.up = BytesMut::new();
        self.up_unflushed = false;
        self.upwards = Upwards::Lost;
    }

    /// From there to the client; ready when nothing more comes and all has left.
    fn poll_down(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, Error> {
        loop {
            if self.down_unflushed {
                match pin!(self.client.send(&mut self.down)).poll(context) {
                    Poll::Ready(sent) => sent?,
                    Poll::Pending => return Ok(Poll::Pending),
                }
                self.down_unflushed = false;
            }
            if self.ended.is_some() {
                // If it cannot be said at once, the end of the connection says it.
                _ = Pin::new(&mut self.there).poll_shutdown(context);
                return Ok(Poll::Ready(()));
            }
            let mut piece = BytesMut::with_capacity(if self.down_masses { BULK_BYTES } else { READ_BYTES });
            match pin!(self.there.read_buf(&mut piece)).poll(context) {
                Poll::Ready(Ok(0)) => self.ended = Some(Ended::InOrder),
                Poll::Ready(Ok(count)) => {
                    self.down_masses = count >= READ_BYTES;
                    self.parting.told(&piece);
                    self.traffic.sent_bytes += count as u64;
                    self.down.push_back(piece.freeze());
                    self.down_unflushed = true;
                }
                Poll::Ready(Err(_)) => self.ended = Some(Ended::Lost),
                // Who takes nothing, and has nothing to say, is not waited for.
                Poll::Pending if self.upwards == Upwards::Lost => self.ended = Some(Ended::Lost),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
    }
}

fn bytes_of(pieces: &VecDeque<Bytes>) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}
