//! Questions put to the service over a real store and a real shard.

mod cluster;
mod messages;
mod moves;
mod names;
mod news;
mod searches;

use super::{ImapProtocol, ImapService};
use crate::config::Config as ServerConfig;
use crate::engine::Engine;
use crate::login::Logins;
use crate::machines::{FailureView, TrafficMachine};
use crate::trouble::node_in;
use bytes::Bytes;
use estafette_delivery::queue::Wakeup;
use estafette_delivery::{Patience, Reach, ShardMachine, Shards};
use estafette_directory::DirectoryMachine;
use estafette_imap::codec::command::{Mailbox, StoreAction};
use estafette_imap::session::ask::{Changed, Changes, Failure, Message, Selected, Want};
use estafette_imap::session::{Answer, Ask, Config, Flags, SystemFlags};
use estafette_mailbox::{AccountRef, Action, Maildrops, NewMessage, Response, Structures, UidMaps, Watchers};
use estafette_raft::{GroupId, NewBody, Node};
use estafette_reactor::{Peer, Protocol, Service, SessionId};
use estafette_storage::BodyHash;
use estafette_types::{AccountId, ModSeq, ShardId, Uid, UidSet};
use std::sync::Arc;

const AT: AccountRef = AccountRef { shard: ShardId(1), account: AccountId(7) };

/// An engine with one shard and one account, which the directory does not know.
struct World {
    engine: Arc<Engine>,
    raft: Arc<Node>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> World {
        World::with(estafette_storage::Settings::default()).await
    }

    async fn with(settings: estafette_storage::Settings) -> World {
        let folder = tempfile::tempdir().unwrap();
        let (store, raft) = node_in(folder.path(), settings);
        let (config, failures) = (ServerConfig::default(), FailureView::default());
        let (directory, traffic) = (DirectoryMachine::new(), TrafficMachine::new(failures.clone()));
        let (watchers, wakeup) = (Arc::new(Watchers::default()), Arc::new(Wakeup::default()));
        let view = directory.view();
        let shard = ShardMachine::new(AT.shard, Arc::clone(&watchers), Arc::clone(&wakeup));
        let shards = Shards::default();
        shards.insert(AT.shard, raft.open(GroupId::shard(1), Box::new(shard)).await.unwrap());
        let engine = Engine {
            logins: Logins::new(&config.login).unwrap(),
            gate: config.sessions.gate(),
            config: Arc::new(config),
            hostname: "mail.example.org".into(),
            store,
            directory: view,
            control: Reach::new(
                raft.open(GroupId::CONTROL, Box::new(directory)).await.unwrap(),
                Patience::default(),
            ),
            traffic: raft.open(GroupId::TRAFFIC, Box::new(traffic)).await.unwrap(),
            shards,
            watchers,
            wakeup,
            uid_maps: UidMaps::default(),
            maildrops: Maildrops::default(),
            structures: Structures::default(),
            failures,
            cluster: crate::trouble::alone(folder.path(), &raft),
        };
        engine.shards.group(AT.shard).unwrap().ready().await.unwrap();
        engine.shards.mailbox(AT, Action::Ensure, Vec::new()).await.unwrap();
        World { engine: Arc::new(engine), raft, _folder: folder }
    }

    /// A session of the account.
    fn session(&self) -> Client {
        self.session_of(AT)
    }

    fn session_of(&self, at: AccountRef) -> Client {
        let protocol = ImapProtocol {
            name: "imap",
            engine: Arc::clone(&self.engine),
            config: Arc::new(Config::default()),
        };
        let address = "127.0.0.1:1".parse().unwrap();
        let peer = Peer { session: SessionId(1), remote: address, local: address, implicit_tls: false };
        let (_, mut service) = protocol.open(peer);
        service.seat = Some(crate::engine::Seat::new(at));
        Client(service)
    }

    /// Adds as many equal messages to the INBOX as a command may, `times` times.
    async fn fill(&self, times: usize) {
        let body = Bytes::from_static(b"Subject: filling\r\n\r\nsand\r\n");
        let hash = BodyHash::of(std::slice::from_ref(&body));
        let inbox = self.session().select("INBOX").await.id;
        for _ in 0..times {
            let message = NewMessage {
                flags: estafette_mailbox::Flags::default(),
                internal_date_ms: None,
                size: body.len() as u64,
                body: hash,
            };
            let messages = vec![message; estafette_mailbox::WORK_MAX];
            let bodies = vec![NewBody::named(hash, vec![body.clone()])];
            let action = Action::Append { mailbox: inbox, messages, quota: None };
            let response = self.engine.shards.mailbox(AT, action, bodies).await.unwrap();
            assert!(matches!(response, Response::Appended { .. }), "{response:?}");
        }
    }

    async fn end(self) {
        self.raft.shutdown().await;
    }
}

/// One session, by its questions.
struct Client(ImapService);

impl Client {
    async fn ask(&mut self, ask: Ask) -> Answer {
        self.0.answer(ask).await
    }

    async fn failure(&mut self, ask: Ask) -> Failure {
        match self.ask(ask).await {
            Answer::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    async fn done(&mut self, ask: Ask) {
        let answer = self.ask(ask).await;
        assert!(matches!(answer, Answer::Done | Answer::Created(_)), "{answer:?}");
    }

    async fn select(&mut self, name: &str) -> Selected {
        match self.ask(Ask::Select { name: mailbox(name), read_only: false }).await {
            Answer::Selected(selected) => *selected,
            other => panic!("{other:?}"),
        }
    }

    async fn append(&mut self, name: &str, flags: Flags, body: &str) -> Uid {
        let body = vec![Bytes::copy_from_slice(body.as_bytes())];
        match self.ask(Ask::Append { name: mailbox(name), flags, date: None, deposit: None, body }).await {
            Answer::Appended { uid, .. } => uid,
            other => panic!("{other:?}"),
        }
    }

    fn id(&self) -> estafette_types::MailboxId {
        self.0.opened.as_ref().unwrap().mailbox()
    }

    async fn fetch(&mut self, uids: UidSet, want: Want, budget_bytes: u64) -> (Vec<Message>, Uid) {
        let mailbox = self.id();
        match self.ask(Ask::Fetch { mailbox, uids, want, budget_bytes }).await {
            Answer::Fetched { messages, through, .. } => (messages, through),
            other => panic!("{other:?}"),
        }
    }

    async fn store(&mut self, uids: UidSet, how: StoreAction, flags: Flags) -> (Vec<Changed>, ModSeq) {
        let mailbox = self.id();
        match self.ask(Ask::Store { mailbox, uids, how, flags, unchanged_since: None }).await {
            Answer::Stored { messages, modseq, .. } => (messages, modseq),
            other => panic!("{other:?}"),
        }
    }

    async fn expunge(&mut self, uids: UidSet) -> UidSet {
        let mailbox = self.id();
        match self.ask(Ask::Expunge { mailbox, uids }).await {
            Answer::Expunged { uids, .. } => uids,
            other => panic!("{other:?}"),
        }
    }

    async fn changes(&mut self, since: ModSeq, known: &UidSet, limit: u32) -> Changes {
        let mailbox = self.id();
        match self
            .ask(Ask::Changes { mailbox, since, known: Arc::new(known.clone()), limit, fresh: false })
            .await
        {
            Answer::Changed(changes) => changes,
            other => panic!("{other:?}"),
        }
    }
}

fn mailbox(name: &str) -> Mailbox {
    Mailbox::new(name).unwrap()
}

fn uid(value: u32) -> Uid {
    Uid::new(value).unwrap()
}

fn set(uids: &[u32]) -> UidSet {
    uids.iter().map(|value| uid(*value)).collect()
}

fn range(first: u32, last: u32) -> UidSet {
    UidSet::range(uid(first), uid(last))
}

fn seen() -> Flags {
    Flags::system(SystemFlags::SEEN)
}

fn deleted() -> Flags {
    Flags::system(SystemFlags::DELETED)
}
