//! Logins against a directory run by a real group.

use super::*;
use crate::config::Config;
use crate::machines::{FailureView, TrafficMachine};
use crate::trouble::{Hindrance, node_in, past};
use estafette_delivery::Shards;
use estafette_delivery::queue::Wakeup;
use estafette_directory::{
    AccountChange, Actor, Change, DirectoryMachine, DomainChange, Origin, Plan, Reply,
};
use estafette_mailbox::{Maildrops, Structures, UidMaps, Watchers};
use estafette_raft::{GroupId, Node};
use estafette_types::{AccountId, DomainId, ShardId};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const NAME: &str = "admin@example.org";
const RIGHT: &str = "kilo7 bravo";

/// Little work, no waiting.
fn quick() -> LoginConfig {
    LoginConfig { argon2_memory_kib: 8, argon2_passes: 1, failure_delay_ms: 0, ..LoginConfig::default() }
}

/// An engine whose directory knows one domain and its administrator.
pub(crate) struct World {
    pub(crate) engine: Arc<Engine>,
    raft: Arc<Node>,
    pub(crate) domain: DomainId,
    account: AccountId,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new(login: LoginConfig) -> World {
        World::hindered(login, &Arc::default()).await
    }

    /// With something in the way of the directory's group.
    pub(crate) async fn hindered(login: LoginConfig, hindrance: &Arc<Hindrance>) -> World {
        let folder = tempfile::tempdir().unwrap();
        let (store, raft) = node_in(folder.path(), estafette_storage::Settings::default());
        let failures = FailureView::default();
        let logins = Logins::new(&login).unwrap();
        let directory = DirectoryMachine::new().witnessed_by(logins.witness());
        let view = directory.view();
        let traffic = Box::new(TrafficMachine::new(failures.clone()));
        let engine = Engine {
            logins,
            config: Arc::new(Config { login, ..Config::default() }),
            hostname: "mail.example.org".into(),
            store,
            directory: view,
            control: past(raft.open(GroupId::CONTROL, Box::new(directory)).await.unwrap(), hindrance),
            traffic: raft.open(GroupId::TRAFFIC, traffic).await.unwrap(),
            shards: Shards::default(),
            watchers: Arc::new(Watchers::default()),
            wakeup: Arc::new(Wakeup::default()),
            uid_maps: UidMaps::default(),
            maildrops: Maildrops::default(),
            structures: Structures::default(),
            failures,
            cluster: crate::trouble::alone(folder.path(), &raft),
            gate: crate::config::SessionsConfig::default().gate(),
        };
        engine.control.group().ready().await.unwrap();
        engine.traffic.ready().await.unwrap();
        let change = |change| engine.change(Actor::System, Origin::Internal, change);
        change(Change::SetShards { shards: vec![ShardId(1)] }).await.unwrap();
        let [plan, ..] = Plan::shipped();
        change(Change::CreatePlan(plan)).await.unwrap();
        let new = crate::trouble::example_domain(ShardId(1));
        let Ok(Reply::Domain { id, administrator, .. }) = change(Change::CreateDomain(new)).await else {
            panic!("no domain")
        };
        let world =
            World { engine: Arc::new(engine), raft, domain: id, account: administrator, _folder: folder };
        world.set_password(RIGHT).await;
        world
    }

    async fn change(&self, change: Change) {
        self.engine.change(Actor::System, Origin::Internal, change).await.unwrap();
    }

    async fn set_password(&self, password: &str) {
        let hash = self.engine.logins.hasher().hash(password).unwrap();
        self.change(Change::SetPassword { account: self.account, password_hash: Some(hash) }).await;
    }

    async fn set_disabled(&self, disabled: bool) {
        let change = AccountChange { disabled: Some(disabled), ..AccountChange::default() };
        self.change(Change::ChangeAccount { account: self.account, change }).await;
    }

    async fn login(&self, password: &str) -> &'static str {
        label(&self.engine.login("imap", NAME, password, from()).await)
    }

    /// The answer, if it is there on the spot; nobody gets a place for a hash meanwhile.
    fn login_at_once(&self, password: &str) -> Option<&'static str> {
        let places = &self.engine.logins.places;
        let _taken = places.try_acquire_many(u32::try_from(places.available_permits()).unwrap()).unwrap();
        let login = pin!(self.engine.login("imap", NAME, password, from()));
        match login.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Some(label(&outcome)),
            Poll::Pending => None,
        }
    }

    fn known(&self) -> usize {
        self.engine.logins.verified.len()
    }

    pub(crate) async fn end(self) {
        self.raft.shutdown().await;
    }
}

fn from() -> IpAddr {
    "192.0.2.1".parse().unwrap()
}

fn label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Welcome(_) => "welcome",
        Outcome::Wrong => "wrong",
        Outcome::Barred => "barred",
        Outcome::TooMany => "too many",
        Outcome::Later => "later",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_is_let_in_on_the_spot() {
    let world = World::new(quick()).await;
    assert_eq!(world.login_at_once(RIGHT), None, "the first time takes a hash");
    assert_eq!(world.login(RIGHT).await, "welcome");
    assert_eq!(world.login_at_once(RIGHT), Some("welcome"));
    assert_eq!(label(&world.engine.login("pop3", "example0001", RIGHT, from()).await), "welcome");
    assert_eq!(world.known(), 1, "by whichever name");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_for_a_known_account_is_checked_and_counted() {
    let world = World::new(LoginConfig { failures_per_address: 2, ..quick() }).await;
    assert_eq!(world.login(RIGHT).await, "welcome");
    assert_eq!(world.login("kilo8 bravo").await, "wrong");
    assert_eq!(world.engine.failures_of(from()), 1);
    assert_eq!(world.login_at_once(RIGHT), Some("welcome"), "it has not put out what is known");
    assert_eq!(world.login("kilo8 bravo").await, "wrong");
    assert_eq!(world.login(RIGHT).await, "too many", "the limit comes before the cache");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_password_counts_at_once() {
    let world = World::new(quick()).await;
    assert_eq!(world.login(RIGHT).await, "welcome");
    world.set_password("lima8 charlie").await;
    assert_eq!(world.known(), 0, "dropped when it was applied");
    assert_eq!(world.login(RIGHT).await, "wrong");
    assert_eq!(world.login("lima8 charlie").await, "welcome");
    world.change(Change::SetPassword { account: world.account, password_hash: None }).await;
    assert_eq!(world.login("lima8 charlie").await, "wrong");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_account_and_a_suspended_domain_are_barred_at_once() {
    let world = World::new(quick()).await;
    let suspend = |suspended| Change::ChangeDomain {
        domain: world.domain,
        change: DomainChange { suspended: Some(suspended), ..DomainChange::default() },
    };
    assert_eq!(world.login(RIGHT).await, "welcome");
    world.set_disabled(true).await;
    assert_eq!((world.known(), world.login(RIGHT).await), (0, "barred"));
    assert_eq!(world.known(), 0, "who is barred is not remembered");
    world.set_disabled(false).await;
    assert_eq!(world.login(RIGHT).await, "welcome");
    world.change(suspend(true)).await;
    assert_eq!((world.known(), world.login(RIGHT).await), (0, "barred"));
    world.change(suspend(false)).await;
    assert_eq!(world.login(RIGHT).await, "welcome");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_account_is_forgotten() {
    let world = World::new(quick()).await;
    assert_eq!(world.login(RIGHT).await, "welcome");
    world.change(Change::DeleteDomain { domain: world.domain }).await;
    assert_eq!((world.known(), world.login(RIGHT).await), (0, "wrong"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_cache_every_login_is_checked() {
    let world = World::new(LoginConfig { cache_seconds: 0, ..quick() }).await;
    assert_eq!(world.login(RIGHT).await, "welcome");
    assert_eq!(world.login_at_once(RIGHT), None);
    assert_eq!((world.known(), world.login(RIGHT).await), (0, "welcome"));
    world.end().await;
}

/// A client opens several connections at once: one of them pays for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_wait_for_their_turn_are_known_when_it_comes() {
    let world = World::new(LoginConfig { checks_at_once: 1, ..quick() }).await;
    let engine = Arc::clone(&world.engine);
    let place = engine.logins.places.acquire().await.unwrap();
    let mut waiting = pin!(engine.login("imap", NAME, RIGHT, from()));
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    let (_, credential) = engine.claim(NAME, RIGHT);
    engine.logins.verified.remember(credential, Instant::now());
    drop(place);
    let Poll::Ready(outcome) = waiting.poll(&mut context) else {
        panic!("it was hashed although another had been let in")
    };
    assert_eq!(label(&outcome), "welcome");
    world.end().await;
}

#[test]
fn a_failure_counts_until_it_is_shared_and_is_shared_once() {
    let logins = Logins::new(&quick()).unwrap();
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    logins.note_failure(address);
    logins.note_failure(address);
    let sharing = logins.to_share();
    assert_eq!(sharing, vec![(address, 2)]);
    assert_eq!(logins.pending_of(address), 2, "it counts while it is being shared");
    logins.note_failure(address);
    logins.shared(&sharing);
    assert_eq!(logins.to_share(), vec![(address, 1)]);
    logins.shared(&vec![(address, 1)]);
    assert!(logins.to_share().is_empty());
}

#[test]
fn the_delay_doubles_up_to_its_limit() {
    let config = LoginConfig { argon2_memory_kib: 8, argon2_passes: 1, ..LoginConfig::default() };
    let logins = Logins::new(&config).unwrap();
    let ms = |failures| logins.delay(failures).as_millis();
    assert_eq!((ms(0), ms(1), ms(4), ms(5), ms(u32::MAX)), (500, 1_000, 8_000, 8_000, 8_000));
}

/// The password was changed on another node, and this one has not heard of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_here_is_looked_at_again_with_what_others_know() {
    let hindrance = Arc::new(Hindrance::default());
    let world = World::hindered(quick(), &hindrance).await;
    let engine = Arc::clone(&world.engine);
    let (account, hash) = (world.account, engine.logins.hasher().hash("lima8 oscar").unwrap());
    let elsewhere = async move {
        let change = Change::SetPassword { account, password_hash: Some(hash) };
        engine.change(Actor::System, Origin::Internal, change).await.unwrap();
        Ok(())
    };
    *hindrance.news.lock() = Some(Box::pin(elsewhere));
    assert_eq!(world.login("lima8 oscar").await, "welcome");
    assert_eq!(world.engine.failures_of(from()), 0, "and that was no failure");
    assert_eq!(*hindrance.asked.lock(), 1);
    assert_eq!(world.login("lima8 oscar").await, "welcome");
    assert_eq!(*hindrance.asked.lock(), 1, "who is let in asks nobody");
    assert_eq!(world.login(RIGHT).await, "wrong");
    assert_eq!((*hindrance.asked.lock(), world.engine.failures_of(from())), (2, 1));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_lets_in_whom_it_knows_and_puts_off_the_others() {
    let hindrance = Arc::new(Hindrance::default());
    let world = World::hindered(quick(), &hindrance).await;
    *hindrance.cut_off.lock() = true;
    assert_eq!(world.login(RIGHT).await, "welcome");
    let since = Instant::now();
    assert_eq!(world.login("another").await, "later");
    assert_eq!(label(&world.engine.login("imap", "nobody@example.org", RIGHT, from()).await), "later");
    assert!(since.elapsed().as_secs() < 5);
    assert_eq!(world.engine.failures_of(from()), 0);
    world.end().await;
}
