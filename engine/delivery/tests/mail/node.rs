//! A node in a folder: store, groups, directory, and what tests ask of them.

use bytes::Bytes;
use estafette_delivery::outbound::{ClaimSettings, RelayTarget, RelayTls, Schedule, Sender, Settings};
use estafette_delivery::queue::{self, ItemInfo, QueueHandle, Wakeup};
use estafette_delivery::{Acceptor, Homes, Incoming, Intake, Outcome, Patience, Reach, ShardMachine, Shards};
use estafette_directory::{
    Actor, Administrator, AliasOptions, Change, Command, Destination, DirectoryMachine, NewAccount, NewAlias,
    NewDomain, Origin, PlanFields, PlanId, QuotaChoice, Reply, Role, Standing, View,
};
use estafette_mailbox::{AccountRef, MailboxName, Watchers, read};
use estafette_raft::{Group, GroupId, NewBody, Node as RaftNode, NodeId, Proposal};
use estafette_storage::Store;
use estafette_types::{
    AccountId, Address, BodyType, Domain, DomainId, DsnNotify, Envelope, ForwardPath, LocalPart, Recipient,
    ReversePath, ShardId, Uid,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) const SHARDS: [ShardId; 2] = [ShardId(1), ShardId(2)];

/// The node. `example.org` has the accounts `a` and `c` in shard 1, `b` in shard 2, and the alias `both` for
/// `a` and `out@example.net`.
pub(crate) struct Node {
    pub(crate) store: Store,
    pub(crate) raft: RaftNode,
    pub(crate) control: Group,
    pub(crate) view: View,
    pub(crate) shards: Shards,
    pub(crate) acceptor: Acceptor,
    pub(crate) queue: QueueHandle,
    pub(crate) wakeup: Arc<Wakeup>,
}

/// A sender at work.
pub(crate) struct Working {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Working {
    pub(crate) async fn stop(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
    }

    /// As a crash would: nothing is ended in order.
    pub(crate) fn kill(self) {
        self.task.abort();
    }
}

pub(crate) fn raft(store: &Store, folder: &Path, id: u64) -> RaftNode {
    RaftNode::start(store.clone(), NodeId(id), estafette_raft::Settings::new(folder.join("snapshots")))
        .unwrap()
}

pub(crate) fn store(folder: &Path) -> Store {
    let settings =
        estafette_storage::Settings { min_free_bytes: 0, cache_bytes: 4 << 20, ..Default::default() };
    Store::open(&folder.join("store"), settings).unwrap()
}

pub(crate) async fn open_shard(raft: &RaftNode, shard: ShardId, wakeup: &Arc<Wakeup>) -> Group {
    let machine = ShardMachine::new(shard, Arc::new(Watchers::default()), Arc::clone(wakeup));
    let group = raft.open(GroupId::shard(shard.0), Box::new(machine)).await.unwrap();
    group.ready().await.unwrap();
    group
}

impl Node {
    /// A new node, or one that was there.
    pub(crate) async fn open(folder: &Path) -> Node {
        let fresh = !folder.join("store").exists();
        let store = store(folder);
        let raft = raft(&store, folder, 1);
        let machine = DirectoryMachine::new();
        let view = machine.view();
        let control = raft.open(GroupId::CONTROL, Box::new(machine)).await.unwrap();
        control.ready().await.unwrap();
        let (shards, wakeup) = (Shards::default(), Arc::new(Wakeup::default()));
        for shard in SHARDS {
            shards.insert(shard, open_shard(&raft, shard, &wakeup).await);
        }
        let queue = QueueHandle::new(shards.clone());
        let control_reach = Reach::new(control.clone(), Patience::default());
        let homes = Homes::new(store.clone(), view.clone(), control_reach, shards.clone());
        let acceptor = Acceptor::new(homes);
        let node = Node { store, raft, control, view, shards, acceptor, queue, wakeup };
        if fresh {
            node.fill().await;
        }
        node
    }

    pub(crate) async fn change(&self, change: Change) -> Reply {
        let command = Command { actor: Actor::System, origin: Origin::Internal, change };
        let proposal = Proposal { command: command.encode().unwrap().into(), bodies: Vec::new() };
        Reply::decode_applied(&self.control.propose(proposal).await.unwrap()).unwrap().unwrap()
    }

    async fn fill(&self) {
        self.change(Change::SetShards { shards: SHARDS.to_vec() }).await;
        let name = "big".to_owned();
        let plan = PlanFields { name, storage_bytes: None, mailboxes: None, subdomains: None, aliases: None };
        self.change(Change::CreatePlan(plan)).await;
        let domain = NewDomain {
            name: Domain::parse("example.org").unwrap(),
            prefix: None,
            standing: Standing::Plan(PlanId(1)),
            description: String::new(),
            contact: None,
            default_quota_bytes: None,
            administrator: Administrator::New(account("admin", 1)),
        };
        let Reply::Domain { id, .. } = self.change(Change::CreateDomain(domain)).await else { panic!() };
        for (name, shard) in [("a", 1), ("b", 2), ("c", 1)] {
            self.change(Change::CreateAccount { domain: id, account: account(name, shard) }).await;
        }
        self.alias(id, "both", &["a@example.org", "out@example.net"]).await;
    }

    pub(crate) async fn alias(&self, domain: DomainId, name: &str, to: &[&str]) {
        let new = NewAlias {
            domain,
            local: LocalPart::parse(name).unwrap(),
            destinations: to.iter().map(|to| Destination::Address(address(to))).collect(),
            options: AliasOptions::default(),
        };
        self.change(Change::CreateAlias(new)).await;
    }

    pub(crate) fn account(&self, name: &str) -> (AccountId, AccountRef) {
        let directory = self.view.read();
        let account = directory.account_at(&address(&format!("{name}@example.org"))).unwrap();
        (account.id, AccountRef { shard: account.shard.unwrap(), account: account.id })
    }

    /// The texts in INBOX of an account.
    pub(crate) fn inbox(&self, name: &str) -> Vec<String> {
        let (_, at) = self.account(name);
        let inbox = read::mailbox_by_name(&self.store, at, &MailboxName::inbox()).unwrap();
        let Some((inbox, _)) = inbox else { return Vec::new() };
        let messages = read::messages(&self.store, inbox, Uid::MIN..=Uid::MAX).unwrap();
        let text = |hash| self.store.body(&hash).unwrap().unwrap().all().unwrap().concat();
        messages.map(|message| String::from_utf8(text(message.unwrap().row.body)).unwrap()).collect()
    }

    /// Submits a message of `a`.
    pub(crate) async fn submit(&self, to: &[&str], body: &str) -> Vec<Outcome> {
        self.accept(envelope("a@example.org", to), body, true).await
    }

    pub(crate) async fn accept(&self, envelope: Envelope, body: &str, submitted: bool) -> Vec<Outcome> {
        self.acceptor.accept(self.incoming(envelope, body, submitted)).await
    }

    /// The same for a message that was written into the store while it came.
    pub(crate) async fn submit_staged(&self, to: &str, body: &str, body_type: BodyType) -> Vec<Outcome> {
        let mut incoming = self.incoming(envelope("a@example.org", &[to]), "", true);
        incoming.envelope.body_type = body_type;
        let mut intake = Intake::new(&self.store).unwrap();
        let text = format!("Return-Path: <x@example.org>\r\n{body}");
        text.as_bytes().chunks(70_000).for_each(|p| intake.push(&[Bytes::copy_from_slice(p)]).unwrap());
        incoming.body = intake.finish().unwrap();
        assert!(incoming.body.is_staged());
        self.acceptor.accept(incoming).await
    }

    pub(crate) fn incoming(&self, envelope: Envelope, body: &str, submitted: bool) -> Incoming {
        Incoming {
            envelope,
            body: NewBody::of(vec![
                Bytes::from("Return-Path: <x@example.org>\r\n"),
                Bytes::from(body.to_owned()),
            ]),
            submitter: submitted.then(|| self.account("a").0),
            strict_quota: false,
        }
    }

    pub(crate) fn items(&self) -> Vec<ItemInfo> {
        self.queue.list(&self.store, None, 1000).unwrap().items
    }

    pub(crate) fn work(&self, relay: Option<RelayTarget>) -> Working {
        self.work_by(relay, quick())
    }

    pub(crate) fn work_by(&self, relay: Option<RelayTarget>, schedule: Schedule) -> Working {
        self.work_with(relay, schedule, ClaimSettings::default())
    }

    pub(crate) fn work_with(
        &self,
        relay: Option<RelayTarget>,
        schedule: Schedule,
        claims: ClaimSettings,
    ) -> Working {
        self.work_by_way_of(
            &self.shards,
            Settings { hostname: "mx.example.org".into(), relay, schedule, claims },
        )
    }

    /// A sender that reaches the groups in a way of its own.
    pub(crate) fn work_by_way_of(&self, shards: &Shards, settings: Settings) -> Working {
        let (wakeup, store) = (Arc::clone(&self.wakeup), self.store.clone());
        let control = Reach::new(self.control.clone(), Patience::default());
        let homes = Homes::new(store.clone(), self.view.clone(), control, shards.clone());
        let acceptor = Acceptor::new(homes);
        let sender = Sender::new(store, acceptor, wakeup, settings).unwrap();
        let (stop, stopping) = watch::channel(false);
        Working { stop, task: tokio::spawn(sender.run(stopping)) }
    }

    /// Waits until the queue is empty.
    pub(crate) async fn sent(&self) {
        until("the queue is empty", || self.items().is_empty()).await;
    }

    /// Every row fits every other, and every body its references.
    pub(crate) fn check(&self) {
        let view = self.store.view();
        let mut references = Vec::new();
        for shard in SHARDS {
            let mut reference = |hash, _| references.push(Ok((shard.0, hash)));
            let report = queue::check(&view, shard, &mut reference).unwrap();
            assert_eq!(report.problems, []);
            let report = estafette_mailbox::check(&view, shard, &mut reference).unwrap();
            assert_eq!(report.problems, []);
        }
        let report = view.verify(references, &mut |_| {}).unwrap();
        assert_eq!(report.problem_count, 0, "{report:?}");
    }

    /// Ends in order; the folder can be opened again.
    pub(crate) async fn close(self) {
        self.check();
        self.raft.shutdown().await;
    }
}

/// Attempts follow each other quickly.
pub(crate) fn quick() -> Schedule {
    Schedule {
        retry_first: Duration::from_millis(50),
        retry_max: Duration::from_millis(200),
        lifetime: Duration::from_secs(600),
        delay_notice: None,
    }
}

pub(crate) fn target(address: std::net::SocketAddr, tls: RelayTls) -> RelayTarget {
    let mut target = RelayTarget::new("127.0.0.1", address.port(), "mx.example.org");
    target.tls = tls;
    target.connect_timeout = Duration::from_secs(5);
    target.times.command = Duration::from_secs(5);
    target.times.greeting = Duration::from_secs(5);
    target
}

/// Waits until it is so; panics after a while.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited in vain until {what}");
}

fn account(name: &str, shard: u32) -> NewAccount {
    NewAccount {
        local: LocalPart::parse(name).unwrap(),
        real_name: String::new(),
        quota: QuotaChoice::Default,
        password_hash: None,
        role: Role::Owner,
        shard: ShardId(shard),
    }
}

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// An envelope; an empty sender is the null one.
pub(crate) fn envelope(from: &str, to: &[&str]) -> Envelope {
    let reverse_path = if from.is_empty() { ReversePath::Null } else { ReversePath::Address(address(from)) };
    let recipients = to.iter().map(|to| Recipient::new(ForwardPath::Address(address(to)))).collect();
    Envelope::new(reverse_path, recipients)
}

pub(crate) fn notify(envelope: &mut Envelope, success: bool, failure: bool, delay: bool) {
    for recipient in &mut envelope.recipients {
        recipient.notify = Some(DsnNotify::On { success, failure, delay });
    }
}

pub(crate) fn all_done(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done))
}
