//! A load of deliveries that writes down what it was told for each recipient.

mod eraser;
mod flagger;
mod session;

pub(crate) use session::Protocol;

use crate::oracle::{Erased, Sent, Stored, Told, Violation};
use crate::random::Random;
use crate::reader::Login;
use eraser::Eraser;
use flagger::{Flagged, Flagger};
use session::Session;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};

/// What sessions share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    stop: AtomicBool,
    mark: AtomicBool,
    acknowledged: AtomicU64,
    /// Messages whose removal was begun after the mark, and acknowledged.
    removed: AtomicU64,
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn marked(&self) -> bool {
        self.mark.load(Ordering::SeqCst)
    }
}

/// The addresses of one node's services.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    pub(crate) smtp: String,
    pub(crate) lmtp: String,
    pub(crate) pop3: String,
    pub(crate) imap: String,
}

/// Where to deliver, and to whom.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Each session takes one of them.
    pub(crate) doors: Arc<[Doors]>,
    /// The longest wait for an answer.
    pub(crate) patience: Duration,
    /// Who removes messages, and changes flags: accounts from the first on.
    pub(crate) logins: Arc<[Login]>,
    /// Addresses of the accounts.
    pub(crate) recipients: Arc<[String]>,
    /// The number of the next message.
    pub(crate) next_id: Arc<AtomicU64>,
}

impl Target {
    /// One of the nodes; an error if there is none.
    pub(crate) fn door(&self, random: &mut Random) -> io::Result<&Doors> {
        self.numbered_door(random).map(|(_, door)| door)
    }

    /// The same with its number, from 1 on.
    pub(crate) fn numbered_door(&self, random: &mut Random) -> io::Result<(usize, &Doors)> {
        let at = random.below(self.doors.len());
        let door = self.doors.get(at).ok_or(io::ErrorKind::NotFound)?;
        Ok((at + 1, door))
    }
}

/// Sessions that deliver until they are stopped.
pub(crate) struct Load {
    shared: Arc<Shared>,
    sessions: JoinSet<Vec<Sent>>,
    eraser: JoinHandle<Vec<Erased>>,
    flagger: Option<JoinHandle<Flagged>>,
}

/// What clients did and were told.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) sent: Vec<Sent>,
    pub(crate) erased: Vec<Erased>,
    /// In the order of each account.
    pub(crate) stored: Vec<Stored>,
    /// What sessions should have seen and did not.
    pub(crate) unseen: Vec<Violation>,
}

impl Load {
    /// Starts so many sessions, half of each protocol, one that removes messages and one that flags them.
    pub(crate) fn start(target: &Target, sessions: usize, random: &mut Random) -> Load {
        let shared = Arc::new(Shared::default());
        let mut set = JoinSet::new();
        for number in 0..sessions {
            let protocol = if number % 2 == 0 { Protocol::Lmtp } else { Protocol::Smtp };
            let session = Session::new(protocol, target.clone(), Arc::clone(&shared), random.fork());
            set.spawn(session.run());
        }
        let eraser = Eraser::new(target.clone(), Arc::clone(&shared), random.fork());
        let imap = target.doors.iter().all(|door| !door.imap.is_empty());
        let flagger = Flagger::new(target.clone(), Arc::clone(&shared), random.fork());
        let flagger = imap.then(|| tokio::spawn(flagger.run()));
        Load { shared, sessions: set, eraser: tokio::spawn(eraser.run()), flagger }
    }

    /// Messages whose transactions begin from now on are marked.
    pub(crate) fn mark(&self) {
        self.shared.mark.store(true, Ordering::SeqCst);
    }

    /// Recipients acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Messages removed since the mark, so far.
    pub(crate) fn removed(&self) -> u64 {
        self.shared.removed.load(Ordering::Relaxed)
    }

    /// Lets each session finish what it is at; gives all that was done.
    pub(crate) async fn stop(mut self) -> History {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut sent = Vec::new();
        while let Some(done) = self.sessions.join_next().await {
            sent.extend(done.unwrap_or_default());
        }
        let erased = self.eraser.await.unwrap_or_default();
        let Flagged { stored, unseen } = match self.flagger {
            Some(flagger) => flagger.await.unwrap_or_default(),
            None => Flagged::default(),
        };
        History { sent, erased, stored, unseen }
    }
}

/// What a load was told, in recipients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    pub(crate) acknowledged: u64,
    pub(crate) put_off: u64,
    pub(crate) unanswered: u64,
    pub(crate) refused: u64,
    pub(crate) unfinished: u64,
    /// Removed by clients, those without an answer included.
    pub(crate) erased: u64,
    /// Flags that were acknowledged.
    pub(crate) stored: u64,
}

impl Tally {
    pub(crate) fn of(history: &History) -> Tally {
        let (messages, erased) = (history.sent.len() as u64, history.erased.len() as u64);
        let stored = history.stored.iter().filter(|stored| stored.sure).count() as u64;
        let mut tally = Tally { messages, erased, stored, ..Tally::default() };
        for (_, told) in history.sent.iter().flat_map(|sent| &sent.told) {
            match told {
                Told::Acknowledged => tally.acknowledged += 1,
                Told::PutOff(_) => tally.put_off += 1,
                Told::Unanswered => tally.unanswered += 1,
                Told::Refused(_) => tally.refused += 1,
                Told::Unfinished => tally.unfinished += 1,
            }
        }
        tally
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.messages += other.messages;
        self.acknowledged += other.acknowledged;
        self.put_off += other.put_off;
        self.unanswered += other.unanswered;
        self.refused += other.refused;
        self.unfinished += other.unfinished;
        self.erased += other.erased;
        self.stored += other.stored;
    }
}

/// How often each code was answered to marked messages; 0 for no answer, 250 for acknowledged.
pub(crate) fn codes_after_mark(history: &History) -> BTreeMap<u16, u64> {
    let mut codes = BTreeMap::new();
    for (_, told) in history.sent.iter().filter(|sent| sent.after_mark).flat_map(|sent| &sent.told) {
        let code = match told {
            Told::Acknowledged => 250,
            Told::PutOff(code) | Told::Refused(code) => *code,
            Told::Unanswered | Told::Unfinished => 0,
        };
        *codes.entry(code).or_default() += 1;
    }
    codes
}
