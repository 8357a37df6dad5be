//! Opens the listeners of a node and gives each its protocol and settings.

use crate::cluster::Doorway;
use crate::config::{Config, Endpoint};
use crate::engine::Engine;
use crate::node::StartError;
use crate::services::elsewhere::Doorman;
use crate::services::{ImapProtocol, Pop3Protocol, SmtpProtocol};
use estafette_delivery::Acceptor;
use estafette_imap::codec::framer::Limits as ImapLimits;
use estafette_reactor::tls::Certificates;
use estafette_reactor::{Adopter, Gate, Limits, Listener, Protocol, Threads, bind, serve};
use estafette_smtp::server::{Kind, ServerConfig, TlsMode};
use estafette_types::Networks;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The listeners that serve.
#[derive(Default)]
pub(crate) struct Bound {
    addresses: BTreeMap<String, SocketAddr>,
    tasks: JoinSet<()>,
    /// Takes sessions of other nodes.
    doorman: Option<Arc<Doorman>>,
    /// The last to go: what still runs on them when the drain limit is over is dropped.
    threads: Option<Arc<Threads>>,
}

impl Bound {
    /// The first address of each listener, by name.
    pub(crate) fn addresses(&self) -> BTreeMap<String, String> {
        self.addresses.iter().map(|(name, address)| (name.clone(), address.to_string())).collect()
    }

    /// Resolves when all sessions have ended after the stop was told.
    pub(crate) async fn drained(&mut self) {
        while self.tasks.join_next().await.is_some() {}
        self.doorman = None;
        self.threads = None;
    }
}

struct Opener<'a> {
    bound: Bound,
    gate: Gate,
    limits: Limits,
    proxy_from: Arc<Networks>,
    certificates: &'a Arc<Certificates>,
    stopping: watch::Receiver<bool>,
    threads: Arc<Threads>,
}

impl Opener<'_> {
    fn open<P: Protocol>(
        &mut self,
        protocol: P,
        endpoints: &[Endpoint],
        implicit_tls: bool,
    ) -> Result<(), StartError> {
        let protocol = Arc::new(protocol);
        for endpoint in endpoints {
            let sockets = bind_first(*endpoint, self.threads.count(), self.limits.write_timeout)?;
            self.note(protocol.name(), &sockets)?;
            let listener = Listener {
                sockets,
                acceptor: Some(self.certificates.acceptor()),
                implicit_tls,
                limits: self.limits,
                proxy_from: Arc::clone(&self.proxy_from),
            };
            self.bound.tasks.spawn(serve(
                Arc::clone(&self.threads),
                Arc::clone(&protocol),
                listener,
                self.gate.clone(),
                self.stopping.clone(),
            ));
        }
        Ok(())
    }

    /// The same for sessions that come from other nodes.
    fn adopter<P: Protocol>(&mut self, protocol: P) -> Arc<Adopter<P>> {
        let (threads, gate) = (Arc::clone(&self.threads), self.gate.clone());
        let (adopter, drained) =
            Adopter::new(threads, Arc::new(protocol), self.limits, gate, self.stopping.clone());
        self.bound.tasks.spawn(drained);
        adopter
    }

    fn note(&mut self, name: &str, sockets: &[TcpListener]) -> Result<(), StartError> {
        if let Some(socket) = sockets.first() {
            let address = socket.local_addr().map_err(estafette_reactor::Error::from)?;
            self.bound.addresses.entry(name.to_owned()).or_insert(address);
        }
        Ok(())
    }
}

/// Binds the first of an endpoint's addresses that can be bound.
fn bind_first(endpoint: Endpoint, count: usize, patience: Duration) -> Result<Vec<TcpListener>, StartError> {
    let mut last = None;
    for address in endpoint.candidates() {
        match bind(address, count, patience) {
            Ok(sockets) => return Ok(sockets),
            Err(error) => last = last.or(Some(error)),
        }
    }
    Err(last.map_or(StartError::NoAddress, StartError::from))
}

/// Opens all listeners.
pub(crate) fn start(
    engine: &Arc<Engine>,
    acceptor: &Acceptor,
    certificates: &Arc<Certificates>,
    threads: Threads,
    data: &Path,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<Bound, StartError> {
    let config = &engine.config;
    let seconds = Duration::from_secs;
    let threads = Arc::new(threads);
    let mut opener = Opener {
        bound: Bound::default(),
        gate: engine.gate.clone(),
        limits: Limits {
            handshake_timeout: seconds(config.sessions.handshake_timeout_seconds),
            write_timeout: seconds(config.sessions.write_timeout_seconds),
            drain_timeout: seconds(config.sessions.drain_timeout_seconds),
            linger: seconds(config.sessions.linger_seconds),
        },
        proxy_from: Arc::new(config.listen.proxy_from.clone()),
        certificates,
        stopping: stopping.clone(),
        threads: Arc::clone(&threads),
    };
    opener.bound.threads = Some(threads);
    let listen = &config.listen;
    for (name, kind, tls, endpoints) in [
        ("smtp", Kind::Mx, TlsMode::StartTls, &listen.smtp),
        ("submission", Kind::Submission, TlsMode::StartTls, &listen.submission),
        ("submissions", Kind::Submission, TlsMode::Implicit, &listen.submissions),
        ("lmtp", Kind::Lmtp, TlsMode::StartTls, &listen.lmtp),
    ] {
        let settings = smtp_settings(config, &engine.hostname, kind, tls);
        let protocol = SmtpProtocol {
            name,
            engine: Arc::clone(engine),
            acceptor: acceptor.clone(),
            config: Arc::new(settings),
        };
        opener.open(protocol, endpoints, tls == TlsMode::Implicit)?;
    }
    let mut doorman = Doorman { engine: Arc::clone(engine), imap: Vec::new(), pop3: Vec::new() };
    for (name, implicit, endpoints) in [("imap", false, &listen.imap), ("imaps", true, &listen.imaps)] {
        let config = Arc::new(imap_settings(config, &engine.hostname, !implicit));
        let protocol = || ImapProtocol { name, engine: Arc::clone(engine), config: Arc::clone(&config) };
        opener.open(protocol(), endpoints, implicit)?;
        doorman.imap.push(opener.adopter(protocol()));
    }
    for (name, implicit, endpoints) in [("pop3", false, &listen.pop3), ("pop3s", true, &listen.pop3s)] {
        let config = Arc::new(pop3_settings(config, &engine.hostname, !implicit));
        let protocol = || Pop3Protocol { name, engine: Arc::clone(engine), config: Arc::clone(&config) };
        opener.open(protocol(), endpoints, implicit)?;
        doorman.pop3.push(opener.adopter(protocol()));
    }
    let doorman = Arc::new(doorman);
    let doorway: Weak<dyn Doorway> = Arc::downgrade(&(Arc::clone(&doorman) as Arc<dyn Doorway>));
    engine.cluster.open_doorway(doorway);
    opener.bound.doorman = Some(doorman);
    for endpoint in &listen.http {
        let sockets = bind_first(*endpoint, 1, opener.limits.write_timeout)?;
        opener.note("http", &sockets)?;
        for socket in sockets {
            let socket = tokio::net::TcpListener::from_std(socket).map_err(estafette_reactor::Error::from)?;
            crate::api::serve_network(engine, socket, tasks);
        }
    }
    crate::api::serve_local(engine, data, tasks)?;
    Ok(opener.bound)
}

fn smtp_settings(config: &Config, hostname: &str, kind: Kind, tls: TlsMode) -> ServerConfig {
    let mut settings = ServerConfig::new(kind, hostname);
    settings.tls = tls;
    settings.require_tls_for_auth = !config.login.allow_plaintext;
    // Keeping to it needs delivery that checks the next server's certificate by name.
    settings.offer_requiretls = false;
    settings.limits.recipients = config.smtp.recipients_max;
    settings.limits.mails = u32::try_from(config.smtp.messages_max).unwrap_or(u32::MAX);
    settings.limits.body.size = config.smtp.message_max_bytes;
    settings.limits.body.header = config.smtp.header_max_bytes as _;
    settings.limits.part_from = config.storage.stage_from_bytes;
    settings.times.command = Duration::from_secs(config.smtp.command_timeout_seconds);
    settings.times.data = Duration::from_secs(config.smtp.data_timeout_seconds);
    settings.times.data_rate_min = config.smtp.data_rate_min;
    settings
}

fn imap_settings(config: &Config, hostname: &str, starttls: bool) -> estafette_imap::session::Config {
    let mut limits = ImapLimits::after_login(config.imap.append_max_bytes);
    limits.line = config.imap.line_max_bytes;
    limits.part_from = config.storage.stage_from_bytes as u64;
    estafette_imap::session::Config {
        host_name: hostname.to_owned(),
        starttls,
        login_without_tls: config.login.allow_plaintext,
        login_timeout: Duration::from_secs(config.imap.login_timeout_seconds),
        idle_timeout: Duration::from_secs(config.imap.idle_timeout_seconds),
        limits,
        ..estafette_imap::session::Config::default()
    }
}

fn pop3_settings(config: &Config, hostname: &str, stls: bool) -> estafette_pop3::Config {
    estafette_pop3::Config {
        greeting: format!("{hostname} POP3 ready"),
        offer_stls: stls,
        require_tls_for_auth: !config.login.allow_plaintext,
        login_timeout: Duration::from_secs(config.pop3.login_timeout_seconds),
        idle_timeout: Duration::from_secs(config.pop3.idle_timeout_seconds),
        ..estafette_pop3::Config::default()
    }
}
