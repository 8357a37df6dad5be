//! The work on one item: what is owed to its sender, its recipients here, its recipients elsewhere.
//!
//! After each step the item is read again, so that every step starts from what is written down.

use super::claims::Hold;
use super::connection::{Connection, Relay, Sent};
use super::letter::{HELD_BYTES, Letter};
use super::settings::Settings;
use crate::accept::{self, Outcome as Accepted};
use crate::notice::{self, Facts, Returned};
use crate::queue::{Answer, Command, Item, ItemKey, LastReply, NoticeKind, Recipient, State, read};
use crate::{Acceptor, Error, Incoming, Problem, clock};
use estafette_mailbox::AccountRef;
use estafette_raft::NewBody;
use estafette_smtp::Reply;
use estafette_smtp::client::Outcome;
use estafette_storage::{Body, Store};
use estafette_types::{AccountId, Envelope, ForwardPath, Recipient as EnvelopeRecipient, ReversePath};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Recipients of one transaction: what every server takes (RFC 5321 §4.5.3.1.8).
const TRANSACTION_RECIPIENTS: usize = 100;
/// KiB of messages that are held in memory to be sent, of all connections together.
const SENDING_KIB_MAX: u32 = 128 * 1024;
/// Pause before what was sent is written down again, when that failed.
const RECORD_PAUSE: Duration = Duration::from_secs(1);
/// Words for what waits because there is no relay; by them it is known again when there is one.
const NO_RELAY: &str = "no relay is configured: the message waits";

/// What all work on items shares.
pub(super) struct Desk {
    pub(super) store: Store,
    pub(super) acceptor: Acceptor,
    pub(super) settings: Settings,
    pub(super) relay: Option<Relay>,
    pub(super) memory: Semaphore,
    pub(super) told_of_no_relay: AtomicBool,
}

/// How the work on an item ended.
pub(super) struct Done {
    /// A connection that can be used further.
    pub(super) connection: Option<Connection>,
    /// The relay could not be reached.
    pub(super) relay_down: bool,
    /// The item could not be worked on.
    pub(super) problem: Option<Error>,
}

/// What is to be written down: recipient, its state, what was said.
type Results = Vec<(u32, State, LastReply)>;

struct Job<'a> {
    desk: &'a Desk,
    key: ItemKey,
    hold: Arc<Hold>,
    connection: Option<Connection>,
    relay_down: bool,
}

impl Desk {
    pub(super) fn new(store: Store, acceptor: Acceptor, settings: Settings) -> Result<Desk, Error> {
        let relay = settings.relay.clone().map(Relay::new).transpose()?;
        let memory = Semaphore::new(usize::try_from(SENDING_KIB_MAX).unwrap_or(usize::MAX));
        Ok(Desk { store, acceptor, settings, relay, memory, told_of_no_relay: AtomicBool::new(false) })
    }

    /// Does all that is to be done for an item now.
    pub(super) async fn work(
        self: Arc<Desk>,
        key: ItemKey,
        hold: Arc<Hold>,
        connection: Option<Connection>,
    ) -> Done {
        let mut job = Job { desk: &self, key, hold, connection, relay_down: false };
        let problem = job.run().await.err();
        Done { connection: job.connection, relay_down: job.relay_down, problem }
    }

    /// Waits until there is memory for what is held of the message; let go when it was sent.
    async fn memory_for(&self, item: &Item) -> Option<SemaphorePermit<'_>> {
        let held = item.size.min(HELD_BYTES) / 1024 + 1;
        let kib = u32::try_from(held).unwrap_or(u32::MAX).min(SENDING_KIB_MAX);
        self.memory.acquire_many(kib).await.ok()
    }

    /// True for an item that waits because there was no relay.
    pub(super) fn waits_for_relay(item: &Item) -> bool {
        item.pending().any(|(_, recipient)| {
            recipient.last.as_ref().is_some_and(|reply| reply.server.is_empty() && reply.text == NO_RELAY)
        })
    }
}

impl Job<'_> {
    async fn run(&mut self) -> Result<(), Error> {
        let Some(item) = self.item()? else { return Ok(()) };
        self.tell_owed(&item).await?;
        let Some(item) = self.item()? else { return Ok(()) };
        let now_ms = clock::now_ms();
        if item.next_ms > now_ms || item.pending().next().is_none() {
            return Ok(());
        }
        let next_ms = self.desk.settings.schedule.next_ms(self.key.id, &item, item.attempts + 1, now_ms);
        self.deliver_here(&item, next_ms).await?;
        self.send(&item, next_ms).await?;
        let Some(item) = self.item()? else { return Ok(()) };
        self.tell_owed(&item).await?;
        let late = self.desk.settings.schedule.delay_ms(&item).is_some_and(|delay| delay <= clock::now_ms());
        if late {
            self.tell_delay(&item).await?;
        }
        Ok(())
    }

    fn item(&self) -> Result<Option<Item>, Error> {
        read::item(&self.desk.store, self.key.shard, self.key.id)
    }

    fn body(&self, item: &Item) -> Result<Body, Error> {
        self.desk.store.body(&item.body)?.ok_or(Error::NoBody(self.key))
    }

    /// Recipients whose shard could not take the message when it was accepted, or whose sender wants to
    /// hear of the delivery. The delivery has its first name, so a mailbox that has it takes it once.
    async fn deliver_here(&self, item: &Item, next_ms: u64) -> Result<(), Error> {
        let mut results = Results::new();
        for (place, recipient) in item.pending() {
            if let Some(account) = recipient.local {
                let (state, reply) = self.deliver(item, account).await?;
                results.push((place, state, reply));
            }
        }
        let ends = item.pending().all(|(_, recipient)| recipient.local.is_some());
        self.record(item, next_ms, results, ends).await
    }

    async fn deliver(&self, item: &Item, account: AccountId) -> Result<(State, LastReply), Error> {
        let shard = self.desk.acceptor.directory().read().account(account).and_then(|account| account.shard);
        let gone = || (State::Failed, LastReply::own(550, (5, 1, 1), "the mailbox does not exist any more"));
        let Some(shard) = shard else { return Ok(gone()) };
        // The item's reference keeps it.
        let body = NewBody::stored(&self.body(item)?);
        let action = accept::delivery(item.message, account, item.size, item.body, None);
        let answer =
            self.desk.acceptor.homes().mailbox(AccountRef { shard, account }, action, vec![body]).await;
        Ok(match answer.map(|(_, answer)| accept::problem(&answer)) {
            Ok(None) => (State::Delivered, LastReply::own(250, (2, 1, 5), "delivered")),
            Ok(Some(Problem::Unknown)) => gone(),
            Ok(Some(_)) => {
                (State::Pending, LastReply::own(452, (4, 2, 2), "the mailbox takes no more messages"))
            }
            Err(error) => {
                tracing::warn!(item = %self.key, account = account.0, %error, "a mailbox cannot take its message");
                (State::Pending, LastReply::own(451, (4, 3, 0), "the mailbox cannot be reached now"))
            }
        })
    }

    /// Recipients elsewhere, some at a time; what became of them is written down before the next.
    async fn send(&mut self, item: &Item, next_ms: u64) -> Result<(), Error> {
        let outside: Vec<(u32, &Recipient)> =
            item.pending().filter(|(_, recipient)| recipient.local.is_none()).collect();
        if outside.is_empty() {
            return Ok(());
        }
        let desk = self.desk;
        let Some(relay) = &desk.relay else { return self.wait_for_relay(item, &outside).await };
        let _memory = desk.memory_for(item).await;
        let mut chunks = outside.chunks(TRANSACTION_RECIPIENTS);
        while let Some(chunk) = chunks.next() {
            let sent = match self.transaction(relay, item, chunk).await? {
                Ok(sent) => sent,
                Err(reply) => {
                    self.relay_down = true;
                    // The same is true of all that were to follow.
                    let rest = chunk.iter().chain(chunks.by_ref().flatten());
                    let reply = LastReply::new("", &reply);
                    let results = rest.map(|(place, _)| (*place, State::Pending, reply.clone())).collect();
                    return self.record(item, next_ms, results, true).await;
                }
            };
            let results = chunk.iter().zip(&sent.outcomes);
            let results = results.map(|((place, recipient), outcome)| {
                let (state, word) = match outcome {
                    Outcome::Delivered(_) if sent.dsn => (State::Passed, "sent"),
                    Outcome::Delivered(_) => (State::Relayed, "sent"),
                    Outcome::Transient(_) => (State::Pending, "put off"),
                    Outcome::Permanent(_) => (State::Failed, "refused"),
                };
                let reply = outcome.reply();
                metrics::counter!("estafette_queue_attempts_total", "result" => word).increment(1);
                tracing::info!(item = %self.key, to = %recipient.address, %reply, "{word}");
                (*place, state, LastReply::new(&relay.target.host, reply))
            });
            let (results, ends) = (results.collect(), chunks.len() == 0);
            self.record(item, next_ms, results, ends).await?;
        }
        Ok(())
    }

    /// One message to some recipients, over a connection that is there or a new one. Inner error: the relay
    /// cannot be reached.
    async fn transaction(
        &mut self,
        relay: &Relay,
        item: &Item,
        recipients: &[(u32, &Recipient)],
    ) -> Result<Result<Sent, Reply>, Error> {
        if !self.hold.is_good() {
            return Err(Error::ClaimLost(self.key));
        }
        let body = self.body(item)?;
        let letter = || Letter::open(&body, envelope(item, recipients));
        if let Some(mut connection) = self.connection.take()
            && connection.is_alive().await
        {
            let sent = connection.send(letter()?, &self.hold).await;
            if sent.lost {
                return Err(Error::ClaimLost(self.key));
            }
            // It was closed while it lay idle: that says nothing about this message.
            if !sent.unheard {
                self.keep(connection);
                return Ok(Ok(sent));
            }
        }
        let mut connection = match relay.connect().await {
            Ok(connection) => connection,
            Err(reply) => {
                tracing::warn!(item = %self.key, relay = relay.target.host, %reply, "the relay takes no mail now");
                return Ok(Err(reply));
            }
        };
        let sent = connection.send(letter()?, &self.hold).await;
        if sent.lost {
            return Err(Error::ClaimLost(self.key));
        }
        if sent.failed {
            tracing::warn!(item = %self.key, relay = relay.target.host, "the session with the relay broke off");
        }
        self.keep(connection);
        Ok(Ok(sent))
    }

    fn keep(&mut self, connection: Connection) {
        self.connection = Some(connection).filter(Connection::is_open);
    }

    /// Without a relay nothing is tried; the item comes back for its delay notice and at its end.
    async fn wait_for_relay(&self, item: &Item, outside: &[(u32, &Recipient)]) -> Result<(), Error> {
        if !self.desk.told_of_no_relay.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "there is mail for other servers, but no relay is configured: it waits in the queue"
            );
        }
        let here = item.pending().any(|(_, recipient)| recipient.local.is_some());
        let now_ms = clock::now_ms();
        let schedule = &self.desk.settings.schedule;
        let moment = schedule.moment_ms(item, now_ms);
        let next_ms =
            if here { schedule.next_ms(self.key.id, item, item.attempts + 1, now_ms) } else { moment };
        let reply = LastReply::own(451, (4, 4, 4), NO_RELAY);
        let results = outside.iter().map(|(place, _)| (*place, State::Pending, reply.clone())).collect();
        self.record(item, next_ms, results, true).await
    }

    /// Writes down what became of recipients; at the end of an item's life, what waits has failed. `ends`: it is the
    /// last of this attempt.
    async fn record(&self, item: &Item, next_ms: u64, mut results: Results, ends: bool) -> Result<(), Error> {
        if results.is_empty() {
            return Ok(());
        }
        let over = clock::now_ms() >= self.desk.settings.schedule.end_ms(item);
        for (place, state, reply) in &mut results {
            if *state == State::Pending && over {
                *state = State::Expired;
            }
            let recipient = usize::try_from(*place).ok().and_then(|place| item.recipients.get(place));
            if let (State::Failed | State::Expired, Some(recipient)) = (*state, recipient)
                && item.owed(recipient, *state).is_none()
            {
                // M-5: the message is not lost without a word, though the word is only here.
                let (from, to) = (&item.reverse_path, &recipient.address);
                tracing::warn!(item = %self.key, %from, %to, %reply, "not delivered, and nobody wants to be told");
            }
        }
        let mut commands = Command::attempted(self.key.id, item.attempts + 1, next_ms, results).into_iter();
        while let Some(command) = commands.next() {
            let ends = ends && commands.len() == 0;
            let command = match self.hold.token() {
                Some(token) => command.by(token, ends),
                None => command,
            };
            self.propose(&command).await?;
        }
        Ok(())
    }

    /// Proposes until it is done: what was sent must not be sent again, by another node neither, whoever leads the
    /// shard by then. Gives up when the disk fails.
    async fn propose(&self, command: &Command) -> Result<(), Error> {
        let bytes = command.encode();
        loop {
            let shards = self.desk.acceptor.shards();
            let error = match shards.queue(self.key.shard, &bytes, Vec::new(), shards.wait()).await {
                Ok(answer) => return Answer::decode(&answer).map(drop),
                Err(error) => error,
            };
            if error.is_fatal() {
                return Err(error);
            }
            tracing::warn!(item = %self.key, %error, "what became of a message cannot be written down yet");
            tokio::time::sleep(RECORD_PAUSE).await;
        }
    }

    /// Sends the notices that are owed. They come before further attempts, so that one that is made again
    /// after a crash tells of the same recipients and has the same name.
    async fn tell_owed(&self, item: &Item) -> Result<(), Error> {
        for kind in [NoticeKind::Failure, NoticeKind::Success] {
            let places = item.owing(kind);
            if !places.is_empty() {
                self.tell(item, kind, places).await?;
            }
        }
        Ok(())
    }

    async fn tell_delay(&self, item: &Item) -> Result<(), Error> {
        let wanted = item.pending().filter(|(_, recipient)| recipient.wants(NoticeKind::Delay));
        let places: Vec<u32> = wanted.map(|(place, _)| place).collect();
        if places.is_empty() || item.reverse_path == ReversePath::Null {
            return self.propose(&Command::Told { id: self.key.id, kind: NoticeKind::Delay, places }).await;
        }
        self.tell(item, NoticeKind::Delay, places).await
    }

    async fn tell(&self, item: &Item, kind: NoticeKind, places: Vec<u32>) -> Result<(), Error> {
        let schedule = &self.desk.settings.schedule;
        let facts = Facts {
            kind,
            key: self.key,
            item,
            places: &places,
            hostname: &self.desk.settings.hostname,
            now_ms: clock::now_ms(),
            retry_until_ms: schedule.end_ms(item),
        };
        let returned = Returned::of(kind, item, &self.body(item)?)?;
        if let Some((envelope, body)) = notice::compose(&facts, &returned) {
            let name = facts.name();
            let body = NewBody::of(body);
            let incoming = Incoming { envelope, body, submitter: None, strict_quota: false };
            let outcomes = self.desk.acceptor.notice(name, self.key.shard, incoming).await;
            match outcomes.into_iter().next() {
                Some(Accepted::Failed(problem)) if problem.is_passing() && !self.is_stale(item) => {
                    return Err(Error::Notice(problem));
                }
                Some(Accepted::Failed(problem)) => {
                    let to = &item.reverse_path;
                    tracing::warn!(item = %self.key, %to, ?problem, "the sender cannot be told: {}", kind.word());
                }
                _ => tracing::info!(item = %self.key, to = %item.reverse_path, "notice of {}", kind.word()),
            }
            metrics::counter!("estafette_notices_total", "kind" => kind.word()).increment(1);
        }
        self.propose(&Command::Told { id: self.key.id, kind, places }).await
    }

    /// Twice its life is over: a notice that still cannot be delivered never will be.
    fn is_stale(&self, item: &Item) -> bool {
        let life = super::settings::ms(self.desk.settings.schedule.lifetime);
        clock::now_ms() >= item.created_ms.saturating_add(life.saturating_mul(2))
    }
}

fn envelope(item: &Item, recipients: &[(u32, &Recipient)]) -> Envelope {
    let recipient = |(_, recipient): &(u32, &Recipient)| EnvelopeRecipient {
        path: ForwardPath::Address(recipient.address.clone()),
        notify: recipient.notify,
        original: recipient.original.clone(),
    };
    Envelope {
        reverse_path: item.reverse_path.clone(),
        recipients: recipients.iter().map(recipient).collect(),
        declared_size: Some(item.size),
        body_type: item.body_type,
        smtputf8: item.smtputf8,
        require_tls: item.require_tls,
        dsn_return: item.dsn_return,
        dsn_envelope_id: item.dsn_envelope_id.clone(),
        auth: None,
    }
}
