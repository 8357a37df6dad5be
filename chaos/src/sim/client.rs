//! What clients do, and what they write down of the answers.

use super::cluster::Cluster;
use super::history::{Queued, Sent, Told};
use super::node::Live;
use super::read;
use crate::random::Random;
use bytes::Bytes;
use estafette_delivery::Error;
use estafette_delivery::queue::{ItemId, ItemKey, NewItem, NewRecipient};
use estafette_mailbox::{
    AccountRef, Action, DeliveryId, FlagChange, Flags, MailboxName, MailboxRef, NewMessage, Refusal,
    Response, SystemFlags, Target,
};
use estafette_raft::NewBody;
use estafette_storage::BodyHash;
use estafette_types::{Address, BodyType, ReversePath, ShardId, Uid, UidSet};
use std::sync::Arc;
use std::time::Duration;

/// How often a client tries what it may repeat.
const TRIES_MAX: u32 = 8;
/// Bytes of a message: most, some, few.
const SMALL_BYTES: std::ops::Range<u64> = 60..2_000;
const MIDDLE_BYTES: std::ops::Range<u64> = 2_000..40_000;
const LARGE_BYTES: std::ops::Range<u64> = 270_000..600_000;

/// A client with its own random numbers.
pub(super) struct Client {
    pub(super) cluster: Cluster,
    pub(super) random: Random,
    pub(super) accounts: Vec<AccountRef>,
    /// Tells its names from those of others.
    pub(super) number: u64,
    made: u64,
}

/// What a request led to.
enum Answer<T> {
    Given(T),
    /// It was not taken: nothing has happened.
    Refused,
    /// It may happen, or have happened.
    Unknown,
}

/// Sorts an answer of the engine.
fn sort<T>(answer: Option<Result<T, Error>>) -> Answer<T> {
    use estafette_raft::Error as Raft;
    match answer {
        Some(Ok(answer)) => Answer::Given(answer),
        Some(Err(Error::Raft(Raft::NotLeader { .. } | Raft::Unavailable { .. } | Raft::Full))) => {
            Answer::Refused
        }
        Some(Err(Error::NoShard(_) | Error::NoQueue)) => Answer::Refused,
        Some(Err(_)) | None => Answer::Unknown,
    }
}

impl Client {
    pub(super) fn new(cluster: Cluster, random: Random, accounts: Vec<AccountRef>, number: u64) -> Client {
        Client { cluster, random, accounts, number, made: 0 }
    }

    /// Does one thing after the other until it is stopped.
    pub(super) async fn run(mut self, stop: tokio::sync::watch::Receiver<bool>) {
        let think_ms_max = self.cluster.plan().think_ms_max;
        while !*stop.borrow() {
            tokio::time::sleep(Duration::from_millis(self.random.within(1..think_ms_max))).await;
            let (Some(live), Some(account)) = (self.node(), self.account()) else { continue };
            match self.random.within(0..100) {
                0..35 => self.deliver(account).await,
                35..43 => self.append(&live, account).await,
                43..55 => self.flag(&live, account).await,
                55..61 => self.expunge(&live, account).await,
                61..69 => self.transfer(&live, account).await,
                69..72 => self.create(account).await,
                72..77 => self.enqueue(&live).await,
                77..80 => self.cancel(&live).await,
                80..82 => self.open_account().await,
                _ => {
                    read::read(&self.cluster, &live, account, self.random.one_in(2), self.random.one_in(4))
                        .await
                }
            }
        }
    }

    /// Delivers one message and says whether it was acknowledged.
    pub(super) async fn deliver_one(&mut self, account: AccountRef) -> bool {
        let before = self.cluster.history().counts.acknowledged;
        self.deliver(account).await;
        self.cluster.history().counts.acknowledged > before
    }

    /// Some node that is up.
    fn node(&mut self) -> Option<Arc<Live>> {
        let all = self.cluster.all();
        self.random.pick(&all).cloned()
    }

    fn account(&mut self) -> Option<AccountRef> {
        self.random.pick(&self.accounts).copied()
    }

    /// A name that nobody else has.
    fn name(&mut self) -> [u8; 16] {
        self.made += 1;
        let mut name = [0; 16];
        let (front, back) = name.split_at_mut(8);
        front.copy_from_slice(&self.number.to_be_bytes());
        back.copy_from_slice(&self.made.to_be_bytes());
        name
    }

    /// The bytes of a message that is like no other.
    fn message(&mut self) -> Bytes {
        let range = match self.random.within(0..100) {
            0 => LARGE_BYTES,
            1..12 => MIDDLE_BYTES,
            _ => SMALL_BYTES,
        };
        let length = usize::try_from(self.random.within(range)).unwrap_or_default();
        let mut bytes = Vec::with_capacity(length + 32);
        bytes.extend_from_slice(&self.name());
        // Every fourth number is enough to make each chunk unlike all others, and quick.
        while bytes.len() < length {
            bytes.extend_from_slice(&self.random.next().to_le_bytes());
            bytes.extend_from_slice(b"and so on and so forth. ");
        }
        bytes.into()
    }

    /// The message as this node's store takes it: large ones are written while they come.
    fn body(&mut self, live: &Live, bytes: &Bytes) -> Option<NewBody> {
        if bytes.len() as u64 >= LARGE_BYTES.start {
            let mut staging = live.store.stage().ok()?;
            bytes.chunks(64 << 10).try_for_each(|part| staging.push(part)).ok()?;
            return staging.finish().ok();
        }
        Some(NewBody::of(vec![bytes.clone()]))
    }

    fn begin(&self, hash: BodyHash, account: AccountRef) {
        let sent = Sent { account, there: Told::No, gone: Told::No, removals: 0, flags: SystemFlags::NONE };
        self.cluster.history().messages.insert(hash, sent);
    }

    fn told(&self, hash: BodyHash, told: Told) {
        if let Some(sent) = self.cluster.history().messages.get_mut(&hash) {
            sent.there.or(told);
        }
    }

    fn new_message(bytes: &Bytes, hash: BodyHash) -> NewMessage {
        let (flags, size) = (Flags::default(), bytes.len() as u64);
        NewMessage { flags, internal_date_ms: None, size, body: hash }
    }

    /// Delivers a message, and again under the same name when the answer is not known.
    async fn deliver(&mut self, account: AccountRef) {
        let bytes = self.message();
        let hash = BodyHash::of(std::slice::from_ref(&bytes));
        let id = DeliveryId { message: self.name(), recipient: 0 };
        self.begin(hash, account);
        let mut told = Told::No;
        for _ in 0..TRIES_MAX {
            if let Some(live) = self.node()
                && let Some(body) = self.body(&live, &bytes)
            {
                let message = Client::new_message(&bytes, hash);
                let action = Action::Deliver { id, target: Target::Inbox, message, quota: None };
                // Before the answer, others may read it.
                self.told(hash, Told::Maybe);
                match sort(live.ask(live.shards.mailbox(account, action, vec![body])).await) {
                    Answer::Given(Response::Delivered(place) | Response::Duplicate(place)) => {
                        told = Told::Yes;
                        let mut history = self.cluster.history();
                        let at = account.mailbox(place.mailbox);
                        history.validity(at, place.uid_validity);
                        history.arrived(at, place.uid, hash, read::reached(&live, at));
                        break;
                    }
                    Answer::Given(other) => self.odd(format_args!("Deliver: {other:?}")),
                    Answer::Refused => {}
                    Answer::Unknown => told = Told::Maybe,
                }
            }
            tokio::time::sleep(Duration::from_millis(self.random.within(50..1_500))).await;
        }
        self.cluster.trace().say(format_args!("deliver {hash:?} to {}: {told:?}", account.account.0));
        let mut history = self.cluster.history();
        history.count(told);
        if let Some(sent) = history.messages.get_mut(&hash) {
            sent.there = told;
        }
    }

    /// Adds a message to some mailbox; a client cannot repeat that without having two.
    async fn append(&mut self, live: &Live, account: AccountRef) {
        let boxes = read::mailboxes(live, account);
        let Some(at) = self.random.pick(&boxes).copied() else { return };
        let bytes = self.message();
        let hash = BodyHash::of(std::slice::from_ref(&bytes));
        let Some(body) = self.body(live, &bytes) else { return };
        self.begin(hash, account);
        self.told(hash, Told::Maybe);
        let messages = vec![Client::new_message(&bytes, hash)];
        let action = Action::Append { mailbox: at.mailbox, messages, quota: None };
        let answer = sort(live.ask(live.shards.mailbox(account, action, vec![body])).await);
        let mut history = self.cluster.history();
        let told = match answer {
            Answer::Given(Response::Appended { uid_validity, uids }) => {
                history.validity(at, uid_validity);
                for uid in uids.iter() {
                    history.arrived(at, uid, hash, read::reached(live, at));
                }
                Told::Yes
            }
            Answer::Given(_) | Answer::Refused => Told::No,
            Answer::Unknown => Told::Maybe,
        };
        history.count(told);
        if let Some(sent) = history.messages.get_mut(&hash) {
            sent.there = told;
        }
    }

    /// Some message of some mailbox, as this node shows it.
    fn some_message(&mut self, live: &Live, account: AccountRef) -> Option<(MailboxRef, Uid, BodyHash)> {
        let boxes = read::mailboxes(live, account);
        let at = *self.random.pick(&boxes)?;
        let messages = read::messages(live, at);
        let message = self.random.pick(&messages)?;
        Some((at, message.uid, message.row.body))
    }

    /// Adds a flag.
    async fn flag(&mut self, live: &Live, account: AccountRef) {
        let Some((mailbox, uid, hash)) = self.some_message(live, account) else { return };
        let flags = [SystemFlags::SEEN, SystemFlags::FLAGGED, SystemFlags::ANSWERED];
        let Some(flag) = self.random.pick(&flags).copied() else { return };
        let before = self.cluster.history().reached().get(&mailbox).copied();
        let action = Action::Store {
            mailbox: mailbox.mailbox,
            uids: UidSet::one(uid),
            change: FlagChange::Add,
            flags: flag.into(),
            unchanged_since: None,
        };
        let answer = sort(live.ask(live.shards.mailbox(account, action, Vec::new())).await);
        let mut history = self.cluster.history();
        history.count(told_of(&answer));
        if let Answer::Given(Response::Stored { modseq, changed, .. }) = answer
            && changed.contains(uid)
        {
            history.changed(mailbox, modseq, before, read::reached(live, mailbox));
            if let Some(sent) = history.messages.get_mut(&hash) {
                sent.flags = sent.flags.with(flag);
            }
        }
    }

    /// Removes a message.
    async fn expunge(&mut self, live: &Live, account: AccountRef) {
        let Some((mailbox, uid, hash)) = self.some_message(live, account) else { return };
        let before = self.cluster.history().reached().get(&mailbox).copied();
        let change = |history: &mut super::history::History, change: i64| {
            if let Some(sent) = history.messages.get_mut(&hash) {
                sent.removals = sent.removals.saturating_add_signed(i32::try_from(change).unwrap_or(0));
            }
        };
        change(&mut self.cluster.history(), 1);
        let uids = UidSet::one(uid);
        let action = Action::Expunge { mailbox: mailbox.mailbox, uids, only_deleted: false };
        let answer = sort(live.ask(live.shards.mailbox(account, action, Vec::new())).await);
        let mut history = self.cluster.history();
        history.count(told_of(&answer));
        match answer {
            Answer::Given(Response::Expunged { modseq, uids }) if uids.contains(uid) => {
                history.changed(mailbox, modseq, before, read::reached(live, mailbox));
                if let Some(sent) = history.messages.get_mut(&hash) {
                    sent.gone = Told::Yes;
                }
                change(&mut history, -1);
            }
            Answer::Given(_) | Answer::Refused => change(&mut history, -1),
            Answer::Unknown => {}
        }
    }

    /// Moves a message to another mailbox.
    async fn transfer(&mut self, live: &Live, account: AccountRef) {
        let Some((mailbox, uid, hash)) = self.some_message(live, account) else { return };
        let boxes = read::mailboxes(live, account);
        let Some(to) = self.random.pick(&boxes).copied() else { return };
        let before = self.cluster.history().reached().get(&mailbox).copied();
        let action = Action::Move { from: mailbox.mailbox, to: to.mailbox, uids: UidSet::one(uid) };
        let answer = sort(live.ask(live.shards.mailbox(account, action, Vec::new())).await);
        let mut history = self.cluster.history();
        history.count(told_of(&answer));
        if let Answer::Given(Response::Copied { uid_validity, from, to: uids, source_modseq }) = answer
            && from.contains(uid)
        {
            history.validity(to, uid_validity);
            history.changed(mailbox, source_modseq, before, read::reached(live, mailbox));
            for new in uids.iter() {
                history.arrived(to, new, hash, read::reached(live, to));
            }
        }
    }

    /// Creates a mailbox.
    async fn create(&mut self, account: AccountRef) {
        let text = format!("F{}-{}", self.number, self.made);
        self.made += 1;
        let Ok(name) = MailboxName::parse(&text) else { return };
        let mut told = Told::No;
        for _ in 0..TRIES_MAX {
            if let Some(live) = self.node() {
                let action = Action::Create { name: name.clone(), special_use: None };
                match sort(live.ask(live.shards.mailbox(account, action, Vec::new())).await) {
                    Answer::Given(Response::Created { mailbox, uid_validity }) => {
                        told = Told::Yes;
                        self.cluster.history().validity(account.mailbox(mailbox), uid_validity);
                        break;
                    }
                    Answer::Given(Response::Refused(Refusal::Exists)) => {
                        told = Told::Yes;
                        break;
                    }
                    Answer::Given(other) => self.odd(format_args!("Create: {other:?}")),
                    Answer::Refused => {}
                    Answer::Unknown => told = Told::Maybe,
                }
            }
            tokio::time::sleep(Duration::from_millis(self.random.within(50..1_500))).await;
        }
        let mut history = self.cluster.history();
        history.count(told);
        history.folders.insert((account, text), told);
    }

    /// Puts an item into the queue.
    async fn enqueue(&mut self, live: &Live) {
        let Ok(address) = Address::parse("somebody@elsewhere.example") else { return };
        let bytes = self.message();
        let Some(body) = self.body(live, &bytes) else { return };
        let message = self.name();
        let recipient = NewRecipient { address, local: None, notify: None, original: None, forwarded: false };
        let item = NewItem {
            message,
            shard: Some(self.some_shard()),
            reverse_path: ReversePath::Null,
            recipients: vec![recipient],
            body: body.hash(),
            size: body.len(),
            body_type: BodyType::SevenBit,
            smtputf8: false,
            require_tls: false,
            dsn_return: None,
            dsn_envelope_id: None,
            submitter: None,
        };
        let there = Queued { there: Told::Maybe, gone: Told::No };
        self.cluster.history().items.insert(ItemId(message), there);
        let answer = sort(live.ask(live.queue.enqueue(item, vec![body])).await);
        let told = told_of(&answer);
        let mut history = self.cluster.history();
        history.count(told);
        if let Some(item) = history.items.get_mut(&ItemId(message)) {
            item.there = told;
        }
    }

    fn some_shard(&mut self) -> ShardId {
        let shards = self.cluster.plan().shards();
        self.random.pick(&shards).copied().unwrap_or(ShardId(1))
    }

    /// Gives an item up.
    async fn cancel(&mut self, live: &Live) {
        let listed = live.queue.list(&live.store, None, 50).map(|page| page.items).unwrap_or_default();
        let Some(key) = self.random.pick(&listed).and_then(|item| item.id.parse::<ItemKey>().ok()) else {
            return;
        };
        if let Some(item) = self.cluster.history().items.get_mut(&key.id) {
            item.gone.or(Told::Maybe);
        }
        let answer = sort(live.ask(live.queue.cancel(key, false)).await);
        let mut history = self.cluster.history();
        history.count(told_of(&answer));
        if let (Answer::Given(true), Some(item)) = (&answer, history.items.get_mut(&key.id)) {
            item.gone = Told::Yes;
        }
    }

    /// Makes an account.
    async fn open_account(&mut self) {
        let text = format!("u{}x{}", self.number, self.made);
        self.made += 1;
        let Some(live) = self.node() else { return };
        self.cluster.history().accounts.insert(text.clone(), Told::Maybe);
        let answer = live.ask(super::setup::create_account(&live, &text, self.some_shard())).await;
        let told = match answer {
            Some(Ok(())) => Told::Yes,
            Some(Err(error)) if !super::setup::is_unclear(&error) => Told::No,
            _ => Told::Maybe,
        };
        let mut history = self.cluster.history();
        history.count(told);
        history.accounts.insert(text, told);
    }

    /// An answer that the load does not expect: worth a line, and no more.
    fn odd(&self, what: std::fmt::Arguments<'_>) {
        self.cluster.trace().say(format_args!("odd answer: {what}"));
    }
}

fn told_of<T>(answer: &Answer<T>) -> Told {
    match answer {
        Answer::Given(_) => Told::Yes,
        Answer::Refused => Told::No,
        Answer::Unknown => Told::Maybe,
    }
}
