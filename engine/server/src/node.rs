//! A node from its start to its end: store, groups, sessions, background work.
//!
//! Order of the start: folder, store, groups, first contents, listeners. Order of the end: no new
//! sessions, those that there are told and drained, then other nodes that stop too have done the same, then others lead, then
//! the groups, then the store.

use crate::background;
use crate::bootstrap::{self, Demo};
use crate::cluster::{self, Cluster, ClusterError, Failure, Kept, Link, SOLE_NODE};
use crate::config::{Config, ConfigError};
use crate::descriptors::{Descriptors, Places};
use crate::engine::{Engine, EngineError};
use crate::listeners::{self, Bound};
use crate::login::{self, Logins};
use crate::machines::{FailureView, TrafficMachine};
use crate::ready::Ready;
use crate::signals::Signals;
use estafette_delivery::queue::Wakeup;
use estafette_delivery::{Acceptor, Reach, Shards};
use estafette_directory::DirectoryMachine;
use estafette_mailbox::{Maildrops, Structures, UidMaps, Watchers};
use estafette_raft::{Group, GroupId, Node as RaftNode};
use estafette_reactor::{Io, Threads, tls};
use estafette_storage::Store;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long the start waits for the control group of a cluster, which may have no majority yet; then it goes on.
const CONTROL_WAIT: Duration = Duration::from_secs(20);
/// Likewise for a shard.
const SHARD_WAIT: Duration = Duration::from_secs(5);

/// How long one try of a proposal waits for a leader; who proposes it tries again ([`Reach`]).
const ONE_TRY_MS: u64 = 250;

/// How long a node that stops waits until others lead what it led.
const HAND_OVER: Duration = Duration::from_secs(2);

/// Nodes that stop too are waited for as long as their sessions may take, and so much longer: they may have been told later.
const OTHERS_LATER: Duration = Duration::from_secs(2);

/// For what is to be kept of the last moments: failed logins that were not shared yet.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What the start is told.
#[derive(Clone, Debug)]
pub(crate) struct StartOptions {
    /// The data folder.
    pub(crate) data: PathBuf,
    /// Accounts of the demonstration domain; `None`: no such domain.
    pub(crate) demo_accounts: Option<usize>,
    /// Where to say that all listeners serve.
    pub(crate) ready_file: Option<PathBuf>,
}

/// Why a node cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// A file or folder.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store.
    #[error(transparent)]
    Storage(#[from] estafette_storage::Error),
    /// The groups.
    #[error(transparent)]
    Raft(#[from] estafette_raft::Error),
    /// Listeners and certificates.
    #[error(transparent)]
    Reactor(#[from] estafette_reactor::Error),
    /// The first contents.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Its part in a cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Signals of the system.
    #[error("signals cannot be awaited: {0}")]
    Signals(std::io::Error),
    /// Password hashing.
    #[error(transparent)]
    Hash(#[from] estafette_directory::password::HashError),
    /// The relay's settings.
    #[error("relay.host must be 'host:port', not '{0}'")]
    RelayHost(String),
    /// A name of the demonstration is none.
    #[error(transparent)]
    Username(#[from] estafette_types::UsernameError),
    /// Likewise.
    #[error(transparent)]
    Address(#[from] estafette_types::AddressError),
    /// The directory answered a change with something that does not belong to it.
    #[error("the directory gave an answer that does not fit the question")]
    Answer,
    /// A listener without an address.
    #[error("a listener has no address")]
    NoAddress,
    /// A part of the start was lost.
    #[error("a part of the start ended before its time: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// A storage that refuses to write any more.
    #[error(
        "the node stopped because its disk failed: a write or sync went wrong, and it is not tried again; see the log"
    )]
    DiskFailed,
    /// A storage that has lost what was written to it.
    #[error(
        "the database of this node is damaged ({0}): if other nodes have its data, remove it from the cluster, \
         empty its data folder, and join it anew; else save the folder, and restore a backup"
    )]
    Damaged(Arc<str>),
}

impl StartError {
    /// True if no further start of the program helps, since the data is not whole.
    pub(crate) fn is_damage(&self) -> bool {
        use estafette_raft::Error::{Hole, LogBehind, VoteBehind};
        use estafette_storage::Error::{Behind, Damaged};
        matches!(
            self,
            StartError::Damaged(_)
                | StartError::Storage(Damaged { .. } | Behind { .. })
                | StartError::Raft(LogBehind { .. } | VoteBehind { .. } | Hole { .. })
        )
    }
}

/// A running node.
pub(crate) struct Node {
    engine: Arc<Engine>,
    bound: Bound,
    stop: watch::Sender<bool>,
    tasks: tokio::task::JoinSet<()>,
    sender: tokio::task::JoinHandle<()>,
}

impl Node {
    /// Starts everything; when it returns, all listeners serve.
    pub(crate) async fn start(config: Config, options: &StartOptions) -> Result<(Node, Ready), StartError> {
        let mut config = config;
        let descriptors = Descriptors::of_system();
        let joined = Kept::read(&options.data)?.is_some();
        if cluster::was_removed(&options.data) {
            return Err(ClusterError::Removed(options.data.clone()).into());
        }
        let places = |io| descriptors.places(io, config.node.threads(), config.sessions.max, joined);
        let runtime = tokio::runtime::Handle::current();
        let connections = |io| places(io).connections;
        let (threads, choice) =
            config.node.io.wanted().start(config.node.threads(), connections, &runtime)?;
        tracing::info!(io = choice.io.name(), reason = choice.reason, "how sessions move their bytes");
        let places = places(choice.io);
        if config.sessions.max > places.sessions {
            tracing::warn!(
                sessions = places.sessions,
                "sessions.max is lowered to what the limit of open files leaves"
            );
            config.sessions.max = places.sessions;
        }
        let config = Arc::new(config);
        let data = &options.data;
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| StartError::File { path, source }
        };
        make_folder(data).map_err(file(data))?;
        let store = open_store(&config, data, descriptors.store_files).await?;
        let started = Node::start_on(store.clone(), config, (threads, choice.io), places, options).await;
        started.map_err(|error| because_of(&store, error))
    }

    /// The same with the store open.
    async fn start_on(
        store: Store,
        config: Arc<Config>,
        (threads, io): (Threads, Io),
        places: Places,
        options: &StartOptions,
    ) -> Result<(Node, Ready), StartError> {
        let data = &options.data;
        let mut settings = estafette_raft::Settings::new(data.join("snapshots"));
        settings.compact_entries = config.raft.snapshot_after_entries;
        settings.company_wait_ms = config.raft.company_wait_ms;
        settings.commit_wait_ms = config.raft.commit_wait_ms;
        settings.recent_bytes = config.raft.recent_bytes;
        settings.propose_wait_ms = ONE_TRY_MS.min(config.cluster.write_timeout_ms);
        settings.fresh_wait_ms = config.cluster.fresh_timeout_ms;
        let link = Link::with_streams(places.streams);
        let cluster = cluster_of(&config, data, &store, settings, link)?;
        let engine = Arc::new(engine(&config, store, cluster).await?);
        // A node that joined has the contents of the others.
        let joined = engine.cluster.is_joined();
        let made = if joined { None } else { bootstrap::first_contents(&engine).await? };
        open_shards(&engine).await?;
        let demo = match options.demo_accounts {
            Some(accounts) if engine.cluster.id() == SOLE_NODE => {
                Some(bootstrap::demo(&engine, data, accounts, made.as_ref()).await?)
            }
            _ => None,
        };
        let (files, authority) = certificates(&config, &engine.hostname, data)?;
        let certificates = tls::Certificates::load(files)?;
        let (stop, stopping) = watch::channel(false);
        let acceptor = Acceptor::new(engine.homes());
        let mut tasks = tokio::task::JoinSet::new();
        let bound =
            listeners::start(&engine, &acceptor, &certificates, threads, data, &stopping, &mut tasks)?;
        let sender = background::start(&engine, &acceptor, certificates, &stopping, &mut tasks)?;
        engine.cluster.start(&engine, &mut tasks);
        let ready = Ready::new(io, &bound, made.as_ref(), demo.as_ref().map(Demo::described), authority);
        Ok((Node { engine, bound, stop, tasks, sender }, ready))
    }

    /// Serves until a signal comes, or its store fails and others serve.
    pub(crate) async fn run(mut self, mut signals: Signals) -> Result<(), StartError> {
        let failure = self.until_told(&mut signals).await;
        tracing::info!("stopping: sessions are told and drained");
        self.engine.cluster.ends();
        let _ = self.stop.send(true);
        self.bound.drained().await;
        let _ = tokio::time::timeout(LAST_WORDS, login::share_gathered(&self.engine)).await;
        // It bounds its own end.
        let _ = self.sender.await;
        let sessions = Duration::from_secs(self.engine.config.sessions.drain_timeout_seconds);
        self.engine.cluster.farewell(sessions + OTHERS_LATER).await;
        self.tasks.shutdown().await;
        self.engine.cluster.raft().hand_over(HAND_OVER).await;
        self.engine.cluster.shutdown().await;
        self.engine.cluster.raft().shutdown().await;
        match failure {
            Some(Failure::Damaged(reason)) => Err(StartError::Damaged(reason)),
            Some(Failure::Disk) => Err(StartError::DiskFailed),
            None => Ok(()),
        }
    }

    /// Gives the failure when it ends because its store failed.
    async fn until_told(&self, signals: &mut Signals) -> Option<Failure> {
        let mut look = tokio::time::interval(Duration::from_secs(1));
        let mut told = None;
        loop {
            tokio::select! {
                () = signals.stop() => return None,
                _ = look.tick() => {
                    if self.engine.cluster.is_removed() {
                        tracing::error!("this node was removed from the cluster: it ends, and its data folder can be removed");
                        self.engine.cluster.mark_removed();
                        return None;
                    }
                    let failure = Failure::of(&self.engine.store);
                    if let Some(failure) = failure.as_ref().filter(|failure| told.as_ref() != Some(*failure)) {
                        failure.tell(self.engine.cluster.id(), self.engine.cluster.is_joined());
                    }
                    if failure.is_some() && cluster::is_dispensable(&self.engine).await {
                        tracing::error!("the other nodes go on, and this one ends");
                        return failure;
                    }
                    told = failure;
                }
            }
        }
    }
}

/// A start that failed, and came upon damage, failed because of it.
fn because_of(store: &Store, error: StartError) -> StartError {
    let Some(reason) = store.damage() else { return error };
    tracing::error!(%error, "the node cannot start");
    StartError::Damaged(reason)
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

async fn open_store(config: &Config, data: &Path, open_files: i32) -> Result<Store, StartError> {
    let settings = estafette_storage::Settings {
        open_files,
        cache_bytes: config.storage.cache_bytes,
        min_free_bytes: config.storage.min_free_bytes,
        under_way_max_bytes: config.storage.under_way_max_bytes,
        collect_after: Duration::from_secs(config.storage.collect_after_seconds),
        ..estafette_storage::Settings::default()
    };
    let folder = data.join("store");
    let opened = tokio::task::spawn_blocking(move || Store::open(&folder, settings)).await;
    opened?.map_err(|error| match error {
        damage @ estafette_storage::Error::Damaged { .. } => StartError::Damaged(damage.to_string().into()),
        error => error.into(),
    })
}

fn cluster_of(
    config: &Arc<Config>,
    data: &Path,
    store: &Store,
    settings: estafette_raft::Settings,
    link: Link,
) -> Result<Arc<Cluster>, StartError> {
    let kept = Kept::read(data)?;
    let (id, link) = (kept.as_ref().map_or(SOLE_NODE, |kept| kept.node), Arc::new(link));
    let transport = Arc::clone(&link);
    let raft = Arc::new(RaftNode::connected(store.clone(), id, transport, settings)?);
    Ok(Arc::new(Cluster::new(data.to_owned(), config.cluster.clone(), raft, link, kept)))
}

async fn engine(config: &Arc<Config>, store: Store, cluster: Arc<Cluster>) -> Result<Engine, StartError> {
    let login = config.login.clone();
    let logins = tokio::task::spawn_blocking(move || Logins::new(&login)).await??;
    let directory = DirectoryMachine::new().witnessed_by(logins.witness());
    let view = directory.view();
    let failures = FailureView::default();
    let (raft, joined) = (cluster.raft(), cluster.is_joined());
    let traffic = Box::new(TrafficMachine::new(failures.clone()));
    let control = open(raft, GroupId::CONTROL, Box::new(directory), joined).await?;
    let traffic = open(raft, GroupId::TRAFFIC, traffic, joined).await?;
    cluster.connect().await?;
    // The rows that are here already name all nodes.
    cluster.follow_directory(&view);
    ready(&control, joined.then_some(CONTROL_WAIT)).await?;
    ready(&traffic, joined.then_some(SHARD_WAIT)).await?;
    Ok(Engine {
        hostname: hostname(config).into(),
        gate: config.sessions.gate(),
        config: Arc::clone(config),
        store,
        directory: view,
        control: Reach::new(control, config.cluster.patience()),
        traffic,
        shards: Shards::new(config.cluster.patience()),
        watchers: Arc::new(Watchers::default()),
        wakeup: Arc::new(Wakeup::default()),
        uid_maps: UidMaps::new(config.storage.uids_cache_bytes),
        maildrops: Maildrops::new(config.storage.maildrops_cache_bytes),
        structures: Structures::new(config.storage.structures_cache_bytes),
        logins,
        failures,
        cluster,
    })
}

/// A group of all nodes: a node that is alone begins it, one of a cluster is made a member.
async fn open(
    raft: &RaftNode,
    group: GroupId,
    machine: Box<dyn estafette_raft::Machine>,
    joined: bool,
) -> Result<Group, estafette_raft::Error> {
    if joined { raft.join(group, machine).await } else { raft.open(group, machine).await }
}

/// Waits until a group is ready, with several nodes only so long: the others may not be there.
async fn ready(group: &Group, within: Option<Duration>) -> Result<(), estafette_raft::Error> {
    match within {
        None => group.ready().await,
        Some(within) => match tokio::time::timeout(within, group.ready()).await {
            Ok(ready) => ready,
            Err(_) => {
                tracing::warn!(group = %group.id(), "the group has no leader yet: the start goes on without it");
                Ok(())
            }
        },
    }
}

async fn open_shards(engine: &Engine) -> Result<(), StartError> {
    cluster::open_present(engine).await?;
    let within = engine.cluster.is_joined().then_some(SHARD_WAIT);
    let mut groups = Vec::new();
    for shard in engine.shards.all() {
        groups.push(engine.shards.group(shard).map_err(EngineError::from)?);
    }
    groups.extend(engine.shards.learned().into_iter().map(|(_, group)| group));
    let waits = groups.iter().map(|group| ready(group, within));
    futures_util::future::try_join_all(waits).await?;
    cluster::look_at_learned(engine).await;
    Ok(())
}

/// The setting, or what the host calls itself.
fn hostname(config: &Config) -> String {
    if !config.node.hostname.is_empty() {
        return config.node.hostname.clone();
    }
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let own = own.trim();
    if estafette_types::Domain::parse(own).is_ok() { own.to_owned() } else { "localhost".to_owned() }
}

/// The certificates to load, and the authority that clients may trust when they are our own.
fn certificates(
    config: &Config,
    hostname: &str,
    data: &Path,
) -> Result<(Vec<tls::CertificateFiles>, Option<PathBuf>), StartError> {
    if config.tls.certificates.is_empty() {
        let mut names = vec![hostname.to_owned()];
        names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        names.extend(config.listen.addresses().iter().map(ToString::to_string));
        let mut known = std::collections::HashSet::new();
        names.retain(|name| known.insert(name.clone()));
        let (files, authority) = tls::self_signed(&data.join("tls"), &names)?;
        return Ok((vec![files], Some(authority)));
    }
    let files = config.tls.certificates.iter().map(|certificate| tls::CertificateFiles {
        chain: certificate.chain.clone(),
        key: certificate.key.clone(),
        names: certificate.names.clone(),
    });
    Ok((files.collect(), None))
}
