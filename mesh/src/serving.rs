//! The answering side of a connection: each request in a task of its own, as many at once as were promised.
//!
//! - While all room is taken nothing more is read.
//! - A request that nobody waits for any more, or whose connection ends, is dropped where it stands.

use crate::connection::Inbox;
use crate::frame::{Frame, Kind};
use crate::hello::Limits;
use crate::outgoing::{Held, Outgoing};
use crate::{Lane, NodeName, Serve};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

/// Requests of one connection that are being answered.
pub(crate) struct Serving {
    from: NodeName,
    lane: Lane,
    serve: Arc<dyn Serve>,
    /// What this side promised.
    limits: Limits,
    /// The largest answer that the other side takes.
    answer_max_bytes: u32,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    under_way: Arc<Mutex<UnderWay>>,
    out: mpsc::Sender<Outgoing>,
}

/// By number; none for a task that is about to begin.
type UnderWay = HashMap<u64, Option<AbortHandle>>;

impl Serving {
    pub(crate) fn new(
        (from, lane): (NodeName, Lane),
        serve: Arc<dyn Serve>,
        limits: Limits,
        answer_max_bytes: u32,
        out: mpsc::Sender<Outgoing>,
    ) -> Serving {
        let semaphore =
            |count: u32| Arc::new(Semaphore::new(usize::try_from(count.max(1)).unwrap_or(usize::MAX)));
        Serving {
            from,
            lane,
            serve,
            limits,
            answer_max_bytes,
            requests: semaphore(limits.requests_max),
            bytes: semaphore(limits.under_way_max_bytes),
            under_way: Arc::default(),
            out,
        }
    }

    async fn begin(&self, number: u64, request: Bytes) -> Result<(), String> {
        let bytes = u32::try_from(request.len()).unwrap_or(u32::MAX).min(self.limits.under_way_max_bytes);
        let ended = |_| "the connection ended".to_owned();
        let _request = Arc::clone(&self.requests).acquire_owned().await.map_err(ended)?;
        let _bytes = Arc::clone(&self.bytes).acquire_many_owned(bytes).await.map_err(ended)?;
        let held = Arc::new(Held { _request, _bytes });
        let answer = self.serve.serve(self.from, self.lane, request);
        let (out, answer_max_bytes) = (self.out.clone(), self.answer_max_bytes);
        match self.under_way.lock().entry(number) {
            Entry::Vacant(place) => _ = place.insert(None),
            Entry::Occupied(_) => return Err(format!("request {number} was sent twice")),
        }
        let done = Done { under_way: Arc::clone(&self.under_way), number, out: out.clone() };
        let task = tokio::spawn(async move {
            let body = answer.await;
            drop(done);
            let bytes: usize = body.iter().map(Bytes::len).sum();
            let frame = match u32::try_from(bytes) {
                Ok(bytes) if bytes <= answer_max_bytes => {
                    Outgoing { kind: Kind::Answer, number, body, _held: Some(held) }
                }
                _ => Outgoing::words(Kind::Failed, number, "the answer is larger than a frame may be"),
            };
            // An error: the connection has ended.
            _ = out.send(frame).await;
        });
        // Gone, if it is done already.
        if let Some(place) = self.under_way.lock().get_mut(&number) {
            *place = Some(task.abort_handle());
        }
        Ok(())
    }
}

/// Takes the number off the list, when the answer is there or never will be.
struct Done {
    under_way: Arc<Mutex<UnderWay>>,
    number: u64,
    out: mpsc::Sender<Outgoing>,
}

impl Drop for Done {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.number);
        if std::thread::panicking() {
            // If the queue is full the other side waits in vain, until it has waited long enough.
            let words = "the other side failed while it answered";
            _ = self.out.try_send(Outgoing::words(Kind::Failed, self.number, words));
        }
    }
}

impl Inbox for Serving {
    async fn take(&mut self, frame: Frame) -> Result<(), String> {
        match frame.kind {
            Kind::Request => self.begin(frame.number, frame.body).await,
            Kind::Cancel => {
                let task = self.under_way.lock().remove(&frame.number);
                if let Some(Some(task)) = task {
                    task.abort();
                }
                Ok(())
            }
            other => Err(format!("{other:?} is not for the side that was dialled")),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let under_way = std::mem::take(&mut *self.under_way.lock());
        for task in under_way.into_values().flatten() {
            task.abort();
        }
    }
}
