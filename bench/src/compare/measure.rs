//! Runs one load on one server.

use super::works::{LARGE_BYTES, SMALL_BYTES, Work};
use super::{Compare, Running};
use crate::error::BenchError;
use crate::load::{
    Clients, Connect, ConnectKind, IDLE_STEPS, Idle, Imap, Ingest, LoadResult, Mail, Mailbox, Pop3, Protocol,
    Readers, Span, Storm, Target,
};
use crate::process::Meter;
use crate::report::{Failure, Figures, Report};
use crate::servers::{Kind, Server};
use indicatif::ProgressBar;
use std::time::Instant;

/// Accounts with small messages that are read, and sessions that read them.
const READERS: usize = 10;
/// Accounts that are read: those, and as many with large messages.
const READ_ACCOUNTS: usize = 2 * READERS;
/// Sessions of a storm: Debian's Dovecot and Postfix serve no more at a time.
const STORM_SESSIONS: usize = 100;
/// Recipients that many senders of a storm write to.
const STORM_FEW: usize = 2;
/// Recipients of each message of a storm.
const STORM_RECIPIENTS: usize = 100;
/// A share of the idle sessions that servers with a process for each hold before.
const PEERS_BEFORE_SHARE: usize = 5;

/// Everything of a server that loads are told.
struct Peer<'a> {
    server: &'a dyn Server,
    meter: Meter,
    span: Span,
}

impl Compare {
    /// Fills the mailboxes that are read, the same on every server.
    pub(super) async fn fill(
        &self,
        running: &mut Running,
        round: usize,
        report: &mut Report,
        bar: &ProgressBar,
    ) {
        for (kind, server) in running {
            bar.set_message(format!("{}: fill", kind.name()));
            let Some(lmtp) = server.services().lmtp.as_deref() else { continue };
            let recipients = server.recipients();
            // As many bytes of each size would be too few large messages to go through.
            for (size, messages) in [(SMALL_BYTES, self.messages), (LARGE_BYTES, self.messages / 4)] {
                let from = if size == SMALL_BYTES { 0 } else { READERS };
                let recipients: Vec<String> = recipients.iter().skip(from).take(READERS).cloned().collect();
                let span = Span::operations(messages.max(1) * recipients.len());
                let (protocol, target, meter) = (Protocol::Lmtp, Target::plain(lmtp), Meter::default());
                let load = Ingest::of(Mail { protocol, target, recipients, size, span, meter }, READERS);
                if let Err(error) = load.run().await {
                    report.failures.push(Failure::new(round, *kind, "fill", &error));
                }
            }
        }
    }

    /// `None` where the server has no such service.
    pub(super) async fn measure(
        &self,
        work: &Work,
        kind: Kind,
        server: &dyn Server,
    ) -> Result<Option<Figures>, BenchError> {
        let meter = Meter { pids: server.pids(), disk: Some(self.folder.clone()) };
        let peer = Peer { server, meter, span: Span::seconds(self.seconds) };
        match *work {
            Work::Idle { tls } => self.measure_idle(&peer, kind, tls).await,
            Work::Ingest { protocol, sessions, size } => peer.ingest(protocol, sessions, size).await,
            Work::Storm { shape } => {
                let Some(address) = address_of(server, Protocol::Lmtp) else { return Ok(None) };
                let mail = peer.mail(Protocol::Lmtp, address, SMALL_BYTES, peer.meter.clone());
                let (senders, few, many) = (STORM_SESSIONS, STORM_FEW, STORM_RECIPIENTS);
                let storm = Storm { shape, mail, senders, few, many };
                Ok(Some(figures(&storm.run().await?)))
            }
            Work::Imap { profile, size } => {
                let Some(address) = server.services().imap.as_deref() else { return Ok(None) };
                let from = if size == SMALL_BYTES { 0 } else { READERS };
                let load = Imap { readers: peer.readers(Target::plain(address), from), profile, size };
                Ok(Some(figures(&load.run().await?)))
            }
            Work::Pop3 => {
                let Some(address) = server.services().pop3.as_deref() else { return Ok(None) };
                let load = Pop3 { readers: peer.readers(Target::plain(address), 0) };
                Ok(Some(figures(&load.run().await?)))
            }
            Work::Login { protocol, tls } => peer.connect(protocol, ConnectKind::Login, tls).await,
            Work::Handshake { kind } => peer.connect(Mailbox::Imap, kind, true).await,
        }
    }

    async fn measure_idle(
        &self,
        peer: &Peer<'_>,
        kind: Kind,
        tls: bool,
    ) -> Result<Option<Figures>, BenchError> {
        let services = peer.server.services();
        let target = if tls {
            services.imaps.as_deref().map(Target::tls)
        } else {
            services.imap.as_deref().map(Target::plain)
        };
        let Some(target) = target else { return Ok(None) };
        let (before, sessions) = if kind.has_process_for_session() {
            (self.idle_sessions_peers / PEERS_BEFORE_SHARE, self.idle_sessions_peers)
        } else {
            (self.idle_before, self.idle_sessions)
        };
        let logins = peer.server.logins();
        let (settle_seconds, meter) = (kind.idle_settle_seconds(), peer.meter.clone());
        let (steps, shown) = (IDLE_STEPS, false);
        let load = Idle { target, logins, before, sessions, steps, settle_seconds, meter, shown };
        let idle = load.run().await?;
        Ok(Some(Figures { session_kib: Some(idle.session_kib), ..Figures::default() }))
    }
}

impl Peer<'_> {
    /// Those that are delivered to.
    fn recipients(&self) -> Vec<String> {
        self.server.recipients().into_iter().skip(READ_ACCOUNTS).collect()
    }

    /// A load of deliveries.
    fn mail(&self, protocol: Protocol, address: &str, size: usize, meter: Meter) -> Mail {
        let (target, recipients) = (Target::plain(address), self.recipients());
        Mail { protocol, target, recipients, size, span: self.span, meter }
    }

    /// Logins of accounts that are read, from one of them on.
    fn logins(&self, from: usize) -> Vec<String> {
        self.server.logins().into_iter().skip(from).take(READERS).collect()
    }

    /// A load on these accounts.
    fn readers(&self, target: Target, from: usize) -> Readers {
        Readers { logins: self.logins(from), clients: self.clients(target) }
    }

    fn clients(&self, target: Target) -> Clients {
        Clients { target, sessions: READERS, span: self.span, meter: self.meter.clone() }
    }

    async fn ingest(
        &self,
        protocol: Protocol,
        sessions: usize,
        size: usize,
    ) -> Result<Option<Figures>, BenchError> {
        let Some(address) = address_of(self.server, protocol) else { return Ok(None) };
        // What waits in a queue is not delivered yet: the clock runs until it is.
        let queues = self.server.queues();
        let meter = if queues { Meter::default() } else { self.meter.clone() };
        let load = Ingest::of(self.mail(protocol, address, size, meter), sessions);
        if !queues {
            return Ok(Some(figures(&load.run().await?)));
        }
        let before = self.meter.read_at_rest().await?;
        let began = Instant::now();
        let mut result = load.run().await?;
        self.server.settled()?;
        result.seconds = began.elapsed().as_secs_f64();
        result.per_second = result.operations as f64 / result.seconds;
        result.used = self.meter.read_at_rest().await?.since(before);
        Ok(Some(figures(&result)))
    }

    async fn connect(
        &self,
        protocol: Mailbox,
        kind: ConnectKind,
        tls: bool,
    ) -> Result<Option<Figures>, BenchError> {
        let services = self.server.services();
        let address = match (protocol, tls) {
            (Mailbox::Imap, false) => &services.imap,
            (Mailbox::Imap, true) => &services.imaps,
            (Mailbox::Pop3, false) => &services.pop3,
            (Mailbox::Pop3, true) => &services.pop3s,
        };
        let Some(address) = address.as_deref() else { return Ok(None) };
        let load = Connect {
            protocol,
            kind,
            logins: self.logins(0),
            clients: self.clients(if tls { Target::tls(address) } else { Target::plain(address) }),
        };
        let result = load.run().await?;
        let mut figures = figures(&result.load);
        if kind == ConnectKind::Resume {
            figures.resumed_share = Some(result.resumed as f64 / (result.load.operations.max(1) as f64));
        }
        Ok(Some(figures))
    }
}

fn address_of(server: &dyn Server, protocol: Protocol) -> Option<&str> {
    match protocol {
        Protocol::Lmtp => server.services().lmtp.as_deref(),
        Protocol::Smtp => server.services().smtp.as_deref(),
    }
}

fn figures(result: &LoadResult) -> Figures {
    let each = |total: f64| Some(total / (result.operations.max(1) as f64));
    Figures {
        per_second: Some(result.per_second),
        cpu_ms_each: each(result.used.cpu_seconds * 1000.0),
        written_kib_each: each(result.used.written_bytes as f64 / 1024.0),
        disk_kib_each: each(result.used.disk_bytes as f64 / 1024.0),
        flushes_each: each(result.used.flushes as f64),
        p50_ms: Some(result.p50_ms),
        p99_ms: Some(result.p99_ms),
        ..Figures::default()
    }
}
