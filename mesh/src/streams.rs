//! The streams of a node, of both directions: how many there may be, and how they are ended from outside.
//!
//! Invariant: a stream is on the list as long as anybody holds it, so whoever ends a peer's streams ends all of them;
//! who holds one learns it with the next byte that he wants to read or write, and is woken for that.
//! Must not: know what goes over them.

use crate::NodeName;
use crate::meters::StreamMeters;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who opened a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// This node.
    Dialled,
    /// The other one.
    Accepted,
}

/// The list.
pub(crate) struct Streams {
    dialled: Arc<Semaphore>,
    accepted: Arc<Semaphore>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    last: u64,
    ended: Option<Arc<str>>,
    cords: BTreeMap<(NodeName, u64), Arc<Cord>>,
}

impl Streams {
    pub(crate) fn new(max: usize) -> Arc<Streams> {
        let semaphore = || Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Arc::new(Streams { dialled: semaphore(), accepted: semaphore(), open: Mutex::default() })
    }

    /// Takes a place for a stream with a peer; or says in words why there is none.
    pub(crate) fn enter(self: &Arc<Self>, peer: NodeName, side: Side) -> Result<Place, Arc<str>> {
        let places = match side {
            Side::Dialled => &self.dialled,
            Side::Accepted => &self.accepted,
        };
        let permit = Arc::clone(places).try_acquire_owned();
        let permit = permit.map_err(|_| Arc::from("there are too many streams between nodes already"))?;
        let cord = Arc::new(Cord::default());
        let mut open = self.open.lock();
        if let Some(why) = &open.ended {
            return Err(Arc::clone(why));
        }
        open.last += 1;
        let number = open.last;
        open.cords.insert((peer, number), Arc::clone(&cord));
        drop(open);
        let meters = StreamMeters::new(peer, side);
        Ok(Place { streams: Arc::clone(self), peer, number, cord, meters, _permit: permit })
    }

    /// Ends all streams with a peer.
    pub(crate) fn end_of(&self, peer: NodeName, why: &Arc<str>) {
        let cords: Vec<Arc<Cord>> = {
            let open = self.open.lock();
            open.cords.range((peer, 0)..=(peer, u64::MAX)).map(|(_, cord)| Arc::clone(cord)).collect()
        };
        // Not under the lock: who is woken may let his stream go at once.
        cords.iter().for_each(|cord| cord.pull(why));
    }

    /// Ends all, and takes no more.
    pub(crate) fn end(&self, why: &Arc<str>) {
        let cords = {
            let mut open = self.open.lock();
            open.ended.get_or_insert_with(|| Arc::clone(why));
            std::mem::take(&mut open.cords)
        };
        cords.values().for_each(|cord| cord.pull(why));
    }
}

/// The place of a stream; given back when dropped.
pub(crate) struct Place {
    streams: Arc<Streams>,
    peer: NodeName,
    number: u64,
    pub(crate) cord: Arc<Cord>,
    pub(crate) meters: StreamMeters,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.streams.open.lock().cords.remove(&(self.peer, self.number));
    }
}

/// By which a stream is ended, wherever it is held.
#[derive(Default)]
pub(crate) struct Cord(Mutex<Ends>);

#[derive(Default)]
struct Ends {
    pulled: Option<Arc<str>>,
    wakers: [Option<Waker>; 3],
}

/// Who waits at a [`Cord`]: each has a place of his own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    /// Who reads.
    Reading = 0,
    /// Who writes.
    Writing = 1,
    /// Who holds it, whatever he waits for.
    Holding = 2,
}

impl Cord {
    fn pull(&self, why: &Arc<str>) {
        let mut ends = self.0.lock();
        ends.pulled.get_or_insert_with(|| Arc::clone(why));
        let wakers = std::mem::take(&mut ends.wakers);
        drop(ends);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn poll(&self, at: At, context: &Context<'_>) -> Option<Arc<str>> {
        let mut ends = self.0.lock();
        if ends.pulled.is_none()
            && let Some(place) = ends.wakers.get_mut(at as usize)
            && !place.as_ref().is_some_and(|waker| waker.will_wake(context.waker()))
        {
            *place = Some(context.waker().clone());
        }
        ends.pulled.clone()
    }

    /// An error once it was pulled; else who asks is woken when it is.
    pub(crate) fn check(&self, at: At, context: &Context<'_>) -> io::Result<()> {
        match self.poll(at, context) {
            Some(why) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, why.to_string())),
            None => Ok(()),
        }
    }

    /// Waits until it is pulled.
    pub(crate) async fn pulled(&self) -> Arc<str> {
        poll_fn(|context| match self.poll(At::Holding, context) {
            Some(why) => Poll::Ready(why),
            None => Poll::Pending,
        })
        .await
    }
}
