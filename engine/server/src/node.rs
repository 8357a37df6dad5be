//! A node from its start to its end: store, groups, sessions, background work.
//!
//! Order of the start: folder, store, groups, first contents, listeners. Order of the end: no new
//! sessions, those that there are told and drained, then the groups, then the store.

use crate::background;
use crate::bootstrap::{self, Demo};
use crate::config::{Config, ConfigError};
use crate::descriptors::Descriptors;
use crate::engine::{Engine, EngineError};
use crate::listeners::{self, Bound};
use crate::login::{self, Logins};
use crate::machines::{FailureView, TrafficMachine};
use crate::ready::Ready;
use crate::signals::Signals;
use estafette_delivery::queue::Wakeup;
use estafette_delivery::{Acceptor, ShardMachine, Shards};
use estafette_directory::DirectoryMachine;
use estafette_mailbox::{Maildrops, Structures, UidMaps, Watchers};
use estafette_raft::{GroupId, Node as RaftNode, NodeId};
use estafette_reactor::{Io, Threads, tls};
use estafette_storage::Store;
use estafette_types::ShardId;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The identifier of a node that is alone.
const SOLE_NODE: NodeId = NodeId(1);

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
}

/// A running node.
pub(crate) struct Node {
    engine: Arc<Engine>,
    raft: RaftNode,
    bound: Bound,
    stop: watch::Sender<bool>,
    tasks: tokio::task::JoinSet<()>,
}

impl Node {
    /// Starts everything; when it returns, all listeners serve.
    pub(crate) async fn start(config: Config, options: &StartOptions) -> Result<(Node, Ready), StartError> {
        let mut config = config;
        let descriptors = Descriptors::of_system();
        let places = |io| descriptors.places(io, config.node.threads(), config.sessions.max);
        let choice = config.node.io.wanted().choose(places(Io::Uring).connections)?;
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
        let mut settings = estafette_raft::Settings::new(data.join("snapshots"));
        settings.compact_entries = config.raft.snapshot_after_entries;
        settings.company_wait_ms = config.raft.company_wait_ms;
        let raft = RaftNode::start(store.clone(), SOLE_NODE, settings)?;
        let engine = Arc::new(engine(&config, store, &raft).await?);
        let made = bootstrap::first_contents(&engine).await?;
        open_shards(&engine, &raft).await?;
        let demo = match options.demo_accounts {
            Some(accounts) => Some(bootstrap::demo(&engine, data, accounts, made.as_ref()).await?),
            None => None,
        };
        let (files, authority) = certificates(&config, &engine.hostname, data)?;
        let certificates = tls::Certificates::load(files)?;
        let (stop, stopping) = watch::channel(false);
        let acceptor = Acceptor::new(engine.store.clone(), engine.directory.clone(), engine.shards.clone());
        let mut tasks = tokio::task::JoinSet::new();
        let threads = Threads::start(
            engine.config.node.threads(),
            choice.io,
            places.connections,
            &tokio::runtime::Handle::current(),
        )?;
        let bound =
            listeners::start(&engine, &acceptor, &certificates, threads, data, &stopping, &mut tasks)?;
        background::start(&engine, &acceptor, certificates, &stopping, &mut tasks)?;
        let ready =
            Ready::new(choice.io, &bound, made.as_ref(), demo.as_ref().map(Demo::described), authority);
        Ok((Node { engine, raft, bound, stop, tasks }, ready))
    }

    /// Serves until a signal comes or the disk fails.
    pub(crate) async fn run(mut self, mut signals: Signals) -> Result<(), StartError> {
        let failed = self.until_told(&mut signals).await;
        tracing::info!("stopping: sessions are told and drained");
        let _ = self.stop.send(true);
        self.bound.drained().await;
        let _ = tokio::time::timeout(LAST_WORDS, login::share_gathered(&self.engine)).await;
        self.tasks.shutdown().await;
        self.raft.shutdown().await;
        if failed { Err(StartError::DiskFailed) } else { Ok(()) }
    }

    /// True when it ends because the disk failed.
    async fn until_told(&self, signals: &mut Signals) -> bool {
        let mut look = tokio::time::interval(Duration::from_secs(1));
        let mut told = false;
        loop {
            tokio::select! {
                () = signals.stop() => return false,
                _ = look.tick() => {
                    let failed = self.engine.store.health() == estafette_storage::Health::Failed;
                    if failed && !told {
                        told = true;
                        tracing::error!("the disk failed: no writes are taken any more; what is stored can still be read");
                    }
                }
            }
        }
    }
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
    Ok(opened??)
}

async fn engine(config: &Arc<Config>, store: Store, raft: &RaftNode) -> Result<Engine, StartError> {
    let login = config.login.clone();
    let logins = tokio::task::spawn_blocking(move || Logins::new(&login)).await??;
    let directory = DirectoryMachine::new().witnessed_by(logins.witness());
    let view = directory.view();
    let failures = FailureView::default();
    let control = raft.open(GroupId::CONTROL, Box::new(directory)).await?;
    let traffic = raft.open(GroupId::TRAFFIC, Box::new(TrafficMachine::new(failures.clone()))).await?;
    control.ready().await?;
    traffic.ready().await?;
    Ok(Engine {
        hostname: hostname(config).into(),
        config: Arc::clone(config),
        store,
        directory: view,
        control,
        traffic,
        shards: Shards::default(),
        watchers: Arc::new(Watchers::default()),
        wakeup: Arc::new(Wakeup::default()),
        uid_maps: UidMaps::new(config.storage.uids_cache_bytes),
        maildrops: Maildrops::new(config.storage.maildrops_cache_bytes),
        structures: Structures::new(config.storage.structures_cache_bytes),
        logins,
        failures,
    })
}

async fn open_shards(engine: &Engine, raft: &RaftNode) -> Result<(), StartError> {
    let shards: Vec<ShardId> = engine.directory.read().shards().to_vec();
    for shard in &shards {
        let machine = ShardMachine::new(*shard, Arc::clone(&engine.watchers), Arc::clone(&engine.wakeup));
        let group = raft.open(GroupId::shard(shard.0), Box::new(machine)).await?;
        engine.shards.insert(*shard, group);
    }
    for shard in shards {
        engine.shards.group(shard).map_err(EngineError::from)?.ready().await?;
    }
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
        names.dedup();
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
