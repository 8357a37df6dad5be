//! The asking side of a connection: requests under way, and who waits for which answer.
//!
//! - A request has room before it is sent; who finds none waits.
//! - A caller that goes away gives its room back once the frame has left, and tells the other side.
//! - When the connection ends, what had not left is told apart from what may have had an effect.

use crate::connection::Inbox;
use crate::frame::{Frame, Kind};
use crate::hello::Limits;
use crate::outgoing::{Held, Outgoing};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request never left.
    NotSent(Arc<str>),
    /// It may have.
    NoAnswer(Arc<str>),
    /// It is larger than both sides allow.
    TooLarge { bytes: usize, limit: usize },
}

/// Requests under way on one connection.
pub(crate) struct Calls {
    limits: Limits,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    out: mpsc::Sender<Outgoing>,
    waiting: Mutex<Waiting>,
    /// Requests up to this number have left, or may have.
    left: Arc<AtomicU64>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    ended: Option<Arc<str>>,
    by_number: HashMap<u64, Waiter>,
}

struct Waiter {
    answer: oneshot::Sender<Result<Bytes, Failure>>,
    _held: Arc<Held>,
}

impl Calls {
    pub(crate) fn new(limits: Limits, out: mpsc::Sender<Outgoing>, left: Arc<AtomicU64>) -> Arc<Calls> {
        let semaphore =
            |count: u32| Arc::new(Semaphore::new(usize::try_from(count.max(1)).unwrap_or(usize::MAX)));
        Arc::new(Calls {
            limits,
            requests: semaphore(limits.requests_max),
            bytes: semaphore(limits.under_way_max_bytes),
            out,
            waiting: Mutex::default(),
            left,
        })
    }

    /// Sends a request and waits for its answer, until `deadline`.
    pub(crate) async fn call(self: Arc<Self>, body: Vec<Bytes>, deadline: Instant) -> Result<Bytes, Failure> {
        let (number, answer) = match timeout_at(deadline, self.send(body)).await {
            Ok(sent) => sent?,
            Err(_) => return Err(Failure::NotSent("too much is under way to it".into())),
        };
        // Withdrawn by whatever ends this future; without effect once there is an answer.
        let _withdrawn = Withdrawn { calls: &self, number };
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Failure::NoAnswer("the connection ended".into())),
            Err(_) => Err(Failure::NoAnswer("it took too long".into())),
        }
    }

    async fn send(
        &self,
        body: Vec<Bytes>,
    ) -> Result<(u64, oneshot::Receiver<Result<Bytes, Failure>>), Failure> {
        let (bytes, limit) = (body.iter().map(Bytes::len).sum::<usize>(), self.limits.frame_max_bytes);
        let wanted = u32::try_from(bytes).ok().filter(|bytes| *bytes <= limit);
        let Some(wanted) = wanted else {
            return Err(Failure::TooLarge { bytes, limit: usize::try_from(limit).unwrap_or(usize::MAX) });
        };
        let wanted = wanted.min(self.limits.under_way_max_bytes);
        let ended = || Failure::NotSent(self.ended());
        let _request = Arc::clone(&self.requests).acquire_owned().await.map_err(|_| ended())?;
        let _bytes = Arc::clone(&self.bytes).acquire_many_owned(wanted).await.map_err(|_| ended())?;
        let place = self.out.reserve().await.map_err(|_| ended())?;
        let held = Arc::new(Held { _request, _bytes });
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if let Some(why) = &waiting.ended {
            return Err(Failure::NotSent(Arc::clone(why)));
        }
        // Under the lock, so that requests leave in the order of their numbers.
        waiting.last += 1;
        let number = waiting.last;
        waiting.by_number.insert(number, Waiter { answer: sender, _held: Arc::clone(&held) });
        place.send(Outgoing { kind: Kind::Request, number, body, _held: Some(held) });
        Ok((number, receiver))
    }

    fn ended(&self) -> Arc<str> {
        self.waiting.lock().ended.clone().unwrap_or_else(|| "the connection ended".into())
    }

    /// Requests that wait for their answer.
    pub(crate) fn under_way(&self) -> usize {
        self.waiting.lock().by_number.len()
    }

    /// To be called when nothing is written any more: all who wait are told.
    pub(crate) fn end(&self, why: &Arc<str>) {
        self.requests.close();
        self.bytes.close();
        let mut waiting = self.waiting.lock();
        waiting.ended = Some(Arc::clone(why));
        let left = self.left.load(Ordering::Acquire);
        for (number, waiter) in waiting.by_number.drain() {
            let why = Arc::clone(why);
            let failure = if number > left { Failure::NotSent(why) } else { Failure::NoAnswer(why) };
            _ = waiter.answer.send(Err(failure));
        }
    }

    fn answered(&self, number: u64, answer: Result<Bytes, Failure>) {
        let waiter = self.waiting.lock().by_number.remove(&number);
        // None: the caller has gone away, and the answer crossed its cancellation.
        if let Some(waiter) = waiter {
            _ = waiter.answer.send(answer);
        }
    }
}

struct Withdrawn<'a> {
    calls: &'a Calls,
    number: u64,
}

impl Drop for Withdrawn<'_> {
    fn drop(&mut self) {
        if self.calls.waiting.lock().by_number.remove(&self.number).is_some() {
            // If the queue is full the other side answers in vain.
            _ = self.calls.out.try_send(Outgoing::bare(Kind::Cancel, self.number));
        }
    }
}

/// Takes the answers.
pub(crate) struct Answers(pub(crate) Arc<Calls>);

impl Inbox for Answers {
    async fn take(&mut self, frame: Frame) -> Result<(), String> {
        match frame.kind {
            Kind::Answer => self.0.answered(frame.number, Ok(frame.body)),
            Kind::Failed => {
                let why = crate::connection::said(&frame.body).into();
                self.0.answered(frame.number, Err(Failure::NoAnswer(why)));
            }
            other => return Err(format!("{other:?} is not for the side that dialled")),
        }
        Ok(())
    }
}
