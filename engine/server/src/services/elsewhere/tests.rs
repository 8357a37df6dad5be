//! Clients of one node whose mailboxes another one has, over real listeners and a real mesh.

use super::*;
use crate::cluster::testing::{acquaint, member};
use crate::config::{Config, Endpoint, Listen, LoginConfig};
use crate::listeners::{self, Bound};
use crate::login::Logins;
use crate::machines::{FailureView, TrafficMachine};
use crate::trouble::node_in;
use estafette_delivery::queue::Wakeup;
use estafette_delivery::{Acceptor, Patience, Reach, ShardMachine, Shards};
use estafette_directory::{Actor, Change, DirectoryMachine, Origin, Plan, Reply};
use estafette_mailbox::{MailboxName, Maildrops, Structures, UidMaps, Watchers};
use estafette_mesh::{Authority, ClusterId};
use estafette_raft::{GroupId, Node, NodeId};
use estafette_reactor::{Threads, tls};
use estafette_types::ShardId;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

const SHARD: ShardId = ShardId(1);
const NAME: &str = "admin@example.org";
const PASSWORD: &str = "kilo7 bravo";

/// A node with its own directory, equal to that of the other one.
struct World {
    engine: Arc<Engine>,
    raft: Arc<Node>,
    at: AccountRef,
    bound: Bound,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    _folder: tempfile::TempDir,
}

fn settings() -> Config {
    let any = |name: &str| vec![Endpoint::try_from(name.to_owned()).unwrap()];
    let mut config = Config {
        login: LoginConfig {
            allow_plaintext: true,
            argon2_memory_kib: 8,
            argon2_passes: 1,
            failure_delay_ms: 0,
            ..LoginConfig::default()
        },
        listen: Listen {
            smtp: Vec::new(),
            submission: Vec::new(),
            submissions: Vec::new(),
            lmtp: Vec::new(),
            imap: any("127.0.0.1:0"),
            imaps: Vec::new(),
            pop3: any("127.0.0.1:0"),
            pop3s: Vec::new(),
            http: Vec::new(),
            ..Listen::default()
        },
        ..Config::default()
    };
    config.node.threads = 2;
    config.sessions.drain_timeout_seconds = 5;
    config
}

impl World {
    /// Node `id` of a cluster; with the shard or without it.
    async fn new(authority: &Authority, id: u64, has_shard: bool, config: Config) -> World {
        let folder = tempfile::tempdir().unwrap();
        let (store, raft) = node_in(folder.path(), estafette_storage::Settings::default());
        let failures = FailureView::default();
        let logins = Logins::new(&config.login).unwrap();
        let directory = DirectoryMachine::new().witnessed_by(logins.witness());
        let view = directory.view();
        let traffic = Box::new(TrafficMachine::new(failures.clone()));
        let (watchers, wakeup) = (Arc::new(Watchers::default()), Arc::new(Wakeup::default()));
        let shards = Shards::default();
        if has_shard {
            let machine = ShardMachine::new(SHARD, Arc::clone(&watchers), Arc::clone(&wakeup));
            let group = raft.open(GroupId::shard(SHARD.0), Box::new(machine)).await.unwrap();
            group.ready().await.unwrap();
            shards.insert(SHARD, group);
        }
        let control = raft.open(GroupId::CONTROL, Box::new(directory)).await.unwrap();
        let engine = Arc::new(Engine {
            logins,
            gate: config.sessions.gate(),
            config: Arc::new(config),
            hostname: "mail.example.org".into(),
            store,
            directory: view,
            control: Reach::new(control, Patience::default()),
            traffic: raft.open(GroupId::TRAFFIC, traffic).await.unwrap(),
            shards,
            watchers,
            wakeup,
            uid_maps: UidMaps::default(),
            maildrops: Maildrops::default(),
            structures: Structures::default(),
            failures,
            cluster: member(folder.path(), &raft, authority, NodeId(id)).await,
        });
        engine.control.group().ready().await.unwrap();
        engine.traffic.ready().await.unwrap();
        let at = contents(&engine).await;
        let (stop, stopping) = watch::channel(false);
        let (bound, tasks) = listen(&engine, folder.path(), &stopping);
        World { engine, raft, at, bound, stop, tasks, _folder: folder }
    }

    /// The first has no shard, the second has.
    async fn pair() -> [World; 2] {
        World::pair_with(settings()).await
    }

    /// With these settings of the second.
    async fn pair_with(config: Config) -> [World; 2] {
        let authority = Authority::create(ClusterId([7; 16])).unwrap();
        let one = World::new(&authority, 2, false, settings()).await;
        let two = World::new(&authority, 1, true, config).await;
        assert_eq!(one.at, two.at);
        acquaint(&[&one.engine.cluster, &two.engine.cluster]).await;
        [one, two]
    }

    async fn client(&self, listener: &str) -> Client {
        let address = self.bound.addresses().remove(listener).unwrap();
        Client(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    /// A client that has logged in.
    async fn imap(&self) -> Client {
        let mut client = self.client("imap").await;
        client.line("* OK ").await;
        client.say(&format!("in LOGIN {NAME} \"{PASSWORD}\"")).await;
        client.line("in OK [CAPABILITY ").await;
        client
    }

    /// Messages in the INBOX here.
    fn messages(&self) -> u32 {
        let inbox = read::mailbox_by_name(&self.engine.store, self.at, &MailboxName::inbox()).unwrap();
        inbox.map_or(0, |(_, row)| row.exists)
    }

    /// Sessions are told, drained and gone.
    async fn stops(&mut self) {
        self.stop.send(true).unwrap();
        timeout(SOON, self.bound.drained()).await.expect("sessions stay");
    }

    async fn end(mut self) {
        self.stops().await;
        self.tasks.shutdown().await;
        self.engine.cluster.shutdown().await;
        self.raft.shutdown().await;
    }
}

const SOON: Duration = Duration::from_secs(10);

/// The same on every node: a domain and its administrator.
async fn contents(engine: &Engine) -> AccountRef {
    let change = |change| engine.change(Actor::System, Origin::Internal, change);
    change(Change::SetShards { shards: vec![SHARD] }).await.unwrap();
    let [plan, ..] = Plan::shipped();
    change(Change::CreatePlan(plan)).await.unwrap();
    let new = crate::trouble::example_domain(SHARD);
    let Ok(Reply::Domain { administrator: account, .. }) = change(Change::CreateDomain(new)).await else {
        panic!("no domain")
    };
    let hash = engine.logins.hasher().hash(PASSWORD).unwrap();
    change(Change::SetPassword { account, password_hash: Some(hash) }).await.unwrap();
    AccountRef { shard: SHARD, account }
}

fn listen(
    engine: &Arc<Engine>,
    data: &std::path::Path,
    stopping: &watch::Receiver<bool>,
) -> (Bound, JoinSet<()>) {
    let mut tasks = JoinSet::new();
    let (files, _) = tls::self_signed(&data.join("tls"), &["localhost".to_owned()]).unwrap();
    let certificates = tls::Certificates::load(vec![files]).unwrap();
    let io = engine.config.node.io.wanted().choose(1000).unwrap().io;
    let threads = Threads::start(2, io, 1000, &tokio::runtime::Handle::current()).unwrap();
    let acceptor = Acceptor::new(engine.homes());
    let bound =
        listeners::start(engine, &acceptor, &certificates, threads, data, stopping, &mut tasks).unwrap();
    (bound, tasks)
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn say(&mut self, line: &str) {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    }

    /// The next line, which begins so.
    async fn line(&mut self, beginning: &str) -> String {
        let mut line = String::new();
        timeout(SOON, self.0.read_line(&mut line)).await.expect("nothing comes").unwrap();
        assert!(line.starts_with(beginning), "{line:?} is not {beginning:?}");
        line
    }

    /// Lines up to one that begins so.
    async fn until(&mut self, beginning: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line("").await;
            assert!(!line.is_empty(), "the end, after {lines:?}");
            lines.push(line);
            if lines.last().is_some_and(|line| line.starts_with(beginning)) {
                return lines;
            }
        }
    }

    async fn hears_no_more(&mut self) {
        let mut rest = String::new();
        let ended = timeout(SOON, self.0.read_to_string(&mut rest)).await;
        ended.expect("it is still open").unwrap();
        assert_eq!(rest, "");
    }
}

#[test]
fn heads_come_back_and_those_of_other_versions_are_none() {
    let head = Head {
        version: VERSION,
        speech: Speech::Pop3,
        listener: "pop3s".to_owned(),
        account: u64::MAX,
        remote: "[2001:db8::1]:40000".parse().unwrap(),
        local: "192.0.2.1:995".parse().unwrap(),
    };
    let bytes = encoded(&head);
    assert_eq!(Head::decode(&bytes), Some(head.clone()));
    assert_eq!(Head::decode(&encoded(&Head { version: 2, ..head })), None);
    (0..bytes.len()).for_each(|end| assert_eq!(Head::decode(&bytes[..end]), None));
    let welcome = Welcome { version: VERSION, append_max_bytes: 7 };
    assert_eq!(Welcome::decode(&encoded(&welcome)), Some(welcome));
    assert_eq!(Welcome::decode(&[9]), None);
}

#[test]
fn words_are_added_between_responses_alone() {
    let mut imap = Carried::new(Speech::Imap, "imap");
    let bye = imap.words(Parted::Lost).unwrap();
    assert!(bye.starts_with(b"* BYE [UNAVAILABLE] ") && bye.ends_with(b"\r\n"));
    imap.told(b"* 1 FETCH (BODY[] {10}\r\n12345\r\n");
    assert_eq!(imap.words(Parted::Lost), None);
    imap.told(b"890)\r\n");
    assert!(imap.words(Parted::Stopping).is_some());
    let mut pop3 = Carried::new(Speech::Pop3, "pop3");
    pop3.told(b"+OK\r\n");
    assert_eq!(pop3.words(Parted::Lost), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_imap_session_goes_on_where_its_mailboxes_are() {
    let [one, two] = World::pair().await;
    let mut client = one.client("imap").await;
    client.line("* OK ").await;
    // All at once, and not whole at the end.
    client.say(&format!("a LOGIN {NAME} \"{PASSWORD}\"\r\nb APPEND INBOX {{5+}}\r\n1\r\n23\r\nc SEL")).await;
    let told = client.line("a OK [CAPABILITY ").await;
    let limit = one.engine.config.imap.append_max_bytes;
    assert!(told.contains(&format!(" APPENDLIMIT={limit}")) && told.ends_with("Logged in\r\n"), "{told}");
    client.line("b OK [APPENDUID ").await;
    client.line("c BAD ").await;
    client.say("d SELECT INBOX").await;
    assert!(client.until("d OK [READ-WRITE]").await.contains(&"* 1 EXISTS\r\n".to_owned()));
    assert_eq!((one.messages(), two.messages()), (0, 1));
    client.say("e IDLE").await;
    client.line("+ ").await;
    let mut other = two.imap().await;
    other.say("a APPEND INBOX {3+}\r\nnew").await;
    other.line("a OK").await;
    client.line("* 2 EXISTS").await;
    client.say("DONE\r\nf FETCH 1 BODY[]\r\ng LOGOUT").await;
    client.line("e OK").await;
    client.line("* 1 FETCH (").await;
    client.until("f OK").await;
    client.line("* BYE ").await;
    client.line("g OK").await;
    client.hears_no_more().await;
    one.end().await;
    two.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pop3_session_is_answered_where_its_maildrop_is() {
    let [one, two] = World::pair().await;
    let mut imap = one.imap().await;
    imap.say("a APPEND INBOX {5+}\r\nhello").await;
    imap.line("a OK").await;
    let mut client = one.client("pop3").await;
    client.line("+OK ").await;
    client.say(&format!("USER {NAME}\r\nPASS {PASSWORD}\r\nSTAT\r\nRETR 1")).await;
    client.line("+OK now the password").await;
    client.line("+OK 1 messages (").await;
    client.line("+OK 1 ").await;
    client.line("+OK ").await;
    client.line("hello").await;
    client.line(".").await;
    client.say("DELE 1\r\nQUIT").await;
    client.line("+OK").await;
    client.line("+OK bye, deleted: 1").await;
    client.hears_no_more().await;
    assert_eq!(two.messages(), 0);
    // A wrong password is found wrong where it was said.
    let mut client = one.client("pop3").await;
    client.line("+OK ").await;
    client.say(&format!("USER {NAME}\r\nPASS wrong")).await;
    client.until("-ERR [AUTH]").await;
    one.end().await;
    two.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_comes_through_while_the_client_says_more() {
    const BYTES: usize = 8 << 20;
    let [one, two] = World::pair().await;
    let mut client = one.imap().await;
    client.say(&format!("a APPEND INBOX {{{BYTES}+}}")).await;
    client.0.write_all(&vec![b'x'; BYTES]).await.unwrap();
    client.say("\r\nb SELECT INBOX").await;
    client.line("a OK").await;
    client.until("b OK").await;
    let (mut reader, mut writer) = client.0.into_inner().into_split();
    let saying = tokio::spawn(async move {
        writer.write_all(b"f FETCH 1 BODY[]\r\n").await.unwrap();
        for number in 0..20_000 {
            writer.write_all(format!("n{number} NOOP\r\n").as_bytes()).await.unwrap();
        }
        writer.write_all(b"z LOGOUT\r\n").await.unwrap();
        writer
    });
    let mut heard = Vec::new();
    timeout(Duration::from_secs(60), reader.read_to_end(&mut heard)).await.expect("it stands still").unwrap();
    let text = String::from_utf8(heard).unwrap();
    assert!(text.len() > BYTES && text.ends_with("z OK LOGOUT completed\r\n"));
    assert!(text.contains("\r\nn19999 OK"));
    drop(saying.await.unwrap());
    one.end().await;
    two.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_nobody_is_told_soon_to_come_later() {
    let mut config = settings();
    config.sessions.max = 1;
    let [one, mut two] = World::pair_with(config).await;
    let _only = one.imap().await;
    let refused = async |login: &str, words: &str, listener: &str| {
        let mut client = one.client(listener).await;
        client.line("").await;
        let began = Instant::now();
        client.say(login).await;
        client.until(words).await;
        assert!(began.elapsed() < ALL_NODES, "{:?}", began.elapsed());
    };
    let imap = format!("a LOGIN {NAME} \"{PASSWORD}\"");
    let pop3 = format!("USER {NAME}\r\nPASS {PASSWORD}");
    refused(&imap, "a NO [UNAVAILABLE]", "imap").await;
    refused(&pop3, "-ERR [SYS/TEMP]", "pop3").await;
    // It has not the shard any more.
    two.engine.shards.remove(SHARD);
    refused(&imap, "a NO [UNAVAILABLE]", "imap").await;
    // It stops.
    two.stops().await;
    refused(&imap, "a NO [UNAVAILABLE]", "imap").await;
    // It has gone.
    two.engine.cluster.shutdown().await;
    refused(&imap, "a NO [UNAVAILABLE]", "imap").await;
    one.end().await;
    two.tasks.shutdown().await;
    two.raft.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_either_node_is_told() {
    let [mut one, mut two] = World::pair().await;
    let mut client = one.imap().await;
    client.say("a SELECT INBOX").await;
    client.until("a OK").await;
    let mut silent = one.imap().await;
    let mut idle = one.imap().await;
    idle.say("a SELECT INBOX\r\nb IDLE").await;
    idle.until("+ ").await;
    two.stops().await;
    for client in [&mut client, &mut silent, &mut idle] {
        client.line("* BYE [UNAVAILABLE] The server is stopping").await;
        client.hears_no_more().await;
    }
    one.stops().await;
    one.end_after_stop().await;
    two.end_after_stop().await;

    let [mut one, two] = World::pair().await;
    let mut idle = one.imap().await;
    idle.say("a SELECT INBOX\r\nb IDLE").await;
    idle.until("+ ").await;
    let mut silent = one.imap().await;
    one.stops().await;
    for client in [&mut idle, &mut silent] {
        client.line("* BYE [UNAVAILABLE] The server is stopping").await;
        client.hears_no_more().await;
    }
    one.end_after_stop().await;
    two.end().await;
}

impl World {
    async fn end_after_stop(mut self) {
        self.tasks.shutdown().await;
        self.engine.cluster.shutdown().await;
        self.raft.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_lost_is_told_of() {
    let [one, two] = World::pair().await;
    let mut client = one.imap().await;
    client.say("a SELECT INBOX").await;
    client.until("a OK").await;
    // As if it were killed: nobody closes in order.
    two.engine.cluster.shutdown().await;
    client.line("* BYE [UNAVAILABLE] The server of your mailboxes was lost").await;
    client.hears_no_more().await;
    one.end().await;
    two.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_when_the_shard_leaves_its_node() {
    let [one, two] = World::pair().await;
    let (mut own, mut relayed) = (two.imap().await, one.imap().await);
    for client in [&mut own, &mut relayed] {
        client.say("a SELECT INBOX").await;
        client.until("a OK").await;
    }
    let mut idle = one.imap().await;
    idle.say("a SELECT INBOX\r\nb IDLE").await;
    idle.until("+ ").await;
    let mut pop3 = two.client("pop3").await;
    pop3.say(&format!("USER {NAME}\r\nPASS {PASSWORD}")).await;
    pop3.until("+OK 0 messages").await;
    two.engine.let_go(SHARD);
    own.say("b NOOP").await;
    relayed.say("b NOOP").await;
    pop3.say("RETR 1").await;
    pop3.until("-ERR").await;
    // Who waits hears of it too.
    for client in [&mut own, &mut relayed, &mut idle] {
        client.line("* BYE [UNAVAILABLE] Your mailboxes have moved").await;
        client.hears_no_more().await;
    }
    one.end().await;
    two.end().await;
}
