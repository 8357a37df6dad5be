//! Whether there is service, and whether what one node told is known to the others: for each account that is probed,
//! one client for each node delivers a message there, and looks for it by a session at another.
//!
//! An account has service at a moment if any of its clients succeeds: mail is taken and found. Sessions stay
//! open over probes half of the time, so that a change of the leader under an open session is seen too. What a
//! session is told when it opens the mailbox must not be older than what any session was told before.

use crate::load::{Doors, Target};
use crate::message::{self, Digest, MessageId};
use crate::oracle::{Account, Erased, Glimpse, Sent, Told, Violation};
use crate::random::Random;
use crate::reader::{Imap, number_after};
use crate::wire::Connection;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Between two probes of one client, and after one that failed.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_FAILED: Duration = Duration::from_millis(50);
/// A client waits so long for an answer before it tries another session.
const PATIENCE: Duration = Duration::from_secs(3);
/// One message in so many stays in the mailbox.
const KEPT_ONE_IN: u64 = 8;

/// What one client saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) account: Account,
    /// When probes succeeded.
    pub(crate) successes: Vec<Instant>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) erased: Vec<Erased>,
    pub(crate) glimpses: Vec<Glimpse>,
    pub(crate) wrong: Vec<Violation>,
}

/// Clients that probe until they are stopped.
pub(crate) struct Probes {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Seen>,
    /// The last success of each account.
    last: Arc<[Mutex<Option<Instant>>]>,
    first: Account,
}

impl Probes {
    /// Probes the accounts from `first` on, of which `target.recipients` has the addresses.
    pub(crate) fn start(
        target: &Target,
        first: Account,
        logins: &[crate::reader::Login],
        random: &mut Random,
    ) -> Probes {
        let stop = Arc::new(AtomicBool::new(false));
        let accounts = logins.len().saturating_sub(first);
        let floors: Vec<_> = (0..accounts).map(|_| Arc::new(Mutex::new(Glimpse::default()))).collect();
        let last: Arc<[_]> = (0..accounts).map(|_| Mutex::new(None)).collect();
        let mut clients = JoinSet::new();
        for (at, (login, floor)) in logins.iter().skip(first).zip(&floors).enumerate() {
            for told in 1..=target.doors.len() {
                let client = Client {
                    target: target.clone(),
                    login: login.clone(),
                    told,
                    asked: told,
                    random: random.fork(),
                    floor: Arc::clone(floor),
                    delivery: None,
                    session: None,
                    seen: Seen { account: first + at, ..Seen::default() },
                };
                clients.spawn(client.run(Arc::clone(&stop), Arc::clone(&last), at));
            }
        }
        Probes { stop, clients, last, first }
    }

    /// Accounts without a success since then.
    pub(crate) fn without_service(&self, since: Instant) -> Option<Account> {
        let served = |last: &Mutex<Option<Instant>>| {
            last.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|last| last > since)
        };
        self.last.iter().position(|last| !served(last)).map(|at| self.first + at)
    }

    /// Ends them all.
    pub(crate) async fn stop(mut self) -> Vec<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        let mut seen = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            seen.extend(client);
        }
        seen
    }
}

struct Client {
    target: Target,
    login: crate::reader::Login,
    /// The node to deliver to, and the node to ask.
    told: usize,
    asked: usize,
    random: Random,
    /// The newest that any session of this account was told.
    floor: Arc<Mutex<Glimpse>>,
    delivery: Option<Connection>,
    session: Option<Reading>,
    seen: Seen,
}

/// An open session.
struct Reading {
    imap: Imap,
    /// Messages from this UID on were not looked at.
    from: u32,
}

impl Client {
    async fn run(mut self, stop: Arc<AtomicBool>, last: Arc<[Mutex<Option<Instant>>]>, at: usize) -> Seen {
        while !stop.load(Ordering::SeqCst) {
            let result = self.probe().await;
            if let (Ok(true), Some(last)) = (&result, last.get(at)) {
                let now = Instant::now();
                self.seen.successes.push(now);
                last.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
            }
            tokio::time::sleep(if result.is_ok() { PAUSE } else { PAUSE_FAILED }).await;
        }
        self.seen
    }

    /// True if a message was taken and found.
    async fn probe(&mut self) -> io::Result<bool> {
        let Some(id) = self.deliver().await? else { return Ok(false) };
        if self.session.is_none() || self.random.one_in(2) {
            self.session = None;
            let asked = self.random.below(self.target.doors.len()) + 1;
            self.session = Some(self.open(asked).await?);
        } else if let Some(session) = &mut self.session
            && let Err(error) = session.imap.command("NOOP", |_| ()).await
        {
            self.session = None;
            return Err(error);
        }
        let Some(mut session) = self.session.take() else { return Ok(false) };
        let Some(uid) = find(&mut session, id).await? else { return self.elsewhere(session, id).await };
        if !self.random.one_in(KEPT_ONE_IN) {
            let erased = Erased { account: self.seen.account, uid, id, sure: false, after_mark: false };
            self.seen.erased.push(erased);
            session.imap.command(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)"), |_| ()).await?;
            session.imap.command(&format!("UID EXPUNGE {uid}"), |_| ()).await?;
            if let Some(erased) = self.seen.erased.last_mut() {
                erased.sure = true;
            }
        }
        self.session = Some(session);
        Ok(true)
    }

    /// A message that a session did not find may be in a queue still. But once a session at the node that took it
    /// finds it, the other one has to find it too. No success either way.
    async fn elsewhere(&mut self, mut session: Reading, id: MessageId) -> io::Result<bool> {
        let (account, told, asked) = (self.seen.account, self.told, self.asked);
        let mut there = self.open(told).await?;
        if find(&mut there, id).await?.is_some() {
            session.imap.command("NOOP", |_| ()).await?;
            if find(&mut session, id).await?.is_none() {
                self.seen.wrong.push(Violation::Unseen { account, id, told, asked });
            }
        }
        Ok(false)
    }

    fn door(&self, number: usize) -> io::Result<&Doors> {
        self.target.doors.get(number.saturating_sub(1)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Delivers one message; its identifier if it was taken.
    async fn deliver(&mut self) -> io::Result<Option<MessageId>> {
        let mut connection = match self.delivery.take() {
            Some(connection) => connection,
            None => {
                let mut connection = Connection::open_with(&self.door(self.told)?.lmtp, PATIENCE).await?;
                connection.reply().await?;
                connection.send(b"LHLO probe.test\r\n").await?;
                connection.reply().await?;
                connection
            }
        };
        let id = MessageId(self.target.next_id.fetch_add(1, Ordering::Relaxed));
        let text = message::make(id, 400, &mut self.random);
        let account = self.seen.account;
        let told = vec![(account, Told::Unfinished)];
        self.seen.sent.push(Sent { id, digest: Digest::of(&text), after_mark: false, told });
        let address = self.target.recipients.get(account).cloned().unwrap_or_default();
        let told = transaction(&mut connection, &address, &text).await;
        let (said, told) = match told {
            Ok(told) => (Ok(()), told),
            // The last byte may have been handed over.
            Err(error) => (Err(error), Told::Unanswered),
        };
        if let Some(sent) = self.seen.sent.last_mut() {
            sent.told = vec![(account, told)];
        }
        said?;
        self.delivery = Some(connection);
        Ok((told == Told::Acknowledged).then_some(id))
    }

    /// A new session at a node. It must not be told less than one before it.
    async fn open(&mut self, asked: usize) -> io::Result<Reading> {
        let mut imap = Imap::open(&self.door(asked)?.imap, &self.login, PATIENCE).await?;
        let floor = *self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = imap.select("SELECT").await?;
        let account = self.seen.account;
        let now = Glimpse {
            account,
            uid_validity: opened.uid_validity,
            uid_next: opened.uid_next,
            highest_modseq: opened.highest_modseq,
        };
        let other = floor.uid_validity != 0 && floor.uid_validity != now.uid_validity;
        if other || now.uid_next < floor.uid_next || now.highest_modseq < floor.highest_modseq {
            let what = format!("{floor:?}, then {now:?}");
            self.seen.wrong.push(Violation::WentBack { account, asked, what });
        }
        let mut floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        floor.account = account;
        floor.uid_validity = now.uid_validity;
        floor.uid_next = floor.uid_next.max(now.uid_next);
        floor.highest_modseq = floor.highest_modseq.max(now.highest_modseq);
        self.seen.glimpses.push(now);
        self.asked = asked;
        // The message was delivered before: it is among the last.
        let from = now.uid_next.saturating_sub(u32::try_from(opened.exists).unwrap_or(u32::MAX)).max(1);
        Ok(Reading { imap, from: from.max(now.uid_next.saturating_sub(LOOK_BACK)) })
    }
}

/// UIDs that a new session looks back over for a message that was delivered a moment before.
const LOOK_BACK: u32 = 300;

async fn transaction(connection: &mut Connection, address: &str, text: &[u8]) -> io::Result<Told> {
    let envelope = format!("MAIL FROM:<a@probe.test>\r\nRCPT TO:<{address}>\r\nDATA\r\n");
    connection.send(envelope.as_bytes()).await?;
    let (_, (rcpt, _), (data, _)) =
        (connection.reply().await?, connection.reply().await?, connection.reply().await?);
    if data != 354 {
        return Ok(Told::Refused(if rcpt >= 400 { rcpt } else { data }));
    }
    let mut stuffed = Vec::with_capacity(text.len() + 16);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        stuffed.extend_from_slice(if line.first() == Some(&b'.') { b"." } else { b"" });
        stuffed.extend_from_slice(line);
    }
    stuffed.extend_from_slice(b".\r\n");
    connection.send(&stuffed).await?;
    Ok(match connection.reply().await?.0 {
        200..300 => Told::Acknowledged,
        code @ 500..600 => Told::Refused(code),
        code => Told::PutOff(code),
    })
}

/// The UID of a message among those that were not looked at yet.
async fn find(session: &mut Reading, wanted: MessageId) -> io::Result<Option<u32>> {
    let mut found = None;
    let mut highest = 0;
    let fetch = format!("UID FETCH {}:* (UID BODY.PEEK[HEADER.FIELDS (X-Chaos-Id)])", session.from);
    session
        .imap
        .command(&fetch, |answer| {
            let uid = number_after::<u32>(&answer.text, "UID ").unwrap_or(0);
            let id = answer.literals.first().and_then(|field| message::recognise(field));
            highest = highest.max(uid);
            if id.is_some_and(|(id, _)| id == wanted) {
                found = Some(uid);
            }
        })
        .await?;
    session.from = session.from.max(highest);
    Ok(found)
}
