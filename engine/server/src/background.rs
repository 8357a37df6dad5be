//! Work that goes on beside the sessions: failed and known logins, collecting bodies, certificates, metrics.

use crate::config::{Config, RelayTls};
use crate::engine::{Engine, EngineError};
use crate::login;
use crate::node::StartError;
use estafette_delivery::Acceptor;
use estafette_delivery::outbound::{self, RelayTarget, Schedule, Sender};
use estafette_raft::NodeId;
use estafette_reactor::tls::Certificates;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Pause between two rounds of removing bodies that nothing names.
const COLLECT_PAUSE: Duration = Duration::from_secs(30);
/// Bodies looked at in one round.
const COLLECT_BODIES: usize = 1_000;
/// Pause between two readings of gauges.
const GAUGES_PAUSE: Duration = Duration::from_secs(5);

/// Starts all of it. What is returned ends by itself once it is told to stop, and is to be waited for: it is the sender, who
/// may be about to hear whether a message was taken.
pub(crate) fn start(
    engine: &Arc<Engine>,
    acceptor: &Acceptor,
    certificates: Arc<Certificates>,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<JoinHandle<()>, StartError> {
    tasks.spawn(login::share_failures(Arc::clone(engine)));
    tasks.spawn(login::expire_verified(Arc::clone(engine)));
    tasks.spawn(collect(Arc::clone(engine)));
    tasks.spawn(gauges(Arc::clone(engine)));
    tasks.spawn(reload(certificates, Duration::from_secs(engine.config.tls.reload_seconds.max(1))));
    let settings = outbound_settings(&engine.config, &engine.hostname, engine.cluster.id())?;
    let sender = Sender::new(engine.store.clone(), acceptor.clone(), Arc::clone(&engine.wakeup), settings)
        .map_err(EngineError::from)?;
    Ok(tokio::spawn(sender.run(stopping.clone())))
}

fn outbound_settings(
    config: &Config,
    hostname: &str,
    node: NodeId,
) -> Result<outbound::Settings, StartError> {
    let seconds = Duration::from_secs;
    let queue = &config.queue;
    let schedule = Schedule {
        retry_first: seconds(queue.retry_first_seconds),
        retry_max: seconds(queue.retry_max_seconds),
        lifetime: seconds(queue.lifetime_seconds),
        delay_notice: Some(seconds(queue.delay_notice_seconds)).filter(|pause| !pause.is_zero()),
    };
    let relay = if config.relay.host.is_empty() { None } else { Some(relay(config, hostname)?) };
    let claims = outbound::ClaimSettings { node, ..outbound::ClaimSettings::default() };
    Ok(outbound::Settings { hostname: hostname.to_owned(), relay, schedule, claims })
}

fn relay(config: &Config, hostname: &str) -> Result<RelayTarget, StartError> {
    let relay = &config.relay;
    let bad = || StartError::RelayHost(relay.host.clone());
    let (host, port) = relay.host.rsplit_once(':').ok_or_else(bad)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut target = RelayTarget::new(host, port.parse().map_err(|_| bad())?, hostname);
    target.tls = match relay.tls {
        RelayTls::None => outbound::RelayTls::None,
        RelayTls::Starttls => outbound::RelayTls::StartTls,
        RelayTls::Required => outbound::RelayTls::Required,
        RelayTls::Implicit => outbound::RelayTls::Implicit,
    };
    target.authorities = Some(relay.ca.clone()).filter(|path| !path.as_os_str().is_empty());
    target.login =
        Some((relay.username.clone(), relay.password.clone())).filter(|(user, _)| !user.is_empty());
    target.connections_max = relay.connections_max;
    Ok(target)
}

async fn collect(engine: Arc<Engine>) {
    loop {
        tokio::time::sleep(COLLECT_PAUSE).await;
        let store = engine.store.clone();
        let round = tokio::task::spawn_blocking(move || store.collect(COLLECT_BODIES)).await;
        if let Ok(Err(error)) = round {
            tracing::warn!(%error, "bodies could not be collected");
        }
    }
}

async fn gauges(engine: Arc<Engine>) {
    loop {
        let (domains, accounts, aliases) = engine.directory.read().counts();
        for (what, count) in [("domains", domains), ("accounts", accounts), ("aliases", aliases)] {
            metrics::gauge!("estafette_directory_entries", "kind" => what).set(count as f64);
        }
        estafette_storage::record_metrics(&engine.store);
        let caches = [
            ("structures", engine.structures.bytes()),
            ("uids", engine.uid_maps.bytes()),
            ("maildrops", engine.maildrops.bytes()),
        ];
        for (kind, bytes) in caches {
            metrics::gauge!("estafette_cache_bytes", "kind" => kind).set(bytes as f64);
        }
        metrics::gauge!("estafette_watches").set(engine.watchers.count() as f64);
        tokio::time::sleep(GAUGES_PAUSE).await;
    }
}

async fn reload(certificates: Arc<Certificates>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let certificates = Arc::clone(&certificates);
        match tokio::task::spawn_blocking(move || certificates.reload()).await {
            Ok(Ok(true)) => tracing::info!("new certificates are in use"),
            Ok(Err(error)) => {
                tracing::error!(%error, "the certificates changed but cannot be used; the old ones stay")
            }
            _ => {}
        }
    }
}
